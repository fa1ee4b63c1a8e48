//! Incremental fetch sessions (KIP-227) as the consumer keeps them, one for each leader: what the
//! leader remembers of this reader, so that a request names only what changed.

use std::collections::BTreeMap;

use klamm_model::{LeaderEpoch, Offset, TopicId};

use crate::fetch::{FetchPlan, FetchRow, Forgotten};
use crate::metadata::PartitionName;

/// What the leader was told of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    topic_id: TopicId,
    position: Offset,
    leader_epoch: LeaderEpoch,
}

impl Told {
    const fn of(row: &FetchRow) -> Self {
        Self {
            topic_id: row.topic_id,
            position: row.position,
            leader_epoch: row.leader_epoch,
        }
    }
}

/// The session with one leader.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// Zero without a session.
    id: i32,
    /// Zero begins one: the request names all partitions.
    epoch: i32,
    told: BTreeMap<PartitionName, Told>,
}

/// Epoch of a request that wants no session.
const NO_SESSION: i32 = -1;

impl FetchSession {
    /// What to send so that the leader reads exactly `wanted`.
    pub(super) fn plan(&mut self, wanted: Vec<FetchRow>, sessions: bool) -> FetchPlan {
        if !sessions {
            return FetchPlan {
                session_id: 0,
                session_epoch: NO_SESSION,
                rows: wanted,
                forgotten: Vec::new(),
            };
        }
        // A session names topics by id or by name all its life.
        let by_id = |id: TopicId| !id.is_zero();
        let told_by_id = self.told.values().all(|told| by_id(told.topic_id));
        let wanted_by_id = wanted.iter().all(|row| by_id(row.topic_id));
        if told_by_id != wanted_by_id {
            self.begin_anew();
        }
        let told: BTreeMap<PartitionName, Told> = wanted
            .iter()
            .map(|row| (row.partition.clone(), Told::of(row)))
            .collect();
        let before = std::mem::replace(&mut self.told, told);
        let (session_id, session_epoch) = (self.id, self.epoch);
        if session_epoch == 0 {
            return FetchPlan {
                session_id,
                session_epoch,
                rows: wanted,
                forgotten: Vec::new(),
            };
        }
        // A topic that was made anew is another one: its old partitions are named by the old id.
        let gone = before.iter().filter(|(partition, old)| {
            let now = self.told.get(*partition);
            now.is_none_or(|now| now.topic_id != old.topic_id)
        });
        let forgotten = gone.map(|(partition, old)| Forgotten {
            partition: partition.clone(),
            topic_id: old.topic_id,
        });
        let forgotten = forgotten.collect();
        let mut rows = wanted;
        rows.retain(|row| before.get(&row.partition) != Some(&Told::of(row)));
        FetchPlan {
            session_id,
            session_epoch,
            rows,
            forgotten,
        }
    }

    /// True if an answer to the last plan leaves out partitions without news.
    pub(super) const fn is_incremental(&self) -> bool {
        self.epoch > 0
    }

    /// The leader answered under this id; zero where it gives no session.
    pub(super) fn on_answer(&mut self, id: i32) {
        if id == 0 {
            self.id = 0;
            self.begin_anew();
        } else if id == self.id && self.epoch > 0 {
            self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        } else {
            self.id = id;
            self.epoch = 1;
        }
    }

    /// What the leader remembers is in doubt: the next request ends the session and begins another.
    pub(super) fn begin_anew(&mut self) {
        self.epoch = 0;
        self.told.clear();
    }

    /// The leader knows no such session.
    pub(super) fn forget(&mut self) {
        self.id = 0;
        self.begin_anew();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::{PartitionIndex, TopicName};

    fn row(index: i32, position: i64) -> FetchRow {
        let topic = TopicName::new("t").expect("legal");
        FetchRow {
            partition: PartitionName::new(topic, PartitionIndex(index)),
            topic_id: TopicId([7; 16]),
            position: Offset(position),
            leader_epoch: LeaderEpoch(3),
        }
    }

    /// Session id and epoch, partitions named, partitions forgotten.
    fn shown(plan: &FetchPlan) -> (i32, i32, Vec<(i32, i64)>, Vec<i32>) {
        let rows = plan.rows.iter();
        let forgotten = plan.forgotten.iter();
        (
            plan.session_id,
            plan.session_epoch,
            rows.map(|it| (it.partition.index.0, it.position.0))
                .collect(),
            forgotten.map(|it| it.partition.index.0).collect(),
        )
    }

    #[test]
    fn after_the_first_answer_only_what_changed_is_named() {
        let mut session = FetchSession::default();
        let plan = session.plan(vec![row(0, 0), row(1, 0)], true);
        assert_eq!(shown(&plan), (0, 0, vec![(0, 0), (1, 0)], vec![]));
        session.on_answer(77);
        let plan = session.plan(vec![row(0, 5), row(1, 0)], true);
        assert_eq!(shown(&plan), (77, 1, vec![(0, 5)], vec![]));
        session.on_answer(77);
        // One is still being read, another is new.
        let plan = session.plan(vec![row(1, 0), row(2, 9)], true);
        assert_eq!(shown(&plan), (77, 2, vec![(2, 9)], vec![0]));
        session.on_answer(77);
        let plan = session.plan(vec![row(0, 5), row(1, 0), row(2, 9)], true);
        assert_eq!(shown(&plan), (77, 3, vec![(0, 5)], vec![]));
    }

    #[test]
    fn a_leader_without_room_is_asked_for_all_each_time() {
        let mut session = FetchSession::default();
        for _ in 0..3 {
            let plan = session.plan(vec![row(0, 0)], true);
            assert_eq!(shown(&plan), (0, 0, vec![(0, 0)], vec![]));
            session.on_answer(0);
            assert!(!session.is_incremental());
        }
    }

    #[test]
    fn a_lost_answer_ends_the_session_and_begins_another() {
        let mut session = FetchSession::default();
        session.plan(vec![row(0, 0)], true);
        session.on_answer(5);
        session.plan(vec![row(0, 1)], true);
        session.begin_anew();
        let plan = session.plan(vec![row(0, 1)], true);
        assert_eq!(shown(&plan), (5, 0, vec![(0, 1)], vec![]));
        session.on_answer(6);
        let plan = session.plan(vec![row(0, 1)], true);
        assert_eq!(shown(&plan), (6, 1, vec![], vec![]));
        session.forget();
        assert_eq!(shown(&session.plan(vec![row(0, 1)], true)).0, 0);
    }

    #[test]
    fn a_topic_made_anew_is_forgotten_by_its_old_id() {
        let mut session = FetchSession::default();
        session.plan(vec![row(0, 9)], true);
        session.on_answer(5);
        let mut again = row(0, 0);
        again.topic_id = TopicId([8; 16]);
        let plan = session.plan(vec![again.clone()], true);
        assert_eq!(plan.forgotten[0].topic_id, TopicId([7; 16]));
        assert_eq!(plan.rows, [again]);
    }

    #[test]
    fn a_topic_without_id_begins_a_session_by_name() {
        let mut session = FetchSession::default();
        session.plan(vec![row(0, 9)], true);
        session.on_answer(5);
        let mut nameless = row(1, 0);
        nameless.topic_id = TopicId::ZERO;
        let plan = session.plan(vec![row(0, 9), nameless], true);
        assert_eq!((plan.session_id, plan.session_epoch), (5, 0));
        assert_eq!(plan.rows.len(), 2);
    }

    #[test]
    fn who_wants_no_session_says_so() {
        let plan = FetchSession::default().plan(vec![row(0, 9)], false);
        assert_eq!(shown(&plan), (0, -1, vec![(0, 9)], vec![]));
    }
}
