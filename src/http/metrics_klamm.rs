//! The rows of klamm's own metrics: its shards, the time of its requests, its process.

use super::metrics_table::{Metric, Reading, row};

/// Upper ends of the buckets of turns, in microseconds.
const TURN_ENDS_US: &[u64] = &[
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 25_000, 100_000,
];

/// Upper ends of the buckets of flushes, in microseconds.
const FLUSH_ENDS_US: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000,
];

/// In the order in which they are shown.
pub(super) const KLAMM_METRICS: &[Metric] = &[
    row(
        "klamm_shards",
        Reading::Node(|node| node.node.shards as u64),
        "Shards that run.",
    ),
    row(
        "klamm_shards_answering",
        Reading::Node(|node| node.shards.len() as u64),
        "Shards that answered this collection in time; fewer than klamm_shards means that one is stuck.",
    ),
    row(
        "klamm_start_time_seconds",
        Reading::Node(|node| u64::try_from(node.node.started_ms / 1000).unwrap_or(0)),
        "Wall-clock time of the start, in seconds since 1970.",
    ),
    row(
        "klamm_disk_free_bytes",
        Reading::Folder(|folder| folder.disk_free_bytes),
        "Bytes that the broker may still write to the file system of the data folder, klamm.disk.reserve.bytes included.",
    ),
    row(
        "klamm_disk_bytes",
        Reading::Folder(|folder| folder.disk_bytes),
        "Size of the file system of the data folder.",
    ),
    row(
        "klamm_produce_refused_for_space",
        Reading::Counter(|shard| shard.refused_for_space),
        "Batches of producers refused because the disk is full but for what klamm.disk.reserve.bytes keeps.",
    ),
    row(
        "klamm_compaction_passes",
        Reading::Counter(|shard| shard.compactions),
        "Times that a log was compacted.",
    ),
    row(
        "klamm_compaction_passes_broken_off",
        Reading::Counter(|shard| shard.compactions_failed),
        "Times that compaction of a log was broken off: for want of room on the disk, or because something was in the way.",
    ),
    row(
        "klamm_group_coordinators_active",
        Reading::Gauge(|shard| shard.group_coordinators_active),
        "Partitions of __consumer_offsets whose groups are served.",
    ),
    row(
        "klamm_group_coordinators_loading",
        Reading::Gauge(|shard| shard.group_coordinators_loading),
        "Partitions of __consumer_offsets that are being read; their groups are served after that.",
    ),
    row(
        "klamm_group_coordinators_failed",
        Reading::Gauge(|shard| shard.group_coordinators_failed),
        "Partitions of __consumer_offsets that cannot be read, so that their groups are not served; the log says why.",
    ),
    row(
        "klamm_group_members",
        Reading::Gauge(|shard| shard.group_members),
        "Members of groups.",
    ),
    row(
        "klamm_group_members_expired",
        Reading::Counter(|shard| shard.group_members_expired),
        "Members of groups that were silent for too long.",
    ),
    row(
        "klamm_group_bytes",
        Reading::ShardGauge(|shard| shard.group_bytes),
        "Bytes that a shard holds of groups; where they are 512 MiB nobody new joins, and no new offset is kept.",
    ),
    row(
        "klamm_group_loads",
        Reading::Counter(|shard| shard.group_loads),
        "Partitions of __consumer_offsets that were read, to serve their groups.",
    ),
    row(
        "klamm_group_load_records",
        Reading::Counter(|shard| shard.group_load_records),
        "Records that were read of them.",
    ),
    row(
        "klamm_group_load_bytes",
        Reading::Counter(|shard| shard.group_load_bytes),
        "Bytes that were read of them.",
    ),
    row(
        "klamm_group_load_ms",
        Reading::Counter(|shard| shard.group_load_ms),
        "Milliseconds that this took; what was read at once counts once.",
    ),
    row(
        "klamm_group_lag_looks",
        Reading::Counter(|shard| shard.group_looks),
        "Looks at how far all groups of a shard are behind.",
    ),
    row(
        "klamm_group_lag_offsets_looked_at",
        Reading::Counter(|shard| shard.group_offsets_looked_at),
        "Kept offsets of which logs were asked in them.",
    ),
    row(
        "klamm_group_lag_look_seconds",
        Reading::ShardSeconds(|shard| shard.group_look_us),
        "Processor time of a shard that they took, without what other shards did for them.",
    ),
    row(
        "klamm_compaction_dirty_percent_max",
        Reading::ShardGauge(|shard| shard.dirty_percent_max),
        "The largest part of a compacted log of a shard that is not clean and could be, in percent.",
    ),
    row(
        "klamm_compaction_records_removed",
        Reading::Counter(|shard| shard.records_compacted),
        "Records that compaction removed.",
    ),
    row(
        "klamm_compaction_records_without_key_removed",
        Reading::Counter(|shard| shard.records_without_key),
        "Records that compaction removed because they had no key: they came before the topic was compacted.",
    ),
    row(
        "klamm_compaction_read_bytes",
        Reading::Counter(|shard| shard.compaction_bytes_read),
        "Bytes of segments that compaction read.",
    ),
    row(
        "klamm_compaction_written_bytes",
        Reading::Counter(|shard| shard.compaction_bytes_written),
        "Bytes of segments that compaction wrote.",
    ),
    row(
        "klamm_shards_refusing_for_space",
        Reading::Gauge(|shard| shard.refuses_for_space),
        "Shards that refuse producers now because the disk is full.",
    ),
    row(
        "klamm_shard_connections",
        Reading::ShardGauge(|shard| shard.connections),
        "Open client connections of a shard.",
    ),
    row(
        "klamm_shard_request_bytes",
        Reading::ShardGauge(|shard| shard.request_bytes),
        "Bytes of requests that a shard is reading or answering.",
    ),
    row(
        "klamm_shard_requests_waiting_for_room",
        Reading::ShardGauge(|shard| shard.requests_waiting),
        "Connections of a shard whose next request waits until others are answered.",
    ),
    row(
        "klamm_shard_throttles",
        Reading::ShardCounter(|shard| shard.throttles),
        "Times that a shard told a client to wait because of a quota.",
    ),
    row(
        "klamm_shard_throttle_milliseconds",
        Reading::ShardCounter(|shard| shard.throttle_ms),
        "Milliseconds that a shard's clients were told to wait because of quotas, together.",
    ),
    row(
        "klamm_shard_fetch_sessions",
        Reading::ShardGauge(|shard| shard.fetch_sessions),
        "Fetch sessions of a shard.",
    ),
    row(
        "klamm_shard_fetch_session_partitions",
        Reading::ShardGauge(|shard| shard.fetch_session_partitions),
        "Partitions that the fetch sessions of a shard remember.",
    ),
    row(
        "klamm_shard_partitions",
        Reading::ShardGauge(|shard| shard.partitions),
        "Partitions with a replica on a shard.",
    ),
    row(
        "klamm_shard_turns",
        Reading::ShardCounter(|shard| shard.turns),
        "Turns of a shard's loop.",
    ),
    row(
        "klamm_shard_letters",
        Reading::ShardCounter(|shard| shard.letters),
        "Letters that a shard took in from others.",
    ),
    row(
        "klamm_shard_wakes",
        Reading::ShardCounter(|shard| shard.wakes),
        "Times that a shard woke from sleep.",
    ),
    row(
        "klamm_shard_system_calls",
        Reading::ShardCounter(|shard| shard.system_calls),
        "System calls of a shard for sockets, write-ahead log, its ring and wakes of others.",
    ),
    row(
        "klamm_shard_ring_entries",
        Reading::ShardCounter(|shard| shard.ring_entries),
        "Operations that a shard handed to its io_uring: polls, flushes, direct reads and writes.",
    ),
    row(
        "klamm_shard_allocations",
        Reading::ShardCounter(|shard| shard.allocations),
        "Calls of the memory allocator by a shard.",
    ),
    row(
        "klamm_shard_copied_bytes",
        Reading::ShardCounter(|shard| shard.copied_bytes),
        "Bytes that a shard copied in memory: into the log, to make room for a request, and to align a segment's.",
    ),
    row(
        "klamm_shard_tail_bytes",
        Reading::ShardGauge(|shard| shard.tail_bytes),
        "Bytes of recent records that a shard holds in memory.",
    ),
    row(
        "klamm_wal_written_bytes",
        Reading::ShardCounter(|shard| shard.wal_written_bytes),
        "Bytes written to a shard's write-ahead log.",
    ),
    row(
        "klamm_wal_live_bytes",
        Reading::ShardGauge(|shard| shard.wal_live_bytes),
        "Bytes of a shard's write-ahead log that no checkpoint covers yet.",
    ),
    row(
        "klamm_wal_files_made_ahead",
        Reading::ShardCounter(|shard| shard.wal_files_made_ahead),
        "Write-ahead files of a shard that were made before they were needed.",
    ),
    row(
        "klamm_wal_files_made_waiting",
        Reading::ShardCounter(|shard| shard.wal_files_made_waiting),
        "Write-ahead files of a shard that were made when they were needed, while all of its requests waited.",
    ),
    row(
        "klamm_wal_flushes",
        Reading::ShardCounter(|shard| shard.wal_flushes),
        "Flushes of a shard's write-ahead log.",
    ),
    row(
        "klamm_wal_flush_seconds",
        Reading::ShardTimes(|shard| &shard.wal_flush_time, FLUSH_ENDS_US),
        "How long flushes of a shard's write-ahead log took.",
    ),
    row(
        "klamm_shard_not_durable_bytes",
        Reading::ShardGauge(|shard| shard.not_durable_bytes),
        "Bytes appended on a shard that no flush has covered yet: what a power loss would take. Of topics whose durability is written, they are acknowledged already.",
    ),
    row(
        "klamm_shard_log_bytes",
        Reading::ShardGauge(|shard| shard.log_bytes),
        "Bytes of the logs of a shard's partitions on disk.",
    ),
    row(
        "klamm_shard_segments",
        Reading::ShardGauge(|shard| shard.segments),
        "Segments of a shard's partitions.",
    ),
    row(
        "klamm_shard_bytes_in",
        Reading::ShardCounter(|shard| shard.bytes_in),
        "Bytes of batches appended by clients on a shard.",
    ),
    row(
        "klamm_shard_bytes_out",
        Reading::ShardCounter(|shard| shard.bytes_out),
        "Bytes of batches handed to clients by a shard.",
    ),
    row(
        "klamm_shard_messages_in",
        Reading::ShardCounter(|shard| shard.messages_in),
        "Records appended by clients on a shard.",
    ),
    row(
        "klamm_shard_turn_seconds",
        Reading::ShardTimes(|shard| &shard.turn_time, TURN_ENDS_US),
        "How long turns of a shard's loop took.",
    ),
    row(
        "klamm_shard_idle_seconds",
        Reading::ShardSeconds(|shard| shard.idle_us),
        "Time in which a shard had nothing to do: asleep, or looking for work before that.",
    ),
    row(
        "klamm_shard_requests_open",
        Reading::ShardGauge(|shard| shard.requests_open),
        "Requests of a shard's connections that are whole here and not answered.",
    ),
    row(
        "klamm_shard_requests_queued",
        Reading::ShardGauge(|shard| shard.requests_queued),
        "Those of them on which work has not begun.",
    ),
    row(
        "klamm_shard_parked_appends",
        Reading::ShardGauge(|shard| shard.parked_appends),
        "Produce requests of a shard that wait until their batches are kept as their class asks.",
    ),
    row(
        "klamm_shard_parked_reads",
        Reading::ShardGauge(|shard| shard.parked_reads),
        "Reads of a shard that wait for records to come, or for a disk.",
    ),
    row(
        "klamm_shard_letters_waiting",
        Reading::ShardGauge(|shard| shard.letters_waiting),
        "Letters of a shard that wait because another shard's queue is full.",
    ),
    row(
        "klamm_shard_cold_reads",
        Reading::ShardCounter(|shard| shard.cold_reads),
        "Reads of a shard that had to go to segment files.",
    ),
    row(
        "klamm_shard_spills",
        Reading::ShardCounter(|shard| shard.spills),
        "Portions of a shard's recent records handed to segment files.",
    ),
    row(
        "klamm_shard_checkpoints",
        Reading::ShardCounter(|shard| shard.checkpoints),
        "Checkpoints that a shard saved.",
    ),
    row(
        "klamm_shard_segments_removed",
        Reading::ShardCounter(|shard| shard.segments_removed),
        "Segments that a shard removed because they lay before the start of their log.",
    ),
    row(
        "klamm_shard_ring_enters",
        Reading::ShardCounter(|shard| shard.ring_enters),
        "Times that a shard entered its io_uring.",
    ),
    row(
        "klamm_shard_ring_completions",
        Reading::ShardCounter(|shard| shard.ring_completions),
        "Completions that a shard took from its io_uring.",
    ),
    row(
        "klamm_shard_socket_receives",
        Reading::ShardCounter(|shard| shard.receives),
        "Calls by which a shard received from sockets.",
    ),
    row(
        "klamm_shard_socket_sends",
        Reading::ShardCounter(|shard| shard.sends),
        "Calls by which a shard sent to sockets.",
    ),
    row(
        "klamm_shard_socket_received_bytes",
        Reading::ShardCounter(|shard| shard.received_bytes),
        "Bytes that a shard received from sockets.",
    ),
    row(
        "klamm_shard_socket_sent_bytes",
        Reading::ShardCounter(|shard| shard.sent_bytes),
        "Bytes that a shard sent to sockets.",
    ),
    row(
        "klamm_request_seconds",
        Reading::RequestSeconds,
        "Where the time of requests went: queue (until work began), log (work that waits for nothing; a Produce has its place in the log then), wait (a flush, records to come, a disk, other shards, the quorum), behind (a complete answer with those before it) and send; total is their sum.",
    ),
    row(
        "process_cpu_seconds",
        Reading::ProcessSeconds(|process| process.cpu_hundredths),
        "Processor time of the process, and of the kernel for it.",
    ),
    row(
        "process_resident_memory_bytes",
        Reading::Node(|node| node.node.process.resident_bytes),
        "Memory of the process that is in use now.",
    ),
    row(
        "process_open_fds",
        Reading::Node(|node| node.node.process.open_files),
        "Open file descriptors.",
    ),
    row(
        "process_max_fds",
        Reading::Node(|node| node.node.process.open_files_max),
        "How many file descriptors may be open.",
    ),
    row(
        "process_start_time_seconds",
        Reading::Node(|node| u64::try_from(node.node.started_ms / 1000).unwrap_or(0)),
        "Wall-clock time of the start, in seconds since 1970.",
    ),
];
