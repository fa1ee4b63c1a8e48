//! Drives the fetching machine: partitions assigned by the caller, records one by one.

use std::time::{Duration, Instant};

use klamm_model::NodeId;
use klamm_wire::{fetch as fetch_wire, list_offsets};

use super::lanes::{Lanes, Outcome};
use super::{Client, ClientError, read};
use crate::admin::milliseconds;
use crate::connection::Response;
use crate::fetch;
use crate::fetcher::{Action, ConsumerOptions, Event, Fetcher, StartAt};
use crate::metadata::PartitionName;
use crate::offsets;

/// What a request in flight is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Records,
    Offsets,
}

type Note = (NodeId, Purpose);

/// A consumer on its own connections, without a group.
#[derive(Debug)]
pub struct BlockingConsumer {
    client: Client,
    machine: Fetcher,
    lanes: Lanes<Note>,
}

impl BlockingConsumer {
    /// A consumer that takes over `client`; assign partitions with [`seek`](Self::seek).
    #[must_use]
    pub fn new(client: Client, options: impl Into<ConsumerOptions>) -> Self {
        Self {
            client,
            machine: Fetcher::new(options.into()),
            lanes: Lanes::new(),
        }
    }

    /// The client underneath, for calls in between.
    pub const fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Reads a partition from here on, whether it was assigned before or not.
    pub fn seek(&mut self, partition: PartitionName, start: impl Into<StartAt>) {
        self.machine.seek(partition, start);
    }

    /// Stops reading a partition.
    pub fn remove(&mut self, partition: &PartitionName) {
        self.machine.remove(partition);
    }

    /// The partitions assigned, in the order of their names.
    pub fn assignment(&self) -> impl Iterator<Item = &PartitionName> {
        self.machine.assignment()
    }

    /// Hands out and fetches nothing of a partition until [`resume`](Self::resume). False if it is
    /// not assigned.
    pub fn pause(&mut self, partition: &PartitionName) -> bool {
        self.machine.pause(partition)
    }

    /// Goes on with a partition. False if it is not assigned.
    pub fn resume(&mut self, partition: &PartitionName) -> bool {
        self.machine.resume(partition)
    }

    /// The offset of the next record of a partition; `None` while it has to be found.
    #[must_use]
    pub fn position(&self, partition: &PartitionName) -> Option<klamm_model::Offset> {
        self.machine.position(partition)
    }

    /// Records between the position and the end that the leader told last.
    #[must_use]
    pub fn lag(&self, partition: &PartitionName) -> Option<u64> {
        self.machine.lag(partition)
    }

    /// The next record or event; waits at most this long for one.
    ///
    /// # Errors
    /// A malformed answer. Lost connections are made again, unless no broker can be reached.
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Event>, ClientError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(event) = self.machine.next_event() {
                return Ok(Some(event));
            }
            self.carry_out()?;
            let now = self.client.network.now();
            let mut rest = until.saturating_duration_since(Instant::now());
            if let Some(due) = self.machine.next_deadline(now) {
                rest = rest.min(due.since(now));
            }
            for outcome in self.lanes.wait(&mut self.client, rest) {
                self.take(outcome)?;
            }
            if Instant::now() >= until {
                return Ok(self.machine.next_event());
            }
        }
    }

    /// Records and events that are there, at most so many; waits at most this long for the first.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn poll(&mut self, wait: Duration, events_max: usize) -> Result<Vec<Event>, ClientError> {
        let mut events = Vec::new();
        let mut next = self.next_event(wait)?;
        while let Some(event) = next {
            events.push(event);
            next = (events.len() < events_max)
                .then(|| self.machine.next_event())
                .flatten();
        }
        Ok(events)
    }

    fn carry_out(&mut self) -> Result<(), ClientError> {
        loop {
            let now = self.client.network.now();
            let Some(action) = self.machine.poll(now, &self.client.cluster) else {
                return Ok(());
            };
            let client = &mut self.client;
            let sent = match action {
                Action::Refresh(topics) => {
                    client.retrying(|client| client.refresh(Some(&topics)))?;
                    Ok(())
                }
                Action::FindOffsets { node, wanted } => {
                    let isolation = self.machine.options().fetch.isolation;
                    let timeout = milliseconds(client.options.request_timeout);
                    let request = offsets::request(&wanted, isolation, timeout);
                    let note = (node, Purpose::Offsets);
                    self.lanes
                        .send(client, node, note, |machine| machine.send(&request))
                }
                Action::Fetch { node, plan } => {
                    let shaped = fetch::request(&plan, &self.machine.options().fetch);
                    let (message, last) = (&shaped.request, shaped.version_max);
                    let note = (node, Purpose::Records);
                    self.lanes.send(client, node, note, |machine| {
                        machine.send_up_to(message, last)
                    })
                }
            };
            if let Err((note, error)) = sent {
                self.on_lost(note);
                if !error.is_retriable() {
                    return Err(error);
                }
            }
        }
    }

    fn on_lost(&mut self, (node, purpose): Note) {
        let now = self.client.network.now();
        match purpose {
            Purpose::Records => self.machine.on_lost(now, node),
            Purpose::Offsets => self.machine.on_offsets_lost(now, node),
        }
    }

    fn take(&mut self, outcome: Outcome<Note>) -> Result<(), ClientError> {
        match outcome {
            Outcome::Lost(note) => {
                self.on_lost(note);
                Ok(())
            }
            Outcome::Answered(note, response) => {
                let taken = match note.1 {
                    Purpose::Records => self.take_records(note.0, &response),
                    Purpose::Offsets => self.take_offsets(note.0, &response),
                };
                if taken.is_err() {
                    self.on_lost(note);
                }
                taken
            }
        }
    }

    fn take_records(&mut self, node: NodeId, response: &Response) -> Result<(), ClientError> {
        let now = self.client.network.now();
        let view = read::<fetch_wire::ResponseView<'_>>(response)?;
        let cluster = &mut self.client.cluster;
        match fetch::read(&view, &response.body, cluster) {
            Ok(answer) => self.machine.on_answer(now, node, answer, cluster),
            Err(error) if error.is_retriable() => self.machine.on_refusal(now, node, &error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take_offsets(&mut self, node: NodeId, response: &Response) -> Result<(), ClientError> {
        let now = self.client.network.now();
        let view = read::<list_offsets::ResponseView<'_>>(response)?;
        let outcomes = offsets::read(&view);
        let cluster = &mut self.client.cluster;
        self.machine.on_offsets(now, node, outcomes, cluster);
        Ok(())
    }
}
