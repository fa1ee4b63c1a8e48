//! `GroupMetadataKey` and `GroupMetadataValue`: one round of a group of the classic protocol, its
//! members and what each was given. Written as version 3, as Kafka 4.3 does.

use bytes::Bytes;
use klamm_model::WallTime;

use super::{Reader, RecordError, Writer};

/// The key of a group, version 2.
pub(crate) fn group_key(group: &str) -> Bytes {
    let mut writer = Writer::new(2, group.len() + 2);
    writer.text(group);
    writer.finish()
}

/// One round of a group, but for its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupValue<'a> {
    /// Empty where nobody ever joined.
    pub(crate) protocol_type: &'a str,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<&'a str>,
    pub(crate) leader: Option<&'a str>,
    /// Since when it is in this state, where it is known.
    pub(crate) since: Option<WallTime>,
}

/// One member of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberValue<'a> {
    pub(crate) member: &'a str,
    pub(crate) instance: Option<&'a str>,
    pub(crate) client_id: &'a str,
    pub(crate) client_host: &'a str,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: &'a [u8],
    pub(crate) assignment: &'a [u8],
}

/// Reads the members of a round one after the other.
pub(crate) struct MembersOf<'a> {
    reader: Reader<'a>,
    version: i16,
    left: usize,
}

impl<'a> GroupValue<'a> {
    /// Reads the head of a value, and makes ready to read its members.
    pub(crate) fn decode(value: &'a [u8]) -> Result<(Self, MembersOf<'a>), RecordError> {
        let mut reader = Reader::new(value);
        let version = reader.int16()?;
        if !(0..=4).contains(&version) {
            return Err(RecordError::UnknownVersion { version });
        }
        if version == 4 {
            reader.flexible();
        }
        let protocol_type = reader.text()?;
        let generation = reader.int32()?;
        let protocol = reader.nullable_text()?;
        let leader = reader.nullable_text()?;
        let since = if version >= 2 { reader.int64()? } else { -1 };
        let left = reader.count()?;
        let head = Self {
            protocol_type,
            generation,
            protocol,
            leader,
            since: (since >= 0).then_some(WallTime(since)),
        };
        let members = MembersOf {
            reader,
            version,
            left,
        };
        Ok((head, members))
    }

    pub(crate) fn encode<'m>(
        &self,
        members: impl ExactSizeIterator<Item = MemberValue<'m>> + Clone,
    ) -> Bytes {
        let texts = [Some(self.protocol_type), self.protocol, self.leader];
        let head: usize = texts.iter().flatten().map(|text| text.len()).sum();
        let bodies: usize = members.clone().map(|member| member.size()).sum();
        let mut writer = Writer::new(3, head + bodies + 22);
        writer.text(self.protocol_type);
        writer.int32(self.generation);
        writer.nullable_text(self.protocol);
        writer.nullable_text(self.leader);
        writer.int64(self.since.map_or(-1, |since| since.0));
        writer.int32(i32::try_from(members.len()).unwrap_or(i32::MAX));
        for member in members {
            writer.text(member.member);
            writer.nullable_text(member.instance);
            writer.text(member.client_id);
            writer.text(member.client_host);
            writer.int32(member.rebalance_timeout_ms);
            writer.int32(member.session_timeout_ms);
            writer.bytes(member.subscription);
            writer.bytes(member.assignment);
        }
        writer.finish()
    }
}

impl MemberValue<'_> {
    fn size(&self) -> usize {
        let texts = [
            self.member,
            self.instance.unwrap_or(""),
            self.client_id,
            self.client_host,
        ];
        let texts: usize = texts.iter().map(|text| text.len() + 2).sum();
        texts + self.subscription.len() + self.assignment.len() + 16
    }
}

impl<'a> MembersOf<'a> {
    /// Makes ready to read one member, at a place that [`MembersOf::left`] told.
    pub(crate) fn at(value: &'a [u8], left: usize) -> Result<Self, RecordError> {
        let version = Reader::new(value).int16()?;
        let start = value.len().checked_sub(left).ok_or(RecordError::TooShort)?;
        let mut reader = Reader::new(&value[start..]);
        if version == 4 {
            reader.flexible();
        }
        Ok(Self {
            reader,
            version,
            left: 1,
        })
    }

    /// The place of the next member: how many bytes are left of the value.
    pub(crate) const fn left(&self) -> usize {
        self.reader.left()
    }

    /// The next member; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<MemberValue<'a>>, RecordError> {
        let Some(left) = self.left.checked_sub(1) else {
            self.reader.tagged(|_, _| Ok(()))?;
            return Ok(None);
        };
        self.left = left;
        let (reader, version) = (&mut self.reader, self.version);
        let member = reader.text()?;
        let instance = if version >= 3 {
            reader.nullable_text()?
        } else {
            None
        };
        let client_id = reader.text()?;
        let client_host = reader.text()?;
        let rebalance = if version >= 1 { reader.int32()? } else { -1 };
        let session_timeout_ms = reader.int32()?;
        let subscription = reader.bytes()?;
        let assignment = reader.bytes()?;
        reader.tagged(|_, _| Ok(()))?;
        Ok(Some(MemberValue {
            member,
            instance,
            client_id,
            client_host,
            // Version 0 knows one timeout for both.
            rebalance_timeout_ms: if rebalance == -1 {
                session_timeout_ms
            } else {
                rebalance
            },
            session_timeout_ms,
            subscription,
            assignment,
        }))
    }
}
