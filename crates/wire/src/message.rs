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
        gather(self, version, out, &[], |_, _| Ok(()))
    }
}

fn flexible(schema: &Schema, version: i16) -> Result<bool, EncodeError> {
    if !schema.versions.contains(version) {
        return Err(EncodeError::Version { version });
    }
    Ok(schema.is_flexible(version))
}

/// Appends `head` and the body behind it, in one walk; `complete` then fills in what the head says
/// of the length of both. Where either fails, `out` is as before.
pub(crate) fn gather(
    message: &dyn Message,
    version: i16,
    out: &mut Gather,
    head: &[u8],
    complete: impl FnOnce(&mut [u8], usize) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let flexible = flexible(message.schema(), version)?;
    let mark = out.mark();
    out.extend_from_slice(head);
    let mut writer = Writer::to_gather(out, version, flexible);
    message.write(&mut writer);
    let completed = writer.finish().and_then(|body| {
        let length = out.len_since(mark);
        assert_eq!(head.len() + body, length, "all bytes are counted");
        complete(out.head_since(mark), length)
    });
    if completed.is_err() {
        out.truncate(mark);
    }
    completed
}

/// A request and the view of its response: what a client needs to send one and read the other.
pub trait Request: Message {
    /// View of the response.
    type ResponseView<'r>: MessageView<'r>;
}
