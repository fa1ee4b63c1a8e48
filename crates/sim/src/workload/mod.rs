//! What the clients of a world do: make topics and take them away, send, read, ask, work in groups.

pub mod admin;
pub mod member;
pub mod producer;
pub mod reader;

use klamm_engine::metadata::Image;
use klamm_model::{PartitionIndex, TopicPartition};

/// Names of the topics of a world; deleted ones come back under the same name.
pub const TOPICS: [&str; 3] = ["flights", "orders", "weather"];

/// A partition as clients name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The topic's name.
    pub topic: &'static str,
    /// The partition.
    pub index: i32,
}

impl Named {
    /// Which partition that is in this picture of the metadata.
    #[must_use]
    pub fn resolve(&self, image: &Image) -> Option<TopicPartition> {
        let topic = image.topic(self.topic)?;
        let index = PartitionIndex(self.index);
        topic.partition(index)?;
        Some(TopicPartition {
            topic: topic.id(),
            index,
        })
    }
}
