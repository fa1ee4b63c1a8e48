//! Whole runs, small, against a fake broker: they keep the generator from rotting, and show that
//! it notices a broker that lies or stalls.

use std::time::Duration;

use clap::Parser;

use crate::{
    arguments::Arguments,
    fake_broker::{self, Sin},
    problem::Problem,
    report::Report,
    run::perform,
    steering::{Steering, Told},
    verify::Verified,
};

fn run(words: &str, sin: Sin, steering: &Steering) -> Result<(Report, Vec<Told>), Problem> {
    let address = fake_broker::start(sin);
    let line = format!("klamm-bench {words} --bootstrap {address} --interval-ms 10");
    let arguments = Arguments::try_parse_from(line.split_whitespace()).expect("valid arguments");
    let (load, workload) = arguments.command.workload()?.expect("a workload");
    let mut told = Vec::new();
    let report = perform(load, &workload, steering, &mut |word| told.push(word))?;
    Ok((report, told))
}

fn bytes(limit: u64) -> Steering {
    Steering::Bytes(limit)
}

fn clock(warm_up_ms: u64, measure_ms: u64) -> Steering {
    Steering::Clock {
        warm_up: Duration::from_millis(warm_up_ms),
        measure: Duration::from_millis(measure_ms),
    }
}

fn proved(words: &str, limit: u64) -> (Report, Verified) {
    let (report, _) = run(words, Sin::None, &bytes(limit)).expect("a clean run");
    let verified = report.verified.expect("producing is proved");
    assert_eq!(verified.records, verified.read_back, "{words}");
    assert!(report.measured.bytes >= limit);
    assert!(
        verified.records >= report.measured.records,
        "answers after the end count too"
    );
    (report, verified)
}

#[test]
fn what_is_produced_is_counted_and_read_back_in_order() {
    let words = "produce --partitions 6 --partitions-per-request 3 --connections 2 --depth 3 \
                 --batch-bytes 2000";
    let (report, verified) = proved(words, 400_000);
    assert_eq!(report.measured.batches, report.measured.requests * 3);
    assert!(verified.in_order >= report.measured.batches);
}

#[test]
fn compressed_batches_are_counted_by_their_bytes() {
    let words = "produce --partitions 2 --batch-bytes 4000 --codec zstd --connections 2";
    let (_, verified) = proved(words, 100_000);
    assert!(verified.counted > 0 && verified.in_order == 0);
}

#[test]
fn idempotent_keyed_batches_are_proved_too() {
    let words = "produce --partitions 2 --idempotent --acks -1 --key-bytes 8 --connections 2";
    for codec in ["none", "gzip"] {
        let (_, verified) = proved(&format!("{words} --codec {codec}"), 50_000);
        assert!(verified.in_order > 0, "{codec}");
    }
}

#[test]
fn requests_of_one_record_are_one_batch_each() {
    let words = "requests --partitions 2 --connections 3 --depth 2 --codec lz4 --delete-topic";
    let (report, _) = run(words, Sin::None, &bytes(20_000)).expect("a clean run");
    assert_eq!(report.measured.requests, report.measured.records);
}

#[test]
fn fetch_reads_the_log_again_and_again() {
    let words = "fetch --partitions 3 --connections 2 --fill-bytes 60000 --batch-bytes 2000 \
                 --check-crc";
    let (report, _) = run(words, Sin::None, &bytes(300_000)).expect("a clean run");
    assert!(report.measured.bytes >= 300_000, "more than the log holds");
    assert!(report.verified.is_none());
}

#[test]
fn open_loop_sends_what_was_planned_and_tells_phases_in_order() {
    let words = "requests --connections 2 --rate 1000 --arrivals fixed";
    let (report, told) = run(words, Sin::None, &clock(0, 250)).expect("a clean run");
    // However busy the machine is: what was due has a latency, whether it was sent or not.
    let due = report.latency_us.count as f64;
    let planned = report.measured.elapsed_ns as f64 / 1e6;
    assert!((due - planned).abs() < 30.0, "{due} of {planned}");
    assert!(report.achieved.is_some());
    let words: Vec<&str> = told
        .iter()
        .filter_map(|told| match told {
            Told::Interval(_) => None,
            Told::Measure(_) => Some("measure"),
            Told::Measured(_) => Some("measured"),
        })
        .collect();
    assert_eq!(words, ["measure", "measured"]);
    assert!(told.len() > 4, "intervals are told");
}

#[test]
fn stall_is_charged_to_every_request_that_was_due_meanwhile() {
    let stall = Sin::Stalls(Duration::from_millis(300));
    let slow = |report: &Report| -> u64 {
        let over = report.latency_ns.iter().filter(|(ns, _)| *ns > 100_000_000);
        over.map(|(_, count)| count).sum()
    };
    let open = "requests --connections 2 --depth 5 --rate 1000";
    let (report, _) = run(open, stall, &clock(0, 1500)).expect("a slow run");
    assert!(slow(&report) > 150, "{} of 200", slow(&report));
    assert!(report.latency_us.max > 290_000.0);
    // The closed loop has no more requests than find room: the stall all but disappears.
    let closed = "requests --connections 2 --depth 5";
    let (report, _) = run(closed, stall, &clock(0, 500)).expect("a slow run");
    assert!(slow(&report) <= 10, "{}", slow(&report));
}

#[test]
fn rate_that_is_not_achieved_drops_the_result() {
    let stall = Sin::Stalls(Duration::from_millis(600));
    let words = "requests --connections 1 --depth 1 --rate 1000";
    let (report, _) = run(words, stall, &clock(0, 500)).expect("a slow run");
    let why = report.dropped.expect("dropped");
    assert!(why.contains("planned rate"), "{why}");
    assert!(report.overdue > 100, "{}", report.overdue);
    let slow = report.latency_ns.iter().filter(|(ns, _)| *ns > 100_000_000);
    let slow: u64 = slow.map(|(_, count)| count).sum();
    assert!(slow > 100, "{slow}: what was never sent has waited too");
}

#[test]
fn consumers_receive_everything_and_tell_the_age_of_records() {
    let words = "produce --partitions 5 --depth 100 --rate 500 --batch-records 3 --consumers 2 \
                 --consumer-connections 2 --account consumed";
    let (report, _) = run(words, Sin::None, &clock(50, 300)).expect("a clean run");
    let ages = report
        .end_to_end_us
        .clone()
        .expect("stamped records have an age");
    let sent = report.latency_us.count - report.overdue;
    assert_eq!(ages.count, sent * 3 * 2, "each record, by each consumer");
    assert!(ages.p50 > 0.0 && ages.p50 < 1e6, "{}", ages.p50);
    assert_eq!(report.measured, report.parties[1]);
    assert!(report.table().contains("end to end"));
}

#[test]
fn readers_catch_up_beside_the_load() {
    let words = "produce --partitions 2 --rate 200 --consumers 1 --catch-up 2 --fill-bytes 300000 \
                 --warm-up-seconds 0.05 --seconds 0.2";
    let (report, _) = run(words, Sin::None, &clock(50, 5_000)).expect("a clean run");
    let catch_up = report.catch_up.expect("readers");
    assert!(catch_up.caught_up);
    assert!(catch_up.read.bytes > 600_000, "two readers of it all");
    assert!(catch_up.quiet_latency_us.expect("before").count > 20);
    assert!(catch_up.seconds < 5.0, "the end comes when they are done");
}

#[test]
fn readers_whom_retention_overtakes_go_on_and_it_is_told() {
    let words = "produce --rate 200 --catch-up 1 --fill-bytes 300000 --warm-up-seconds 0.05 \
                 --seconds 0.2 --proof-bytes 1000";
    let sin = Sin::Deletes(100);
    let (report, _) = run(words, sin, &clock(50, 5_000)).expect("a run that goes on");
    let catch_up = report.catch_up.expect("readers");
    assert!(catch_up.caught_up && catch_up.overtaken > 0);
    assert_eq!(catch_up.deleted_records, 100);
    let words = words.replace("--catch-up 1", "--consumers 1");
    assert!(
        run(&words, sin, &clock(50, 500)).is_ok(),
        "at the end nobody is overtaken"
    );
}

#[test]
fn connections_come_and_go_by_rounds() {
    let (report, _) = run("reconnect --connections 20", Sin::None, &clock(0, 100)).expect("fine");
    assert_eq!(report.latency_us.count % 20, 0);
    assert!(report.latency_us.count > 0);
    let (report, _) = run("idle --connections 20", Sin::None, &clock(0, 50)).expect("fine");
    assert_eq!(report.latency_us.count, 20);
}

fn voids(words: &str, sin: Sin, limit: u64, word: &str) {
    let problem = run(words, sin, &bytes(limit)).expect_err("a lying broker");
    assert!(matches!(problem, Problem::Verification(_)), "{problem}");
    assert!(problem.to_string().contains(word), "{problem}");
}

#[test]
fn lost_batches_void_the_run() {
    voids(
        "requests --depth 1",
        Sin::LosesBatches,
        5_000,
        "comes after",
    );
}

#[test]
fn doubled_batches_void_the_run_though_counts_agree() {
    // Six appends end a round of five: one is there twice, one not at all.
    let words = "produce --requests-max 6 --depth 1";
    voids(words, Sin::DoublesBatches, u64::MAX, "again");
    let packed = "produce --requests-max 6 --depth 1 --codec lz4";
    voids(packed, Sin::DoublesBatches, u64::MAX, "more often");
    let numbered = "produce --requests-max 6 --depth 1 --codec lz4 --idempotent --acks -1";
    voids(numbered, Sin::DoublesBatches, u64::MAX, "sequence");
}

#[test]
fn exchanged_batches_void_the_run() {
    voids("requests --depth 1", Sin::ExchangesBatches, 5_000, "lost");
}

#[test]
fn damaged_batches_void_the_run() {
    voids("produce", Sin::DamagesBatches, 50_000, "checksum");
}

#[test]
fn refusals_void_the_run() {
    let problem = run("produce", Sin::Refuses(87), &bytes(50_000)).expect_err("a refusal");
    assert!(
        matches!(problem, Problem::Refused { error_code: 87, .. }),
        "{problem}"
    );
}
