//! What a party to the load has done so far, as plain counters, and the latencies of the measured
//! part.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::latency::Latencies;

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

/// Counters and latencies of a party.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    totals: Totals,
    measured_from: Option<(Instant, Totals)>,
    measured: Option<Totals>,
    latencies: Latencies,
    last_bytes_at: Option<Instant>,
    due: u64,
    overdue: u64,
}

impl Progress {
    /// Nothing yet.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            totals: Totals::default(),
            measured_from: None,
            measured: None,
            latencies: Latencies::default(),
            last_bytes_at: None,
            due: 0,
            overdue: 0,
        }
    }

    /// Starts the measured part.
    pub fn measure(&mut self, now: Instant) {
        self.measured_from = Some((now, self.totals(now)));
    }

    /// Ends it.
    pub fn measured(&mut self, now: Instant) {
        let from = self
            .measured_from
            .unwrap_or_else(|| (now, self.totals(now)));
        self.measured = Some(self.totals(now).since(&from.1));
    }

    /// The same, where it ended earlier, with these totals.
    pub fn measured_as(&mut self, at: Instant, totals: Totals) {
        let from = self.measured_from.map_or(totals, |(_, from)| from);
        self.measured = Some(totals.since(&from));
        self.last_bytes_at = Some(at);
    }

    /// Notes the answer to a request that should have been sent at `intended`. Its latency counts
    /// where that lies in the measured part, however late the answer comes.
    pub fn answered(&mut self, counted: Counted, intended: Instant, now: Instant) {
        self.totals.requests += 1;
        self.totals.batches += counted.batches;
        self.totals.records += counted.records;
        self.totals.bytes += counted.bytes;
        if counted.bytes > 0 {
            self.last_bytes_at = Some(now);
        }
        if self.measured_from.is_some_and(|(from, _)| intended >= from) {
            let latency = now.saturating_duration_since(intended);
            self.latencies.note(latency, 1);
        }
    }

    /// Notes a request that falls due by a plan.
    pub fn note_due(&mut self, due: Instant) {
        let from = self.measured_from.map(|(from, _)| from);
        if self.measured.is_none() && from.is_some_and(|from| due >= from) {
            self.due += 1;
        }
    }

    /// Requests that fell due in the measured part, answered or not.
    #[must_use]
    pub const fn due_count(&self) -> u64 {
        self.due
    }

    /// Notes a request that was due and was never sent: it has waited until now at least. Left out,
    /// a stall at the end would be forgiven.
    pub fn note_overdue(&mut self, due: Instant, now: Instant) {
        if self.measured_from.is_some_and(|(from, _)| due >= from) {
            self.latencies.note(now.saturating_duration_since(due), 1);
            self.overdue += 1;
        }
    }

    /// Requests of the measured part that were due and never sent.
    #[must_use]
    pub const fn overdue_count(&self) -> u64 {
        self.overdue
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

    /// What was counted in the measured part.
    #[must_use]
    pub fn measurement(&self) -> Totals {
        self.measured.unwrap_or_default()
    }

    /// Latencies of the measured part.
    #[must_use]
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// From the start of the measured part to the last bytes.
    #[must_use]
    pub fn bytes_took(&self) -> Option<Duration> {
        let (from, _) = self.measured_from?;
        Some(self.last_bytes_at?.saturating_duration_since(from))
    }
}

/// CPU time of this thread, in nanoseconds; 0 where the kernel does not say.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_due_counts_within_the_measured_part() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut progress = Progress::new(began);
        progress.note_due(at(1));
        progress.measure(at(5));
        for ms in [4, 5, 6] {
            progress.note_due(at(ms));
        }
        progress.measured(at(9));
        progress.note_due(at(8));
        assert_eq!(progress.due_count(), 2, "those of 5 and 6 ms");
    }
}
