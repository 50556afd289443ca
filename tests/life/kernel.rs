//! The slice that the model asks for, and the one that the kernel has, both as lines of text.

use serde_json::Value;

use super::model::{Line, Model, Out};
use crate::lab::Lab;

/// Sorted lines, one for each nexthop, route and rule.
pub fn wanted(lab: &Lab, model: &Model) -> Vec<String> {
    let mut lines = Vec::new();
    nexthops(model, &mut lines);
    routes(model, &mut lines);
    rules(lab, model, &mut lines);
    lines.sort();
    lines
}

fn via(line: &Line) -> String {
    line.via.map_or(String::new(), |via| format!(" via {via}"))
}

fn nexthops(model: &Model, lines: &mut Vec<String>) {
    let base = model.nexthop_base;
    for no in model.in_service() {
        let line = &model.lines[&no];
        lines.push(format!("nexthop {} dev {}{}", base + u32::from(no), line.dev, via(line)));
    }
    for (id, members) in [(base, model.active()), (base + 51, model.backups())] {
        let member = |no: &u8| format!("{}*{}", base + u32::from(*no), model.lines[no].weight);
        if !members.is_empty() {
            let members: Vec<String> = members.iter().map(member).collect();
            lines.push(format!("nexthop {id} group {}", members.join(" ")));
        }
    }
}

fn routes(model: &Model, lines: &mut Vec<String>) {
    let base = model.nexthop_base;
    let mut fallback = vec!["unreachable metric 4294967295".to_owned()];
    if !model.backups().is_empty() {
        fallback.push(format!("nhid {} metric 30", base + 51));
    }
    for (&no, line) in &model.lines {
        let (pool, own) = (200 + u32::from(no), 300 + u32::from(no));
        let mut routes = fallback.clone();
        if !model.active().is_empty() {
            routes.push(format!("nhid {base} metric 20"));
        }
        if line.in_service {
            routes.push(format!("nhid {} metric 10", base + u32::from(no)));
        }
        if let Some(to) = line.to {
            routes.push(format!("nhid {} metric 15", base + u32::from(to)));
        }
        lines.extend(routes.iter().map(|route| format!("table {pool} default {route}")));

        let dev = format!("table {own} default dev {}{}", line.dev, via(line));
        if line.in_service || (line.out.is_some() && line.exists() && line.up) {
            lines.push(format!("{dev} metric 0"));
            if line.via.is_some() && line.address {
                lines.push(format!("table {own} 10.65.4.0/24 dev {} metric 0", line.dev));
            }
        }
        match line.out {
            Some(Out::ByProbe) => lines.push(format!("{dev} metric 2")),
            Some(Out::ByHand) if line.exists() => {
                lines.push(format!("table {own} throw metric 1"));
            }
            _ if line.has_old_mark => lines.push(format!("table {own} throw metric 1")),
            _ => {}
        }
    }
    if !model.active().is_empty() {
        fallback.push(format!("nhid {base} metric 0"));
    }
    lines.extend(fallback.iter().map(|route| format!("table 200 default {route}")));
}

fn rules(lab: &Lab, model: &Model, lines: &mut Vec<String>) {
    let mut rules = vec![
        "20180 from all fwmark 0x80/0x80 iif lo lookup main".to_owned(),
        "20190 from all fwmark 0x80/0x80 lookup 200".to_owned(),
        "20195 not from all fwmark 0/0xff lookup main suppress_prefixlength 0".to_owned(),
        "20300 from all iif br0 lookup main suppress_prefixlength 0".to_owned(),
        "20301 from all iif br0 lookup 200".to_owned(),
    ];
    if model.multipath {
        rules.push("32000 from all lookup main suppress_prefixlength 0".to_owned());
        rules.push("32001 from all lookup 200".to_owned());
    }
    for (&no, line) in &model.lines {
        let dev = &line.dev;
        let no = u32::from(no);
        rules.push(format!("20010 from all iif {dev} lookup main suppress_prefixlength 1"));
        rules.push(format!("20020 from all iif {dev} blackhole"));
        rules.push(format!(
            "{} from all fwmark {:#x}/0xff lookup {}",
            20110 + no,
            0x80 + no,
            300 + no
        ));
        rules.push(format!("{} from all fwmark {no:#x}/0xff lookup {}", 20200 + no, 200 + no));
        rules.push(format!("20280 from all oif {dev} lookup {}", 300 + no));
        if line.has_bound_rules {
            let address = lab.uplink_address(no as u8);
            let begins = format!("from {address} fwmark 0x7f/0xff iif lo lookup");
            rules.push(format!("20288 {begins} main suppress_prefixlength 0"));
            rules.push(format!("20289 {begins} {}", 300 + no));
            rules.push(format!("20290 from {address} iif lo lookup main"));
            rules.push(format!("20291 from {address} iif lo lookup {}", 300 + no));
        }
    }
    lines.extend(rules.iter().map(|rule| format!("rule {rule} proto 87")));
}

/// The same of the kernel.
pub fn found(lab: &Lab) -> Vec<String> {
    let mut lines = Vec::new();
    for nexthop in lab.gateway.json("ip -j nexthop show protocol 87").as_array().expect("an array")
    {
        lines.push(nexthop_line(nexthop));
    }
    let routes = lab.gateway.json("ip -j -4 route show table all protocol 87");
    for route in routes.as_array().expect("an array") {
        lines.push(route_line(route));
    }
    for (pref, rule) in lab.rules() {
        // The device of a rule need not exist.
        lines.push(format!("rule {pref} {}", rule.replace(" [detached]", "")));
    }
    lines.sort();
    lines
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn nexthop_line(nexthop: &Value) -> String {
    let id = &nexthop["id"];
    if let Some(members) = nexthop["group"].as_array() {
        let member =
            |member: &Value| format!("{}*{}", member["id"], member["weight"].as_u64().unwrap_or(1));
        let members: Vec<String> = members.iter().map(member).collect();
        return format!("nexthop {id} group {}", members.join(" "));
    }
    format!("nexthop {id} dev {}{}", word(&nexthop["dev"]), gateway(nexthop))
}

fn gateway(object: &Value) -> String {
    object["gateway"].as_str().map_or(String::new(), |via| format!(" via {via}"))
}

fn route_line(route: &Value) -> String {
    let (table, metric) = (word(&route["table"]), route["metric"].as_u64().unwrap_or(0));
    let target = match (route["type"].as_str(), route["nhid"].as_u64()) {
        (Some("throw"), _) => return format!("table {table} throw metric {metric}"),
        (Some("unreachable"), _) => "unreachable".to_owned(),
        (_, Some(id)) => format!("nhid {id}"),
        _ => format!("dev {}{}", word(&route["dev"]), gateway(route)),
    };
    format!("table {table} {} {target} metric {metric}", word(&route["dst"]))
}
