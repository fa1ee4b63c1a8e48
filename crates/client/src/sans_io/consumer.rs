//! The consuming machine with its connections: partitions in, bytes out, records back.

use klamm_model::{Instant, Offset};

use super::{Base, Whole, reading};
use crate::fetcher::{ConsumerOptions, Event, Fetcher, StartAt};
use crate::hub::{HubOptions, Outcome};
use crate::metadata::{Cluster, PartitionName};

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
}

impl Whole for SansIoConsumer {
    fn base(&mut self) -> &mut Base {
        &mut self.base
    }

    fn base_ref(&self) -> &Base {
        &self.base
    }

    fn drive(&mut self, now: Instant) {
        self.base.hub.on_time(now);
        loop {
            while let Some(outcome) = self.base.hub.next_outcome() {
                match outcome {
                    Outcome::Answered(note, response) => {
                        reading::take(&mut self.base, &mut self.machine, now, note, &response);
                    }
                    Outcome::Lost(note) | Outcome::Refused(note, _) | Outcome::Written(note) => {
                        reading::on_lost(&mut self.base, &mut self.machine, now, note);
                    }
                }
            }
            if !reading::act(&mut self.base, &mut self.machine, now) {
                return;
            }
        }
    }

    fn own_deadline(&self, now: Instant) -> Option<Instant> {
        self.machine.next_deadline(now)
    }
}
