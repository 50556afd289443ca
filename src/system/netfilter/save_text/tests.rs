//! What is read of saved rulesets, and which of their rules accept packets before those of wanpool.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn texts(found: &[AcceptingRule]) -> Vec<&str> {
    found.iter().map(|rule| rule.text.as_str()).collect()
}

#[test]
fn only_the_chains_of_wanpool_and_the_jumps_to_them_are_read() {
    let filter = parse(
        "# Generated\n*filter\n:WANPOOL - [0:0]\n-A FORWARD -j WANPOOL\nCOMMIT\n\
         *nat\n:PREROUTING ACCEPT [0:0]\n:WANPOOL - [0:0]\n:DOCKER - [0:0]\n\
         -A POSTROUTING -j WANPOOL\n-A POSTROUTING -j DOCKER\n-A DOCKER -g WANPOOL\n\
         -A WANPOOL -o ppp0 -j MASQUERADE\nCOMMIT\n*security\n:WANPOOL - [0:0]\nCOMMIT\n",
    );
    assert_eq!(filter.chains.len(), 1);
    let rules: Vec<_> =
        filter.chains[&Chain::MASQUERADE].iter().map(iptables_text::render).collect();
    assert_eq!(rules, ["-o ppp0 -j MASQUERADE"]);
    let jumps: Vec<_> = filter
        .jumps
        .iter()
        .map(|jump| (jump.from.as_str(), iptables_text::render(&jump.rule)))
        .collect();
    assert_eq!(
        jumps,
        [("POSTROUTING", "-j WANPOOL".to_owned()), ("DOCKER", "-g WANPOOL".to_owned())]
    );
}

#[test]
fn a_text_in_quotes_is_one_word() {
    for (rule, target) in [
        (r#"-m comment --comment "to -j ACCEPT" -j WANPOOL"#, "WANPOOL"),
        (r#"-m comment --comment "a \" -j b" -j WANPOOL"#, "WANPOOL"),
        (r#"-j LOG --log-prefix "x -j ACCEPT ""#, "LOG"),
        (r#"-m comment --comment plain -g WANPOOL"#, "WANPOOL"),
    ] {
        let saved = SavedRule { table: Table::Mangle, chain: "PREROUTING", text: rule };
        assert_eq!(saved.target(), Some(target), "{rule}");
    }
}

#[test]
fn a_rule_is_reported_if_it_accepts_packets_before_a_jump_to_wanpool() {
    let text = "*mangle\n-A PREROUTING -i eth9 -j MARK --set-xmark 0x1/0x1\n\
                -A PREROUTING -i eth8 -j vpn\n-A PREROUTING ! -i eth6 -j RETURN\n\
                -A PREROUTING -i eth5 -j quiet\n-A quiet -j RETURN\n-A PREROUTING -j WANPOOL\n\
                -A PREROUTING -i eth7 -j ACCEPT\n-A vpn -p esp -j ACCEPT\nCOMMIT\n\
                *filter\n-A FORWARD -j ACCEPT\n-A FORWARD -j WANPOOL\nCOMMIT\n\
                *nat\n-A POSTROUTING -d 10.9.0.0/16 -j ACCEPT
-A POSTROUTING -m policy --dir out --pol ipsec -j ACCEPT
-A POSTROUTING -s 10.9.0.0/16 -j ACCEPT\n-A POSTROUTING -j WANPOOL\n";
    let found = accepting_rules(text);
    assert_eq!(
        texts(&found),
        [
            "nat POSTROUTING -s 10.9.0.0/16 -j ACCEPT",
            "mangle PREROUTING -i eth8 -j vpn",
            "mangle PREROUTING ! -i eth6 -j RETURN",
        ]
    );
    let device = |pattern: &str, negated| Some(DeviceMatch { pattern: pattern.into(), negated });
    let inputs: Vec<_> = found.into_iter().map(|rule| rule.input).collect();
    assert_eq!(inputs, [None, device("eth8", false), device("eth6", true)]);
}

#[test]
fn a_rule_that_leaves_a_built_in_chain_accepts_packets() {
    for (rule, chains, is_found) in [
        ("-j ACCEPT", "", true),
        ("-j RETURN", "", true),
        ("-g vpn", "-A vpn -j ACCEPT\n", true),
        ("-g vpn", "-A vpn -p udp -j RETURN\n", true),
        ("-j vpn", "-A vpn -j deep\n-A deep -p udp -j ACCEPT\n", true),
        ("-j vpn", "-A vpn -p udp -j RETURN\n", false),
        ("-j vpn", "", false),
        ("-j MARK --set-xmark 0x1/0x1", "", false),
    ] {
        let text = format!("*mangle\n-A PREROUTING {rule}\n-A PREROUTING -j WANPOOL\n{chains}");
        assert_eq!(accepting_rules(&text).len(), usize::from(is_found), "{text}");
    }
}

/// Thirty chains, each of which leads to the next one three times: to follow every way through
/// them would never end.
#[test]
fn each_chain_is_visited_once() {
    let mut text = String::from("*mangle\n-A PREROUTING -j c0\n-A PREROUTING -j WANPOOL\n");
    for at in 0..30 {
        text += &format!("-A c{at} -j c{next}\n", next = at + 1).repeat(3);
    }
    assert!(accepting_rules(&text).is_empty());
    text += "-A c30 -j c0\n";
    assert!(accepting_rules(&text).is_empty(), "a loop");
    text += "-A c30 -j ACCEPT\n";
    assert_eq!(texts(&accepting_rules(&text)), ["mangle PREROUTING -j c0"]);
}

/// Lines as `iptables-save` prints them, and lines that it never would.
fn saved() -> impl Strategy<Value = String> {
    let word = prop::sample::select(
        &["WANPOOL", "PREROUTING", "-j", "-g", "ACCEPT", "RETURN", "-i", "!", "é", "\"", "a", ""][..],
    );
    let rule = vec(word, 0..8).prop_map(|words| format!("-A {}", words.join(" ")));
    let fixed = ["*mangle", "*nat", "*", ":WANPOOL - [0:0]", ":", ": ", "COMMIT", "-A", "-A ", "#"];
    let line = prop_oneof![4 => rule, 2 => prop::sample::select(fixed.to_vec()).prop_map(String::from),
        1 => any::<String>()];
    vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_text_is_read_without_a_panic(text in saved()) {
        let filter = parse(&text);
        let rules: usize = filter.chains.values().map(Vec::len).sum();
        prop_assert!(rules + filter.jumps.len() <= text.lines().count());
        prop_assert!(accepting_rules(&text).len() <= text.lines().count());
    }
}
