//! Sockets of the gateway that are bound to a device or an address of an uplink leave by it.

use std::net::Ipv4Addr;

use crate::lab::{FAR, Lab, Shape, Speaker, four};

with_both_iptables! {
    bound_sockets_leave_by_their_uplink,
}

fn assert_bound_sockets(lab: &Lab, when: &str) {
    for number in 1..=4 {
        let (address, dev) = (lab.uplink_address(number), lab.uplink_dev(number));
        let by_address = Speaker::new(&lab.gateway, address, FAR);
        assert_eq!(by_address.seen(), Ok(address), "an address of uplink {number}, {when}");
        let by_device = Speaker::new(&lab.gateway, Ipv4Addr::UNSPECIFIED, FAR).by(&dev);
        assert_eq!(by_device.seen(), Ok(address), "the device of uplink {number}, {when}");
    }
}

fn bound_sockets_leave_by_their_uplink(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).serving(&four(""));
        assert_bound_sockets(&lab, "without a default route");
        lab.gateway.sh("ip route add default dev ppp1");
        assert_bound_sockets(&lab, "with a default route in main");
        lab.gateway.sh("ip route del default");
        lab.wanpool(["multipath", "on"]).ok();
        assert_bound_sockets(&lab, "with multipath");
        // A line that is redialled with another address.
        lab.redial_as(2, Ipv4Addr::new(10, 64, 2, 77));
        lab.wanpool(["multipath", "off"]).ok();
        assert_bound_sockets(&lab, "after a redial");
        lab.check().clean();
    }
}

/// The addresses of a line that is lost stay until it has others, and so its loss is no drift.
#[test]
fn the_rules_of_a_lost_address_go_when_the_line_has_another() {
    let lab = Lab::four_uplinks();
    let rules_of = |address: &str| lab.rules().iter().filter(|it| it.1.contains(address)).count();
    lab.hang_up(1);
    lab.wanpool(["assign"]).ok();
    assert_eq!(rules_of("10.64.1.2"), 4);
    lab.redial_as(1, Ipv4Addr::new(10, 64, 1, 77));
    lab.wanpool(["assign"]).ok();
    assert_eq!((rules_of("10.64.1.2"), rules_of("10.64.1.77")), (0, 4));
}
