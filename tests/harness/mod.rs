//! What the black-box tests share: the real binary as a process, a client that can send any bytes,
//! and record batches whose every field can be wrong. Its codec of batches is its own, so that a
//! fault of the broker's cannot hide behind the same fault here.
#![allow(dead_code, reason = "each test binary uses a part of the harness")]
#![allow(unused_imports, reason = "each test binary uses a part of the harness")]

mod batch;
mod broker;
mod client;
pub(crate) mod configs;
mod domain;
mod log;
mod random;

pub(crate) use batch::{Codec, RawBatch, ReadRecord, Record, crc32c, records_of, varint};
pub(crate) use broker::{Broker, End, Options, Process, is_release};
pub(crate) use client::{Client, Reply, frame_of, request_bytes, request_bytes_of};
pub(crate) use domain::*;
pub(crate) use log::Log;
pub(crate) use random::Random;

use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long anything that should happen at once may take on a machine with other work.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Says past libtest's capture that a test did not run here; the sum of a run counts these lines.
pub(crate) fn skipped(test: &str, reason: &str) {
    // Nothing is left to be told if standard error is gone.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}

/// Asks until the answer is `Some`, with a short pause in between; panics after the deadline.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {DEADLINE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
