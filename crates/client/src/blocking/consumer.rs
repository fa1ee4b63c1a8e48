//! Drives the fetching machine: partitions assigned by the caller, records one by one.

use std::time::{Duration, Instant};

use klamm_model::{NodeId, Offset};
use klamm_wire::fetch as fetch_wire;

use super::lanes::{Lanes, Outcome};
use super::{Client, ClientError, read};
use crate::fetch::{self, FetchOptions};
use crate::fetcher::{Action, Event, Fetcher};
use crate::metadata::PartitionName;

/// A consumer on its own connections, without a group.
#[derive(Debug)]
pub struct BlockingConsumer {
    client: Client,
    machine: Fetcher,
    lanes: Lanes<NodeId>,
}

impl BlockingConsumer {
    /// A consumer that takes over `client`; assign partitions with [`seek`](Self::seek).
    #[must_use]
    pub fn new(client: Client, options: FetchOptions) -> Self {
        let retry_backoff = client.options.retry_backoff;
        Self {
            client,
            machine: Fetcher::new(options, retry_backoff),
            lanes: Lanes::new(),
        }
    }

    /// The client underneath, for calls in between.
    pub const fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Reads a partition from this offset on.
    pub fn seek(&mut self, partition: PartitionName, position: Offset) {
        self.machine.seek(partition, position);
    }

    /// Stops reading a partition.
    pub fn remove(&mut self, partition: &PartitionName) {
        self.machine.remove(partition);
    }

    /// The offset of the next record of a partition.
    #[must_use]
    pub fn position(&self, partition: &PartitionName) -> Option<Offset> {
        self.machine.position(partition)
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

    fn carry_out(&mut self) -> Result<(), ClientError> {
        loop {
            let now = self.client.network.now();
            let Some(action) = self.machine.poll(now, &self.client.cluster) else {
                return Ok(());
            };
            match action {
                Action::Refresh(topics) => {
                    self.client
                        .retrying(|client| client.refresh(Some(&topics)))?;
                }
                Action::Fetch { node, positions } => {
                    let options = self.machine.options();
                    let shaped = fetch::request(&positions, options, &self.client.cluster);
                    let (message, last) = (&shaped.request, shaped.version_max);
                    let client = &mut self.client;
                    let sent = self.lanes.send(client, node, node, |machine| {
                        machine.send_up_to(message, last)
                    });
                    if let Err((node, error)) = sent {
                        self.machine.on_lost(now, node);
                        if !error.is_retriable() {
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    fn take(&mut self, outcome: Outcome<NodeId>) -> Result<(), ClientError> {
        let now = self.client.network.now();
        match outcome {
            Outcome::Lost(node) => self.machine.on_lost(now, node),
            Outcome::Answered(node, response) => {
                let view = read::<fetch_wire::ResponseView<'_>>(&response)?;
                let cluster = &mut self.client.cluster;
                match fetch::read(&view, &response.body, cluster) {
                    Ok(outcomes) => self.machine.on_answer(now, node, outcomes, cluster),
                    Err(error) if error.is_retriable() => self.machine.on_lost(now, node),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
