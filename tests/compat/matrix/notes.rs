//! What a broker noted of one group in `__consumer_offsets`, read as Kafka's record schemas have it
//! by code of the tests' own. One partition has all of a group, so the order of its records is the
//! order in which the broker decided: who owned what when an offset was committed is read here, and
//! no clock of a client's is asked.

use std::collections::BTreeSet;

use crate::harness::{Client, ReadRecord, Topic};

/// A record of the group, as far as the topic of the test is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// An offset that was committed, with the text that came with it: the committing member's name.
    Offset {
        partition: i32,
        offset: i64,
        by: String,
    },
    /// A round of the classic protocol.
    Round { generation: i32, owners: Vec<Owner> },
    /// The group, as one of the classic protocol, is no more.
    NoRound,
    /// The epoch of a group of the consumer protocol.
    Epoch(i32),
    /// A member of the consumer protocol, and its static name or else its client's.
    Said { member: String, owner: String },
    /// What a member of the consumer protocol has, those included that it is to give up.
    Has {
        member: String,
        epoch: i32,
        partitions: BTreeSet<i32>,
    },
    /// A member of the consumer protocol has nothing any more.
    HasNothing { member: String },
}

/// A member of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its static name, or else its client's: whoever comes back under a static name is shown as the
    /// client of the one that had it first, as Kafka does.
    pub(crate) name: String,
    pub(crate) partitions: BTreeSet<i32>,
}

/// All that the broker noted of a group, in order.
pub(crate) fn read(client: &mut Client, group: &str, topic: &Topic) -> Vec<Note> {
    let kept = Topic {
        name: "__consumer_offsets".to_owned(),
        id: [0; 16],
    };
    let parts = (0..).take_while(|&part| client.list_offset(&kept, part, -2).error_code == 0);
    let parts: Vec<i32> = parts.collect();
    let records = parts
        .into_iter()
        .flat_map(|part| client.read_all(&kept, part));
    records
        .filter_map(|record| note(&record, group, topic))
        .collect()
}

fn note(read: &ReadRecord, group: &str, topic: &Topic) -> Option<Note> {
    let mut key = Fields::new(read.record.key.as_deref()?);
    let kind = key.int16();
    let value = read.record.value.as_deref();
    if !matches!(kind, 0..=3 | 5 | 8) || key.text() != group {
        return None;
    }
    Some(match (kind, value) {
        (0 | 1, Some(value)) => {
            if key.text() != topic.name {
                return None;
            }
            let partition = key.int32();
            let mut value = Fields::new(value);
            let version = value.int16();
            value.compact = version >= 4;
            let offset = value.int64();
            if version >= 3 {
                value.int32();
            }
            // confluent-kafka counts the zero byte behind the text as part of it.
            let by = value.text().trim_end_matches('\0').to_owned();
            Note::Offset {
                partition,
                offset,
                by,
            }
        }
        (2, Some(value)) => round(value, topic),
        (2, None) => Note::NoRound,
        (3, Some(value)) => Note::Epoch(Fields::of_consumers(value).int32()),
        (5, Some(value)) => {
            let mut value = Fields::of_consumers(value);
            let (instance, _rack) = (value.nullable_text(), value.nullable_text());
            let client = value.text();
            Note::Said {
                member: key.text(),
                owner: instance.unwrap_or(client),
            }
        }
        (8, Some(value)) => {
            let mut value = Fields::of_consumers(value);
            let epoch = value.int32();
            let (_previous, _state) = (value.int32(), value.int8());
            let mut partitions = value.dated(topic);
            partitions.extend(value.dated(topic));
            Note::Has {
                member: key.text(),
                epoch,
                partitions,
            }
        }
        (8, None) => Note::HasNothing { member: key.text() },
        _ => return None,
    })
}

/// `GroupMetadataValue`.
fn round(value: &[u8], topic: &Topic) -> Note {
    let mut value = Fields::new(value);
    let version = value.int16();
    value.compact = version >= 4;
    let _protocol_type = value.text();
    let generation = value.int32();
    let (_protocol, _leader) = (value.nullable_text(), value.nullable_text());
    if version >= 2 {
        value.int64();
    }
    let mut owners = Vec::new();
    for _ in 0..value.count() {
        let _member = value.text();
        let instance = match version {
            3.. => value.nullable_text(),
            _ => None,
        };
        let (client, _host) = (value.text(), value.text());
        if version >= 1 {
            value.int32();
        }
        value.int32();
        let _subscription = value.bytes();
        let partitions = assignment(value.bytes(), topic);
        value.tagged();
        let name = instance.unwrap_or(client);
        owners.push(Owner { name, partitions });
    }
    Note::Round { generation, owners }
}

/// `ConsumerProtocolAssignment`, which the group's leader wrote.
fn assignment(bytes: &[u8], topic: &Topic) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    if bytes.is_empty() {
        return found;
    }
    let mut fields = Fields::new(bytes);
    fields.int16();
    for _ in 0..fields.count() {
        let is_ours = fields.text() == topic.name;
        for _ in 0..fields.count() {
            let partition = fields.int32();
            if is_ours {
                found.insert(partition);
            }
        }
    }
    found
}

/// Fields one after the other; panics where they end early, as a broken record deserves here.
struct Fields<'a> {
    left: &'a [u8],
    /// Lengths are variable numbers, one more than themselves, and tagged fields follow.
    compact: bool,
}

impl<'a> Fields<'a> {
    fn new(left: &'a [u8]) -> Self {
        let compact = false;
        Self { left, compact }
    }

    /// A value of a group of the consumer protocol, behind its version.
    fn of_consumers(value: &'a [u8]) -> Self {
        let mut fields = Self::new(value);
        assert_eq!(fields.int16(), 0, "version of {value:02x?}");
        fields.compact = true;
        fields
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, left) = self.left.split_at(count);
        self.left = left;
        taken
    }

    fn int8(&mut self) -> i8 {
        self.take(1)[0] as i8
    }

    fn int16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().expect("2 bytes"))
    }

    fn int32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    fn int64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("8 bytes"))
    }

    fn varint(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    /// A length that may be null, with two bytes where it is not a variable number.
    fn short_length(&mut self) -> Option<usize> {
        match self.compact {
            true => self.varint().checked_sub(1),
            false => self.int16().try_into().ok(),
        }
    }

    /// The same with four bytes.
    fn length(&mut self) -> Option<usize> {
        match self.compact {
            true => self.varint().checked_sub(1),
            false => self.int32().try_into().ok(),
        }
    }

    fn count(&mut self) -> usize {
        self.length().unwrap_or(0)
    }

    fn nullable_text(&mut self) -> Option<String> {
        let length = self.short_length()?;
        let bytes = self.take(length).to_vec();
        Some(String::from_utf8(bytes).expect("text"))
    }

    fn text(&mut self) -> String {
        self.nullable_text().expect("a text that is not null")
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.count();
        self.take(length)
    }

    fn tagged(&mut self) {
        if !self.compact {
            return;
        }
        for _ in 0..self.varint() {
            let (_tag, size) = (self.varint(), self.varint());
            self.take(size);
        }
    }

    /// Partitions by the ids of their topics.
    fn dated(&mut self, topic: &Topic) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        for _ in 0..self.count() {
            let is_ours = self.take(16) == topic.id;
            for _ in 0..self.count() {
                let partition = self.int32();
                if is_ours {
                    found.insert(partition);
                }
            }
            self.tagged();
        }
        found
    }
}
