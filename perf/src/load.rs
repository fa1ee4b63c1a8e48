//! The load generator as a process that is told when to measure and when to stop.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::{Deserialize, Serialize};

use crate::{
    Problem,
    arguments::Compare,
    brokers::{Broker, Kind},
};

/// Counters of the generator, as it prints them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// Batches acknowledged or fetched.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Nanoseconds since its run began.
    pub elapsed_ns: u64,
    /// Its own processor time, in nanoseconds.
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

/// Whether the judge says when to measure and when to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Steered {
    /// By lines on its standard input.
    Yes,
    /// It keeps the scenario's own times.
    No,
}

/// Bytes that a window reads back at most: the newest, so that proving stays shorter than loading.
const PROOF_BYTES: u64 = 256 << 20;

/// One line of the generator.
#[derive(Debug)]
pub enum Line {
    /// Some time has passed.
    Interval(Totals),
    /// The measured part begins now.
    Measure(Totals),
    /// The measured part is over.
    Measured(Totals),
    /// The run's result; the last line.
    Result(serde_json::Value),
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let totals = || serde_json::from_value(value.get("totals")?.clone()).ok();
        match value.get("event")?.as_str()? {
            "interval" => totals().map(Self::Interval),
            "measure" => totals().map(Self::Measure),
            "measured" => totals().map(Self::Measured),
            "result" => Some(Self::Result(value)),
            _ => None,
        }
    }
}

/// A generator that runs.
#[derive(Debug)]
pub struct Load {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Starts a scenario against a broker, on the client's core.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(
        compare: &Compare,
        scenario: &Path,
        broker: &Broker,
        steered: Steered,
    ) -> Result<Self, Problem> {
        let mut words = vec!["scenario".to_owned(), scenario.display().to_string()];
        words.extend(["--bootstrap".to_owned(), broker.address.to_string()]);
        words.extend(["--json", "--interval-ms", "500"].map(str::to_owned));
        words.extend(["--proof-bytes".to_owned(), PROOF_BYTES.to_string()]);
        if broker.kind != Kind::Kafka {
            // Windows would fill the disk; Kafka's retention is set small instead.
            words.push("--delete-topic".to_owned());
        }
        if steered == Steered::Yes {
            words.push("--steered".to_owned());
        }
        // Ten thousand connections need more descriptors than a shell hands out.
        let script = format!(
            "ulimit -n $(cat /proc/sys/fs/nr_open) 2>/dev/null || ulimit -n $(ulimit -Hn); \
             exec taskset -c {} \"$@\"",
            compare.client_core
        );
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(&compare.bench)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Problem::at("sh", error))?;
        let orders = child.stdin.take().expect("standard input was piped");
        let lines = BufReader::new(child.stdout.take().expect("standard output was piped")).lines();
        Ok(Self {
            child,
            orders,
            lines,
        })
    }

    /// Waits for the next line.
    ///
    /// # Errors
    /// The generator ended before its result: its run is void, and it has said why.
    pub fn line(&mut self) -> Result<Line, Problem> {
        let text = self.lines.next().and_then(Result::ok).ok_or_else(|| {
            Problem::at("klamm-bench", "ended without a result; its words are above")
        })?;
        Line::parse(&text).ok_or_else(|| Problem::at("line of klamm-bench", text))
    }

    /// Begins the measured part.
    ///
    /// # Errors
    /// The generator has ended.
    pub fn measure(&mut self) -> Result<(), Problem> {
        self.order("measure\n")
    }

    /// Ends the run.
    ///
    /// # Errors
    /// The generator has ended.
    pub fn stop(&mut self) -> Result<(), Problem> {
        self.order("stop\n")
    }

    fn order(&mut self, text: &str) -> Result<(), Problem> {
        let written = self.orders.write_all(text.as_bytes());
        written.map_err(|error| Problem::at("klamm-bench", error))
    }

    /// Reads on to the result.
    ///
    /// # Errors
    /// The run is void.
    pub fn result(mut self) -> Result<serde_json::Value, Problem> {
        loop {
            if let Line::Result(value) = self.line()? {
                return Ok(value);
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // What has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_generator_are_understood() {
        let text = r#"{"event":"interval","totals":{"requests":3,"batches":4,"records":5,
            "bytes":6,"elapsed_ns":7,"client_cpu_ns":8}}"#;
        assert!(matches!(
            Line::parse(text),
            Some(Line::Interval(Totals { bytes: 6, .. }))
        ));
        assert!(matches!(
            Line::parse(r#"{"event":"result"}"#),
            Some(Line::Result(_))
        ));
        assert!(Line::parse("not json").is_none());
        assert!(Line::parse(r#"{"event":"interval"}"#).is_none());
    }
}
