//! Worlds with groups: members of both protocols, somebody who looks at committed offsets, and what
//! coordinators hold against what their logs say.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_engine::api::{Call, CoordinateError, CoordinateOutcome};
use klamm_engine::coord::{Command, FetchOffsets, GroupConfig, GroupId, Reply};
use klamm_engine::metadata::{Command as ControlCommand, Image, NewTopic};
use klamm_engine::{GroupOptions, engine};
use klamm_model::{OFFSETS_TOPIC, TopicPartition, partition_of_group};
use klamm_records::segment::partition_folder;

use super::{Purpose, Simulation};
use crate::check::committed_offsets_stay::{CommittedOffsets, Place, Sure};
use crate::check::dump::{Dump, PartitionDump};
use crate::check::groups_are_what_their_log_says::{self, Says};
use crate::check::{Violation, ensure};
use crate::random::Random;
use crate::workload::admin::Errand;
use crate::workload::member::{GROUPS, Member, SESSION};
use crate::world::node::LifeOptions;

/// What a call to a coordinator is about.
#[derive(Clone, Debug)]
pub(super) enum Business {
    /// A member's own; with the offset that it commits.
    Member {
        member: usize,
        commits: Option<(Place, i64)>,
    },
    /// Somebody looks at what is committed, of which this was sure.
    Look { group: &'static str, sure: Sure },
}

/// The groups of a world.
#[derive(Debug)]
pub(super) struct Members {
    random: Random,
    members: Vec<Member>,
    offsets: CommittedOffsets,
    /// What the logs said when the life began, until a coordinator has loaded it.
    says: BTreeMap<TopicPartition, Says>,
    /// Groups whose offsets were seen since the last fault.
    seen: Vec<&'static str>,
    looks: bool,
}

impl Members {
    pub(super) fn draw(mut random: Random) -> Self {
        let count = random.between(2, 6);
        let members = (0..count).map(|_| {
            let group = GROUPS[random.below(GROUPS.len())];
            Member::new(group, random.chance(50))
        });
        Self {
            members: members.collect(),
            offsets: CommittedOffsets::default(),
            says: BTreeMap::new(),
            seen: Vec::new(),
            looks: false,
            random,
        }
    }
}

impl Simulation {
    /// What groups need of a life: write-ahead files into which a few decisions fit.
    pub(super) fn shape_for_groups(&mut self, life: &mut LifeOptions) {
        if self.members.is_none() {
            return;
        }
        life.wal_file_bytes = life.wal_file_bytes.max(40 << 10);
        let mut config = GroupConfig {
            session_timeout_min: SESSION,
            initial_rebalance_delay: Duration::from_millis(500),
            ..GroupConfig::default()
        };
        config.consumer.session_timeout_min = SESSION;
        config.consumer.session_timeout = SESSION;
        life.groups = GroupOptions {
            config,
            seed: life.seed as u64,
            ..GroupOptions::default()
        };
    }

    /// The topic in which groups are kept, where it is still to be made.
    pub(super) fn offsets_topic(&mut self, image: &Image) -> Option<(Errand, ControlCommand)> {
        let members = self.members.as_mut()?;
        if image.topic(OFFSETS_TOPIC).is_some() {
            return None;
        }
        let mut configs = vec![
            ("cleanup.policy", "compact"),
            ("klamm.durability", "flushed"),
        ];
        if self.options.compaction {
            let retention = ["0", "300", "86400000"][members.random.below(3)];
            configs.extend([
                ("min.cleanable.dirty.ratio", "0"),
                ("segment.ms", "50"),
                ("delete.retention.ms", retention),
            ]);
        }
        let configs = configs.into_iter();
        let topic = NewTopic {
            partitions: Some(2),
            replication_factor: Some(1),
            configs: configs
                .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
                .collect(),
            ..NewTopic::named(OFFSETS_TOPIC)
        };
        let command = ControlCommand::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        Some((Errand::Create(OFFSETS_TOPIC), command))
    }

    fn coordinator_of(image: &Image, group: &str) -> Option<TopicPartition> {
        let topic = image.topic(OFFSETS_TOPIC)?;
        let index = partition_of_group(group, topic.partition_count())?;
        Some(TopicPartition {
            topic: topic.id(),
            index,
        })
    }

    /// A member does something, or somebody looks at committed offsets. `calm` is to look only.
    pub(super) fn work_in_groups(&mut self, calm: bool) {
        let Some(mut members) = self.members.take() else {
            return;
        };
        let place = members.random.below(members.members.len() + 1);
        match members.members.get_mut(place) {
            Some(member) if !calm => {
                let (group, shard) = (member.group, member.shard);
                let image = self.image(shard);
                if let Some(partition) = Self::coordinator_of(&image, group) {
                    let random = &mut members.random;
                    let wish = member.wish(random, place, &image, &mut members.offsets);
                    if let Some((command, commits)) = wish {
                        let business = Business::Member {
                            member: place,
                            commits,
                        };
                        member.asked = Some(self.coordinate(business, shard, partition, command));
                    }
                }
            }
            _ => {
                let group = GROUPS[members.random.below(GROUPS.len())];
                let shards = self.node().shards();
                let shard = members.random.below(shards.into()) as u16;
                let image = self.image(shard);
                let partition = Self::coordinator_of(&image, group);
                if let Some(partition) = partition.filter(|_| !members.looks) {
                    members.looks = true;
                    let sure = members.offsets.sure(group);
                    let business = Business::Look { group, sure };
                    let command = Command::FetchOffsets(FetchOffsets {
                        group: GroupId::new(group),
                        topics: None,
                        from: None,
                        member: None,
                        require_stable: true,
                    });
                    self.coordinate(business, shard, partition, command);
                }
            }
        }
        self.members = Some(members);
    }

    fn coordinate(
        &mut self,
        business: Business,
        shard: u16,
        partition: TopicPartition,
        command: Command,
    ) -> u64 {
        self.trace
            .event(format_args!("to {partition}: {command:?}"));
        let home = partition.home(self.node().shards());
        let call = Call::Coordinate(partition, command);
        self.send(Purpose::Group(business), shard, home, call)
    }

    /// A coordinator has answered.
    pub(super) fn coordinated(
        &mut self,
        call: u64,
        business: Business,
        outcome: CoordinateOutcome,
    ) -> Result<(), Violation> {
        self.trace.event(format_args!("call {call}: {outcome:?}"));
        let explained = |what: String| Violation::new("every_answer_can_be_explained", what);
        if outcome.as_ref().err() == Some(&CoordinateError::Failed) {
            let what = "a coordinator cannot read its log".to_owned();
            return Err(explained(what));
        }
        let Some(mut members) = self.members.take() else {
            return Ok(());
        };
        let result = match business {
            Business::Member { member, commits } => {
                if let Some((place, offset)) = commits {
                    settle(&mut members.offsets, &place, offset, &outcome);
                    self.stats.offsets_committed += u64::from(is_kept(&outcome));
                }
                let member = &mut members.members[member];
                // Its process may be another one by now.
                let is_own = member.asked == Some(call);
                if is_own {
                    member.asked = None;
                }
                match outcome {
                    Ok(reply) if is_own => member.on_reply(reply).map_err(explained),
                    _ => Ok(()),
                }
            }
            Business::Look { group, sure } => {
                members.looks = false;
                match outcome {
                    Ok(Reply::FetchOffsets(Ok(found))) => {
                        let is_gone = |topic| {
                            self.deleted.contains_key(&topic) || !self.created.contains_key(&topic)
                        };
                        let judged = members.offsets.check(group, &sure, &found, is_gone);
                        if judged.is_ok() && !members.seen.contains(&group) {
                            members.seen.push(group);
                        }
                        judged.map(|judged| self.stats.offsets_seen += judged)
                    }
                    Ok(other) => Err(explained(format!("a look was answered by {other:?}"))),
                    Err(_) => Ok(()),
                }
            }
        };
        self.members = Some(members);
        result
    }

    /// What the logs of coordinators say when a life begins.
    pub(super) fn hear_groups(&mut self, image: &Image, dump: &Dump) -> Result<(), Violation> {
        let shards = self.node().shards();
        let Some(members) = &mut self.members else {
            return Ok(());
        };
        for member in &mut members.members {
            member.shard = members.random.below(shards.into()) as u16;
        }
        members.says = logs_of(image, dump)?;
        Ok(())
    }

    /// A coordinator that has loaded holds what its log said when the life began. Of one that has
    /// gone on since nobody can tell.
    pub(super) fn check_loads(&mut self) -> Result<(), Violation> {
        let Some(members) = &mut self.members else {
            return Ok(());
        };
        if members.says.is_empty() {
            return Ok(());
        }
        let node = self.node.as_ref().expect("the node is up");
        for shard in 0..node.shards() {
            let engine = node.engine(shard);
            for (partition, held) in engine.group_hashes() {
                let Some(says) = members.says.remove(&partition) else {
                    continue;
                };
                if end_of(engine, partition) == Some(says.end) {
                    groups_are_what_their_log_says::check(partition, says, held)?;
                    self.stats.coordinators_loaded += 1;
                }
            }
        }
        Ok(())
    }

    /// All coordinators hold what their logs say, of which all is in segments.
    pub(super) fn check_groups(&mut self, dump: &Dump) -> Result<(), Violation> {
        if self.members.is_none() {
            return Ok(());
        }
        let says = logs_of(&self.image(0), dump)?;
        let node = self.node.as_ref().expect("the node is up");
        for shard in 0..node.shards() {
            let engine = node.engine(shard);
            for (partition, held) in engine.group_hashes() {
                let Some(&says) = says.get(&partition) else {
                    continue;
                };
                ensure!(
                    "groups_are_what_their_log_says",
                    end_of(engine, partition) == Some(says.end),
                    "{partition}: {says:?} lies on the disk, {:?}",
                    engine.cursors(partition)
                );
                groups_are_what_their_log_says::check(partition, says, held)?;
                self.stats.coordinators_replayed += 1;
            }
        }
        Ok(())
    }

    /// The node died.
    pub(super) fn end_groups(&mut self) {
        if let Some(members) = &mut self.members {
            members.offsets.on_crash();
            members.looks = false;
            members.seen.clear();
            for member in &mut members.members {
                member.on_crash();
            }
        }
    }

    /// The offsets of every group were seen in this life.
    pub(super) fn saw_all_groups(&self) -> bool {
        let members = self.members.as_ref();
        members.is_none_or(|members| members.seen.len() == GROUPS.len())
    }
}

fn end_of(engine: &engine::Engine, partition: TopicPartition) -> Option<i64> {
    Some(engine.cursors(partition)?.log_end.0)
}

fn logs_of(image: &Image, dump: &Dump) -> Result<BTreeMap<TopicPartition, Says>, Violation> {
    let mut says = BTreeMap::new();
    let Some(topic) = image.topic(OFFSETS_TOPIC) else {
        return Ok(says);
    };
    for (index, _) in topic.partitions() {
        let partition = TopicPartition {
            topic: topic.id(),
            index,
        };
        let folder = partition_folder(topic.name(), index);
        let none = PartitionDump::default();
        let files = dump.get(&folder).unwrap_or(&none);
        if files.names.iter().any(|name| name.ends_with(".swap")) {
            // Names are being changed: only a start makes a log of that.
            continue;
        }
        let replayed = groups_are_what_their_log_says::replay(partition, files)?;
        says.insert(partition, replayed);
    }
    Ok(says)
}

fn is_kept(outcome: &CoordinateOutcome) -> bool {
    let Ok(Reply::CommitOffsets(Ok(topics))) = outcome else {
        return false;
    };
    let parts = topics.iter().flat_map(|topic| &topic.partitions);
    parts.into_iter().all(|(_, result)| result.is_ok())
}

fn settle(offsets: &mut CommittedOffsets, place: &Place, offset: i64, outcome: &CoordinateOutcome) {
    match outcome {
        Ok(_) if is_kept(outcome) => offsets.on_kept(place, offset),
        Ok(_) => offsets.on_refused(place, offset),
        // It was decided, perhaps, but not kept, or that is not known.
        Err(_) => offsets.on_unknown(place),
    }
}
