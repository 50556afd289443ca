//! Reads the expressions of one nftables rule: which packets of clients it matches, and what it does with
//! them. A verdict map becomes one rule for each of its elements.

use std::collections::BTreeMap;

use crate::model::foreign_filter::{Condition, Effect, ForeignRule};
use crate::system::netlink::DeviceIndex;
use crate::system::netlink::message::{attributes, big_endian_u32, find, native_u32, text};

mod value;

use value::{NFT_CT_MARK, NFT_META_MARK, Value};

// linux/netfilter/nf_tables.h
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_META_SREG: u16 = 3;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_CT_SREG: u16 = 4;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_LOOKUP_SET: u16 = 1;
const NFTA_LOOKUP_SREG: u16 = 2;
const NFTA_LOOKUP_DREG: u16 = 3;
const NFTA_LOOKUP_FLAGS: u16 = 5;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFT_REG_VERDICT: u32 = 0;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NF_DROP: i32 = 0;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;
const NFT_RETURN: i32 = -5;

/// An element of a set, or of a map to verdicts.
pub struct Element {
    key: Vec<u8>,
    verdict: Option<Effect>,
}

/// The rules that the expressions of one rule are. `elements` lists a set.
pub fn read(
    expressions: &[u8],
    devices: &DeviceIndex,
    elements: &dyn Fn(&str) -> Vec<Element>,
    title: &str,
) -> Vec<ForeignRule> {
    let mut reader = Reader {
        devices,
        elements,
        title,
        registers: BTreeMap::new(),
        conditions: vec![],
        rules: vec![],
    };
    for (_, expression) in attributes(expressions).unwrap_or_default() {
        let parts = attributes(expression).unwrap_or_default();
        let name = find(&parts, NFTA_EXPR_NAME).map(text).unwrap_or_default();
        let data = attributes(find(&parts, NFTA_EXPR_DATA).unwrap_or_default());
        reader.read_expression(&name, &data.unwrap_or_default());
    }
    reader.rules
}

pub fn read_element(element: &[u8]) -> Option<Element> {
    let parts = attributes(element).ok()?;
    let key = attributes(find(&parts, NFTA_SET_ELEM_KEY)?).ok()?;
    let key = find(&key, NFTA_DATA_VALUE)?.to_vec();
    let data = attributes(find(&parts, NFTA_SET_ELEM_DATA).unwrap_or_default()).ok()?;
    Some(Element { key, verdict: verdict(&data) })
}

struct Reader<'a> {
    devices: &'a DeviceIndex,
    elements: &'a dyn Fn(&str) -> Vec<Element>,
    title: &'a str,
    registers: BTreeMap<u32, Value>,
    conditions: Vec<Condition>,
    rules: Vec<ForeignRule>,
}

impl Reader<'_> {
    fn read_expression(&mut self, name: &str, data: &[(u16, &[u8])]) {
        let number = |kind| find(data, kind).and_then(big_endian_u32);
        match name {
            "meta" => match (number(NFTA_META_DREG), number(NFTA_META_SREG)) {
                (Some(register), _) => self.load(register, Value::meta(number(NFTA_META_KEY))),
                (None, Some(source)) if number(NFTA_META_KEY) == Some(NFT_META_MARK) => {
                    self.set_mark(source);
                }
                _ => {}
            },
            "ct" => match (number(NFTA_CT_DREG), number(NFTA_CT_SREG)) {
                (Some(register), _) => self.load(register, Value::ct(number(NFTA_CT_KEY))),
                (None, Some(source)) if number(NFTA_CT_KEY) == Some(NFT_CT_MARK) => {
                    self.set_mark(source);
                }
                _ => {}
            },
            "immediate" => {
                let value = attributes(find(data, NFTA_IMMEDIATE_DATA).unwrap_or_default());
                let value = value.unwrap_or_default();
                match number(NFTA_IMMEDIATE_DREG) {
                    Some(NFT_REG_VERDICT) => self.end(verdict(&value).unwrap_or(Effect::Other)),
                    Some(register) => {
                        let bytes = find(&value, NFTA_DATA_VALUE).unwrap_or_default();
                        self.load(register, Value::Bytes(bytes.to_vec()));
                    }
                    None => {}
                }
            }
            "bitwise" => self.bitwise(data),
            "cmp" => {
                let source = self.value(number(NFTA_CMP_SREG));
                let right = attributes(find(data, NFTA_CMP_DATA).unwrap_or_default());
                let right = right.unwrap_or_default();
                let right = find(&right, NFTA_DATA_VALUE).unwrap_or_default();
                let condition = match number(NFTA_CMP_OP) {
                    Some(NFT_CMP_EQ) => source.compare(right, false, self.devices),
                    Some(NFT_CMP_NEQ) => source.compare(right, true, self.devices),
                    _ => Some(Condition::Unknown),
                };
                self.conditions.extend(condition);
            }
            "lookup" => self.lookup(data),
            "reject" => self.end(Effect::Drop),
            "queue" => self.end(Effect::Accept),
            // They let every packet through to the next expression.
            "counter" | "log" | "notrack" | "target" => {}
            // It may load any register.
            _ => {
                self.registers.clear();
                self.conditions.push(Condition::Unknown);
            }
        }
    }

    fn load(&mut self, register: u32, value: Value) {
        self.registers.insert(register, value);
    }

    fn value(&self, register: Option<u32>) -> Value {
        let found = register.and_then(|register| self.registers.get(&register));
        found.cloned().unwrap_or(Value::Unknown)
    }

    fn end(&mut self, effect: Effect) {
        self.rules.push(ForeignRule {
            conditions: self.conditions.clone(),
            effect,
            text: self.title.to_owned(),
        });
    }

    /// The register is written into the mark or the connmark.
    fn set_mark(&mut self, source: u32) {
        let bits = match self.value(Some(source)) {
            Value::Mark { kept, set } | Value::Connmark { kept, set } => !kept | set,
            _ => u32::MAX,
        };
        if bits != 0 {
            self.end(Effect::SetMark { bits });
        }
    }

    fn bitwise(&mut self, data: &[(u16, &[u8])]) {
        let number = |kind| find(data, kind).and_then(big_endian_u32);
        let operand = |kind| {
            let value = attributes(find(data, kind)?).ok()?;
            native_u32(find(&value, NFTA_DATA_VALUE)?)
        };
        let source = self.value(number(NFTA_BITWISE_SREG));
        let Some(register) = number(NFTA_BITWISE_DREG) else { return };
        let result = match (source, operand(NFTA_BITWISE_MASK), operand(NFTA_BITWISE_XOR)) {
            (Value::State(kept), Some(mask), Some(0)) => Value::State(kept & mask),
            (Value::Status(kept), Some(mask), Some(0)) => Value::Status(kept & mask),
            (Value::Mark { kept, set }, Some(mask), Some(xor)) => {
                Value::Mark { kept: kept & mask, set: (set & mask) ^ xor }
            }
            (Value::Connmark { kept, set }, Some(mask), Some(xor)) => {
                Value::Connmark { kept: kept & mask, set: (set & mask) ^ xor }
            }
            _ => Value::Unknown,
        };
        self.load(register, result);
    }

    fn lookup(&mut self, data: &[(u16, &[u8])]) {
        let number = |kind| find(data, kind).and_then(big_endian_u32);
        let source = self.value(number(NFTA_LOOKUP_SREG));
        let set = find(data, NFTA_LOOKUP_SET).map(text).unwrap_or_default();
        let is_inverted = number(NFTA_LOOKUP_FLAGS).is_some_and(|flags| flags & 1 != 0);
        let is_understood = !matches!(source, Value::Unknown | Value::Bytes(_)) && !is_inverted;
        let elements = if is_understood { (self.elements)(&set) } else { vec![] };
        let is_map = number(NFTA_LOOKUP_DREG) == Some(NFT_REG_VERDICT);
        if elements.is_empty() {
            self.conditions.push(Condition::Unknown);
            if is_map {
                self.end(Effect::Accept);
            }
            return;
        }
        let mut any = Vec::new();
        for Element { key, verdict } in elements {
            let condition = source.compare(&key, false, self.devices).unwrap_or(Condition::Unknown);
            if is_map {
                self.conditions.push(condition);
                self.end(verdict.unwrap_or(Effect::Other));
                self.conditions.pop();
            } else {
                any.push(condition);
            }
        }
        if !is_map {
            self.conditions.push(Condition::Any(any));
        }
    }
}

fn verdict(data: &[(u16, &[u8])]) -> Option<Effect> {
    let parts = attributes(find(data, NFTA_DATA_VERDICT)?).ok()?;
    let chain = || find(&parts, NFTA_VERDICT_CHAIN).map(text).unwrap_or_default();
    Some(match find(&parts, NFTA_VERDICT_CODE).and_then(big_endian_u32)? as i32 {
        NF_DROP => Effect::Drop,
        NFT_JUMP => Effect::Jump(chain()),
        NFT_GOTO => Effect::Goto(chain()),
        NFT_RETURN => Effect::Return,
        code if code > 0 => Effect::Accept,
        _ => Effect::Other,
    })
}

#[cfg(test)]
mod tests;
