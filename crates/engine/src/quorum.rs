//! Host of the metadata quorum on core 0: Raft decides what is committed, the controller decides
//! what to propose, and the log is the partition `__cluster_metadata-0`, appended to like any other
//! (walk "CreateTopics", steps 4 to 7).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use klamm_metadata::{BrokerDefaults, Command, Controller, Image, Moment, Reply, record};
use klamm_model::{
    Durability, LeaderEpoch, MetadataOffset, Offset, Timestamp, TopicConfig, TopicPartition,
};
use klamm_raftlog::{
    Append, Config, Entry, HardState, Index, IndexRange, NodeId, Payload, Raft, RecoverError,
    Recovered, Role, VoterSet,
};
use klamm_records::batch::{self, BatchBuilder, BatchOptions};
use klamm_replica::{Admission, AppendOrigin};

use crate::api::{self, Now, QuorumFacts, Ticket};
use crate::append::{Admitted, Writer};
use crate::boot::{QuorumBoot, RecoveredPartition};
use crate::effects::{Effect, SmallFile};
use crate::engine::Engine;
use crate::quorum_log::{self, QUORUM_STATE_PATH};
use crate::waiters::Slot;

/// What an entry takes in memory beside its payload, roughly.
const ENTRY_BYTES: usize = 128;

/// The quorum as core 0 hosts it.
#[derive(Debug)]
pub(crate) struct QuorumHost {
    raft: Raft,
    /// Present while this node leads the quorum.
    controller: Option<Controller>,
    defaults: BrokerDefaults,
    /// The metadata as committed.
    published: Image,
    slot: Slot,
    /// What Raft wants appended, and how many of its entries were: the rest waits for room.
    unplaced: VecDeque<(Append, usize)>,
    /// Appended and not yet durable: end of the entries in the partition, and what Raft is to be
    /// told then.
    unflushed: VecDeque<(Offset, Append)>,
    /// The hard state being written.
    saving: VecDeque<HardState>,
    /// Replies that wait for an index to be committed.
    held: VecDeque<(Index, Ticket, Reply)>,
    /// Commands that came before this node led.
    waiting: VecDeque<(Ticket, Command)>,
    /// Last index proposed.
    proposed: Index,
    /// About how many bytes of replayed entries Raft holds.
    replayed_bytes: usize,
    /// Size of the snapshot that Raft holds.
    snapshot_bytes: usize,
    /// State of the source of topic ids.
    seed: u128,
    now: Now,
}

impl Engine {
    /// Makes this core the host of the quorum.
    ///
    /// # Errors
    /// The log found on disk is none that Raft wrote.
    pub fn host_quorum(
        &mut self,
        now: Now,
        boot: QuorumBoot,
        log: RecoveredPartition,
        defaults: BrokerDefaults,
        seed: u128,
    ) -> Result<(), RecoverError> {
        let me = NodeId(self.options.node.0);
        let recovered = Recovered {
            hard_state: boot.hard_state,
            snapshot: None,
            first_voters: VoterSet::new([me]),
            entries: boot.entries,
        };
        let config = Config::new(me, seed as u64);
        let raft = Raft::new(config, recovered, klamm_raftlog::Instant(now.instant.0))?;
        let topic = self.options.scale.bounded(TopicConfig {
            durability: Durability::Flushed,
            ..TopicConfig::default()
        });
        let slot = self.open(
            TopicPartition::METADATA,
            log,
            LeaderEpoch(0),
            Arc::new(topic),
        );
        let proposed = raft.last().index;
        self.quorum = Some(QuorumHost {
            raft,
            controller: None,
            defaults,
            published: Image::default(),
            slot,
            unplaced: VecDeque::new(),
            unflushed: VecDeque::new(),
            saving: VecDeque::new(),
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            proposed,
            replayed_bytes: 0,
            snapshot_bytes: 0,
            seed,
            now,
        });
        self.drive_quorum();
        Ok(())
    }

    /// Decides a command; the reply leaves when everything it rests on is committed.
    pub fn control(&mut self, now: Now, ticket: Ticket, command: Command) {
        let Some(host) = &mut self.quorum else {
            unreachable!("control calls go to the core that hosts the quorum");
        };
        host.now = now;
        host.raft.tick(klamm_raftlog::Instant(now.instant.0));
        host.waiting.push_back((ticket, command));
        self.drive_quorum();
    }

    /// Lets the quorum go as far as it goes without waiting.
    pub(crate) fn drive_quorum(&mut self) {
        // Taken out, because its entries go through this engine's own append path.
        let Some(mut host) = self.quorum.take() else {
            return;
        };
        loop {
            self.place_entries(&mut host);
            self.report_flushed(&mut host);
            host.decide_waiting();
            let ready = host.raft.ready();
            if ready.is_empty() {
                break;
            }
            if let Some(state) = ready.hard_state {
                host.saving.push_back(state);
                self.effects.push(Effect::SaveFile {
                    file: SmallFile::QuorumState,
                    path: QUORUM_STATE_PATH.into(),
                    bytes: quorum_log::format_state(state).into(),
                });
            }
            if let Some(append) = ready.append {
                host.unplaced.push_back((append, 0));
                self.place_entries(&mut host);
            }
            if let Some(committed) = ready.committed {
                self.publish(&mut host, committed);
            }
            if let Some(change) = ready.role {
                host.controller = (change.role == Role::Leader)
                    .then(|| Controller::resume(host.published.clone(), host.defaults.clone()));
            }
        }
        self.release_held(&mut host);
        self.quorum = Some(host);
    }

    pub(crate) fn on_quorum_state_saved(&mut self) {
        if let Some(host) = &mut self.quorum
            && let Some(state) = host.saving.pop_front()
        {
            host.raft.on_vote_flushed(state);
        }
        self.drive_quorum();
    }

    /// True if entries wait for room in the log.
    pub(crate) fn quorum_waits_for_room(&self) -> bool {
        let host = self.quorum.as_ref();
        host.is_some_and(|host| !host.unplaced.is_empty())
    }

    /// Appends Raft's entries to the partition, as far as there is room.
    fn place_entries(&mut self, host: &mut QuorumHost) {
        while let Some((append, placed)) = host.unplaced.front_mut() {
            while let Some(entry) = append.entries.get(*placed) {
                if !self.place_entry(host.slot, host.now, entry) {
                    return;
                }
                *placed += 1;
            }
            let last = append.entries.last();
            let end = last.map_or(Offset::ZERO, |last| {
                quorum_log::offset_of(last.index).next()
            });
            if let Some((append, _)) = host.unplaced.pop_front() {
                host.unflushed.push_back((end, append));
            }
        }
    }

    /// Appends one entry as one batch, so that index and offset keep step. False if there is no
    /// room.
    fn place_entry(&mut self, slot: Slot, now: Now, entry: &Entry) -> bool {
        let epoch = quorum_log::epoch_of(entry.term);
        let (key, value) = quorum_log::encode_entry(&entry.payload);
        let options = BatchOptions {
            leader_epoch: epoch,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        builder.append(Timestamp(now.wall.0), Some(&key), Some(&value), &[]);
        let bytes = builder
            .build()
            .expect("the controller's payloads are bounded");
        if self.make_room_for(bytes.len(), Writer::Broker).is_err() {
            return false;
        }
        let header = batch::read(&bytes).expect("a built batch is a batch");
        if let Some(log) = self.partition_mut(slot) {
            log.leader.begin_reign(epoch);
        }
        let origin = AppendOrigin::Coordinator(epoch);
        let admission = self.admit(slot, now, &header, origin);
        let Ok(Admission::Append(placed)) = admission else {
            panic!(
                "the quorum's own log refused entry {:?}: {admission:?}",
                entry.index
            );
        };
        assert_eq!(
            placed.base_offset,
            quorum_log::offset_of(entry.index),
            "index and offset keep step"
        );
        let admitted = Admitted {
            slot,
            records: &bytes,
            placed,
            header: &header,
            max_at: placed.base_offset,
        };
        self.place(now, &admitted, |_| {});
        true
    }

    /// Tells Raft what has become durable.
    fn report_flushed(&self, host: &mut QuorumHost) {
        let Some(log) = self.partition(host.slot) else {
            return;
        };
        let flushed = log.leader.cursors().flushed;
        while let Some((end, append)) = host.unflushed.front() {
            if *end > flushed {
                break;
            }
            host.raft.on_flushed(append.last(), append.generation);
            host.unflushed.pop_front();
        }
    }

    /// Replays what was committed into the published image, and hands that out.
    fn publish(&mut self, host: &mut QuorumHost, committed: IndexRange) {
        let before = host.published.clone();
        for index in committed.iter() {
            let Some(entry) = host.raft.entry(index) else {
                continue;
            };
            let position = MetadataOffset(quorum_log::offset_of(index).0);
            host.replayed_bytes += ENTRY_BYTES;
            if let Payload::Data(payload) = &entry.payload {
                host.replayed_bytes += payload.len();
                replay(&mut host.published, position, payload);
            }
            host.published.advance(position);
        }
        self.compact(host, committed.last);
        if !before.is_same(&host.published) {
            let image = host.published.clone();
            self.on_image(&image);
            self.effects.push(Effect::Image(image));
        }
    }

    /// Lets Raft forget entries that are replayed; they stay in the partition. Their image takes
    /// their place, for a follower that is behind. Making it costs in proportion to its size, so
    /// that is done only after as many bytes of entries.
    fn compact(&mut self, host: &mut QuorumHost, last: Index) {
        let window = self.options.scale.metadata_entries_bytes;
        if host.replayed_bytes < window.max(host.snapshot_bytes) {
            return;
        }
        let snapshot = host.published.to_snapshot();
        host.snapshot_bytes = snapshot.len();
        host.replayed_bytes = 0;
        let compacted = host.raft.compact(last, snapshot);
        assert!(compacted, "entry {last} was just handed out as committed");
        self.stats.metadata_compactions += 1;
    }

    /// Lets the replies go whose decisions rest only on what is committed.
    fn release_held(&mut self, host: &mut QuorumHost) {
        let committed = host.raft.commit_index();
        while let Some((_, ticket, reply)) =
            host.held.pop_front_if(|(index, ..)| *index <= committed)
        {
            self.effects.push(Effect::Reply {
                ticket,
                reply: api::Reply::Control(reply),
            });
        }
    }
}

impl QuorumHost {
    /// Where the quorum stands, as DescribeQuorum shows it.
    pub(crate) fn facts(&self) -> QuorumFacts {
        let leads = self.raft.role() == Role::Leader;
        let node = |node: NodeId| klamm_model::NodeId(node.0);
        let own = (self.raft.node(), self.raft.last().index);
        let peers = self.raft.matched().filter(|(peer, _)| *peer != own.0);
        let known = std::iter::once(own).chain(peers);
        let voters = known.filter(|(peer, _)| leads && self.raft.voters().contains(*peer));
        QuorumFacts {
            leader: self.raft.leader().map(node),
            leader_epoch: quorum_log::epoch_of(self.raft.term()),
            high_watermark: quorum_log::end_of(self.raft.commit_index()),
            voters: voters
                .map(|(peer, index)| (node(peer), quorum_log::end_of(index)))
                .collect(),
        }
    }

    fn decide_waiting(&mut self) {
        while let Some(controller) = &mut self.controller {
            let Some((ticket, command)) = self.waiting.pop_front() else {
                return;
            };
            self.seed = self
                .seed
                .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
                ^ u128::from(self.now.instant.0);
            let moment = Moment {
                now: self.now.instant,
                wall: self.now.wall,
                seed: self.seed,
            };
            let decision = controller.decide(moment, command.clone());
            if !decision.records.is_empty() {
                let payload = record::encode(&decision.records);
                match self.raft.propose(vec![payload]) {
                    Ok(range) => {
                        self.proposed = range.last;
                        let position = MetadataOffset(quorum_log::offset_of(range.last).0);
                        controller
                            .replay_all(position, &decision.records)
                            .expect("the controller's own records fit its image");
                    }
                    Err(_) => {
                        // Too much is uncommitted, or leadership just ended: decided again later.
                        self.waiting.push_front((ticket, command));
                        return;
                    }
                }
            }
            self.held.push_back((self.proposed, ticket, decision.reply));
        }
    }
}

fn replay(image: &mut Image, position: MetadataOffset, payload: &Bytes) {
    let records = record::decode(payload).expect("boot and the controller have checked payloads");
    for record in &records {
        image
            .replay(position, record)
            .expect("committed records fit the image");
    }
}

/// The entries of the quorum's log as boot found them, replayed into an image, committed or not:
/// only good for finding the names of topics.
pub(crate) fn image_of(entries: &[Entry]) -> Result<Image, String> {
    let mut image = Image::default();
    for entry in entries {
        let position = MetadataOffset(quorum_log::offset_of(entry.index).0);
        if let Payload::Data(payload) = &entry.payload {
            let records = record::decode(payload).map_err(|error| error.to_string())?;
            for record in &records {
                image
                    .replay(position, record)
                    .map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(image)
}
