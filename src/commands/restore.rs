//! `restore`: everything as configuration and pool files say, or one uplink back in service.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::Context;
use super::change::Run;
use crate::cli::Restore;
use crate::config::Fault;
use crate::plan::placement;
use crate::plan::service::Intent;

pub fn run(context: &Context, args: &Restore) -> Result<()> {
    let intent = match &args.uplink {
        None => Intent::RestoreAll,
        Some(name) => {
            let Some(uplink) = context.uplink(name)? else { return Ok(()) };
            let is_hook = context.options.hook;
            let via = match &args.via {
                Some(text) if is_hook => gateway_from_hook(text)?,
                Some(text) => Some(gateway(text)?),
                None => None,
            };
            if is_hook { Intent::Returned { uplink, via } } else { Intent::Restore { uplink, via } }
        }
    };
    let run = Run::begin(context, "restore")?;
    let mut pools = run.pools.clone();
    placement::tidy(&context.config, &mut pools);
    run.finish(pools, vec![], intent)
}

fn gateway(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| {
        let place = format!("invalid value '{}' for '--via <GATEWAY>'", text.escape_debug());
        Fault::of(&place, "invalid IPv4 address syntax; see wanpool help")
    })
}

/// A hook passes on what its caller gave it: nothing or 0.0.0.0 where there is no gateway, and of
/// DHCP's list of routers, in the order of preference (RFC 2132), the first counts.
fn gateway_from_hook(text: &str) -> Result<Option<Ipv4Addr>, Fault> {
    match text.split_whitespace().next() {
        None => Ok(None),
        Some(first) => Ok(Some(gateway(first)?).filter(|gateway| !gateway.is_unspecified())),
    }
}

#[cfg(test)]
mod tests {
    use super::gateway_from_hook;

    #[test]
    fn a_hook_may_give_a_gateway_several_or_none() {
        for (text, gateway) in [
            ("", None),
            (" ", None),
            ("0.0.0.0", None),
            ("10.65.4.1", Some([10, 65, 4, 1].into())),
            ("10.65.4.1 10.65.4.3", Some([10, 65, 4, 1].into())),
        ] {
            assert_eq!(gateway_from_hook(text).unwrap(), gateway, "{text:?}");
        }
        assert!(gateway_from_hook("10.65.4").is_err());
    }
}
