//! The control plane behind the admin face: gathers each core's numbers through errands, so that
//! no lock is shared with a core.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use klamm_model::ShardId;
use klamm_os::disk;
use klamm_os::mailbox::MailSender;
use klamm_os::stats;
use klamm_shard::Shards;
use klamm_shard::node::Errand;

use crate::config::Config;
use crate::http::{
    ControlPlane, ControllerMetrics, NodeFacts, ShardMetrics, ShardReplies, TimeHistogram,
};
use crate::net::FrontContext;

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
    /// The data folder.
    folder: PathBuf,
    ready: Arc<AtomicBool>,
    errands: Arc<OnceLock<Vec<MailSender<Errand>>>>,
}

impl Control {
    pub(crate) fn new(config: &Config, shards: u16, ready: Arc<AtomicBool>) -> Self {
        let facts = NodeFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: config.node_id.0,
            shards: usize::from(shards),
            started_ms: crate::boot::started_ms(),
            ..NodeFacts::default()
        };
        Self {
            facts,
            folder: config.data_dir.clone(),
            ready,
            errands: Arc::default(),
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
        let space = disk::free_space(&self.folder).ok();
        NodeFacts {
            disk_free_bytes: space.map_or(0, |space| space.free),
            disk_bytes: space.map_or(0, |space| space.total),
            ..self.facts.clone()
        }
    }

    fn ask_shards(&self, replies: ShardReplies) {
        for sender in self.errands.get().into_iter().flatten() {
            let replies = replies.clone();
            // A core that cannot take the errand shows as one that does not answer.
            drop(sender.send(Box::new(move |shards| replies.answer(metrics_of(shards)))));
        }
    }
}

fn metrics_of(shards: &Shards) -> ShardMetrics {
    let (engine, gauges, probe) = (shards.stats(), shards.gauges(), shards.probe());
    let (connections, front) = FRONT.with(|front| {
        let front = front.borrow();
        front.as_ref().map_or_else(Default::default, |front| {
            (front.connected() as u64, front.counters())
        })
    });
    let controller = (shards.id() == ShardId(0)).then(|| {
        let image = shards.image();
        let offline = image.topics().flat_map(|topic| {
            topic
                .partitions()
                .map(|(_, partition)| u64::from(partition.leader.is_none()))
                .collect::<Vec<_>>()
        });
        ControllerMetrics {
            active: true,
            topics: image.topic_count() as u64,
            partitions: image.partition_count() as u64,
            partitions_offline: offline.sum(),
        }
    });
    let (sum_us, buckets, beyond) = probe.flush_times();
    ShardMetrics {
        shard: shards.id().0,
        connections,
        partitions: gauges.partitions,
        leaders: gauges.partitions,
        log_bytes: gauges.log_bytes,
        messages_in: engine.records_appended,
        bytes_in: engine.bytes_appended,
        bytes_out: engine.bytes_read,
        bytes_rejected: engine.bytes_refused,
        refused_for_space: engine.batches_refused_for_space,
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
        turns: probe.turns.get(),
        letters: probe.letters.get(),
        wakes: stats::with(|stats| stats.ring_wakes.get()),
        system_calls: stats::with(stats::Stats::system_calls),
        ring_entries: stats::with(|stats| stats.ring_entries.get()),
        allocations: stats::with(|stats| stats.allocations.get()),
        // The engine places each batch once; readers get slices.
        copied_bytes: engine.bytes_appended
            + front.bytes_moved
            + stats::with(|stats| stats.block_bytes_copied.get()),
        requests_parked: gauges.parked_appends + gauges.parked_reads,
        wal_written_bytes: stats::with(|stats| stats.gathered_write_bytes.get()),
        wal_live_bytes: gauges.wal_backlog,
        wal_files_made_ahead: probe.wal_files_made_ahead.get(),
        wal_files_made_waiting: probe.wal_files_made_waiting.get(),
        wal_flushes: probe.flushes.get(),
        wal_flush_time: TimeHistogram {
            sum_us,
            buckets,
            beyond,
        },
        acked_not_durable_bytes: gauges.bytes_not_durable,
        tail_bytes: gauges.tail_bytes,
        controller,
    }
}
