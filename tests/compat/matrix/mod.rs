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
use families::{
    AIOKAFKA, FRANZ_GO, FRANZ_GO_CONSUMER, Family, JAVA, JAVA_CONSUMER, KAFKA_PYTHON, KAFKAJS,
    LIBRDKAFKA, LIBRDKAFKA_CONSUMER, SARAMA,
};
use scenarios::{Scenario, mixed, moves};

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
fn members_of_java_share_by_the_classic_protocol() {
    let test = "members_of_java_share_by_the_classic_protocol";
    play(test, &[JAVA], "range", Scenario::BrokerDeath);
}

#[test]
fn members_of_java_share_by_the_consumer_protocol() {
    let test = "members_of_java_share_by_the_consumer_protocol";
    play(test, &[JAVA_CONSUMER], "range", Scenario::Restart);
}

#[test]
fn members_of_librdkafka_share_by_the_classic_protocol() {
    let test = "members_of_librdkafka_share_by_the_classic_protocol";
    play(test, &[LIBRDKAFKA], "range", Scenario::Scale);
}

#[test]
fn members_of_librdkafka_share_by_the_consumer_protocol() {
    let test = "members_of_librdkafka_share_by_the_consumer_protocol";
    play(test, &[LIBRDKAFKA_CONSUMER], "range", Scenario::Pause);
}

#[test]
fn members_of_franz_go_share_by_the_classic_protocol() {
    let test = "members_of_franz_go_share_by_the_classic_protocol";
    play(test, &[FRANZ_GO], "cooperative-sticky", Scenario::Pause);
}

#[test]
fn members_of_franz_go_share_by_the_consumer_protocol() {
    let test = "members_of_franz_go_share_by_the_consumer_protocol";
    play(
        test,
        &[FRANZ_GO_CONSUMER],
        "range",
        Scenario::BrokerDeathWritten,
    );
}

#[test]
fn members_of_sarama_share_by_the_classic_protocol() {
    let test = "members_of_sarama_share_by_the_classic_protocol";
    play(test, &[SARAMA], "range", Scenario::Crash);
}

#[test]
fn members_of_kafka_python_share_by_the_classic_protocol() {
    let test = "members_of_kafka_python_share_by_the_classic_protocol";
    play(
        test,
        &[KAFKA_PYTHON],
        "roundrobin",
        Scenario::BrokerDeathWritten,
    );
}

#[test]
fn members_of_aiokafka_share_by_the_classic_protocol() {
    let test = "members_of_aiokafka_share_by_the_classic_protocol";
    play(test, &[AIOKAFKA], "roundrobin", Scenario::Restart);
}

#[test]
fn members_of_kafkajs_share_by_the_classic_protocol() {
    let test = "members_of_kafkajs_share_by_the_classic_protocol";
    play(test, &[KAFKAJS], "range", Scenario::Scale);
}

/// Clients of every family that knows the classic protocol, in one group: whoever leads it divides
/// the work for all.
const CLASSIC: [Family; 7] = [
    JAVA,
    LIBRDKAFKA,
    FRANZ_GO,
    SARAMA,
    KAFKA_PYTHON,
    AIOKAFKA,
    KAFKAJS,
];

/// Clients of every family that knows the consumer protocol.
const CONSUMER: [Family; 3] = [JAVA_CONSUMER, LIBRDKAFKA_CONSUMER, FRANZ_GO_CONSUMER];

#[test]
fn members_of_all_families_share_one_group_of_the_classic_protocol() {
    let test = "members_of_all_families_share_one_group_of_the_classic_protocol";
    mixed(test, &CLASSIC, "range", "written");
    if is_full() {
        // KafkaJS has no assignor that others know but the one that its member brings.
        mixed(test, &CLASSIC[..6], "roundrobin", "flushed");
        mixed(test, &CLASSIC[..3], "cooperative-sticky", "flushed");
    }
}

#[test]
fn members_of_all_families_share_one_group_of_the_consumer_protocol() {
    let test = "members_of_all_families_share_one_group_of_the_consumer_protocol";
    mixed(test, &CONSUMER, "range", "flushed");
}

#[test]
fn a_group_moves_to_the_consumer_protocol_and_back_while_it_reads() {
    let test = "a_group_moves_to_the_consumer_protocol_and_back_while_it_reads";
    let newer = [JAVA_CONSUMER, LIBRDKAFKA_CONSUMER];
    moves(test, "range", &[LIBRDKAFKA, KAFKA_PYTHON], &newer[1..]);
    if is_full() {
        moves(test, "cooperative-sticky", &CLASSIC[..3], &newer);
        moves(test, "range", &CLASSIC[3..], &CONSUMER);
    }
}
