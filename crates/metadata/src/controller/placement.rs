//! Where the replicas of new partitions go: around the ring of brokers, racks alternating, so that
//! leaders are even, and the replicas of neighbouring partitions differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm_model::NodeId;

use crate::image::Image;

/// The ring of brokers on which one topic's partitions are placed.
pub(super) struct Ring {
    nodes: Vec<NodeId>,
    start: usize,
}

impl Ring {
    /// `start` spreads the first partitions of different topics.
    pub(super) fn new(image: &Image, start: u64) -> Self {
        let mut racks: BTreeMap<Option<&str>, Vec<NodeId>> = BTreeMap::new();
        for broker in image.brokers().values() {
            racks
                .entry(broker.rack.as_deref())
                .or_default()
                .push(broker.node);
        }
        let deepest = racks.values().map(Vec::len).max().unwrap_or(0);
        let mut nodes = Vec::new();
        for depth in 0..deepest {
            nodes.extend(racks.values().filter_map(|rack| rack.get(depth)));
        }
        let start = start.checked_rem(nodes.len() as u64).unwrap_or(0) as usize;
        Self { nodes, start }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The replicas of partition `index`, the leader first. `count` is at most the ring's length.
    pub(super) fn replicas(&self, index: usize, count: usize) -> Arc<[NodeId]> {
        assert!(
            0 < count && count <= self.nodes.len(),
            "checked by the caller"
        );
        let length = self.nodes.len();
        let leader = (self.start + index) % length;
        // Each round over the ring shifts the followers by one against the leaders.
        let shift = if count < length {
            index / length % (length - count + 1)
        } else {
            0
        };
        (0..count)
            .map(|replica| match replica {
                0 => self.nodes[leader],
                _ => self.nodes[(leader + replica + shift) % length],
            })
            .collect()
    }
}
