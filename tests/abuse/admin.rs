//! The admin face under connections that ask for nothing.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;

use crate::harness::{Broker, Options};

/// Files that the process may open in these tests: the admin face alone would use them up.
const FILES: usize = 256;

fn is_open(connection: &TcpStream) -> bool {
    connection.set_nonblocking(true).expect("a live socket");
    match connection.peek(&mut [0]) {
        Err(error) => error.kind() == ErrorKind::WouldBlock,
        Ok(_) => false,
    }
}

/// A49
#[test]
fn admin_connections_that_ask_nothing_take_no_descriptors_from_kafka() {
    let test = "admin_connections_that_ask_nothing_take_no_descriptors_from_kafka";
    let Some(mut broker) = Broker::own(test, Options::new().open_files(FILES)) else {
        return;
    };
    let from = broker.log_length();
    let mut held = Vec::new();
    for number in 0..2 * FILES {
        let mut connection = TcpStream::connect(broker.admin()).expect("the broker listens");
        let sent = connection.write_all(b"GET /metrics HT");
        assert!(sent.is_ok() || number >= FILES / 8, "{number}: {sent:?}");
        held.push(connection);
        // Neither those who want to know whether it lives are kept out.
        if number % 64 == 0 {
            assert_eq!(broker.http("/livez").0, 200, "behind {number}");
        }
    }
    broker.is_healthy();
    broker.expect_log(from, &["admin connections closed, the oldest first"]);
    let open = held.iter().filter(|one| is_open(one)).count();
    assert!(open <= FILES / 8, "{open} are open");
    broker.is_healthy();
}
