//! What a hook's word that a device is there changes: a failover by hand never.

use std::net::Ipv4Addr;

use super::*;
use crate::plan::service::Service;

/// Who took the uplink out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Out {
    No,
    ByHand,
    ByProbe,
}

/// With what the hook comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    SameGateway,
    NoGateway,
    NewGateway,
    NewGatewayInMain,
    NoGatewayAnywhere,
    NewDevice,
    OfAnotherUplink,
}

fn gateway(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 1, last)
}

/// Uplink 1 is on ethernet, and main has a default route by its gateway, which is .1.
fn ethernet(config: &Config, out: Out) -> Observed {
    let mut found = alive(&[1, 2]);
    found.links[0].point_to_point = false;
    found.gateways.insert(DevName::from_kernel("ppp1"), gateway(1));
    found.slice = built(config, &found, &[], Intent::RestoreAll);
    let probed = Intent::Probed { out: [no(1)].into_iter().collect(), back: Default::default() };
    let intent = match out {
        Out::No => return found,
        Out::ByHand => Intent::FailOver { uplink: no(1), to: None },
        Out::ByProbe => probed,
    };
    found.slice = built(config, &found, &[], intent);
    found
}

/// What the hook says; `found` is changed into what is there by then.
fn happens(event: Event, found: &mut Observed) -> Intent {
    let dev = DevName::from_kernel("ppp1");
    let (mut uplink, mut via) = (no(1), None);
    match event {
        Event::SameGateway => via = Some(gateway(1)),
        Event::NoGateway => {}
        Event::NewGateway => via = Some(gateway(9)),
        Event::NewGatewayInMain => drop(found.gateways.insert(dev, gateway(9))),
        Event::NoGatewayAnywhere => drop(found.gateways.remove(&dev)),
        Event::NewDevice => {
            via = Some(gateway(1));
            delete_nexthop(&mut found.slice, 8701);
            found.slice.routes.retain(|route| route.table != 301);
        }
        Event::OfAnotherUplink => uplink = no(2),
    }
    Intent::Returned { uplink, via }
}

#[test]
fn a_hook_never_undoes_a_failover_by_hand_and_that_of_a_probe_only_with_a_new_gateway() {
    use Event::*;
    let config = config(&[(1, 1), (2, 1)], "");
    let all = [
        (SameGateway, 1),
        (NoGateway, 1),
        (NewGateway, 9),
        (NewGatewayInMain, 9),
        (NoGatewayAnywhere, 1),
        (NewDevice, 1),
        (OfAnotherUplink, 1),
    ];
    for out in [Out::No, Out::ByHand, Out::ByProbe] {
        for (event, via) in all {
            let mut found = ethernet(&config, out);
            let intent = happens(event, &mut found);
            let Service { state, via: by, by_probe, .. } =
                service::decide(&config, &found, intent).unwrap().uplinks[&no(1)];
            let is_back = match out {
                Out::No => true,
                Out::ByHand => event == NewDevice,
                Out::ByProbe => matches!(event, NewDevice | NewGateway | NewGatewayInMain),
            };
            let expected = if is_back { State::Up } else { State::FailedOver };
            assert_eq!((state, by), (expected, Some(gateway(via))), "{out:?}, {event:?}");
            assert_eq!(by_probe, !is_back && out == Out::ByProbe, "{out:?}, {event:?}");

            // Flows, probes and a later restore go by the gateway that is right now.
            let slice = built(&config, &found, &[], intent);
            reach(&config, &found, &slice);
            let own = slice.routes.iter().filter(|route| route.table == 301);
            let ways: Vec<&Way> = own.map(|route| &route.way).collect();
            let way = Way::Device { dev: DevName::from_kernel("ppp1"), via: Some(gateway(via)) };
            assert_eq!(ways, vec![&way; if is_back { 1 } else { 2 }], "{out:?}, {event:?}");
        }
    }
}
