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
