//! Damages to rules, routes and nexthops, as `ip` lists them.

use serde_json::Value;

use super::damages::{Damage, Kind};
use crate::lab::Lab;

pub fn rules(lab: &Lab) -> Vec<Damage> {
    let listed = lab.gateway.sh("ip -4 rule show");
    listed.lines().filter_map(|line| line.strip_suffix(" proto 87")).flat_map(of_rule).collect()
}

fn of_rule(line: &str) -> Vec<Damage> {
    let (pref, text) = line.split_once(":\t").expect("a preference");
    let text = text.replace("[detached] ", "");
    let pref: u32 = pref.parse().expect("a number");
    let rule = |pref: u32, text: &str| format!("pref {pref} {text} proto 87");
    let delete = format!("ip rule del {}", rule(pref, &text));
    let step = format!("pref {pref} ");
    let damage = |kind, commands| Damage::new(kind, line, commands, &step);
    let other =
        |text: &str| damage(Kind::Altered, format!("{delete}\nip rule add {}", rule(pref, text)));
    let mut damages = vec![
        damage(Kind::Deleted, delete.clone()),
        damage(Kind::Altered, format!("{delete}\nip rule add {}", rule(pref + 5, &text))),
        // While it is there, `ip rule add` takes ours for a copy of it.
        other(&invert(&text)).beyond_ip(),
        other(&text.replace("from all", "from 192.168.7.0/24")).beyond_ip(),
        // An exact copy, which `ip rule add` refuses.
        damage(Kind::Doubled, exact_copy(&rule(pref, &text))),
    ];
    for (part, changed) in [
        ("/0xff", "/0x1ff"),
        ("lookup 2", "lookup 7"),
        ("lookup 3", "lookup 2"),
        ("lookup main", "lookup 254777"),
        ("blackhole", "unreachable"),
    ] {
        if text.contains(part) {
            damages.push(other(&text.replace(part, changed)));
        }
    }
    damages
}

fn invert(text: &str) -> String {
    match text.strip_prefix("not ") {
        Some(plain) => plain.to_owned(),
        None => format!("not {text}"),
    }
}

/// `ip rule restore` adds rules that exist already. It reads what was saved in a namespace that has
/// only this rule and its device.
fn exact_copy(rule: &str) -> String {
    let mut words = rule.split(' ');
    let dev = words.find(|word| *word == "iif").and_then(|_| words.next());
    let dev = dev.map(|dev| format!("ip link add {dev} type bridge")).unwrap_or_default();
    format!(
        "unshare -n sh -ec '{dev}\nip -4 rule flush\nip -4 rule del pref 0\n\
         ip rule add {rule}\nip -4 rule save' | ip rule restore"
    )
}

pub fn routes(lab: &Lab) -> Vec<Damage> {
    let listed = lab.gateway.json("ip -j -4 route show table all proto 87");
    listed.as_array().expect("a list").iter().flat_map(of_route).collect()
}

fn of_route(route: &Value) -> Vec<Damage> {
    let table = match &route["table"] {
        Value::String(table) => table.clone(),
        other => other.to_string(),
    };
    let metric = route["metric"].as_u64().unwrap_or(0);
    let kind = route["type"].as_str().unwrap_or_default().to_owned();
    let target = match (route["nhid"].as_u64(), route["gateway"].as_str(), route["dev"].as_str()) {
        (Some(id), ..) => format!("nhid {id}"),
        (None, Some(via), Some(dev)) => format!("via {via} dev {dev} onlink"),
        (None, None, Some(dev)) => format!("dev {dev}"),
        _ => String::new(),
    };
    let at = |metric: u64| format!("table {table} metric {metric}");
    let (spec, place) = (format!("{kind} default {target} {}", at(metric)), at(metric));
    let step = format!("table {table}");
    let object = format!("{kind} default {target} {place}");
    let damage = |kind, commands: String| Damage::new(kind, &object, commands, &step);
    let delete = format!("ip route del {spec} proto 87");
    // A metric next to it that no route of ours has.
    let beside = if metric == u64::from(u32::MAX) { metric - 1 } else { metric + 3 };
    let mut damages = vec![
        damage(Kind::Deleted, delete.clone()),
        damage(
            Kind::Altered,
            format!("{delete}\nip route add {kind} default {target} {} proto 87", at(beside)),
        ),
        damage(Kind::Altered, format!("ip route replace prohibit default {place} proto 87")),
        damage(
            Kind::Doubled,
            format!("ip route add {kind} default {target} {} proto 87", at(beside)),
        ),
        damage(Kind::Doubled, format!("ip route prepend blackhole default {place} proto 87")),
    ];
    if kind.is_empty() {
        for other in ["dev br0", "nhid 8701"] {
            if !target.starts_with(other) {
                let change = format!("ip route replace default {other} {place} proto 87");
                damages.push(damage(Kind::Altered, change));
            }
        }
        if target.ends_with("onlink") {
            let spec = spec.replace("onlink", "");
            damages.push(damage(Kind::Altered, format!("ip route replace {spec} proto 87")));
        }
        let change = format!("ip route replace {spec} mtu 1280 proto 87");
        damages.push(damage(Kind::Altered, change));
    }
    damages
}

pub fn nexthops(lab: &Lab) -> Vec<Damage> {
    let listed = lab.gateway.json("ip -j nexthop show");
    let ours = listed.as_array().expect("a list").iter().filter(|it| it["protocol"] == "87");
    ours.flat_map(of_nexthop).collect()
}

fn of_nexthop(nexthop: &Value) -> Vec<Damage> {
    let id = nexthop["id"].as_u64().expect("an id");
    let step = format!("id {id} ");
    let damage =
        |kind, commands: String| Damage::new(kind, &format!("nexthop {id}"), commands, &step);
    let replace =
        |what: &str| damage(Kind::Altered, format!("ip nexthop replace id {id} {what} proto 87"));
    let recreated = |what: &str| {
        let commands = format!("ip nexthop del id {id}\nip nexthop add id {id} {what} proto 87");
        damage(Kind::Altered, commands)
    };
    let mut damages = vec![damage(Kind::Deleted, format!("ip nexthop del id {id}"))];
    if let Some(members) = nexthop["group"].as_array() {
        let members: Vec<u64> = members.iter().filter_map(|member| member["id"].as_u64()).collect();
        let with_weight = |weight: u32| {
            let each = members.iter().map(|id| format!("{id},{weight}"));
            format!("group {}", each.collect::<Vec<_>>().join("/"))
        };
        damages.extend([
            replace(&with_weight(7)),
            replace(&format!("group {}", members[0])),
            recreated(&format!("group {} type resilient buckets 32", members[0])),
            recreated("dev br0"),
        ]);
    } else {
        let dev = nexthop["dev"].as_str().expect("a device");
        let via = nexthop["gateway"].as_str();
        damages.extend([replace("dev br0"), recreated("blackhole")]);
        damages.extend(via.map(|via| replace(&format!("via {via} dev {dev}"))));
    }
    damages
}
