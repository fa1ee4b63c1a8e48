//! An independent codec as oracle: what we write it reads, what it writes of that is the same bytes,
//! and we read those again.

use bytes::BytesMut;
use kafka_protocol::{
    messages::*,
    protocol::{Decodable, Encodable, Message as OracleMessage},
};

use super::{dice::Dice, parse, sample};
use crate::Direction;

const SEEDS: u64 = 12;

fn check<M: Decodable + Encodable + OracleMessage>(
    key: crate::ApiKey,
    direction: Direction,
) -> u32 {
    let range = key.versions().expect("the key has messages");
    let mut versions = 0;
    for version in range.first.max(M::VERSIONS.min)..=range.last.min(M::VERSIONS.max) {
        versions += 1;
        for seed in 0..SEEDS {
            println!("seed {seed}: {key} {direction:?} v{version}");
            let ours = sample(key, direction, &mut Dice::new(seed), version).freeze();
            let mut unread = ours.clone();
            let theirs = M::decode(&mut unread, version).expect("the oracle reads our bytes");
            assert!(unread.is_empty(), "the oracle reads all our bytes");
            let mut written = BytesMut::new();
            theirs
                .encode(&mut written, version)
                .expect("the oracle writes what it read");
            assert_eq!(written, ours);
            assert_eq!(parse(key, direction, version, &written), Ok(()));
        }
    }
    versions
}

macro_rules! oracle {
    ($($key:ident $request:ident $response:ident;)*) => {
        #[test]
        fn oracle_and_we_write_the_same_bytes() {
            let mut versions = 0;
            $(
                versions += check::<$request>(crate::ApiKey::$key, Direction::Request);
                versions += check::<$response>(crate::ApiKey::$key, Direction::Response);
            )*
            assert!(versions > 350, "found {versions} versions in common");
        }
    };
}

oracle! {
    Produce ProduceRequest ProduceResponse;
    Fetch FetchRequest FetchResponse;
    ListOffsets ListOffsetsRequest ListOffsetsResponse;
    Metadata MetadataRequest MetadataResponse;
    OffsetCommit OffsetCommitRequest OffsetCommitResponse;
    OffsetFetch OffsetFetchRequest OffsetFetchResponse;
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse;
    JoinGroup JoinGroupRequest JoinGroupResponse;
    Heartbeat HeartbeatRequest HeartbeatResponse;
    LeaveGroup LeaveGroupRequest LeaveGroupResponse;
    SyncGroup SyncGroupRequest SyncGroupResponse;
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse;
    ListGroups ListGroupsRequest ListGroupsResponse;
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse;
    ApiVersions ApiVersionsRequest ApiVersionsResponse;
    CreateTopics CreateTopicsRequest CreateTopicsResponse;
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse;
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse;
    InitProducerId InitProducerIdRequest InitProducerIdResponse;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
    AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
    EndTxn EndTxnRequest EndTxnResponse;
    WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse;
    TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse;
    DescribeAcls DescribeAclsRequest DescribeAclsResponse;
    CreateAcls CreateAclsRequest CreateAclsResponse;
    DeleteAcls DeleteAclsRequest DeleteAclsResponse;
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse;
    AlterConfigs AlterConfigsRequest AlterConfigsResponse;
    AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse;
    DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse;
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse;
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse;
    CreateDelegationToken CreateDelegationTokenRequest CreateDelegationTokenResponse;
    RenewDelegationToken RenewDelegationTokenRequest RenewDelegationTokenResponse;
    ExpireDelegationToken ExpireDelegationTokenRequest ExpireDelegationTokenResponse;
    DescribeDelegationToken DescribeDelegationTokenRequest DescribeDelegationTokenResponse;
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse;
    ElectLeaders ElectLeadersRequest ElectLeadersResponse;
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
    ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse;
    DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse;
    AlterClientQuotas AlterClientQuotasRequest AlterClientQuotasResponse;
    DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
    AlterUserScramCredentials AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse;
    DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse;
    UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse;
    DescribeCluster DescribeClusterRequest DescribeClusterResponse;
    DescribeProducers DescribeProducersRequest DescribeProducersResponse;
    UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse;
    DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse;
    ListTransactions ListTransactionsRequest ListTransactionsResponse;
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
    GetTelemetrySubscriptions GetTelemetrySubscriptionsRequest GetTelemetrySubscriptionsResponse;
    PushTelemetry PushTelemetryRequest PushTelemetryResponse;
    ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse;
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
    ShareGroupHeartbeat ShareGroupHeartbeatRequest ShareGroupHeartbeatResponse;
    ShareGroupDescribe ShareGroupDescribeRequest ShareGroupDescribeResponse;
    ShareFetch ShareFetchRequest ShareFetchResponse;
    ShareAcknowledge ShareAcknowledgeRequest ShareAcknowledgeResponse;
    AddRaftVoter AddRaftVoterRequest AddRaftVoterResponse;
    RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse;
    DescribeShareGroupOffsets DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse;
    AlterShareGroupOffsets AlterShareGroupOffsetsRequest AlterShareGroupOffsetsResponse;
    DeleteShareGroupOffsets DeleteShareGroupOffsetsRequest DeleteShareGroupOffsetsResponse;
}
