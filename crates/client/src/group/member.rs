//! One member of a group as a machine: finds the coordinator, keeps the membership, owns
//! partitions, finds where they go on, commits what was worked on. What to send comes out, what
//! was answered goes in, time is an argument. `classic` and `consumer` are its two protocols.
//!
//! Whose turn it is matters as much as time: what was handed out counts as worked on when the
//! program comes back ([`begin_turn`](Member::begin_turn)), and partitions that it was told to let
//! go of are still its own until then.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use klamm_model::{Instant, NodeId, Offset, Random, Timestamp, TopicName};
use klamm_wire::Message;

use super::classic::Round;
use super::commits::Commits;
use super::consumer::Report;
use super::events::{Action, CommitError, CommitId, GroupEvent, Purpose};
use super::offsets::{self, CommittedOffset, Committer};
use super::options::{GroupOptions, MembershipProtocol};
use crate::admin;
use crate::metadata::{Cluster, PartitionName};

/// OffsetFetch is sent in the shape of one group, which is enough for one member.
const OFFSET_FETCH_VERSION: i16 = 7;

/// FindCoordinator is sent in the shape of one group.
const FIND_VERSION: i16 = 3;

/// The coordinator, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Unknown { not_before: Instant },
    Asked,
    At(NodeId),
}

/// Where the membership stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Waits for the program to come back.
    Outside,
    /// Joins, again or for the first time, from this time on.
    Ready { not_before: Instant },
    /// An answer to the join is awaited.
    Joining,
    /// This member divides the work, once it knows the topics.
    Dividing(Round),
    /// The assignment is awaited.
    Syncing,
    /// A member with its assignment.
    Stable,
    /// The program is being told of partitions that it loses, and what it worked on is committed;
    /// then a round follows, or a report.
    LettingGo(LettingGo),
    /// What was worked on is committed; then it leaves.
    Closing { until: Instant, left: bool },
    /// The end.
    Closed,
}

/// Partitions that the program lets go of.
#[derive(Debug)]
pub(super) struct LettingGo {
    pub(super) partitions: BTreeSet<PartitionName>,
    /// The program was handed the event.
    pub(super) told: bool,
    /// The program came back after it: commits are under way until then.
    pub(super) until: Option<Instant>,
}

/// When the coordinator was heard, and when it hears next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heartbeats {
    pub(super) next: Instant,
    /// When the one in flight was sent; or the join, or the sync.
    pub(super) sent: Option<Instant>,
    /// When the last one that was answered was sent.
    pub(super) heard: Instant,
    /// When the last one was sent whose answer told of no new round.
    pub(super) calm: Instant,
    pub(super) interval: Duration,
}

/// Positions that have to be found.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) wanted: BTreeSet<PartitionName>,
    pub(super) asked: Option<BTreeSet<PartitionName>>,
    pub(super) not_before: Instant,
}

/// The program's turn.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// It waits for events: nothing is being worked on.
    open: bool,
    /// When it began or ended last.
    since: Instant,
}

/// The machine.
pub(crate) struct Member {
    pub(super) options: GroupOptions,
    /// Wall time at the beginning of the machine's clock.
    pub(super) started: Timestamp,
    pub(super) random: Random,
    pub(super) topics: Vec<TopicName>,
    pub(super) place: Place,
    pub(super) failures: u32,
    pub(super) id: String,
    /// The generation, or the member's epoch.
    pub(super) generation: i32,
    pub(super) phase: Phase,
    /// Counts joins and losses: answers that belong to an earlier one are passed over.
    pub(super) exchange: u64,
    pub(super) beats: Heartbeats,
    pub(super) round: Option<Round>,
    /// How the work of the round is divided.
    pub(super) divided_by: String,
    pub(super) watch_at: Option<Instant>,
    pub(super) report: Report,
    pub(super) owned: BTreeSet<PartitionName>,
    pub(super) search: Search,
    pub(super) commits: Commits,
    turn: Turn,
    /// What was handed out since the turn began.
    pub(super) handed: Vec<(PartitionName, Offset)>,
    pub(super) events: VecDeque<GroupEvent>,
    actions: VecDeque<Action>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Member")
            .field("group", &self.options.group)
            .field("id", &self.id)
            .field("generation", &self.generation)
            .field("phase", &self.phase)
            .field("place", &self.place)
            .field("owned", &self.owned)
            .finish_non_exhaustive()
    }
}

impl Member {
    pub(crate) fn new(
        options: GroupOptions,
        topics: Vec<TopicName>,
        started: Timestamp,
        seed: u64,
    ) -> Self {
        let commits = Commits::new(options.auto_commit, options.commit_timeout);
        let mut topics = topics;
        topics.sort_unstable();
        topics.dedup();
        Self {
            started,
            random: Random::new(seed),
            topics,
            place: Place::Unknown {
                not_before: Instant::default(),
            },
            failures: 0,
            id: String::new(),
            generation: -1,
            phase: Phase::Outside,
            exchange: 0,
            beats: Heartbeats {
                interval: options.heartbeat_interval,
                ..Heartbeats::default()
            },
            round: None,
            divided_by: String::new(),
            watch_at: None,
            report: Report::default(),
            owned: BTreeSet::new(),
            search: Search::default(),
            commits,
            turn: Turn {
                open: false,
                since: Instant::default(),
            },
            handed: Vec::new(),
            events: VecDeque::new(),
            actions: VecDeque::new(),
            options,
        }
    }

    pub(crate) const fn options(&self) -> &GroupOptions {
        &self.options
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) const fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) const fn owned(&self) -> &BTreeSet<PartitionName> {
        &self.owned
    }

    /// What the program may be working on, or will be handed.
    #[cfg(test)]
    pub(crate) fn holds(&self) -> BTreeSet<PartitionName> {
        if self.is_over() {
            return BTreeSet::new();
        }
        let mut holds = self.owned.clone();
        if let Phase::LettingGo(it) = &self.phase {
            holds.extend(it.partitions.iter().cloned());
        }
        holds
    }

    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// True if the member has its assignment and no round goes on.
    pub(crate) const fn is_stable(&self) -> bool {
        matches!(self.phase, Phase::Stable)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. } | Phase::Closed)
    }

    /// The program asks for what comes next: all that it was handed is worked on.
    /// True if that lets the membership move.
    pub(crate) fn begin_turn(&mut self, now: Instant) -> bool {
        self.turn = Turn {
            open: true,
            since: now,
        };
        for (partition, next) in std::mem::take(&mut self.handed) {
            let letting_go = match &self.phase {
                Phase::LettingGo(it) => it.partitions.contains(&partition),
                _ => false,
            };
            if letting_go || self.owned.contains(&partition) {
                self.commits.work_done(partition, next);
            }
        }
        match &mut self.phase {
            Phase::Outside => self.phase = Phase::Ready { not_before: now },
            Phase::LettingGo(it) if it.told && it.until.is_none() => {
                it.until = Some(now.plus(self.options.commit_timeout));
                self.commits.want_all(now);
            }
            _ => return false,
        }
        true
    }

    /// A record was handed to the program; `next` lies behind it.
    pub(crate) fn on_handed(&mut self, now: Instant, partition: &PartitionName, next: Offset) {
        match self.handed.last_mut() {
            Some((last, offset)) if last == partition => *offset = next,
            _ => self.handed.push((partition.clone(), next)),
        }
        self.end_turn(now);
    }

    fn end_turn(&mut self, now: Instant) {
        self.turn = Turn {
            open: false,
            since: now,
        };
    }

    /// What happened to the membership.
    pub(crate) fn next_event(&mut self, now: Instant) -> Option<GroupEvent> {
        let event = self.events.pop_front()?;
        if let (GroupEvent::Revoked(_), Phase::LettingGo(it)) = (&event, &mut self.phase) {
            it.told = true;
        }
        self.end_turn(now);
        Some(event)
    }

    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The program sought a position: the group's does not count any more.
    pub(crate) fn on_sought(&mut self, partition: &PartitionName) -> bool {
        if !self.owned.contains(partition) {
            return false;
        }
        self.search.wanted.remove(partition);
        if let Some(asked) = &mut self.search.asked {
            asked.remove(partition);
        }
        self.handed.retain(|(other, _)| other != partition);
        self.commits.begin(partition, None);
        true
    }

    /// Commits what was handed out so far.
    pub(crate) fn commit(&mut self, now: Instant) -> CommitId {
        for (partition, next) in std::mem::take(&mut self.handed) {
            if self.owned.contains(&partition) {
                self.commits.work_done(partition, next);
            }
        }
        let open = self.commits.open();
        self.commit_offsets(now, open)
    }

    /// Commits these offsets.
    pub(crate) fn commit_offsets(
        &mut self,
        now: Instant,
        offsets: std::collections::BTreeMap<PartitionName, CommittedOffset>,
    ) -> CommitId {
        let id = self.commits.want(now, offsets);
        match self.phase {
            Phase::Closed => self.commits.end_all(&CommitError::Ended),
            Phase::Outside => self.refuse_commits(),
            _ => {}
        }
        id
    }

    pub(crate) fn next_commit(&mut self) -> Option<(CommitId, Result<(), CommitError>)> {
        self.commits.next_done()
    }

    /// Begins to leave; `worked_on` says whether what was handed out last counts as worked on.
    pub(crate) fn close(&mut self, now: Instant, worked_on: bool) {
        if self.is_over() {
            return;
        }
        if !worked_on {
            self.handed.clear();
        }
        self.begin_turn(now);
        if let Phase::LettingGo(it) = &self.phase {
            // Nothing of them is handed out any more, but what was may be committed.
            self.owned.extend(it.partitions.iter().cloned());
        }
        if self.beats() {
            self.commits.want_all(now);
        }
        self.phase = Phase::Closing {
            until: now.plus(self.options.commit_timeout),
            left: false,
        };
    }

    // What to do.

    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn tell(&mut self, event: GroupEvent) {
        self.events.push_back(event);
    }

    pub(super) fn send(
        &mut self,
        purpose: Purpose,
        request: impl Message + Send + 'static,
        version_max: i16,
    ) {
        self.send_patiently(purpose, request, version_max, Duration::ZERO);
    }

    pub(super) fn send_patiently(
        &mut self,
        purpose: Purpose,
        request: impl Message + Send + 'static,
        version_max: i16,
        patience: Duration,
    ) {
        let node = match (purpose, self.place) {
            (Purpose::Find, _) => None,
            (_, Place::At(node)) => Some(node),
            _ => return,
        };
        self.push(Action::Send {
            node,
            request: Box::new(request),
            version_max,
            patience,
            purpose,
        });
    }

    /// The pause before the next attempt; longer with every failure in a row.
    pub(super) fn pause(&mut self) -> Duration {
        let first = self.options.fetch.retry_backoff;
        let pause = first.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        pause.min(self.options.fetch.retry_backoff_max.max(first))
    }

    /// Decides what is to be done now; ask for [`next_action`](Self::next_action) afterwards.
    pub(crate) fn poll(&mut self, now: Instant, cluster: &Cluster) {
        if matches!(self.phase, Phase::Closed | Phase::Outside) {
            return;
        }
        self.commits.expire(now);
        self.check_program(now);
        self.check_session(now);
        self.find_coordinator(now);
        match self.options.protocol {
            MembershipProtocol::Classic => self.poll_classic(now, cluster),
            MembershipProtocol::Consumer => self.poll_consumer(now, cluster),
        }
        if self.may_commit() {
            if self.is_stable() {
                self.commits.on_time(now);
            }
            self.send_commit(now);
            self.send_search(now);
        }
        self.end_letting_go(now);
        self.leave_at_last(now);
    }

    /// A program that works too long on what it was handed is taken for dead.
    fn check_program(&mut self, now: Instant) {
        let limit = self.options.max_poll_interval;
        if self.turn.open || self.is_over() || now.since(self.turn.since) <= limit {
            return;
        }
        let reason =
            format!("the program did not come back within max.poll.interval.ms ({limit:?})");
        self.send_leave("max.poll.interval.ms is over");
        self.lose(&reason);
        self.forget_membership();
        self.phase = Phase::Outside;
    }

    /// Who was not heard for so long is no member any more, as far as it can know; nor is one that
    /// did not let go in time of what others wait for.
    fn check_session(&mut self, now: Instant) {
        if self.owned.is_empty() && !matches!(self.phase, Phase::LettingGo(_)) {
            return;
        }
        let (session, round) = (self.options.session_timeout, self.options.max_poll_interval);
        let reason = if self.holds_session() && now.since(self.beats.heard) > session {
            format!("the coordinator was not heard within session.timeout.ms ({session:?})")
        } else if self.owes_round() && now.since(self.beats.calm) > round {
            format!("a round was not joined within max.poll.interval.ms ({round:?})")
        } else {
            return;
        };
        self.lose(&reason);
        self.begin_exchange();
        self.generation = match self.options.protocol {
            MembershipProtocol::Classic => -1,
            MembershipProtocol::Consumer => 0,
        };
        self.phase = Phase::Ready { not_before: now };
    }

    /// True while others may wait for this member.
    const fn owes_round(&self) -> bool {
        matches!(self.phase, Phase::LettingGo(_) | Phase::Ready { .. })
    }

    fn find_coordinator(&mut self, now: Instant) {
        let Place::Unknown { not_before } = self.place else {
            return;
        };
        if not_before > now {
            return;
        }
        self.place = Place::Asked;
        let request = admin::find_coordinators(&[&self.options.group], FIND_VERSION);
        self.send(Purpose::Find, request, FIND_VERSION);
    }

    /// The coordinator is another, or is not there.
    pub(super) fn lose_coordinator(&mut self, now: Instant) {
        let not_before = now.plus(self.pause());
        self.place = Place::Unknown { not_before };
        self.begin_exchange();
    }

    /// Answers to what is in flight will be passed over; what has to be asked is asked again.
    pub(super) fn begin_exchange(&mut self) {
        self.exchange += 1;
        self.beats.sent = None;
        self.search.asked = None;
        self.commits.again();
    }

    fn may_commit(&self) -> bool {
        matches!(self.place, Place::At(_))
            && matches!(
                self.phase,
                Phase::Stable | Phase::LettingGo(_) | Phase::Closing { left: false, .. }
            )
    }

    pub(super) fn committer(&self) -> Committer {
        Committer {
            member: self.id.clone(),
            instance: self.options.instance.clone(),
            generation: self.generation,
        }
    }

    fn send_commit(&mut self, now: Instant) {
        let mut owned = self.owned.clone();
        if let Phase::LettingGo(it) = &self.phase {
            owned.extend(it.partitions.iter().cloned());
        }
        let Some(offsets) = self.commits.next(now, &owned) else {
            return;
        };
        let request = offsets::commit(&self.options.group, &self.committer(), &offsets);
        let purpose = Purpose::Commit(self.exchange);
        self.send(purpose, request, offsets::COMMIT_VERSION_MAX);
    }

    fn send_search(&mut self, now: Instant) {
        let search = &mut self.search;
        if search.wanted.is_empty() || search.asked.is_some() || now < search.not_before {
            return;
        }
        let wanted: Vec<PartitionName> = search.wanted.iter().cloned().collect();
        search.asked = Some(search.wanted.clone());
        let request = offsets::fetch(
            &self.options.group,
            &Committer::nobody(),
            Some(&wanted),
            OFFSET_FETCH_VERSION,
        );
        let purpose = Purpose::Offsets(self.exchange);
        self.send(purpose, request, OFFSET_FETCH_VERSION);
    }

    /// When [`poll`](Self::poll) has something to do without further input.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Closed | Phase::Outside) {
            return None;
        }
        let place = match self.place {
            Place::Unknown { not_before } => Some(not_before),
            Place::Asked | Place::At(_) => None,
        };
        let found = matches!(self.place, Place::At(_));
        let phase = match &self.phase {
            Phase::Ready { not_before } if found => Some(*not_before),
            Phase::LettingGo(it) => it.until,
            Phase::Closing { until, left: false } => Some(*until),
            _ => None,
        };
        let beat = (found && self.beats.sent.is_none() && self.beats()).then_some(self.beats.next);
        let search = !self.search.wanted.is_empty() && self.search.asked.is_none();
        let search = (search && self.may_commit()).then_some(self.search.not_before);
        let commits = self.may_commit().then(|| self.commits.next_send());
        let due = self.commits.due();
        let due = due.filter(|_| self.is_stable() && self.may_commit());
        let slack = Duration::from_millis(1);
        let idle_max = self.options.max_poll_interval + slack;
        let program = (!self.turn.open && !self.is_over()).then(|| self.turn.since.plus(idle_max));
        let silence_max = self.options.session_timeout + slack;
        let letting_go = matches!(self.phase, Phase::LettingGo(_));
        let holds = letting_go || !self.owned.is_empty();
        let session = (holds && self.holds_session()).then(|| self.beats.heard.plus(silence_max));
        let round = (holds && self.owes_round()).then(|| self.beats.calm.plus(idle_max));
        let watch = self.watch_at.filter(|_| found && self.is_stable());
        let dividing = match &self.phase {
            Phase::Dividing(round) if found => round.ask_at(),
            _ => None,
        };
        let report = self.report.next_deadline();
        let report = report.filter(|_| found && self.is_stable());
        [
            place,
            phase,
            beat,
            search,
            commits.flatten(),
            due,
            program,
            session,
            round,
            watch,
            dividing,
            report,
            self.commits.expires_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn holds_session(&self) -> bool {
        self.options.protocol == MembershipProtocol::Classic
            && matches!(
                self.phase,
                // While it divides the work, the coordinator waits for it as for one that works.
                Phase::Stable | Phase::LettingGo(_) | Phase::Ready { .. } | Phase::Dividing(_)
            )
    }

    /// True while the coordinator is to hear from this member.
    pub(super) fn beats(&self) -> bool {
        matches!(self.phase, Phase::Stable | Phase::LettingGo(_))
    }
}
