//! The producing machine with its connections: records in, bytes out, deliveries back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use klamm_model::{Acks, ErrorCode, Instant, NodeId, ProducerEpoch, ProducerId, TopicName};
use klamm_wire::{init_producer_id, produce};

use super::{Base, Note, Whole};
use crate::append;
use crate::connection::Response;
use crate::error::BrokerError;
use crate::hub::{HubOptions, Lane, Outcome, Outgoing};
use crate::metadata::{Cluster, TopicInfo};
use crate::producer::{
    Action, AppendError, Delivery, OptionsError, Producer, ProducerOptions, ProducerRecord,
    ProducerStats, RequestId, Ticket,
};

/// How long an unknown topic may be one that is just being made.
const UNKNOWN_TOPIC_PATIENCE: Duration = Duration::from_secs(2);

/// A record was not taken; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendRefusal {
    /// The buffer is full: try again after a delivery.
    Full,
    /// The topic is being asked for: try again when the machine has moved on.
    TopicPending,
    /// The cluster has no such topic, or does not tell.
    Topic(BrokerError),
    /// The record itself.
    Record(AppendError),
}

impl fmt::Display for SendRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => AppendError::Full.fmt(formatter),
            Self::TopicPending => formatter.write_str("topic is not known yet"),
            Self::Topic(error) => error.fmt(formatter),
            Self::Record(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for SendRefusal {}

/// A topic that somebody wants to send to and that is not known.
#[derive(Debug)]
struct Sought {
    since: Instant,
    asked: bool,
    not_before: Instant,
    refused: Option<BrokerError>,
}

/// A producer without I/O.
#[derive(Debug)]
pub struct SansIoProducer {
    base: Base,
    machine: Producer,
    sought: BTreeMap<TopicName, Sought>,
    /// A producer id could not be had; asked for again at this time.
    identify_at: Option<Instant>,
}

impl SansIoProducer {
    /// A producer for the cluster at these addresses (`host:port`, several separated by commas);
    /// `seed` spreads keyless records and retries.
    ///
    /// # Errors
    /// Options that contradict each other.
    pub fn new(
        bootstrap: &str,
        hub: HubOptions,
        options: ProducerOptions,
        seed: u64,
    ) -> Result<Self, OptionsError> {
        Ok(Self {
            base: Base::new(bootstrap, hub),
            machine: Producer::new(options, seed)?,
            sought: BTreeMap::new(),
            identify_at: None,
        })
    }

    /// The options given at the start.
    #[must_use]
    pub const fn options(&self) -> &ProducerOptions {
        self.machine.options()
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> ProducerStats {
        self.machine.stats()
    }

    /// What is known of the cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.base.cluster
    }

    /// Why the last connection ended, in words.
    #[must_use]
    pub fn last_failure(&self) -> Option<&str> {
        self.base.hub.last_failure()
    }

    /// True if no record waits for its delivery.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machine.is_empty()
    }

    /// Takes a record.
    ///
    /// # Errors
    /// [`SendRefusal`]; after `Full` and `TopicPending` the same record may be sent again.
    pub fn send(&mut self, now: Instant, record: &ProducerRecord) -> Result<Ticket, SendRefusal> {
        let Some(topic) = self.base.cluster.topic(&record.topic) else {
            return Err(self.seek(now, &record.topic));
        };
        match self.machine.append(now, record, topic) {
            Ok((ticket, closed)) => {
                if closed {
                    self.drive(now);
                }
                Ok(ticket)
            }
            Err(AppendError::Full) => {
                self.drive(now);
                Err(SendRefusal::Full)
            }
            Err(error) => Err(SendRefusal::Record(error)),
        }
    }

    /// From now on nothing lingers, until all that is buffered has been delivered.
    pub fn flush(&mut self, now: Instant) {
        self.machine.flush();
        self.drive(now);
    }

    /// What became of batches, one by one.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.machine.next_delivery()
    }

    fn seek(&mut self, now: Instant, topic: &TopicName) -> SendRefusal {
        if let Some(sought) = self.sought.get_mut(topic) {
            let Some(error) = sought.refused.take() else {
                return SendRefusal::TopicPending;
            };
            self.sought.remove(topic);
            return SendRefusal::Topic(error);
        }
        let sought = Sought {
            since: now,
            asked: false,
            not_before: now,
            refused: None,
        };
        self.sought.insert(topic.clone(), sought);
        self.drive(now);
        SendRefusal::TopicPending
    }

    fn carry_out(&mut self, now: Instant, action: Action) {
        match action {
            Action::Identify => {
                let request = init_producer_id::Request {
                    transactional_id: None,
                    transaction_timeout_ms: i32::MAX,
                    ..Default::default()
                };
                self.base
                    .send(now, None, Note::Identify, (request, i16::MAX));
            }
            Action::Refresh(topics) => self.base.ask_metadata(now, topics),
            Action::Send {
                request,
                node,
                batches,
            } => self.send_batches(now, request, node, &batches),
        }
    }

    fn send_batches(
        &mut self,
        now: Instant,
        request: RequestId,
        node: NodeId,
        batches: &[(crate::metadata::PartitionName, bytes::Bytes)],
    ) {
        let options = self.machine.options();
        let (acks, timeout) = (options.acks, options.request_timeout);
        let shaped = append::request(batches, acks, timeout, &self.base.cluster);
        let out = Outgoing {
            note: Note::Produce(request),
            request: Box::new(shaped.request),
            version_max: shaped.version_max,
            answered: acks != Acks::None,
            lane: Lane::Data,
            patience: Duration::ZERO,
        };
        self.base.hub.send(now, Some(node), &self.base.cluster, out);
    }

    fn take(&mut self, now: Instant, outcome: Outcome<Note>) {
        match outcome {
            Outcome::Answered(Note::Metadata(topics), response) => {
                match self.base.take_metadata(&response) {
                    Some(named) => self.on_topics(now, &topics, &named),
                    None => self.on_topics(now, &topics, &[]),
                }
            }
            Outcome::Answered(Note::Identify, response) => self.on_identity(now, &response),
            Outcome::Answered(Note::Produce(request), response) => {
                match response.view::<produce::ResponseView<'_>>() {
                    Ok(view) => {
                        let outcomes = append::read(&view, &self.base.cluster);
                        let cluster = &mut self.base.cluster;
                        self.machine.on_answer(now, request, outcomes, cluster);
                    }
                    Err(_) => self.machine.on_lost(now, request),
                }
            }
            Outcome::Written(Note::Produce(request)) => self.machine.on_written(request),
            Outcome::Lost(note) | Outcome::Refused(note, _) | Outcome::Written(note) => {
                self.on_lost(now, note);
            }
            Outcome::Answered(Note::Records(_) | Note::Offsets(_) | Note::Group(_), _) => {
                unreachable!("a producer reads nothing")
            }
        }
    }

    fn on_lost(&mut self, now: Instant, note: Note) {
        match note {
            Note::Metadata(topics) => self.on_topics(now, &topics, &[]),
            Note::Identify => self.identify_later(now),
            Note::Produce(request) => self.machine.on_lost(now, request),
            Note::Records(_) | Note::Offsets(_) | Note::Group(_) => {
                unreachable!("a producer reads nothing")
            }
        }
    }

    fn identify_later(&mut self, now: Instant) {
        self.identify_at = Some(now.plus(self.machine.options().retry_backoff));
    }

    fn on_identity(&mut self, now: Instant, response: &Response) {
        let Ok(view) = response.view::<init_producer_id::ResponseView>() else {
            return self.identify_later(now);
        };
        match BrokerError::check(view.error_code(), None, || "producer id".to_owned()) {
            // No id and no epoch of a broker's is below zero.
            Ok(()) if view.producer_id() < 0 || view.producer_epoch() < 0 => {
                self.identify_later(now);
            }
            Ok(()) => {
                let id = ProducerId(view.producer_id());
                let epoch = ProducerEpoch(view.producer_epoch());
                self.machine.on_identity(Some((id, epoch)));
            }
            Err(error) if error.is_retriable() => self.identify_later(now),
            Err(error) => self.machine.on_identity_refused(&error),
        }
    }

    /// What an answer says of topics that are sought; nothing where there was none.
    fn on_topics(&mut self, now: Instant, asked: &[TopicName], named: &[TopicInfo]) {
        self.base.on_metadata_end(asked);
        let request_timeout = self.base.hub.options().request_timeout;
        let backoff = self.machine.options().retry_backoff;
        for name in asked {
            let Some(sought) = self.sought.get_mut(name) else {
                continue;
            };
            let found = named.iter().find(|topic| topic.name == *name);
            let error = found.and_then(|topic| topic.error);
            if found.is_some() && error.is_none() {
                self.sought.remove(name);
                continue;
            }
            sought.asked = false;
            sought.not_before = now.plus(backoff);
            let Some(code) = error else {
                continue;
            };
            let error = BrokerError::new(code, format!("topic {name}"));
            let patience = match code {
                ErrorCode::UnknownTopicOrPartition => UNKNOWN_TOPIC_PATIENCE.min(request_timeout),
                _ => request_timeout,
            };
            if !error.is_retriable() || now.since(sought.since) >= patience {
                sought.refused = Some(error);
            }
        }
    }
}

impl Whole for SansIoProducer {
    fn base(&mut self) -> &mut Base {
        &mut self.base
    }

    fn base_ref(&self) -> &Base {
        &self.base
    }

    fn drive(&mut self, now: Instant) {
        self.base.hub.on_time(now);
        if self.identify_at.is_some_and(|at| at <= now) {
            self.identify_at = None;
            self.machine.on_identity(None);
        }
        let topics: Vec<TopicName> = self
            .sought
            .iter_mut()
            .filter(|(_, it)| !it.asked && it.refused.is_none() && it.not_before <= now)
            .map(|(name, it)| {
                it.asked = true;
                name.clone()
            })
            .collect();
        if !topics.is_empty() {
            self.base.ask_metadata(now, topics);
        }
        loop {
            while let Some(outcome) = self.base.hub.next_outcome() {
                self.take(now, outcome);
            }
            match self.machine.poll(now, &self.base.cluster) {
                Some(action) => self.carry_out(now, action),
                None => return,
            }
        }
    }

    fn own_deadline(&self, now: Instant) -> Option<Instant> {
        let sought = self.sought.values();
        let sought = sought.filter(|it| !it.asked && it.refused.is_none());
        let sought = sought.map(|it| it.not_before);
        let machine = self.machine.next_deadline(now);
        let others = machine.into_iter().chain(self.identify_at);
        sought.chain(others).min()
    }
}
