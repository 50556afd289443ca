//! Properties of the parser for any text.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{parse, write};
use crate::model::Client;

fn client() -> impl Strategy<Value = Client> {
    any::<Ipv4Addr>().prop_filter_map("an address that a client can have", |address| {
        Client::new(address.into()).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_bytes_give_clients_or_an_error_with_line_and_column(bytes in vec(any::<u8>(), 0..200)) {
        if let Err(bad) = parse(&bytes) {
            prop_assert!(bad.line >= 1 && bad.line <= bytes.split(|&byte| byte == b'\n').count());
            prop_assert!(bad.column >= 1 && bad.reason.len() < 400);
            prop_assert!(!bad.reason.contains(char::is_control), "{:?}", bad.reason);
        }
    }

    #[test]
    fn written_clients_parse_back_to_the_same_clients(clients in vec(client(), 0..100)) {
        prop_assert_eq!(parse(&write(&clients)), Ok(clients));
    }

    /// A good file with one changed byte is an error, or it names other clients.
    #[test]
    fn a_damaged_file_names_at_most_one_more_client(
        clients in vec(client(), 1..20), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = write(&clients);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = parse(&bytes) {
            prop_assert!(read.len() <= clients.len() + 1);
        }
    }
}
