//! The controller: the decider of the cluster's metadata. It owns the image as the leader of the
//! quorum sees it, uncommitted records included. Each file beside this one decides one subject.

mod brokers;
mod client_metrics;
mod configs;
mod deletion;
mod elections;
mod features;
mod groups;
mod partitions;
mod placement;
mod producers;
mod quotas;
mod reassignments;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use klamm_model::{Instant, MetadataOffset, NodeId, Random, TopicId, TopicName, WallTime};

pub use brokers::{RegisterError, Registration, SupportedFeature};
pub use client_metrics::CLIENT_METRICS_KEYS;
pub use configs::{
    ConfigChange, ConfigError, ConfigMode, ConfigOperation, RESOURCE_REPEATED, check_lists,
    check_operations,
};
pub use deletion::{DeleteTopicError, DeletedTopic, TopicReference};
pub use elections::{Elected, ElectionError, ElectionKind};
pub use features::{FeatureError, FeatureUpdate, FeatureUpgrade};
pub use partitions::{CreatePartitionsError, MorePartitions};
pub use producers::{ProducerIdBlock, ProducerIdError};
pub use quotas::{QuotaChange, QuotaError, QuotaOperation};
pub use reassignments::{Reassignment, ReassignmentError};
pub use topics::{CreateTopicError, CreatedTopic, ManualAssignment, NewTopic};

use crate::image::{ConfigMap, Image, ReplayError};
use crate::limits::{OPERATION_BYTES_MAX, OPERATION_RECORDS_MAX};
use crate::quota::QuotaEntity;
use crate::record::{MetadataRecord, size_hint};

/// What the brokers' files say about topics that ask for no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDefaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// Topics that are created by need with a shape of their own, such as `__consumer_offsets`.
    pub internal_topics: Vec<NewTopic>,
    /// The defaults of groups' keys and their bounds, under the names that the file has for them.
    pub groups: ConfigMap,
}

impl Default for BrokerDefaults {
    fn default() -> Self {
        Self {
            partitions: 1,
            replication_factor: 1,
            internal_topics: Vec::new(),
            groups: ConfigMap::new(),
        }
    }
}

/// What the pure controller cannot know by itself, for one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time, for deadlines.
    pub now: Instant,
    /// Wall-clock time, for what is only informative.
    pub wall: WallTime,
    /// Fresh randomness, 128 bits for every decision: topic ids are drawn from it.
    pub seed: u128,
}

/// What may be asked of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A broker starts, or starts again.
    Register(Registration),
    /// Create topics as a client described them.
    CreateTopics {
        /// The topics.
        topics: Vec<NewTopic>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// A client asked for a topic that is not there: create it with the defaults.
    AutoCreateTopic {
        /// The topic.
        name: String,
    },
    /// Delete topics.
    DeleteTopics {
        /// The topics.
        topics: Vec<TopicReference>,
    },
    /// Give topics more partitions.
    CreatePartitions {
        /// The topics.
        topics: Vec<MorePartitions>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Change configuration.
    SetConfigs {
        /// The changes, one resource each.
        changes: Vec<ConfigChange>,
        /// Whether keys that are not named stay.
        mode: ConfigMode,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Change what clients are held to.
    AlterClientQuotas {
        /// The changes, one entity each.
        changes: Vec<QuotaChange>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Give out a block of producer ids.
    AllocateProducerIds {
        /// How many.
        count: u32,
    },
    /// Give partitions the leaders that they should have.
    ElectLeaders {
        /// Which leaders.
        kind: ElectionKind,
        /// Topic and number of each partition; `None` is all.
        partitions: Option<Vec<(String, i32)>>,
    },
    /// Say anew where partitions lie.
    AlterReassignments {
        /// The partitions.
        reassignments: Vec<Reassignment>,
        /// The number of replicas may change.
        replication_factor_may_change: bool,
    },
    /// Create topics, create partitions or delete topics, as far as a quota allows (KIP-599). Any
    /// other command is decided as if it stood alone. Answered as the command within.
    Within {
        /// Partitions that may still be changed: a topic is refused once this is below zero, and
        /// each that is not takes as many as it has.
        mutations: i64,
        /// What is asked.
        command: Box<Self>,
    },
    /// Move the finalised levels of features.
    UpdateFeatures {
        /// Who asks, for texts.
        node: NodeId,
        /// The levels, each feature once.
        updates: Vec<FeatureUpdate>,
        /// What this program can work with.
        supported: Vec<SupportedFeature>,
        /// Only say what would happen.
        validate_only: bool,
    },
}

/// The answer to a command, one variant for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `Register`.
    Registered(Result<(), RegisterError>),
    /// To `CreateTopics`: one answer for each *name*, in the order of first mention.
    CreateTopics(Vec<(String, Result<CreatedTopic, CreateTopicError>)>),
    /// To `AutoCreateTopic`; also if the topic exists already.
    AutoCreateTopic(Result<CreatedTopic, CreateTopicError>),
    /// To `DeleteTopics`: one answer for each topic, in the order of first mention.
    DeleteTopics(Vec<DeletedTopic>),
    /// To `CreatePartitions`: one answer for each *name*, in the order of first mention.
    CreatePartitions(Vec<(String, Result<(), CreatePartitionsError>)>),
    /// To `SetConfigs`, in order.
    SetConfigs(Vec<Result<(), ConfigError>>),
    /// To `AlterClientQuotas`: one answer for each *entity*, in the order of first mention.
    AlterClientQuotas(Vec<(QuotaEntity, Result<(), QuotaError>)>),
    /// To `AllocateProducerIds`.
    ProducerIds(Result<ProducerIdBlock, ProducerIdError>),
    /// To `ElectLeaders`, in order.
    ElectLeaders(Vec<Elected>),
    /// To `AlterReassignments`, in order.
    AlterReassignments(Vec<Result<(), ReassignmentError>>),
    /// To `UpdateFeatures`: all or none.
    UpdateFeatures(Result<(), FeatureError>),
}

/// What the controller decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// To be proposed as one payload and then replayed; may be empty.
    pub records: Vec<MetadataRecord>,
    /// To be held until everything replayed, these records included, is committed.
    pub reply: Reply,
}

/// The decider.
#[derive(Clone, Debug)]
pub struct Controller {
    image: Image,
    defaults: BrokerDefaults,
    /// Names of topics by what Kafka's metrics make of them, to refuse collisions. Derived from the
    /// image; holds only names with `.` or `_`.
    flat_names: BTreeMap<String, BTreeSet<TopicName>>,
}

impl Controller {
    /// Takes over at the image that everything committed has built.
    #[must_use]
    pub fn resume(image: Image, defaults: BrokerDefaults) -> Self {
        let mut flat_names: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for topic in image.topics() {
            if let Some(flat) = flat_name(topic.name().as_str()) {
                flat_names
                    .entry(flat)
                    .or_default()
                    .insert(topic.name().clone());
            }
        }
        Self {
            image,
            defaults,
            flat_names,
        }
    }

    /// The metadata with everything replayed so far, committed or not.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The hash of [`Controller::image`].
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.image.hash()
    }

    /// Decides a command. Changes nothing: only [`Controller::replay`] does.
    #[must_use]
    pub fn decide(&self, moment: Moment, command: Command) -> Decision {
        self.decide_within(moment, command, Mutations(None))
    }

    fn decide_within(&self, moment: Moment, command: Command, allowed: Mutations) -> Decision {
        match command {
            Command::Within { mutations, command } => {
                self.decide_within(moment, *command, Mutations(Some(mutations)))
            }
            Command::Register(registration) => self.register(moment, registration),
            Command::CreateTopics {
                topics,
                validate_only,
            } => self.create_topics(moment, topics, validate_only, allowed),
            Command::AutoCreateTopic { name } => self.auto_create_topic(moment, name),
            Command::DeleteTopics { topics } => self.delete_topics(topics, allowed),
            Command::CreatePartitions {
                topics,
                validate_only,
            } => self.create_partitions(moment, &topics, validate_only, allowed),
            Command::SetConfigs {
                changes,
                mode,
                validate_only,
            } => self.set_configs(changes, mode, validate_only),
            Command::AlterClientQuotas {
                changes,
                validate_only,
            } => self.alter_client_quotas(changes, validate_only),
            Command::AllocateProducerIds { count } => self.allocate_producer_ids(count),
            Command::ElectLeaders { kind, partitions } => self.elect_leaders(kind, partitions),
            Command::AlterReassignments {
                reassignments,
                replication_factor_may_change,
            } => self.alter_reassignments(&reassignments, replication_factor_may_change),
            Command::UpdateFeatures {
                node,
                updates,
                supported,
                validate_only,
            } => self.update_features(node, updates, &supported, validate_only),
        }
    }

    /// Replays one record of a proposed or committed payload.
    ///
    /// # Errors
    /// If the record does not fit, which no decision of this program causes.
    pub fn replay(
        &mut self,
        position: MetadataOffset,
        record: &MetadataRecord,
    ) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::TopicCreated { name, .. } => {
                if let Some(flat) = flat_name(name.as_str()) {
                    self.flat_names
                        .entry(flat)
                        .or_default()
                        .insert(name.clone());
                }
            }
            MetadataRecord::TopicDeleted { id } => {
                let name = self
                    .image
                    .topic_by_id(*id)
                    .map(|topic| topic.name().clone());
                if let Some(name) = name
                    && let Some(flat) = flat_name(name.as_str())
                    && let Some(names) = self.flat_names.get_mut(&flat)
                {
                    names.remove(&name);
                    if names.is_empty() {
                        self.flat_names.remove(&flat);
                    }
                }
            }
            _ => {}
        }
        self.image.replay(position, record)
    }

    /// Replays the records of one payload.
    ///
    /// # Errors
    /// See [`Controller::replay`].
    pub fn replay_all(
        &mut self,
        position: MetadataOffset,
        records: &[MetadataRecord],
    ) -> Result<(), ReplayError> {
        for record in records {
            self.replay(position, record)?;
        }
        self.image.advance(position);
        Ok(())
    }

    /// A topic whose name gives the same metric name, if there is one besides `name` itself.
    fn colliding_topic(&self, name: &str) -> Option<&TopicName> {
        let names = self.flat_names.get(&flat_name(name)?)?;
        names.iter().find(|other| other.as_str() != name)
    }
}

/// What Kafka's metrics make of a name, if they change it at all.
fn flat_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

/// Records of one decision as they grow, with their ceiling (M37).
#[derive(Debug, Default)]
struct Growth {
    records: usize,
    bytes: usize,
}

/// One command would cause more records than the quorum takes at once.
struct TooLarge;

impl Growth {
    fn add(&mut self, records: &[MetadataRecord]) -> Result<(), TooLarge> {
        self.records += records.len();
        self.bytes += records.iter().map(size_hint).sum::<usize>();
        if self.records > OPERATION_RECORDS_MAX || self.bytes > OPERATION_BYTES_MAX {
            return Err(TooLarge);
        }
        Ok(())
    }
}

/// Partitions that a quota lets one command change; `None` is any number.
#[derive(Clone, Copy, Debug)]
struct Mutations(Option<i64>);

/// The quota is exhausted.
struct Exhausted;

impl Mutations {
    /// Takes what one topic changes. As in Kafka, the last that is let through may take more than
    /// there is left.
    fn take(&mut self, partitions: usize) -> Result<(), Exhausted> {
        let Some(left) = &mut self.0 else {
            return Ok(());
        };
        if *left < 0 {
            return Err(Exhausted);
        }
        *left = left.saturating_sub(i64::try_from(partitions).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// What a client is told whose quota of mutations is exhausted.
const QUOTA_EXCEEDED: &str = "The throttling quota has been exceeded.";

/// Draws topic ids from the seed of one decision (RFC 9562, version 4 in form).
struct FreshIds {
    high: Random,
    low: Random,
}

impl FreshIds {
    const fn new(seed: u128) -> Self {
        Self {
            high: Random::new((seed >> 64) as u64),
            low: Random::new(seed as u64),
        }
    }

    /// Where in the ring of brokers the next topic begins.
    fn some_broker(&self) -> u64 {
        self.low.clone().next()
    }

    fn next(&mut self) -> TopicId {
        let bits = u128::from(self.high.next()) << 64 | u128::from(self.low.next());
        let version = bits & !(0xf << 76) | 0x4 << 76;
        TopicId((version & !(0x3 << 62) | 0x2 << 62).to_be_bytes())
    }
}
