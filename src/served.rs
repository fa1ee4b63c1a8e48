//! What this broker serves: one row per API key with the versions that ApiVersions advertises. The
//! same rows are the gate of `dispatch.rs`, so nothing is advertised that is not served.

use klamm_wire::ApiKey;

/// One API key that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The key.
    pub key: ApiKey,
    /// Lowest version that is advertised.
    pub min: i16,
    /// Highest version that is advertised and served.
    pub max: i16,
    /// Lowest version that is served. Above `min` only where clients look at the advertised
    /// minimum and never send it.
    pub floor: i16,
}

impl Served {
    /// True if a request of this version is answered.
    #[must_use]
    pub const fn admits(&self, version: i16) -> bool {
        self.floor <= version && version <= self.max
    }
}

const fn row(key: ApiKey, min: i16, max: i16) -> Served {
    Served {
        key,
        min,
        max,
        floor: min,
    }
}

/// Produce says 0 because librdkafka before 2.8 turns compression off if the lowest version is
/// above that (KIP-896, librdkafka#4956). Nobody sends 0 to 2: their message format is gone.
const fn advertised_from(served: Served, floor: i16) -> Served {
    Served { floor, ..served }
}

/// Every key that is served, in the order of its number.
pub const SERVED: &[Served] = &[
    advertised_from(row(ApiKey::Produce, 0, 13), 3),
    row(ApiKey::Fetch, 4, 18),
    row(ApiKey::ListOffsets, 1, 11),
    row(ApiKey::Metadata, 0, 13),
    row(ApiKey::OffsetCommit, 0, 10),
    row(ApiKey::OffsetFetch, 0, 10),
    row(ApiKey::FindCoordinator, 0, 6),
    row(ApiKey::JoinGroup, 0, 9),
    row(ApiKey::Heartbeat, 0, 4),
    row(ApiKey::LeaveGroup, 0, 5),
    row(ApiKey::SyncGroup, 0, 5),
    row(ApiKey::DescribeGroups, 0, 6),
    row(ApiKey::ListGroups, 0, 5),
    row(ApiKey::ApiVersions, 0, 4),
    row(ApiKey::CreateTopics, 0, 7),
    row(ApiKey::DeleteTopics, 0, 6),
    row(ApiKey::DeleteRecords, 0, 2),
    row(ApiKey::InitProducerId, 0, 5),
    row(ApiKey::OffsetForLeaderEpoch, 0, 4),
    row(ApiKey::DescribeConfigs, 0, 4),
    row(ApiKey::AlterConfigs, 0, 2),
    row(ApiKey::AlterReplicaLogDirs, 1, 2),
    row(ApiKey::DescribeLogDirs, 0, 5),
    row(ApiKey::CreatePartitions, 0, 3),
    row(ApiKey::DeleteGroups, 0, 2),
    row(ApiKey::ElectLeaders, 0, 2),
    row(ApiKey::IncrementalAlterConfigs, 0, 1),
    row(ApiKey::AlterPartitionReassignments, 0, 1),
    row(ApiKey::ListPartitionReassignments, 0, 0),
    row(ApiKey::OffsetDelete, 0, 0),
    row(ApiKey::DescribeClientQuotas, 0, 1),
    row(ApiKey::AlterClientQuotas, 0, 1),
    row(ApiKey::DescribeQuorum, 0, 2),
    row(ApiKey::UpdateFeatures, 0, 2),
    row(ApiKey::DescribeCluster, 0, 2),
    row(ApiKey::DescribeProducers, 0, 0),
    row(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    row(ApiKey::ConsumerGroupDescribe, 0, 1),
    row(ApiKey::ListConfigResources, 0, 1),
    row(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// The row of a key, if it is served.
#[must_use]
pub fn served(key: ApiKey) -> Option<&'static Served> {
    SERVED.iter().find(|served| served.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_inside_what_the_wire_knows() {
        assert!(SERVED.is_sorted_by_key(|served| served.key.number()));
        for served in SERVED {
            let known = served.key.versions().expect("a served key has messages");
            assert!(known.contains(served.floor), "{served:?}");
            assert!(known.contains(served.max), "{served:?}");
            assert!(
                served.min <= served.floor && served.floor <= served.max,
                "{served:?}"
            );
            let unstable = served.key.first_unstable();
            assert!(
                unstable.is_none_or(|first| served.max < first),
                "{served:?}"
            );
        }
    }

    #[test]
    fn produce_is_advertised_from_zero_and_served_from_three() {
        let produce = served(ApiKey::Produce).expect("served");
        assert_eq!(produce.min, 0);
        assert!(!produce.admits(2));
        assert!(produce.admits(3));
        assert!(!produce.admits(14));
    }
}
