//! The text of a pool file, whatever it holds.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{parse, write};
use crate::model::Client;

fn client() -> impl Strategy<Value = Client> {
    any::<u32>().prop_filter_map("a host's", |bits| Client::new(bits.into()).ok())
}

fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_bytes_are_clients_or_a_bad_line_named_by_its_place(bytes in vec(any::<u8>(), 0..200)) {
        if let Err(bad) = parse(&bytes) {
            prop_assert!(bad.line >= 1 && bad.line <= bytes.split(|&byte| byte == b'\n').count());
            prop_assert!(bad.column >= 1 && bad.why.len() < 400);
            prop_assert!(!bad.why.contains(char::is_control), "{:?}", bad.why);
        }
    }

    #[test]
    fn whatever_clients_there_are_they_read_back_the_same(clients in vec(client(), 0..100)) {
        prop_assert_eq!(parse(&write(&clients)), Ok(clients));
    }

    /// One byte of a good file changed: it is refused with its line, or names another client.
    #[test]
    fn a_damaged_file_names_no_more_clients(clients in vec(client(), 1..20), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = write(&clients);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = parse(&bytes) {
            prop_assert!(read.len() <= clients.len() + 1);
        }
    }
}
