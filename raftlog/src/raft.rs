//! The machine's state, its inputs from the host, and the draining of its output. Elections are in
//! `election.rs`, the flow of entries in `replication.rs`; both are methods of [`Raft`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::config::{Config, HardState, Instant, Recovered, Role};
use crate::errors::{ProposeError, RecoverError, StepError};
use crate::log::{Entry, Index, Log, LogPosition, Payload, Term};
use crate::membership::{ChangeError, NodeId, VOTERS_MAX, VoterChange, VoterSet};
use crate::message::{Message, MessageBody, Snapshot};
use crate::progress::Progress;
use crate::ready::{Append, Generation, IndexRange, Ready, RoleChange};

/// Most messages held back while hard state is being written; more are dropped, as a network may.
const HELD_MESSAGES_MAX: usize = 4096;

/// One node of the quorum. See the crate's documentation for the host's duties.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    random: u64,

    pub(crate) hard: HardState,
    hard_flushed: HardState,
    hard_unsent: bool,

    pub(crate) log: Log,
    /// Voter sets by the index from which they rule; the first is that of the log's base.
    voters: Vec<(Index, VoterSet)>,
    /// The newest snapshot, for slow followers; at the log's base unless that is zero.
    pub(crate) snapshot: Option<Snapshot>,

    pub(crate) commit: Index,
    exposed: Index,
    flushed: Index,
    generation: Generation,
    /// An installed snapshot that is not yet durable.
    snapshot_unflushed: Option<Index>,
    /// Everything up to here is the current leader's log.
    pub(crate) verified: Index,

    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    pub(crate) leader_heard_at: Option<Instant>,
    pub(crate) election_at: Instant,
    pub(crate) votes: BTreeMap<NodeId, bool>,

    pub(crate) progress: BTreeMap<NodeId, Progress>,
    pub(crate) reign_start: Index,
    pub(crate) heartbeat_at: Instant,
    /// To whom leadership is being handed, and until when.
    pub(crate) transfer: Option<(NodeId, Instant)>,
    uncommitted_bytes: usize,

    outgoing: Vec<Message>,
    held: Vec<Message>,
    /// Last entry that the host was told to append.
    handed_over: Index,
    truncate_unsent: Option<Index>,
    snapshot_unsent: bool,
    role_unsent: bool,
}

impl Raft {
    /// Starts a node from what the host recovered. A quorum of one campaigns at once.
    ///
    /// # Errors
    /// If the recovered entries are no log.
    pub fn new(config: Config, recovered: Recovered, now: Instant) -> Result<Self, RecoverError> {
        let base = recovered
            .snapshot
            .as_ref()
            .map_or(LogPosition::ZERO, |snapshot| snapshot.position);
        let first_voters = recovered
            .snapshot
            .as_ref()
            .map_or(recovered.first_voters, |snapshot| snapshot.voters.clone());
        let mut raft = Self {
            random: config.seed ^ (config.node.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            config,
            now,
            hard: recovered.hard_state,
            hard_flushed: recovered.hard_state,
            hard_unsent: false,
            log: Log::new(base),
            voters: vec![(base.index, first_voters)],
            snapshot: recovered.snapshot,
            commit: base.index,
            exposed: base.index,
            flushed: base.index,
            generation: Generation::default(),
            snapshot_unflushed: None,
            verified: Index::ZERO,
            role: Role::Follower,
            leader: None,
            leader_heard_at: None,
            election_at: now,
            votes: BTreeMap::new(),
            progress: BTreeMap::new(),
            reign_start: Index::ZERO,
            heartbeat_at: now,
            transfer: None,
            uncommitted_bytes: 0,
            outgoing: Vec::new(),
            held: Vec::new(),
            handed_over: base.index,
            truncate_unsent: None,
            snapshot_unsent: false,
            role_unsent: true,
        };
        for entry in recovered.entries {
            raft.recover_entry(entry)?;
        }
        let last = raft.log.last();
        if raft.hard.term > Term::MAX || last.term > Term::MAX {
            return Err(RecoverError::Term {
                index: last.index,
                found: raft.hard.term.max(last.term),
            });
        }
        // Entries may become durable before the hard state of their term; no vote was sent then.
        if last.term > raft.hard.term {
            raft.change_hard_state(HardState {
                term: last.term,
                vote: None,
            });
        }
        raft.flushed = last.index;
        raft.handed_over = last.index;
        raft.await_election();
        if raft.voters().is_only(raft.config.node) {
            raft.campaign(false);
        }
        raft.check();
        Ok(raft)
    }

    fn recover_entry(&mut self, entry: Entry) -> Result<(), RecoverError> {
        let last = self.log.last();
        if entry.index != last.index.next() {
            return Err(RecoverError::Gap {
                expected: last.index.next(),
                found: entry.index,
            });
        }
        if entry.term < last.term {
            return Err(RecoverError::Term {
                index: entry.index,
                found: entry.term,
            });
        }
        if let Payload::Voters(voters) = &entry.payload
            && voters.len() > VOTERS_MAX
        {
            return Err(RecoverError::Voters {
                found: voters.len(),
            });
        }
        self.push(entry);
        Ok(())
    }

    // ---- inputs -------------------------------------------------------------------------------

    /// Proposes payloads as consecutive entries. They are committed when `ready` says so, and only
    /// then; if leadership is lost first, they may or may not survive.
    ///
    /// # Errors
    /// If this node does not lead, or holds too much uncommitted.
    pub fn propose(&mut self, payloads: Vec<Bytes>) -> Result<IndexRange, ProposeError> {
        if self.role != Role::Leader || self.transfer.is_some() {
            let leader = self.leader.filter(|&node| node != self.config.node);
            return Err(ProposeError::NotLeader { leader });
        }
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        let count = payloads.len() as u64;
        if count == 0
            || bytes > self.config.uncommitted_bytes_max
            || count > self.config.uncommitted_entries_max
        {
            return Err(ProposeError::Size);
        }
        let waiting = self.log.last().index.0 - self.commit.0;
        if waiting + count > self.config.uncommitted_entries_max
            || self.uncommitted_bytes + bytes > self.config.uncommitted_bytes_max
        {
            return Err(ProposeError::Busy);
        }
        let first = self.log.last().index.next();
        for payload in payloads {
            self.append_own(Payload::Data(payload));
        }
        let last = self.log.last().index;
        self.send_entries_to_all();
        self.check();
        Ok(IndexRange { first, last })
    }

    /// Proposes one more or one less voter. The new set rules at once, and is safe to rely on when
    /// its entry is committed. Returns the entry's index.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn propose_voters(&mut self, change: VoterChange) -> Result<Index, ChangeError> {
        // Being `Leader` rather than `Elected` is the rule that repairs single-server change: an
        // entry of the own term is committed, so no older leader's change can still surface (M32).
        if self.role != Role::Leader || self.transfer.is_some() {
            return Err(ChangeError::NotLeader);
        }
        if self.voters_since() > self.commit {
            return Err(ChangeError::ChangeUnderWay);
        }
        let voters = self.voters().with(change)?;
        self.append_own(Payload::Voters(voters));
        self.send_entries_to_all();
        if let VoterChange::Add(node) = change {
            self.send_commit(node);
        }
        self.check();
        Ok(self.log.last().index)
    }

    /// Hands leadership to another voter, once it has the whole log. Proposals are refused until
    /// it has worked or an election timeout has passed.
    ///
    /// # Errors
    /// If this node does not lead or the other does not vote.
    pub fn transfer_leadership(&mut self, to: NodeId) -> Result<(), ChangeError> {
        if self.role != Role::Leader {
            return Err(ChangeError::NotLeader);
        }
        if !self.voters().contains(to) {
            return Err(ChangeError::Absent);
        }
        if to != self.config.node {
            self.transfer = Some((to, self.now.plus(self.config.election_timeout)));
            self.continue_transfer(to);
        }
        self.check();
        Ok(())
    }

    /// Takes a peer's message.
    ///
    /// # Errors
    /// If the message makes no sense; then the log has not changed.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        if message.to != self.config.node || message.from == self.config.node {
            return Err(StepError::Misdirected);
        }
        if message.term > Term::MAX {
            return Err(StepError::Term);
        }
        self.check_entries(&message)?;
        let taken = self.take(message);
        self.check();
        taken
    }

    /// The hard state that `ready` handed out is durable.
    pub fn on_vote_flushed(&mut self, flushed: HardState) {
        if flushed == self.hard {
            self.hard_flushed = flushed;
            let held = std::mem::take(&mut self.held);
            self.outgoing.extend(held);
            if self.role == Role::Candidate {
                self.count_vote(self.config.node, true);
            }
        }
        self.check();
    }

    /// All entries up to `last` are durable. `generation` is that of the append.
    pub fn on_flushed(&mut self, last: Index, generation: Generation) {
        if generation == self.generation && last > self.flushed {
            assert!(
                last <= self.handed_over,
                "flushed {last}, but only {} was handed over",
                self.handed_over
            );
            self.flushed = last;
            self.on_durable();
        }
        self.check();
    }

    /// The snapshot that `ready` handed out is durable.
    pub fn on_snapshot_flushed(&mut self, index: Index) {
        if self.snapshot_unflushed == Some(index) {
            self.snapshot_unflushed = None;
            self.on_durable();
        }
        self.check();
    }

    fn on_durable(&mut self) {
        if self.role.reigns() {
            self.advance_commit();
        } else if let Some(leader) = self.leader {
            self.send_accepted(leader);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.role.reigns() {
            self.tick_leader();
        } else if self.now >= self.election_at && self.may_campaign() {
            if self.voters().is_only(self.config.node) {
                self.campaign(false);
            } else {
                self.ask_for_pre_votes();
            }
        }
        self.check();
    }

    /// The state machine has written a durable snapshot of everything up to `index`: drops the
    /// entries below. False, and nothing happens, if `index` is no replayed entry of this log or
    /// lies before an earlier snapshot.
    pub fn compact(&mut self, index: Index, data: Bytes) -> bool {
        let base = self.log.base().index;
        if index <= base || index > self.exposed {
            return false;
        }
        let Some(position) = self.log.position_at(index) else {
            return false;
        };
        let voters = self.voters_at(index).clone();
        self.snapshot = Some(Snapshot {
            position,
            voters: voters.clone(),
            data,
        });
        self.log.trim_to(position);
        self.voters.retain(|&(since, _)| since > index);
        self.voters.insert(0, (index, voters));
        self.check();
        true
    }

    // ---- output -------------------------------------------------------------------------------

    /// Takes what is to be done since the last call. See the crate's documentation.
    pub fn ready(&mut self) -> Ready {
        let hard_state = std::mem::take(&mut self.hard_unsent).then_some(self.hard);
        let snapshot = if std::mem::take(&mut self.snapshot_unsent) {
            self.snapshot.clone()
        } else {
            None
        };
        let entries = self
            .log
            .slice(self.handed_over.next(), usize::MAX, usize::MAX);
        let append = (!entries.is_empty()).then(|| {
            self.handed_over = self.log.last().index;
            Append {
                entries,
                generation: self.generation,
            }
        });
        let replayable = self.commit.min(self.durable());
        let committed = (replayable > self.exposed).then(|| {
            let first = self.exposed.next();
            self.exposed = replayable;
            IndexRange {
                first,
                last: replayable,
            }
        });
        let role = std::mem::take(&mut self.role_unsent).then_some(RoleChange {
            term: self.hard.term,
            role: self.role,
            leader: self.leader,
        });
        let ready = Ready {
            hard_state,
            snapshot,
            truncate_after: self.truncate_unsent.take(),
            append,
            messages: std::mem::take(&mut self.outgoing),
            committed,
            role,
        };
        self.check();
        ready
    }

    // ---- what is ------------------------------------------------------------------------------

    /// This node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.config.node
    }

    /// The newest term that this node knows.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.hard.term
    }

    /// This node's role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Everything up to here is durable on a majority.
    #[must_use]
    pub const fn commit_index(&self) -> Index {
        self.commit
    }

    /// Everything up to here was handed out as committed.
    #[must_use]
    pub const fn exposed_index(&self) -> Index {
        self.exposed
    }

    /// The last entry of this node's log.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.log.last()
    }

    /// The last entry before those held: that of the newest snapshot.
    #[must_use]
    pub const fn base(&self) -> LogPosition {
        self.log.base()
    }

    /// The entry at `index`, if it is neither compacted nor beyond the end.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.entry(index)
    }

    /// The voters that rule now.
    #[must_use]
    pub fn voters(&self) -> &VoterSet {
        &self.voters.last().expect("the base's set always stays").1
    }

    /// How far each peer's durable log is known to agree, on the leader; else empty.
    pub fn matched(&self) -> impl Iterator<Item = (NodeId, Index)> + '_ {
        self.progress
            .iter()
            .map(|(&node, progress)| (node, progress.matched))
    }

    // ---- shared by the other files --------------------------------------------------------------

    pub(crate) fn voters_since(&self) -> Index {
        self.voters.last().expect("the base's set always stays").0
    }

    /// Whether this node votes, or did until a change that is not yet committed. In the second case
    /// it may be the only node that holds the change, and so the only one that can be elected
    /// (Ongaro's dissertation, 4.2.2).
    pub(crate) fn may_campaign(&self) -> bool {
        let own = self.config.node;
        self.voters().contains(own)
            || (self.voters_since() > self.commit && self.voters_at(self.commit).contains(own))
    }

    fn voters_at(&self, index: Index) -> &VoterSet {
        let ruling = self.voters.iter().rev().find(|(since, _)| *since <= index);
        &ruling.expect("the base's set always stays").1
    }

    /// End of what counts as durable: nothing while an installed snapshot is being written.
    pub(crate) fn durable(&self) -> Index {
        if self.snapshot_unflushed.is_some() {
            Index::ZERO
        } else {
            self.flushed
        }
    }

    pub(crate) fn vote_is_durable(&self) -> bool {
        self.hard == self.hard_flushed
    }

    pub(crate) fn next_random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): spreads timeouts, guards nothing.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn change_hard_state(&mut self, hard: HardState) {
        assert!(hard.term >= self.hard.term, "terms never go back (R5)");
        assert!(
            hard.term > self.hard.term || self.hard.vote.is_none() || self.hard.vote == hard.vote,
            "one vote a term (R6)"
        );
        if hard != self.hard {
            self.hard = hard;
            self.hard_unsent = true;
        }
    }

    pub(crate) fn set_role(&mut self, role: Role, leader: Option<NodeId>) {
        if (role, leader) != (self.role, self.leader) {
            self.role = role;
            self.leader = leader;
            self.role_unsent = true;
        }
    }

    pub(crate) fn note_new_term(&mut self) {
        self.role_unsent = true;
    }

    /// Sends, or holds back until the hard state is durable.
    pub(crate) fn send(&mut self, to: NodeId, term: Term, body: MessageBody) {
        let message = Message {
            from: self.config.node,
            to,
            term,
            body,
        };
        if self.vote_is_durable() {
            self.outgoing.push(message);
        } else if self.held.len() < HELD_MESSAGES_MAX {
            self.held.push(message);
        }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if let Payload::Voters(voters) = &entry.payload {
            self.voters.push((entry.index, voters.clone()));
        }
        self.log.append(entry);
    }

    pub(crate) fn append_own(&mut self, payload: Payload) {
        assert!(self.role.reigns(), "only a leader writes entries");
        self.uncommitted_bytes += payload.weight();
        let membership = matches!(payload, Payload::Voters(_));
        self.push(Entry {
            index: self.log.last().index.next(),
            term: self.hard.term,
            payload,
        });
        if membership {
            self.match_progress_to_members();
        }
    }

    pub(crate) fn count_uncommitted(&mut self) {
        let mut index = self.commit.next();
        self.uncommitted_bytes = 0;
        while let Some(entry) = self.log.entry(index) {
            self.uncommitted_bytes += entry.payload.weight();
            index = index.next();
        }
    }

    pub(crate) fn set_commit(&mut self, commit: Index) {
        assert!(commit >= self.commit, "commit never goes back (R5)");
        if self.role.reigns() {
            let mut index = self.commit.next();
            while index <= commit {
                let weight = self.log.entry(index).map_or(0, |e| e.payload.weight());
                self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(weight);
                index = index.next();
            }
        }
        self.commit = commit;
    }

    /// Cuts the log's end, which conflicts with the leader's.
    pub(crate) fn truncate_after(&mut self, index: Index) {
        assert!(index >= self.commit, "no truncation below commit (R7)");
        self.log.truncate_after(index);
        self.voters.retain(|&(since, _)| since <= index);
        if index < self.handed_over {
            self.handed_over = index;
            self.truncate_unsent = Some(self.truncate_unsent.map_or(index, |cut| cut.min(index)));
            self.generation = Generation(self.generation.0 + 1);
            self.flushed = self.flushed.min(index);
        }
        self.verified = self.verified.min(index);
    }

    /// Replaces the whole log by a snapshot.
    pub(crate) fn install(&mut self, snapshot: Snapshot) {
        let position = snapshot.position;
        assert!(position.index > self.commit, "only a newer snapshot helps");
        self.log = Log::new(position);
        self.voters = vec![(position.index, snapshot.voters.clone())];
        self.snapshot = Some(snapshot);
        self.snapshot_unsent = true;
        self.snapshot_unflushed = Some(position.index);
        self.truncate_unsent = None;
        self.generation = Generation(self.generation.0 + 1);
        self.handed_over = position.index;
        self.flushed = position.index;
        self.commit = position.index;
        self.exposed = position.index;
    }

    pub(crate) fn match_progress_to_members(&mut self) {
        if !self.role.reigns() {
            self.progress.clear();
            return;
        }
        let mut members: BTreeSet<NodeId> = self.voters().iter().collect();
        members.remove(&self.config.node);
        self.progress.retain(|node, _| members.contains(node));
        let next = self.log.last().index.next();
        for node in members {
            let now = self.now;
            self.progress
                .entry(node)
                .or_insert_with(|| Progress::new(next, now));
        }
    }

    /// The position line and the role's own invariants; runs after every input.
    fn check(&self) {
        let (base, last) = (self.log.base().index, self.log.last().index);
        assert!(
            base <= self.exposed && self.exposed <= self.commit && self.commit <= last,
            "base {base} <= exposed {} <= commit {} <= last {last}",
            self.exposed,
            self.commit
        );
        assert!(
            self.exposed <= self.flushed && self.flushed <= self.handed_over,
            "exposed {} <= flushed {} <= handed over {}",
            self.exposed,
            self.flushed,
            self.handed_over
        );
        assert!(self.handed_over <= last && self.verified <= last);
        assert!(self.log.last().term <= self.hard.term);
        assert_eq!(base > Index::ZERO, self.snapshot.is_some());
        if self.role.reigns() {
            assert_eq!(self.hard_flushed.term, self.hard.term, "votes are durable");
            assert_eq!(self.hard.vote, Some(self.config.node));
            assert_eq!(
                self.role == Role::Leader,
                self.commit >= self.reign_start,
                "a leader has committed an entry of its own term (R8)"
            );
            for progress in self.progress.values() {
                progress.check(last);
            }
        } else {
            assert!(self.progress.is_empty() && self.transfer.is_none());
        }
    }
}
