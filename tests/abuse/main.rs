//! Bad input and the answer that it must get. Each test has a number of the abuse list in its doc
//! line (docs/safety.md); afterwards the broker serves as before.
#![forbid(unsafe_code)]

#[path = "../harness/mod.rs"]
mod harness;

mod admin;
mod administration;
mod batches;
mod disk;
mod frames;
mod reads;

use harness::{Broker, Client};
use std::io::ErrorKind;
use std::time::Duration;

/// How soon a connection that must be closed is closed.
const SOON: Duration = Duration::from_secs(10);

/// What the broker had resident, to say later that abuse costs no memory. Judges nothing where the
/// process is not ours.
struct Memory {
    before: Option<u64>,
}

impl Memory {
    fn of(broker: &Broker) -> Self {
        let before = broker.process().map(|process| process.resident_bytes());
        Self { before }
    }

    /// It has grown by less than `bytes`.
    fn check_growth(&self, broker: &Broker, bytes: u64) {
        self.check(
            broker.process().map(|process| process.resident_bytes()),
            bytes,
        );
    }

    /// At no time was it larger by `bytes`.
    fn check_peak(&self, broker: &Broker, bytes: u64) {
        self.check(broker.process().map(|process| process.peak_bytes()), bytes);
    }

    fn check(&self, after: Option<u64>, bytes: u64) {
        if let (Some(before), Some(after)) = (self.before, after) {
            assert!(
                after < before + bytes,
                "{before} bytes resident became {after}"
            );
        }
    }
}

/// The broker answers or closes, both of which are within the rules.
fn check_is_answered_or_closed(client: &mut Client) {
    if let Err(error) = client.read_frame() {
        assert_ne!(
            error.kind(),
            ErrorKind::WouldBlock,
            "neither answered nor closed"
        );
    }
}

/// Nothing of a million costs more than this at any time.
fn check_peak(broker: &Broker) {
    if let Some(process) = broker.process() {
        let peak = process.peak_bytes();
        assert!(peak < 600 << 20, "{peak} bytes resident");
    }
}

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
