//! `OffsetCommitKey` and `OffsetCommitValue`: the offset of one partition. A value is written as
//! version 4, with the topic's id; as version 1 where the request says how long it is kept.

use bytes::Bytes;
use klamm_model::{LeaderEpoch, Offset, TopicId, WallTime};

use super::{Reader, RecordError, Writer};

/// The key of an offset, version 1.
pub(crate) fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    let mut writer = Writer::new(1, group.len() + topic.len() + 8);
    writer.text(group);
    writer.text(topic);
    writer.int32(partition);
    writer.finish()
}

/// The offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetValue<'a> {
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) metadata: &'a str,
    pub(crate) committed: WallTime,
    /// Until when it is kept, where a client said so.
    pub(crate) expires: Option<WallTime>,
    /// Zero where it is not known.
    pub(crate) topic_id: TopicId,
}

impl<'a> OffsetValue<'a> {
    pub(crate) fn decode(value: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(value);
        let version = reader.int16()?;
        if !(0..=4).contains(&version) {
            return Err(RecordError::UnknownVersion { version });
        }
        if version == 4 {
            reader.flexible();
        }
        let offset = Offset(reader.int64()?);
        let leader_epoch = if version >= 3 { reader.int32()? } else { -1 };
        let metadata = reader.text()?;
        let committed = WallTime(reader.int64()?);
        let expires = if version == 1 { reader.int64()? } else { -1 };
        let mut topic_id = TopicId::ZERO;
        reader.tagged(|tag, bytes| {
            if tag == 0 {
                topic_id = TopicId(Reader::new(bytes).uuid()?);
            }
            Ok(())
        })?;
        Ok(Self {
            offset,
            leader_epoch: (leader_epoch >= 0).then_some(LeaderEpoch(leader_epoch)),
            metadata,
            committed,
            expires: (expires >= 0).then_some(WallTime(expires)),
            topic_id,
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        if let Some(expires) = self.expires {
            let mut writer = Writer::new(1, self.metadata.len() + 26);
            writer.int64(self.offset.0);
            writer.text(self.metadata);
            writer.int64(self.committed.0);
            writer.int64(expires.0);
            return writer.finish();
        }
        let mut writer = Writer::new(4, self.metadata.len() + 44);
        writer.int64(self.offset.0);
        writer.int32(self.leader_epoch.map_or(-1, |epoch| epoch.0));
        writer.compact_text(self.metadata);
        writer.int64(self.committed.0);
        if self.topic_id.is_zero() {
            writer.varint(0);
        } else {
            writer.varint(1);
            writer.varint(0);
            writer.varint(16);
            writer.raw(&self.topic_id.0);
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: OffsetValue<'_> = OffsetValue {
        offset: Offset(7),
        leader_epoch: Some(LeaderEpoch(3)),
        metadata: "é",
        committed: WallTime(1_000),
        expires: None,
        topic_id: TopicId([9; 16]),
    };

    #[test]
    fn a_value_is_written_as_kafka_4_3_writes_it() {
        let mut bytes = vec![0, 4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3, 3, 0xc3, 0xa9];
        bytes.extend([0, 0, 0, 0, 0, 0, 3, 0xe8, 1, 0, 16]);
        bytes.extend([9; 16]);
        assert_eq!(VALUE.encode(), bytes);
        assert_eq!(
            offset_key("g", "t", 5)[..],
            [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 5]
        );
    }

    #[test]
    fn every_version_is_read() {
        for (version, fields) in [
            (0_u8, [1_u8, 0, 0]),
            (1, [1, 1, 0]),
            (2, [1, 0, 0]),
            (3, [1, 0, 1]),
        ] {
            let mut bytes = vec![0, version, 0, 0, 0, 0, 0, 0, 0, 7];
            if fields[2] == 1 {
                bytes.extend([0, 0, 0, 3]);
            }
            bytes.extend([0, 2, 0xc3, 0xa9, 0, 0, 0, 0, 0, 0, 3, 0xe8]);
            if fields[1] == 1 {
                bytes.extend([0, 0, 0, 0, 0, 0, 7, 0xd0]);
            }
            let expected = OffsetValue {
                leader_epoch: (version == 3).then_some(LeaderEpoch(3)),
                expires: (version == 1).then_some(WallTime(2_000)),
                topic_id: TopicId::ZERO,
                ..VALUE
            };
            assert_eq!(
                OffsetValue::decode(&bytes),
                Ok(expected),
                "version {version}"
            );
            for end in 0..bytes.len() {
                assert!(OffsetValue::decode(&bytes[..end]).is_err(), "{end}");
            }
        }
        assert_eq!(OffsetValue::decode(&VALUE.encode()), Ok(VALUE));
        assert_eq!(
            OffsetValue::decode(&[0, 5]),
            Err(RecordError::UnknownVersion { version: 5 })
        );
    }

    #[test]
    fn a_value_that_expires_keeps_its_time() {
        let value = OffsetValue {
            expires: Some(WallTime(5)),
            leader_epoch: None,
            topic_id: TopicId::ZERO,
            ..VALUE
        };
        assert_eq!(OffsetValue::decode(&value.encode()), Ok(value));
    }
}
