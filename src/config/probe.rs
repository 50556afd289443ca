//! `[probe]` and `[uplink.N.probe]`: their shape in the file, and the checks.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::source::Source;
use crate::error::Error;
use crate::model::probe::ProbeSettings;

#[derive(Clone, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeSection {
    targets: Option<Vec<Spanned<String>>>,
    count: Option<Spanned<i64>>,
    need: Option<Spanned<i64>>,
    timeout: Option<Spanned<String>>,
    down: Option<Spanned<i64>>,
    up: Option<Spanned<i64>>,
}

impl ProbeSection {
    /// Takes each key that is absent from another section.
    pub(super) fn or(self, other: &ProbeSection) -> ProbeSection {
        let other = other.clone();
        ProbeSection {
            targets: self.targets.or(other.targets),
            count: self.count.or(other.count),
            need: self.need.or(other.need),
            timeout: self.timeout.or(other.timeout),
            down: self.down.or(other.down),
            up: self.up.or(other.up),
        }
    }
}

pub(super) fn check_probe(section: &ProbeSection, source: &Source) -> Result<ProbeSettings, Error> {
    let default = ProbeSettings::default();
    let mut targets = Vec::new();
    for target in section.targets.iter().flatten() {
        targets.push(source.parse(target)?);
    }
    let timeout = match &section.timeout {
        None => default.timeout,
        Some(given) => {
            parse_time(given.get_ref()).map_err(|reason| source.error(given.span(), reason))?
        }
    };
    let probe = ProbeSettings {
        targets,
        count: source.number(&section.count, default.count, 1..=100)?,
        need: source.number(&section.need, default.need, 1..=100)?,
        timeout,
        down: source.number(&section.down, default.down, 1..=100)?,
        up: source.number(&section.up, default.up, 1..=100)?,
    };
    // Without targets there is one: the peer or the gateway.
    let targets = probe.targets.len().max(1);
    if usize::from(probe.need) > targets {
        let reason = format!("need = {} is more than the number of targets, {targets}", probe.need);
        return Err(source.error_at(section.need.as_ref(), reason));
    }
    Ok(probe)
}

/// `1s`, `1.5s` or `500ms`, from 10 ms to a minute.
fn parse_time(text: &str) -> Result<Duration, String> {
    let seconds = if let Some(number) = text.strip_suffix("ms") {
        parse_decimal(number).map(|milliseconds| milliseconds / 1000.0)
    } else if let Some(number) = text.strip_suffix('s') {
        parse_decimal(number)
    } else {
        None
    };
    match seconds {
        Some(seconds) if (0.01..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("{text:?} is not a time from \"10ms\" to \"60s\"")),
    }
}

/// Digits and a point; neither a sign nor an exponent nor `inf`.
fn parse_decimal(text: &str) -> Option<f64> {
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, ms) in
            [("1s", 1000), ("1.5s", 1500), ("250ms", 250), ("10ms", 10), ("60s", 60000)]
        {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)));
        }
        for bad in ["", "1", "s", "ms", "0s", "61s", "-1s", "1e1s", "1m", "infs", "1 s", "9ms"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }
}
