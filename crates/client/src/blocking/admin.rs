//! Administrative calls: one request each, sent once, because a repeated creation would look like
//! a failure. What was refused comes back topic by topic.

use std::collections::BTreeMap;

use klamm_model::{NodeId, Offset, TopicName};
use klamm_wire::ApiKey;

use super::{Client, ClientError, Target};
use crate::admin::{
    self, Apply, ClientQuota, ClusterDescription, ConfigChange, ConfigEntry, ConfigResource,
    CreatedTopic, LogDir, MorePartitions, NewTopic, QuotaEntity, QuotaKind, QuotaMatch, TrimTo,
};
use crate::error::BrokerError;
use crate::metadata::PartitionName;

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
        self.request(Target::Controller, &request, |view| {
            admin::created_topics(&view)
        })
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
        let version = self.version(Target::Controller, ApiKey::DeleteTopics)?;
        let request = admin::delete_topics(names, self.options.request_timeout, version);
        self.request_up_to(Target::Controller, &request, version, |view| {
            admin::deleted_topics(&view)
        })
    }

    /// Deletes one topic.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn delete_topic(&mut self, name: &TopicName) -> Result<(), ClientError> {
        let deleted = self.delete_topics(std::slice::from_ref(name))?;
        only(deleted, ApiKey::DeleteTopics, name).map(|_| ())
    }

    /// Gives topics more partitions; the names of those that have what was asked for.
    ///
    /// # Errors
    /// No usable answer; refusals are in the result, topic by topic.
    pub fn create_partitions(
        &mut self,
        topics: &[MorePartitions],
        apply: Apply,
    ) -> Result<Vec<Result<String, BrokerError>>, ClientError> {
        let request = admin::create_partitions(topics, self.options.request_timeout, apply);
        self.request(Target::Controller, &request, |view| {
            admin::created_partitions(&view)
        })
    }

    /// The configuration of a topic, broker or other resource, defaults included.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn describe_configs(
        &mut self,
        resource: ConfigResource,
        name: &str,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let target = config_target(resource, name);
        let version = self.version(target, ApiKey::DescribeConfigs)?;
        let request = admin::describe_configs(resource, name, None, version);
        Ok(self.request_up_to(target, &request, version, |view| {
            admin::described_configs(&view)
        })??)
    }

    /// Changes single keys of a configuration; the others stay as they are.
    ///
    /// # Errors
    /// Any [`ClientError`]; then nothing was changed, or there was no answer.
    pub fn alter_configs(
        &mut self,
        resource: ConfigResource,
        name: &str,
        changes: &[ConfigChange],
        apply: Apply,
    ) -> Result<(), ClientError> {
        let request = admin::alter_configs(resource, name, changes, apply);
        let target = config_target(resource, name);
        Ok(self.request(target, &request, |view| admin::altered_configs(&view))??)
    }

    /// What has a configuration of its own, of these kinds or of all.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn list_config_resources(
        &mut self,
        resources: &[ConfigResource],
    ) -> Result<Vec<(ConfigResource, String)>, ClientError> {
        let request = admin::list_config_resources(resources);
        Ok(self.request(Target::Any, &request, |view| {
            admin::listed_config_resources(&view)
        })??)
    }

    /// The quotas of the entities in which all these kinds match: exactly these kinds where it is
    /// strict, and others beside them where it is not.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn describe_client_quotas(
        &mut self,
        filter: &[(QuotaKind, QuotaMatch)],
        strict: bool,
    ) -> Result<Vec<ClientQuota>, ClientError> {
        let request = admin::describe_client_quotas(filter, strict);
        Ok(self.request(Target::Any, &request, |view| {
            admin::described_client_quotas(&view)
        })??)
    }

    /// Sets limits of one entity, or takes them away; its others stay as they are.
    ///
    /// # Errors
    /// Any [`ClientError`]; then nothing was changed, or there was no answer.
    pub fn alter_client_quotas(
        &mut self,
        entity: &QuotaEntity,
        changes: &[(String, Option<f64>)],
        apply: Apply,
    ) -> Result<(), ClientError> {
        let request = admin::alter_client_quotas(entity, changes, apply);
        Ok(self.request(Target::Controller, &request, |view| {
            admin::altered_client_quotas(&view, entity)
        })??)
    }

    /// Moves the starts of logs, each at its leader; where they are now, partition by partition.
    ///
    /// # Errors
    /// No leader or no usable answer; what was refused is in the result.
    #[allow(clippy::type_complexity)]
    pub fn delete_records(
        &mut self,
        wanted: &[(PartitionName, TrimTo)],
    ) -> Result<Vec<(PartitionName, Result<Offset, BrokerError>)>, ClientError> {
        let mut by_leader: BTreeMap<NodeId, Vec<(PartitionName, TrimTo)>> = BTreeMap::new();
        for (partition, to) in wanted {
            let leader = self.retrying(|client| client.leader_of(partition))?;
            let row = (partition.clone(), *to);
            by_leader.entry(leader).or_default().push(row);
        }
        let mut outcomes = Vec::new();
        for (leader, part) in by_leader {
            let request = admin::delete_records(&part, self.options.request_timeout);
            let target = Target::Node(leader);
            outcomes.extend(self.request(target, &request, |view| admin::deleted_records(&view))?);
        }
        Ok(outcomes)
    }

    /// The cluster's brokers, fenced ones included, as one of them knows them.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn describe_cluster(&mut self) -> Result<ClusterDescription, ClientError> {
        let version = self.version(Target::Any, ApiKey::DescribeCluster)?;
        let request = admin::describe_cluster(version);
        Ok(self.request_up_to(Target::Any, &request, version, |view| {
            admin::described_cluster(&view)
        })??)
    }

    /// The log folders of one broker, and what they hold of these partitions or of all.
    ///
    /// # Errors
    /// No usable answer; what is wrong with one folder is in the result.
    pub fn describe_log_dirs(
        &mut self,
        node: NodeId,
        partitions: Option<&[PartitionName]>,
    ) -> Result<Vec<Result<LogDir, BrokerError>>, ClientError> {
        let request = admin::describe_log_dirs(partitions);
        Ok(self.request(Target::Node(node), &request, |view| {
            admin::described_log_dirs(&view)
        })??)
    }
}

/// A broker's own configuration is asked and changed at that broker; all else at anyone.
fn config_target(resource: ConfigResource, name: &str) -> Target {
    match (resource, name.parse()) {
        (ConfigResource::Broker | ConfigResource::BrokerLogger, Ok(id)) => Target::Node(NodeId(id)),
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
