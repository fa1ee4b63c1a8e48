//! What the shards count, as plain numbers for rendering. Filled by boot from the shards' probes;
//! `metrics_table` names each number for the outside.

/// Time of one kind of operation, in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeHistogram {
    /// Sum of all times in microseconds.
    pub sum_us: u64,
    /// Pairs of a bucket's upper end (inclusive, in microseconds, ascending) and the number of
    /// times in that bucket alone.
    pub buckets: Vec<(u64, u64)>,
    /// Times beyond the last bucket.
    pub beyond: u64,
}

impl TimeHistogram {
    /// Number of all times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|&(_, count)| count).sum::<u64>() + self.beyond
    }
}

/// Numbers of one shard. Those that grow count since the start of the process; the others are of
/// the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardMetrics {
    /// Number of the shard.
    pub shard: u16,
    /// Open client connections.
    pub connections: u64,
    /// Partitions with a replica here.
    pub partitions: u64,
    /// Partitions led here.
    pub leaders: u64,
    /// Bytes of all partitions' logs on disk.
    pub log_bytes: u64,
    /// Records appended by clients (grows).
    pub messages_in: u64,
    /// Bytes of batches appended by clients (grows).
    pub bytes_in: u64,
    /// Bytes of batches sent to clients (grows).
    pub bytes_out: u64,
    /// Bytes of batches refused (grows).
    pub bytes_rejected: u64,
    /// Batches refused because the disk is full (grows).
    pub refused_for_space: u64,
    /// 1 while producers are refused for want of room on the disk.
    pub refuses_for_space: u64,
    /// Produce requests (grows).
    pub produce_requests: u64,
    /// Produce requests of which a partition failed (grows).
    pub produce_requests_failed: u64,
    /// Fetch requests (grows).
    pub fetch_requests: u64,
    /// Fetch requests of which a partition failed (grows).
    pub fetch_requests_failed: u64,
    /// Fetch sessions.
    pub fetch_sessions: u64,
    /// Partitions that they remember.
    pub fetch_session_partitions: u64,
    /// Fetch sessions that had to make room for others (grows).
    pub fetch_sessions_evicted: u64,
    /// Bytes of requests that are being read or answered.
    pub request_bytes: u64,
    /// Bytes of requests for which there is room.
    pub request_bytes_room: u64,
    /// Connections whose next request waits for room.
    pub requests_waiting: u64,
    /// Turns of the loop (grows).
    pub turns: u64,
    /// Letters sent to other shards (grows).
    pub letters: u64,
    /// Wakes from sleep (grows).
    pub wakes: u64,
    /// System calls for sockets, write-ahead log, ring and wakes (grows).
    pub system_calls: u64,
    /// Operations handed to the ring (grows).
    pub ring_entries: u64,
    /// Calls of the memory allocator (grows).
    pub allocations: u64,
    /// Bytes of records copied in memory (grows).
    pub copied_bytes: u64,
    /// Requests parked until data, replicas or time allow an answer.
    pub requests_parked: u64,
    /// Bytes written to the write-ahead log (grows).
    pub wal_written_bytes: u64,
    /// Bytes of the write-ahead log that no checkpoint covers yet.
    pub wal_live_bytes: u64,
    /// Write-ahead files made before they were needed (grows).
    pub wal_files_made_ahead: u64,
    /// Write-ahead files made while the core waited (grows).
    pub wal_files_made_waiting: u64,
    /// Flushes of the write-ahead log (grows).
    pub wal_flushes: u64,
    /// How long each of them took.
    pub wal_flush_time: TimeHistogram,
    /// Bytes acknowledged to clients that a power loss would take.
    pub acked_not_durable_bytes: u64,
    /// Bytes of recent records held in memory.
    pub tail_bytes: u64,
    /// What the controller knows; `Some` from the one shard that hosts it.
    pub controller: Option<ControllerMetrics>,
}

/// Numbers of the whole cluster, from the controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerMetrics {
    /// This node is the active controller.
    pub active: bool,
    /// Topics of the cluster.
    pub topics: u64,
    /// Partitions of the cluster.
    pub partitions: u64,
    /// Partitions without a leader.
    pub partitions_offline: u64,
}

/// What is known of the node without asking its shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Version of this program.
    pub version: String,
    /// This node's id.
    pub node_id: i32,
    /// Shards that run.
    pub shards: usize,
    /// Wall-clock time of the start, in milliseconds since 1970.
    pub started_ms: i64,
    /// Free bytes of the file system that holds the data folder.
    pub disk_free_bytes: u64,
    /// Its size.
    pub disk_bytes: u64,
}

/// All numbers of one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMetrics {
    /// The node.
    pub node: NodeFacts,
    /// The shards that answered in time, by number.
    pub shards: Vec<ShardMetrics>,
}
