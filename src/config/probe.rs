//! `[probe]`, `[uplink.N.probe]`, `[hook]` and `failback`: their shape in the file, and the checks.
//!
//! Targets are IPv4 addresses throughout. A name would have to be looked up first, by whatever
//! uplink the router's own packets take, and so would tell of that one.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Failback, Source};
use crate::error::Error;
use crate::model::probe::{ProbeSettings, Target};

const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("tcp:") {
            return match rest.split_once(':') {
                Some(_) => Ok(Target::Tcp(server(rest, None)?)),
                None => Err(format!("{text:?} lacks its port, as in \"tcp:9.9.9.9:53\"")),
            };
        }
        if let Some(rest) = text.strip_prefix("dns:") {
            let example = || format!("{text:?} is not of the form \"dns:8.8.8.8:example.org\"");
            let (at, name) = rest.rsplit_once(':').ok_or_else(example)?;
            if !is_dns_name(name) {
                return Err(format!("{name:?} is no name to ask for"));
            }
            return Ok(Target::Dns { server: server(at, Some(DNS_PORT))?, name: name.to_owned() });
        }
        if let Some(rest) = text.strip_prefix("http://") {
            let (at, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
            if !path.chars().all(|c| c.is_ascii_graphic()) {
                return Err(format!("{path:?} has a character that no URL can have"));
            }
            let server = server(at, Some(HTTP_PORT))?;
            return Ok(Target::Http { server, path: path.to_owned() });
        }
        let forms = "an address, tcp:ADDRESS:PORT, dns:SERVER:NAME or http://ADDRESS/PATH";
        match text.contains(':') {
            true => Err(format!("{text:?} is no target: {forms}")),
            false => Ok(Target::Echo(address(text)?)),
        }
    }
}

fn server(text: &str, port: Option<u16>) -> Result<SocketAddrV4, String> {
    let (host, port) = match (text.split_once(':'), port) {
        (Some((host, port)), _) => match port.parse() {
            Ok(port) if port > 0 => (host, port),
            _ => return Err(format!("{port:?} is no port")),
        },
        (None, Some(port)) => (text, port),
        (None, None) => return Err(format!("{text:?} lacks its port")),
    };
    Ok(SocketAddrV4::new(address(host)?, port))
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    let parsed: Option<Ipv4Addr> = text.parse().ok();
    let single = |address: &Ipv4Addr| {
        !(address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast())
    };
    parsed.filter(single).ok_or_else(|| {
        format!(
            "{text:?} is no IPv4 address of a host; a name would be looked up by another uplink"
        )
    })
}

/// Labels of 1 to 63 characters, 253 in all (RFC 1035, 2.3.4).
fn is_dns_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(plain);
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProbe {
    targets: Option<Vec<Spanned<String>>>,
    count: Option<Spanned<i64>>,
    need: Option<Spanned<i64>>,
    timeout: Option<Spanned<String>>,
    down: Option<Spanned<i64>>,
    up: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHook {
    exec: Option<Spanned<PathBuf>>,
}

pub(super) type RawFailback = Spanned<String>;

/// An uplink's own keys stand before those of all.
pub(super) fn check(
    own: &RawProbe,
    all: &RawProbe,
    source: &Source,
) -> Result<ProbeSettings, Error> {
    let defaults = ProbeSettings::default();
    let number = |own: &Option<Spanned<i64>>, all: &Option<Spanned<i64>>, default: u8| {
        let Some(given) = own.as_ref().or(all.as_ref()) else { return Ok(default) };
        u8::try_from(*given.get_ref())
            .ok()
            .filter(|value| (1..=100).contains(value))
            .ok_or_else(|| source.fault(given.span(), "must be in 1..=100"))
    };
    let targets = own.targets.as_ref().or(all.targets.as_ref());
    let parse = |target: &Spanned<String>| {
        target.get_ref().parse().map_err(|why: String| source.fault(target.span(), why))
    };
    let probe = ProbeSettings {
        targets: targets.into_iter().flatten().map(parse).collect::<Result<_, _>>()?,
        count: number(&own.count, &all.count, defaults.count)?,
        need: number(&own.need, &all.need, defaults.need)?,
        timeout: match own.timeout.as_ref().or(all.timeout.as_ref()) {
            None => defaults.timeout,
            Some(given) => {
                parse_time(given.get_ref()).map_err(|why| source.fault(given.span(), why))?
            }
        },
        down: number(&own.down, &all.down, defaults.down)?,
        up: number(&own.up, &all.up, defaults.up)?,
    };
    let there = probe.targets.len().max(1);
    if usize::from(probe.need) > there {
        let span = own.need.as_ref().or(all.need.as_ref()).map_or(0..0, Spanned::span);
        let why = format!("need {} of {there} targets could never be met", probe.need);
        return Err(source.fault(span, why));
    }
    Ok(probe)
}

/// `1s`, `1.5s` or `500ms`; from 10 ms to a minute.
fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 0.001),
        (None, Some(number)) => (number, 1.0),
        (None, None) => ("", 0.0),
    };
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let seconds = number.parse::<f64>().ok().filter(|_| plain).map(|number| number * unit);
    match seconds {
        Some(seconds) if (0.01..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("{text:?} is no time from \"10ms\" to \"60s\"")),
    }
}

pub(super) fn check_hook(raw: &RawHook, source: &Source) -> Result<Option<PathBuf>, Error> {
    let Some(exec) = &raw.exec else { return Ok(None) };
    let is_absolute = |path: &Path| path.is_absolute();
    match is_absolute(exec.get_ref()) {
        true => Ok(Some(exec.get_ref().clone())),
        false => Err(source.fault(exec.span(), "must be the absolute path of an executable")),
    }
}

pub(super) fn check_failback(
    raw: Option<&RawFailback>,
    source: &Source,
) -> Result<Failback, Error> {
    let Some(raw) = raw else { return Ok(Failback::Keep) };
    let words: Vec<&str> = raw.get_ref().split_whitespace().collect();
    let seconds = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    match words[..] {
        ["keep"] => Ok(Failback::Keep),
        ["cut"] => Ok(Failback::Cut),
        ["drain", text] if seconds(text).is_some() => {
            Ok(Failback::Drain(seconds(text).unwrap_or_default()))
        }
        _ => Err(source.fault(raw.span(), "must be \"keep\", \"cut\" or \"drain SECONDS\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_as_it_is_written() {
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
        for (bad, why) in [
            ("example.org", "a name would be looked up"),
            ("tcp:example.org:53", "a name would be looked up"),
            ("http://example.org/", "a name would be looked up"),
            ("dns:dns.google:example.org", "a name would be looked up"),
            ("tcp:9.9.9.9", "lacks its port"),
            ("tcp:9.9.9.9:0", "no port"),
            ("dns:8.8.8.8", "is not of the form"),
            ("dns:8.8.8.8:a..b", "no name to ask for"),
            ("https://10.0.0.1/", "is no target"),
            ("127.0.0.1", "no IPv4 address of a host"),
            ("http://10.0.0.1/a b", "no URL can have"),
            ("", "no IPv4 address of a host"),
        ] {
            let fault = bad.parse::<Target>().expect_err(bad);
            assert!(fault.contains(why), "{bad}: {fault}");
        }
    }

    #[test]
    fn a_time_has_its_unit() {
        for (text, ms) in [("1s", 1000), ("1.5s", 1500), ("250ms", 250), ("60s", 60000)] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)));
        }
        for bad in ["", "1", "s", "ms", "0s", "61s", "-1s", "1e1s", "1m", "infs", "1 s"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }
}
