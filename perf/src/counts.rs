//! What a clock cannot blur: how often a broker enters the kernel and calls the allocator for one
//! request. Counted from outside by `perf stat`, so that both brokers are counted alike.
//!
//! Allocations need probes on the C library, once after boot, as root:
//! `for f in malloc calloc realloc posix_memalign aligned_alloc; do perf probe -x LIBC $f; done`.
//! A Java machine allocates in its own heap, so they are counted for klamm alone.

use std::{path::Path, process::Command};

use serde::Serialize;

use crate::{
    Problem,
    arguments::Compare,
    brokers::{Broker, Kind},
    load::{Line, Load, Steered},
};

const SYSCALLS: &str = "raw_syscalls:sys_enter";

const ALLOCATIONS: &str = "probe_libc:malloc,probe_libc:calloc,probe_libc:realloc,\
                           probe_libc:posix_memalign,probe_libc:aligned_alloc";

/// What was counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// Entries into the kernel, of all threads.
    Syscalls,
    /// Calls of the C library's allocator, of all threads.
    Allocations,
}

/// A count.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Count {
    /// Whose.
    pub broker: Kind,
    /// Of what.
    pub counted: Counted,
    /// For one request.
    pub per_request: f64,
}

/// Counts during a scenario, for `seconds` each; nothing where `perf` or a probe is missing.
///
/// # Errors
/// The load fails.
pub fn count(
    compare: &Compare,
    scenario: &Path,
    broker: &Broker,
    seconds: u64,
) -> Result<Vec<Count>, Problem> {
    let events = match broker.kind {
        Kind::Klamm | Kind::OneShard => &[
            (Counted::Syscalls, SYSCALLS),
            (Counted::Allocations, ALLOCATIONS),
        ][..],
        Kind::Kafka => &[(Counted::Syscalls, SYSCALLS)][..],
    };
    let mut counts = Vec::new();
    for &(counted, events) in events {
        if let Some(per_request) = per_request(compare, scenario, broker, seconds, events)? {
            counts.push(Count {
                broker: broker.kind,
                counted,
                per_request,
            });
        }
    }
    Ok(counts)
}

#[expect(clippy::cast_precision_loss, reason = "counts of seconds fit a double")]
fn per_request(
    compare: &Compare,
    scenario: &Path,
    broker: &Broker,
    seconds: u64,
    events: &str,
) -> Result<Option<f64>, Problem> {
    let mut load = Load::start(compare, scenario, broker, Steered::Yes)?;
    loop {
        if let Line::Interval(totals) = load.line()?
            && totals.elapsed_ns as f64 / 1e9 >= compare.settle_seconds
        {
            break;
        }
    }
    load.measure()?;
    let begun = loop {
        if let Line::Measure(totals) = load.line()? {
            break totals;
        }
    };
    let output = Command::new("perf")
        .args([
            "stat",
            "-x",
            ",",
            "-e",
            events,
            "-p",
            &broker.process().to_string(),
        ])
        .args(["--", "sleep", &seconds.to_string()])
        .output();
    load.stop()?;
    let ended = loop {
        if let Line::Measured(totals) = load.line()? {
            break totals;
        }
    };
    load.result()?;
    let requests = (ended.requests - begun.requests) as f64;
    let span = (ended.elapsed_ns - begun.elapsed_ns) as f64 / 1e9;
    let counted = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| sum(&String::from_utf8_lossy(&output.stderr)));
    // The load ran a little longer than the counter: compare rates.
    Ok(counted.map(|counted| counted as f64 / seconds as f64 / (requests / span)))
}

/// Sum of the first fields of `perf stat -x,`; `None` if one is not a number.
fn sum(text: &str) -> Option<u64> {
    let rows = text
        .lines()
        .filter(|line| line.contains(',') && !line.starts_with('#'));
    let counts: Vec<u64> = rows
        .map(|row| row.split(',').next().unwrap_or_default().parse().ok())
        .collect::<Option<_>>()?;
    (!counts.is_empty()).then(|| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_and_a_missing_one_voids_them() {
        let text = "100,,probe_libc:malloc,1,100.00,,\n20,,probe_libc:calloc,1,100.00,,\n";
        assert_eq!(sum(text), Some(120));
        assert_eq!(sum("<not supported>,,x,0,0.00,,\n"), None);
        assert_eq!(sum("event syntax error\n"), None);
    }
}
