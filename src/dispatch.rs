//! From a frame to an answer: header, version window, route. Kafka's rules for what ends a
//! connection are here; what a request means is the handlers' business.

use bytes::Bytes;
use klamm_wire::{ApiKey, RequestHeader};

use crate::handlers::{
    h00_produce, h01_fetch, h02_list_offsets, h03_metadata, h08_offset_commit, h09_offset_fetch,
    h10_find_coordinator, h11_join_group, h12_heartbeat, h13_leave_group, h14_sync_group,
    h15_describe_groups, h16_list_groups, h18_api_versions, h19_create_topics, h20_delete_topics,
    h21_delete_records, h22_init_producer_id, h23_offset_for_leader_epoch, h32_describe_configs,
    h33_alter_configs, h34_alter_replica_log_dirs, h35_describe_log_dirs, h37_create_partitions,
    h42_delete_groups, h43_elect_leaders, h44_incremental_alter_configs,
    h45_alter_partition_reassignments, h46_list_partition_reassignments, h47_offset_delete,
    h48_describe_client_quotas, h49_alter_client_quotas, h55_describe_quorum, h57_update_features,
    h60_describe_cluster, h61_describe_producers, h68_consumer_group_heartbeat,
    h69_consumer_group_describe, h74_list_config_resources, h75_describe_topic_partitions,
};
use crate::net::{Answer, Close, Context, Request};
use crate::served::served;

/// Begins the work of one request. A Produce has its place in the logs when this returns, unless
/// it stands behind a request that changes what it means (`behind_barrier`); everything else
/// begins when it is the first to be answered, as if requests came one by one.
///
/// # Errors
/// The connection must end, once the requests before are answered.
pub fn dispatch(context: &Context, frame: &Bytes, behind_barrier: bool) -> Result<Answer, Close> {
    let (header, body) = RequestHeader::parse(frame).map_err(Close::Header)?;
    let key = header.key;
    let Some(row) = served(key) else {
        return Err(Close::NotServed { key });
    };
    let limits = context.limits(header.client_id);
    let request = Request::new(frame, &header, body, limits);
    if !row.admits(header.version) {
        if key == ApiKey::ApiVersions {
            return h18_api_versions::unsupported(&request).map(Answer::Ready);
        }
        let (min, max) = (row.floor, row.max);
        return Err(Close::Version {
            key,
            found: header.version,
            min,
            max,
        });
    }
    route(context.clone(), request, behind_barrier)
}

fn route(context: Context, request: Request, behind_barrier: bool) -> Result<Answer, Close> {
    Ok(match request.key {
        ApiKey::Produce if behind_barrier => {
            Answer::LateProduce(Box::pin(h00_produce::handle_late(context, request)))
        }
        ApiKey::Produce => Answer::Produce(h00_produce::begin(&context, &request)?),
        ApiKey::Fetch => Answer::Fetch(h01_fetch::Pending::new(context, request)),
        ApiKey::ListOffsets => Answer::Later(Box::pin(h02_list_offsets::handle(context, request))),
        ApiKey::Metadata => h03_metadata::begin(context, request)?,
        ApiKey::ApiVersions => Answer::Ready(h18_api_versions::handle(&context, &request)?),
        ApiKey::CreateTopics => {
            Answer::Barrier(Box::pin(h19_create_topics::handle(context, request)))
        }
        ApiKey::DeleteTopics => {
            Answer::Barrier(Box::pin(h20_delete_topics::handle(context, request)))
        }
        ApiKey::InitProducerId => {
            Answer::Later(Box::pin(h22_init_producer_id::handle(context, request)))
        }
        ApiKey::DescribeConfigs => {
            Answer::Later(Box::pin(h32_describe_configs::handle(context, request)))
        }
        ApiKey::AlterConfigs => {
            Answer::Barrier(Box::pin(h33_alter_configs::handle(context, request)))
        }
        ApiKey::CreatePartitions => {
            Answer::Barrier(Box::pin(h37_create_partitions::handle(context, request)))
        }
        ApiKey::IncrementalAlterConfigs => Answer::Barrier(Box::pin(
            h44_incremental_alter_configs::handle(context, request),
        )),
        ApiKey::DescribeCluster => {
            Answer::Later(Box::pin(h60_describe_cluster::handle(context, request)))
        }
        _ => return route_groups(context, request),
    })
}

/// What coordinators of groups are asked.
fn route_groups(context: Context, request: Request) -> Result<Answer, Close> {
    Ok(Answer::Later(match request.key {
        ApiKey::OffsetCommit => Box::pin(h08_offset_commit::handle(context, request)),
        ApiKey::OffsetFetch => Box::pin(h09_offset_fetch::handle(context, request)),
        ApiKey::FindCoordinator => Box::pin(h10_find_coordinator::handle(context, request)),
        ApiKey::JoinGroup => Box::pin(h11_join_group::handle(context, request)),
        ApiKey::Heartbeat => Box::pin(h12_heartbeat::handle(context, request)),
        ApiKey::LeaveGroup => Box::pin(h13_leave_group::handle(context, request)),
        ApiKey::SyncGroup => Box::pin(h14_sync_group::handle(context, request)),
        ApiKey::DescribeGroups => Box::pin(h15_describe_groups::handle(context, request)),
        ApiKey::ListGroups => Box::pin(h16_list_groups::handle(context, request)),
        ApiKey::DeleteGroups => Box::pin(h42_delete_groups::handle(context, request)),
        ApiKey::OffsetDelete => Box::pin(h47_offset_delete::handle(context, request)),
        ApiKey::ConsumerGroupHeartbeat => {
            Box::pin(h68_consumer_group_heartbeat::handle(context, request))
        }
        ApiKey::ConsumerGroupDescribe => {
            Box::pin(h69_consumer_group_describe::handle(context, request))
        }
        _ => return route_administration(context, request),
    }))
}

/// The rarer keys: what partitions, logs and the quorum are like, and what is decided about them.
fn route_administration(context: Context, request: Request) -> Result<Answer, Close> {
    Ok(match request.key {
        ApiKey::DeleteRecords => {
            Answer::Later(Box::pin(h21_delete_records::handle(context, request)))
        }
        ApiKey::OffsetForLeaderEpoch => Answer::Later(Box::pin(
            h23_offset_for_leader_epoch::handle(context, request),
        )),
        ApiKey::AlterReplicaLogDirs => Answer::Later(Box::pin(h34_alter_replica_log_dirs::handle(
            context, request,
        ))),
        ApiKey::DescribeLogDirs => {
            Answer::Later(Box::pin(h35_describe_log_dirs::handle(context, request)))
        }
        ApiKey::ElectLeaders => {
            Answer::Barrier(Box::pin(h43_elect_leaders::handle(context, request)))
        }
        ApiKey::AlterPartitionReassignments => Answer::Barrier(Box::pin(
            h45_alter_partition_reassignments::handle(context, request),
        )),
        ApiKey::ListPartitionReassignments => {
            Answer::Ready(h46_list_partition_reassignments::handle(&request)?)
        }
        ApiKey::DescribeClientQuotas => Answer::Later(Box::pin(
            h48_describe_client_quotas::handle(context, request),
        )),
        ApiKey::AlterClientQuotas => {
            Answer::Barrier(Box::pin(h49_alter_client_quotas::handle(context, request)))
        }
        ApiKey::DescribeQuorum => {
            Answer::Later(Box::pin(h55_describe_quorum::handle(context, request)))
        }
        ApiKey::UpdateFeatures => {
            Answer::Barrier(Box::pin(h57_update_features::handle(context, request)))
        }
        ApiKey::DescribeProducers => {
            Answer::Later(Box::pin(h61_describe_producers::handle(context, request)))
        }
        ApiKey::DescribeTopicPartitions => Answer::Later(Box::pin(
            h75_describe_topic_partitions::handle(context, request),
        )),
        ApiKey::ListConfigResources => Answer::Later(Box::pin(h74_list_config_resources::handle(
            context, request,
        ))),
        key => return Err(Close::NotServed { key }),
    })
}
