//! klamm's own broker keys: what Apache Kafka has no word for.

use klamm_model::ConfigKind::{Bool, Int, Long, Text, Word};

use super::DynamicScope::{ClusterWide, ReadOnly};
use super::Served::Obeyed;
use super::{BrokerKey, keys};

keys! {
    KLAMM:
    ("klamm.durability", Word(&["flushed", "written"]), Some("flushed"), ClusterWide, Obeyed,
        "What an acknowledgement survives unless a topic says otherwise: 'flushed' power loss, 'written' the death of the process (Apache Kafka's behaviour)."),
    ("klamm.admin.listener", Text, Some("127.0.0.1:9644"), ReadOnly, Obeyed,
        "Address of /metrics, /groups, /livez and /readyz over HTTP, as host:port; port 0 takes a free one, 'none' turns it off; at most 64 connections are kept, the oldest makes room."),
    ("klamm.insecure.listeners", Bool, Some("false"), ReadOnly, Obeyed,
        "Permits PLAINTEXT listeners, and an admin listener, that other machines can reach: anyone who reaches them may read, write and delete everything."),
    ("klamm.shards", Int { min: 1 }, None, ReadOnly, Obeyed,
        "Shards, each a thread pinned to a core with its own connections, partitions and write-ahead log; as many as the process may use cores if absent."),
    ("klamm.cores", Text, None, ReadOnly, Obeyed,
        "Cores that shards may be pinned to, as a list like 0-3,6; all that the process may use if absent."),
    ("klamm.wal.bytes", Long { min: 2_097_152 }, Some("134217728"), ReadOnly, Obeyed,
        "Bytes of write-ahead log that a shard keeps before it must checkpoint; bounds the work at start after a crash."),
    ("klamm.wal.file.bytes", Long { min: 1_048_576 }, Some("33554432"), ReadOnly, Obeyed,
        "Size of one preallocated file of the write-ahead log, in bytes."),
    ("klamm.disk.reserve.bytes", Long { min: 0 }, None, ReadOnly, Obeyed,
        "Bytes of the data folder's file system that producers may not fill: below, they get KAFKA_STORAGE_ERROR and try again, while topics, metadata, checkpoints and readers go on; the smaller of 256 MiB and a sixteenth of the file system if absent."),
    ("klamm.tail.bytes", Long { min: 1_048_576 }, None, ReadOnly, Obeyed,
        "Memory of a shard for the newest records, from which consumers that keep up are served, in bytes; it is the page cache of the write-ahead files, which take as much on disk; the smaller of 256 MiB and a quarter of the memory shared by the shards if absent."),
    ("klamm.group.lag.interval.ms", Long { min: 10 }, Some("10000"), ReadOnly, Obeyed,
        "How long groups are left alone, in milliseconds, after it was seen how far all of them are behind; such a look takes a four-hundredth of a core at most, and so long as it needs."),
    ("klamm.group.stuck.ms", Long { min: 1 }, Some("60000"), ReadOnly, Obeyed,
        "A group is called stuck if it has members, there is something to read in one of its partitions, and the offset of that one has not moved for so long, in milliseconds."),
    ("klamm.spin.us", Long { min: 0 }, Some("0"), ReadOnly, Obeyed,
        "How long an idle shard polls before it sleeps, in microseconds; buys latency with processor time."),
}
