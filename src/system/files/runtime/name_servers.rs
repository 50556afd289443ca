//! The name servers that a hook told, in a file for each device: `dns/DEV`, one address a line.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};

use super::{RuntimeState, write_new};
use crate::model::DevName;

const DNS: &str = "dns";

impl RuntimeState {
    /// What cannot be read, or is no IPv4 address, is passed over.
    pub fn name_servers(&self, dev: &DevName) -> Vec<IpAddr> {
        let read = || {
            let dir = self.dir.open().ok()??.open_dir(DNS).ok()?;
            String::from_utf8(dir.read(dev.as_str()).ok()?).ok()
        };
        let text = read().unwrap_or_default();
        let words = text.split_whitespace();
        words.filter_map(|word| Some(word.parse::<Ipv4Addr>().ok()?.into())).collect()
    }

    pub fn write_name_servers(&self, dev: &DevName, servers: &[IpAddr]) -> Result<()> {
        let text: String = servers.iter().map(|server| format!("{server}\n")).collect();
        let write = || {
            let parent = self.dir.create()?;
            let dir = match parent.create_dir(DNS) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => parent.open_dir(DNS)?,
                dir => dir?,
            };
            let next = format!(".{dev}");
            write_new(&dir, &next, text.as_bytes())?;
            dir.rename(&next, &dir, dev.as_str())
        };
        write().with_context(|| format!("writing {}/{DNS}/{dev}", self.path().display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::dir::LazyDir;

    #[test]
    fn name_servers_are_addresses_in_a_file_of_their_device() {
        let dir = tempfile::tempdir().unwrap();
        let state = RuntimeState { dir: LazyDir::new(dir.path().join("run")) };
        let dev: DevName = "ppp0".parse().unwrap();
        assert!(state.name_servers(&dev).is_empty());
        for servers in [[[9, 9, 1, 53], [9, 9, 2, 53]], [[9, 9, 3, 53], [9, 9, 4, 53]]] {
            let servers = servers.map(IpAddr::from);
            state.write_name_servers(&dev, &servers).unwrap();
            assert_eq!(state.name_servers(&dev), servers);
        }
        let file = state.path().join("dns/ppp0");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "9.9.3.53\n9.9.4.53\n");
        std::fs::write(&file, "nameserver 9.9.5.53 2001:db8::1\n9.9.6").unwrap();
        assert_eq!(state.name_servers(&dev), [IpAddr::from([9, 9, 5, 53])]);
    }
}
