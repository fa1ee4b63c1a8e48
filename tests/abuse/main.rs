//! Bad input and the answer that it must get. Each test has a number of the abuse list in its doc
//! line (docs/safety.md); afterwards the broker serves as before.
#![forbid(unsafe_code)]

#[path = "../harness/mod.rs"]
mod harness;

mod batches;
mod frames;
mod reads;

use harness::{Broker, Client};
use std::time::Duration;

/// How soon a connection that must be closed is closed.
const SOON: Duration = Duration::from_secs(10);

/// Sends bytes on a new connection, which must be closed without an answer and with a line in the
/// log that names this connection and holds `why`.
fn check_closed(broker: &Broker, bytes: &[u8], why: &str) {
    let mut client = broker.client();
    let from = broker.log_length();
    client.send(bytes);
    check_is_closed(broker, &mut client, from, why);
}

fn check_is_closed(broker: &Broker, client: &mut Client, from: usize, why: &str) {
    let (answers, _) = client.until_closed(SOON);
    assert!(answers.is_empty(), "answered with {answers:02x?}");
    broker.expect_log(
        from,
        &[&client.local().to_string(), "connection closed", why],
    );
}
