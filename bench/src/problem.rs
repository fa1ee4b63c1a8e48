//! Why a run ended without a result that counts.

use std::{fmt, io};

/// The run is void.
#[derive(Debug)]
pub enum Problem {
    /// Arguments or a scenario file that make no workload.
    Workload(String),
    /// A socket or a file.
    Io(io::Error),
    /// A frame that breaks the protocol, or an answer to another request.
    Protocol(String),
    /// The broker refused.
    Refused {
        /// What was asked for.
        request: &'static str,
        /// Kafka's error code.
        error_code: i16,
        /// The broker's words, or where it happened.
        detail: String,
    },
    /// What the broker holds or sent is not what it acknowledged.
    Verification(String),
    /// The load was not what was planned: its result says what was seen, and does not count.
    Dropped(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(text) => write!(f, "workload: {text}"),
            Self::Io(error) => write!(f, "input or output: {error}"),
            Self::Protocol(text) => write!(f, "protocol: {text}"),
            Self::Refused {
                request,
                error_code,
                detail,
            } => write!(f, "{request} refused with error {error_code}: {detail}"),
            Self::Dropped(text) => write!(f, "the result is dropped: {text}"),
            Self::Verification(text) => write!(f, "verification failed: {text}"),
        }
    }
}

impl std::error::Error for Problem {}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<klamm_wire::DecodeError> for Problem {
    fn from(error: klamm_wire::DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<klamm_wire::EncodeError> for Problem {
    fn from(error: klamm_wire::EncodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}
