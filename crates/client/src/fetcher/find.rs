//! Finding offsets for partitions that shall be read from their start, their end or a time: one
//! ListOffsets in flight per leader.

use std::collections::BTreeMap;

use klamm_model::{Instant, NodeId, Retriability};

use super::{Action, FetchError, Fetcher, Position, Stage};
use crate::append::Refused;
use crate::error::BrokerError;
use crate::metadata::{Cluster, PartitionName};
use crate::offsets::{ListedOffset, OffsetSpec};

impl Fetcher {
    pub(super) fn next_search(&mut self, now: Instant, cluster: &Cluster) -> Option<Action> {
        let mut by_node: BTreeMap<NodeId, Vec<(PartitionName, OffsetSpec)>> = BTreeMap::new();
        for (partition, assigned) in &self.assigned {
            let Position::ToFind(spec) = assigned.position else {
                continue;
            };
            if !assigned.is_ready(now) {
                continue;
            }
            match cluster.leader(partition) {
                Some(node) if self.finding.contains_key(&node) => {}
                Some(node) => {
                    let row = (partition.clone(), spec);
                    by_node.entry(node).or_default().push(row);
                }
                None => {
                    self.doubtful.insert(partition.topic.clone());
                }
            }
        }
        let (node, wanted) = by_node.pop_first()?;
        let mut asked = Vec::new();
        for (partition, _) in &wanted {
            let assigned = self.assigned.get_mut(partition).expect("just seen");
            assigned.stage = Stage::Busy;
            asked.push((partition.clone(), assigned.generation));
        }
        self.finding.insert(node, asked);
        Some(Action::FindOffsets { node, wanted })
    }

    /// The offsets that a leader found.
    pub fn on_offsets(
        &mut self,
        now: Instant,
        node: NodeId,
        outcomes: Vec<(PartitionName, Result<ListedOffset, BrokerError>)>,
        cluster: &mut Cluster,
    ) {
        let asked = self.finding.remove(&node).unwrap_or_default();
        let mut outcomes: BTreeMap<_, _> = outcomes.into_iter().collect();
        for (partition, generation) in asked {
            if !self.is_current(&partition, generation) {
                continue;
            }
            match outcomes.remove(&partition) {
                Some(Ok(found)) => self.on_found(now, &partition, found),
                Some(Err(error)) if error.code.retriability() == Retriability::Retriable => {
                    let refused = Refused {
                        error,
                        log_start: None,
                        leader: None,
                    };
                    self.doubt(now, &partition, refused, cluster);
                }
                Some(Err(error)) => self.fail(partition, FetchError::Refused(error)),
                None => self.wait(now, &partition),
            }
        }
    }

    fn on_found(&mut self, now: Instant, partition: &PartitionName, found: ListedOffset) {
        let assigned = self.assigned.get_mut(partition).expect("just seen");
        match (found.offset, assigned.position) {
            (Some(offset), _) => {
                assigned.position = Position::At(offset);
                assigned.failures = 0;
                assigned.stage = Stage::Idle;
            }
            // No record is as late: what comes next is.
            (None, Position::ToFind(OffsetSpec::AtTime(_))) => {
                assigned.position = Position::ToFind(OffsetSpec::Latest);
                assigned.stage = Stage::Idle;
            }
            (None, _) => self.wait(now, partition),
        }
    }

    /// The search at this node will not be answered.
    pub fn on_offsets_lost(&mut self, now: Instant, node: NodeId) {
        for (partition, generation) in self.finding.remove(&node).unwrap_or_default() {
            if self.is_current(&partition, generation) {
                self.doubtful.insert(partition.topic.clone());
                self.wait(now, &partition);
            }
        }
    }
}
