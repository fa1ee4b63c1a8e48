//! The cluster's metadata: the records that say what changed, the [`Image`] that they build, the
//! [`Delta`] between two images, and the [`Controller`] that decides new records.
//!
//! It knows no Raft, no shard and no socket. One *decision* of the controller is one payload of the
//! quorum log ([`record::encode`]), so it is committed whole or not at all.
//!
//! # The host's duties
//!
//! 1. Keep a published [`Image`]; begin with [`Image::default`] or [`Image::from_snapshot`].
//! 2. For each committed payload, in order: [`record::decode`], then [`Image::replay`] every record
//!    under the payload's position; compare old and new with [`Delta::between`], hand both out.
//! 3. On becoming leader of the quorum, with everything committed replayed:
//!    [`Controller::resume`] from the published image. On losing leadership: drop the controller.
//! 4. For each command: [`Controller::decide`]; if the decision has records, propose them as one
//!    payload; if that is accepted, [`Controller::replay`] them under the position they got; if it
//!    is refused, nothing has changed and the caller is told to try elsewhere.
//! 5. Hold every reply until all that the controller has replayed at that moment is committed,
//!    also that of a decision without records: it may rest on records not yet committed.
//!
//! ```
//! use klamm_metadata::{BrokerDefaults, Command, Controller, Image, Moment, NewTopic, Registration};
//! use klamm_metadata::record;
//! use klamm_model::{ClusterId, Instant, MetadataOffset, NodeId, WallTime};
//!
//! let mut controller = Controller::resume(Image::default(), BrokerDefaults::default());
//! let moment = Moment { now: Instant(0), wall: WallTime(0), seed: 42 };
//! let commands = [
//!     Command::Register(Registration::new(NodeId(1), ClusterId([7; 16]))),
//!     Command::CreateTopics { topics: vec![NewTopic::named("flights")], validate_only: false },
//! ];
//! let mut published = Image::default();
//! for (offset, command) in (1..).zip(commands) {
//!     let decision = controller.decide(moment, command);
//!     let payload = record::encode(&decision.records);
//!     controller.replay_all(MetadataOffset(offset), &decision.records)?;
//!     for record in record::decode(&payload)? {
//!         published.replay(MetadataOffset(offset), &record)?;
//!     }
//! }
//! assert_eq!(published.topic("flights").expect("created").partitions().count(), 1);
//! assert_eq!(&published, controller.image());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod chunked;
mod controller;
mod delta;
mod image;
pub mod kafka;
pub mod limits;
mod quota;
pub mod record;
mod snapshot;

pub use controller::{
    BrokerDefaults, CLIENT_METRICS_KEYS, Command, ConfigChange, ConfigError, ConfigMode,
    ConfigOperation, Controller, CreatePartitionsError, CreateTopicError, CreatedTopic, Decision,
    DeleteTopicError, DeletedTopic, Elected, ElectionError, ElectionKind, FeatureError,
    FeatureUpdate, FeatureUpgrade, ManualAssignment, Moment, MorePartitions, NewTopic,
    ProducerIdBlock, ProducerIdError, QuotaChange, QuotaError, QuotaOperation, RESOURCE_REPEATED,
    Reassignment, ReassignmentError, RegisterError, Registration, Reply, SupportedFeature,
    TopicReference, check_lists, check_operations,
};
pub use delta::{Delta, TopicDelta};
pub use image::{Broker, ConfigMap, Image, Partition, ReplayError, Topic};
pub use quota::{
    ClientQuotas, QuotaEntity, QuotaKey, QuotaKind, QuotaLimits, QuotaName, QuotaValue,
};
pub use record::{ConfigResource, Listener, MetadataRecord, PartitionRecord};
pub use snapshot::SnapshotError;
