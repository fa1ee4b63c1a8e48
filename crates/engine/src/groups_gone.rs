//! Offsets of topics that are gone: coordinators are told of them, also those that were loading
//! then, or not there because the process had died.

use std::collections::BTreeSet;
use std::mem;

use klamm_coord::TopicReference;
use klamm_metadata::{Delta, Image};
use klamm_model::{TopicName, TopicPartition};

use crate::api::Now;
use crate::engine::Engine;
use crate::groups::State;

/// Topics that the metadata does not have. Of one that it has, under another id, nothing is said if
/// offsets without an id are kept as well: these may be of the one that is there.
fn missing(image: &Image, read: Vec<TopicReference>) -> Vec<TopicReference> {
    let nameless = read.iter().filter(|topic| topic.id.is_zero());
    let nameless: BTreeSet<TopicName> = nameless.map(|topic| topic.name.clone()).collect();
    let is_gone = |topic: &TopicReference| match image.topic(topic.name.as_str()) {
        None => true,
        Some(found) => {
            !topic.id.is_zero() && found.id() != topic.id && !nameless.contains(&topic.name)
        }
    };
    read.into_iter().filter(is_gone).collect()
}

impl Engine {
    /// Holds the offsets that were loaded against the metadata: those of topics that went just
    /// before a crash go as well.
    pub(crate) fn prove_offsets(&mut self, now: Now) {
        let unproved = self.groups.unproved.iter().copied();
        let unproved: Vec<TopicPartition> = unproved.collect();
        for partition in unproved {
            if !self.knows_all_topics_of(partition) {
                continue;
            }
            self.groups.unproved.remove(&partition);
            if let Some(host) = self.groups.hosts.get_mut(&partition) {
                let read = mem::take(&mut host.topics_read);
                let gone = missing(&self.image, read);
                self.forget_offsets_of(now, partition, &gone);
            }
        }
    }

    /// True if the metadata that this core has seen is newer than all that the log of a coordinator
    /// said when it was opened: this node's lead of the partition was confirmed since. Until then a
    /// topic may be missing because its making was not replayed yet.
    fn knows_all_topics_of(&self, partition: TopicPartition) -> bool {
        let topic = self.image.topic_by_id(partition.topic);
        let registration = topic.and_then(|topic| topic.partition(partition.index));
        let host = self.groups.hosts.get(&partition);
        match (registration, host) {
            (Some(registration), Some(host)) => host
                .last_reign
                .is_none_or(|last| registration.leader_epoch > last),
            _ => false,
        }
    }

    /// Offsets of topics that are gone are forgotten at the end of the turn.
    pub(crate) fn note_deleted(&mut self, delta: &Delta) {
        let topics = delta.topics_deleted.iter();
        let gone = topics.map(|topic| TopicReference {
            name: topic.name().clone(),
            id: topic.id(),
        });
        self.groups.gone.extend(gone);
    }

    pub(crate) fn forget_offsets(&mut self, now: Now) {
        let topics = mem::take(&mut self.groups.gone);
        if topics.is_empty() {
            return;
        }
        let hosts: Vec<TopicPartition> = self.groups.hosts.keys().copied().collect();
        for partition in hosts {
            self.forget_offsets_of(now, partition, &topics);
        }
    }

    /// A coordinator that loads is told when it has loaded; so is one that begins anew because it
    /// could not write this.
    pub(crate) fn forget_offsets_of(
        &mut self,
        now: Now,
        partition: TopicPartition,
        topics: &[TopicReference],
    ) {
        if topics.is_empty() {
            return;
        }
        let moment = self.groups.moment(now);
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        if let State::Active(coordinator) = &mut host.state {
            let decision = coordinator.on_topics_deleted(moment, topics);
            self.carry_out(now, partition, decision);
        }
        if let Some(host) = self.groups.hosts.get_mut(&partition)
            && let State::Loading(load) = &mut host.state
        {
            load.gone.extend_from_slice(topics);
        }
    }
}

#[cfg(test)]
mod tests {
    use klamm_metadata::MetadataRecord;
    use klamm_model::{MetadataOffset, TopicId};

    use super::*;

    #[test]
    fn topics_are_missing_that_no_topic_of_the_metadata_can_be() {
        let name = |name: &str| TopicName::new(name).expect("legal");
        let topic = |text: &str, id: u8| TopicReference {
            name: name(text),
            id: TopicId([id; 16]),
        };
        let mut image = Image::default();
        for (position, (text, id)) in [("stays", 1), ("anew", 2), ("older", 3)].iter().enumerate() {
            let id = TopicId([*id; 16]);
            let name = name(text);
            let record = MetadataRecord::TopicCreated { id, name };
            let position = MetadataOffset(position as i64 + 1);
            image.replay(position, &record).expect("it fits");
        }
        let read = vec![
            topic("stays", 0),
            topic("stays", 1),
            topic("anew", 7),
            topic("anew", 2),
            // Some of these offsets have no id: they may be of the topic that is there.
            topic("older", 0),
            topic("older", 8),
            topic("gone", 0),
            topic("gone", 9),
        ];
        let gone = [topic("anew", 7), topic("gone", 0), topic("gone", 9)];
        assert_eq!(missing(&image, read), gone);
    }
}
