//! Administrative calls: one request each, sent once, because a repeated creation would look like
//! a failure. What was refused comes back topic by topic.

use klamm_model::TopicName;
use klamm_wire::{ApiKey, create_topics, delete_topics, describe_configs};

use super::{Client, ClientError, Target, read};
use crate::admin::{self, Apply, ConfigEntry, ConfigResource, CreatedTopic, NewTopic};
use crate::connection::sendable;
use crate::error::BrokerError;

impl Client {
    /// Creates topics.
    ///
    /// # Errors
    /// No usable answer; refusals are in the result, topic by topic.
    pub fn create_topics(
        &mut self,
        topics: &[NewTopic],
        apply: Apply,
    ) -> Result<Vec<Result<CreatedTopic, BrokerError>>, ClientError> {
        let request = admin::create_topics(topics, self.options.request_timeout, apply);
        let response = self.call(Target::Controller, &request)?;
        let view = read::<create_topics::ResponseView<'_>>(&response)?;
        Ok(admin::created_topics(&view))
    }

    /// Creates one topic.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn create_topic(&mut self, topic: NewTopic) -> Result<CreatedTopic, ClientError> {
        let created = self.create_topics(std::slice::from_ref(&topic), Apply::Really)?;
        only(created, ApiKey::CreateTopics, &topic.name)
    }

    /// Deletes topics; the names of those that are gone.
    ///
    /// # Errors
    /// No usable answer; refusals are in the result, topic by topic.
    pub fn delete_topics(
        &mut self,
        names: &[TopicName],
    ) -> Result<Vec<Result<String, BrokerError>>, ClientError> {
        let wanted = sendable(ApiKey::DeleteTopics).expect("the tables hold DeleteTopics");
        let version = self
            .served(Target::Controller)?
            .pick(ApiKey::DeleteTopics, wanted)
            .unwrap_or(wanted.last);
        let request = admin::delete_topics(names, self.options.request_timeout, version);
        let response = self.call_up_to(Target::Controller, &request, version)?;
        let view = read::<delete_topics::ResponseView<'_>>(&response)?;
        Ok(admin::deleted_topics(&view))
    }

    /// Deletes one topic.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn delete_topic(&mut self, name: &TopicName) -> Result<(), ClientError> {
        let deleted = self.delete_topics(std::slice::from_ref(name))?;
        only(deleted, ApiKey::DeleteTopics, name).map(|_| ())
    }

    /// The configuration of a topic or broker, defaults included.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn describe_configs(
        &mut self,
        resource: ConfigResource,
        name: &str,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let target = config_target(resource, name);
        let wanted = sendable(ApiKey::DescribeConfigs).expect("the tables hold DescribeConfigs");
        let version = self
            .served(target)?
            .pick(ApiKey::DescribeConfigs, wanted)
            .unwrap_or(wanted.last);
        let request = admin::describe_configs(resource, name, version);
        let response = self.call_up_to(target, &request, version)?;
        let view = read::<describe_configs::ResponseView<'_>>(&response)?;
        Ok(admin::described_configs(&view)?)
    }
}

/// A broker's own configuration is asked at that broker; all else at anyone.
fn config_target(resource: ConfigResource, name: &str) -> Target {
    match (resource, name.parse()) {
        (ConfigResource::Broker, Ok(id)) => Target::Node(klamm_model::NodeId(id)),
        _ => Target::Any,
    }
}

fn only<T>(
    outcomes: Vec<Result<T, BrokerError>>,
    key: ApiKey,
    name: &TopicName,
) -> Result<T, ClientError> {
    match outcomes.into_iter().next() {
        Some(outcome) => outcome.map_err(ClientError::from),
        None => Err(ClientError::Missing {
            key,
            subject: format!("topic {name}"),
        }),
    }
}
