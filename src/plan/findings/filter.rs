//! Rules of other programs in the packet filter that drop what clients send to the uplinks, or that set
//! bits of wanpool's marks.

use super::Finding;
use super::filter_path::{DroppedBy, Packet, Sources, dropped_by, met_rules};
use crate::config::{Config, Lan, Uplink};
use crate::model::DevName;
use crate::model::foreign_filter::{Effect, ForeignTable, Hook, HookedChain};
use crate::model::link::Devices;
use crate::model::pools::Pools;

pub fn find(
    config: &Config,
    pools: &Pools,
    devices: &Devices,
    tables: &[ForeignTable],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = &Sources::of(pools);
    for dev in lan_devices(config, pools, devices) {
        for table in tables {
            for hooked in &table.hooks {
                let gateway = Gateway { config, sources, devices, lan: dev };
                findings.extend(match hooked.hook {
                    Hook::Forward => gateway.dropped(table, hooked),
                    Hook::Prerouting => gateway.overwritten_mark(table, hooked),
                });
            }
        }
    }
    findings.dedup();
    findings
}

/// The devices that clients are behind. Without `lan`, these are the devices with a network that a
/// client is in.
fn lan_devices<'a>(config: &Config, pools: &Pools, devices: &'a Devices) -> Vec<&'a DevName> {
    let mut found = Vec::new();
    for link in &devices.links {
        let is_lan = match &config.lan {
            Lan::Devices(lan) => lan.contains(&link.name),
            Lan::AllButUplinks => {
                config.is_lan(link.name.as_str()) && has_client(pools, devices, &link.name)
            }
        };
        if is_lan {
            found.push(&link.name);
        }
    }
    found
}

fn has_client(pools: &Pools, devices: &Devices, dev: &DevName) -> bool {
    let mut networks = devices.addresses_of(dev).filter_map(|address| address.network());
    networks.any(|net| pools.clients().any(|client| net.contains(&client.address())))
}

/// The gateway as clients behind one device see it.
struct Gateway<'a> {
    config: &'a Config,
    sources: &'a Sources,
    devices: &'a Devices,
    lan: &'a DevName,
}

impl Gateway<'_> {
    fn packet(&self, uplink: &Uplink) -> Packet<'_> {
        Packet {
            sources: self.sources,
            input: self.lan.as_str(),
            output: None,
            mark: self.config.kernel_ids.pool_mark(uplink.no).value,
        }
    }

    fn dropped(&self, table: &ForeignTable, hooked: &HookedChain) -> Option<Finding> {
        let mut to = Vec::new();
        let mut cause = None;
        for uplink in self.config.uplinks.values() {
            let output = Some(uplink.dev.as_str());
            let packet = Packet { output, ..self.packet(uplink) };
            let is_there = self.devices.link(&uplink.dev).is_some();
            if let Some(dropped) = dropped_by(&packet, table, hooked).filter(|_| is_there) {
                cause.get_or_insert(dropped);
                to.push(uplink.dev.as_str());
            }
        }
        let chain = title(table, &hooked.chain);
        let cause = match cause? {
            DroppedBy::Policy => format!("the policy of {chain}"),
            DroppedBy::Rule(rule) => format!("a rule: {}", rule.text),
        };
        let lan = self.lan;
        let what = format!("packets from {lan} to {} are dropped by {cause}", to.join(", "));
        Some(Finding::new(what, self.remedy(table, &hooked.chain)))
    }

    /// Lets new flows of clients out, and their answers in.
    fn remedy(&self, table: &ForeignTable, chain: &str) -> String {
        let lan = self.lan;
        if table.nft == "inet firewalld" {
            return format!(
                "firewall-cmd --zone=trusted --change-interface={lan} && \
                 firewall-cmd --runtime-to-permanent"
            );
        }
        if !table.nft.is_empty() {
            let insert = format!("nft insert rule {} {chain}", table.nft);
            return format!(
                "{insert} iifname {lan} accept && \
                 {insert} oifname {lan} ct state established,related accept"
            );
        }
        if table.chains.contains_key("ufw-before-forward") {
            return format!("ufw route allow in on {lan}");
        }
        // Docker keeps the rules that the admin adds to this chain.
        let docker = "DOCKER-USER";
        let chain = if table.chains.contains_key(docker) { docker } else { chain };
        format!(
            "iptables -I {chain} -i {lan} -j ACCEPT && \
             iptables -I {chain} -o {lan} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        )
    }

    fn overwritten_mark(&self, table: &ForeignTable, hooked: &HookedChain) -> Option<Finding> {
        let mask = self.config.kernel_ids.mark_mask;
        let uplink = self.config.uplinks.values().next()?;
        let packet = self.packet(uplink);
        let mut met = met_rules(&packet, table, &hooked.chain).into_iter();
        let rule =
            met.find(|rule| matches!(rule.effect, Effect::SetMark { bits } if bits & mask != 0))?;
        Some(Finding::new(
            format!("a rule overwrites wanpool's marks: {}", rule.text),
            format!(
                "let it set bits outside {mask:#x} only (MARK --set-xmark VALUE/MASK), or set mark-mask"
            ),
        ))
    }
}

fn title(table: &ForeignTable, chain: &str) -> String {
    if table.nft.is_empty() { chain.to_owned() } else { format!("{} {chain}", table.nft) }
}
