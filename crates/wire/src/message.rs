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
        let schema = self.schema();
        if !schema.versions.contains(version) {
            return Err(EncodeError::Version { version });
        }
        let mut writer = Writer::counting(version, schema.is_flexible(version));
        self.write(&mut writer);
        writer.finish()
    }

    /// Appends the body to `out`.
    ///
    /// # Errors
    /// The message cannot be expressed in `version`; `out` is as before.
    fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), EncodeError> {
        let length = self.encoded_len(version)?;
        out.reserve(length);
        let mut writer = Writer::to_buffer(out, version, self.schema().is_flexible(version));
        self.write(&mut writer);
        let written = writer.finish()?;
        assert_eq!(written, length, "counting and writing agree");
        Ok(())
    }

    /// Appends the body to `out`, record bytes by reference.
    ///
    /// # Errors
    /// The message cannot be expressed in `version`; `out` is as before.
    fn encode_gathered(&self, version: i16, out: &mut Gather) -> Result<(), EncodeError> {
        let length = self.encoded_len(version)?;
        let mut writer = Writer::to_gather(out, version, self.schema().is_flexible(version));
        self.write(&mut writer);
        let written = writer.finish()?;
        assert_eq!(written, length, "counting and writing agree");
        Ok(())
    }
}

/// A request and the view of its response: what a client needs to send one and read the other.
pub trait Request: Message {
    /// View of the response.
    type ResponseView<'r>: MessageView<'r>;
}
