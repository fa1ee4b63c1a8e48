//! The flow of entries: the leader sends, counts and commits; the follower checks, takes, answers.

use crate::config::Role;
use crate::errors::StepError;
use crate::log::{Entry, Index, LogPosition, Payload};
use crate::membership::{NodeId, VOTERS_MAX};
use crate::message::{AppendOutcome, Message, MessageBody, Snapshot};
use crate::progress::Sending;
use crate::raft::Raft;

impl Raft {
    // ---- leader -------------------------------------------------------------------------------

    pub(crate) fn tick_leader(&mut self) {
        if self
            .transfer
            .is_some_and(|(_, deadline)| self.now >= deadline)
        {
            self.transfer = None;
        }
        let (now, timeout, own) = (self.now, self.config.election_timeout, self.config.node);
        let heard = self.voters().agrees(|voter| {
            voter == own
                || self
                    .progress
                    .get(&voter)
                    .is_some_and(|peer| now.since(peer.heard_at) <= timeout)
        });
        if !heard {
            self.resign();
            return;
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now.plus(self.config.heartbeat_interval);
            for peer in self.peers() {
                self.send_heartbeat(peer);
            }
        }
    }

    fn peers(&self) -> Vec<NodeId> {
        self.progress.keys().copied().collect()
    }

    pub(crate) fn send_entries_to_all(&mut self) {
        for peer in self.peers() {
            self.send_entries(peer);
        }
    }

    /// Sends as much as limits and the follower's state allow.
    fn send_entries(&mut self, peer: NodeId) {
        loop {
            let in_flight_max = self.config.in_flight_max;
            let Some(progress) = self.progress.get(&peer) else {
                return;
            };
            if !progress.may_send(in_flight_max) {
                return;
            }
            let next = progress.next;
            let Some(previous) = self.log.position_at(next.previous()) else {
                self.send_snapshot(peer);
                return;
            };
            let entries = self.log.slice(
                next,
                self.config.message_entries_max,
                self.config.message_bytes_max,
            );
            let Some(last) = entries.last().map(|entry| entry.index) else {
                return;
            };
            if let Some(progress) = self.progress.get_mut(&peer) {
                progress.on_sent(last);
            }
            self.send_append(peer, previous, entries);
        }
    }

    fn send_append(&mut self, peer: NodeId, previous: LogPosition, entries: Vec<Entry>) {
        let body = MessageBody::Append {
            previous,
            entries,
            commit: self.commit,
        };
        self.send(peer, self.hard.term, body);
    }

    /// Entries if there are any to send, else an empty append; repeats what may have been lost.
    fn send_heartbeat(&mut self, peer: NodeId) {
        let (now, timeout) = (self.now, self.config.election_timeout);
        let Some(progress) = self.progress.get_mut(&peer) else {
            return;
        };
        progress.on_heartbeat();
        if let Sending::Install { sent_at, .. } = progress.sending
            && now.since(sent_at) >= timeout
        {
            self.send_snapshot(peer);
        }
        self.send_commit(peer);
        self.send_entries(peer);
    }

    /// An append without entries right before what is sent next: tells the commit index, asks for
    /// an answer, and uncovers a loss, because the follower rejects it if entries are missing.
    pub(crate) fn send_commit(&mut self, peer: NodeId) {
        let Some(progress) = self.progress.get(&peer) else {
            return;
        };
        let previous = self
            .log
            .position_at(progress.next.previous())
            .unwrap_or_else(|| self.log.base());
        self.send_append(peer, previous, Vec::new());
    }

    fn send_snapshot(&mut self, peer: NodeId) {
        let Some(snapshot) = self.snapshot.clone() else {
            unreachable!("a log that begins after zero has a snapshot");
        };
        let now = self.now;
        if let Some(progress) = self.progress.get_mut(&peer) {
            progress.on_snapshot_sent(snapshot.position.index, now);
        }
        self.send(peer, self.hard.term, MessageBody::Install { snapshot });
    }

    pub(crate) fn take_reply(&mut self, from: NodeId, outcome: AppendOutcome) {
        let (now, last) = (self.now, self.log.last().index);
        let Some(progress) = self.progress.get_mut(&from) else {
            return;
        };
        progress.heard_at = now;
        match outcome {
            // Indexes beyond the own log cannot be true, whoever says it.
            AppendOutcome::Accepted { matched } if matched > last => {}
            AppendOutcome::Rejected { previous, .. } if previous > last => {}
            AppendOutcome::Accepted { matched } => {
                if progress.on_accepted(matched) {
                    self.advance_commit();
                }
                if let Some((to, _)) = self.transfer
                    && to == from
                {
                    self.continue_transfer(to);
                }
                self.send_entries(from);
            }
            AppendOutcome::Rejected { previous, hint } => {
                if progress.on_rejected(previous, hint.min(previous)) {
                    self.send_commit_or_entries(from);
                }
            }
        }
    }

    /// A probe: with entries if there are any after the guessed position.
    fn send_commit_or_entries(&mut self, peer: NodeId) {
        let at_end = self
            .progress
            .get(&peer)
            .is_some_and(|progress| progress.next > self.log.last().index);
        if at_end {
            self.send_commit(peer);
        } else {
            self.send_entries(peer);
        }
    }

    /// Moves the commit index to the largest entry of the own term that is durable on a majority
    /// (R8: an older term's entry is committed only through it).
    pub(crate) fn advance_commit(&mut self) {
        if !self.role.reigns() {
            return;
        }
        let own = self.config.node;
        let agreed = self.voters().agreed_index(|voter| {
            if voter == own {
                return self.durable();
            }
            self.progress
                .get(&voter)
                .map_or(Index::ZERO, |peer| peer.matched)
        });
        if agreed <= self.commit || self.log.term_at(agreed) != Some(self.hard.term) {
            return;
        }
        self.set_commit(agreed);
        if self.role == Role::Elected && agreed >= self.reign_start {
            self.set_role(Role::Leader, Some(own));
        }
        for peer in self.peers() {
            self.send_commit(peer);
        }
        if !self.voters().contains(own) && self.voters_since() <= self.commit {
            self.resign();
        }
    }

    pub(crate) fn continue_transfer(&mut self, to: NodeId) {
        let last = self.log.last().index;
        if self
            .progress
            .get(&to)
            .is_some_and(|peer| peer.matched == last)
        {
            self.send(to, self.hard.term, MessageBody::CampaignNow);
        }
    }

    // ---- follower -----------------------------------------------------------------------------

    /// Refuses entries that are no piece of a log before anything is changed.
    pub(crate) fn check_entries(&self, message: &Message) -> Result<(), StepError> {
        match &message.body {
            MessageBody::Append {
                previous, entries, ..
            } => {
                let mut before = *previous;
                for entry in entries {
                    let in_order = before.index < Index::MAX
                        && before.index.next() == entry.index
                        && before.term <= entry.term
                        && entry.term <= message.term;
                    if !in_order || !legal(&entry.payload) {
                        return Err(StepError::Malformed);
                    }
                    before = entry.position();
                }
                Ok(())
            }
            MessageBody::Install { snapshot } => {
                let legal = snapshot.position.index > Index::ZERO
                    && snapshot.position.index < Index::MAX
                    && snapshot.position.term <= message.term
                    && snapshot.voters.len() <= VOTERS_MAX;
                if legal {
                    Ok(())
                } else {
                    Err(StepError::Malformed)
                }
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn take_entries(
        &mut self,
        previous: LogPosition,
        entries: Vec<Entry>,
        commit: Index,
    ) -> Result<(), StepError> {
        let Some(leader) = self.leader else {
            return Ok(());
        };
        // What lies below the base is committed, and so the same in every leader's log.
        let agrees = previous.index < self.log.base().index || self.log.holds(previous);
        if !agrees {
            if previous.index <= self.commit {
                return Err(StepError::ConflictsWithCommitted {
                    index: previous.index,
                });
            }
            self.send_rejected(leader, previous);
            return Ok(());
        }
        let end = entries.last().map_or(previous.index, |entry| entry.index);
        let mut fresh = false;
        for entry in entries {
            if entry.index < self.log.base().index || self.log.holds(entry.position()) {
                continue;
            }
            if entry.index <= self.commit {
                return Err(StepError::ConflictsWithCommitted { index: entry.index });
            }
            if entry.index <= self.log.last().index {
                self.truncate_after(entry.index.previous());
            }
            self.push(entry);
            fresh = true;
        }
        self.verified = self.verified.max(end);
        let commit = commit.min(self.verified).max(self.commit);
        self.set_commit(commit);
        // Fresh entries are answered when they are durable.
        if !fresh {
            self.send_accepted(leader);
        }
        Ok(())
    }

    pub(crate) fn take_snapshot(&mut self, snapshot: Snapshot) {
        let position = snapshot.position;
        if position.index > self.commit {
            if self.log.holds(position) {
                self.set_commit(position.index);
                self.verified = self.verified.max(position.index);
            } else {
                self.install(snapshot);
                self.verified = position.index;
                // Answered when it is durable.
                return;
            }
        }
        if let Some(leader) = self.leader {
            self.send_accepted(leader);
        }
    }

    /// Says how far the durable log agrees with the leader's: never more than was compared in this
    /// term (M15), or committed.
    pub(crate) fn send_accepted(&mut self, leader: NodeId) {
        let matched = self.verified.max(self.commit).min(self.durable());
        let outcome = AppendOutcome::Accepted { matched };
        self.send(leader, self.hard.term, MessageBody::AppendReply { outcome });
    }

    pub(crate) fn send_rejected(&mut self, leader: NodeId, previous: LogPosition) {
        let outcome = AppendOutcome::Rejected {
            previous: previous.index,
            hint: self.log.hint_below(previous, self.commit),
        };
        self.send(leader, self.hard.term, MessageBody::AppendReply { outcome });
    }
}

fn legal(payload: &Payload) -> bool {
    match payload {
        Payload::Voters(voters) => !voters.is_empty() && voters.len() <= VOTERS_MAX,
        Payload::LeaderChange(_) | Payload::Data(_) => true,
    }
}
