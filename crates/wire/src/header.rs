//! Request and response headers. By hand, because the client id keeps its classic length in the
//! flexible header and the header's version follows from key and version inside it.

use std::fmt;

use bytes::BytesMut;

use crate::{
    ApiKey,
    error::{DecodeError, EncodeError},
    frame::SIZE_PREFIX,
    message::{Direction, Message, gather},
    reader::Reader,
    writer::{Gather, Writer},
};

/// Longest client id that is served, in bytes. Kafka takes 32,767; but the name is repeated in logs
/// and quotas, and nobody needs more than this.
pub const CLIENT_ID_BYTES_MAX: usize = 4096;

/// Header of a request, borrowed from its frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestHeader<'a> {
    /// API asked for; it has messages in the tables.
    pub key: ApiKey,
    /// Version asked for; not checked, since ApiVersions answers unknown ones.
    pub version: i16,
    /// Chosen by the client, repeated in the response.
    pub correlation_id: i32,
    /// Name that the client gives itself.
    pub client_id: Option<&'a str>,
}

/// A request header that cannot be served: close the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderError {
    /// No message is known under this key: unassigned, dead, or internal to a cluster.
    UnknownKey {
        /// Key as sent.
        key: i16,
    },
    /// The client id contains a control character; it would reach logs and metrics.
    ControlCharacter,
    /// The client id is longer than [`CLIENT_ID_BYTES_MAX`].
    ClientIdTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The bytes break the encoding.
    Malformed(DecodeError),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key } => write!(f, "no api with key {key}"),
            Self::ControlCharacter => write!(f, "client id contains a control character"),
            Self::ClientIdTooLong { length } => write!(
                f,
                "expected a client id of at most {CLIENT_ID_BYTES_MAX} bytes, found {length}"
            ),
            Self::Malformed(fault) => write!(f, "request header: {fault}"),
        }
    }
}

impl std::error::Error for HeaderError {}

impl<'a> RequestHeader<'a> {
    /// Reads the header of a request frame (without its size) and gives the body behind it.
    ///
    /// # Errors
    /// See [`HeaderError`]; all of them mean close.
    pub fn parse(frame: &'a [u8]) -> Result<(Self, &'a [u8]), HeaderError> {
        let malformed = |reader: &Reader<'_>| reader.failure().map(HeaderError::Malformed);
        let mut fixed = Reader::new(frame, 0, false);
        let (number, version, correlation_id) = (fixed.i16(), fixed.i16(), fixed.i32());
        if let Some(fault) = malformed(&fixed) {
            return Err(fault);
        }
        let key = ApiKey::from_number(number)
            .filter(|key| key.versions().is_some())
            .ok_or(HeaderError::UnknownKey { key: number })?;
        let client_id = fixed.opt_string(true);
        if let Some(fault) = malformed(&fixed) {
            return Err(fault);
        }
        if let Some(length) = client_id
            .map(str::len)
            .filter(|&length| length > CLIENT_ID_BYTES_MAX)
        {
            return Err(HeaderError::ClientIdTooLong { length });
        }
        // Letters, digits and signs of ASCII, the usual name, are looked at as bytes.
        let is_plain = |id: &str| id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if client_id.is_some_and(|id| !is_plain(id) && id.chars().any(char::is_control)) {
            return Err(HeaderError::ControlCharacter);
        }
        let flexible = key.request_header_version(version) == 2;
        let mut tags = Reader::new(fixed.rest(), 0, flexible);
        tags.skip_tags();
        match malformed(&tags) {
            Some(fault) => Err(fault),
            None => Ok((
                Self {
                    key,
                    version,
                    correlation_id,
                    client_id,
                },
                tags.rest(),
            )),
        }
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut writer = Writer::to_buffer(out, 0, false);
        writer.i16(self.key.number());
        writer.i16(self.version);
        writer.i32(self.correlation_id);
        writer.opt_string(self.client_id);
        if self.key.request_header_version(self.version) == 2 {
            writer.uvarint(0);
        }
        writer.finish().map(|_| ())
    }
}

/// Reads the header of a response frame (without its size): correlation id and body.
///
/// # Errors
/// The bytes break the encoding of the header that `key` and `version` call for.
pub fn parse_response_header(
    frame: &[u8],
    key: ApiKey,
    version: i16,
) -> Result<(i32, &[u8]), DecodeError> {
    let flexible = key.response_header_version(version) == 1;
    let mut reader = Reader::new(frame, 0, flexible);
    let correlation_id = reader.i32();
    reader.skip_tags();
    match reader.failure() {
        Some(fault) => Err(fault),
        None => Ok((correlation_id, reader.rest())),
    }
}

fn frame_size(length: usize) -> Result<[u8; 4], EncodeError> {
    i32::try_from(length)
        .map(i32::to_be_bytes)
        .map_err(|_| EncodeError::TooLong { length })
}

/// Appends a whole request frame: size, header, body. Key and version come from the message and
/// `version`.
///
/// # Errors
/// The message cannot be expressed in `version`; `out` is as before.
pub fn encode_request(
    message: &dyn Message,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    assert_eq!(
        message.schema().direction,
        Direction::Request,
        "requests have request headers"
    );
    let header = RequestHeader {
        key: message.schema().key,
        version,
        correlation_id,
        client_id,
    };
    frame_around(message, version, out, |out| header.write(out))
}

fn frame_around(
    message: &dyn Message,
    version: i16,
    out: &mut BytesMut,
    header: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let written = header(out).and_then(|()| message.encode(version, out));
    match written.and_then(|()| frame_size(out.len() - start - 4)) {
        Ok(size) => {
            out[start..start + 4].copy_from_slice(&size);
            Ok(())
        }
        Err(fault) => {
            out.truncate(start);
            Err(fault)
        }
    }
}

/// Appends a whole response frame: size, header, body.
///
/// # Errors
/// The message cannot be expressed in `version`; `out` is as before.
pub fn encode_response(
    message: &dyn Message,
    version: i16,
    correlation_id: i32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let header_length = response_header_length(message, version);
    frame_around(message, version, out, |out| {
        out.extend_from_slice(&correlation_id.to_be_bytes());
        if header_length == 5 {
            out.extend_from_slice(&[0]);
        }
        Ok(())
    })
}

/// Appends a whole response frame as pieces: size, header, body, record bytes by reference.
///
/// # Errors
/// The message cannot be expressed in `version`; `out` is as before.
pub fn gather_response(
    message: &dyn Message,
    version: i16,
    correlation_id: i32,
    out: &mut Gather,
) -> Result<(), EncodeError> {
    let mut head = [0; SIZE_PREFIX + RESPONSE_HEADER_BYTES_MAX];
    head[SIZE_PREFIX..][..4].copy_from_slice(&correlation_id.to_be_bytes());
    let head = &head[..SIZE_PREFIX + response_header_length(message, version)];
    gather(message, version, out, head, |head, length| {
        let size = frame_size(length - SIZE_PREFIX)?;
        head[..SIZE_PREFIX].copy_from_slice(&size);
        Ok(())
    })
}

/// Correlation id and, where there are tagged fields, that there are none.
const RESPONSE_HEADER_BYTES_MAX: usize = 5;

fn response_header_length(message: &dyn Message, version: i16) -> usize {
    let schema = message.schema();
    assert_eq!(
        schema.direction,
        Direction::Response,
        "responses have response headers"
    );
    if schema.key.response_header_version(version) == 1 {
        5
    } else {
        4
    }
}
