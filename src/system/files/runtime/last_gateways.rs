//! The last gateway of each uplink. A hook tells a gateway once; the routes that hold it go with a flush
//! and with a device that is down for a moment.

use anyhow::Result;

use super::RuntimeState;
use crate::model::link::LastGateways;

const GATEWAYS: &str = "gateways";

impl RuntimeState {
    pub fn last_gateways(&self) -> LastGateways {
        serde_json::from_str(&self.read(GATEWAYS).unwrap_or_default()).unwrap_or_default()
    }

    pub fn write_last_gateways(&self, gateways: &LastGateways) -> Result<()> {
        self.replace(GATEWAYS, &format!("{}\n", serde_json::to_string(gateways)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::LastGateway;
    use crate::system::files::dir::LazyDir;

    #[test]
    fn gateways_are_json_by_device_and_a_damaged_file_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let state = RuntimeState { dir: LazyDir::new(dir.path().join("run")) };
        assert_eq!(state.last_gateways(), LastGateways::new());
        let last = LastGateway {
            index: 4,
            via: [10, 0, 0, 1].into(),
            addresses: vec![[10, 0, 0, 7].into()],
            instead_of: None,
        };
        let gateways = LastGateways::from([("eth2".parse().unwrap(), last)]);
        state.write_last_gateways(&gateways).unwrap();
        let text = "{\"eth2\":{\"index\":4,\"via\":\"10.0.0.1\",\"addresses\":[\"10.0.0.7\"],\"instead_of\":null}}\n";
        assert_eq!(std::fs::read_to_string(state.path().join(GATEWAYS)).unwrap(), text);
        assert_eq!(state.last_gateways(), gateways);
        std::fs::write(state.path().join(GATEWAYS), &text[..20]).unwrap();
        assert_eq!(state.last_gateways(), LastGateways::new());
    }
}
