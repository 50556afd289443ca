//! Probe targets: the text of one, as in the configuration, to a [`Target`].
//!
//! Targets are IPv4 addresses only. A name would have to be looked up first, over whichever uplink
//! the router's own packets take, so the result would depend on that uplink.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use crate::model::probe::Target;

const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("tcp:") {
            parse_tcp(rest)
        } else if let Some(rest) = text.strip_prefix("dns:") {
            parse_dns(rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            parse_http(rest)
        } else if text.contains(':') {
            Err(format!(
                "{text:?} is not a probe target; use an address, tcp:ADDRESS:PORT, \
                 dns:SERVER:NAME or http://ADDRESS/PATH"
            ))
        } else {
            Ok(Target::Echo(parse_host(text)?))
        }
    }
}

fn parse_tcp(rest: &str) -> Result<Target, String> {
    match parse_server(rest)? {
        (host, Some(port)) => Ok(Target::Tcp(SocketAddrV4::new(host, port))),
        (_, None) => Err(format!("\"tcp:{rest}\" has no port; an example is \"tcp:9.9.9.9:53\"")),
    }
}

fn parse_dns(rest: &str) -> Result<Target, String> {
    let Some((server, name)) = rest.rsplit_once(':') else {
        return Err(format!(
            "\"dns:{rest}\" has no name; an example is \"dns:8.8.8.8:example.org\""
        ));
    };
    if !is_dns_name(name) {
        return Err(format!("{name:?} is not a DNS name"));
    }
    let (host, port) = parse_server(server)?;
    let server = SocketAddrV4::new(host, port.unwrap_or(DNS_PORT));
    Ok(Target::Dns { server, name: name.to_owned() })
}

fn parse_http(rest: &str) -> Result<Target, String> {
    let (server, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    if !path.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!("{path:?} has a character that a URL cannot have"));
    }
    let (host, port) = parse_server(server)?;
    let server = SocketAddrV4::new(host, port.unwrap_or(HTTP_PORT));
    Ok(Target::Http { server, path: path.to_owned() })
}

/// `ADDRESS` or `ADDRESS:PORT`.
fn parse_server(text: &str) -> Result<(Ipv4Addr, Option<u16>), String> {
    let Some((host, port)) = text.split_once(':') else { return Ok((parse_host(text)?, None)) };
    match port.parse() {
        Ok(number) if number > 0 => Ok((parse_host(host)?, Some(number))),
        _ => Err(format!("{port:?} is not a port number")),
    }
}

fn parse_host(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse::<Ipv4Addr>() {
        Ok(address)
            if !address.is_unspecified()
                && !address.is_loopback()
                && !address.is_multicast()
                && !address.is_broadcast() =>
        {
            Ok(address)
        }
        _ => Err(format!(
            "{text:?} is not the IPv4 address of a host; a host name is not possible, because it \
             could be looked up over another uplink"
        )),
    }
}

/// Labels of 1 to 63 characters, 253 in all (RFC 1035, 2.3.4).
fn is_dns_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name).split('.');
    name.len() <= 253 && labels.into_iter().all(is_dns_label)
}

fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_printed_in_full_as_it_is_written() {
        for (given, full) in [
            ("1.1.1.1", "1.1.1.1"),
            ("tcp:9.9.9.9:53", "tcp:9.9.9.9:53"),
            ("dns:8.8.8.8:example.org", "dns:8.8.8.8:53:example.org"),
            ("dns:8.8.8.8:5353:example.org.", "dns:8.8.8.8:5353:example.org."),
            ("http://10.0.0.1/generate_204", "http://10.0.0.1:80/generate_204"),
            ("http://10.0.0.1:8080", "http://10.0.0.1:8080/"),
        ] {
            assert_eq!(given.parse::<Target>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn a_bad_target_is_refused_with_the_reason() {
        for (bad, reason) in [
            ("example.org", "could be looked up over another uplink"),
            ("tcp:example.org:53", "could be looked up over another uplink"),
            ("http://example.org/", "could be looked up over another uplink"),
            ("dns:dns.google:example.org", "could be looked up over another uplink"),
            ("tcp:9.9.9.9", "\"tcp:9.9.9.9\" has no port"),
            ("tcp:9.9.9.9:0", "\"0\" is not a port number"),
            ("dns:8.8.8.8", "\"dns:8.8.8.8\" has no name"),
            ("dns:8.8.8.8:a..b", "\"a..b\" is not a DNS name"),
            ("https://10.0.0.1/", "is not a probe target"),
            ("127.0.0.1", "is not the IPv4 address of a host"),
            ("http://10.0.0.1/a b", "a URL cannot have"),
            ("", "is not the IPv4 address of a host"),
        ] {
            let error = bad.parse::<Target>().expect_err(bad);
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }
}
