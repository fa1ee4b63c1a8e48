//! Whole runs, small, against a fake broker: they keep the generator from rotting, and show that
//! it notices a broker that lies.

use std::time::Duration;

use clap::Parser;

use crate::{
    arguments::Arguments,
    drive::{Steering, Told},
    fake_broker::{self, Sin},
    problem::Problem,
    report::Report,
    run::perform,
};

fn run(words: &str, sin: Sin, steering: &Steering) -> Result<(Report, Vec<Told>), Problem> {
    let address = fake_broker::start(sin);
    let line = format!("klamm-bench {words} --bootstrap {address} --interval-ms 10");
    let arguments = Arguments::try_parse_from(line.split_whitespace()).expect("valid arguments");
    let (load, workload) = arguments.command.workload()?;
    let mut told = Vec::new();
    let report = perform(load, &workload, steering, &mut |word| told.push(word))?;
    Ok((report, told))
}

fn bytes(limit: u64) -> Steering {
    Steering::Bytes(limit)
}

#[test]
fn what_is_produced_is_counted_and_read_back() {
    let words = "produce --partitions 6 --partitions-per-request 3 --connections 2 --depth 3 \
                 --batch-bytes 2000 --read-back true";
    let (report, _) = run(words, Sin::None, &bytes(400_000)).expect("a clean run");
    let verified = report.verified.expect("producing is verified");
    assert_eq!(verified.records, verified.read_back);
    assert!(report.measured.bytes >= 400_000);
    assert!(
        verified.records >= report.measured.records,
        "answers after the end count too"
    );
    assert_eq!(report.measured.batches, report.measured.requests * 3);
}

#[test]
fn requests_of_one_record_are_one_batch_each() {
    let words = "requests --partitions 2 --connections 3 --depth 2 --codec lz4 --delete-topic true";
    let (report, _) = run(words, Sin::None, &bytes(20_000)).expect("a clean run");
    assert_eq!(report.measured.requests, report.measured.records);
}

#[test]
fn fetch_reads_the_log_again_and_again() {
    let words = "fetch --partitions 3 --connections 2 --fill-bytes 60000 --batch-bytes 2000 \
                 --check-crc true";
    let (report, _) = run(words, Sin::None, &bytes(300_000)).expect("a clean run");
    assert!(report.measured.bytes >= 300_000, "more than the log holds");
    assert!(report.verified.is_none());
}

#[test]
fn open_loop_sends_what_was_planned_and_tells_phases_in_order() {
    let clock = Steering::Clock {
        warm_up: Duration::from_millis(50),
        measure: Duration::from_millis(200),
    };
    let words = "requests --partitions 1 --connections 2 --rate 1000 --arrivals fixed";
    let (report, told) = run(words, Sin::None, &clock).expect("a clean run");
    let achieved = report.achieved.expect("open loops have a plan");
    assert!((0.8..1.2).contains(&achieved), "{achieved}");
    assert_eq!(report.latency_us.count, report.latency_us.count.max(150));
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
fn lost_batches_void_the_run() {
    let words = "requests --partitions 1 --depth 1";
    let problem = run(words, Sin::LosesBatches, &bytes(5_000)).expect_err("a lying broker");
    assert!(matches!(problem, Problem::Verification(_)), "{problem}");
}

#[test]
fn damaged_batches_void_the_run() {
    let words = "produce --partitions 1 --read-back true";
    let problem = run(words, Sin::DamagesBatches, &bytes(50_000)).expect_err("damage");
    assert!(problem.to_string().contains("checksum"), "{problem}");
}

#[test]
fn refusals_void_the_run() {
    let problem = run("produce", Sin::Refuses(87), &bytes(50_000)).expect_err("a refusal");
    assert!(
        matches!(problem, Problem::Refused { error_code: 87, .. }),
        "{problem}"
    );
}
