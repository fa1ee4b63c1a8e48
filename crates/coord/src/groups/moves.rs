//! Which partitions changed hands between two rounds, read from the assignments of consumers: a
//! version, then topics with their partitions. How much of it is read and named has ceilings.

use std::collections::{BTreeMap, BTreeSet};

use klamm_model::PartitionIndex;

use super::names::MemberId;
use crate::limits::{MOVES_BYTES_MAX, MOVES_NAMED_MAX};
use crate::record::{Reader, RecordError};

/// What changed hands. Members in the order of their ids, partitions in theirs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Moves {
    /// The members that have more or less than before; those that are gone, too.
    pub members: Vec<MemberMoves>,
    /// Partitions given, named or not.
    pub gained: usize,
    /// Partitions taken, named or not.
    pub lost: usize,
    /// How many of both are not named.
    pub unnamed: usize,
}

/// What one member was given and lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMoves {
    /// Who.
    pub member: MemberId,
    /// What it has now and had not before.
    pub gained: Vec<NamedPartitions>,
    /// What it had before and has not now.
    pub lost: Vec<NamedPartitions>,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPartitions {
    /// The topic, as the client names it.
    pub topic: String,
    /// Its partitions, rising.
    pub partitions: Vec<PartitionIndex>,
}

/// Longest id of a member that is named; whoever has a longer one is counted.
const MEMBER_NAMED_BYTES_MAX: usize = 512;

/// Longest name of a topic.
const TOPIC_BYTES_MAX: usize = 249;

/// What a member has.
type Assigned<'a> = BTreeSet<(&'a str, i32)>;

impl Moves {
    /// What changed hands between two rounds: each member with its assignment. `None` where an
    /// assignment cannot be read, or where they are larger than what is read for this.
    pub(crate) fn between(before: Vec<(&str, &[u8])>, now: Vec<(&str, &[u8])>) -> Option<Self> {
        let all = before.iter().chain(&now);
        let bytes: usize = all.map(|(_, assignment)| assignment.len()).sum();
        if bytes > MOVES_BYTES_MAX {
            return None;
        }
        let mut members: BTreeMap<&str, [Assigned<'_>; 2]> = BTreeMap::new();
        for (place, round) in [before, now].into_iter().enumerate() {
            for (member, assignment) in round {
                members.entry(member).or_default()[place] = read(assignment).ok()?;
            }
        }
        let mut moves = Self::default();
        for (member, [before, now]) in &members {
            moves.add(member, before, now);
        }
        Some(moves)
    }

    fn add(&mut self, member: &str, before: &Assigned<'_>, now: &Assigned<'_>) {
        let named_before = self.gained + self.lost - self.unnamed;
        let room = if member.len() <= MEMBER_NAMED_BYTES_MAX {
            MOVES_NAMED_MAX.saturating_sub(named_before)
        } else {
            0
        };
        let (gained, gained_count) = named(now.difference(before), room);
        let room = room.saturating_sub(gained_count);
        let (lost, lost_count) = named(before.difference(now), room);
        if gained_count + lost_count == 0 {
            return;
        }
        self.gained += gained_count;
        self.lost += lost_count;
        let names = |all: &[NamedPartitions]| -> usize {
            all.iter().map(|topic| topic.partitions.len()).sum()
        };
        self.unnamed += gained_count + lost_count - names(&gained) - names(&lost);
        if !gained.is_empty() || !lost.is_empty() {
            self.members.push(MemberMoves {
                member: MemberId::new(member),
                gained,
                lost,
            });
        }
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let topics = |all: &[NamedPartitions]| -> usize {
            let one = |topic: &NamedPartitions| 64 + topic.topic.len() + topic.partitions.len() * 4;
            all.iter().map(one).sum()
        };
        let members = self.members.iter();
        let members = members.map(|member| {
            80 + member.member.as_str().len() + topics(&member.gained) + topics(&member.lost)
        });
        members.sum::<usize>() + 64
    }
}

/// The first of them by topic, and how many there are.
fn named<'a>(
    partitions: impl Iterator<Item = &'a (&'a str, i32)>,
    room: usize,
) -> (Vec<NamedPartitions>, usize) {
    let mut topics: Vec<NamedPartitions> = Vec::new();
    let mut count = 0;
    for &(topic, partition) in partitions {
        count += 1;
        if count > room {
            continue;
        }
        let partition = PartitionIndex(partition);
        match topics.last_mut() {
            Some(last) if last.topic == topic => last.partitions.push(partition),
            _ => topics.push(NamedPartitions {
                topic: topic.to_owned(),
                partitions: vec![partition],
            }),
        }
    }
    (topics, count)
}

/// Reads an assignment of consumers. One of no bytes is of nothing.
fn read(assignment: &[u8]) -> Result<Assigned<'_>, RecordError> {
    let mut assigned = Assigned::new();
    if assignment.is_empty() {
        return Ok(assigned);
    }
    let mut reader = Reader::new(assignment);
    if reader.int16()? < 0 {
        return Err(RecordError::BadLength);
    }
    for _ in 0..reader.count()? {
        let topic = reader.text()?;
        if topic.len() > TOPIC_BYTES_MAX {
            return Err(RecordError::BadText);
        }
        for _ in 0..reader.count()? {
            assigned.insert((topic, reader.int32()?));
        }
    }
    Ok(assigned)
}

/// What an assignment of consumers names, up to a number of partitions, and how many there are.
/// `None` where it cannot be read.
pub(super) fn partitions_in(
    assignment: &[u8],
    room: usize,
) -> Option<(Vec<NamedPartitions>, usize)> {
    if assignment.len() > MOVES_BYTES_MAX {
        return None;
    }
    let assigned = read(assignment).ok()?;
    Some(named(assigned.iter(), room))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An assignment as consumers write it.
    pub(in crate::groups) fn assignment(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for (topic, partitions) in topics {
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend(topic.as_bytes());
            bytes.extend((partitions.len() as i32).to_be_bytes());
            for partition in *partitions {
                bytes.extend(partition.to_be_bytes());
            }
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes
    }

    #[test]
    fn what_a_member_had_and_has_not_is_lost_and_the_other_way_round() {
        let both = assignment(&[("a", &[0, 1]), ("b", &[0])]);
        let (one, other) = (
            assignment(&[("a", &[0])]),
            assignment(&[("a", &[1]), ("b", &[0])]),
        );
        let before = vec![("gone", &both[..]), ("stays", &[][..])];
        let now = vec![("new", &one[..]), ("stays", &other[..])];
        let moves = Moves::between(before, now).expect("readable");
        assert_eq!((moves.gained, moves.lost, moves.unnamed), (3, 3, 0));
        let names: Vec<&str> = moves
            .members
            .iter()
            .map(|one| one.member.as_str())
            .collect();
        assert_eq!(names, ["gone", "new", "stays"]);
        assert_eq!(moves.members[0].lost.len(), 2, "two topics");
        assert!(moves.members[0].gained.is_empty());
        assert_eq!(moves.members[2].gained[0].partitions, [PartitionIndex(1)]);
    }

    #[test]
    fn nothing_moves_where_all_is_as_before() {
        let all = assignment(&[("a", &[0, 1])]);
        let moves = Moves::between(vec![("m", &all[..])], vec![("m", &all[..])]);
        assert_eq!(moves, Some(Moves::default()));
    }

    #[test]
    fn what_is_too_much_to_name_is_counted() {
        let many: Vec<i32> = (0..1_000).collect();
        let all = assignment(&[("a", &many)]);
        let moves = Moves::between(vec![], vec![("m", &all[..])]).expect("readable");
        assert_eq!(
            (moves.gained, moves.unnamed),
            (1_000, 1_000 - MOVES_NAMED_MAX)
        );
        assert_eq!(moves.members[0].gained[0].partitions.len(), MOVES_NAMED_MAX);
    }

    #[test]
    fn a_member_with_a_very_long_id_is_counted_and_not_named() {
        let (all, long) = (
            assignment(&[("a", &[0])]),
            "m".repeat(MEMBER_NAMED_BYTES_MAX + 1),
        );
        let moves = Moves::between(vec![], vec![(&long, &all[..])]).expect("readable");
        assert_eq!(
            (moves.gained, moves.unnamed, moves.members.len()),
            (1, 1, 0)
        );
    }

    #[test]
    fn what_cannot_be_read_moves_nothing_and_takes_nothing() {
        for bad in [
            &[0_u8][..],
            &[0, 0, 0x7f, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0, 0, 0, 0],
        ] {
            assert_eq!(Moves::between(vec![], vec![("m", bad)]), None, "{bad:?}");
        }
        let long = "t".repeat(TOPIC_BYTES_MAX + 1);
        let long = assignment(&[(&long, &[0])]);
        assert_eq!(Moves::between(vec![], vec![("m", &long)]), None);
        let large = vec![0; MOVES_BYTES_MAX + 1];
        assert_eq!(Moves::between(vec![], vec![("m", &large)]), None);
    }
}
