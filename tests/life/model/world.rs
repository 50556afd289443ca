//! What the kernel does by itself when something happens to a line.

use super::{Line, Model, Out};

impl Line {
    /// The kernel deletes what leads to the device: the nexthop, and the mark of a probe.
    fn forget_routes(&mut self) {
        self.in_service = false;
        if self.out == Some(Out::ByProbe) {
            self.out = None;
        }
    }
}

impl Model {
    pub fn hang_up(&mut self, no: u8) {
        let line = self.line(no);
        line.forget_routes();
        line.has_old_mark |= line.out == Some(Out::ByHand);
        line.out = None;
        line.device = 0;
        self.drop_overrides();
    }

    pub fn dial(&mut self, no: u8, device: u32) {
        if self.line(no).exists() {
            self.hang_up(no);
        }
        let line = self.line(no);
        (line.device, line.up, line.carrier, line.address) = (device, true, true, true);
    }

    pub fn set_link(&mut self, no: u8, up: bool) {
        self.line(no).up = up;
        if !up {
            self.line(no).forget_routes();
            self.drop_overrides();
        }
    }

    pub fn set_carrier(&mut self, no: u8, carrier: bool) {
        self.line(no).carrier = carrier;
        if !carrier {
            self.line(no).in_service = false;
            self.drop_overrides();
        }
    }

    /// The kernel keeps the nexthop of a device without address.
    pub fn set_address(&mut self, no: u8, address: bool) {
        let line = self.line(no);
        line.address = address;
        if !address && line.out == Some(Out::ByProbe) {
            line.out = None;
        }
    }

    /// The route of `failover --to` goes with the nexthop that it leads to.
    pub(super) fn drop_overrides(&mut self) {
        let in_service: Vec<u8> = self.in_service().collect();
        for line in self.lines.values_mut() {
            line.to = line.to.filter(|to| in_service.contains(to));
        }
    }
}
