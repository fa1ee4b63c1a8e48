//! Options of a producer under Kafka's names, with the Java client's defaults.

use std::fmt;
use std::time::Duration;

use klamm_model::Acks;
use klamm_model::limits::PRODUCER_BATCHES_REMEMBERED;
use klamm_records::compress::Compressor;

use crate::partitioner::Partitioning;

/// How a producer gathers and sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// When the leader answers (`acks`).
    pub acks: Acks,
    /// Retries append nothing twice (`enable.idempotence`); needs `acks=all`.
    pub idempotent: bool,
    /// Codec and level (`compression.type`).
    pub compressor: Compressor,
    /// Bytes of a batch, uncompressed (`batch.size`); a larger record goes alone.
    pub batch_bytes: usize,
    /// How long a batch waits for more (`linger.ms`).
    pub linger: Duration,
    /// Requests in flight per broker (`max.in.flight.requests.per.connection`).
    pub in_flight_max: usize,
    /// Bytes of one request (`max.request.size`).
    pub request_bytes_max: usize,
    /// Bytes that wait in all (`buffer.memory`).
    pub buffer_bytes: usize,
    /// How long a leader may take (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// From append to giving up (`delivery.timeout.ms`).
    pub delivery_timeout: Duration,
    /// First pause before a batch is sent again (`retry.backoff.ms`); doubled each time ...
    pub retry_backoff: Duration,
    /// ... up to this (`retry.backoff.max.ms`).
    pub retry_backoff_max: Duration,
    /// How long the driver's `send` may wait for room or for the topic (`max.block.ms`).
    pub block_max: Duration,
    /// Leaders and partitions are asked for anew after this time (`metadata.max.age.ms`).
    pub metadata_age_max: Duration,
    /// How often a batch may be sent (`retries` + 1).
    pub attempts_max: u32,
    /// How partitions are chosen for records that name none.
    pub partitioning: Partitioning,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compressor: Compressor::default(),
            batch_bytes: 16_384,
            linger: Duration::from_millis(5),
            in_flight_max: PRODUCER_BATCHES_REMEMBERED,
            request_bytes_max: 1_048_576,
            buffer_bytes: 32 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_secs(120),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            block_max: Duration::from_secs(60),
            metadata_age_max: Duration::from_secs(300),
            attempts_max: u32::MAX,
            partitioning: Partitioning::default(),
        }
    }
}

/// Options that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// Idempotence without `acks=all`.
    IdempotenceNeedsAcksAll,
    /// Idempotence with more requests in flight than a broker remembers.
    IdempotenceInFlight {
        /// As asked for.
        found: usize,
    },
    /// Nothing could ever be in flight.
    NothingInFlight,
    /// A batch would hold nothing.
    BatchBytes,
    /// A batch may not outlive its request.
    DeliveryTimeout,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdempotenceNeedsAcksAll => {
                formatter.write_str("idempotence needs acks=all; ask for it or switch it off")
            }
            Self::IdempotenceInFlight { found } => write!(
                formatter,
                "idempotence admits at most {PRODUCER_BATCHES_REMEMBERED} requests in flight, \
                 found {found}"
            ),
            Self::NothingInFlight => formatter.write_str("expected at least 1 request in flight"),
            Self::BatchBytes => formatter.write_str("expected a batch size of at least 1 byte"),
            Self::DeliveryTimeout => formatter
                .write_str("delivery timeout must be at least linger and request timeout together"),
        }
    }
}

impl std::error::Error for OptionsError {}

impl ProducerOptions {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        if self.idempotent && self.acks != Acks::All {
            return Err(OptionsError::IdempotenceNeedsAcksAll);
        }
        if self.idempotent && self.in_flight_max > PRODUCER_BATCHES_REMEMBERED {
            let found = self.in_flight_max;
            return Err(OptionsError::IdempotenceInFlight { found });
        }
        if self.in_flight_max == 0 {
            return Err(OptionsError::NothingInFlight);
        }
        if self.batch_bytes == 0 {
            return Err(OptionsError::BatchBytes);
        }
        if self.delivery_timeout < self.linger + self.request_timeout {
            return Err(OptionsError::DeliveryTimeout);
        }
        Ok(())
    }
}
