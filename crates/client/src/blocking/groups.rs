//! Administrative calls about groups: each goes to the group's coordinator, which is found first,
//! and again while the coordinator is another, is not there, or reads its log.

use std::collections::BTreeMap;

use klamm_model::{ErrorCode, NodeId};
use klamm_wire::{ApiKey, Request};

use super::{Client, ClientError, Target, read};
use crate::admin::{self, DescribedGroup, GroupOutcomes, LeavingMember, ListedGroup};
use crate::error::BrokerError;
use crate::group::offsets::{self, CommittedOffset, Committer, Outcomes};
use crate::metadata::PartitionName;

/// The first version of LeaveGroup that can name members of others.
const REMOVE_VERSION_MIN: i16 = 3;

impl Client {
    /// The coordinators of these groups, as many in one request as the broker's version allows.
    ///
    /// # Errors
    /// Any [`ClientError`]; also where the coordinator of one group is not there in time.
    pub fn find_coordinators(
        &mut self,
        groups: &[&str],
    ) -> Result<BTreeMap<String, NodeId>, ClientError> {
        self.retrying(|client| client.find_coordinators_once(groups))
    }

    fn find_coordinators_once(
        &mut self,
        groups: &[&str],
    ) -> Result<BTreeMap<String, NodeId>, ClientError> {
        let version = self.version(Target::Any, ApiKey::FindCoordinator)?;
        let batch = if version < 4 { 1 } else { groups.len().max(1) };
        let mut found = BTreeMap::new();
        for part in groups.chunks(batch) {
            let request = admin::find_coordinators(part, version);
            let answers = self.request_up_to(Target::Any, &request, version, |view| {
                admin::found_coordinators(&view, part, version)
            })?;
            for answer in answers {
                let (group, node) = answer?;
                found.insert(group, node);
            }
        }
        let known = |node: &NodeId| self.cluster.broker(*node).is_some();
        if !found.values().all(known) {
            self.refresh(Some(&[]))?;
        }
        match groups.iter().find(|name| !found.contains_key(**name)) {
            None => Ok(found),
            Some(name) => Err(ClientError::Missing {
                key: ApiKey::FindCoordinator,
                subject: format!("group {name}"),
            }),
        }
    }

    /// Asks the coordinator of one group; finds it anew and asks again while the error may pass.
    fn at_coordinator<T>(
        &mut self,
        group: &str,
        mut ask: impl FnMut(&mut Self, NodeId) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.retrying(|client| {
            let found = client.find_coordinators_once(&[group])?;
            let node = found.into_values().next();
            ask(client, node.expect("one for each group"))
        })
    }

    /// Asks the coordinator of each group about it with one request for all groups of a
    /// coordinator, until every group is answered with something but an error that may pass.
    fn at_coordinators<Q: Request, T>(
        &mut self,
        groups: &[&str],
        request: impl Fn(&[&str]) -> Q,
        answers: impl Fn(Q::ResponseView<'_>, NodeId) -> Vec<(String, Result<T, BrokerError>)>,
    ) -> Result<BTreeMap<String, Result<T, BrokerError>>, ClientError> {
        let mut settled: BTreeMap<String, Result<T, BrokerError>> = BTreeMap::new();
        self.retrying(|client| {
            let open = groups.iter().filter(|name| !settled.contains_key(**name));
            let open: Vec<&str> = open.copied().collect();
            let mut by_node: BTreeMap<NodeId, Vec<&str>> = BTreeMap::new();
            let found = client.find_coordinators_once(&open)?;
            for name in open {
                by_node.entry(found[name]).or_default().push(name);
            }
            let mut passing = None;
            for (node, part) in by_node {
                let response = client.call(Target::Node(node), &request(&part))?;
                let view = read::<Q::ResponseView<'_>>(&response)?;
                for (name, answer) in answers(view, node) {
                    match answer {
                        Err(error) if error.is_retriable() => passing = Some(error),
                        answer => {
                            settled.insert(name, answer);
                        }
                    }
                }
            }
            passing.map_or(Ok(()), |error| Err(error.into()))
        })?;
        match groups.iter().find(|name| !settled.contains_key(**name)) {
            None => Ok(settled),
            Some(name) => Err(ClientError::Missing {
                key: request(&[]).schema().key,
                subject: format!("group {name}"),
            }),
        }
    }

    /// The groups of all brokers in the order of their names; states and types as Kafka writes
    /// them, none for all.
    ///
    /// # Errors
    /// Any [`ClientError`]; also where one broker does not answer, because its groups would be
    /// missing.
    pub fn list_groups(
        &mut self,
        states: &[String],
        types: &[String],
    ) -> Result<Vec<ListedGroup>, ClientError> {
        self.refresh(Some(&[]))?;
        let nodes: Vec<NodeId> = self.cluster.brokers().map(|broker| broker.id).collect();
        let request = admin::list_groups(states, types);
        let mut groups = Vec::new();
        for node in nodes {
            let listed = self.retrying(|client| {
                let view =
                    |view: klamm_wire::list_groups::ResponseView<'_>| admin::listed_groups(&view);
                Ok(client.request(Target::Node(node), &request, view)??)
            })?;
            groups.extend(listed);
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// Groups of either protocol with their members, in the order asked for. One that does not
    /// exist is `GROUP_ID_NOT_FOUND`, whatever the broker's version.
    ///
    /// # Errors
    /// No usable answer; refusals are in the result, group by group.
    pub fn describe_groups(
        &mut self,
        groups: &[&str],
    ) -> Result<Vec<Result<DescribedGroup, BrokerError>>, ClientError> {
        let served = self.served(Target::Any)?;
        let mut described = BTreeMap::new();
        if served.range(ApiKey::ConsumerGroupDescribe).is_some() {
            described =
                self.at_coordinators(groups, admin::describe_consumer_groups, |view, node| {
                    admin::described_consumer_groups(&view, node)
                })?;
            // Classic groups are not found by it.
            described.retain(|_, answer| answer.is_ok());
        }
        let classic = groups.iter().filter(|name| !described.contains_key(**name));
        let classic: Vec<&str> = classic.copied().collect();
        if !classic.is_empty() {
            let rest = self.at_coordinators(&classic, admin::describe_groups, |view, node| {
                admin::described_groups(&view, node)
            })?;
            described.extend(rest);
        }
        let outcomes = groups.iter().map(|name| match &described[*name] {
            Ok(group) if group.state == "Dead" => Err(BrokerError::new(
                ErrorCode::GroupIdNotFound,
                format!("group {name}"),
            )),
            outcome => outcome.clone(),
        });
        Ok(outcomes.collect())
    }

    /// The offsets that a group keeps of these partitions, or all of them.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn list_group_offsets(
        &mut self,
        group: &str,
        partitions: Option<&[PartitionName]>,
    ) -> Result<BTreeMap<PartitionName, CommittedOffset>, ClientError> {
        self.at_coordinator(group, |client, node| {
            let target = Target::Node(node);
            let version = client.version(target, ApiKey::OffsetFetch)?;
            let version = version.min(offsets::FETCH_VERSION_MAX);
            let request = offsets::fetch(group, &Committer::nobody(), partitions, version);
            let fetched = client.request_up_to(target, &request, version, |view| {
                offsets::fetched(&view, group)
            })??;
            let mut kept = BTreeMap::new();
            for (partition, outcome) in fetched {
                if let Some(offset) = outcome? {
                    kept.insert(partition, offset);
                }
            }
            Ok(kept)
        })
    }

    /// Sets offsets of a group that has no members, or makes the group with them.
    ///
    /// # Errors
    /// No usable answer; refusals are in the result, partition by partition. A group with members
    /// refuses with `UNKNOWN_MEMBER_ID`.
    pub fn alter_group_offsets(
        &mut self,
        group: &str,
        wanted: &BTreeMap<PartitionName, CommittedOffset>,
    ) -> Result<Outcomes<()>, ClientError> {
        let request = offsets::commit(group, &Committer::nobody(), wanted);
        self.at_coordinator(group, |client, node| {
            let last = offsets::COMMIT_VERSION_MAX;
            let outcomes = client.request_up_to(Target::Node(node), &request, last, |view| {
                offsets::committed(&view)
            })?;
            match offsets::not_coordinated(&outcomes) {
                Some(error) => Err(error.clone().into()),
                None => Ok(outcomes),
            }
        })
    }

    /// Makes a group forget offsets of partitions that none of its members reads.
    ///
    /// # Errors
    /// Any [`ClientError`]; refusals of single partitions are in the result.
    pub fn delete_group_offsets(
        &mut self,
        group: &str,
        partitions: &[PartitionName],
    ) -> Result<Outcomes<()>, ClientError> {
        let request = offsets::delete(group, partitions);
        self.at_coordinator(group, |client, node| {
            Ok(client.request(Target::Node(node), &request, |view| {
                offsets::deleted(&view, group)
            })??)
        })
    }

    /// Deletes groups that have no members, with their offsets; in the order asked for.
    ///
    /// # Errors
    /// No usable answer; refusals are in the result, group by group.
    pub fn delete_groups(&mut self, groups: &[&str]) -> Result<GroupOutcomes, ClientError> {
        let deleted = self.at_coordinators(groups, admin::delete_groups, |view, _| {
            admin::deleted_groups(&view)
        })?;
        let outcomes = groups.iter().map(|name| {
            let outcome = deleted[*name].clone();
            ((*name).to_owned(), outcome)
        });
        Ok(outcomes.collect())
    }

    /// Makes members of a classic group leave; others take over their work. The names of those that
    /// are gone.
    ///
    /// # Errors
    /// Any [`ClientError`]; refusals of single members are in the result.
    pub fn remove_group_members(
        &mut self,
        group: &str,
        members: &[LeavingMember],
        reason: &str,
    ) -> Result<Vec<Result<String, BrokerError>>, ClientError> {
        let request = admin::remove_members(group, members, reason);
        self.at_coordinator(group, |client, node| {
            let target = Target::Node(node);
            let version = client.version(target, ApiKey::LeaveGroup)?;
            if version < REMOVE_VERSION_MIN {
                let error = BrokerError {
                    code: ErrorCode::UnsupportedVersion,
                    subject: format!("group {group}"),
                    message: Some("the broker cannot remove members of others".to_owned()),
                };
                return Err(error.into());
            }
            Ok(client.request(target, &request, |view| {
                admin::removed_members(&view, group)
            })??)
        })
    }
}
