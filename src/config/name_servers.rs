//! `dns` of an uplink: a list of addresses, or the word `peer`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::NameServers;
use super::source::Source;
use crate::error::Error;

/// The value as it stands in the file.
pub(super) enum DnsValue {
    Word(String),
    Servers(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for DnsValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DnsVisitor)
    }
}

struct DnsVisitor;

impl<'de> Visitor<'de> for DnsVisitor {
    type Value = DnsValue;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of IPv4 addresses or \"peer\"")
    }

    fn visit_str<E>(self, text: &str) -> Result<DnsValue, E> {
        Ok(DnsValue::Word(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<DnsValue, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(DnsValue::Servers)
    }
}

pub(super) fn check_dns(
    given: Option<Spanned<DnsValue>>,
    source: &Source,
) -> Result<NameServers, Error> {
    let Some(given) = given else { return Ok(NameServers::FromHook) };
    let list = match given.get_ref() {
        DnsValue::Word(word) if word == "peer" => return Ok(NameServers::Peer),
        DnsValue::Word(word) => {
            let reason = format!("{word:?} is neither a list of IPv4 addresses nor \"peer\"");
            return Err(source.error(given.span(), reason));
        }
        DnsValue::Servers(list) => list,
    };
    let mut servers = Vec::new();
    for text in list {
        let server = text.get_ref().parse::<Ipv4Addr>().map_err(|_| {
            let reason = format!("{:?} is not the IPv4 address of a name server", text.get_ref());
            source.error(text.span(), reason)
        })?;
        servers.push(IpAddr::from(server));
    }
    Ok(NameServers::Configured(servers))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(dns: &str) -> Result<NameServers, String> {
        let text = format!("[uplink.1]\ndev = \"ppp0\"\n{dns}\n");
        let config =
            Config::parse(&text, Path::new("a.toml")).map_err(|error| error.to_string())?;
        Ok(config.uplinks.into_values().next().unwrap().dns)
    }

    #[test]
    fn name_servers_are_a_list_or_the_peer() {
        let servers =
            |list: &[[u8; 4]]| NameServers::Configured(list.iter().map(|&it| it.into()).collect());
        for (dns, wanted) in [
            ("", NameServers::FromHook),
            ("dns = \"peer\"", NameServers::Peer),
            ("dns = []", servers(&[])),
            ("dns = [\"9.9.1.53\", \"9.9.2.53\"]", servers(&[[9, 9, 1, 53], [9, 9, 2, 53]])),
        ] {
            assert_eq!(parse(dns), Ok(wanted), "{dns}");
        }
        for (dns, reason) in [
            ("dns = \"9.9.1.53\"", "a.toml:3:7: \"9.9.1.53\" is neither a list of IPv4 addresses"),
            ("dns = [\n\"9.9.1\"]", "a.toml:4:1: \"9.9.1\" is not the IPv4 address"),
            ("dns = [\"2001:db8::1\"]", "is not the IPv4 address of a name server"),
            ("dns = 9", "a.toml:3"),
        ] {
            let error = parse(dns).unwrap_err();
            assert!(error.contains(reason), "{dns}: {error}");
        }
    }
}
