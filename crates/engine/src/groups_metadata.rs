//! What group coordinators are told of the metadata: topics that come, grow and go, what is set of
//! single groups, and of all groups while brokers run. It costs a coordinator next to nothing: what
//! follows is found out when members come, or in slices by timers.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use klamm_coord::{Coordinator, GroupId, GroupSettings, SeenTopic, TopicsView};
use klamm_metadata::{ConfigMap, Delta, Image, Topic};
use klamm_model::{
    OFFSETS_TOPIC, TopicId, TopicName, TopicPartition, group_config_key, partition_of_group,
};

use crate::api::Now;
use crate::engine::Engine;
use crate::groups::{Decision, State};

const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";

/// The topics of an image, as coordinators see them.
#[derive(Debug)]
struct ImageTopics(Image);

impl TopicsView for ImageTopics {
    fn by_name(&self, name: &str) -> Option<SeenTopic> {
        self.0.topic(name).map(|topic| seen(topic))
    }

    fn by_id(&self, id: TopicId) -> Option<SeenTopic> {
        self.0.topic_by_id(id).map(|topic| seen(topic))
    }

    fn names_after(&self, after: Option<&str>, most: usize, each: &mut dyn FnMut(&TopicName)) {
        // No topic has an empty name, so that all come after it.
        let topics = self.0.topics_after(after.unwrap_or(""));
        topics.take(most).for_each(|topic| each(topic.name()));
    }
}

fn seen(topic: &Topic) -> SeenTopic {
    SeenTopic {
        name: topic.name().clone(),
        id: topic.id(),
        partitions: u32::try_from(topic.partition_count()).unwrap_or(u32::MAX),
    }
}

/// What coordinators have not been told yet.
#[derive(Debug, Default)]
pub(crate) struct MetadataNews {
    /// Topics that are new, gone, or larger.
    topics: Vec<TopicName>,
    /// Groups of which something else is set.
    groups: Vec<String>,
    /// Something else is set of brokers.
    is_of_brokers: bool,
}

impl MetadataNews {
    fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.groups.is_empty() && !self.is_of_brokers
    }

    /// Takes in what a new image says that concerns groups.
    pub(crate) fn note(&mut self, delta: &Delta) {
        let whole = delta.topics_created.iter().chain(&delta.topics_deleted);
        self.topics.extend(whole.map(|topic| topic.name().clone()));
        let grown = delta.topics_changed.iter();
        let grown = grown.filter(|change| !change.partitions_created.is_empty());
        self.topics
            .extend(grown.map(|change| change.after.name().clone()));
        self.groups.extend_from_slice(&delta.groups_configured);
        self.is_of_brokers |= delta.broker_config_changed;
    }
}

/// What is set of a group, as far as its coordinator obeys it.
fn settings_of(overrides: &ConfigMap) -> GroupSettings {
    let time = |key: &str| {
        let number = overrides.get(key)?.trim().parse().ok()?;
        Some(Duration::from_millis(number))
    };
    GroupSettings {
        session_timeout: time(SESSION_TIMEOUT),
        heartbeat_interval: time(HEARTBEAT_INTERVAL),
        assignment_interval: time(ASSIGNMENT_INTERVAL),
    }
}

impl Engine {
    /// Tells the coordinators of this core what has changed since they were told last.
    pub(crate) fn tell_groups_of_metadata(&mut self, now: Now) {
        let news = mem::take(&mut self.groups.news);
        if news.is_empty() {
            return;
        }
        let view: Arc<dyn TopicsView> = Arc::new(ImageTopics(self.image.clone()));
        let hosts: Vec<TopicPartition> = self.groups.hosts.keys().copied().collect();
        for partition in hosts {
            let moment = self.groups.moment(now);
            let interval = self.assignment_interval();
            let Some(host) = self.groups.hosts.get_mut(&partition) else {
                continue;
            };
            let State::Active(coordinator) = &mut host.state else {
                continue;
            };
            if news.is_of_brokers {
                coordinator.set_assignment_interval(interval);
            }
            if !news.topics.is_empty() {
                let view = Arc::clone(&view);
                let decision = coordinator.on_topics_changed(moment, view, &news.topics);
                self.carry_out(now, partition, decision);
            }
        }
        for group in &news.groups {
            self.tell_of_settings(group);
        }
    }

    /// The coordinator of a group, if it is here, learns what is set of the group.
    fn tell_of_settings(&mut self, group: &str) {
        let Some(partition) = coordinator_of(&self.image, group) else {
            return;
        };
        if let Some(host) = self.groups.hosts.get_mut(&partition)
            && let State::Active(coordinator) = &mut host.state
        {
            let settings = self.image.group_config(group).map(settings_of);
            coordinator.set_group_settings(&GroupId::new(group), settings);
        }
    }

    /// What a coordinator must know before it decides anything.
    pub(crate) fn introduce_metadata(
        &mut self,
        now: Now,
        partition: TopicPartition,
        coordinator: &mut Coordinator,
    ) -> Decision {
        coordinator.set_assignment_interval(self.assignment_interval());
        for (group, overrides) in self.image.group_configs() {
            if coordinator_of(&self.image, group) == Some(partition) {
                let settings = settings_of(overrides);
                coordinator.set_group_settings(&GroupId::new(group), Some(settings));
            }
        }
        let view = Arc::new(ImageTopics(self.image.clone()));
        let moment = self.groups.moment(now);
        coordinator.on_topics_changed(moment, view, &[])
    }

    /// `group.consumer.assignment.interval.ms`, as it is now: Kafka lets it change while brokers
    /// run, and holds it within the bounds of the file.
    fn assignment_interval(&self) -> Duration {
        let config = &self.groups.options.config.consumer;
        let key = group_config_key(ASSIGNMENT_INTERVAL).and_then(|row| row.broker_synonym);
        let own = self.image.broker_overrides(self.options.node);
        let layers = own.into_iter().chain([self.image.broker_defaults()]);
        let mut set = layers.filter_map(|layer| layer.get(key?)?.trim().parse().ok());
        let Some(number) = set.next() else {
            return config.assignment_interval;
        };
        let interval = Duration::from_millis(number);
        let most = config.assignment_interval_max;
        interval.min(most).max(config.assignment_interval_min)
    }
}

/// The partition that coordinates a group.
fn coordinator_of(image: &Image, group: &str) -> Option<TopicPartition> {
    let topic = image.topic(OFFSETS_TOPIC)?;
    let index = partition_of_group(group, topic.partition_count())?;
    let topic = topic.id();
    Some(TopicPartition { topic, index })
}

#[cfg(test)]
mod tests {
    use klamm_metadata::{ConfigResource, MetadataRecord};
    use klamm_model::MetadataOffset;

    use super::*;

    fn image(records: &[MetadataRecord]) -> Image {
        let mut image = Image::default();
        for (position, record) in records.iter().enumerate() {
            let position = MetadataOffset(position as i64 + 1);
            image.replay(position, record).expect("it fits");
        }
        image
    }

    fn created(name: &str, id: u8) -> MetadataRecord {
        MetadataRecord::TopicCreated {
            id: TopicId([id; 16]),
            name: TopicName::new(name).expect("legal"),
        }
    }

    #[test]
    fn names_come_in_slices_in_their_order() {
        let view = ImageTopics(image(&[created("b", 2), created("a", 1), created("c", 3)]));
        let slice = |after, most| {
            let mut names = Vec::new();
            view.names_after(after, most, &mut |name| names.push(name.to_string()));
            names
        };
        assert_eq!(slice(None, 2), ["a", "b"]);
        assert_eq!(slice(Some("b"), 2), ["c"]);
        assert_eq!(slice(Some("aa"), 9), ["b", "c"]);
        assert_eq!(slice(Some("c"), 9), [""; 0]);
        assert_eq!(view.by_name("b"), view.by_id(TopicId([2; 16])));
        assert_eq!(view.by_name("d"), None);
    }

    #[test]
    fn only_topics_that_come_go_or_grow_are_news() {
        let before = image(&[created("a", 1), created("b", 2)]);
        let config = |resource| MetadataRecord::ConfigSet {
            resource,
            key: SESSION_TIMEOUT.to_owned(),
            value: Some("50000".to_owned()),
        };
        let mut after = before.clone();
        let records = [
            MetadataRecord::TopicDeleted {
                id: TopicId([1; 16]),
            },
            created("c", 3),
            config(ConfigResource::Topic(TopicName::new("b").expect("legal"))),
            config(ConfigResource::Group("g".to_owned())),
        ];
        for record in &records {
            after.replay(MetadataOffset(9), record).expect("it fits");
        }
        let mut news = MetadataNews::default();
        news.note(&Delta::between(&before, &after));
        let names: Vec<&str> = news.topics.iter().map(TopicName::as_str).collect();
        assert_eq!(names, ["c", "a"]);
        assert_eq!(news.groups, ["g"]);
        assert!(!news.is_of_brokers);
        let settings = settings_of(after.group_config("g").expect("configured"));
        assert_eq!(settings.session_timeout, Some(Duration::from_secs(50)));
        assert_eq!(settings.heartbeat_interval, None);
    }
}
