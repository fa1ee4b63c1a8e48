//! A consumer that is a member of a group, with its connections: bytes in and out, records,
//! partitions that come and go, and commits.

#[cfg(test)]
mod model;
#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;

use klamm_model::{Instant, Offset, Timestamp, TopicName};

use super::{Base, Note, Whole, reading};
use crate::connection::Response;
use crate::fetcher::{ConsumerOptions, Event, FetchError, Fetcher, StartAt};
use crate::group::member::Member;
use crate::group::{
    Action, CommitError, CommitId, CommittedOffset, GroupEvent, GroupOptions, GroupReset,
};
use crate::hub::{HubOptions, Lane, Outcome, Outgoing};
use crate::metadata::{Cluster, PartitionName};

/// A member of a group without I/O.
///
/// A program alternates between asking for what comes next ([`next_event`](Self::next_event)) and
/// working on it. What it was handed counts as worked on when it asks again; only that is committed
/// by itself. Partitions are taken away by an event, [`GroupEvent::Revoked`], after which nothing of
/// them is handed out, and others get them only after the program has asked for the next event.
#[derive(Debug)]
pub struct SansIoGroupConsumer {
    base: Base,
    fetcher: Fetcher,
    member: Member,
}

impl SansIoGroupConsumer {
    /// A member for the cluster at these addresses (`host:port`, several separated by commas) that
    /// reads these topics. `started` is the wall time at the beginning of the driver's clock;
    /// `seed` makes ids.
    #[must_use]
    pub fn new(
        bootstrap: &str,
        hub: HubOptions,
        options: GroupOptions,
        topics: impl IntoIterator<Item = TopicName>,
        (started, seed): (Timestamp, u64),
    ) -> Self {
        let fetch = ConsumerOptions {
            offset_reset: options.offset_reset.of_fetcher(),
            ..options.fetch
        };
        let topics = topics.into_iter().collect();
        Self {
            base: Base::new(bootstrap, hub),
            fetcher: Fetcher::new(fetch),
            member: Member::new(options, topics, started, seed),
        }
    }

    /// The options given at the start.
    #[must_use]
    pub const fn options(&self) -> &GroupOptions {
        self.member.options()
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

    /// This member's id; empty until the coordinator has given one.
    #[must_use]
    pub fn member_id(&self) -> &str {
        self.member.id()
    }

    /// The generation, or this member's epoch (KIP-848); -1 for none.
    #[must_use]
    pub const fn generation(&self) -> i32 {
        self.member.generation()
    }

    /// What nobody else may work on yet: also what the program was not told of giving up.
    #[cfg(test)]
    fn holds(&self) -> std::collections::BTreeSet<PartitionName> {
        self.member.holds()
    }

    /// True if this member has its assignment and no round goes on.
    #[must_use]
    pub const fn is_stable(&self) -> bool {
        self.member.is_stable()
    }

    /// True once the membership is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.member.is_closed()
    }

    /// The partitions that are this member's, in the order of their names.
    pub fn assignment(&self) -> impl Iterator<Item = &PartitionName> {
        self.member.owned().iter()
    }

    /// The offset of the next record of a partition; `None` while it has to be found.
    #[must_use]
    pub fn position(&self, partition: &PartitionName) -> Option<Offset> {
        self.fetcher.position(partition)
    }

    /// Records between the position and the end that the leader told last.
    #[must_use]
    pub fn lag(&self, partition: &PartitionName) -> Option<u64> {
        self.fetcher.lag(partition)
    }

    /// Reads a partition that is this member's from here on. False if it is not.
    pub fn seek(
        &mut self,
        now: Instant,
        partition: &PartitionName,
        start: impl Into<StartAt>,
    ) -> bool {
        if !self.member.on_sought(partition) {
            return false;
        }
        self.fetcher.seek(partition.clone(), start);
        self.drive(now);
        true
    }

    /// Hands out and fetches nothing of a partition until it is resumed; it stays this member's.
    /// False if it is not read.
    pub fn pause(&mut self, partition: &PartitionName) -> bool {
        self.fetcher.pause(partition)
    }

    /// Goes on with a partition. False if it is not read.
    pub fn resume(&mut self, now: Instant, partition: &PartitionName) -> bool {
        let read = self.fetcher.resume(partition);
        self.drive(now);
        read
    }

    /// What comes next: all that was handed out before is worked on. `None`: let time pass.
    pub fn next_event(&mut self, now: Instant) -> Option<GroupEvent> {
        if self.member.begin_turn(now) {
            self.drive(now);
        }
        self.next_of_turn(now)
    }

    /// More of what is there, for a program that works on many at once: what was handed out before
    /// is not worked on yet.
    pub fn next_of_turn(&mut self, now: Instant) -> Option<GroupEvent> {
        let event = self.take_event(now);
        if event.is_some() {
            return event;
        }
        self.drive(now);
        self.take_event(now)
    }

    fn take_event(&mut self, now: Instant) -> Option<GroupEvent> {
        if let Some(event) = self.member.next_event(now) {
            return Some(event);
        }
        let event = self.fetcher.next_event()?;
        match &event {
            Event::Record(partition, record) => {
                self.member.on_handed(now, partition, record.offset.next());
            }
            Event::Failed(
                partition,
                FetchError::OutOfRange {
                    position,
                    log_start,
                },
            ) => {
                let by_time = matches!(self.options().offset_reset, GroupReset::ByDuration(_));
                if let Some(to) = self.member.reset(now).filter(|_| by_time) {
                    self.fetcher.seek(partition.clone(), to);
                    return Some(GroupEvent::Read(Event::Reset {
                        partition: partition.clone(),
                        position: *position,
                        log_start: *log_start,
                        to,
                    }));
                }
            }
            // What nobody wrote to is committed, too: it may be longer than the next member begins.
            Event::End(partition, position) => {
                self.member.on_handed(now, partition, *position);
            }
            Event::Reset { .. } | Event::Failed(..) => {}
        }
        Some(GroupEvent::Read(event))
    }

    /// Commits everything that was handed out; what became of it comes by
    /// [`next_commit`](Self::next_commit).
    pub fn commit(&mut self, now: Instant) -> CommitId {
        let id = self.member.commit(now);
        self.drive(now);
        id
    }

    /// Commits these offsets of partitions that are this member's.
    pub fn commit_offsets(
        &mut self,
        now: Instant,
        offsets: BTreeMap<PartitionName, CommittedOffset>,
    ) -> CommitId {
        let id = self.member.commit_offsets(now, offsets);
        self.drive(now);
        id
    }

    /// What became of commits that the program asked for, in order.
    pub fn next_commit(&mut self) -> Option<(CommitId, Result<(), CommitError>)> {
        self.member.next_commit()
    }

    /// Begins to leave: what was handed out counts as worked on and is committed, if that happens by
    /// itself; then the group is told. Over when [`is_closed`](Self::is_closed).
    pub fn close(&mut self, now: Instant) {
        self.member.close(now, true);
        self.drive(now);
    }

    /// The same for a program that gives up: what was handed out last does not count.
    pub fn leave(&mut self, now: Instant) {
        self.member.close(now, false);
        self.drive(now);
    }

    fn carry_out(&mut self, now: Instant, action: Action) {
        match action {
            Action::Refresh(topics) => self.base.ask_metadata(now, topics),
            Action::Start(partition, start) => self.fetcher.seek(partition, start),
            Action::Stop(partition) => self.fetcher.remove(&partition),
            Action::Send {
                node,
                request,
                version_max,
                patience,
                purpose,
            } => {
                let lane = match node {
                    Some(_) => Lane::Group,
                    None => Lane::Data,
                };
                let out = Outgoing {
                    note: Note::Group(purpose),
                    request,
                    version_max,
                    answered: true,
                    lane,
                    patience,
                };
                self.base.hub.send(now, node, &self.base.cluster, out);
            }
        }
    }

    fn take(&mut self, now: Instant, outcome: Outcome<Note>) {
        match outcome {
            Outcome::Answered(Note::Group(purpose), response) => {
                let cluster = &self.base.cluster;
                self.member.on_answer(now, purpose, &response, cluster);
            }
            Outcome::Answered(Note::Metadata(topics), response) => {
                self.on_metadata(now, topics, &response);
            }
            Outcome::Answered(note, response) => {
                reading::take(&mut self.base, &mut self.fetcher, now, note, &response);
            }
            Outcome::Refused(Note::Group(purpose), error) => {
                self.member.on_unserved(purpose, &error.to_string());
            }
            Outcome::Lost(Note::Group(purpose)) => self.member.on_lost(now, purpose),
            Outcome::Lost(note) | Outcome::Refused(note, _) | Outcome::Written(note) => {
                if matches!(note, Note::Metadata(_)) {
                    self.member.on_metadata_lost(now);
                }
                reading::on_lost(&mut self.base, &mut self.fetcher, now, note);
            }
        }
    }

    fn on_metadata(&mut self, now: Instant, topics: Vec<TopicName>, response: &Response) {
        self.base.on_metadata_end(&topics);
        match self.base.take_metadata(response) {
            Some(_) => self.member.on_metadata(&topics),
            None => self.member.on_metadata_lost(now),
        }
    }
}

impl Whole for SansIoGroupConsumer {
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
                self.take(now, outcome);
            }
            self.member.poll(now, &self.base.cluster);
            let mut acted = false;
            while let Some(action) = self.member.next_action() {
                acted = true;
                self.carry_out(now, action);
            }
            acted |= reading::act(&mut self.base, &mut self.fetcher, now);
            if !acted {
                return;
            }
        }
    }

    fn own_deadline(&self, now: Instant) -> Option<Instant> {
        let member = self.member.next_deadline();
        let fetcher = self.fetcher.next_deadline(now);
        member.into_iter().chain(fetcher).min()
    }
}
