//! Plain counters of a coordinator.

/// What a coordinator holds, and what it did since it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Groups without members.
    pub empty: usize,
    /// Groups whose round waits for members.
    pub preparing_rebalance: usize,
    /// Groups whose round waits for assignments.
    pub completing_rebalance: usize,
    /// Groups of the consumer protocol whose work has to be divided anew.
    pub assigning: usize,
    /// Groups of the consumer protocol of whose members not all have what they shall.
    pub reconciling: usize,
    /// Groups of the consumer protocol, in any state.
    pub consumer_groups: usize,
    /// Groups whose members have their assignments.
    pub stable: usize,
    /// Members of all groups.
    pub members: usize,
    /// Offsets that are kept.
    pub offsets: usize,
    /// Bytes that are held: of offsets, of what the log keeps of groups, and of what members said.
    pub bytes: usize,
    /// What was counted since the start.
    pub counters: Counters,
}

/// What a coordinator did since it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rounds that began.
    pub rebalances_begun: u64,
    /// Rounds whose assignments were kept.
    pub rebalances_completed: u64,
    /// Members that were silent for too long.
    pub members_expired: u64,
    /// Offsets that clients committed.
    pub offsets_committed: u64,
    /// Offsets that clients deleted, or that went with their topic or group.
    pub offsets_deleted: u64,
    /// Offsets that nobody used for too long.
    pub offsets_expired: u64,
    /// Records that were passed over since they are of kinds that are not served.
    pub records_skipped: u64,
}
