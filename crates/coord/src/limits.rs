//! Ceilings of this room: everything that a client can make grow has one.

use std::time::Duration;

/// Longest name of a group, member, instance, client, protocol or host in bytes. Kafka's records
/// have room for 32,767; ids of members are names with 37 bytes more.
pub const NAME_BYTES_MAX: usize = 32_000;

/// Most ids of members that one group has given out and that have not come back with them.
pub const PENDING_MEMBERS_MAX: usize = 10_000;

/// Most protocols of one member.
pub const PROTOCOLS_MAX: usize = 64;

/// Most bytes that the members of one group may make the coordinator remember. More than one record
/// takes, since members say something for each of their protocols.
pub const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most groups of one partition of `__consumer_offsets`.
pub const GROUPS_MAX: usize = 200_000;

/// Most offsets that are kept of one group.
pub const GROUP_OFFSETS_MAX: usize = 1_000_000;

/// Most offsets that are kept in one partition of `__consumer_offsets`.
pub const OFFSETS_MAX: usize = 4_000_000;

/// Most bytes that the coordinator of one partition holds of groups, as [`crate::Stats::bytes`]
/// counts them. Where they are reached nobody new joins, nobody says more than before, and no new
/// offset is kept; the offsets that are kept move on. Assignments may take a quarter more, so that
/// those who have joined can go on.
pub const COORDINATOR_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Most bytes that the coordinators of one core hold together, however many they are: the host sees
/// to it with [`crate::Coordinator::set_bytes_max`].
pub const CORE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// What one offset takes besides its metadata. Metadata may also grow to as much where the
/// coordinator is full.
pub(crate) const OFFSET_BYTES: usize = 100;

/// What a group takes besides its name and what is in it.
pub(crate) const GROUP_ITSELF_BYTES: usize = 300;

/// What the offsets of one topic take in a group, besides its name and each offset.
pub(crate) const TOPIC_BYTES: usize = 800;

/// What a member takes besides its names and protocols.
pub(crate) const MEMBER_BYTES: usize = 400;

/// What one protocol of a member takes besides its name and metadata.
pub(crate) const PROTOCOL_BYTES: usize = 60;

/// What an id takes that was given out, besides itself.
pub(crate) const PENDING_BYTES: usize = 60;

/// Most offsets that one answer has, and that are looked at for it; the rest is asked for again, so
/// that others are served meanwhile.
pub const ANSWER_OFFSETS_MAX: usize = 5_000;

/// Most groups that are looked at for one answer; the rest is asked for again.
pub const ANSWER_GROUPS_MAX: usize = 2_000;

/// Bytes after which an answer about offsets or a list of groups ends, and the rest is asked for
/// again.
pub const ANSWER_BYTES: usize = 256 * 1024;

/// Most tombstones of one decision of the sweep for expired offsets; the rest follows after a pause.
pub const SWEEP_RECORDS_MAX: usize = 5_000;

/// Most offsets and groups that one decision of that sweep looks at, but for those of one group
/// alone; the rest follows after a pause.
pub const SWEEP_LOOKS_MAX: usize = 20_000;

/// For how long a sweep that is not at its end lets others go first.
pub const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// For how long the sweep doubts a wall clock that has jumped ahead.
pub const WALL_CLOCK_DOUBT: Duration = Duration::from_secs(86_400);

/// Most notes that wait for the host to take them.
pub const NOTES_MAX: usize = 10_000;

/// The least time that members have to join again, whatever they say themselves: a group of static
/// members that are away would begin its round anew without a pause.
pub const REBALANCE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// For how long a join of a new member is parked before the member is given up: it cannot send
/// heartbeats while it waits (as in Kafka, not configurable).
pub const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Most members of a group of the consumer protocol that go in one decision; others follow after a
/// pause.
pub const MEMBERS_GONE_MAX: usize = 1_000;

/// Longest regular expression of topics in bytes.
pub const REGEX_BYTES_MAX: usize = 4_096;

/// Most bytes that a compiled regular expression may take, and as many again while it is used.
pub const REGEX_COMPILED_BYTES_MAX: usize = 256 * 1024;

/// Most different regular expressions of one group.
pub const REGEXES_MAX: usize = 20;

/// Most names of topics that are held against a regular expression in one decision.
pub const REGEX_LOOKS_MAX: usize = 20_000;

/// Most topics of one member's subscription.
pub const SUBSCRIBED_TOPICS_MAX: usize = 20_000;

/// Most names of topics that the members of one group may give, and their regular expressions
/// match, together: each division of the work, and each change of what a group reads, looks at all.
pub const GROUP_TOPICS_MAX: usize = 200_000;

/// The shortest time between two heartbeats that a member is asked for while it has not got what it
/// shall have.
pub const HEARTBEAT_INTERVAL_SHORT: Duration = Duration::from_millis(100);

/// The shortest time between two heartbeats of a member of the consumer protocol that has what it
/// shall have: so soon it hears of a change.
pub const HEARTBEAT_INTERVAL_SETTLED: Duration = Duration::from_millis(400);

/// The shortest time between two heartbeats of a member whose client waits no longer than that for
/// an answer: on a link, or from a broker, that is slower, it would never get one.
pub const HEARTBEAT_INTERVAL_IMPATIENT: Duration = Duration::from_secs(1);

/// How many heartbeats a second one core asks members for that have what they shall have: where
/// there are more members they come less often, down to what the configuration says. A heartbeat
/// takes twenty to thirty-three microseconds with all that belongs to a request, so that these take
/// one to two hundredths of a core.
pub const HEARTBEATS_SETTLED_MAX: u32 = 500;

/// The same of members that have not got yet what they shall have.
pub const HEARTBEATS_UNSETTLED_MAX: u32 = 10_000;

/// What a member of the consumer protocol takes besides its names and what it has.
pub(crate) const CONSUMER_MEMBER_BYTES: usize = 600;

/// What a topic takes in a subscription besides its name.
pub(crate) const SUBSCRIBED_TOPIC_BYTES: usize = 80;

/// What a topic takes of which a member has, or shall have, partitions.
pub(crate) const TOPIC_HELD_BYTES: usize = 200;

/// What a partition takes that a member has.
pub(crate) const PARTITION_HELD_BYTES: usize = 60;

/// What a partition takes that a member shall have.
pub(crate) const PARTITION_WANTED_BYTES: usize = 8;

/// Most bytes of assignments that are read to tell what a round moved.
pub const MOVES_BYTES_MAX: usize = 256 * 1024;

/// Most partitions that are named of what one round moved; the rest is counted.
pub const MOVES_NAMED_MAX: usize = 200;

/// Most events that are remembered of one group.
pub const HISTORY_EVENTS_MAX: usize = 128;

/// Most bytes that the events of one group take.
pub const HISTORY_GROUP_BYTES_MAX: usize = 64 * 1024;

/// Most bytes that the events of all groups of one core take: those of groups to which nothing has
/// happened for longest are given up first.
pub const HISTORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most groups of one core whose lag is remembered from look to look.
pub const LAG_GROUPS_MAX: usize = 100_000;

/// Most partitions of one group whose lag is remembered; more are counted.
pub const LAG_GROUP_PARTITIONS_MAX: usize = 20_000;

/// Most partitions of all groups of one core whose lag is remembered; more are counted.
pub const LAG_PARTITIONS_MAX: usize = 400_000;
