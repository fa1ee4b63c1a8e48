//! Why a connection ends, other than by its peer's wish. Each is logged once, by `conn.rs`.

use std::fmt;
use std::io;

use klamm_model::ErrorCode;
use klamm_wire::{ApiKey, DecodeError, EncodeError, FrameError, HeaderError};

/// Why the broker ends a connection. The protocol has no other way to say any of these.
#[derive(Debug)]
pub enum Close {
    /// A frame's size is not legal.
    Frame(FrameError),
    /// A request header cannot be served.
    Header(HeaderError),
    /// The key exists and is not served here.
    NotServed {
        /// The key.
        key: ApiKey,
    },
    /// The version is outside of what is served.
    Version {
        /// The key.
        key: ApiKey,
        /// The version found.
        found: i16,
        /// Lowest served.
        min: i16,
        /// Highest served.
        max: i16,
    },
    /// A request body breaks the encoding.
    Body {
        /// The key.
        key: ApiKey,
        /// Its version.
        version: i16,
        /// The fault.
        fault: DecodeError,
    },
    /// A well-formed request holds a value that no client sends.
    Value {
        /// The key.
        key: ApiKey,
        /// What is wrong with it.
        what: &'static str,
        /// The value.
        found: i64,
    },
    /// The answer cannot be written in the request's version: a fault of this program.
    Encode {
        /// The key.
        key: ApiKey,
        /// Its version.
        version: i16,
        /// The fault.
        fault: EncodeError,
    },
    /// A Produce with acks=0 failed; closing is the only way to tell.
    SilentProduce {
        /// The first error.
        error: ErrorCode,
    },
    /// A frame took too long to arrive.
    FrameDeadline {
        /// Bytes of it that arrived.
        arrived: usize,
    },
    /// Nothing more of a frame came, while others waited for the memory that it may take or not.
    FrameStalled {
        /// Bytes of it that arrived.
        arrived: usize,
        /// Others waited.
        contended: bool,
    },
    /// The peer takes no answers.
    OutputBlocked,
    /// Nothing was asked for `connections.max.idle.ms`.
    Idle,
    /// The peer left in the middle of a frame.
    Torn {
        /// Bytes of the frame that arrived.
        arrived: usize,
    },
    /// The socket failed.
    Socket(io::Error),
    /// The peer left while nothing of it was read, because it had used up its quota.
    Left,
    /// The broker stops and the grace is over.
    Stopping,
}

impl Close {
    /// The kind of reason, for people who count lines and for the limit on them.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Frame(_) => "illegal frame",
            Self::Header(_) => "illegal header",
            Self::NotServed { .. } => "API not served",
            Self::Version { .. } => "version not served",
            Self::Body { .. } => "illegal body",
            Self::Value { .. } => "illegal value",
            Self::Encode { .. } => "answer not expressible",
            Self::SilentProduce { .. } => "failed Produce with acks=0",
            Self::FrameDeadline { .. } => "slow frame",
            Self::FrameStalled { .. } => "stalled frame",
            Self::OutputBlocked => "answers not taken",
            Self::Idle => "idle",
            Self::Torn { .. } => "torn frame",
            Self::Socket(_) => "socket",
            Self::Left => "left while muted",
            Self::Stopping => "stopping",
        }
    }

    /// True for endings that every healthy cluster sees; they are logged at a lower level.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(
            self,
            Self::Idle | Self::Left | Self::Stopping | Self::Torn { .. } | Self::Socket(_)
        )
    }
}

impl fmt::Display for Close {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(formatter),
            Self::Header(error) => error.fmt(formatter),
            Self::NotServed { key } => write!(formatter, "{key} is not served by this broker"),
            Self::Version {
                key,
                found,
                min,
                max,
            } => {
                write!(
                    formatter,
                    "{key}: expected a version from {min} to {max}, found {found}"
                )
            }
            Self::Body {
                key,
                version,
                fault,
            } => {
                write!(formatter, "{key} version {version}: {fault}")
            }
            Self::Value { key, what, found } => write!(formatter, "{key}: {what}, found {found}"),
            Self::Encode {
                key,
                version,
                fault,
            } => {
                write!(formatter, "answer to {key} version {version}: {fault}")
            }
            Self::SilentProduce { error } => {
                write!(formatter, "a Produce with acks=0 failed with {error}")
            }
            Self::FrameDeadline { arrived } => {
                write!(
                    formatter,
                    "a frame did not arrive in time, {arrived} bytes of it did"
                )
            }
            Self::FrameStalled { arrived, contended } => {
                write!(
                    formatter,
                    "nothing more of a frame came behind {arrived} bytes"
                )?;
                if *contended {
                    formatter.write_str(
                        ", and others wait: queued.max.request.bytes is reached on this core",
                    )?;
                }
                Ok(())
            }
            Self::OutputBlocked => formatter.write_str("the peer takes no answers"),
            Self::Idle => formatter.write_str("idle for longer than connections.max.idle.ms"),
            Self::Torn { arrived } => {
                write!(formatter, "the peer left after {arrived} bytes of a frame")
            }
            Self::Socket(error) => error.fmt(formatter),
            Self::Left => formatter.write_str("the peer left while it had to wait"),
            Self::Stopping => formatter.write_str("the broker stops"),
        }
    }
}

impl std::error::Error for Close {}
