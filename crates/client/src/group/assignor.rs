//! How the leader of a classic group divides partitions among members: cooperative-sticky, range
//! and round robin, under Kafka's names and with its results as far as balance and stickiness go.
//! Cooperative: a partition changes hands in two rounds, so that nobody reads what another still
//! reads.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use klamm_model::{PartitionIndex, TopicName};

use super::protocol::Subscription;
use crate::metadata::PartitionName;

/// A way of dividing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Balanced, with as few moves as that allows; members keep reading during a round (KIP-429).
    CooperativeSticky,
    /// Of each topic neighbouring partitions for each member.
    Range,
    /// One partition for each member in turn.
    RoundRobin,
}

/// What each member gets.
pub type Division = BTreeMap<String, Vec<PartitionName>>;

/// A member as the leader is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name of a static member; range and round robin put them first and in its order.
    pub instance: Option<String>,
    /// What it said.
    pub subscription: Subscription,
}

impl Assignor {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::CooperativeSticky, Self::Range, Self::RoundRobin];
        all.into_iter().find(|it| it.name() == name)
    }

    /// True if members keep reading during a round.
    #[must_use]
    pub const fn is_cooperative(self) -> bool {
        matches!(self, Self::CooperativeSticky)
    }

    /// What a member of this generation adds to its subscription: cooperative members tell the
    /// generation, for leaders that read subscriptions of version 1 only.
    #[must_use]
    pub fn user_data(self, generation: i32) -> Option<Bytes> {
        self.is_cooperative()
            .then(|| Bytes::copy_from_slice(&generation.to_be_bytes()))
    }

    /// Divides the partitions of topics, given by their number, among the members that want them.
    /// Every member is in the result.
    #[must_use]
    pub fn divide(
        self,
        members: &BTreeMap<String, Candidate>,
        topics: &BTreeMap<TopicName, i32>,
    ) -> Division {
        match self {
            Self::CooperativeSticky => cooperative_sticky(members, topics),
            Self::Range => range(members, topics),
            Self::RoundRobin => round_robin(members, topics),
        }
    }
}

fn partitions_of(topic: &TopicName, count: i32) -> impl Iterator<Item = PartitionName> + '_ {
    (0..count).map(|index| PartitionName::new(topic.clone(), PartitionIndex(index)))
}

fn empty(members: &BTreeMap<String, Candidate>) -> Division {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}

/// Ids of members in Kafka's order: static ones by their names, then the others by their ids.
fn in_order(members: &BTreeMap<String, Candidate>) -> Vec<&String> {
    let mut ids: Vec<&String> = members.keys().collect();
    ids.sort_by_key(|id| {
        let instance = &members[*id].instance;
        (instance.is_none(), instance.clone(), (*id).clone())
    });
    ids
}

fn range(members: &BTreeMap<String, Candidate>, topics: &BTreeMap<TopicName, i32>) -> Division {
    let mut division = empty(members);
    let order = in_order(members);
    for (topic, &count) in topics {
        let wants = |id: &&String| members[*id].subscription.topics.contains(topic);
        let readers: Vec<&String> = order.iter().copied().filter(wants).collect();
        let mut partitions = partitions_of(topic, count);
        let (each, more) = match readers.len() {
            0 => continue,
            readers => (count as usize / readers, count as usize % readers),
        };
        for (at, id) in readers.into_iter().enumerate() {
            let part = partitions.by_ref().take(each + usize::from(at < more));
            division.entry(id.clone()).or_default().extend(part);
        }
    }
    division
}

fn round_robin(
    members: &BTreeMap<String, Candidate>,
    topics: &BTreeMap<TopicName, i32>,
) -> Division {
    let mut division = empty(members);
    let order = in_order(members);
    let mut at = 0;
    for (topic, &count) in topics {
        let wants = |id: &String| members[id].subscription.topics.contains(topic);
        if !order.iter().any(|id| wants(id)) {
            continue;
        }
        for partition in partitions_of(topic, count) {
            while !wants(order[at % order.len()]) {
                at += 1;
            }
            let id = order[at % order.len()].clone();
            division.entry(id).or_default().push(partition);
            at += 1;
        }
    }
    division
}

/// The round in which a member was given what it says it owns.
fn generation_of(subscription: &Subscription) -> i32 {
    let told = subscription.user_data.as_deref();
    let told = told.and_then(|bytes| bytes.first_chunk().copied().map(i32::from_be_bytes));
    subscription.generation.or(told).unwrap_or(-1)
}

/// Who owns what: of several who say so, the one of the latest round; of two in one round nobody.
fn owners(
    members: &BTreeMap<String, Candidate>,
    all: &BTreeSet<PartitionName>,
) -> BTreeMap<PartitionName, String> {
    let mut claims: BTreeMap<&PartitionName, (i32, Option<&String>)> = BTreeMap::new();
    for (id, candidate) in members {
        let generation = generation_of(&candidate.subscription);
        for partition in &candidate.subscription.owned {
            let wanted = candidate.subscription.topics.contains(&partition.topic);
            if !wanted || !all.contains(partition) {
                continue;
            }
            match claims.get_mut(partition) {
                Some((latest, _)) if *latest > generation => {}
                Some((latest, owner)) if *latest == generation => *owner = None,
                _ => {
                    claims.insert(partition, (generation, Some(id)));
                }
            }
        }
    }
    let claims = claims.into_iter();
    claims
        .filter_map(|(partition, (_, owner))| Some((partition.clone(), owner?.clone())))
        .collect()
}

fn cooperative_sticky(
    members: &BTreeMap<String, Candidate>,
    topics: &BTreeMap<TopicName, i32>,
) -> Division {
    let wanted: BTreeSet<&TopicName> = members
        .values()
        .flat_map(|it| &it.subscription.topics)
        .collect();
    let all: BTreeSet<PartitionName> = topics
        .iter()
        .filter(|(topic, _)| wanted.contains(topic))
        .flat_map(|(topic, &count)| partitions_of(topic, count))
        .collect();
    let owners = owners(members, &all);
    let mut division = Sticky::new(members, &owners).divide(&all);
    // What another member still reads is given to nobody else in this round.
    for (id, partitions) in &mut division {
        partitions.retain(|partition| {
            let read_by = |other: &String| members[other].subscription.owned.contains(partition);
            read_by(id) || !members.keys().any(|other| other != id && read_by(other))
        });
        partitions.sort_unstable();
    }
    division
}

/// A division on its way to balance.
struct Sticky<'m> {
    wants: BTreeMap<&'m String, BTreeSet<&'m TopicName>>,
    division: BTreeMap<&'m String, BTreeSet<PartitionName>>,
}

impl<'m> Sticky<'m> {
    fn new(
        members: &'m BTreeMap<String, Candidate>,
        owners: &BTreeMap<PartitionName, String>,
    ) -> Self {
        let wants = members
            .iter()
            .map(|(id, it)| (id, it.subscription.topics.iter().collect()))
            .collect();
        let mut division: BTreeMap<&String, BTreeSet<PartitionName>> =
            members.keys().map(|id| (id, BTreeSet::new())).collect();
        for (partition, owner) in owners {
            if let Some(part) = division.get_mut(owner) {
                part.insert(partition.clone());
            }
        }
        Self { wants, division }
    }

    fn divide(mut self, all: &BTreeSet<PartitionName>) -> Division {
        let mut open: Vec<PartitionName> = {
            let taken: BTreeSet<&PartitionName> = self.division.values().flatten().collect();
            all.iter()
                .filter(|it| !taken.contains(it))
                .cloned()
                .collect()
        };
        // What few can read is given away first.
        open.sort_by_key(|partition| (self.readers(&partition.topic), partition.clone()));
        for partition in open {
            let readers = self
                .division
                .iter()
                .filter(|(id, _)| self.wants[*id].contains(&partition.topic));
            let least = readers
                .min_by_key(|(id, part)| (part.len(), **id))
                .map(|(id, _)| *id);
            if let Some(part) = least.and_then(|id| self.division.get_mut(id)) {
                part.insert(partition);
            }
        }
        while self.move_one() {}
        let division = self.division.into_iter();
        division
            .map(|(id, part)| (id.clone(), part.into_iter().collect()))
            .collect()
    }

    fn readers(&self, topic: &TopicName) -> usize {
        let readers = self.wants.values().filter(|wants| wants.contains(topic));
        readers.count()
    }

    /// Moves one partition from a member to one with at least two fewer; false where none can be
    /// moved so. Each move makes the sum of squares smaller, so moves come to an end.
    fn move_one(&mut self) -> bool {
        let mut by_load: Vec<(usize, &String)> = self
            .division
            .iter()
            .map(|(id, part)| (part.len(), *id))
            .collect();
        by_load.sort_unstable();
        for &(load, rich) in by_load.iter().rev() {
            let poor = by_load.iter().take_while(|(less, _)| less + 1 < load);
            for &(_, poor) in poor {
                let part = &self.division[rich];
                let wants = &self.wants[poor];
                let Some(partition) = part.iter().rev().find(|it| wants.contains(&it.topic)) else {
                    continue;
                };
                let partition = partition.clone();
                if let Some(part) = self.division.get_mut(rich) {
                    part.remove(&partition);
                }
                if let Some(part) = self.division.get_mut(poor) {
                    part.insert(partition);
                }
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::Random;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).expect("legal")
    }

    fn member(topics: &[&str]) -> Candidate {
        Candidate {
            instance: None,
            subscription: Subscription {
                topics: topics.iter().map(|name| topic(name)).collect(),
                ..Subscription::default()
            },
        }
    }

    fn indexes(division: &Division, id: &str) -> Vec<i32> {
        division[id].iter().map(|it| it.index.0).collect()
    }

    /// What members would own after a division in which all let go of what they lost.
    fn owning(members: &mut BTreeMap<String, Candidate>, division: &Division, generation: i32) {
        for (id, candidate) in members {
            candidate.subscription.owned = division[id].clone();
            candidate.subscription.generation = Some(generation);
        }
    }

    #[test]
    fn range_gives_neighbours_and_round_robin_one_in_turn() {
        let members = BTreeMap::from([
            ("a".to_owned(), member(&["t"])),
            ("b".to_owned(), member(&["t"])),
        ]);
        let topics = BTreeMap::from([(topic("t"), 5)]);
        let division = Assignor::Range.divide(&members, &topics);
        assert_eq!(indexes(&division, "a"), [0, 1, 2]);
        assert_eq!(indexes(&division, "b"), [3, 4]);
        let division = Assignor::RoundRobin.divide(&members, &topics);
        assert_eq!(indexes(&division, "a"), [0, 2, 4]);
        assert_eq!(indexes(&division, "b"), [1, 3]);
    }

    #[test]
    fn a_partition_changes_hands_in_two_rounds() {
        let mut members = BTreeMap::from([("a".to_owned(), member(&["t"]))]);
        let topics = BTreeMap::from([(topic("t"), 4)]);
        let division = Assignor::CooperativeSticky.divide(&members, &topics);
        assert_eq!(indexes(&division, "a"), [0, 1, 2, 3]);
        owning(&mut members, &division, 1);
        members.insert("b".to_owned(), member(&["t"]));
        let first = Assignor::CooperativeSticky.divide(&members, &topics);
        assert_eq!(indexes(&first, "a"), [0, 1]);
        assert_eq!(indexes(&first, "b"), [0; 0], "a still reads them");
        owning(&mut members, &first, 2);
        let second = Assignor::CooperativeSticky.divide(&members, &topics);
        assert_eq!(indexes(&second, "a"), [0, 1]);
        assert_eq!(indexes(&second, "b"), [2, 3]);
    }

    #[test]
    fn of_two_who_say_that_they_own_a_partition_the_later_round_counts() {
        let own = |generation, user_data: Option<i32>| {
            let mut member = member(&["t"]);
            member.subscription.owned = vec![PartitionName::new(topic("t"), PartitionIndex(0))];
            member.subscription.generation = generation;
            let data = user_data.and_then(|it| Assignor::CooperativeSticky.user_data(it));
            member.subscription.user_data = data;
            member
        };
        let topics = BTreeMap::from([(topic("t"), 1)]);
        let divided = |a, b| {
            let members = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
            let division = Assignor::CooperativeSticky.divide(&members, &topics);
            (division["a"].len(), division["b"].len())
        };
        assert_eq!(divided(own(Some(3), None), own(Some(4), None)), (0, 1));
        assert_eq!(divided(own(None, Some(5)), own(Some(4), None)), (1, 0));
    }

    #[test]
    fn divisions_are_complete_balanced_and_settle() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let names = ["t", "u", "v"];
            let topics: BTreeMap<TopicName, i32> = names
                .iter()
                .map(|name| (topic(name), random.below(9) as i32))
                .collect();
            let alike = random.below(2) == 0;
            let mut members = BTreeMap::new();
            let mut generation = 0;
            for step in 0..8 {
                if members.len() > 1 && random.below(3) == 0 {
                    let at = random.below(members.len() as u64) as usize;
                    let id: Option<String> = members.keys().nth(at).cloned();
                    members.remove(&id.expect("there"));
                } else {
                    let wants: Vec<&str> = if alike {
                        names.to_vec()
                    } else {
                        names.into_iter().filter(|_| random.below(2) == 0).collect()
                    };
                    members.insert(format!("m{step}"), member(&wants));
                }
                let mut rounds = 0;
                let division = loop {
                    let division = Assignor::CooperativeSticky.divide(&members, &topics);
                    let before = members.clone();
                    let mut taken = BTreeSet::new();
                    for (id, part) in &division {
                        for partition in part {
                            let wants = &members[id].subscription.topics;
                            assert!(wants.contains(&partition.topic), "seed {seed}");
                            assert!(taken.insert(partition.clone()), "seed {seed}");
                            let others = before.iter().filter(|(other, _)| *other != id);
                            for (_, other) in others {
                                let own = before[id].subscription.owned.contains(partition);
                                let theirs = other.subscription.owned.contains(partition);
                                assert!(own || !theirs, "seed {seed}: read by two");
                            }
                        }
                    }
                    generation += 1;
                    owning(&mut members, &division, generation);
                    rounds += 1;
                    assert!(rounds < 5, "seed {seed}: it settles");
                    if division
                        .iter()
                        .all(|(id, part)| before[id].subscription.owned == *part)
                    {
                        break division;
                    }
                };
                let given: usize = division.values().map(Vec::len).sum();
                let wanted = topics.iter().filter(|(topic, _)| {
                    members
                        .values()
                        .any(|it| it.subscription.topics.contains(topic))
                });
                let wanted: i32 = wanted.map(|(_, count)| *count).sum();
                assert_eq!(given, wanted as usize, "seed {seed}: all are given");
                if alike {
                    let loads = division.values().map(Vec::len);
                    let (most, least) = (loads.clone().max(), loads.min());
                    assert!(most <= least.map(|it| it + 1), "seed {seed}: {division:?}");
                }
            }
        }
    }
}
