//! Metadata: brokers, topics, leaders; creates topics that are asked for where that is allowed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use klamm_model::limits::ADMIN_TOPICS_MAX;
use klamm_model::{ErrorCode, MetadataOffset, NodeId, TopicId, TopicName};
use klamm_shard::api::metadata::{Command, Image, Partition, Reply, Topic};
use klamm_wire::{Gather, metadata};

use super::{
    CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, borrowed, endpoint_of, endpoints,
};
use crate::net::{Answer, Close, Context, Request};

/// First version in which no topics and all topics are two things.
const FIRST_WITH_NONE: i16 = 1;
/// First version that names topics by id (KIP-516).
const FIRST_BY_ID: i16 = 12;
/// First version that knows `LISTENER_NOT_FOUND`.
const FIRST_WITH_LISTENER_ERROR: i16 = 6;
/// Topics that one request may create; the others are created when they are asked for again.
const CREATED_MAX: usize = 100;

/// Answers that show all topics, for each version and listener that asks: kept until the metadata
/// changes. Clients that come back together all ask for them, and writing one walks over every
/// partition.
#[derive(Debug, Default)]
pub(crate) struct WholeAnswers(RefCell<VecDeque<WholeAnswer>>);

#[derive(Debug)]
struct WholeAnswer {
    shows: MetadataOffset,
    listener: usize,
    version: i16,
    frame: Bytes,
}

/// Whole answers that are kept on a core; each is about as large as the metadata.
const WHOLE_ANSWERS_MAX: usize = 4;

/// Size and correlation id: what stands in a frame before that which can be shown to anybody.
const OWN_BYTES: usize = 8;

impl WholeAnswers {
    fn find(&self, image: &Image, request: &Request, listener: usize) -> Option<Gather> {
        let kept = self.0.borrow();
        let found = kept.iter().find(|answer| {
            answer.shows == image.version()
                && answer.listener == listener
                && answer.version == request.version
        })?;
        let mut out = Gather::new();
        out.extend_from_slice(&found.frame[..4]);
        out.extend_from_slice(&request.correlation_id.to_be_bytes());
        out.push(found.frame.slice(OWN_BYTES..));
        Some(out)
    }

    /// Takes in an answer that was just written; those of older metadata are let go.
    fn keep(&self, image: &Image, request: &Request, listener: usize, answer: &mut Gather) {
        let mut kept = self.0.borrow_mut();
        kept.retain(|other| other.shows == image.version());
        if kept.len() >= WHOLE_ANSWERS_MAX {
            kept.pop_front();
        }
        // A message without record bytes is written as one piece.
        if let [frame] = answer.pieces().make_contiguous() {
            kept.push_back(WholeAnswer {
                shows: image.version(),
                listener,
                version: request.version,
                frame: frame.clone(),
            });
        }
    }
}

/// One topic as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// Answers at once, unless topics must be created first.
///
/// # Errors
/// The body cannot be read.
pub fn begin(context: Context, request: Request) -> Result<Answer, Close> {
    let view: metadata::RequestView<'_> = request.body()?;
    let creates = view.allow_auto_topic_creation() && context.front.config.topics.auto_create;
    if !creates || missing(&context.shards.image(), &view).is_empty() {
        // What it shows is what holds when it is due, not now.
        return Ok(Answer::Later(Box::pin(async move {
            answer(&context, &request)
        })));
    }
    Ok(Answer::Barrier(Box::pin(create_and_answer(
        context, request,
    ))))
}

async fn create_and_answer(context: Context, request: Request) -> Result<Gather, Close> {
    let names = missing(&context.shards.image(), &request.body()?);
    let mut refusals = Vec::new();
    for name in names {
        let command = Command::AutoCreateTopic {
            name: name.to_string(),
        };
        if let Reply::AutoCreateTopic(Err(error)) = context.shards.control(command).await {
            refusals.push((name, error.code()));
        }
    }
    // A topic that was created and that this core does not see yet is one without a leader.
    respond(&context, &request, |name| {
        let refused = refusals
            .iter()
            .find(|(refused, _)| refused.as_str() == name);
        match refused {
            Some((_, ErrorCode::TopicAlreadyExists)) | None => ErrorCode::LeaderNotAvailable,
            Some((_, code)) => *code,
        }
    })
}

/// Legal names that no topic has, in order.
fn missing(image: &Image, view: &metadata::RequestView<'_>) -> Vec<TopicName> {
    let mut seen = BTreeSet::new();
    let names = view
        .topics()
        .into_iter()
        .flatten()
        .filter_map(|topic| topic.name());
    names
        .filter(|name| image.topic(name).is_none())
        .filter_map(|name| TopicName::new(name).ok())
        .filter(|name| seen.insert(name.clone()))
        .take(CREATED_MAX)
        .collect()
}

fn answer(context: &Context, request: &Request) -> Result<Gather, Close> {
    respond(context, request, |_| ErrorCode::UnknownTopicOrPartition)
}

fn respond(
    context: &Context,
    request: &Request,
    absent: impl Fn(&str) -> ErrorCode,
) -> Result<Gather, Close> {
    let view: metadata::RequestView<'_> = request.body()?;
    let asked_count = view.topics().map_or(0, |topics| topics.len());
    if asked_count > ADMIN_TOPICS_MAX {
        let what = "expected at most 100000 topics";
        return Err(request.refuse(what, i64::try_from(asked_count).unwrap_or(i64::MAX)));
    }
    let image = context.shards.image();
    let listener = context.listener_name();
    let version = request.version;
    let mut response = head(&image, listener, context.front.node());
    if view.include_cluster_authorized_operations() {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response.topics = match asked(&view, version) {
        Err(code) => refuse_all(&view, code),
        Ok(None) => return show_all(context, request, &image, response, &view),
        Ok(Some(asked)) => asked
            .into_iter()
            .map(|asked| match asked {
                Asked::Name(name) => match image.topic(name) {
                    Some(topic) => found(&image, listener, version, topic),
                    None if TopicName::new(name).is_err() => {
                        not_found(ErrorCode::InvalidTopicException, Some(borrowed(name)))
                    }
                    None => not_found(absent(name), Some(borrowed(name))),
                },
                Asked::Id(id) => match image.topic_by_id(id) {
                    Some(topic) => found(&image, listener, version, topic),
                    None => metadata::MetadataResponseTopic {
                        topic_id: id.0,
                        ..not_found(ErrorCode::UnknownTopicId, None)
                    },
                },
            })
            .collect(),
    };
    if view.include_topic_authorized_operations() {
        allow_topics(&mut response);
    }
    request.answer(&response)
}

/// Says of every topic that has a name what may be done to it, as in Kafka also where there is no
/// such topic: everything, as nobody is kept from anything.
fn allow_topics(response: &mut metadata::Response<'_>) {
    let topics = response.topics.iter_mut();
    for topic in topics.filter(|topic| topic.name.is_some()) {
        topic.topic_authorized_operations = TOPIC_OPERATIONS;
    }
}

/// Puts all topics behind this head, unless the same answer was given a moment ago.
fn show_all<'i>(
    context: &Context,
    request: &Request,
    image: &'i Image,
    mut response: metadata::Response<'i>,
    view: &metadata::RequestView<'_>,
) -> Result<Gather, Close> {
    let listener = context.listener();
    // What may be done is asked for by few; their answers are nobody else's.
    let of_all = !view.include_cluster_authorized_operations()
        && !view.include_topic_authorized_operations();
    let answers = &context.front.metadata;
    if of_all && let Some(answer) = answers.find(image, request, listener) {
        return Ok(answer);
    }
    let topics = image.topics();
    response.topics = topics
        .map(|topic| found(image, context.listener_name(), request.version, topic))
        .collect();
    if view.include_topic_authorized_operations() {
        allow_topics(&mut response);
    }
    let mut answer = request.answer(&response)?;
    if of_all {
        answers.keep(image, request, listener, &mut answer);
    }
    Ok(answer)
}

/// The topics asked for, each once; `None` is all of them.
///
/// # Errors
/// `INVALID_REQUEST` for a topic that the version cannot name so.
fn asked<'a>(
    view: &metadata::RequestView<'a>,
    version: i16,
) -> Result<Option<Vec<Asked<'a>>>, ErrorCode> {
    let Some(topics) = view.topics() else {
        return Ok(None);
    };
    if topics.is_empty() && version < FIRST_WITH_NONE {
        return Ok(None);
    }
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for topic in topics {
        let id = TopicId(topic.topic_id());
        let one = match topic.name() {
            _ if !id.is_zero() && version < FIRST_BY_ID => return Err(ErrorCode::InvalidRequest),
            _ if !id.is_zero() => Asked::Id(id),
            Some(name) => Asked::Name(name),
            None if version < FIRST_BY_ID => return Err(ErrorCode::InvalidRequest),
            None => Asked::Id(id),
        };
        if seen.insert(one) {
            all.push(one);
        }
    }
    Ok(Some(all))
}

fn refuse_all<'a>(
    view: &metadata::RequestView<'a>,
    code: ErrorCode,
) -> Vec<metadata::MetadataResponseTopic<'a>> {
    let topics = view.topics().into_iter().flatten();
    topics
        .map(|topic| metadata::MetadataResponseTopic {
            topic_id: topic.topic_id(),
            ..not_found(code, Some(borrowed(topic.name().unwrap_or(""))))
        })
        .collect()
}

fn head<'i>(image: &'i Image, listener: &'i str, node: NodeId) -> metadata::Response<'i> {
    let brokers = endpoints(image, listener).map(|broker| metadata::MetadataResponseBroker {
        node_id: broker.node.0,
        host: borrowed(broker.host),
        port: i32::from(broker.port),
        rack: broker.rack.map(borrowed),
    });
    metadata::Response {
        brokers: brokers.collect(),
        cluster_id: image.cluster().map(|id| Cow::Owned(id.to_string())),
        controller_id: controller(image, node),
        cluster_authorized_operations: OPERATIONS_NOT_ASKED,
        ..Default::default()
    }
}

/// The broker to send administration to. As in Kafka's KRaft mode, any broker that lives will do,
/// for it passes on what the controller must decide.
pub(super) fn controller(image: &Image, node: NodeId) -> i32 {
    let own = image.brokers().contains_key(&node).then_some(node);
    own.or_else(|| image.brokers().keys().next().copied())
        .map_or(-1, |node| node.0)
}

fn not_found(code: ErrorCode, name: Option<Cow<'_, str>>) -> metadata::MetadataResponseTopic<'_> {
    metadata::MetadataResponseTopic {
        error_code: code.code(),
        name,
        topic_authorized_operations: OPERATIONS_NOT_ASKED,
        ..Default::default()
    }
}

fn found<'i>(
    image: &Image,
    listener: &str,
    version: i16,
    topic: &'i Topic,
) -> metadata::MetadataResponseTopic<'i> {
    let partitions = topic.partitions().map(|(index, partition)| {
        let (code, leader) = leader_of(image, listener, version, partition);
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        let gone = |node: &&NodeId| !image.brokers().contains_key(node);
        metadata::MetadataResponsePartition {
            error_code: code.code(),
            partition_index: index.0,
            leader_id: leader,
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: numbers(&partition.replicas),
            isr_nodes: numbers(&partition.isr),
            offline_replicas: partition
                .replicas
                .iter()
                .filter(gone)
                .map(|node| node.0)
                .collect(),
        }
    });
    metadata::MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(borrowed(topic.name().as_str())),
        topic_id: topic.id().0,
        is_internal: topic.name().is_internal(),
        partitions: partitions.collect(),
        topic_authorized_operations: OPERATIONS_NOT_ASKED,
    }
}

fn leader_of(
    image: &Image,
    listener: &str,
    version: i16,
    partition: &Partition,
) -> (ErrorCode, i32) {
    let Some(leader) = partition.leader else {
        return (ErrorCode::LeaderNotAvailable, -1);
    };
    if endpoint_of(image, listener, leader).is_some() {
        return (ErrorCode::None, leader.0);
    }
    let listens_elsewhere = image.brokers().contains_key(&leader);
    if listens_elsewhere && version >= FIRST_WITH_LISTENER_ERROR {
        (ErrorCode::ListenerNotFound, -1)
    } else {
        (ErrorCode::LeaderNotAvailable, -1)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use klamm_wire::{Message, MessageView};

    use super::*;
    use crate::handlers::tests::image_of_two_brokers;

    fn encoded(request: &metadata::Request<'_>, version: i16) -> BytesMut {
        let mut bytes = BytesMut::new();
        request.encode(version, &mut bytes).expect("expressible");
        bytes
    }

    fn named<'a>(names: &[&'a str]) -> metadata::Request<'a> {
        let topic = |name: &&'a str| metadata::MetadataRequestTopic {
            name: Some(borrowed(name)),
            ..Default::default()
        };
        metadata::Request {
            topics: Some(names.iter().map(topic).collect()),
            allow_auto_topic_creation: true,
            ..Default::default()
        }
    }

    #[test]
    fn an_empty_list_is_all_topics_only_in_version_0() {
        for version in 0..=13 {
            let bytes = encoded(&named(&[]), version);
            let view = metadata::RequestView::parse(&bytes, version).expect("own bytes");
            let expected = if version == 0 { None } else { Some(Vec::new()) };
            assert_eq!(asked(&view, version), Ok(expected), "version {version}");
        }
    }

    #[test]
    fn a_name_is_answered_once_and_an_id_needs_version_12() {
        let bytes = encoded(&named(&["b", "a", "b"]), 9);
        let view = metadata::RequestView::parse(&bytes, 9).expect("own bytes");
        let expected = vec![Asked::Name("b"), Asked::Name("a")];
        assert_eq!(asked(&view, 9), Ok(Some(expected)));

        let topic = metadata::MetadataRequestTopic {
            topic_id: [1; 16],
            name: None,
        };
        let request = metadata::Request {
            topics: Some(vec![topic]),
            ..Default::default()
        };
        for (version, expected) in [
            (10, Err(ErrorCode::InvalidRequest)),
            (12, Ok(Some(vec![Asked::Id(TopicId([1; 16]))]))),
        ] {
            let bytes = encoded(&request, version);
            let view = metadata::RequestView::parse(&bytes, version).expect("own bytes");
            assert_eq!(asked(&view, version), expected, "version {version}");
        }
    }

    #[test]
    fn only_legal_unknown_names_are_created_each_once() {
        let image = image_of_two_brokers("known", NodeId(1));
        let bytes = encoded(&named(&["known", "new", "a/b", "", "new"]), 9);
        let view = metadata::RequestView::parse(&bytes, 9).expect("own bytes");
        let names: Vec<_> = missing(&image, &view)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["new"]);
    }

    #[test]
    fn every_version_shows_brokers_and_leaders_of_the_callers_listener() {
        let image = image_of_two_brokers("flights", NodeId(2));
        for version in 0..=13 {
            let mut response = head(&image, "PLAINTEXT", NodeId(1));
            let topic = image.topic("flights").expect("there");
            response.topics = vec![found(&image, "PLAINTEXT", version, topic)];
            let mut bytes = BytesMut::new();
            response
                .encode(version, &mut bytes)
                .expect("every version can say it");
            let view = metadata::ResponseView::parse(&bytes, version).expect("own bytes");
            let ports: Vec<_> = view.brokers().iter().map(|broker| broker.port()).collect();
            assert_eq!(ports, [9001, 9002], "version {version}");
            let topic = view.topics().iter().next().expect("one topic");
            let partition = topic.partitions().iter().next().expect("one partition");
            assert_eq!((partition.error_code(), partition.leader_id()), (0, 2));
        }
    }

    #[test]
    fn a_leader_without_the_callers_listener_is_not_named() {
        let image = image_of_two_brokers("flights", NodeId(2));
        let topic = image.topic("flights").expect("there");
        let codes: Vec<_> = [5, 6]
            .map(|version| found(&image, "ELSEWHERE", version, topic).partitions[0].error_code)
            .into();
        let expected = [ErrorCode::LeaderNotAvailable, ErrorCode::ListenerNotFound];
        assert_eq!(codes, expected.map(ErrorCode::code));
        assert!(head(&image, "ELSEWHERE", NodeId(1)).brokers.is_empty());
    }
}
