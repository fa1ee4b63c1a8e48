//! Error codes on the wire as values: [`BrokerError`] is what a broker said about one thing.

use std::fmt;

use klamm_model::{ErrorCode, Retriability};

/// Reads an error code; numbers that Kafka 4.3 lacks count as its unknown error.
pub(crate) fn check(code: i16) -> Result<(), ErrorCode> {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Ok(()),
        Some(code) => Err(code),
        None => Err(ErrorCode::UnknownServerError),
    }
}

/// A broker refused something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerError {
    /// Why.
    pub code: ErrorCode,
    /// What the refusal is about, for example `topic flights`.
    pub subject: String,
    /// The broker's own words, if any.
    pub message: Option<String>,
}

impl BrokerError {
    /// An error without words of the broker's own.
    pub fn new(code: ErrorCode, subject: impl Into<String>) -> Self {
        Self {
            code,
            subject: subject.into(),
            message: None,
        }
    }

    /// Reads an error code with the broker's message.
    pub(crate) fn check(
        code: i16,
        message: Option<&str>,
        subject: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        check(code).map_err(|code| Self {
            code,
            subject: subject(),
            message: message.map(str::to_owned),
        })
    }

    /// True if the same request may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.code.retriability() == Retriability::Retriable
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.subject, self.code)?;
        match self.message.as_deref() {
            Some(message) if !message.is_empty() => write!(formatter, ": {message}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BrokerError {}
