//! Drives the producing machine: carries out its actions, waits for answers, and lets the caller
//! append as fast as the buffer allows.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klamm_model::{Acks, ProducerEpoch, ProducerId};
use klamm_wire::{init_producer_id, produce};

use super::lanes::{Lanes, Outcome};
use super::{Client, ClientError, Target, read};
use crate::append;
use crate::connection::Response;
use crate::error::BrokerError;
use crate::producer::{
    Action, AppendError, Delivery, OptionsError, Producer, ProducerOptions, ProducerRecord,
    ProducerStats, RequestId, Ticket,
};

/// Why a record could not be handed over.
#[derive(Debug)]
pub enum ProduceError {
    /// The options contradict each other.
    Options(OptionsError),
    /// The record itself.
    Append(AppendError),
    /// No room in the buffer for as long as `max.block.ms` allows.
    Blocked {
        /// How long that was.
        waited: Duration,
    },
    /// The cluster.
    Client(ClientError),
}

impl fmt::Display for ProduceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(error) => error.fmt(formatter),
            Self::Append(error) => error.fmt(formatter),
            Self::Blocked { waited } => write!(
                formatter,
                "producer's buffer was full for {waited:?}: brokers take records more slowly than \
                 they are sent"
            ),
            Self::Client(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ProduceError {}

impl From<ClientError> for ProduceError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// A producer on its own connections.
#[derive(Debug)]
pub struct BlockingProducer {
    client: Client,
    machine: Producer,
    lanes: Lanes<RequestId>,
    deliveries: VecDeque<Delivery>,
    /// When the machine wants to be asked again.
    due: Option<klamm_model::Instant>,
}

impl BlockingProducer {
    /// A producer that takes over `client`.
    ///
    /// # Errors
    /// [`ProduceError::Options`].
    pub fn new(client: Client, options: ProducerOptions) -> Result<Self, ProduceError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = since_epoch.map_or(0, |time| time.as_nanos() as u64);
        Ok(Self {
            machine: Producer::new(options, seed).map_err(ProduceError::Options)?,
            client,
            lanes: Lanes::new(),
            deliveries: VecDeque::new(),
            due: None,
        })
    }

    /// The client underneath, for calls in between.
    pub const fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> ProducerStats {
        self.machine.stats()
    }

    /// True if no record waits for its delivery.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machine.is_empty()
    }

    /// Appends a record; waits while the buffer is full, for as long as
    /// [`block_max`](ProducerOptions::block_max) allows.
    ///
    /// # Errors
    /// [`ProduceError`]; the record was not taken.
    pub fn send(&mut self, record: &ProducerRecord) -> Result<Ticket, ProduceError> {
        let mut full_since = None;
        loop {
            let now = self.client.network.now();
            if self.client.cluster.topic(&record.topic).is_none() {
                self.client.topic(&record.topic)?;
            }
            let topic = self.client.cluster.topic(&record.topic);
            let topic = topic.ok_or_else(|| ClientError::Missing {
                key: klamm_wire::ApiKey::Metadata,
                subject: format!("topic {}", record.topic),
            })?;
            match self.machine.append(now, record, topic) {
                Ok((ticket, closed)) => {
                    let deadline = now.plus(self.machine.options().linger);
                    let due = *self.due.get_or_insert(deadline);
                    if closed || due <= now {
                        self.pump(Duration::ZERO)?;
                    }
                    return Ok(ticket);
                }
                Err(AppendError::Full) => {
                    let waited = now.since(*full_since.get_or_insert(now));
                    let left = self.machine.options().block_max.saturating_sub(waited);
                    if left.is_zero() {
                        return Err(ProduceError::Blocked { waited });
                    }
                    self.pump(left.min(Duration::from_millis(100)))?;
                }
                Err(error) => return Err(ProduceError::Append(error)),
            }
        }
    }

    /// What became of batches so far, one by one; never waits.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// Lets requests and answers flow for at most this long.
    ///
    /// # Errors
    /// No broker could be reached for long; what is buffered stays buffered.
    pub fn pump(&mut self, wait: Duration) -> Result<(), ClientError> {
        let until = Instant::now() + wait;
        loop {
            self.carry_out()?;
            let now = self.client.network.now();
            let due = self.machine.next_deadline(now);
            self.due = due;
            let mut rest = until.saturating_duration_since(Instant::now());
            if let Some(due) = due {
                rest = rest.min(due.since(now));
            }
            let outcomes = self.lanes.wait(&mut self.client, rest);
            let arrived = !outcomes.is_empty();
            for outcome in outcomes {
                self.take(outcome)?;
            }
            while let Some(delivery) = self.machine.next_delivery() {
                self.deliveries.push_back(delivery);
            }
            if !arrived && Instant::now() >= until {
                return Ok(());
            }
            if arrived && wait > Duration::ZERO {
                return self.carry_out();
            }
        }
    }

    /// Waits until every record has been delivered or given up.
    ///
    /// # Errors
    /// No broker could be reached for long; what is buffered stays buffered.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        while !self.machine.is_empty() {
            self.machine.flush();
            self.pump(Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn carry_out(&mut self) -> Result<(), ClientError> {
        loop {
            let now = self.client.network.now();
            let Some(action) = self.machine.poll(now, &self.client.cluster) else {
                return Ok(());
            };
            match action {
                Action::Identify => self.identify(),
                Action::Refresh(topics) => {
                    // A failure leaves the leaders in doubt: the machine asks again, and gives up
                    // by its delivery timeout.
                    let _ = self.client.refresh(Some(&topics));
                }
                Action::Send {
                    request,
                    node,
                    batches,
                } => {
                    let options = self.machine.options();
                    let (acks, timeout) = (options.acks, options.request_timeout);
                    let shaped = append::request(&batches, acks, timeout, &self.client.cluster);
                    let (message, last) = (&shaped.request, shaped.version_max);
                    let client = &mut self.client;
                    if acks == Acks::None {
                        let sent = self.lanes.send_unanswered(client, node, |machine| {
                            machine.send_unanswered(message, last)
                        });
                        match sent {
                            Ok(()) => self.machine.on_written(request),
                            Err(error) => self.on_unsent(request, error)?,
                        }
                    } else {
                        let sent = self.lanes.send(client, node, request, |machine| {
                            machine.send_up_to(message, last)
                        });
                        if let Err((request, error)) = sent {
                            self.on_unsent(request, error)?;
                        }
                    }
                }
            }
        }
    }

    /// A request that did not leave is sent again, unless it never can.
    fn on_unsent(&mut self, request: RequestId, error: ClientError) -> Result<(), ClientError> {
        let now = self.client.network.now();
        self.machine.on_lost(now, request);
        if error.is_retriable() {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn identify(&mut self) {
        let asked = self.client.retrying(|client| {
            let request = init_producer_id::Request {
                transactional_id: None,
                transaction_timeout_ms: i32::MAX,
                ..Default::default()
            };
            let response = client.call(Target::Any, &request)?;
            let view = read::<init_producer_id::ResponseView>(&response)?;
            BrokerError::check(view.error_code(), None, || "producer id".to_owned())?;
            if view.producer_id() < 0 || view.producer_epoch() < 0 {
                return Err(ClientError::Missing {
                    key: klamm_wire::ApiKey::InitProducerId,
                    subject: "a producer id and an epoch from 0 on".to_owned(),
                });
            }
            Ok((
                ProducerId(view.producer_id()),
                ProducerEpoch(view.producer_epoch()),
            ))
        });
        match asked {
            Ok(identity) => self.machine.on_identity(Some(identity)),
            Err(ClientError::Broker(error)) => self.machine.on_identity_refused(&error),
            // No answer: asked again, until the delivery timeout.
            Err(_) => self.machine.on_identity(None),
        }
    }

    fn take(&mut self, outcome: Outcome<RequestId>) -> Result<(), ClientError> {
        let now = self.client.network.now();
        match outcome {
            Outcome::Lost(request) => self.machine.on_lost(now, request),
            Outcome::Answered(request, response) => match self.read_answer(&response) {
                Ok(outcomes) => {
                    let cluster = &mut self.client.cluster;
                    self.machine.on_answer(now, request, outcomes, cluster);
                }
                Err(error) => {
                    self.machine.on_lost(now, request);
                    return Err(error);
                }
            },
        }
        Ok(())
    }

    #[allow(clippy::type_complexity)]
    fn read_answer(
        &self,
        response: &Response,
    ) -> Result<
        Vec<(
            crate::metadata::PartitionName,
            Result<append::Appended, append::Refused>,
        )>,
        ClientError,
    > {
        let view = read::<produce::ResponseView<'_>>(response)?;
        Ok(append::read(&view, &self.client.cluster))
    }
}
