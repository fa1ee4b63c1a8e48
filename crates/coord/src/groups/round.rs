//! A group of the classic protocol while it lives: its members and where the round stands. All of
//! it is soft state, beside what the log keeps of the group; a restart begins from that again.
//!
//! ```text
//!            first member joins              all joined, or time is over
//!   Empty ----------------------> PreparingRebalance ----------------> CompletingRebalance
//!     ^      nobody is left           ^        ^                          |           |
//!     '------------------------------'         | join, leave, silence     |  leader's |
//!                                              +--------------------------'  sync     v
//!                                              '----------------------------------- Stable
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::Instant;

use super::api::{GroupState, Protocol};
use super::names::{GenerationId, GroupInstanceId, MemberId};
use crate::kit::Ticket;
use crate::limits::{MEMBER_BYTES, PENDING_BYTES, PROTOCOL_BYTES, REBALANCE_TIMEOUT_MIN};

/// A group of the classic protocol that has members, or ids given out to some.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) state: GroupState,
    pub(super) generation: GenerationId,
    /// The greatest one that the log keeps. It is the same, but where a group of the consumer
    /// protocol has become this one: there members were told less.
    pub(super) kept_generation: GenerationId,
    pub(super) protocol_type: Option<Arc<str>>,
    /// Chosen when the round was complete.
    pub(super) protocol: Option<Arc<str>>,
    /// The member that divides the work.
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Static members by name. Invariant: one to one with the members that have one (G8).
    pub(super) statics: BTreeMap<GroupInstanceId, MemberId>,
    /// Ids that were given out and have not come back, and until when they are good.
    /// Changed by [`Round::give_out`] and [`Round::take_back`] alone, that count them.
    pub(super) pending: BTreeMap<MemberId, Instant>,
    /// Protocols that members know.
    known: BTreeMap<Arc<str>, Mentioned>,
    /// How many protocols were mentioned that nobody knew.
    mentions: u64,
    /// Members with a parked join.
    pub(super) joining: usize,
    /// Members that were told of the round and have not asked for their part.
    pub(super) unsynced: usize,
    /// Bytes that members made this group remember.
    pub(super) bytes: usize,
    /// While members join: until when.
    pub(super) join_until: Option<JoinUntil>,
    /// While parts are awaited: until when.
    pub(super) sync_until: Option<Instant>,
    /// Someone joined while the first round waited for more.
    pub(super) grew: bool,
    /// When the host's timer of this group fires.
    pub(super) armed: Option<Instant>,
    /// The earliest that is wanted of it.
    pub(super) wanted: Option<Instant>,
}

/// Until when members may join.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinUntil {
    pub(super) at: Instant,
    /// Of the first round of an empty group: how long this wait is, and how much may follow.
    pub(super) initial: Option<InitialWait>,
}

/// A wait for the first members of a group, which is made longer while more of them come.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialWait {
    pub(super) delay: Duration,
    pub(super) remaining: Duration,
}

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: Option<GroupInstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// The preferred first.
    protocols: Box<[Known]>,
    /// It has not been told yet that it is a member.
    pub(super) is_new: bool,
    /// Its parked join.
    pub(super) join: Option<Ticket>,
    /// Its parked sync.
    pub(super) sync: Option<Ticket>,
    /// It was told of the round and has not asked for its part.
    pub(super) unsynced: bool,
    /// Until when it must be heard of. Looked at only while nothing of it is parked, or it is new.
    pub(super) deadline: Instant,
}

/// A protocol that a member knows. Its name is shared by all members of the group.
#[derive(Clone, Debug)]
struct Known {
    name: Arc<str>,
    metadata: Bytes,
}

/// How a protocol is known in a group.
#[derive(Clone, Copy, Debug)]
struct Mentioned {
    /// To how many members.
    members: usize,
    /// A smaller number was mentioned earlier.
    place: u64,
}

/// What a member is that joins, or joins again.
pub(super) struct Profile {
    pub(super) instance: Option<GroupInstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
}

impl Profile {
    /// Bytes that it would make the group remember under an id.
    pub(super) fn bytes(&self, id: &MemberId) -> usize {
        let instance = self.instance.as_ref().map_or(0, |name| name.as_str().len());
        let names = id.as_str().len() + instance + self.client_id.len() + self.client_host.len();
        MEMBER_BYTES + names + bytes_said(&self.protocols)
    }
}

impl Member {
    /// What it says about a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        let known = self.protocols.iter().find(|known| &*known.name == protocol);
        known.map(|known| &known.metadata)
    }

    /// What it knows, with what it says about it.
    pub(super) fn protocols(&self) -> impl Iterator<Item = (&Arc<str>, &Bytes)> {
        self.protocols
            .iter()
            .map(|known| (&known.name, &known.metadata))
    }

    /// What it says about each protocol.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &Bytes> {
        self.protocols.iter().map(|known| &known.metadata)
    }

    /// Whether it knows these protocols, in this order, and says the same about them.
    pub(super) fn says(&self, protocols: &[Protocol]) -> bool {
        self.protocols.len() == protocols.len()
            && std::iter::zip(&self.protocols, protocols).all(|(known, protocol)| {
                *known.name == *protocol.name && known.metadata == protocol.metadata
            })
    }

    /// Bytes that it made the group remember under its id.
    fn bytes(&self, id: &str) -> usize {
        let instance = self.instance.as_ref().map_or(0, |name| name.as_str().len());
        let names = id.len() + instance + self.client_id.len() + self.client_host.len();
        MEMBER_BYTES + names + bytes_of(&self.protocols)
    }

    /// When it is given up unless it is heard of. A parked call is a sign of life, but for that of
    /// a new member, which may be gone without having been told that it is one.
    pub(super) fn expires(&self) -> Option<Instant> {
        let parked = self.join.is_some() || self.sync.is_some();
        (self.is_new || !parked).then_some(self.deadline)
    }
}

impl Round {
    /// An empty group, as the log keeps it or as it begins.
    pub(super) const fn empty(generation: GenerationId, protocol_type: Option<Arc<str>>) -> Self {
        Self {
            state: GroupState::Empty,
            generation,
            kept_generation: generation,
            protocol_type,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            known: BTreeMap::new(),
            mentions: 0,
            joining: 0,
            unsynced: 0,
            bytes: 0,
            join_until: None,
            sync_until: None,
            grew: false,
            armed: None,
            wanted: None,
        }
    }

    /// Nothing is left of it that the log does not keep.
    pub(super) fn is_void(&self) -> bool {
        self.state == GroupState::Empty && self.members.is_empty() && self.pending.is_empty()
    }

    /// Asks for the timer of the group to fire by then.
    pub(super) fn want(&mut self, at: Instant) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    /// The next moment at which something is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(Member::expires);
        let pending = self.pending.values().copied();
        let join = self.join_until.map(|until| until.at);
        members
            .chain(pending)
            .chain(join)
            .chain(self.sync_until)
            .min()
    }

    /// A member was heard of.
    pub(super) fn heard(&mut self, id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(id) {
            member.deadline = now.plus(member.session_timeout);
            let at = member.deadline;
            self.want(at);
        }
    }

    /// Whether members of this kind, that know these protocols, fit with the others.
    pub(super) fn accepts(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| {
                let known = self.known.get(protocol.name.as_str());
                known.map_or(0, |known| known.members) == self.members.len()
            })
    }

    /// An id is given out, and is good for a time.
    pub(super) fn give_out(&mut self, id: MemberId, until: Instant) {
        self.bytes += bytes_of_pending(&id);
        self.want(until);
        self.pending.insert(id, until);
    }

    /// An id that was given out is good no longer. `false`: it was none.
    pub(super) fn take_back(&mut self, id: &MemberId) -> bool {
        let found = self.pending.remove(id).is_some();
        if found {
            self.bytes -= bytes_of_pending(id);
        }
        found
    }

    /// How many bytes more the group would remember if a member said this.
    pub(super) fn growth(&self, id: &MemberId, protocols: &[Protocol]) -> usize {
        let before = self.members.get(id);
        let before = before.map_or(0, |member| bytes_of(&member.protocols));
        bytes_said(protocols).saturating_sub(before)
    }

    /// What it holds, counted anew.
    #[cfg(test)]
    pub(super) fn bytes_held(&self) -> usize {
        let members = self.members.iter();
        let members: usize = members.map(|(id, member)| member.bytes(id.as_str())).sum();
        members + self.pending.keys().map(bytes_of_pending).sum::<usize>()
    }

    /// A new member with a parked join, or one that the log knows. `deadline` is when it is given
    /// up.
    pub(super) fn add(
        &mut self,
        id: MemberId,
        profile: Profile,
        ticket: Option<Ticket>,
        deadline: Instant,
    ) {
        self.take_back(&id);
        if let Some(instance) = &profile.instance {
            let earlier = self.statics.insert(instance.clone(), id.clone());
            assert!(earlier.is_none(), "a static name has one member at most");
        }
        self.bytes += profile.bytes(&id);
        let protocols = self.learn(&profile.protocols);
        let member = Member {
            instance: profile.instance,
            client_id: self.shared(profile.client_id, |member| &member.client_id),
            client_host: self.shared(profile.client_host, |member| &member.client_host),
            session_timeout: profile.session_timeout,
            rebalance_timeout: profile.rebalance_timeout,
            protocols,
            is_new: ticket.is_some(),
            join: ticket,
            sync: None,
            unsynced: false,
            deadline,
        };
        self.joining += usize::from(ticket.is_some());
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.want(deadline);
        let earlier = self.members.insert(id, member);
        assert!(earlier.is_none(), "a member is added once");
    }

    /// A member joins again, with a parked join. Returns the join that was parked before.
    pub(super) fn update(
        &mut self,
        id: &str,
        protocols: &[Protocol],
        [session_timeout, rebalance_timeout]: [Duration; 2],
        ticket: Ticket,
    ) -> Option<Ticket> {
        let member = self.members.get_mut(id)?;
        let earlier = std::mem::take(&mut member.protocols);
        self.bytes -= bytes_of(&earlier);
        unlearn(&mut self.known, &earlier);
        let known = self.learn(protocols);
        self.bytes += bytes_of(&known);
        let member = self.members.get_mut(id)?;
        member.protocols = known;
        member.session_timeout = session_timeout;
        member.rebalance_timeout = rebalance_timeout;
        let superseded = member.join.replace(ticket);
        self.joining += usize::from(superseded.is_none());
        superseded
    }

    /// Takes a member out, with whatever is parked of it. If it led, another leads.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.bytes -= member.bytes(id);
        unlearn(&mut self.known, &member.protocols);
        self.joining -= usize::from(member.join.is_some());
        self.unsynced -= usize::from(member.unsynced);
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        if self
            .leader
            .as_ref()
            .is_some_and(|leader| leader.as_str() == id)
        {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member a new id. Returns the calls that were parked of the old one.
    pub(super) fn rename(&mut self, old: &MemberId, new: &MemberId) -> Parked {
        let Some(mut member) = self.members.remove(old) else {
            return Parked::default();
        };
        let parked = Parked {
            join: member.join.take(),
            sync: member.sync.take(),
        };
        self.joining -= usize::from(parked.join.is_some());
        self.unsynced -= usize::from(member.unsynced);
        member.unsynced = false;
        member.is_new = false;
        self.bytes -= old.as_str().len();
        self.bytes += new.as_str().len();
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), new.clone());
        }
        if self.leader.as_ref() == Some(old) {
            self.leader = Some(new.clone());
        }
        self.members.insert(new.clone(), member);
        parked
    }

    /// All have joined that are known, and nobody's id is out.
    pub(super) fn all_joined(&self) -> bool {
        self.joining == self.members.len() && self.pending.is_empty()
    }

    /// How long the slowest member may take to join; never no time at all.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.fold(REBALANCE_TIMEOUT_MIN, Duration::max)
    }

    /// The protocol that all members know and most of them prefer; of several, the one that was
    /// mentioned first.
    pub(super) fn elect_protocol(&self) -> Option<Arc<str>> {
        // What all know, the first knows too.
        let first = self.members.values().next()?;
        let mut votes: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        for Known { name, .. } in &first.protocols {
            let known = self.known.get(name);
            if let Some(known) = known.filter(|known| known.members == self.members.len()) {
                votes.insert(name, (0, known.place));
            }
        }
        for member in self.members.values() {
            let mut names = member.protocols.iter().map(|known| &*known.name);
            if let Some(favourite) = names.find(|name| votes.contains_key(name))
                && let Some((count, _)) = votes.get_mut(favourite)
            {
                *count += 1;
            }
        }
        let votes = votes.into_iter();
        let (chosen, _) = votes.max_by_key(|(_, (count, place))| (*count, Reverse(*place)))?;
        let (chosen, _) = self.known.get_key_value(chosen)?;
        Some(chosen.clone())
    }

    /// The members' own protocols, with names that the group shares, counted.
    fn learn(&mut self, protocols: &[Protocol]) -> Box<[Known]> {
        let mut all: Vec<Known> = Vec::with_capacity(protocols.len());
        for protocol in protocols {
            let known = self.known.get_key_value(protocol.name.as_str());
            let name: Arc<str> = match known {
                Some((name, _)) => name.clone(),
                None => protocol.name.as_str().into(),
            };
            let known = self.known.entry(name.clone()).or_insert_with(|| {
                self.mentions += 1;
                Mentioned {
                    members: 0,
                    place: self.mentions,
                }
            });
            if !all.iter().any(|other| Arc::ptr_eq(&other.name, &name)) {
                known.members += 1;
            }
            all.push(Known {
                name,
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            });
        }
        all.into()
    }

    /// The same text of another member, if one has it: clients of one group often have one name.
    fn shared(&self, text: Arc<str>, of: impl Fn(&Member) -> &Arc<str>) -> Arc<str> {
        let first = self.members.values().next().map(of);
        first
            .filter(|other| **other == text)
            .cloned()
            .unwrap_or(text)
    }
}

/// Calls of one member that were parked.
#[derive(Default)]
pub(super) struct Parked {
    pub(super) join: Option<Ticket>,
    pub(super) sync: Option<Ticket>,
}

fn bytes_of(protocols: &[Known]) -> usize {
    let protocols = protocols.iter();
    protocols
        .map(|known| PROTOCOL_BYTES + known.name.len() + known.metadata.len())
        .sum()
}

/// What the same takes once it is known.
fn bytes_said(protocols: &[Protocol]) -> usize {
    let protocols = protocols.iter();
    protocols
        .map(|protocol| PROTOCOL_BYTES + protocol.name.len() + protocol.metadata.len())
        .sum()
}

/// What an id takes that is out.
pub(super) fn bytes_of_pending(id: &MemberId) -> usize {
    PENDING_BYTES + id.as_str().len()
}

/// Forgets a member's protocols.
fn unlearn(known: &mut BTreeMap<Arc<str>, Mentioned>, protocols: &[Known]) {
    for (place, protocol) in protocols.iter().enumerate() {
        let mut before = protocols[..place].iter();
        let repeated = before.any(|other| Arc::ptr_eq(&other.name, &protocol.name));
        if !repeated && let Some(mentioned) = known.get_mut(&protocol.name) {
            mentioned.members -= 1;
            if mentioned.members == 0 {
                known.remove(&protocol.name);
            }
        }
    }
}
