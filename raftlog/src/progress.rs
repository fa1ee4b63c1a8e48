//! What the leader knows of one other voter's log. Every transition is a method here.
//!
//! ```text
//! Probe -- accepted --> Replicate -- rejected --> Probe
//!   \-- log start is behind the snapshot --> Install -- accepted --> Replicate
//! ```

use std::collections::VecDeque;

use crate::config::Instant;
use crate::log::Index;

/// How entries are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// One message at a time, to find where the logs agree.
    Probe {
        /// A probe is on its way; the next goes with the heartbeat.
        sent: bool,
    },
    /// Many at a time; the last index of each message under way.
    Replicate { in_flight: VecDeque<Index> },
    /// A snapshot is on its way.
    Install { index: Index, sent_at: Instant },
}

#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Durable and equal to the leader's log up to here.
    pub(crate) matched: Index,
    /// First index to send next.
    pub(crate) next: Index,
    pub(crate) sending: Sending,
    /// Last time that any message of this term came from there.
    pub(crate) heard_at: Instant,
}

impl Progress {
    pub(crate) const fn new(next: Index, now: Instant) -> Self {
        Self {
            matched: Index::ZERO,
            next,
            sending: Sending::Probe { sent: false },
            heard_at: now,
        }
    }

    /// Whether more entries may be sent now.
    pub(crate) fn may_send(&self, in_flight_max: usize) -> bool {
        match &self.sending {
            Sending::Probe { sent } => !sent,
            Sending::Replicate { in_flight } => in_flight.len() < in_flight_max,
            Sending::Install { .. } => false,
        }
    }

    /// Entries up to `last` were sent.
    pub(crate) fn on_sent(&mut self, last: Index) {
        match &mut self.sending {
            Sending::Probe { sent } => *sent = true,
            Sending::Replicate { in_flight } => {
                in_flight.push_back(last);
                self.next = last.next();
            }
            Sending::Install { .. } => unreachable!("nothing is appended during an install"),
        }
    }

    pub(crate) fn on_snapshot_sent(&mut self, index: Index, now: Instant) {
        self.sending = Sending::Install {
            index,
            sent_at: now,
        };
        self.next = index.next();
    }

    /// True if `matched` moved.
    pub(crate) fn on_accepted(&mut self, matched: Index) -> bool {
        let moved = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match &mut self.sending {
            Sending::Probe { .. } => {
                self.sending = Sending::Replicate {
                    in_flight: VecDeque::new(),
                };
            }
            Sending::Replicate { in_flight } => {
                while in_flight.front().is_some_and(|&last| last <= matched) {
                    in_flight.pop_front();
                }
            }
            Sending::Install { index, .. } => {
                if matched >= *index {
                    self.sending = Sending::Replicate {
                        in_flight: VecDeque::new(),
                    };
                }
            }
        }
        moved
    }

    /// True if the rejection says something new, so that a probe should follow.
    pub(crate) fn on_rejected(&mut self, previous: Index, hint: Index) -> bool {
        // A late answer about entries that were accepted since (M15).
        if previous <= self.matched {
            return false;
        }
        match &self.sending {
            Sending::Install { .. } => return false,
            Sending::Probe { .. } if previous != self.next.previous() => return false,
            Sending::Probe { .. } | Sending::Replicate { .. } => {}
        }
        self.next = hint.next().min(previous).max(self.matched.next());
        self.sending = Sending::Probe { sent: false };
        true
    }

    /// Allows one more probe; called with each heartbeat, in case the last one was lost.
    pub(crate) fn on_heartbeat(&mut self) {
        if let Sending::Probe { sent } = &mut self.sending {
            *sent = false;
        }
    }

    pub(crate) fn check(&self, last: Index) {
        assert!(
            self.matched <= last,
            "matched {} beyond the end {last}",
            self.matched
        );
        assert!(
            self.matched < self.next && self.next <= last.next(),
            "next {} outside {}..={last}",
            self.next,
            self.matched
        );
    }
}
