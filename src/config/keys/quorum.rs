//! Broker keys of the controller and the metadata quorum. Facts of Apache Kafka 4.3.

use klamm_model::ConfigKind::{Bool, Int, List, Long, Text};

use super::DynamicScope::ReadOnly;
use super::Served::{NotYet, Obeyed};
use super::{ANY_INT, ANY_LONG, BrokerKey, keys};

keys! {
    QUORUM:
    ("controller.quorum.voters", List, Some(""), ReadOnly, Obeyed,
        "Voters of the metadata quorum, as id@host:port; klamm serves a quorum of this one node yet."),
    ("controller.quorum.bootstrap.servers", List, Some(""), ReadOnly, Obeyed,
        "Addresses through which the metadata quorum is found; klamm serves a quorum of this one node yet."),
    ("controller.quorum.auto.join.enable", Bool, Some("false"), ReadOnly, NotYet,
        "Whether a controller joins the voters by itself."),
    ("controller.quorum.election.timeout.ms", Int { min: 0 }, Some("1000"), ReadOnly, NotYet,
        "How long a candidate waits for votes, in milliseconds."),
    ("controller.quorum.election.backoff.max.ms", Int { min: 0 }, Some("1000"), ReadOnly, NotYet,
        "Longest random pause between two elections, in milliseconds."),
    ("controller.quorum.fetch.timeout.ms", Int { min: 0 }, Some("2000"), ReadOnly, NotYet,
        "How long a voter does without its leader before it calls an election, in milliseconds."),
    ("controller.quorum.fetch.max.bytes", Int { min: 1 }, Some("1048576"), ReadOnly, NotYet,
        "Bytes of the metadata log in one fetch."),
    ("controller.quorum.fetch.snapshot.max.bytes", Int { min: 1 }, Some("1048576"), ReadOnly, NotYet,
        "Bytes of a metadata snapshot in one fetch."),
    ("controller.quorum.append.linger.ms", Int { min: 0 }, Some("25"), ReadOnly, NotYet,
        "How long the quorum leader gathers records, in milliseconds."),
    ("controller.quorum.request.timeout.ms", Int { min: 0 }, Some("2000"), ReadOnly, NotYet,
        "Deadline of a quorum request, in milliseconds."),
    ("controller.quorum.retry.backoff.ms", Int { min: 0 }, Some("20"), ReadOnly, NotYet,
        "Pause before a quorum request is repeated, in milliseconds."),
    ("controller.socket.timeout.ms", ANY_INT, Some("30000"), ReadOnly, NotYet,
        "Deadline of a broker's request to the controller, in milliseconds."),
    ("broker.heartbeat.interval.ms", ANY_INT, Some("2000"), ReadOnly, NotYet,
        "How often a broker reports to the controller, in milliseconds."),
    ("broker.session.timeout.ms", ANY_INT, Some("9000"), ReadOnly, NotYet,
        "How long a broker may stay silent before it is fenced, in milliseconds."),
    ("initial.broker.registration.timeout.ms", ANY_INT, Some("60000"), ReadOnly, NotYet,
        "How long a broker tries to register at start, in milliseconds."),
    ("metadata.log.dir", Text, None, ReadOnly, NotYet,
        "Folder of the metadata log; klamm keeps it in the first data folder."),
    ("metadata.log.segment.bytes", Int { min: 8_388_608 }, Some("1073741824"), ReadOnly, NotYet,
        "Segment size of the metadata log in bytes."),
    ("metadata.log.segment.ms", ANY_LONG, Some("604800000"), ReadOnly, NotYet,
        "Age in milliseconds at which a segment of the metadata log is closed."),
    ("metadata.log.max.record.bytes.between.snapshots", Long { min: 1 }, Some("20971520"), ReadOnly, NotYet,
        "Bytes of metadata records after which a snapshot is written."),
    ("metadata.log.max.snapshot.interval.ms", Long { min: 0 }, Some("3600000"), ReadOnly, NotYet,
        "Longest time between two metadata snapshots, in milliseconds; 0 counts bytes only."),
    ("metadata.max.retention.bytes", ANY_LONG, Some("104857600"), ReadOnly, NotYet,
        "Bytes of metadata log and snapshots that are kept."),
    ("metadata.max.retention.ms", ANY_LONG, Some("604800000"), ReadOnly, NotYet,
        "Age in milliseconds to which metadata log and snapshots are kept."),
    ("metadata.max.idle.interval.ms", Int { min: 0 }, Some("500"), ReadOnly, NotYet,
        "Interval of the metadata log's empty records, in milliseconds; 0 writes none."),
}
