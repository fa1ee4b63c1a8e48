//! What the configuration says about groups of the consumer protocol.

use std::time::Duration;

/// The bounds within which groups of the consumer protocol live. Each field is one key of Kafka's,
/// its default Kafka's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `group.consumer.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.consumer.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.consumer.heartbeat.interval.ms`: how often members come that have what they shall.
    pub heartbeat_interval: Duration,
    /// `group.consumer.min.heartbeat.interval.ms`.
    pub heartbeat_interval_min: Duration,
    /// `group.consumer.max.heartbeat.interval.ms`.
    pub heartbeat_interval_max: Duration,
    /// `group.consumer.assignment.interval.ms`: how often the work of a group is divided anew, at
    /// most.
    pub assignment_interval: Duration,
    /// `group.consumer.min.assignment.interval.ms`.
    pub assignment_interval_min: Duration,
    /// `group.consumer.max.assignment.interval.ms`.
    pub assignment_interval_max: Duration,
    /// `group.consumer.regex.refresh.interval.ms`: how often the topics of regular expressions are
    /// looked for anew. Those that come or go are seen anyway.
    pub regex_refresh_interval: Duration,
    /// `group.consumer.max.size`: most members of one group.
    pub members_max: usize,
    /// `group.consumer.assignors`, the default first. Never empty.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(45),
            session_timeout_min: Duration::from_secs(45),
            session_timeout_max: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_interval_min: Duration::from_secs(5),
            heartbeat_interval_max: Duration::from_secs(15),
            assignment_interval: Duration::from_secs(1),
            assignment_interval_min: Duration::ZERO,
            assignment_interval_max: Duration::from_secs(15),
            regex_refresh_interval: Duration::from_secs(600),
            members_max: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: MigrationPolicy::Bidirectional,
        }
    }
}

/// Settings of one group, where it has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GroupSettings {
    /// `consumer.session.timeout.ms`.
    pub session_timeout: Option<Duration>,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval: Option<Duration>,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval: Option<Duration>,
}

impl ConsumerConfig {
    /// For how long members of a group may be silent.
    pub(crate) fn session(&self, settings: &GroupSettings) -> Duration {
        let bounds = [self.session_timeout_min, self.session_timeout_max];
        within(settings.session_timeout, self.session_timeout, bounds)
    }

    /// How often members of a group come that have what they shall.
    pub(crate) fn heartbeat(&self, settings: &GroupSettings) -> Duration {
        let bounds = [self.heartbeat_interval_min, self.heartbeat_interval_max];
        within(settings.heartbeat_interval, self.heartbeat_interval, bounds)
    }

    /// How often the work of a group is divided anew, at most.
    pub(crate) fn assignment(&self, settings: &GroupSettings) -> Duration {
        let bounds = [self.assignment_interval_min, self.assignment_interval_max];
        let own = settings.assignment_interval;
        within(own, self.assignment_interval, bounds)
    }

    /// The way of this name, if it may be used here.
    pub(crate) fn assignor(&self, name: &str) -> Option<Assignor> {
        let mut assignors = self.assignors.iter().copied();
        assignors.find(|assignor| assignor.as_str() == name)
    }

    /// The way of groups whose members want none.
    pub(crate) fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or(Assignor::Uniform)
    }
}

/// A group's own value is held within the broker's bounds, which may have changed since it was set.
fn within(own: Option<Duration>, default: Duration, [min, max]: [Duration; 2]) -> Duration {
    own.map_or(default, |own| own.max(min).min(max.max(min)))
}

/// How the work of a group is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Every member gets as many partitions as any other, and keeps what it has.
    Uniform,
    /// Every member gets neighbouring partitions of each topic, the same of topics of one size.
    Range,
}

impl Assignor {
    /// As Kafka writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range]
            .into_iter()
            .find(|assignor| assignor.as_str() == name)
    }
}

/// Whether groups may change their protocol while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Both ways.
    Bidirectional,
    /// From the classic to the consumer protocol.
    Upgrade,
    /// From the consumer to the classic protocol.
    Downgrade,
    /// Not at all.
    Disabled,
}

impl MigrationPolicy {
    /// As Kafka writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bidirectional => "bidirectional",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Disabled => "disabled",
        }
    }

    /// The one of this name, in letters of any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Bidirectional,
            Self::Upgrade,
            Self::Downgrade,
            Self::Disabled,
        ];
        all.into_iter()
            .find(|policy| policy.as_str().eq_ignore_ascii_case(name))
    }

    pub(crate) const fn may_upgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    pub(crate) const fn may_downgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}
