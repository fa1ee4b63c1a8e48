//! Which topics the members of a group read, as far as consumers' metadata tells it. All versions
//! of it begin alike: a version, then the names of topics.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::consumer::group::ConsumerGroup;
use super::round::Round;
use crate::record::{Reader, RecordError};

/// The kind of group whose metadata can be read.
pub(super) const CONSUMER: &str = "consumer";

/// What members of a group read.
pub(super) enum Topics<'g> {
    /// These.
    Known(BTreeSet<String>),
    /// What the members of a group of the consumer protocol read.
    Of(&'g ConsumerGroup),
    /// Nobody can tell; for consumers that is taken for all of them.
    Unknown,
}

impl Topics<'_> {
    pub(super) fn contains(&self, topic: &str) -> bool {
        match self {
            Self::Known(topics) => topics.contains(topic),
            Self::Of(group) => group.reads(topic),
            Self::Unknown => true,
        }
    }
}

/// Whether the members are consumers.
pub(super) fn are_consumers(protocol_type: &str) -> bool {
    protocol_type == CONSUMER
}

/// What the members of a round read, by any of the protocols that they know.
pub(super) fn topics_of(round: &Round) -> Topics<'static> {
    let mut topics = BTreeSet::new();
    for member in round.members.values() {
        for metadata in member.subscriptions() {
            if read(metadata, &mut topics).is_err() {
                return Topics::Unknown;
            }
        }
    }
    Topics::Known(topics)
}

fn read(metadata: &Bytes, topics: &mut BTreeSet<String>) -> Result<(), RecordError> {
    let mut reader = Reader::new(metadata);
    if reader.int16()? < 0 {
        return Err(RecordError::BadLength);
    }
    for _ in 0..reader.count()? {
        let topic = reader.text()?;
        if !topics.contains(topic) {
            topics.insert(topic.to_owned());
        }
    }
    Ok(())
}
