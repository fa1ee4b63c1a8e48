//! The same requests to klamm and to Apache Kafka 4.3, and their answers field by field: a history
//! with a known course first, then requests from a seed, of every key at every version that both
//! serve. What must differ is made equal (`neutral.rs`); what differs for a reason has a row in
//! docs/reference/differences.md (`expected.rs`); anything else fails.
//!
//! Apache Kafka is brought by Maven, or by `KAFKA_HOME`; where it cannot be had, the test is
//! skipped loudly. `KLAMM_DIFFERENTIAL=full` sends thousands of requests,
//! `KLAMM_DIFFERENTIAL_SEED=n` others.
#![forbid(unsafe_code)]

#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the tests of foreign clients use the rest")]
#[path = "../compat/install.rs"]
mod install;
#[allow(dead_code, reason = "the build of klamm-wire uses the rest")]
#[path = "../../crates/wire/build/table.rs"]
mod table;

mod admins;
mod apis;
mod codec;
mod compare;
mod consumer_groups;
mod expected;
mod generate;
mod group_configs;
mod groups;
mod history;
mod kafka;
mod neutral;
mod pair;
mod peer;
mod stock;

use std::collections::BTreeMap;

use apis::Apis;
use compare::Findings;
use expected::{EXPECTED, PAGE};
use harness::{Broker, Options};
use kafka::Kafka;
use pair::Pair;
use peer::Peer;

/// Settings that both brokers get. Times of records are years ago here, so nothing expires.
const SETTINGS: &[(&str, &str)] = &[
    ("node.id", "1"),
    ("auto.create.topics.enable", "false"),
    ("log.retention.ms", "-1"),
    ("num.partitions", "2"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.consumer.assignment.interval.ms", "0"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
];
/// Requests from the seed in an ordinary run.
const REQUESTS: usize = 700;
/// Requests from the seed with `KLAMM_DIFFERENTIAL=full`.
const REQUESTS_FULL: usize = 8000;
const SEED: u64 = 20_261_122;

#[test]
fn answers_differ_from_apache_kafkas_only_where_the_page_says_so() {
    let kafka = match Kafka::start(SETTINGS) {
        Ok(kafka) => kafka,
        Err(why) => {
            let test = "answers_differ_from_apache_kafkas_only_where_the_page_says_so";
            harness::skipped(test, &why);
            return;
        }
    };
    let options = SETTINGS
        .iter()
        .fold(Options::new(), |options, (key, value)| {
            options.set(key, value)
        });
    let Some(broker) = Broker::own("the differential test", options) else {
        return;
    };
    let apis = Apis::read();
    let data = kafka.data().display().to_string();
    let own = broker.folder().display().to_string();
    let mut pair = Pair {
        apis: &apis,
        kafka: Peer::new(&apis, kafka.address, data),
        klamm: Peer::new(&apis, broker.address(), own),
        findings: Findings::new(),
        windows: BTreeMap::new(),
    };
    pair.meet();
    groups::warm_up(&mut pair);
    history::run(&mut pair);
    groups::run(&mut pair);
    consumer_groups::run(&mut pair);
    group_configs::run(&mut pair);
    let variable = |name: &str| std::env::var(name).ok();
    let seed = variable("KLAMM_DIFFERENTIAL_SEED")
        .map_or(SEED, |text| text.parse().expect("a seed is a number"));
    let is_full = variable("KLAMM_DIFFERENTIAL").is_some_and(|value| value == "full");
    let count = if is_full { REQUESTS_FULL } else { REQUESTS };
    generate::run(&mut pair, seed, count);
    pair.findings.judge(&format!("seed {seed}"));
}

#[test]
fn every_difference_expected_here_stands_on_the_page() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(path).expect("the page");
    for row in EXPECTED {
        let cell = format!("| {} |", row.subject);
        assert!(page.contains(&cell), "{PAGE} has no row {:?}", row.subject);
    }
}
