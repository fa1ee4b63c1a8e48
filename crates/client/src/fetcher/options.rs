//! Options of a consumer under Kafka's names, with the Java client's defaults, and the words for
//! where reading begins.

use std::time::Duration;

use klamm_model::{Offset, Timestamp};

use crate::fetch::FetchOptions;
use crate::limits::FETCHED_BYTES_MAX;

/// Where reading a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At this offset.
    Offset(Offset),
    /// At the first record that there is.
    Earliest,
    /// Behind the last record: only what comes later is read.
    Latest,
    /// At the first record of this time or later; at the end where none is as late.
    Time(Timestamp),
}

impl From<Offset> for StartAt {
    fn from(offset: Offset) -> Self {
        Self::Offset(offset)
    }
}

/// Where to go on when a position lies outside the log (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the first record that there is.
    Earliest,
    /// Behind the last one.
    #[default]
    Latest,
    /// Nowhere: the partition stands still until it is sought (`none`).
    Fail,
}

impl OffsetReset {
    pub(super) const fn start(self) -> Option<StartAt> {
        match self {
            Self::Earliest => Some(StartAt::Earliest),
            Self::Latest => Some(StartAt::Latest),
            Self::Fail => None,
        }
    }
}

/// How a consumer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// What each Fetch asks for.
    pub fetch: FetchOptions,
    /// Where to go on when a position lies outside the log (`auto.offset.reset`).
    pub offset_reset: OffsetReset,
    /// Incremental fetch sessions (KIP-227): a request names only what changed since the last one.
    pub sessions: bool,
    /// First pause after a failure (`retry.backoff.ms`); doubled with each in a row ...
    pub retry_backoff: Duration,
    /// ... up to this (`retry.backoff.max.ms`).
    pub retry_backoff_max: Duration,
    /// Leaders and partitions are asked for anew after this time (`metadata.max.age.ms`).
    pub metadata_age_max: Duration,
    /// Fetched bytes, compressed, that wait to be read; no Fetch is sent above it.
    pub fetched_bytes_max: usize,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            fetch: FetchOptions::default(),
            offset_reset: OffsetReset::default(),
            sessions: true,
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_age_max: Duration::from_secs(300),
            fetched_bytes_max: FETCHED_BYTES_MAX,
        }
    }
}

impl From<FetchOptions> for ConsumerOptions {
    fn from(fetch: FetchOptions) -> Self {
        Self {
            fetch,
            ..Self::default()
        }
    }
}
