//! Options of a group's consumer under Kafka's names, with the Java client's defaults.

use std::time::Duration;

use super::assignor::Assignor;
use crate::fetcher::{ConsumerOptions, OffsetReset};

/// By which protocol a consumer is a member (`group.protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MembershipProtocol {
    /// JoinGroup, SyncGroup and Heartbeat: members divide the work among themselves.
    #[default]
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848): the broker divides it. A broker without it is a clear
    /// failure; nothing falls back by itself.
    Consumer,
}

/// Where a partition begins of which the group keeps no offset, or one outside of the log
/// (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupReset {
    /// At the first record that there is.
    Earliest,
    /// Behind the last one.
    #[default]
    Latest,
    /// Nowhere: the partition stands still until it is sought (`none`).
    Fail,
    /// At the first record that is no older than this (`by_duration`, KIP-1106).
    ByDuration(Duration),
}

impl GroupReset {
    /// What the fetching machine does by itself; a time is found by the group's.
    pub(crate) const fn of_fetcher(self) -> OffsetReset {
        match self {
            Self::Earliest => OffsetReset::Earliest,
            Self::Latest => OffsetReset::Latest,
            Self::Fail | Self::ByDuration(_) => OffsetReset::Fail,
        }
    }
}

/// How a consumer is a member of its group, and how it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Name of the group (`group.id`).
    pub group: String,
    /// Name of a static member (`group.instance.id`): it keeps its work over a short absence, and
    /// does not leave when it closes.
    pub instance: Option<String>,
    /// By which protocol (`group.protocol`).
    pub protocol: MembershipProtocol,
    /// How work may be divided, the preferred first (`partition.assignment.strategy`); classic
    /// alone. If one of them is not cooperative, everything is let go of before each round.
    pub assignors: Vec<Assignor>,
    /// How the broker shall divide it (`group.remote.assignor`): `uniform`, `range`, or its own
    /// choice; KIP-848 alone.
    pub remote_assignor: Option<String>,
    /// For how long the coordinator may hear nothing (`session.timeout.ms`); classic alone.
    pub session_timeout: Duration,
    /// How often it hears (`heartbeat.interval.ms`); classic alone.
    pub heartbeat_interval: Duration,
    /// For how long the program may work on what it was handed before it is taken for dead
    /// (`max.poll.interval.ms`); others wait as long for it in a round.
    pub max_poll_interval: Duration,
    /// Where to begin without an offset (`auto.offset.reset`).
    pub offset_reset: GroupReset,
    /// Commit by itself what was worked on (`enable.auto.commit`): in this interval
    /// (`auto.commit.interval.ms`), before partitions are let go of, and when closing.
    pub auto_commit: Option<Duration>,
    /// For how long a commit is tried again (`default.api.timeout.ms`).
    pub commit_timeout: Duration,
    /// How records are read. Its `offset_reset` is taken from the one here.
    pub fetch: ConsumerOptions,
}

impl GroupOptions {
    /// Options with the defaults of the Java client, but for the assignor: cooperative from the
    /// start, so that a rebalance stops nothing that stays where it is.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            instance: None,
            protocol: MembershipProtocol::default(),
            assignors: vec![Assignor::CooperativeSticky],
            remote_assignor: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            offset_reset: GroupReset::default(),
            auto_commit: Some(Duration::from_secs(5)),
            commit_timeout: Duration::from_secs(60),
            fetch: ConsumerOptions::default(),
        }
    }

    /// True if all ways of dividing let members keep their work during a round.
    pub(crate) fn is_cooperative(&self) -> bool {
        self.assignors.iter().all(|it| it.is_cooperative())
    }
}
