//! What changed between two images: what each core's reconcile works through. Finding it costs the
//! chunks that differ, not the whole image.

use std::sync::Arc;

use klamm_model::{NodeId, PartitionIndex};

use crate::image::{Image, Topic};

/// A topic that is in both images, but not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDelta {
    /// The topic before.
    pub before: Arc<Topic>,
    /// The topic after.
    pub after: Arc<Topic>,
    /// Partitions that are new.
    pub partitions_created: Vec<PartitionIndex>,
    /// Partitions whose registration changed.
    pub partitions_changed: Vec<PartitionIndex>,
    /// The topic's own configuration changed.
    pub config_changed: bool,
}

/// What changed between two images.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Delta {
    /// Topics with an id that the older image lacks, by name.
    pub topics_created: Vec<Arc<Topic>>,
    /// Topics with an id that the newer image lacks, by name, as they were.
    pub topics_deleted: Vec<Arc<Topic>>,
    /// Topics in both, by name.
    pub topics_changed: Vec<TopicDelta>,
    /// Brokers that registered, registered again, or went.
    pub brokers_changed: Vec<NodeId>,
    /// The configuration of all brokers or of one changed: every topic's configuration may have.
    pub broker_config_changed: bool,
    /// A finalised feature level changed.
    pub features_changed: bool,
    /// Groups whose configuration changed, by their ids.
    pub groups_configured: Vec<String>,
    /// A quota of clients changed.
    pub client_quotas_changed: bool,
}

impl Delta {
    /// Compares two images. They may be any two; neighbours are cheap.
    #[must_use]
    pub fn between(before: &Image, after: &Image) -> Self {
        let mut delta = Self::default();
        if before.is_same(after) {
            return delta;
        }
        for difference in before.topic_map().differences(after.topic_map()) {
            match (difference.before, difference.after) {
                (Some(old), Some(new)) if old.id() == new.id() => {
                    delta.topics_changed.push(TopicDelta::between(old, new));
                }
                (old, new) => {
                    delta.topics_deleted.extend(old.cloned());
                    delta.topics_created.extend(new.cloned());
                }
            }
        }
        let (old, new) = (before.brokers(), after.brokers());
        let mut nodes: Vec<_> = old.keys().chain(new.keys()).copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| old.get(node) != new.get(node));
        delta.brokers_changed = nodes;
        delta.broker_config_changed = before.broker_defaults() != after.broker_defaults()
            || before.all_broker_overrides() != after.all_broker_overrides();
        delta.features_changed = before.features() != after.features();
        let (old, new) = (before.group_config_map(), after.group_config_map());
        let groups = old.differences(new).into_iter();
        delta.groups_configured = groups.map(|one| one.key.clone()).collect();
        let (old, new) = (before.client_quotas(), after.client_quotas());
        delta.client_quotas_changed = !old.is_same(new) && old != new;
        delta
    }

    /// Nothing that a core must act on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl TopicDelta {
    fn between(before: &Arc<Topic>, after: &Arc<Topic>) -> Self {
        let mut delta = Self {
            before: Arc::clone(before),
            after: Arc::clone(after),
            partitions_created: Vec::new(),
            partitions_changed: Vec::new(),
            config_changed: !before.shares_overrides(after),
        };
        for difference in before.partition_map().differences(after.partition_map()) {
            match difference.before {
                None => delta.partitions_created.push(*difference.key),
                Some(_) => delta.partitions_changed.push(*difference.key),
            }
        }
        delta
    }
}
