//! The consuming machine with its connections: partitions in, bytes out, records back.

use klamm_model::{Instant, NodeId, Offset};
use klamm_wire::{fetch as fetch_wire, list_offsets};

use super::{Base, Effect, Note, SansIo};
use crate::admin::milliseconds;
use crate::connection::Response;
use crate::fetch;
use crate::fetcher::{Action, ConsumerOptions, Event, Fetcher, StartAt};
use crate::hub::{HubOptions, LinkId, Outcome};
use crate::metadata::{Cluster, PartitionName};
use crate::offsets;

/// A consumer without I/O, and without a group.
#[derive(Debug)]
pub struct SansIoConsumer {
    base: Base,
    machine: Fetcher,
}

impl SansIoConsumer {
    /// A consumer for the cluster at these addresses (`host:port`, several separated by commas).
    #[must_use]
    pub fn new(bootstrap: &str, hub: HubOptions, options: impl Into<ConsumerOptions>) -> Self {
        Self {
            base: Base::new(bootstrap, hub),
            machine: Fetcher::new(options.into()),
        }
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

    /// Reads a partition from here on, whether it was assigned before or not.
    pub fn seek(&mut self, now: Instant, partition: PartitionName, start: impl Into<StartAt>) {
        self.machine.seek(partition, start);
        self.drive(now);
    }

    /// Stops reading a partition.
    pub fn remove(&mut self, partition: &PartitionName) {
        self.machine.remove(partition);
    }

    /// The partitions assigned, in the order of their names.
    pub fn assignment(&self) -> impl Iterator<Item = &PartitionName> {
        self.machine.assignment()
    }

    /// Hands out and fetches nothing of a partition until it is resumed. False if it is not
    /// assigned.
    pub fn pause(&mut self, partition: &PartitionName) -> bool {
        self.machine.pause(partition)
    }

    /// Goes on with a partition. False if it is not assigned.
    pub fn resume(&mut self, now: Instant, partition: &PartitionName) -> bool {
        let assigned = self.machine.resume(partition);
        self.drive(now);
        assigned
    }

    /// The offset of the next record of a partition; `None` while it has to be found.
    #[must_use]
    pub fn position(&self, partition: &PartitionName) -> Option<Offset> {
        self.machine.position(partition)
    }

    /// Records between the position and the end that the leader told last.
    #[must_use]
    pub fn lag(&self, partition: &PartitionName) -> Option<u64> {
        self.machine.lag(partition)
    }

    /// The next record or event of what was fetched; what is read is fetched on.
    pub fn next_event(&mut self, now: Instant) -> Option<Event> {
        let event = self.machine.next_event();
        if event.is_none() {
            self.drive(now);
        }
        event
    }

    fn drive(&mut self, now: Instant) {
        self.base.hub.on_time(now);
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

    fn carry_out(&mut self, now: Instant, action: Action) {
        match action {
            Action::Refresh(topics) => self.base.ask_metadata(now, topics),
            Action::FindOffsets { node, wanted } => {
                let isolation = self.machine.options().fetch.isolation;
                let timeout = milliseconds(self.base.hub.options().request_timeout);
                let request = offsets::request(&wanted, isolation, timeout);
                let note = Note::Offsets(node);
                self.base.send(now, Some(node), note, (request, i16::MAX));
            }
            Action::Fetch { node, plan } => {
                let shaped = fetch::request(&plan, &self.machine.options().fetch);
                let message = (shaped.request, shaped.version_max);
                self.base
                    .send(now, Some(node), Note::Records(node), message);
            }
        }
    }

    fn take(&mut self, now: Instant, outcome: Outcome<Note>) {
        match outcome {
            Outcome::Answered(Note::Metadata(topics), response) => {
                self.base.on_metadata_end(&topics);
                // One that cannot be used leaves leaders in doubt: they are asked for again.
                let _ = self.base.take_metadata(&response);
            }
            Outcome::Answered(Note::Records(node), response) => {
                self.on_records(now, node, &response);
            }
            Outcome::Answered(Note::Offsets(node), response) => {
                match response.view::<list_offsets::ResponseView<'_>>() {
                    Ok(view) => {
                        let outcomes = offsets::read(&view);
                        let cluster = &mut self.base.cluster;
                        self.machine.on_offsets(now, node, outcomes, cluster);
                    }
                    Err(_) => self.machine.on_offsets_lost(now, node),
                }
            }
            Outcome::Lost(note) | Outcome::Refused(note, _) => match note {
                Note::Records(node) => self.machine.on_lost(now, node),
                Note::Offsets(node) => self.machine.on_offsets_lost(now, node),
                Note::Metadata(topics) => self.base.on_metadata_end(&topics),
                Note::Identify | Note::Produce(_) => {}
            },
            Outcome::Answered(Note::Identify | Note::Produce(_), _) | Outcome::Written(_) => {
                unreachable!("a consumer writes nothing")
            }
        }
    }

    fn on_records(&mut self, now: Instant, node: NodeId, response: &Response) {
        let Ok(view) = response.view::<fetch_wire::ResponseView<'_>>() else {
            return self.machine.on_lost(now, node);
        };
        let cluster = &mut self.base.cluster;
        match fetch::read(&view, &response.body, cluster) {
            Ok(answer) => self.machine.on_answer(now, node, answer, cluster),
            Err(error) => self.machine.on_refusal(now, node, &error),
        }
    }
}

impl SansIo for SansIoConsumer {
    fn next_effect(&mut self) -> Option<Effect> {
        self.base.hub.next_effect()
    }

    fn on_opened(&mut self, now: Instant, link: LinkId) {
        self.base.hub.on_opened(link);
        self.drive(now);
    }

    fn on_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        self.base.hub.on_bytes(link, bytes);
        self.drive(now);
    }

    fn on_closed(&mut self, now: Instant, link: LinkId, reason: &str) {
        self.base.hub.on_closed(link, reason);
        self.drive(now);
    }

    fn on_time(&mut self, now: Instant) {
        self.drive(now);
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let machine = self.machine.next_deadline(now);
        let hub = self.base.hub.next_deadline();
        machine.into_iter().chain(hub).min()
    }
}
