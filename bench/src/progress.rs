//! What has happened so far, as plain counters, and the latencies of the measured part.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Totals since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// Batches acknowledged or fetched.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Nanoseconds since the run began.
    pub elapsed_ns: u64,
    /// CPU time of the generating thread, in nanoseconds.
    pub client_cpu_ns: u64,
}

impl Totals {
    /// What happened between `earlier` and now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            batches: self.batches - earlier.batches,
            records: self.records - earlier.records,
            bytes: self.bytes - earlier.bytes,
            elapsed_ns: self.elapsed_ns - earlier.elapsed_ns,
            client_cpu_ns: self.client_cpu_ns.saturating_sub(earlier.client_cpu_ns),
        }
    }
}

/// What one answer adds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Bytes of batches.
    pub bytes: u64,
}

/// Counters and latencies of a run.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    totals: Totals,
    measured_from: Option<Totals>,
    latencies: Histogram<u64>,
}

impl Progress {
    /// Nothing yet.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .expect("the bounds and three digits are legal");
        Self {
            began,
            totals: Totals::default(),
            measured_from: None,
            latencies,
        }
    }

    /// Starts the measured part.
    pub fn measure(&mut self, now: Instant) -> Totals {
        let totals = self.totals(now);
        self.measured_from = Some(totals);
        self.latencies.reset();
        totals
    }

    /// Where the measured part began.
    #[must_use]
    pub fn measured_from(&self) -> Option<Totals> {
        self.measured_from
    }

    /// Notes an answer.
    pub fn answered(&mut self, counted: Counted, latency: Duration) {
        self.totals.requests += 1;
        self.totals.batches += counted.batches;
        self.totals.records += counted.records;
        self.totals.bytes += counted.bytes;
        if self.measured_from.is_some() {
            let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(nanoseconds);
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.totals.bytes
    }

    /// Totals with times up to `now`.
    #[must_use]
    pub fn totals(&self, now: Instant) -> Totals {
        Totals {
            elapsed_ns: u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX),
            client_cpu_ns: thread_cpu_ns(),
            ..self.totals
        }
    }

    /// Latencies of the measured part, in nanoseconds.
    #[must_use]
    pub fn latencies(&self) -> &Histogram<u64> {
        &self.latencies
    }
}

/// CPU time of this thread, in nanoseconds; 0 where the kernel does not say.
fn thread_cpu_ns() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
