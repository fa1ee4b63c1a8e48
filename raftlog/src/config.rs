//! What a node is told at its start: limits, times, and what the host recovered. And the few small
//! values that every file needs.

use std::time::Duration;

use crate::log::{Entry, Term};
use crate::membership::{NodeId, VoterSet};
use crate::message::Snapshot;

/// Monotonic time in nanoseconds, from any start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    pub(crate) fn plus(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What must survive a crash besides the log: written in one piece (R6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub vote: Option<NodeId>,
}

/// The chosen limits and times of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Seed of the spread of election timeouts; should differ between nodes.
    pub seed: u64,
    /// Without word from a leader for this long, up to twice as long, a voter campaigns; without
    /// word from a majority for this long, a leader resigns (R11).
    pub election_timeout: Duration,
    /// How often a leader speaks up; well below `election_timeout`.
    pub heartbeat_interval: Duration,
    /// Most entries of one message.
    pub message_entries_max: usize,
    /// Most payload bytes of one message; a single larger entry still goes alone.
    pub message_bytes_max: usize,
    /// Most messages with entries under way to one follower.
    pub in_flight_max: usize,
    /// Most entries that a leader keeps uncommitted before it refuses proposals.
    pub uncommitted_entries_max: u64,
    /// Most payload bytes that a leader keeps uncommitted before it refuses proposals.
    pub uncommitted_bytes_max: usize,
}

impl Config {
    /// Kafka's `controller.quorum.*` times and limits that suit metadata.
    #[must_use]
    pub const fn new(node: NodeId, seed: u64) -> Self {
        Self {
            node,
            seed,
            election_timeout: Duration::from_millis(1000),
            heartbeat_interval: Duration::from_millis(150),
            message_entries_max: 1024,
            message_bytes_max: 1024 * 1024,
            in_flight_max: 16,
            uncommitted_entries_max: 200_000,
            uncommitted_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// What the host found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last hard state written, or the default.
    pub hard_state: HardState,
    /// The newest snapshot, if there is one.
    pub snapshot: Option<Snapshot>,
    /// The voters before the first entry, where no snapshot says so: those of the first start.
    pub first_voters: VoterSet,
    /// The entries after the snapshot.
    pub entries: Vec<Entry>,
}

impl Recovered {
    /// A node that starts for the first time.
    #[must_use]
    pub fn empty(first_voters: VoterSet) -> Self {
        Self {
            hard_state: HardState::default(),
            snapshot: None,
            first_voters,
            entries: Vec::new(),
        }
    }
}

/// What a node is in its term.
///
/// ```text
/// Follower -> PreCandidate -> Candidate -> Elected -> Leader
///     ^------------ any newer term, or no majority heard ---'
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows whoever leads.
    Follower,
    /// Asks whether a campaign could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Won, but no entry of its term is committed: it may not know yet what is (R8).
    Elected,
    /// Leads, and everything committed before its reign is known as committed.
    Leader,
}

impl Role {
    /// True for both halves of a reign.
    #[must_use]
    pub const fn reigns(self) -> bool {
        matches!(self, Self::Elected | Self::Leader)
    }
}
