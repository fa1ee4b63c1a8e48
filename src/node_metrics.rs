//! The control plane behind the admin face: gathers each core's numbers through errands, so that
//! no lock is shared with a core.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use klamm_model::{NodeId, ShardId};
use klamm_os::disk;
use klamm_os::exec;
use klamm_os::mailbox::MailSender;
use klamm_os::stats;
use klamm_shard::api::PartitionGauges;
use klamm_shard::api::metadata::{ConfigMap, Image, Topic};
use klamm_shard::node::Errand;
use klamm_shard::{Shards, TimesTaken};

use crate::config::Config;
use crate::http::{
    ControlPlane, ControllerMetrics, FolderFacts, Found, GroupMetrics, GroupPage, GroupPattern,
    HistoryPage, ListReplies, ListedAfter, NodeFacts, PartitionMetrics, PartitionReplies,
    ProcessFacts, QuorumMetrics, ReplicationMetrics, Replies, RequestTimes, ShardMetrics,
    ShardReplies, TimeHistogram, TopicPattern,
};
use crate::net::{ApiTimesTaken, FrontContext};
use crate::node_groups;

thread_local! {
    /// The front of the core that this thread runs, for errands.
    static FRONT: RefCell<Option<Rc<FrontContext>>> = const { RefCell::new(None) };
}

/// Makes the front of this core known to errands.
pub(crate) fn enter(front: &Rc<FrontContext>) {
    FRONT.with(|slot| slot.replace(Some(Rc::clone(front))));
}

/// What the admin face may ask.
#[derive(Clone)]
pub(crate) struct Control {
    facts: NodeFacts,
    /// The data folders.
    folders: Vec<PathBuf>,
    /// The broker's file as far as it sets defaults for topics.
    broker_file: Arc<ConfigMap>,
    ready: Arc<AtomicBool>,
    errands: Arc<OnceLock<Vec<MailSender<Errand>>>>,
}

impl Control {
    pub(crate) fn new(
        config: &Config,
        shards: u16,
        broker_file: ConfigMap,
        ready: Arc<AtomicBool>,
    ) -> Self {
        let facts = NodeFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: config.node_id.0,
            shards: usize::from(shards),
            started_ms: crate::boot::started_ms(),
            ..NodeFacts::default()
        };
        Self {
            facts,
            folders: config.data_dirs.clone(),
            broker_file: Arc::new(broker_file),
            ready,
            errands: Arc::default(),
        }
    }

    /// Runs something on each core, with where it puts its answer.
    fn on_each<T: Send + 'static>(
        &self,
        replies: Replies<T>,
        run: impl Fn(&Shards, Replies<T>) + Clone + Send + 'static,
    ) {
        for sender in self.errands.get().into_iter().flatten() {
            let (replies, run) = (replies.clone(), run.clone());
            // A core that cannot take the errand shows as one that does not answer.
            drop(sender.send(Box::new(move |shards| run(shards, replies))));
        }
    }

    /// The cores run and may be asked.
    pub(crate) fn connect(&self, errands: Vec<MailSender<Errand>>) {
        drop(self.errands.set(errands));
    }
}

impl ControlPlane for Control {
    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Err("listeners are not open".to_owned())
    }

    fn node(&self) -> NodeFacts {
        let folders = self.folders.iter().map(|folder| {
            let space = disk::free_space(folder).ok();
            FolderFacts {
                path: folder.display().to_string(),
                disk_free_bytes: space.map_or(0, |space| space.free),
                disk_bytes: space.map_or(0, |space| space.total),
            }
        });
        NodeFacts {
            ready: self.ready().is_ok(),
            process: process_facts(),
            folders: folders.collect(),
            ..self.facts.clone()
        }
    }

    fn ask_shards(&self, replies: ShardReplies) {
        for sender in self.errands.get().into_iter().flatten() {
            let replies = replies.clone();
            let node = NodeId(self.facts.node_id);
            let file = Arc::clone(&self.broker_file);
            // A core that cannot take the errand shows as one that does not answer.
            drop(sender.send(Box::new(move |shards| {
                replies.answer(metrics_of(shards, node, &file));
            })));
        }
    }

    fn ask_partitions(&self, topics: TopicPattern, replies: PartitionReplies) {
        for sender in self.errands.get().into_iter().flatten() {
            let (replies, topics) = (replies.clone(), topics.clone());
            let node = NodeId(self.facts.node_id);
            let file = Arc::clone(&self.broker_file);
            drop(sender.send(Box::new(move |shards| {
                replies.answer(partitions_of(shards, &topics, node, &file));
            })));
        }
    }

    fn ask_groups(&self, listed: ListedAfter, replies: ListReplies) {
        self.on_each(replies, move |shards, replies| {
            replies.answer(node_groups::list(shards, &listed));
        });
    }

    fn ask_group(&self, group: String, replies: Replies<Found<GroupPage>>) {
        self.on_each(replies, move |shards, replies| {
            let (shards, group) = (shards.clone(), group.clone());
            let answer = async move { replies.answer(node_groups::group(&shards, &group).await) };
            exec::spawn_local(answer).detach();
        });
    }

    fn ask_history(&self, group: String, replies: Replies<Found<HistoryPage>>) {
        let since_ms = self.facts.started_ms;
        self.on_each(replies, move |shards, replies| {
            replies.answer(node_groups::history(shards, &group, since_ms));
        });
    }

    fn ask_group_metrics(&self, groups: GroupPattern, replies: Replies<GroupMetrics>) {
        self.on_each(replies, move |shards, replies| {
            let (shards, groups) = (shards.clone(), groups.clone());
            let answer = async move {
                replies.answer(node_groups::metrics(&shards, &groups).await);
            };
            exec::spawn_local(answer).detach();
        });
    }
}

fn metrics_of(shards: &Shards, node: NodeId, file: &ConfigMap) -> ShardMetrics {
    let (engine, gauges, probe) = (shards.stats(), shards.gauges(), shards.probe());
    let (connections, front, requests) = FRONT.with(|front| {
        let front = front.borrow();
        front.as_ref().map_or_else(Default::default, |front| {
            let requests = front.latencies().into_iter().map(request_times).collect();
            (front.connected() as u64, front.counters(), requests)
        })
    });
    let is_first = shards.id() == ShardId(0);
    let seen = is_first.then(|| see(&shards.image(), node, file));
    ShardMetrics {
        shard: shards.id().0,
        connections,
        partitions: gauges.partitions,
        leaders: gauges.partitions,
        segments: gauges.segments,
        log_bytes: gauges.log_bytes,
        messages_in: engine.records_appended,
        bytes_in: engine.bytes_appended,
        bytes_out: engine.bytes_read,
        bytes_rejected: engine.bytes_refused,
        refused_for_space: engine.batches_refused_for_space,
        uncleanable_partitions: gauges.uncleanable_partitions,
        uncleanable_bytes: gauges.uncleanable_bytes,
        dirty_percent_max: gauges.dirty_percent_max,
        compactions: engine.compactions,
        compactions_failed: engine.compactions_failed,
        records_compacted: engine.records_compacted,
        records_without_key: engine.records_without_key,
        compaction_bytes_read: engine.compaction_bytes_read,
        compaction_bytes_written: engine.compaction_bytes_written,
        refuses_for_space: u64::from(shards.space().refuses),
        produce_requests: front.produce_requests,
        produce_requests_failed: front.produce_requests_failed,
        fetch_requests: front.fetch_requests,
        fetch_requests_failed: front.fetch_requests_failed,
        fetch_sessions: front.fetch_sessions,
        fetch_session_partitions: front.fetch_session_partitions,
        fetch_sessions_evicted: front.fetch_sessions_evicted,
        request_bytes: front.request_bytes,
        request_bytes_room: front.request_bytes_room,
        requests_waiting: front.requests_waiting,
        requests_open: front.requests_open,
        requests_queued: front.requests_queued,
        requests,
        throttles: front.throttles,
        throttle_ms: front.throttle_ms,
        turns: probe.turns.get(),
        turn_time: times(probe.turn_times.taken()),
        letters: probe.letters.get(),
        letters_waiting: shards.letters_waiting() as u64,
        parked_appends: gauges.parked_appends,
        parked_reads: gauges.parked_reads,
        cold_reads: engine.cold_reads,
        spills: engine.spills,
        checkpoints: engine.checkpoints,
        segments_removed: engine.segments_removed,
        wal_live_bytes: gauges.wal_backlog,
        wal_files_made_ahead: probe.wal_files_made_ahead.get(),
        wal_files_made_waiting: probe.wal_files_made_waiting.get(),
        wal_flushes: probe.flushes.get(),
        wal_flush_time: times(probe.flush_times.taken()),
        not_durable_bytes: gauges.bytes_not_durable,
        tail_bytes: gauges.tail_bytes,
        controller: seen.map(|(controller, _)| controller),
        replication: seen.map(|(_, replication)| replication),
        quorum: quorum_of(shards, node),
        ..kernel_numbers(
            engine.bytes_appended + front.bytes_moved,
            group_numbers(shards),
        )
    }
}

/// Where the quorum stands, from the core that hosts this node's part of it.
fn quorum_of(shards: &Shards, node: NodeId) -> Option<QuorumMetrics> {
    let facts = shards.quorum_facts()?;
    let own = facts.voters.iter().find(|(voter, _)| *voter == node);
    Some(QuorumMetrics {
        leads: facts.leader == Some(node),
        leader: facts.leader.map(|leader| leader.0),
        epoch: facts.leader_epoch.0,
        high_watermark: facts.high_watermark.0,
        log_end: own.map(|(_, end)| end.0),
    })
}

/// What the group coordinators of a core hold and did.
fn group_numbers(shards: &Shards) -> ShardMetrics {
    let groups = shards.group_gauges();
    ShardMetrics {
        groups_empty: groups.stats.empty as u64,
        groups_preparing_rebalance: groups.stats.preparing_rebalance as u64,
        groups_completing_rebalance: groups.stats.completing_rebalance as u64,
        groups_stable: groups.stats.stable as u64,
        group_offsets: groups.stats.offsets as u64,
        group_offsets_committed: groups.stats.counters.offsets_committed,
        group_offsets_expired: groups.stats.counters.offsets_expired,
        group_offsets_deleted: groups.stats.counters.offsets_deleted,
        group_rebalances_completed: groups.stats.counters.rebalances_completed,
        group_coordinators_failed: groups.failed,
        group_coordinators_loading: groups.loading,
        group_coordinators_active: groups.active,
        group_members: groups.stats.members as u64,
        group_members_expired: groups.stats.counters.members_expired,
        group_bytes: groups.stats.bytes as u64,
        group_loads: groups.loaded.partitions,
        group_load_records: groups.loaded.records,
        group_load_bytes: groups.loaded.bytes,
        group_load_ms: groups.loaded.ms,
        group_looks: shards.probe().lag_looks.get(),
        group_offsets_looked_at: shards.probe().lag_offsets.get(),
        group_look_us: shards.probe().lag_ns.get() / 1_000,
        ..ShardMetrics::default()
    }
}

/// What this core asked of the kernel and of the allocator. The engine places each batch once, and
/// readers get slices: `copied` is that, and what the front moved.
fn kernel_numbers(copied: u64, others: ShardMetrics) -> ShardMetrics {
    stats::with(|stats| ShardMetrics {
        idle_us: stats.idle_ns.get() / 1000,
        wakes: stats.ring_wakes.get(),
        system_calls: stats.system_calls(),
        ring_entries: stats.ring_entries.get(),
        ring_enters: stats.ring_enters.get(),
        ring_completions: stats.ring_completions.get(),
        receives: stats.receives.get(),
        sends: stats.sends.get(),
        received_bytes: stats.received_bytes.get(),
        sent_bytes: stats.sent_bytes.get(),
        allocations: stats.allocations.get(),
        copied_bytes: copied + stats.block_bytes_copied.get(),
        wal_written_bytes: stats.gathered_write_bytes.get(),
        ..others
    })
}

fn times(taken: TimesTaken) -> TimeHistogram {
    TimeHistogram {
        sum_us: taken.sum_us,
        buckets: taken.buckets,
    }
}

fn request_times(taken: ApiTimesTaken) -> RequestTimes {
    RequestTimes {
        api: taken.key.name(),
        queue: times(taken.queue),
        log: times(taken.log),
        wait: times(taken.wait),
        behind: times(taken.behind),
        send: times(taken.send),
        total: times(taken.total),
    }
}

/// `min.insync.replicas` of topics, cheaply: the metadata may have many.
struct MinInSync {
    default: u64,
}

impl MinInSync {
    const KEY: &str = "min.insync.replicas";

    fn new(image: &Image, node: NodeId, file: &ConfigMap) -> Self {
        let layer = image.broker_layer(node, file);
        Self {
            default: layer
                .get(Self::KEY)
                .and_then(|text| number(text))
                .unwrap_or(1),
        }
    }

    fn of(&self, topic: &Topic) -> u64 {
        let own = topic
            .overrides()
            .get(Self::KEY)
            .and_then(|text| number(text));
        own.unwrap_or(self.default)
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// Walks the metadata once.
fn see(image: &Image, node: NodeId, file: &ConfigMap) -> (ControllerMetrics, ReplicationMetrics) {
    let mut controller = ControllerMetrics {
        active: true,
        topics: image.topic_count() as u64,
        partitions: image.partition_count() as u64,
        brokers: image.brokers().len() as u64,
        ..ControllerMetrics::default()
    };
    let mut replication = ReplicationMetrics::default();
    let min_in_sync = MinInSync::new(image, node, file);
    for topic in image.topics() {
        let least = min_in_sync.of(topic);
        for (_, partition) in topic.partitions() {
            let Some(leader) = partition.leader else {
                controller.partitions_offline += 1;
                continue;
            };
            let is_preferred = partition.replicas.first() == Some(&leader);
            controller.preferred_replica_imbalance += u64::from(!is_preferred);
            if leader == node {
                let replicas = partition.replicas.len() as u64;
                let in_sync = partition.isr.len() as u64;
                let least = least.min(replicas);
                replication.under_replicated += u64::from(in_sync < replicas);
                replication.under_min_isr += u64::from(in_sync < least);
                replication.at_min_isr += u64::from(in_sync == least);
            }
        }
    }
    (controller, replication)
}

fn partitions_of(
    shards: &Shards,
    topics: &TopicPattern,
    node: NodeId,
    file: &ConfigMap,
) -> Vec<PartitionMetrics> {
    let image = shards.image();
    let min_in_sync = MinInSync::new(&image, node, file);
    let gauges = shards.partition_gauges().into_iter();
    let wanted = gauges.filter(|gauges| topics.admits(gauges.topic.as_str()));
    let seen = wanted.filter_map(|gauges: PartitionGauges| {
        // Deleted a moment ago, otherwise.
        let topic = image.topic(gauges.topic.as_str())?;
        let partition = topic.partition(gauges.index)?;
        Some(PartitionMetrics {
            topic: gauges.topic.to_string(),
            index: gauges.index.0,
            shard: shards.id().0,
            messages_in: gauges.traffic.records_in,
            bytes_in: gauges.traffic.bytes_in,
            bytes_out: gauges.traffic.bytes_out,
            log_start: gauges.log_start.0,
            high_watermark: gauges.high_watermark.0,
            log_end: gauges.log_end.0,
            segments: gauges.segments,
            log_bytes: gauges.log_bytes,
            leader: partition.leader.map_or(-1, |leader| leader.0),
            leader_is_preferred: partition.leader.as_ref() == partition.replicas.first(),
            replicas: partition.replicas.len() as u64,
            in_sync: partition.isr.len() as u64,
            min_in_sync: min_in_sync.of(topic),
        })
    });
    seen.collect()
}

/// What the kernel tells of this process; 0 for what it does not.
fn process_facts() -> ProcessFacts {
    let read = |path| disk::read_to_string(path, 16 * 1024).unwrap_or_default();
    ProcessFacts {
        cpu_hundredths: cpu_hundredths(&read("/proc/self/stat")).unwrap_or(0),
        resident_bytes: line_number(&read("/proc/self/status"), "VmRSS:").map_or(0, |kb| kb * 1024),
        open_files: disk::list("/proc/self/fd").map_or(0, |names| names.len() as u64),
        open_files_max: line_number(&read("/proc/self/limits"), "Max open files").unwrap_or(0),
    }
}

/// User and system time of `/proc/self/stat`, which counts in hundredths (proc_pid_stat(5)).
fn cpu_hundredths(stat: &str) -> Option<u64> {
    // The name of the program stands in parentheses and may hold anything.
    let (_, numbers) = stat.rsplit_once(')')?;
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    let number = |place: usize| numbers.get(place)?.parse::<u64>().ok();
    Some(number(11)? + number(12)?)
}

/// The first number of the line that begins so.
fn line_number(text: &str, beginning: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 500 0 3 0 170 30 0 0 20 0 7 0 99";
        assert_eq!(cpu_hundredths(stat), Some(200));
        assert_eq!(cpu_hundredths("42"), None);
    }

    #[test]
    fn this_process_has_memory_files_and_a_limit() {
        let facts = process_facts();
        assert!(facts.resident_bytes > 0, "{facts:?}");
        assert!(facts.open_files >= 3, "{facts:?}");
        assert!(facts.open_files_max >= facts.open_files, "{facts:?}");
    }
}
