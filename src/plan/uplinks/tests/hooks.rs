//! What a hook reports about an uplink, and what follows from it.

use super::*;

/// What a hook reports about uplink 1.
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

/// The intent of the hook. `found` becomes what is there when the hook runs.
fn report(event: Event, found: &mut Snapshot) -> Intent {
    let (mut uplink, mut via) = (no(1), None);
    match event {
        Event::SameGateway => via = Some(gateway(1)),
        Event::NoGateway => {}
        Event::NewGateway => via = Some(gateway(9)),
        Event::NewGatewayInMain => {
            found.main_routes.insert(dev(1), vec![default_by(gateway(9))]);
        }
        Event::NoGatewayAnywhere => drop(found.main_routes.remove(&dev(1))),
        Event::NewDevice => {
            via = Some(gateway(1));
            delete_nexthop(&mut found.routing, 8701);
            found.routing.routes.retain(|route| route.table != 301);
        }
        Event::OfAnotherUplink => uplink = no(2),
    }
    Intent::Returned { uplink, via }
}

#[test]
fn a_hook_never_undoes_a_failover_by_hand_and_that_of_a_probe_only_with_a_new_gateway() {
    use Event::*;
    let config = config(&[(1, 1), (2, 1)], "");
    let by_probe = Intent::Probed { out: [no(1)].into_iter().collect(), back: Default::default() };
    let events = [
        (SameGateway, 1),
        (NoGateway, 1),
        (NewGateway, 9),
        (NewGatewayInMain, 9),
        (NoGatewayAnywhere, 1),
        (NewDevice, 1),
        (OfAnotherUplink, 1),
    ];
    for (before, cause) in
        [(Intent::Keep, Condition::Up), (fail_over_1(), MANUAL), (by_probe, PROBE)]
    {
        for (event, via) in events {
            let running = after(&config, &ethernet(), &none(), Intent::RESTORE_ALL);
            let mut found = after(&config, &running, &none(), before);
            let intent = report(event, &mut found);
            let is_undone = match cause {
                MANUAL => event == NewDevice,
                _ => matches!(event, NewDevice | NewGateway | NewGatewayInMain),
            };
            let wanted = if is_undone { Condition::Up } else { cause };
            let status = decide(&config, &found, intent).unwrap();
            let uplink = &status.uplinks[&no(1)];
            let found_status = (uplink.condition, uplink.via);
            assert_eq!(found_status, (wanted, Some(gateway(via))), "{cause:?}, {event:?}");

            // Flows, probes and a later restore use the current gateway in any case.
            reach(&config, &found, &none(), intent);
            let routing = after(&config, &found, &none(), intent).routing;
            let in_table =
                |route: &&Route| route.table == 301 && route.target != RouteTarget::Throw;
            let mut own = routing.routes.iter().filter(in_table);
            let gateway = Some(gateway(via));
            let is_by_gateway = |route: &Route| match &route.target {
                RouteTarget::Uplink { via, .. } | RouteTarget::Device { via, .. } => {
                    *via == gateway
                }
                _ => false,
            };
            assert!(own.all(is_by_gateway), "{cause:?}, {event:?}");
        }
    }
}
