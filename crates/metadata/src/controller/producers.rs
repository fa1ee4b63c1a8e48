//! Blocks of producer ids. A block is given out only once its record is committed, so that no id
//! is ever given out twice.

use std::fmt;

use klamm_model::{ErrorCode, ProducerId};

use super::{Controller, Decision, Reply};
use crate::limits::PRODUCER_ID_BLOCK_MAX;
use crate::record::MetadataRecord;

/// Producer ids from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first one.
    pub first: ProducerId,
    /// How many.
    pub count: u32,
}

/// Why no block is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerIdError {
    /// None, or too many, were asked for.
    Count {
        /// How many were.
        found: u32,
    },
    /// All 2^63 are used up.
    Exhausted,
}

impl ProducerIdError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Count { .. } => ErrorCode::InvalidRequest,
            Self::Exhausted => ErrorCode::UnknownServerError,
        }
    }
}

impl fmt::Display for ProducerIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found } => write!(
                formatter,
                "expected 1 to {PRODUCER_ID_BLOCK_MAX} producer ids, found {found}"
            ),
            Self::Exhausted => formatter.write_str("no producer ids are left"),
        }
    }
}

impl std::error::Error for ProducerIdError {}

impl Controller {
    pub(super) fn allocate_producer_ids(&self, count: u32) -> Decision {
        let first = self.image.next_producer();
        let next = first.0.checked_add(i64::from(count));
        let (records, block) = match next {
            _ if count == 0 || count > PRODUCER_ID_BLOCK_MAX => {
                (Vec::new(), Err(ProducerIdError::Count { found: count }))
            }
            None => (Vec::new(), Err(ProducerIdError::Exhausted)),
            Some(next) => {
                let next = ProducerId(next);
                (
                    vec![MetadataRecord::ProducerIdsAllocated { next }],
                    Ok(ProducerIdBlock { first, count }),
                )
            }
        };
        Decision {
            records,
            reply: Reply::ProducerIds(block),
        }
    }
}
