//! What people and machines read: JSON lines while running, a result at the end, and files.

use std::{fmt::Write as _, io};

use serde::Serialize;

use crate::{
    drive::Outcome,
    groups::{self, EventResult},
    latency::{Latencies, Summary},
    plot::{bars, chart},
    problem::Problem,
    progress::Totals,
    steering::Told,
    verify::Verified,
    workload::{Arrivals, Workload},
    written::Outputs,
};

/// Share of the planned rate below which an open loop's result does not count.
const ACHIEVED_MIN: f64 = 0.99;

/// Requests planned in the measured part below which a share of them says nothing.
const PLANNED_MIN: f64 = 200.0;

/// One line while running.
#[derive(Serialize)]
struct Line {
    event: &'static str,
    totals: Totals,
}

/// Prints `told` as a JSON line; a broken pipe ends the process of whoever reads, not us.
pub fn tell_as_json(told: Told) {
    let (event, totals) = match told {
        Told::Interval(totals) => ("interval", totals),
        Told::Measure(totals) => ("measure", totals),
        Told::Measured(totals) => ("measured", totals),
    };
    print_json(&Line { event, totals });
}

/// Prints a value as one JSON line at once.
pub fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("plain data becomes JSON");
    // Whoever stopped reading has stopped caring.
    let _ = io::Write::write_all(&mut io::stdout().lock(), format!("{text}\n").as_bytes());
}

/// Readers that began at the first offset beside the load.
#[derive(Clone, Debug, Serialize)]
pub struct CatchUp {
    /// How many.
    pub readers: usize,
    /// What they have read.
    pub read: Totals,
    /// Seconds from their start to their last bytes.
    pub seconds: f64,
    /// Each was once at the end of each partition.
    pub caught_up: bool,
    /// Records that retention deleted meanwhile.
    pub deleted_records: i64,
    /// Places at which readers were overtaken by that.
    pub overtaken: u64,
    /// Latencies of the same load without them, in microseconds.
    pub quiet_latency_us: Option<Summary>,
    /// End-to-end latencies without them.
    pub quiet_end_to_end_us: Option<Summary>,
}

impl CatchUp {
    /// What a party of readers has done.
    #[must_use]
    pub fn new(outcome: &Outcome, readers: usize, caught_up: bool) -> Self {
        let progress = &outcome.progress;
        Self {
            readers,
            read: progress.measurement(),
            seconds: progress.bytes_took().unwrap_or_default().as_secs_f64(),
            caught_up,
            deleted_records: 0,
            overtaken: 0,
            quiet_latency_us: None,
            quiet_end_to_end_us: None,
        }
    }
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always `result`.
    pub event: &'static str,
    /// What was done.
    pub workload: Workload,
    /// Kafka version of the requests.
    pub api_version: i16,
    /// The measured part of the party that the result is about.
    pub measured: Totals,
    /// The measured part of each party: those who lead, those who follow.
    pub parties: Vec<Totals>,
    /// Requests per second that were planned; open loops only.
    pub planned_rate: Option<f64>,
    /// Answered requests as a share of those planned; open loops only.
    pub achieved: Option<f64>,
    /// Requests of the measured part that were due and never sent, for want of answers. The
    /// latencies hold how long they had waited at its end.
    pub overdue: u64,
    /// Why the result does not count.
    pub dropped: Option<String>,
    /// Latencies of requests, in microseconds, from the intended send time.
    pub latency_us: Summary,
    /// What the latencies mean.
    pub latency_means: &'static str,
    /// The same as pairs of nanoseconds and counts.
    pub latency_ns: Vec<(u64, u64)>,
    /// Ages of records when consumers received them, from the intended send time.
    pub end_to_end_us: Option<Summary>,
    /// The same as pairs of nanoseconds and counts.
    pub end_to_end_ns: Vec<(u64, u64)>,
    /// Readers from the first offset.
    pub catch_up: Option<CatchUp>,
    /// How long the deletion of created topics took.
    pub deleted_in_seconds: Option<f64>,
    /// What came of each event, in mode groups.
    pub groups: Vec<EventResult>,
    /// Proof, where something was produced.
    pub verified: Option<Verified>,
}

impl Report {
    /// Gathers the result of parties, the leading one first. `rate` is in requests per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub fn new(workload: &Workload, api_version: i16, rate: f64, outcomes: Vec<Outcome>) -> Self {
        let lead = &outcomes[0];
        let measured = lead.progress.measurement();
        // Random arrivals stray from their rate; what counts is what fell due.
        let planned = lead.progress.due_count() as f64;
        let open = workload.arrivals != Arrivals::Closed;
        let achieved = open.then(|| measured.requests as f64 / planned.max(1.0));
        let too_slow = |share: &f64| *share < ACHIEVED_MIN && planned >= PLANNED_MIN && !lead.done;
        let dropped = achieved
            .filter(too_slow)
            .map(|share| format!("{:.1} % of the planned rate was achieved", share * 100.0));
        let latencies = lead.progress.latencies();
        Self {
            event: "result",
            workload: workload.clone(),
            api_version,
            measured,
            planned_rate: open.then_some(rate),
            achieved,
            overdue: lead.progress.overdue_count(),
            dropped,
            latency_us: latencies.summary(),
            latency_means: if open {
                "open loop, from the intended send time; the client spins"
            } else {
                "closed loop: service time under load, not latency"
            },
            latency_ns: latencies.pairs(),
            end_to_end_us: None,
            end_to_end_ns: Vec::new(),
            catch_up: None,
            deleted_in_seconds: None,
            groups: Vec::new(),
            verified: None,
            parties: outcomes
                .iter()
                .map(|outcome| outcome.progress.measurement())
                .collect(),
        }
    }

    /// Makes the result about a party.
    pub fn subject(&mut self, party: usize) {
        self.measured = self.parties[party];
    }

    /// Adds what consumers saw.
    pub fn end_to_end(&mut self, latencies: &Latencies) {
        if latencies.count() > 0 {
            self.end_to_end_us = Some(latencies.summary());
            self.end_to_end_ns = latencies.pairs();
        }
    }

    /// Writes the files that were asked for.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, outputs: &Outputs) -> Result<(), Problem> {
        let latency = Latencies::of_pairs(&self.latency_ns);
        let end_to_end = Latencies::of_pairs(&self.end_to_end_ns);
        if let Some(path) = &outputs.histogram {
            let subject = if end_to_end.count() > 0 {
                &end_to_end
            } else {
                &latency
            };
            std::fs::write(path, subject.percentile_table())?;
        }
        if let Some(path) = &outputs.result {
            let text = serde_json::to_string_pretty(self).expect("plain data becomes JSON");
            std::fs::write(path, text + "\n")?;
        }
        if let Some(path) = &outputs.chart {
            let title = format!("{}: {}", self.workload.topic, self.latency_means);
            let series = [("requests", &latency), ("end to end", &end_to_end)];
            std::fs::write(path, chart(&title, &series))?;
        }
        Ok(())
    }

    /// The result as a table for people.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub fn table(&self) -> String {
        let mut table = Table(String::new());
        let seconds = (self.measured.elapsed_ns as f64 / 1e9).max(1e-9);
        table.row("measured", &format!("{seconds:.2} s"));
        let names = ["", "consumed"];
        for (name, totals) in names.iter().zip(&self.parties) {
            table.totals(name, totals, seconds);
        }
        table.client(&self.measured);
        if let (Some(achieved), Some(rate)) = (self.achieved, self.planned_rate) {
            let text = format!("{:.1} % of {rate:.0} requests/s", achieved * 100.0);
            table.row("achieved", &text);
            if self.overdue > 0 {
                let text = format!(
                    "{} requests were due and never sent; they count",
                    self.overdue
                );
                table.row("overdue", &text);
            }
        }
        table.row("latency", self.latency_means);
        table.latencies("of requests", &self.latency_ns);
        if self.end_to_end_us.is_some() {
            table.latencies("end to end", &self.end_to_end_ns);
        }
        if let Some(catch_up) = &self.catch_up {
            table.catch_up(catch_up, &self.latency_us);
        }
        if let Some(seconds) = self.deleted_in_seconds {
            table.row("deleted in", &format!("{seconds:.2} s"));
        }
        table
            .0
            .push_str(&groups::table(&self.workload, &self.groups));
        if let Some(verified) = &self.verified {
            let text = format!(
                "{} records kept; {} read back: {} batches in order, {} counted; {} not read",
                verified.records,
                verified.read_back,
                verified.in_order,
                verified.counted,
                verified.not_read
            );
            table.row("proved", &text);
        }
        if let Some(why) = &self.dropped {
            table.row("DROPPED", why);
        }
        table.0
    }
}

struct Table(String);

#[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
impl Table {
    fn row(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<20} {value}");
    }

    fn totals(&mut self, name: &str, totals: &Totals, seconds: f64) {
        let rate = |count: u64| count as f64 / seconds;
        let mut row = |what: &str, text: String| self.row(format!("{name} {what}").trim(), &text);
        let requests = totals.requests;
        row("requests", format!("{requests} ({:.0}/s)", rate(requests)));
        let records = totals.records;
        row("records", format!("{records} ({:.0}/s)", rate(records)));
        let mib = rate(totals.bytes) / f64::from(1 << 20);
        row("bytes", format!("{} ({mib:.1} MiB/s)", totals.bytes));
    }

    fn client(&mut self, totals: &Totals) {
        let cpu = totals.client_cpu_ns as f64 / 1e9;
        let a_request = cpu * 1e6 / totals.requests.max(1) as f64;
        let gib = totals.bytes as f64 / f64::from(1 << 30);
        let mut text = format!("{cpu:.2} s, {a_request:.2} us a request");
        if gib > 0.001 {
            let _ = write!(text, ", {:.3} s/GiB", cpu / gib);
        }
        self.row("client CPU", &text);
    }

    fn latencies(&mut self, name: &str, pairs: &[(u64, u64)]) {
        let latencies = Latencies::of_pairs(pairs);
        let s = latencies.summary();
        self.row(
            &format!("  {name} [us]"),
            &format!(
                "p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, p99.99 {:.0}, max {:.0}",
                s.p50, s.p90, s.p99, s.p999, s.p9999, s.max
            ),
        );
        self.0.push_str(&bars(&latencies));
    }

    fn catch_up(&mut self, catch_up: &CatchUp, live: &Summary) {
        let gib = catch_up.read.bytes as f64 / f64::from(1 << 30);
        let rate = gib / catch_up.seconds.max(1e-9);
        let drained = if catch_up.caught_up {
            "to the end"
        } else {
            "NOT to the end"
        };
        let (readers, seconds) = (catch_up.readers, catch_up.seconds);
        self.row(
            "caught up",
            &format!(
                "{readers} readers {drained}: {gib:.2} GiB in {seconds:.1} s, {rate:.2} GiB/s"
            ),
        );
        if let Some(quiet) = &catch_up.quiet_latency_us {
            let text = format!(
                "p99 {:.0} and p99.9 {:.0} us, {:.0} and {:.0} before",
                live.p99, live.p999, quiet.p99, quiet.p999
            );
            self.row("live meanwhile", &text);
        }
    }
}
