//! The first request of every client, and that each key and version named in its answer is served.

use bytes::Bytes;
use klamm_wire::{
    ApiKey, Request, api_versions, create_topics, delete_topics, describe_cluster,
    describe_configs, fetch, init_producer_id, list_offsets, metadata, produce,
};

use crate::harness::{Broker, Client, request_bytes};

fn software() -> api_versions::Request<'static> {
    api_versions::Request {
        client_software_name: "black-box".into(),
        client_software_version: "1".into(),
    }
}

#[test]
fn every_version_of_api_versions_names_the_same_keys() {
    let broker = Broker::start();
    let mut client = broker.client();
    let expected = client.api_versions();
    assert!(expected.len() >= 10, "{expected:?}");
    for version in 0..=4 {
        let reply = client.call(&software(), version);
        let view = reply.view();
        assert_eq!(view.error_code(), 0, "version {version}");
        let keys = view.api_keys().iter();
        let found = keys.map(|row| (row.api_key(), (row.min_version(), row.max_version())));
        assert!(found.eq(expected.clone()), "version {version}");
    }
}

#[test]
fn keys_that_do_not_exist_for_clients_are_not_named() {
    let broker = Broker::start();
    let keys = broker.client().api_versions();
    for dead_or_internal in [4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82] {
        assert!(
            !keys.contains_key(&dead_or_internal),
            "key {dead_or_internal}"
        );
    }
}

#[test]
fn features_are_finalised_inside_what_is_supported() {
    let broker = Broker::start();
    let reply = broker.client().call(&software(), 4);
    let view = reply.view();
    let supported: Vec<_> = view.supported_features().iter().collect();
    for finalised in view.finalized_features() {
        let row = supported.iter().find(|row| row.name() == finalised.name());
        let row = row.unwrap_or_else(|| panic!("{} is not supported", finalised.name()));
        let level = finalised.max_version_level();
        assert!(
            (row.min_version()..=row.max_version()).contains(&level),
            "{}",
            row.name()
        );
    }
}

/// A7. Kafka answers in version 0, so that a newer client can read what is served (KIP-511).
#[test]
fn unknown_version_of_api_versions_is_answered_in_version_0_with_code_35() {
    let broker = Broker::start();
    for version in [5, 99, i16::MAX, -1] {
        let mut client = broker.client();
        client.send(&request_bytes(18, version, 77, b"\x02a\x021\x00"));
        let reply = client.finish::<api_versions::Request<'_>>(ApiKey::ApiVersions, 0);
        assert_eq!(reply.correlation_id, 77);
        let view = reply.view();
        assert_eq!(view.error_code(), 35, "version {version}");
        let own = view.api_keys().iter().find(|row| row.api_key() == 18);
        assert_eq!(own.expect("its own row").min_version(), 0);
        // The connection stays open.
        assert_eq!(client.call(&software(), 4).view().error_code(), 0);
    }
}

/// librdkafka before 2.8 turns compression off where the lowest version is above 0 (KIP-896).
#[test]
fn produce_is_named_from_version_0() {
    let broker = Broker::start();
    let keys = broker.client().api_versions();
    assert_eq!(keys.get(&0).map(|versions| versions.0), Some(0));
    assert!(keys[&0].1 >= 13);
}

/// An illegal software name is Kafka's `INVALID_REQUEST` (KIP-511).
#[test]
fn illegal_software_name_is_answered_with_code_42() {
    let broker = Broker::start();
    for name in ["with space", "", "-dash", "nöt-ascii", "dash-"] {
        let request = api_versions::Request {
            client_software_name: name.to_owned().into(),
            client_software_version: "1".into(),
        };
        assert_eq!(
            broker.client().call(&request, 3).view().error_code(),
            42,
            "{name:?}"
        );
    }
}

/// One request of each key that changes nothing, sent in each version that is named.
#[test]
fn every_key_that_is_named_answers_every_version_that_is_named() {
    let broker = Broker::start();
    let mut client = broker.client();
    for (key, (min, max)) in client.api_versions() {
        let key = ApiKey::from_number(key).expect("a key of the tables");
        // Produce is named from 0 for old clients' eyes; their format of records is gone.
        let floor = if key == ApiKey::Produce { 3 } else { min };
        for version in floor..=max {
            ask(&mut client, key, version);
        }
    }
}

fn ask(client: &mut Client, key: ApiKey, version: i16) {
    let client = &mut *client;
    match key {
        ApiKey::Produce => {
            check(
                client,
                &produce::Request {
                    acks: 1,
                    ..Default::default()
                },
                version,
            );
        }
        ApiKey::Fetch => check(client, &fetch::Request::default(), version),
        ApiKey::ListOffsets => {
            let request = list_offsets::Request {
                replica_id: -1,
                ..Default::default()
            };
            check(client, &request, version);
        }
        ApiKey::Metadata => {
            let request = metadata::Request {
                topics: Some(Vec::new()),
                allow_auto_topic_creation: true,
                ..Default::default()
            };
            check(client, &request, version);
        }
        ApiKey::ApiVersions => check(client, &software(), version),
        ApiKey::CreateTopics => check(client, &create_topics::Request::default(), version),
        ApiKey::DeleteTopics => check(client, &delete_topics::Request::default(), version),
        ApiKey::InitProducerId => {
            let request = init_producer_id::Request {
                transaction_timeout_ms: 1,
                ..Default::default()
            };
            check(client, &request, version);
        }
        ApiKey::DescribeConfigs => check(client, &describe_configs::Request::default(), version),
        ApiKey::DescribeCluster => check(client, &describe_cluster::Request::default(), version),
        other => ask_with_defaults(client, other, version),
    }
}

/// Keys whose request of zeros is legal: no strings that must name something, no lists.
fn ask_with_defaults(client: &mut Client, key: ApiKey, version: i16) {
    macro_rules! defaults {
        ($($variant:ident => $module:ident),* $(,)?) => {
            match key {
                $(ApiKey::$variant => {
                    check(client, &klamm_wire::$module::Request::default(), version);
                })*
                other => panic!("{other} is served, but this test has no request for it"),
            }
        };
    }
    defaults! {
        OffsetCommit => offset_commit,
        OffsetFetch => offset_fetch,
        FindCoordinator => find_coordinator,
        JoinGroup => join_group,
        Heartbeat => heartbeat,
        LeaveGroup => leave_group,
        SyncGroup => sync_group,
        DescribeGroups => describe_groups,
        ListGroups => list_groups,
        SaslHandshake => sasl_handshake,
        DeleteRecords => delete_records,
        OffsetForLeaderEpoch => offset_for_leader_epoch,
        AddPartitionsToTxn => add_partitions_to_txn,
        AddOffsetsToTxn => add_offsets_to_txn,
        EndTxn => end_txn,
        WriteTxnMarkers => write_txn_markers,
        TxnOffsetCommit => txn_offset_commit,
        DescribeAcls => describe_acls,
        CreateAcls => create_acls,
        DeleteAcls => delete_acls,
        AlterConfigs => alter_configs,
        AlterReplicaLogDirs => alter_replica_log_dirs,
        DescribeLogDirs => describe_log_dirs,
        SaslAuthenticate => sasl_authenticate,
        CreatePartitions => create_partitions,
        CreateDelegationToken => create_delegation_token,
        RenewDelegationToken => renew_delegation_token,
        ExpireDelegationToken => expire_delegation_token,
        DescribeDelegationToken => describe_delegation_token,
        DeleteGroups => delete_groups,
        ElectLeaders => elect_leaders,
        IncrementalAlterConfigs => incremental_alter_configs,
        AlterPartitionReassignments => alter_partition_reassignments,
        ListPartitionReassignments => list_partition_reassignments,
        OffsetDelete => offset_delete,
        DescribeClientQuotas => describe_client_quotas,
        AlterClientQuotas => alter_client_quotas,
        DescribeUserScramCredentials => describe_user_scram_credentials,
        AlterUserScramCredentials => alter_user_scram_credentials,
        DescribeQuorum => describe_quorum,
        UpdateFeatures => update_features,
        DescribeProducers => describe_producers,
        UnregisterBroker => unregister_broker,
        DescribeTransactions => describe_transactions,
        ListTransactions => list_transactions,
        ConsumerGroupHeartbeat => consumer_group_heartbeat,
        ConsumerGroupDescribe => consumer_group_describe,
        GetTelemetrySubscriptions => get_telemetry_subscriptions,
        PushTelemetry => push_telemetry,
        ListConfigResources => list_config_resources,
        DescribeTopicPartitions => describe_topic_partitions,
        ShareGroupHeartbeat => share_group_heartbeat,
        ShareGroupDescribe => share_group_describe,
        ShareFetch => share_fetch,
        ShareAcknowledge => share_acknowledge,
        AddRaftVoter => add_raft_voter,
        RemoveRaftVoter => remove_raft_voter,
        StreamsGroupHeartbeat => streams_group_heartbeat,
        StreamsGroupDescribe => streams_group_describe,
        DescribeShareGroupOffsets => describe_share_group_offsets,
        AlterShareGroupOffsets => alter_share_group_offsets,
        DeleteShareGroupOffsets => delete_share_group_offsets,
    }
}

fn check<Q: Request>(client: &mut Client, request: &Q, version: i16) {
    let key = request.schema().key;
    let reply = client.call(request, version);
    if let Err(fault) = reply.parse() {
        panic!("answer to {key} version {version}: {fault}");
    }
}

/// Answers come in the order of requests, whatever each of them takes.
#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("order", 1);
    let batch = Bytes::from(crate::harness::RawBatch::one("x").encode());
    let production = crate::harness::production(&topic, -1, &[(0, &batch)]);
    let mut expected = Vec::new();
    for _ in 0..20 {
        expected.push(client.begin(&production, 9));
        expected.push(client.begin(&software(), 3));
        expected.push(client.begin(&metadata::Request::default(), 12));
    }
    let found = expected.iter().map(|_| {
        let frame = client.read_frame().expect("readable").expect("an answer");
        i32::from_be_bytes(frame[..4].try_into().expect("four bytes"))
    });
    assert!(found.eq(expected.iter().copied()));
}
