//! Why bytes were refused, and why a message cannot be written in a version. All owned values,
//! no allocation.

use std::fmt;

/// A body or header that breaks Kafka's encoding. Positions count from the start of the parsed
/// slice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// The tables hold no such version of the message.
    Version {
        /// Version asked for.
        version: i16,
    },
    /// The bytes end inside a value of fixed size.
    Truncated {
        /// Position of the value.
        at: usize,
        /// Bytes that the value needs.
        wanted: usize,
    },
    /// A claimed length or count exceeds what follows, or is below -1.
    Length {
        /// Position behind the length.
        at: usize,
        /// Length or count as claimed.
        claimed: i64,
        /// Bytes left.
        remaining: usize,
    },
    /// A varint of more than five bytes, or above the range of a length.
    Varint {
        /// Position of its first byte.
        at: usize,
    },
    /// A string that is not UTF-8.
    Utf8 {
        /// Position of its first byte.
        at: usize,
    },
    /// Null for a field that admits none in this version.
    Null {
        /// Position behind the null mark.
        at: usize,
    },
    /// A known tagged field that does not fill its size, or does not exist in this version.
    Tag {
        /// Position of the fault.
        at: usize,
        /// Number of the tagged field.
        tag: u32,
    },
    /// The body is valid and more bytes follow. Kafka 4.3 ignores them; a caller that wants the
    /// same uses [`MessageView::parse_prefix`](crate::MessageView::parse_prefix).
    Trailing {
        /// Bytes behind the body.
        remaining: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { version } => write!(f, "no version {version} of this message"),
            Self::Truncated { at, wanted } => {
                write!(f, "expected {wanted} bytes at {at}, found the end")
            }
            Self::Length {
                at,
                claimed,
                remaining,
            } => {
                write!(
                    f,
                    "expected at most {remaining} bytes or items at {at}, found {claimed}"
                )
            }
            Self::Varint { at } => write!(f, "varint at {at} exceeds its range"),
            Self::Utf8 { at } => write!(f, "string at {at} is not UTF-8"),
            Self::Null { at } => write!(f, "null before {at} where the version admits none"),
            Self::Tag { at, tag } => write!(f, "tagged field {tag} is malformed at {at}"),
            Self::Trailing { remaining } => write!(f, "{remaining} bytes follow the body"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A message that cannot be expressed in the version asked for. Nothing has been written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EncodeError {
    /// The tables hold no such version of the message.
    Version {
        /// Version asked for.
        version: i16,
    },
    /// A field that the version lacks holds something else than its default.
    Unsupported {
        /// Name of the field in the table.
        field: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// A field is null and the version does not admit it.
    Null {
        /// Name of the field in the table.
        field: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// A string above 32 767 bytes, or bytes, records or an array above 2^31-1.
    TooLong {
        /// Length found.
        length: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { version } => write!(f, "no version {version} of this message"),
            Self::Unsupported { field, version } => {
                write!(
                    f,
                    "version {version} has no field {field}, and it is not at its default"
                )
            }
            Self::Null { field, version } => {
                write!(
                    f,
                    "field {field} is null, which version {version} does not admit"
                )
            }
            Self::TooLong { length } => write!(f, "length {length} exceeds the encoding"),
        }
    }
}

impl std::error::Error for EncodeError {}
