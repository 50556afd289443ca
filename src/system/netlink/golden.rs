//! Helpers for tests that compare messages with bytes written in hexadecimal, as a little-endian
//! machine has them. White space between the digits has no meaning.
//!
//! The answers in these tests were recorded from a kernel (6.18), some without attributes that
//! wanpool does not read.

use proptest::test_runner::Config;

use super::message::Message;
use crate::model::DevName;
use crate::model::link::Link;

/// An answer of the kernel.
pub fn answer(kind: u16, hex: &str) -> Message {
    Message { kind, payload: bytes(hex) }
}

#[track_caller]
pub fn assert_request(request: &Message, kind: u16, hex: &str) {
    assert_eq!((request.kind, to_hex(&request.payload)), (kind, to_hex(&bytes(hex))));
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit_pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digit_pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Groups of four bytes, the unit that attributes are padded to.
fn to_hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if at % 4 == 0 && at != 0 {
            hex.push(' ');
        }
        hex += &format!("{byte:02x}");
    }
    hex
}

/// The devices `br0` (index 2) and `ppp0` (index 4).
pub fn links() -> [Link; 2] {
    [link(2, "br0", false), link(4, "ppp0", true)]
}

fn link(index: u32, name: &str, point_to_point: bool) -> Link {
    let name = DevName::from_kernel(name);
    Link {
        index,
        name,
        up: true,
        carrier: true,
        point_to_point,
        mtu: 1500,
        in_vrf: false,
        other_names: vec![],
    }
}

/// The settings of a property test: the number of cases, and no file for cases that failed.
pub fn cases(number: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(number) }
}
