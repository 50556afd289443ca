//! Datagrams as the kernel sends them, and malformed ones.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::system::netlink::golden::cases;

/// `NLM_F_MULTI` of `linux/netlink.h`.
const MULTI: u16 = 2;
const SEQUENCE: u32 = 7;

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((HEADER as u32 + payload.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The messages taken from these datagrams, and the state of the exchange: `None` before its end.
fn read(datagrams: &[Vec<u8>]) -> (Vec<Message>, Result<Option<DumpStatus>>) {
    let mut taken = Vec::new();
    let mut take = |answer: &Message<&[u8]>| {
        taken.push(answer.to_owned());
        Ok(())
    };
    let mut exchange = Exchange {
        sequence: SEQUENCE,
        status: DumpStatus::Complete,
        failure: None,
        take: &mut take,
    };
    let mut end = Ok(None);
    for datagram in datagrams {
        match exchange.read_datagram(datagram) {
            Ok(true) => end = Ok(Some(exchange.status)),
            Ok(false) => continue,
            Err(error) => end = Err(error),
        }
        break;
    }
    (taken, end)
}

fn done() -> Vec<u8> {
    message(NLMSG_DONE, MULTI, SEQUENCE, &0i32.to_ne_bytes())
}

#[test]
fn a_dump_ends_with_its_end_message() {
    let part = message(24, MULTI, SEQUENCE, &[1, 2, 3, 4]);
    let (taken, end) = read(&[[part.clone(), part.clone()].concat()]);
    assert_eq!((taken.len(), end.unwrap()), (2, None));
    let (taken, end) = read(&[part.clone(), [part, done()].concat()]);
    assert_eq!((taken.len(), end.unwrap()), (2, Some(DumpStatus::Complete)));
}

#[test]
fn a_dump_is_interrupted_if_any_part_says_so() {
    let part = |flags| message(24, MULTI | flags, SEQUENCE, &[0; 4]);
    for flags in [[NLM_F_DUMP_INTR, 0], [0, NLM_F_DUMP_INTR]] {
        let (_, end) = read(&[part(flags[0]), part(flags[1]), done()]);
        assert_eq!(end.unwrap(), Some(DumpStatus::Interrupted));
    }
    let end = message(NLMSG_DONE, MULTI | NLM_F_DUMP_INTR, SEQUENCE, &0i32.to_ne_bytes());
    assert_eq!(read(&[part(0), end]).1.unwrap(), Some(DumpStatus::Interrupted));
}

#[test]
fn answers_to_another_request_are_ignored() {
    let late = message(24, MULTI, SEQUENCE - 1, &[9; 4]);
    let late_end = message(NLMSG_DONE, MULTI, SEQUENCE - 1, &0i32.to_ne_bytes());
    let refusal = message(NLMSG_ERROR, 0, SEQUENCE - 1, &(-1i32).to_ne_bytes());
    let (taken, end) = read(&[[late, late_end, refusal].concat(), done()]);
    assert_eq!((taken.len(), end.unwrap()), (0, Some(DumpStatus::Complete)));
}

#[test]
fn an_error_of_the_kernel_and_lost_messages_are_errors() {
    let error = message(NLMSG_ERROR, 0, SEQUENCE, &(-1i32).to_ne_bytes());
    let error = read(&[error]).1.unwrap_err();
    assert_eq!(error.to_string(), "Operation not permitted");
    let failed = message(NLMSG_DONE, MULTI, SEQUENCE, &(-12i32).to_ne_bytes());
    assert_eq!(read(&[failed]).1.unwrap_err().to_string(), "Cannot allocate memory");
    let overrun = message(NLMSG_OVERRUN, 0, SEQUENCE, &[]);
    assert!(read(&[overrun]).1.unwrap_err().to_string().contains("NLMSG_OVERRUN"));
    let cut = message(NLMSG_ERROR, 0, SEQUENCE, &[255]);
    assert!(read(&[cut]).1.unwrap_err().to_string().contains("cut short"));
}

#[test]
fn a_message_with_a_wrong_length_is_an_error() {
    for length in [0u32, 15, 21, u32::MAX] {
        let mut bytes = message(24, 0, SEQUENCE, &[0; 4]);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(read(&[bytes]).1.is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_datagram_makes_the_reader_panic_or_read_beyond_it(
        parts in vec((0..40u16, any::<u16>(), 6..9u32, vec(any::<u8>(), 0..40)), 0..8),
        noise in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let parts = parts.iter().map(|(kind, flags, sequence, payload)| message(*kind, *flags, *sequence, payload));
        let mut bytes: Vec<u8> = parts.flatten().collect();
        for (at, byte) in noise {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let (taken, _) = read(std::slice::from_ref(&bytes));
        let length: usize = taken.iter().map(|answer| answer.payload.len() + HEADER).sum();
        prop_assert!(length <= bytes.len());
    }
}
