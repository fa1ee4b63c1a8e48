//! Broker keys of transactions and producer state. Facts of Apache Kafka 4.3.

use klamm_model::ConfigKind::{Bool, Int, Short};

use super::DynamicScope::{ClusterWide, ReadOnly};
use super::Served::{NotYet, Obeyed};
use super::{BrokerKey, keys};

keys! {
    TRANSACTIONS:
    ("transaction.state.log.num.partitions", Int { min: 1 }, Some("50"), ReadOnly, NotYet,
        "Partitions of __transaction_state."),
    ("transaction.state.log.replication.factor", Short { min: 1 }, Some("3"), ReadOnly, NotYet,
        "Replication factor of __transaction_state."),
    ("transaction.state.log.min.isr", Int { min: 1 }, Some("2"), ReadOnly, NotYet,
        "min.insync.replicas of __transaction_state."),
    ("transaction.state.log.segment.bytes", Int { min: 1 }, Some("104857600"), ReadOnly, NotYet,
        "Segment size of __transaction_state in bytes."),
    ("transaction.state.log.load.buffer.size", Int { min: 1 }, Some("5242880"), ReadOnly, NotYet,
        "Bytes read at once while transactions are loaded."),
    ("transaction.max.timeout.ms", Int { min: 1 }, Some("900000"), ReadOnly, NotYet,
        "Longest timeout that a transactional producer may ask for, in milliseconds."),
    ("transactional.id.expiration.ms", Int { min: 1 }, Some("604800000"), ReadOnly, NotYet,
        "How long an unused transactional id is remembered, in milliseconds."),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int { min: 1 }, Some("10000"), ReadOnly, NotYet,
        "How often timed-out transactions are looked for, in milliseconds."),
    ("transaction.remove.expired.transaction.cleanup.interval.ms", Int { min: 1 }, Some("3600000"), ReadOnly, NotYet,
        "How often expired transactional ids are looked for, in milliseconds."),
    ("transaction.partition.verification.enable", Bool, Some("true"), ClusterWide, NotYet,
        "Whether a partition asks the coordinator before it accepts a transactional write (KIP-890)."),
    ("transaction.two.phase.commit.enable", Bool, Some("false"), ReadOnly, NotYet,
        "Whether producers may take part in a two-phase commit (KIP-939)."),
    ("producer.id.expiration.ms", Int { min: 1 }, Some("86400000"), ClusterWide, Obeyed,
        "How long the sequence numbers of an idle producer are remembered, in milliseconds."),
    ("add.partitions.to.txn.retry.backoff.ms", Int { min: 1 }, Some("20"), ReadOnly, NotYet,
        "Pause before a partition's verification is tried again, in milliseconds."),
    ("add.partitions.to.txn.retry.backoff.max.ms", Int { min: 0 }, Some("100"), ReadOnly, NotYet,
        "Longest time for which a partition's verification is tried again, in milliseconds."),
}
