//! What consumers of the classic protocol say to each other inside of its messages: what they read
//! and hold (`ConsumerProtocolSubscription`), and what they get (`ConsumerProtocolAssignment`).

use bytes::{BufMut, Bytes, BytesMut};

use crate::record::{Reader, RecordError};

/// What a consumer says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Subscription<'a> {
    pub(super) version: i16,
    pub(super) topics: Vec<&'a str>,
    pub(super) owned: Vec<(&'a str, Vec<i32>)>,
    pub(super) rack: Option<&'a str>,
}

/// The last version whose fields are known; later ones begin alike.
const LAST_VERSION: i16 = 3;

impl<'a> Subscription<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.int16()?;
        if version < 0 {
            return Err(RecordError::UnknownVersion { version });
        }
        let mut said = Self {
            version: version.min(LAST_VERSION),
            ..Self::default()
        };
        for _ in 0..reader.count()? {
            said.topics.push(reader.text()?);
        }
        // Of its assignor's own: cooperative-sticky says in which generation it owned what.
        user_data(&mut reader)?;
        if version >= 1 {
            said.owned = parts(&mut reader)?;
        }
        if version >= 2 {
            reader.int32()?;
        }
        if version >= 3 {
            said.rack = reader.nullable_text()?;
        }
        Ok(said)
    }
}

/// Whether there are bytes of the consumers' own.
fn user_data(reader: &mut Reader<'_>) -> Result<bool, RecordError> {
    let length = reader.int32()?;
    let Ok(length) = usize::try_from(length) else {
        return Ok(false);
    };
    reader.take(length)?;
    Ok(length > 0)
}

fn parts<'a>(reader: &mut Reader<'a>) -> Result<Vec<(&'a str, Vec<i32>)>, RecordError> {
    let mut parts = Vec::new();
    for _ in 0..reader.count()? {
        let topic = reader.text()?;
        let mut partitions = Vec::new();
        for _ in 0..reader.count()? {
            partitions.push(reader.int32()?);
        }
        parts.push((topic, partitions));
    }
    Ok(parts)
}

/// What a consumer has been given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Assignment<'a> {
    pub(super) topics: Vec<(&'a str, Vec<i32>)>,
    /// The one who divided the work told it something besides, which nobody else can.
    pub(super) has_user_data: bool,
}

impl<'a> Assignment<'a> {
    /// Nothing at all is nothing, too: it has never asked.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(bytes);
        let version = reader.int16()?;
        if version < 0 {
            return Err(RecordError::UnknownVersion { version });
        }
        Ok(Self {
            topics: parts(&mut reader)?,
            has_user_data: reader.left() > 0 && user_data(&mut reader)?,
        })
    }
}

/// What a consumer gets, in the version that it speaks.
pub(super) fn encode_assignment(version: i16, topics: &[(&str, Vec<i32>)]) -> Bytes {
    let size: usize = topics
        .iter()
        .map(|(name, of)| 6 + name.len() + 4 * of.len())
        .sum();
    let mut bytes = BytesMut::with_capacity(size + 10);
    bytes.put_i16(version);
    bytes.put_i32(i32::try_from(topics.len()).unwrap_or(i32::MAX));
    for (name, partitions) in topics {
        bytes.put_i16(i16::try_from(name.len()).unwrap_or(i16::MAX));
        bytes.put_slice(name.as_bytes());
        bytes.put_i32(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
        for partition in partitions {
            bytes.put_i32(*partition);
        }
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_consumers_say_is_read_in_every_version() {
        let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 9];
        let first = Subscription::decode(&bytes).expect("version 0");
        assert_eq!(first.topics, ["t"]);
        bytes[1] = 3;
        bytes.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 5]);
        bytes.extend([0, 0, 0, 7, 0, 1, b'r']);
        let last = Subscription::decode(&bytes).expect("version 3");
        assert_eq!(last.owned, vec![("t", vec![5])]);
        assert_eq!(last.rack, Some("r"));
        for end in 0..bytes.len() {
            assert!(Subscription::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_consumers_get_is_read_as_it_was_written() {
        let given = [("a", vec![0, 2]), ("b", vec![])];
        let bytes = encode_assignment(1, &given);
        let mut read = Assignment {
            topics: given.to_vec(),
            has_user_data: false,
        };
        assert_eq!(Assignment::decode(&bytes), Ok(read.clone()));
        let (head, data) = bytes.split_at(bytes.len() - 4);
        assert_eq!(data, [0xff; 4], "no data of their own");
        assert_eq!(Assignment::decode(head), Ok(read.clone()));
        assert_eq!(Assignment::decode(&[]), Ok(Assignment::default()));
        assert!(Assignment::decode(&bytes[..9]).is_err());
        let with = [head, &[0, 0, 0, 1, 9]].concat();
        read.has_user_data = true;
        assert_eq!(Assignment::decode(&with), Ok(read));
        assert!(Assignment::decode(&with[..with.len() - 1]).is_err());
    }
}
