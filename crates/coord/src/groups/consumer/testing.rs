//! For tests: topics that grow and go, words of scripts for the consumer protocol, and what must be
//! true of its groups after every input.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use klamm_model::{Instant, PartitionIndex, TopicId, TopicName};

use super::super::names::MemberId;
use super::api::TopicPartitions;
use super::group::{ConsumerGroup, MemberState};
use super::protocol::{Assignment, encode_assignment};
use super::view::{SeenTopic, TopicsView};
use crate::limits::SWEEP_PAUSE;
use crate::record::{
    CurrentValue, Dated, EpochValue, Part, Partitions, RegexValue, SaidValue, TargetEpochValue,
    decode_target,
};

/// A cluster's topics: name, id, partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct TestTopics(pub(in crate::groups) BTreeMap<String, (TopicId, u32)>);

impl TestTopics {
    /// Words such as `t:3`; the id follows from the name. `t:3@2` is another topic of that name.
    pub(in crate::groups) fn of(words: &[&str]) -> Self {
        let topics = words.iter().map(|word| {
            let (word, version) = word.split_once('@').unwrap_or((word, "1"));
            let (name, partitions) = word.split_once(':').expect("name:partitions");
            let id = Self::id(name, version.parse().expect("a number"));
            let partitions = partitions.parse().expect("a number");
            (name.to_owned(), (id, partitions))
        });
        Self(topics.collect())
    }

    /// The id of a topic, the how-manieth of its name.
    pub(in crate::groups) fn id(name: &str, version: u8) -> TopicId {
        let mut id = [0; 16];
        id[0] = version;
        for (at, byte) in name.bytes().take(15).enumerate() {
            id[at + 1] = byte;
        }
        TopicId(id)
    }

    /// Names of what is new, gone or another than before.
    pub(in crate::groups) fn changes(&self, before: &Self) -> Vec<TopicName> {
        let names: BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        let changed = names
            .into_iter()
            .filter(|name| self.0.get(*name) != before.0.get(*name));
        changed
            .map(|name| TopicName::new(name).expect("a name"))
            .collect()
    }

    fn seen(name: &str, (id, partitions): (TopicId, u32)) -> SeenTopic {
        let name = TopicName::new(name).expect("a name");
        SeenTopic {
            name,
            id,
            partitions,
        }
    }
}

impl TopicsView for TestTopics {
    fn by_name(&self, name: &str) -> Option<SeenTopic> {
        self.0.get(name).map(|topic| Self::seen(name, *topic))
    }

    fn by_id(&self, id: TopicId) -> Option<SeenTopic> {
        let mut topics = self.0.iter();
        let (name, topic) = topics.find(|(_, topic)| topic.0 == id)?;
        Some(Self::seen(name, *topic))
    }

    fn names_after(&self, after: Option<&str>, most: usize, each: &mut dyn FnMut(&TopicName)) {
        let names = self
            .0
            .keys()
            .filter(|name| after.is_none_or(|after| name.as_str() > after));
        for name in names.take(most) {
            each(&TopicName::new(name).expect("a name"));
        }
    }
}

/// What must be true of a group after every input.
pub(in crate::groups) fn check(id: &str, group: &ConsumerGroup, now: Instant) {
    let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let mut expressed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut statics = BTreeMap::new();
    for (member, kept) in &group.members {
        for (topic, partitions) in kept.has.assigned.iter().chain(&kept.has.revoking) {
            for partition in partitions.keys() {
                let other = owners.insert((*topic, *partition), member.as_str());
                assert_eq!(other, None, "G1: {id}: {topic:?}/{partition} has one owner");
            }
        }
        for name in &kept.said.topics {
            *named.entry(name).or_default() += 1;
        }
        if let Some(regex) = &kept.said.regex {
            *expressed.entry(regex).or_default() += 1;
        }
        if let Some(instance) = &kept.said.instance {
            let replaced = group.is_replaced(member, kept);
            if !replaced {
                let other = statics.insert(instance.clone(), member.clone());
                assert_eq!(other, None, "G8: {id}: {instance} is one member");
            }
        }
        let life = group.lives.get(member);
        let life = life.unwrap_or_else(|| panic!("{id}: {member} has no end"));
        // After a start it may be there, for a moment.
        assert!(
            !group.is_replaced(member, kept) || life.deadline <= now.plus(SWEEP_PAUSE),
            "G8: {id}: {member} is one too many"
        );
        assert_eq!(
            life.revoke_by.is_some(),
            kept.has.state == MemberState::Unrevoked
                && kept.has.epoch >= 0
                && kept.said.classic.is_none(),
            "G5: {id}: {member} lets go in time"
        );
        assert!(kept.has.epoch <= group.target_epoch(), "G3: {id}: {member}");
        assert_eq!(
            kept.has.revoking.is_empty(),
            kept.has.state != MemberState::Unrevoked || kept.has.epoch < 0,
            "{id}: {member}"
        );
    }
    assert_eq!(group.statics, statics, "{id}: G8");
    assert!(
        group
            .lives
            .keys()
            .all(|member| group.members.contains_key(member))
    );
    let held = group.owners.iter().flat_map(|(topic, of)| {
        let of = of.iter();
        of.map(|(partition, owner)| ((*topic, *partition), owner.as_str()))
    });
    assert!(held.eq(owners), "{id}: owners are indexed");
    let counted = group.named.iter().map(|(name, count)| (&**name, *count));
    assert!(counted.eq(named), "{id}: names are counted");
    let counted = group
        .expressed
        .iter()
        .map(|(name, count)| (&**name, *count));
    assert!(counted.eq(expressed), "{id}: expressions are counted");
    assert!(group.target_epoch() <= group.epoch(), "G3: {id}");
    let mut targets: BTreeSet<(TopicId, i32)> = BTreeSet::new();
    if group.target_epoch() == group.epoch() {
        let replaced = |member: &MemberId| {
            let kept = group.members.get(member);
            kept.is_some_and(|kept| group.is_replaced(member, kept))
        };
        let targets_of = group.targets.iter();
        for (_, target) in targets_of.filter(|(member, _)| !replaced(member)) {
            for (topic, partitions) in target {
                for partition in partitions {
                    assert!(
                        targets.insert((*topic, *partition)),
                        "{id}: one shall have it"
                    );
                }
            }
        }
    }
    assert_eq!(group.bytes, group.bytes_held(), "{id}: bytes are counted");
}

fn name_of(topic: TopicId) -> String {
    let name: Vec<u8> = topic.0[1..]
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    let name = String::from_utf8_lossy(&name).into_owned();
    match topic.0[0] {
        1 => name,
        version => format!("{name}@{version}"),
    }
}

pub(in crate::groups) fn show_partitions(topics: &[TopicPartitions]) -> String {
    let topics = topics.iter().map(|topic| {
        let partitions: Vec<String> = topic.partitions.iter().map(|at| at.0.to_string()).collect();
        format!("{}:{}", name_of(topic.topic), partitions.join(","))
    });
    let topics: Vec<String> = topics.collect();
    if topics.is_empty() {
        "nothing".to_owned()
    } else {
        topics.join(" ")
    }
}

/// Words such as `t:0,1/u:2`; `-` is nothing.
pub(in crate::groups) fn owned(word: &str) -> Vec<TopicPartitions> {
    let parts = word.split('/').filter(|part| *part != "-");
    parts
        .map(|part| {
            let (name, partitions) = part.split_once(':').expect("topic:partitions");
            let word = format!("{name}:1");
            let word = match name.split_once('@') {
                Some((name, version)) => format!("{name}:1@{version}"),
                None => word,
            };
            let topics = TestTopics::of(&[&word]);
            let (topic, _) = topics.0.into_values().next().expect("there is one");
            let partitions = partitions.split(',');
            let partitions = partitions.map(|at| PartitionIndex(at.parse().expect("a number")));
            TopicPartitions {
                topic,
                partitions: partitions.collect(),
            }
        })
        .collect()
}

/// What consumers of the classic protocol are given; others' words as they are.
pub(in crate::groups) fn show_assignment(bytes: &[u8]) -> String {
    let given = Assignment::decode(bytes).ok();
    let Some(given) = given.filter(|_| bytes.first() == Some(&0)) else {
        return String::from_utf8_lossy(bytes).into_owned();
    };
    let given = given.topics.into_iter().map(|(name, of)| {
        let of: Vec<String> = of.iter().map(i32::to_string).collect();
        format!("{name}:{}", of.join(","))
    });
    given.collect::<Vec<_>>().join(" ")
}

/// Words such as `t/0/1`, and behind `!` the assignor's own data.
pub(in crate::groups) fn assignment(word: &str) -> Bytes {
    let (word, data) = match word.split_once('!') {
        Some((word, data)) => (word, Some(data)),
        None => (word, None),
    };
    let mut words = word.split('/');
    let name = words.next().expect("a name");
    let partitions = words.map(|at| at.parse().expect("a number"));
    let bytes = encode_assignment(1, &[(name, partitions.collect())]);
    let Some(data) = data else {
        return bytes;
    };
    let mut bytes = bytes[..bytes.len() - 4].to_vec();
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data.as_bytes());
    bytes.into()
}

fn show_dated(dated: &Dated) -> String {
    let topics = dated.iter().map(|(topic, of)| {
        let partitions: Vec<String> = of
            .iter()
            .map(|(at, since)| format!("{at}@{since}"))
            .collect();
        format!("{}:{}", name_of(*topic), partitions.join(","))
    });
    let topics: Vec<String> = topics.collect();
    if topics.is_empty() {
        "nothing".to_owned()
    } else {
        topics.join(" ")
    }
}

fn show_target(target: &Partitions) -> String {
    let topics: Vec<TopicPartitions> = target
        .iter()
        .map(|(topic, of)| TopicPartitions {
            topic: *topic,
            partitions: of.iter().copied().map(PartitionIndex).collect(),
        })
        .collect();
    show_partitions(&topics)
}

/// A record as scripts show it; `short` makes ids of members short.
pub(in crate::groups) fn show_record(
    group: &str,
    part: Part<'_>,
    value: Option<&[u8]>,
    mut short: impl FnMut(&str) -> String,
) -> String {
    let mut out = match value {
        Some(_) => "+ ".to_owned(),
        None => "- ".to_owned(),
    };
    let what = match part {
        Part::Epoch => format!("epoch of {group}"),
        Part::Topics => format!("topics of {group}"),
        Part::Member(id) => format!("member {group} {}", short(id)),
        Part::TargetEpoch => format!("targets of {group}"),
        Part::Target(id) => format!("target {group} {}", short(id)),
        Part::Current(id) => format!("current {group} {}", short(id)),
        Part::Regex(regex) => format!("regex {group} {regex}"),
    };
    out.push_str(&what);
    let Some(value) = value else {
        return out;
    };
    let ok = "of this program";
    match part {
        Part::Epoch => write!(out, " is {}", EpochValue::decode(value).expect(ok).epoch),
        Part::Topics => write!(out, ""),
        Part::TargetEpoch => {
            let value = TargetEpochValue::decode(value).expect(ok);
            write!(out, " are of {}", value.epoch)
        }
        Part::Member(_) => {
            let said = SaidValue::decode(value).expect(ok);
            let instance = said.instance.map(|name| format!(" as {name}"));
            let regex = said.regex.map(|regex| format!(" and {regex}"));
            let classic = said.classic.as_ref().map(|_| " classic");
            write!(
                out,
                "{} reads {}{}{}",
                instance.unwrap_or_default(),
                said.topics.join(","),
                regex.unwrap_or_default(),
                classic.unwrap_or_default(),
            )
        }
        Part::Target(_) => write!(out, " is {}", show_target(&decode_target(value).expect(ok))),
        Part::Current(_) => {
            let value = CurrentValue::decode(value).expect(ok);
            let has = show_dated(&value.assigned);
            let revoking = show_dated(&value.revoking);
            write!(
                out,
                " in {} after {} state {} has {has} revokes {revoking}",
                value.epoch, value.previous_epoch, value.state
            )
        }
        Part::Regex(_) => {
            let value = RegexValue::decode(value).expect(ok);
            write!(out, " is {}", value.topics.join(","))
        }
    }
    .expect("to a string");
    out
}
