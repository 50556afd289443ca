//! Rules as the kernel lists them: what `nft --debug=netlink` shows, as bytes.

use super::value::*;
use super::*;
use crate::model::Mark;
use crate::model::filter::DeviceMatch;
use crate::system::netlink::golden::links;
use crate::system::netlink::message::MessageBuilder;

const BR0: &[u8] = b"br0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const PPP: &[u8] = b"ppp";

/// One expression with attributes that hold numbers or values.
fn expression(name: &str, data: impl FnOnce(MessageBuilder) -> MessageBuilder) -> MessageBuilder {
    MessageBuilder::default().nest(1, |it| it.put_str(1, name).nest(2, data))
}

fn number(it: MessageBuilder, kind: u16, number: u32) -> MessageBuilder {
    it.put(kind, &number.to_be_bytes())
}

fn load(name: &str, key: u32) -> MessageBuilder {
    expression(name, |it| number(number(it, 1, 1), 2, key))
}

fn mask(mask: u32, xor: u32) -> MessageBuilder {
    expression("bitwise", |it| {
        let it = number(number(it, 1, 1), 2, 1);
        let it = it.nest(4, |it| it.put(1, &mask.to_ne_bytes()));
        it.nest(5, |it| it.put(1, &xor.to_ne_bytes()))
    })
}

fn compare(operator: u32, value: &[u8]) -> MessageBuilder {
    expression("cmp", |it| number(number(it, 1, 1), 2, operator).nest(3, |it| it.put(1, value)))
}

fn lookup(is_map: bool) -> MessageBuilder {
    expression("lookup", |it| {
        let it = number(it.put_str(1, "set"), 2, 1);
        if is_map { number(it, 3, NFT_REG_VERDICT) } else { it }
    })
}

fn end(code: i32, chain: &str) -> MessageBuilder {
    expression("immediate", |it| {
        number(it, 1, NFT_REG_VERDICT)
            .nest(2, |it| it.nest(2, |it| it.put(1, &code.to_be_bytes()).put_str(2, chain)))
    })
}

fn set_mark(name: &str) -> MessageBuilder {
    let register = if name == "meta" { NFTA_META_SREG } else { NFTA_CT_SREG };
    expression(name, |it| number(number(it, 2, 3), register, 1))
}

fn rules(expressions: Vec<MessageBuilder>) -> Vec<ForeignRule> {
    let bytes: Vec<u8> =
        expressions.into_iter().flat_map(|it| it.into_message(0).payload).collect();
    let elements = |set: &str| {
        assert_eq!(set, "set");
        let element = |key: &[u8], verdict| Element { key: key.to_vec(), verdict };
        vec![element(BR0, Some(Effect::Drop)), element(b"wg0\0", Some(Effect::Return))]
    };
    read(&bytes, &DeviceIndex::new(&links()), &elements, "nft ip q c handle 4")
}

fn device(pattern: &str, negated: bool) -> DeviceMatch {
    DeviceMatch { pattern: pattern.to_owned(), negated }
}

#[test]
fn a_rule_is_read_as_conditions_and_an_effect() {
    let accept = || end(1, "");
    let input = |pattern, negated| Condition::Input(device(pattern, negated));
    let number = |number: u32| number.to_ne_bytes();
    for (expressions, conditions, effect) in [
        (vec![accept()], vec![], Effect::Accept),
        (vec![expression("counter", |it| it), end(0, "")], vec![], Effect::Drop),
        (vec![expression("reject", |it| it)], vec![], Effect::Drop),
        (vec![end(NFT_JUMP, "lan")], vec![], Effect::Jump("lan".into())),
        (vec![end(NFT_GOTO, "lan")], vec![], Effect::Goto("lan".into())),
        (vec![end(NFT_RETURN, "")], vec![], Effect::Return),
        (
            vec![load("meta", NFT_META_IIFNAME), compare(NFT_CMP_EQ, BR0), accept()],
            vec![input("br0", false)],
            Effect::Accept,
        ),
        (
            vec![load("meta", NFT_META_IIF), compare(NFT_CMP_NEQ, &number(2)), accept()],
            vec![input("br0", true)],
            Effect::Accept,
        ),
        (
            vec![load("meta", NFT_META_OIFNAME), compare(NFT_CMP_EQ, PPP), accept()],
            vec![Condition::Output(device("ppp+", false))],
            Effect::Accept,
        ),
        (
            vec![
                load("meta", NFT_META_IIFNAME),
                compare(NFT_CMP_EQ, BR0),
                expression("payload", |it| it),
                compare(NFT_CMP_EQ, BR0),
                accept(),
            ],
            vec![input("br0", false), Condition::Unknown, Condition::Unknown],
            Effect::Accept,
        ),
        (
            vec![load("meta", NFT_META_NFPROTO), compare(NFT_CMP_EQ, &[2]), accept()],
            vec![],
            Effect::Accept,
        ),
        (
            vec![load("meta", NFT_META_L4PROTO), compare(NFT_CMP_EQ, &[1]), accept()],
            vec![Condition::OtherTraffic],
            Effect::Accept,
        ),
        (
            vec![
                load("ct", NFT_CT_STATUS),
                mask(STATUS_DNAT, 0),
                compare(NFT_CMP_NEQ, &number(0)),
                accept(),
            ],
            vec![Condition::OtherTraffic],
            Effect::Accept,
        ),
        (
            vec![load("meta", NFT_META_MARK), mask(0xff, 0), compare(NFT_CMP_EQ, &number(1))],
            vec![Condition::Mark { mark: Mark { value: 1, mask: 0xff }, negated: false }],
            Effect::Other,
        ),
    ] {
        let count = expressions.len();
        let expressions = match effect {
            Effect::Other => expressions.into_iter().chain([end(-1, "")]).collect(),
            _ => expressions,
        };
        let found = rules(expressions);
        assert_eq!(found.len(), 1, "{count} {effect:?}");
        assert_eq!((&found[0].conditions, &found[0].effect), (&conditions, &effect));
        assert_eq!(found[0].text, "nft ip q c handle 4");
    }
}

#[test]
fn the_state_of_a_flow_is_new_or_not() {
    let states = |operator, state: u32, value: u32| {
        let expressions = vec![
            load("ct", NFT_CT_STATE),
            mask(state, 0),
            compare(operator, &value.to_ne_bytes()),
            end(1, ""),
        ];
        rules(expressions)[0].conditions.clone()
    };
    for (operator, state, value, is_new) in [
        (NFT_CMP_NEQ, 8, 0, true),
        (NFT_CMP_NEQ, 6, 0, false),
        (NFT_CMP_EQ, 8, 0, false),
        (NFT_CMP_EQ, 8, 8, true),
        (NFT_CMP_EQ, 2, 2, false),
    ] {
        let wanted = [Condition::NewFlow(is_new)];
        assert_eq!(states(operator, state, value), wanted, "{operator} {state} {value}");
    }
}

#[test]
fn a_set_is_one_condition_and_a_map_is_a_rule_for_each_element() {
    let input = |pattern| Condition::Input(device(pattern, false));
    let name = || load("meta", NFT_META_IIFNAME);
    let found = rules(vec![name(), lookup(false), end(1, "")]);
    assert_eq!(found[0].conditions, [Condition::Any(vec![input("br0"), input("wg0")])]);
    let found = rules(vec![name(), lookup(true)]);
    let read: Vec<_> = found.iter().map(|it| (it.conditions.clone(), it.effect.clone())).collect();
    let wanted = [(vec![input("br0")], Effect::Drop), (vec![input("wg0")], Effect::Return)];
    assert_eq!(read, wanted);
    // What is looked up is not known, and it may be accepted.
    let found = rules(vec![expression("payload", |it| it), lookup(true)]);
    assert_eq!(found[0].effect, Effect::Accept);
}

#[test]
fn a_mark_is_set_in_the_bits_that_change() {
    let value = |value: u32| {
        expression("immediate", |it| number(it, 1, 1).nest(2, |it| it.put(1, &value.to_ne_bytes())))
    };
    for (expressions, bits) in [
        (vec![value(10), set_mark("meta")], Some(u32::MAX)),
        (vec![value(10), set_mark("ct")], Some(u32::MAX)),
        (vec![load("meta", 3), mask(0xffff_00ff, 0x1200), set_mark("meta")], Some(0xff00)),
        (vec![load("meta", 3), mask(u32::MAX, 0x1), set_mark("meta")], Some(1)),
        (vec![load("ct", 3), set_mark("meta")], None),
        (vec![load("meta", 3), set_mark("ct")], None),
        (vec![load("meta", 9), set_mark("meta")], Some(u32::MAX)),
    ] {
        let found = rules(expressions);
        let set = found.first().map(|rule| rule.effect.clone());
        assert_eq!(set, bits.map(|bits| Effect::SetMark { bits }));
    }
}
