//! Terms and votes: pre-vote, campaign, granting, the protection of a leader that is heard.

use crate::config::{HardState, Role};
use crate::errors::StepError;
use crate::log::{LogPosition, Payload, Term};
use crate::membership::NodeId;
use crate::message::{Message, MessageBody};
use crate::raft::Raft;

impl Raft {
    /// Sorts a message by its term, then by its kind.
    pub(crate) fn take(&mut self, message: Message) -> Result<(), StepError> {
        let Message {
            from, term, body, ..
        } = message;
        if term < self.hard.term {
            self.answer_stale(from, &body);
            return Ok(());
        }
        if term > self.hard.term && !self.takes_newer_term(&body) {
            return Ok(());
        }
        // A pre-vote asks about a term without entering it.
        match body {
            MessageBody::PreVote { last } => self.answer_pre_vote(from, term, last),
            MessageBody::PreVoteReply { granted: true } => self.count_pre_vote(from, term),
            MessageBody::PreVoteReply { granted: false } => self.enter_term(term),
            MessageBody::Vote { last, .. } => {
                self.enter_term(term);
                self.answer_vote(from, last);
            }
            MessageBody::VoteReply { granted } => {
                self.enter_term(term);
                if self.role == Role::Candidate {
                    self.count_vote(from, granted);
                }
            }
            MessageBody::Append {
                previous,
                entries,
                commit,
            } => {
                self.check_sole_leader(from, term)?;
                self.follow(from, term);
                return self.take_entries(previous, entries, commit);
            }
            MessageBody::Install { snapshot } => {
                self.check_sole_leader(from, term)?;
                self.follow(from, term);
                self.take_snapshot(snapshot);
            }
            MessageBody::AppendReply { outcome } => {
                self.enter_term(term);
                self.take_reply(from, outcome);
            }
            MessageBody::CampaignNow => {
                self.enter_term(term);
                if !self.role.reigns() && self.may_campaign() {
                    self.campaign(true);
                }
            }
        }
        Ok(())
    }

    /// Whether a message of a newer term is heard at all: a vote is not while a leader is (R11's
    /// other half: who is cut off from the leader cannot depose it).
    fn takes_newer_term(&self, body: &MessageBody) -> bool {
        match body {
            MessageBody::Vote {
                transfer: false, ..
            } => !self.hears_leader(),
            _ => true,
        }
    }

    /// A sender of an older term learns the newer one, so that an old leader resigns.
    fn answer_stale(&mut self, from: NodeId, body: &MessageBody) {
        let term = self.hard.term;
        match body {
            MessageBody::PreVote { .. } => {
                self.send(from, term, MessageBody::PreVoteReply { granted: false });
            }
            MessageBody::Vote { .. } => {
                self.send(from, term, MessageBody::VoteReply { granted: false });
            }
            MessageBody::Append { previous, .. } => self.send_rejected(from, *previous),
            MessageBody::Install { snapshot } => self.send_rejected(from, snapshot.position),
            MessageBody::PreVoteReply { .. }
            | MessageBody::VoteReply { .. }
            | MessageBody::AppendReply { .. }
            | MessageBody::CampaignNow => {}
        }
    }

    fn check_sole_leader(&self, from: NodeId, term: Term) -> Result<(), StepError> {
        let known = self.leader.filter(|_| term == self.hard.term);
        if known.is_some_and(|leader| leader != from) {
            return Err(StepError::SecondLeader { term });
        }
        Ok(())
    }

    fn hears_leader(&self) -> bool {
        self.role.reigns()
            || self
                .leader_heard_at
                .is_some_and(|heard| self.now.since(heard) < self.config.election_timeout)
    }

    /// Sets the next campaign between one and two election timeouts from now.
    pub(crate) fn await_election(&mut self) {
        let timeout = self.config.election_timeout;
        let spread = self.next_random() % (timeout.as_nanos().max(1) as u64);
        self.election_at = self
            .now
            .plus(timeout)
            .plus(std::time::Duration::from_nanos(spread));
    }

    /// Enters `term` as a follower if it is newer.
    pub(crate) fn enter_term(&mut self, term: Term) {
        if term > self.hard.term {
            self.change_hard_state(HardState { term, vote: None });
            self.resign();
            self.note_new_term();
        }
    }

    /// Becomes a follower that knows no leader.
    pub(crate) fn resign(&mut self) {
        self.set_role(Role::Follower, None);
        self.leader_heard_at = None;
        self.verified = crate::log::Index::ZERO;
        self.votes.clear();
        self.transfer = None;
        self.match_progress_to_members();
        self.await_election();
    }

    fn follow(&mut self, leader: NodeId, term: Term) {
        self.enter_term(term);
        if self.role != Role::Follower {
            self.resign();
        }
        self.set_role(Role::Follower, Some(leader));
        self.leader_heard_at = Some(self.now);
        self.await_election();
    }

    // ---- asking -------------------------------------------------------------------------------

    pub(crate) fn ask_for_pre_votes(&mut self) {
        let Some(term) = self.hard.term.next() else {
            return;
        };
        self.resign();
        self.set_role(Role::PreCandidate, None);
        self.votes.insert(self.config.node, true);
        let last = self.log.last();
        for voter in self.other_voters() {
            self.send(voter, term, MessageBody::PreVote { last });
        }
    }

    fn count_pre_vote(&mut self, from: NodeId, term: Term) {
        if self.role != Role::PreCandidate || Some(term) != self.hard.term.next() {
            return;
        }
        self.votes.insert(from, true);
        if self.has_majority_of_votes() {
            self.campaign(false);
        }
    }

    /// Votes for itself in the next term and asks the others; its own vote counts when durable.
    pub(crate) fn campaign(&mut self, transfer: bool) {
        let Some(term) = self.hard.term.next() else {
            return;
        };
        self.change_hard_state(HardState {
            term,
            vote: Some(self.config.node),
        });
        self.resign();
        self.set_role(Role::Candidate, None);
        self.note_new_term();
        let last = self.log.last();
        for voter in self.other_voters() {
            self.send(voter, term, MessageBody::Vote { last, transfer });
        }
    }

    pub(crate) fn count_vote(&mut self, from: NodeId, granted: bool) {
        self.votes.insert(from, granted);
        // Without its own durable vote nobody was asked yet, whatever a peer claims.
        if self.vote_is_durable() && self.has_majority_of_votes() {
            self.reign();
        }
    }

    fn has_majority_of_votes(&self) -> bool {
        self.voters()
            .agrees(|voter| self.votes.get(&voter) == Some(&true))
    }

    fn other_voters(&self) -> Vec<NodeId> {
        let own = self.config.node;
        self.voters().iter().filter(|&voter| voter != own).collect()
    }

    fn reign(&mut self) {
        assert_eq!(self.role, Role::Candidate, "only a candidate is elected");
        self.set_role(Role::Elected, Some(self.config.node));
        self.votes.clear();
        self.count_uncommitted();
        self.match_progress_to_members();
        self.reign_start = self.log.last().index.next();
        self.append_own(Payload::LeaderChange(self.config.node));
        self.heartbeat_at = self.now.plus(self.config.heartbeat_interval);
        self.send_entries_to_all();
    }

    // ---- answering ----------------------------------------------------------------------------

    fn answer_pre_vote(&mut self, from: NodeId, term: Term, last: LogPosition) {
        let granted =
            term > self.hard.term && !self.hears_leader() && last.is_at_least(self.log.last());
        let term = if granted { term } else { self.hard.term };
        self.send(from, term, MessageBody::PreVoteReply { granted });
    }

    fn answer_vote(&mut self, from: NodeId, last: LogPosition) {
        let free = self.hard.vote.is_none_or(|voted| voted == from);
        let granted = free && self.leader.is_none() && last.is_at_least(self.log.last());
        if granted {
            self.change_hard_state(HardState {
                term: self.hard.term,
                vote: Some(from),
            });
            self.await_election();
        }
        self.send(from, self.hard.term, MessageBody::VoteReply { granted });
    }
}
