//! What all messages share: their facts, and the entry points to parse and to encode them.

use bytes::BytesMut;

use crate::{
    ApiKey,
    array::Element,
    error::{DecodeError, EncodeError},
    reader::Reader,
    writer::{Gather, Writer},
};

/// Inclusive range of versions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VersionRange {
    /// Lowest version.
    pub first: i16,
    /// Highest version.
    pub last: i16,
}

impl VersionRange {
    /// True where `version` lies in the range.
    pub fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

/// Which half of an API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Client to broker.
    Request,
    /// Broker to client.
    Response,
}

/// Facts of one message.
#[derive(Debug)]
pub struct Schema {
    /// Key of the API.
    pub key: ApiKey,
    /// Request or response.
    pub direction: Direction,
    /// Versions that the tables hold.
    pub versions: VersionRange,
    /// First version with compact lengths and tagged fields.
    pub first_flexible: Option<i16>,
}

impl Schema {
    /// True where `version` is flexible.
    pub fn is_flexible(&self, version: i16) -> bool {
        self.first_flexible.is_some_and(|first| version >= first)
    }
}

/// Borrowed view of a whole body.
pub trait MessageView<'a>: Element<'a> {
    /// Facts of the message.
    fn schema() -> &'static Schema;

    /// Checks the whole body in one bounded walk and gives its view. Bytes behind the body are
    /// [`DecodeError::Trailing`].
    ///
    /// # Errors
    /// Any [`DecodeError`]; nothing has been allocated.
    fn parse(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        let (view, rest) = Self::parse_prefix(body, version)?;
        if rest.is_empty() {
            Ok(view)
        } else {
            Err(DecodeError::Trailing {
                remaining: rest.len(),
            })
        }
    }

    /// Like [`parse`](Self::parse), but gives back what follows the body; Kafka ignores it.
    ///
    /// # Errors
    /// Any [`DecodeError`] but `Trailing`; nothing has been allocated.
    fn parse_prefix(body: &'a [u8], version: i16) -> Result<(Self, &'a [u8]), DecodeError> {
        let schema = Self::schema();
        if !schema.versions.contains(version) {
            return Err(DecodeError::Version { version });
        }
        let mut reader = Reader::new(body, version, schema.is_flexible(version));
        let view = Self::read(&mut reader);
        match reader.failure() {
            Some(failure) => Err(failure),
            None => Ok((view, reader.rest())),
        }
    }
}

/// A message that can be encoded. Object-safe, so that shared code is compiled once.
pub trait Message {
    /// Facts of the message.
    fn schema(&self) -> &'static Schema;

    /// Writes the body in the writer's version; faults stay in the writer.
    fn write(&self, w: &mut Writer<'_>);

    /// Length of the body in bytes.
    ///
    /// # Errors
    /// The message cannot be expressed in `version`.
    fn encoded_len(&self, version: i16) -> Result<usize, EncodeError> {
        let mut writer = Writer::counting(version, flexible(self.schema(), version)?);
        self.write(&mut writer);
        writer.finish()
    }

    /// Appends the body to `out`.
    ///
    /// # Errors
    /// The message cannot be expressed in `version`; `out` is as before.
    fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), EncodeError> {
        let flexible = flexible(self.schema(), version)?;
        let start = out.len();
        let mut writer = Writer::to_buffer(out, version, flexible);
        self.write(&mut writer);
        let written = writer.finish();
        match written {
            Ok(length) => assert_eq!(start + length, out.len(), "all bytes are counted"),
            Err(_) => out.truncate(start),
        }
        written.map(drop)
    }

    /// Appends the body to `out`, record bytes by reference.
    ///
    /// # Errors
    /// The message cannot be expressed in `version`; `out` is as before.
    fn encode_gathered(&self, version: i16, out: &mut Gather) -> Result<(), EncodeError>
    where
        Self: Sized,
    {
        gather(self, version, out, |_| Ok(Head::default()))
    }
}

fn flexible(schema: &Schema, version: i16) -> Result<bool, EncodeError> {
    if !schema.versions.contains(version) {
        return Err(EncodeError::Version { version });
    }
    Ok(schema.is_flexible(version))
}

/// Counts, then appends `head` of the counted length, then the body. Pieces cannot be taken back,
/// hence the count before: it meets every fault.
pub(crate) fn gather(
    message: &dyn Message,
    version: i16,
    out: &mut Gather,
    head: impl FnOnce(usize) -> Result<Head, EncodeError>,
) -> Result<(), EncodeError> {
    let flexible = flexible(message.schema(), version)?;
    let mut counting = Writer::counting(version, flexible);
    message.write(&mut counting);
    let counted = counting.counted()?;
    let head = head(counted.length)?;
    out.reserve(head.as_bytes().len() + counted.length - counted.records);
    out.extend_from_slice(head.as_bytes());
    let mut writer = Writer::to_gather(out, version, flexible);
    message.write(&mut writer);
    assert_eq!(writer.counted(), Ok(counted), "counting and writing agree");
    Ok(())
}

/// Up to nine bytes in front of a body: size and header of a response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    bytes: [u8; 9],
    length: usize,
}

impl Head {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Size, correlation id and, in the flexible header, no tagged fields.
    pub(crate) fn of_response(size: [u8; 4], correlation_id: i32, header_length: usize) -> Self {
        let mut bytes = [0; 9];
        bytes[..4].copy_from_slice(&size);
        bytes[4..8].copy_from_slice(&correlation_id.to_be_bytes());
        Self {
            bytes,
            length: 4 + header_length,
        }
    }
}

/// A request and the view of its response: what a client needs to send one and read the other.
pub trait Request: Message {
    /// View of the response.
    type ResponseView<'r>: MessageView<'r>;
}
