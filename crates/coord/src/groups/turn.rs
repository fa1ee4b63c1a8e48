//! One input being decided: what is known of the moment, and the decision as it grows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::api::{JoinError, JoinRefused, Reply, SyncError};
use super::config::GroupConfig;
use super::forget::Forgetting;
use super::group::Kept;
use super::names::{GroupId, MemberId};
use super::notes::Notes;
use super::round::Round;
use super::stats::Counters;
use crate::kit::{Decision, Moment, Record, Ticket, Timer};
use crate::limits::GROUP_BYTES_MAX;

/// Which timer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerKey {
    /// Something of this group may be due: a member, a round.
    Group(GroupId),
    /// Offsets may have expired.
    Sweep,
    /// Names of topics are to be held against regular expressions.
    Regexes,
    /// More is to be forgotten: of topics that are gone, of groups that are deleted.
    Forget,
}

/// One input, and what comes of it.
pub(super) struct Turn<'a> {
    pub(super) moment: Moment,
    pub(super) config: &'a GroupConfig,
    pub(super) counters: &'a mut Counters,
    pub(super) notes: &'a mut Notes,
    pub(super) forgetting: &'a mut Forgetting,
    /// How many bytes more the coordinator may hold.
    pub(super) room: usize,
    /// How many more it may hold of rounds that are kept.
    pub(super) room_for_kept: usize,
    pub(super) decision: Decision<Reply, TimerKey>,
}

impl Turn<'_> {
    /// What was decided. Replies that rest on new records wait for them.
    pub(super) fn finish(mut self) -> Decision<Reply, TimerKey> {
        if !self.decision.records.is_empty() {
            self.decision.held();
        }
        self.decision
    }

    /// Whether a group may remember so many bytes more.
    pub(super) const fn fits(&self, round: &Round, growth: usize) -> bool {
        growth == 0 || growth <= self.room && round.bytes + growth <= GROUP_BYTES_MAX
    }

    /// Whether the record of a group is more than the log takes at once, or than there is room for.
    pub(super) fn is_too_large(&self, record: &Record, kept: Option<&Kept>) -> bool {
        let value = record.value.as_ref().map_or(0, Bytes::len);
        let before = kept.map_or(0, |kept| kept.value().len());
        record.key.len() + value > self.config.batch_bytes_max
            || value > before && value - before > self.room_for_kept
    }

    pub(super) fn answer(&mut self, ticket: Ticket, reply: Reply) {
        self.decision.answer(ticket, reply);
    }

    pub(super) fn set_timer(&mut self, key: TimerKey, after: Duration) {
        let at = Some(self.moment.now.plus(after));
        self.decision.timers.push(Timer { key, at });
    }

    pub(super) fn refuse_join(
        &mut self,
        ticket: Ticket,
        member: Option<&MemberId>,
        error: JoinError,
    ) {
        let member = member.cloned();
        self.answer(ticket, Reply::Join(Err(JoinRefused { member, error })));
    }

    pub(super) fn refuse_sync(&mut self, ticket: Ticket, error: SyncError) {
        self.answer(ticket, Reply::Sync(Err(error)));
    }

    /// An id for a new member, as Kafka makes them: its own name, and 122 random bits in the form
    /// of a UUID of version 4.
    pub(super) fn member_id(&self, name: &str) -> MemberId {
        MemberId::new(&format!("{name}-{}", random_uuid(self.moment.seed)))
    }
}

/// 122 random bits in the form of a UUID of version 4.
pub(super) fn random_uuid(seed: u128) -> String {
    let bits = seed & !(0xf << 76) | 0x4 << 76;
    let bits = bits & !(0x3 << 62) | 0x2 << 62;
    let digits = format!("{bits:032x}");
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}

/// The text, or none.
pub(super) fn text(shared: Option<&Arc<str>>) -> String {
    shared.map(|text| text.to_string()).unwrap_or_default()
}
