//! Members of groups of other people's clients, each a process of its own, while flights flow into
//! twelve partitions: one, eight and three of them share the work; one dies, one is paused past its
//! session and goes on, all are restarted under their static names, the broker is killed. Whatever
//! happens, every record is processed, by no two owners in one generation, and commits never go
//! back: the [judge] finds out, from what members say and from what the broker noted.
//!
//! Each family plays one scenario alone, and some play together; with `KLAMM_COMPAT=full` each plays
//! all of them. `KLAMM_TEST_BROKER` lets another broker be judged, but for being killed.

mod events;
mod families;
mod feeder;
mod judge;
mod member;
mod notes;
mod proofs;
mod scenarios;
mod stage;

use crate::is_full;
use families::{Family, KAFKA_PYTHON, LIBRDKAFKA, LIBRDKAFKA_CONSUMER};
use scenarios::Scenario;

/// Plays a scenario with members of these families in turn; all scenarios in a full run.
fn play(test: &str, families: &[Family], assignor: &'static str, ordinary: Scenario) {
    if !is_full() {
        return ordinary.play(test, families, assignor);
    }
    for scenario in Scenario::ALL {
        scenario.play(&format!("{test}, {scenario:?}"), families, assignor);
    }
}

#[test]
fn members_of_librdkafka_share_by_the_classic_protocol() {
    let test = "members_of_librdkafka_share_by_the_classic_protocol";
    play(test, &[LIBRDKAFKA], "range", Scenario::Pause);
}

#[test]
fn members_of_librdkafka_share_by_the_consumer_protocol() {
    let test = "members_of_librdkafka_share_by_the_consumer_protocol";
    play(test, &[LIBRDKAFKA_CONSUMER], "range", Scenario::Restart);
}

#[test]
fn members_of_kafka_python_share_by_the_classic_protocol() {
    let test = "members_of_kafka_python_share_by_the_classic_protocol";
    play(test, &[KAFKA_PYTHON], "roundrobin", Scenario::Crash);
}
