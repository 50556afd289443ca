//! `restore`: applies the configuration and the pool files to the kernel, or puts one uplink back in
//! service.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use super::transaction::{ReadScope, Run};
use super::{Context, print_error, report};
use crate::cli::Restore;
use crate::error::Error;
use crate::plan::uplinks::Intent;

pub fn run(context: &Context, args: &Restore) -> Result<()> {
    let Some(intent) = intent(context, args)? else {
        return report::print_nothing(context);
    };
    let scope = match intent {
        Intent::RestoreAll { .. } => ReadScope::All,
        _ => ReadScope::Changed,
    };
    warn_if_temporary(context, intent);
    let servers = name_servers(context, args)?;
    let run = Run::begin_for_uplinks(context, "restore", scope)?;
    if let (Intent::Restore { uplink, .. } | Intent::Returned { uplink, .. }, false) =
        (intent, servers.is_empty())
    {
        run.keep_name_servers(uplink, &servers);
    }
    run.finish_uplinks(intent)
}

/// A hook passes on what its caller gave it, perhaps with IPv6 addresses among it.
fn name_servers(context: &Context, args: &Restore) -> Result<Vec<IpAddr>, Error> {
    let mut servers = Vec::new();
    for word in args.dns.as_deref().unwrap_or_default().split([' ', ',']) {
        match word.parse::<Ipv4Addr>() {
            Ok(server) => servers.push(server.into()),
            Err(_) if context.options.hook || word.is_empty() => {}
            Err(_) => {
                let place =
                    format!("invalid value '{}' for '--dns <SERVERS>'", word.escape_debug());
                return Err(Error::usage(place, "invalid IPv4 address syntax; see wanpool help"));
            }
        }
    }
    Ok(servers)
}

/// `None` if a hook names a device that is no uplink.
fn intent(context: &Context, args: &Restore) -> Result<Option<Intent>> {
    let by_hook = context.options.hook;
    let Some(name) = &args.uplink else { return Ok(Some(Intent::RestoreAll { by_hook })) };
    let Some(uplink) = context.uplink(name)? else { return Ok(None) };
    let via = args.via.as_deref();
    Ok(Some(if context.options.hook {
        Intent::Returned { uplink, via: gateway_from_hook(via.unwrap_or_default())? }
    } else {
        Intent::Restore { uplink, via: via.map(gateway).transpose()? }
    }))
}

/// The next run uses the gateway in the configuration again.
fn warn_if_temporary(context: &Context, intent: Intent) {
    let Intent::Restore { uplink, via: Some(given) } = intent else { return };
    let configured = context.config.uplinks.get(&uplink).and_then(|uplink| uplink.via);
    if let Some(configured) = configured.filter(|configured| *configured != given) {
        print_error(format!(
            "uplink {uplink} ({}): {given} is used until the next run; {} has via {configured}: \
             change it there",
            context.dev(uplink),
            context.config.path.display()
        ));
    }
}

fn gateway(text: &str) -> Result<IpAddr, Error> {
    text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| {
        let place = format!("invalid value '{}' for '--via <GATEWAY>'", text.escape_debug());
        Error::usage(place, "invalid IPv4 address syntax; see wanpool help")
    })
}

/// A hook passes on what its caller gave it: an empty text or 0.0.0.0 if there is no gateway, or DHCP's
/// list of routers in order of preference (RFC 2132), of which the first counts.
fn gateway_from_hook(text: &str) -> Result<Option<IpAddr>, Error> {
    let Some(first) = text.split_whitespace().next() else { return Ok(None) };
    let gateway = gateway(first)?;
    Ok(if gateway.is_unspecified() { None } else { Some(gateway) })
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
