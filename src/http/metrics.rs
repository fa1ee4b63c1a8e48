//! What the shards count, as plain numbers for rendering. Filled by boot from the shards' probes;
//! `metrics_table` names each number for the outside.

use super::times::TimeHistogram;

/// Times of the requests of one API, by part; the parts of a request add up to its total.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTimes {
    /// Kafka's name of the API.
    pub api: &'static str,
    /// From the last byte read to the beginning of the work.
    pub queue: TimeHistogram,
    /// Work that waits for nothing: decoding, and a place in the log or a read from memory.
    pub log: TimeHistogram,
    /// Waiting: for a flush, for records to come, for a disk, for other cores, for the quorum.
    pub wait: TimeHistogram,
    /// From a complete answer to the moment that the kernel is given it, with those before it.
    pub behind: TimeHistogram,
    /// Until the kernel had all of it.
    pub send: TimeHistogram,
    /// From the first of these moments to the last.
    pub total: TimeHistogram,
}

impl RequestTimes {
    /// The times that came since they were `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            api: self.api,
            queue: self.queue.since(&before.queue),
            log: self.log.since(&before.log),
            wait: self.wait.since(&before.wait),
            behind: self.behind.since(&before.behind),
            send: self.send.since(&before.send),
            total: self.total.since(&before.total),
        }
    }

    /// Adds the times of another shard, or of another API under the same name.
    pub(super) fn merge(&mut self, other: &Self) {
        self.queue.merge(&other.queue);
        self.log.merge(&other.log);
        self.wait.merge(&other.wait);
        self.behind.merge(&other.behind);
        self.send.merge(&other.send);
        self.total.merge(&other.total);
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
    /// Segments of all partitions' logs.
    pub segments: u64,
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
    /// Compacted partitions that are not compacted any more until the next start.
    pub uncleanable_partitions: u64,
    /// Bytes of them that are not clean.
    pub uncleanable_bytes: u64,
    /// The largest part of a log that is not clean and could be, in percent.
    pub dirty_percent_max: u64,
    /// Groups without members.
    pub groups_empty: u64,
    /// Groups whose round waits for members.
    pub groups_preparing_rebalance: u64,
    /// Groups whose round waits for assignments.
    pub groups_completing_rebalance: u64,
    /// Groups whose members have their assignments.
    pub groups_stable: u64,
    /// Offsets that are kept for groups.
    pub group_offsets: u64,
    /// Offsets that clients committed (grows).
    pub group_offsets_committed: u64,
    /// Offsets that nobody used for too long (grows).
    pub group_offsets_expired: u64,
    /// Offsets that clients deleted, or that went with their topic or group (grows).
    pub group_offsets_deleted: u64,
    /// Rounds of groups whose assignments were kept (grows).
    pub group_rebalances_completed: u64,
    /// Group coordinators whose logs cannot be read.
    pub group_coordinators_failed: u64,
    /// Group coordinators that read their logs.
    pub group_coordinators_loading: u64,
    /// Group coordinators that decide.
    pub group_coordinators_active: u64,
    /// Members of groups.
    pub group_members: u64,
    /// Members that were silent for too long (grows).
    pub group_members_expired: u64,
    /// Bytes that group coordinators hold.
    pub group_bytes: u64,
    /// Logs that were read to make group coordinators (grows).
    pub group_loads: u64,
    /// Records in them (grows).
    pub group_load_records: u64,
    /// Bytes of them (grows).
    pub group_load_bytes: u64,
    /// Milliseconds that took (grows).
    pub group_load_ms: u64,
    /// Looks at how far all groups are behind (grows).
    pub group_looks: u64,
    /// Kept offsets of which logs were asked in them (grows).
    pub group_offsets_looked_at: u64,
    /// Microseconds that they took (grows).
    pub group_look_us: u64,
    /// Passes of compaction that came to their end (grows).
    pub compactions: u64,
    /// Passes that did not (grows).
    pub compactions_failed: u64,
    /// Records that compaction removed (grows).
    pub records_compacted: u64,
    /// Records among them that had no key (grows).
    pub records_without_key: u64,
    /// Bytes that compaction read (grows).
    pub compaction_bytes_read: u64,
    /// Bytes that compaction wrote (grows).
    pub compaction_bytes_written: u64,
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
    /// Requests that are whole here and not answered.
    pub requests_open: u64,
    /// Those of them on which work has not begun.
    pub requests_queued: u64,
    /// Where the time of requests went, by API.
    pub requests: Vec<RequestTimes>,
    /// Times that clients were told to wait because of a quota (grows).
    pub throttles: u64,
    /// Milliseconds that they were told to wait, together (grows).
    pub throttle_ms: u64,
    /// Turns of the loop (grows).
    pub turns: u64,
    /// How long each of them took.
    pub turn_time: TimeHistogram,
    /// Microseconds without anything to do (grows).
    pub idle_us: u64,
    /// Letters taken in from other shards (grows).
    pub letters: u64,
    /// Letters that wait because another shard's queue is full.
    pub letters_waiting: u64,
    /// Wakes from sleep (grows).
    pub wakes: u64,
    /// System calls for sockets, write-ahead log, ring and wakes (grows).
    pub system_calls: u64,
    /// Operations handed to the ring (grows).
    pub ring_entries: u64,
    /// Times that the ring was entered (grows).
    pub ring_enters: u64,
    /// Completions taken from the ring (grows).
    pub ring_completions: u64,
    /// Calls that received from sockets (grows).
    pub receives: u64,
    /// Calls that sent to sockets (grows).
    pub sends: u64,
    /// Bytes received from sockets (grows).
    pub received_bytes: u64,
    /// Bytes sent to sockets (grows).
    pub sent_bytes: u64,
    /// Calls of the memory allocator (grows).
    pub allocations: u64,
    /// Bytes of records copied in memory (grows).
    pub copied_bytes: u64,
    /// Produce requests that wait until their batches are kept.
    pub parked_appends: u64,
    /// Reads that wait for records, or for a disk.
    pub parked_reads: u64,
    /// Reads that had to go to segment files (grows).
    pub cold_reads: u64,
    /// Portions of the tail handed to segment files (grows).
    pub spills: u64,
    /// Checkpoints saved (grows).
    pub checkpoints: u64,
    /// Segments removed by retention or by DeleteRecords (grows).
    pub segments_removed: u64,
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
    /// Bytes appended that no flush has covered yet.
    pub not_durable_bytes: u64,
    /// Bytes of recent records held in memory.
    pub tail_bytes: u64,
    /// What the controller knows; `Some` from the one shard that hosts it.
    pub controller: Option<ControllerMetrics>,
    /// The partitions that this node leads, seen against their replicas; from the same shard.
    pub replication: Option<ReplicationMetrics>,
    /// Where the metadata quorum stands; from the same shard.
    pub quorum: Option<QuorumMetrics>,
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
    /// Partitions that another than their preferred replica leads.
    pub preferred_replica_imbalance: u64,
    /// Registered brokers.
    pub brokers: u64,
}

/// The partitions that this node leads, seen against their replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicationMetrics {
    /// Fewer replicas in sync than there are.
    pub under_replicated: u64,
    /// Fewer replicas in sync than `min.insync.replicas` asks for.
    pub under_min_isr: u64,
    /// Exactly as many in sync as it asks for.
    pub at_min_isr: u64,
}

/// Where the metadata quorum stands, as this node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumMetrics {
    /// This node leads it.
    pub leads: bool,
    /// Who leads.
    pub leader: Option<i32>,
    /// The reign of that leader.
    pub epoch: i32,
    /// End of what is committed.
    pub high_watermark: i64,
    /// End of this node's log; known to the leader only.
    pub log_end: Option<i64>,
}

/// What the kernel says of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Processor time, of the process and of the kernel for it, in hundredths of a second.
    pub cpu_hundredths: u64,
    /// Memory that is in use now.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// How many there may be.
    pub open_files_max: u64,
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
    /// Clients can be served.
    pub ready: bool,
    /// What the kernel says of the process.
    pub process: ProcessFacts,
    /// Wall-clock time of the start, in milliseconds since 1970.
    pub started_ms: i64,
    /// The data folders.
    pub folders: Vec<FolderFacts>,
}

/// What is known of a data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderFacts {
    /// Where it is.
    pub path: String,
    /// Free bytes of its file system.
    pub disk_free_bytes: u64,
    /// Size of its file system.
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

impl NodeMetrics {
    /// Times of all requests over all shards, by API.
    pub(super) fn requests(&self) -> Vec<RequestTimes> {
        let mut merged: Vec<RequestTimes> = Vec::new();
        for times in self.shards.iter().flat_map(|shard| &shard.requests) {
            match merged.iter_mut().find(|other| other.api == times.api) {
                Some(other) => other.merge(times),
                None => merged.push(times.clone()),
            }
        }
        merged.sort_by_key(|times| times.api);
        merged
    }

    /// Times of one kind over all shards.
    pub(super) fn times(&self, read: fn(&ShardMetrics) -> &TimeHistogram) -> TimeHistogram {
        let mut merged = TimeHistogram::default();
        for shard in &self.shards {
            merged.merge(read(shard));
        }
        merged
    }
}

/// One partition with its counters since it was opened, and what it is like now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionMetrics {
    /// Name of its topic.
    pub topic: String,
    /// Its number.
    pub index: i32,
    /// The shard that it lives on.
    pub shard: u16,
    /// Records appended by clients (grows).
    pub messages_in: u64,
    /// Bytes of batches appended by clients (grows).
    pub bytes_in: u64,
    /// Bytes of batches handed to clients (grows).
    pub bytes_out: u64,
    /// First offset that can be read.
    pub log_start: i64,
    /// End of what is committed.
    pub high_watermark: i64,
    /// Offset that the next record gets.
    pub log_end: i64,
    /// Segments.
    pub segments: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// Node that leads it.
    pub leader: i32,
    /// Its preferred replica leads it.
    pub leader_is_preferred: bool,
    /// Its replicas.
    pub replicas: u64,
    /// Those of them in sync.
    pub in_sync: u64,
    /// How many must be in sync for producers that ask for all.
    pub min_in_sync: u64,
}
