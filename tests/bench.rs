//! `klamm bench` against the real broker: a small load of every kind runs, is proved, and tells
//! what it saw.
#![forbid(unsafe_code)]

#[path = "harness/mod.rs"]
mod harness;

use std::process::{Command, Output};

use harness::{Broker, Options};

fn bench(broker: &Broker, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command.arg("bench").args(words.split_whitespace());
    command.args(["--bootstrap", &broker.address().to_string()]);
    command.output().expect("the binary under test starts")
}

/// The result of a run that must succeed.
fn result(broker: &Broker, words: &str) -> serde_json::Value {
    let output = bench(broker, &format!("{words} --json"));
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {complaint}");
    let last = told.lines().last().expect("a line");
    let result: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(result["event"], "result", "{words}");
    result
}

const SHORT: &str = "--warm-up-seconds 0.1 --seconds 0.5";

#[test]
fn every_kind_of_load_runs_and_is_proved() {
    let broker = Broker::start_with(Options::new());
    let loads = [
        "produce --topic plain --partitions 4 --partitions-per-request 2 --connections 2",
        "produce --topic numbered --idempotent --acks -1 --codec zstd --record-bytes 1024",
        "requests --topic keyed --partitions 3 --key-bytes 8 --rate 200 --consumers 1",
    ];
    for load in loads {
        let result = result(&broker, &format!("{load} {SHORT}"));
        let verified = &result["verified"];
        assert!(verified["records"].as_u64() > Some(0), "{load}: {verified}");
        assert_eq!(verified["read_back"], verified["records"], "{load}");
        assert!(
            verified["in_order"].as_u64() > Some(0),
            "{load}: {verified}"
        );
    }
    let fetch = "fetch --topic plain --partitions 4 --check-crc";
    let result = result(&broker, &format!("{fetch} {SHORT}"));
    assert!(result["measured"]["bytes"].as_u64() > Some(0));
}

#[test]
fn consumers_with_fetch_sessions_see_every_record_of_many_topics() {
    let broker = Broker::start_with(Options::new());
    let load = "produce --topic many --topics 5 --partitions 4 --batch-records 3 --rate 200 \
                --consumers 2 --consumer-connections 3";
    let result = result(&broker, &format!("{load} {SHORT}"));
    let records = result["verified"]["records"].as_u64().expect("proved");
    let ages = result["end_to_end_us"]["count"].as_u64().expect("seen");
    let due = result["latency_us"]["count"].as_u64().expect("due");
    let sent = due - result["overdue"].as_u64().expect("a number");
    assert_eq!(ages, sent * 3 * 2, "each record that was measured, by both");
    assert!(ages <= records * 2);
}

#[test]
fn administration_and_connections_are_loads_too() {
    let broker = Broker::start_with(Options::new());
    let create = "create-topics --topics-per-request 5 --requests-max 4 --warm-up-seconds 0 \
                  --seconds 60 --delete-topic";
    let created = result(&broker, create);
    assert_eq!(created["measured"]["records"], 20);
    let metadata = result(
        &broker,
        &format!("metadata --topic m --topics 3 --partitions 7 {SHORT}"),
    );
    assert!(metadata["measured"]["records"].as_u64() > Some(0));
    let storm = result(
        &broker,
        "reconnect --connections 50 --warm-up-seconds 0 --seconds 0.1",
    );
    assert_eq!(
        storm["latency_us"]["count"].as_u64().expect("rounds") % 50,
        0
    );
}

/// What came of each event of groups, all of which came to rest.
fn events(broker: &Broker, words: &str) -> Vec<serde_json::Value> {
    let result = result(broker, &format!("{words} --seconds 100"));
    result["groups"].as_array().expect("events").clone()
}

/// The same, where nobody is taken for silent: nothing is read twice, and nothing moves afterwards.
fn calm_events(broker: &Broker, words: &str, count: usize) {
    let events = events(broker, words);
    assert_eq!(events.len(), count, "{words}");
    for event in events {
        assert_eq!(event["held_twice"], 0, "{words}: {event}");
        assert_eq!(event["restless_afterwards"], 0, "{words}: {event}");
        assert!(event["requests"].as_u64() > Some(0), "{words}: {event}");
    }
}

#[test]
fn members_of_groups_agree_after_joins_growth_and_leaves() {
    let options = Options::new().set("group.initial.rebalance.delay.ms", 0);
    let broker = Broker::start_with(options);
    let consumer = "groups --groups 3 --members 4 --partitions 9 --new-partitions 4 \
                    --group-events join,new-partitions,leave --warm-up-seconds 0.6";
    calm_events(&broker, consumer, 3);
    let classic = "groups --groups 2 --members 4 --partitions 9 --group-protocol classic \
                   --heartbeat-interval-ms 100 --group-events join,leave --warm-up-seconds 0.3";
    calm_events(&broker, classic, 2);
    let cooperative = format!("{classic} --assignor cooperative-sticky");
    calm_events(&broker, &cooperative, 2);
    let shared = "groups --groups 6 --members 2 --connections 4 --partitions 4 \
                  --group-events join,leave --warm-up-seconds 0.1";
    calm_events(&broker, shared, 2);
}

#[test]
fn members_of_groups_agree_after_others_have_crashed_or_fallen_silent() {
    let options = Options::new()
        .set("group.initial.rebalance.delay.ms", 0)
        .set("group.min.session.timeout.ms", 100)
        .set("group.consumer.min.heartbeat.interval.ms", 100)
        .set("group.consumer.heartbeat.interval.ms", 500)
        .set("group.consumer.min.session.timeout.ms", 1_000)
        .set("group.consumer.session.timeout.ms", 2_000);
    let broker = Broker::start_with(options);
    let consumer = "groups --members 4 --partitions 9 --group-events crash,silence \
                    --warm-up-seconds 0.6";
    let classic = "groups --members 4 --partitions 9 --group-protocol classic \
                   --session-timeout-ms 2000 --heartbeat-interval-ms 100 \
                   --group-events crash,silence --warm-up-seconds 0.3";
    for words in [consumer, classic] {
        for event in events(&broker, words) {
            assert!(event["gaps"].as_u64() > Some(0), "{words}: {event}");
        }
    }
}

/// With the configured interval, which Apache Kafka asks for, nobody would hear of anything for
/// fourteen seconds.
#[test]
fn work_moves_long_before_the_configured_heartbeat_interval_has_passed() {
    let options = Options::new().set("group.consumer.heartbeat.interval.ms", 15_000);
    let broker = Broker::start_with(options);
    let words = "groups --members 10 --partitions 10 --new-partitions 90 \
                 --group-events new-partitions,leave --warm-up-seconds 1";
    for event in events(&broker, words) {
        let took = event["stable_ms"].as_f64().expect("a number");
        assert!(took < 10_000.0, "{event}");
    }
}

#[test]
fn groups_that_cannot_be_made_are_refused_with_the_reason() {
    let broker = Broker::start_with(Options::new());
    let refused = |words: &str, reason: &str| {
        let output = bench(&broker, words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words}");
        assert!(told.contains(reason), "{words}: {told}");
    };
    refused("groups --members 0", "start at one");
    refused(
        "groups --members 2 --group-events leave,crash",
        "one has to stay",
    );
    refused("groups --members 4 --groups 2 --connections 6", "multiple");
    refused(
        "groups --group-protocol classic --group-events new-partitions",
        "consumer protocol",
    );
    refused("groups --group-protocol classic --assignor best", "best");
    refused(
        "groups --members 2 --groups 2 --connections 2 --group-events crash",
        "alone",
    );
}

#[test]
fn files_are_written_and_help_tells_of_every_load() {
    let broker = Broker::start_with(Options::new());
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (chart, table) = (at("latency.svg"), at("latency.hgrm"));
    let files = format!("--chart {chart} --histogram {table}");
    let output = bench(&broker, &format!("produce {SHORT} {files}"));
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("proved"));
    let read = |path: &str| std::fs::read_to_string(path).expect("written");
    assert!(read(&chart).starts_with("<svg") && read(&table).contains("#[Max"));
    let help = Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["bench", "--help"])
        .output();
    let help = help.expect("help").stdout;
    let help = String::from_utf8_lossy(&help);
    for word in [
        "produce",
        "requests",
        "fetch",
        "create-topics",
        "metadata",
        "groups",
        "scenarios",
    ] {
        assert!(help.contains(word), "{word}");
    }
}
