//! From a frame to an answer: header, version window, route. Kafka's rules for what ends a
//! connection are here; what a request means is the handlers' business.

use bytes::Bytes;
use klamm_wire::{ApiKey, RequestHeader};

use crate::handlers::{
    h00_produce, h01_fetch, h02_list_offsets, h03_metadata, h18_api_versions, h19_create_topics,
    h20_delete_topics, h22_init_producer_id, h32_describe_configs, h60_describe_cluster,
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
    let request = Request::new(frame, &header, body);
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
        ApiKey::DescribeCluster => {
            Answer::Later(Box::pin(h60_describe_cluster::handle(context, request)))
        }
        key => return Err(Close::NotServed { key }),
    })
}
