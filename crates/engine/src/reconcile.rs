//! From a new image to the partitions of this core: those that are to be here are opened, those
//! that are not are dropped, and those that stay learn their new configuration.

use std::collections::VecDeque;
use std::sync::Arc;

use klamm_metadata::{ConfigMap, Delta, Image, Partition, Topic, TopicDelta};
use klamm_model::{
    NodeId, OFFSETS_TOPIC, Offset, PartitionIndex, TopicConfig, TopicName, TopicPartition,
};
use klamm_records::segment;
use klamm_replica::{Leader, LogGeneration, ProducerLimits, Recovered};

use crate::api::{AppendError, Reply};
use crate::boot::RecoveredPartition;
use crate::effects::Effect;
use crate::engine::Engine;
use crate::partition::{PartitionLog, RecoveryPoint};
use crate::segments::Segments;
use crate::waiters::{AppendWaiters, Slot};

impl Engine {
    /// The metadata has a new version.
    pub fn on_image(&mut self, image: &Image) {
        let delta = Delta::between(&self.image, image);
        self.image = image.clone();
        self.groups.news.note(&delta);
        self.note_deleted(&delta);
        for topic in &delta.topics_deleted {
            for (index, _) in topic.partitions() {
                self.drop_partition(TopicPartition {
                    topic: topic.id(),
                    index,
                });
            }
        }
        for topic in &delta.topics_created {
            let config = Arc::new(self.config_of(topic));
            for (index, partition) in topic.partitions() {
                self.open_if_mine(topic, index, partition, &config);
            }
        }
        for change in &delta.topics_changed {
            self.on_topic_changed(change);
        }
        if delta.broker_config_changed {
            let topics: Vec<Arc<Topic>> = self.image.topics().cloned().collect();
            let layer = self.broker_layer();
            for topic in topics {
                let config = self.options.scale.bounded(topic.config(&layer));
                self.apply_config(&topic, &Arc::new(config));
            }
            let limits = self.producer_limits();
            for log in self.partitions.iter_mut().flatten() {
                log.leader.set_producer_limits(limits);
            }
        }
    }

    fn producer_limits(&self) -> ProducerLimits {
        producer_limits(&self.image, self.options.node, self.options.producers)
    }

    fn on_topic_changed(&mut self, change: &TopicDelta) {
        let topic = &change.after;
        // Every start of a node changes every partition; that must not cost a configuration each.
        for &index in &change.partitions_changed {
            if let Some(registration) = topic.partition(index) {
                self.begin_reign(topic, index, registration);
            }
        }
        let opens = |index: &&PartitionIndex| {
            let partition = topic.partition(**index);
            partition.is_some_and(|found| self.is_to_open(topic, **index, found))
        };
        let changed = change.partitions_created.iter();
        let changed = changed.chain(&change.partitions_changed);
        let opening: Vec<PartitionIndex> = changed.filter(opens).copied().collect();
        if opening.is_empty() && !change.config_changed {
            return;
        }
        let config = Arc::new(self.config_of(topic));
        for index in opening {
            if let Some(partition) = topic.partition(index) {
                self.open_if_mine(topic, index, partition, &config);
            }
        }
        if change.config_changed {
            self.apply_config(topic, &config);
        }
    }

    /// The leader of a partition that is open here is confirmed, perhaps in a newer reign.
    fn begin_reign(&mut self, topic: &Topic, index: PartitionIndex, registration: &Partition) {
        if registration.leader != Some(self.options.node) {
            return;
        }
        let slot = self.slot_of(TopicPartition {
            topic: topic.id(),
            index,
        });
        if let Some(log) = slot.and_then(|slot| self.partition_mut(slot)) {
            log.leader.begin_reign(registration.leader_epoch);
        }
    }

    /// True if this core is to hold the partition and does not yet.
    fn is_to_open(&self, topic: &Topic, index: PartitionIndex, registration: &Partition) -> bool {
        let partition = TopicPartition {
            topic: topic.id(),
            index,
        };
        registration.leader == Some(self.options.node)
            && partition.home(self.options.shards) == self.options.shard
            && self.slot_of(partition).is_none()
    }

    fn broker_layer(&self) -> ConfigMap {
        let (node, file) = (self.options.node, &self.options.broker_file);
        self.image.broker_layer(node, file)
    }

    fn config_of(&self, topic: &Topic) -> TopicConfig {
        let layer = self.broker_layer();
        self.options.scale.bounded(topic.config(&layer))
    }

    fn apply_config(&mut self, topic: &Topic, config: &Arc<TopicConfig>) {
        for (index, _) in topic.partitions() {
            let partition = TopicPartition {
                topic: topic.id(),
                index,
            };
            let Some(slot) = self.slot_of(partition) else {
                continue;
            };
            self.advance(slot, |log| {
                log.config = Arc::clone(config);
                log.leader.set_durability(config.durability)
            });
            if config.cleanup.compact {
                self.compaction.wake();
            }
        }
    }

    fn open_if_mine(
        &mut self,
        topic: &Topic,
        index: PartitionIndex,
        registration: &Partition,
        config: &Arc<TopicConfig>,
    ) {
        if !self.is_to_open(topic, index, registration) {
            return;
        }
        let partition = TopicPartition {
            topic: topic.id(),
            index,
        };
        let found = self.recovered.remove(&partition);
        let found = found.unwrap_or_else(|| {
            RecoveredPartition::empty(
                topic.name().clone(),
                self.options.producers,
                config.durability,
            )
        });
        self.open(
            partition,
            found,
            registration.leader_epoch,
            Arc::clone(config),
        );
    }

    /// Opens a partition's log and gives it a slot.
    ///
    /// # Panics
    /// If what boot recovered contradicts itself: boot has checked it.
    pub(crate) fn open(
        &mut self,
        partition: TopicPartition,
        found: RecoveredPartition,
        leader_epoch: klamm_model::LeaderEpoch,
        config: Arc<TopicConfig>,
    ) -> Slot {
        let generation = LogGeneration(self.generation);
        self.generation += 1;
        let latest = found.log.epochs.latest().map(|entry| entry.leader_epoch);
        let recovered = Recovered {
            generation,
            leader_epoch: latest.map_or(leader_epoch, |latest| latest.max(leader_epoch)),
            durability: config.durability,
            ..found.log
        };
        let log_end = recovered.log_end;
        let active = found.segments.active();
        let spilled_in = active.map_or((Offset::ZERO, 0), |active| (active.base, active.bytes));
        let saved = found.recovery.saved();
        let mut leader = Leader::new(recovered).expect("boot has checked what it recovered");
        leader.set_producer_limits(self.producer_limits());
        let coordinates = found.topic.as_str() == OFFSETS_TOPIC;
        let log = PartitionLog {
            partition,
            folder: segment::partition_folder(&found.topic, partition.index).into(),
            topic: found.topic,
            config,
            leader,
            tail: VecDeque::new(),
            segments: found.segments,
            spill_requested: log_end,
            spilled: log_end,
            spilled_in,
            spilled_complete: false,
            spilling: None,
            flushing: false,
            unflushed: Vec::new(),
            recovery: found.recovery,
            saved,
            saving: saved,
            cleaned_to: found.cleaned_to,
            is_uncleanable: false,
            compacted_after: klamm_model::Instant(0),
            trim_requested: Offset::ZERO,
            recovery_next: None,
            folder_made: found.folder_made,
            epochs_saved: latest,
            append_waiters: AppendWaiters::default(),
            coordinates,
            watches: Vec::new(),
            traffic: crate::traffic::Traffic::default(),
            unspilled_bytes: 0,
            owed_bytes: 0,
            is_listed: false,
            listed_chunk: None,
        };
        if log.is_compacted() {
            self.compaction.wake();
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.partitions.push(None);
            (self.partitions.len() - 1) as Slot
        });
        self.partitions[slot as usize] = Some(log);
        self.slots.insert(partition, slot);
        if coordinates {
            self.host_groups(partition, slot, latest);
        }
        slot
    }

    fn drop_partition(&mut self, partition: TopicPartition) {
        self.recovered.remove(&partition);
        // Batches of this partition may wait for their seal; after it they are only bytes.
        self.seal();
        let Some(slot) = self.slots.remove(&partition) else {
            return;
        };
        let Some(mut log) = self
            .partitions
            .get_mut(slot as usize)
            .and_then(Option::take)
        else {
            return;
        };
        self.drop_groups(partition);
        for waiter in log.append_waiters.drain() {
            let failure = Some(AppendError::UnknownPartition);
            if let Some((ticket, call)) = self.parked.settle(waiter.call, waiter.place, failure) {
                self.effects.push(Effect::Reply {
                    ticket,
                    reply: Reply::Append(call),
                });
            }
        }
        for id in log.watches {
            self.watches.wake(id);
        }
        self.dirty.remove(&slot);
        self.space.settle(log.owed_bytes);
        for slots in &mut self.chunk_slots {
            slots.remove(&slot);
        }
        self.commits.forget(slot);
        self.partition_settled(slot);
        self.free.push(slot);
        if log.folder_made {
            self.effects.push(Effect::DropFolder {
                partition,
                folder: log.folder,
            });
        }
    }
}

/// Limits of producer state on a node: `producer.id.expiration.ms` as it was set while brokers run,
/// over the file's.
fn producer_limits(image: &Image, node: NodeId, file: ProducerLimits) -> ProducerLimits {
    let key = "producer.id.expiration.ms";
    let own = image.broker_overrides(node).and_then(|keys| keys.get(key));
    let set = own.or_else(|| image.broker_defaults().get(key));
    let expiration_ms = set.and_then(|text| text.trim().parse().ok());
    ProducerLimits {
        expiration_ms: expiration_ms.unwrap_or(file.expiration_ms),
        ..file
    }
}

impl RecoveredPartition {
    /// A partition that nothing was ever written to.
    #[must_use]
    pub fn empty(
        topic: TopicName,
        producers: ProducerLimits,
        durability: klamm_model::Durability,
    ) -> Self {
        let first = klamm_model::LeaderEpoch(0);
        Self {
            topic,
            log: Recovered::empty(LogGeneration(0), first, durability, producers),
            segments: Segments::new(VecDeque::new()),
            recovery: RecoveryPoint::default(),
            folder_made: false,
            cleaned_to: Offset::ZERO,
        }
    }

    /// First offset that can be read.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log.log_start
    }

    /// Offset that the next record gets.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log.log_end
    }
}

#[cfg(test)]
mod tests {
    use klamm_metadata::{ConfigResource, MetadataRecord};
    use klamm_model::MetadataOffset;

    use super::*;

    #[test]
    fn producers_are_remembered_as_long_as_the_nearest_layer_says() {
        let file = ProducerLimits {
            expiration_ms: 100,
            producers_max: 7,
        };
        let mut image = Image::default();
        let mut position = 0;
        let mut expiration_after = |resource: &ConfigResource, value: Option<&str>| {
            position += 1;
            let record = MetadataRecord::ConfigSet {
                resource: resource.clone(),
                key: "producer.id.expiration.ms".to_owned(),
                value: value.map(str::to_owned),
            };
            image
                .replay(MetadataOffset(position), &record)
                .expect("fits");
            let limits = producer_limits(&image, NodeId(1), file);
            assert_eq!(limits.producers_max, 7);
            limits.expiration_ms
        };
        let (all, own) = (
            ConfigResource::BrokerDefault,
            ConfigResource::Broker(NodeId(1)),
        );
        let other = ConfigResource::Broker(NodeId(2));
        assert_eq!(expiration_after(&other, Some("5")), 100);
        assert_eq!(expiration_after(&all, Some("200")), 200);
        assert_eq!(expiration_after(&own, Some("300")), 300);
        assert_eq!(expiration_after(&all, None), 300);
        assert_eq!(expiration_after(&own, None), 100);
    }
}
