//! Fetch: sessions, one read, at most one wait, one more read. Step 3 and 7 of the walk "Fetch".

use std::time::Duration;

use bytes::Bytes;
use klamm_model::limits::{FETCH_RESPONSE_BYTES_MAX, FETCH_WAIT_MS_MAX};
use klamm_model::{ErrorCode, IsolationLevel, LeaderEpoch, NodeId, Offset, TopicPartition};
use klamm_shard::api::metadata::Image;
use klamm_shard::api::{EpochEnd, ReadError, ReadOutcome, ReadPartition, ReadPositions};
use klamm_wire::{ApiKey, Gather, Records, fetch};

use super::led_partition;
use super::{TopicKey, believed_epoch, borrowed, endpoint_of, isolation_of, leader_hint};
use crate::fetch_sessions::{
    NO_SESSION, PartitionKey, Relation, SessionError, SessionRequest, Told, Wish,
};
use crate::net::{Close, Context, Request, encode, first_of};

/// First version that names topics by id (KIP-516).
const FIRST_BY_ID: i16 = 13;
/// First version whose answer names the present leader (KIP-595), and where that is (KIP-951).
const FIRST_WITH_LEADER: i16 = 12;
const FIRST_WITH_ENDPOINTS: i16 = 16;
/// "Not known" for offsets.
const NO_OFFSET: i64 = -1;

/// What is wanted, once the session has had its say.
struct Plan {
    version: i16,
    correlation_id: i32,
    isolation: IsolationLevel,
    bytes_max: usize,
    bytes_min: usize,
    wait: Duration,
    relation: Relation,
    wishes: Vec<(PartitionKey, Wish)>,
}

/// What one partition has to give.
struct Part {
    error: Option<ErrorCode>,
    positions: Option<ReadPositions>,
    diverging: Option<EpochEnd>,
    records: Vec<Bytes>,
}

/// One read of everything that is wanted.
struct Found {
    parts: Vec<Part>,
    /// A partition could not be read although it is known: worth an answer at once.
    failed: bool,
    /// Where the partitions that could be read stand.
    readable: Vec<(TopicPartition, Offset)>,
}

impl Found {
    fn bytes(&self) -> usize {
        self.parts
            .iter()
            .flat_map(|part| &part.records)
            .map(Bytes::len)
            .sum()
    }

    /// Kafka's conditions for an answer without waiting.
    fn is_enough(&self, bytes_min: usize) -> bool {
        self.failed
            || self.readable.is_empty()
            || self.parts.iter().any(|part| part.diverging.is_some())
            || self.bytes() >= bytes_min
    }
}

/// Answers the request.
///
/// # Errors
/// The body cannot be read, or pretends to come from a broker.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let plan = match plan(&context, &request)? {
        Ok(plan) => plan,
        Err(error) => {
            count(&context, true);
            return request.answer(&session_refused(error));
        }
    };
    // The frame need not wait with the reader.
    drop(request);
    let deadline = context.shards.now().instant.plus(plan.wait);
    let mut found = read(&context, &plan).await;
    if !plan.wait.is_zero() && !found.is_enough(plan.bytes_min) && !context.caller.is_leaving() {
        let positions = std::mem::take(&mut found.readable);
        drop(found);
        let watch = context
            .shards
            .watch(plan.isolation, plan.bytes_min, deadline, positions);
        first_of(watch, context.caller.left()).await;
        // Whatever is there now is the answer, as in Kafka: what woke the watch may be less than
        // the least wanted, for example the end of a leadership.
        found = read(&context, &plan).await;
    }
    answer(&context, &plan, found)
}

fn plan(context: &Context, request: &Request) -> Result<Result<Plan, SessionError>, Close> {
    let view: fetch::RequestView<'_> = request.body()?;
    for replica in [view.replica_id(), view.replica_state().replica_id()] {
        if replica >= 0 {
            return Err(request.refuse("expected a consumer's replica id", replica));
        }
    }
    let Some(isolation) = isolation_of(view.isolation_level()) else {
        return Err(request.refuse("expected isolation level 0 or 1", view.isolation_level()));
    };
    let image = context.shards.image();
    let by_id = request.version >= FIRST_BY_ID;
    let (wishes, forgotten) = wishes_of(&image, by_id, &view);
    let asked = SessionRequest {
        id: view.session_id(),
        epoch: view.session_epoch(),
        by_id,
    };
    let now = context.shards.now().instant;
    let begun = context
        .front
        .sessions
        .borrow_mut()
        .begin(now, asked, wishes, &forgotten);
    let (relation, wishes) = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(Err(error)),
    };
    let configured = context.front.config.fetch.response_bytes_max as usize;
    let bytes_max = clamp(view.max_bytes())
        .min(configured)
        .min(FETCH_RESPONSE_BYTES_MAX);
    let wait_ms = u64::try_from(view.max_wait_ms())
        .unwrap_or(0)
        .min(FETCH_WAIT_MS_MAX);
    Ok(Ok(Plan {
        version: request.version,
        correlation_id: request.correlation_id,
        isolation,
        bytes_max,
        bytes_min: clamp(view.min_bytes()).min(bytes_max),
        wait: Duration::from_millis(wait_ms),
        relation,
        wishes,
    }))
}

fn clamp(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

/// What the request names, and what it takes back.
fn wishes_of(
    image: &Image,
    by_id: bool,
    view: &fetch::RequestView<'_>,
) -> (Vec<(PartitionKey, Wish)>, Vec<PartitionKey>) {
    let mut wishes = Vec::new();
    for topic in view.topics() {
        let key = TopicKey::of(image, by_id, topic.topic(), topic.topic_id());
        wishes.extend(topic.partitions().iter().map(|part| {
            let key = PartitionKey {
                topic: key.clone(),
                index: part.partition(),
            };
            let wish = Wish {
                offset: part.fetch_offset(),
                leader_epoch: part.current_leader_epoch(),
                last_epoch: part.last_fetched_epoch(),
                bytes_max: part.partition_max_bytes(),
            };
            (key, wish)
        }));
    }
    let mut forgotten = Vec::new();
    for topic in view.forgotten_topics_data() {
        let key = TopicKey::of(image, by_id, topic.topic(), topic.topic_id());
        let indexes = topic.partitions().iter();
        forgotten.extend(indexes.map(|index| PartitionKey {
            topic: key.clone(),
            index,
        }));
    }
    (wishes, forgotten)
}

/// Reads what is there now.
async fn read(context: &Context, plan: &Plan) -> Found {
    let image = context.shards.image();
    let node = context.front.node();
    let mut asked = Vec::with_capacity(plan.wishes.len());
    let mut refusals = Vec::with_capacity(plan.wishes.len());
    for (key, wish) in &plan.wishes {
        match resolve(&image, key, node) {
            Ok(partition) => {
                refusals.push(None);
                asked.push(ReadPartition {
                    partition,
                    offset: Offset(wish.offset),
                    leader_epoch: believed_epoch(wish.leader_epoch),
                    last_epoch: (wish.last_epoch >= 0).then_some(LeaderEpoch(wish.last_epoch)),
                    bytes_max: clamp(wish.bytes_max),
                });
            }
            Err(code) => refusals.push(Some(code)),
        }
    }
    let readable = asked
        .iter()
        .map(|part| (part.partition, part.offset))
        .collect();
    let mut outcomes = if asked.is_empty() {
        Vec::new().into_iter()
    } else {
        context
            .shards
            .read(plan.isolation, plan.bytes_max, asked)
            .await
            .into_iter()
    };
    let mut found = Found {
        parts: Vec::with_capacity(refusals.len()),
        failed: false,
        readable,
    };
    for refusal in refusals {
        let part = match refusal {
            Some(code) => {
                // Unknown topics are told in time, known ones that cannot be read at once.
                found.failed |= code == ErrorCode::NotLeaderOrFollower;
                Part::failed(code)
            }
            None => {
                let part = Part::of(outcomes.next());
                found.failed |= part.error.is_some();
                part
            }
        };
        found.parts.push(part);
    }
    found
}

fn resolve(image: &Image, key: &PartitionKey, node: NodeId) -> Result<TopicPartition, ErrorCode> {
    let topic = key.topic.find(image).ok_or_else(|| key.topic.unknown())?;
    led_partition(topic, key.index, node)
}

impl Part {
    const fn failed(code: ErrorCode) -> Self {
        Self {
            error: Some(code),
            positions: None,
            diverging: None,
            records: Vec::new(),
        }
    }

    fn of(outcome: Option<ReadOutcome>) -> Self {
        let Some(outcome) = outcome else {
            return Self::failed(ErrorCode::UnknownServerError);
        };
        match outcome.error {
            Some(error) => Self::failed(error_code(error)),
            None => Self {
                error: None,
                positions: outcome.positions,
                diverging: outcome.diverging,
                records: outcome.records,
            },
        }
    }

    fn told(&self) -> Told {
        Told {
            failed: self.error.is_some(),
            diverged: self.diverging.is_some(),
            record_bytes: self.records.iter().map(Bytes::len).sum(),
            high_watermark: self
                .positions
                .map_or(NO_OFFSET, |found| found.high_watermark.0),
            log_start: self.positions.map_or(NO_OFFSET, |found| found.log_start.0),
        }
    }

    /// The partition's part of the answer; takes the records.
    fn into_answer(self, index: i32, isolation: IsolationLevel) -> fetch::PartitionData {
        let aborted = match isolation {
            IsolationLevel::ReadUncommitted => None,
            // No transaction has ever been aborted here, for none is served yet.
            IsolationLevel::ReadCommitted => Some(Vec::new()),
        };
        let mut answer = fetch::PartitionData {
            partition_index: index,
            error_code: self.error.unwrap_or(ErrorCode::None).code(),
            high_watermark: NO_OFFSET,
            last_stable_offset: NO_OFFSET,
            log_start_offset: NO_OFFSET,
            aborted_transactions: aborted,
            preferred_read_replica: -1,
            records: Some(Records::from(self.records)),
            ..Default::default()
        };
        if let Some(positions) = self.positions {
            answer.high_watermark = positions.high_watermark.0;
            answer.last_stable_offset = positions.last_stable.0;
            answer.log_start_offset = positions.log_start.0;
        }
        if let Some(end) = self.diverging {
            let (epoch, end_offset) = (end.leader_epoch.0, end.end_offset.0);
            answer.diverging_epoch = fetch::EpochEndOffset { epoch, end_offset };
        }
        answer
    }
}

fn answer(context: &Context, plan: &Plan, found: Found) -> Result<Gather, Close> {
    let now = context.shards.now().instant;
    let told = plan.wishes.iter().zip(&found.parts);
    let told = told.map(|((key, wish), part)| (key, wish, part.told()));
    let finished = context
        .front
        .sessions
        .borrow_mut()
        .finish(now, plan.relation, told);
    let failed = found.parts.iter().any(|part| part.error.is_some()) || finished.is_err();
    count(context, failed);
    let image = context.shards.image();
    let response = match finished {
        Err(error) => session_refused(error),
        Ok(finished) => {
            let mut response = response(plan, found.parts, &finished.named);
            response.session_id = finished.id;
            add_hints(&mut response, plan, &image, context.listener_name());
            response
        }
    };
    encode(&response, ApiKey::Fetch, plan.version, plan.correlation_id)
}

fn count(context: &Context, failed: bool) {
    context.front.count(|counters| {
        counters.fetch_requests += 1;
        counters.fetch_requests_failed += u64::from(failed);
    });
}

/// The partitions worth naming, those of one topic together where they follow each other.
fn response<'p>(plan: &'p Plan, parts: Vec<Part>, named: &[bool]) -> fetch::Response<'p> {
    let mut response = fetch::Response::default();
    let mut topic: Option<&TopicKey> = None;
    for (((key, _), part), named) in plan.wishes.iter().zip(parts).zip(named) {
        if !named {
            continue;
        }
        if topic != Some(&key.topic) {
            topic = Some(&key.topic);
            response.responses.push(fetch::FetchableTopicResponse {
                topic: borrowed(key.topic.wire_name()),
                topic_id: key.topic.wire_id(),
                partitions: Vec::new(),
            });
        }
        let answer = part.into_answer(key.index, plan.isolation);
        if let Some(topic) = response.responses.last_mut() {
            topic.partitions.push(answer);
        }
    }
    response
}

/// Tells clients that asked the wrong broker where to ask.
fn add_hints<'p>(
    response: &mut fetch::Response<'p>,
    plan: &Plan,
    image: &'p Image,
    listener: &'p str,
) {
    if plan.version < FIRST_WITH_LEADER {
        return;
    }
    let moved = [
        ErrorCode::NotLeaderOrFollower.code(),
        ErrorCode::FencedLeaderEpoch.code(),
    ];
    let mut nodes = Vec::new();
    for topic in &mut response.responses {
        let key = TopicKey::of(
            image,
            plan.version >= FIRST_BY_ID,
            &topic.topic,
            topic.topic_id,
        );
        for part in &mut topic.partitions {
            if moved.contains(&part.error_code) {
                let (leader_id, leader_epoch) = leader_hint(image, &key, part.partition_index);
                part.current_leader = fetch::LeaderIdAndEpoch {
                    leader_id,
                    leader_epoch,
                };
                nodes.push(NodeId(leader_id));
            }
        }
    }
    if plan.version < FIRST_WITH_ENDPOINTS {
        return;
    }
    nodes.sort_unstable();
    nodes.dedup();
    let endpoints = nodes
        .into_iter()
        .filter_map(|node| endpoint_of(image, listener, node));
    response
        .node_endpoints
        .extend(endpoints.map(|endpoint| fetch::NodeEndpoint {
            node_id: endpoint.node.0,
            host: borrowed(endpoint.host),
            port: i32::from(endpoint.port),
            rack: endpoint.rack.map(borrowed),
        }));
}

fn session_refused(error: SessionError) -> fetch::Response<'static> {
    let code = match error {
        SessionError::Unknown => ErrorCode::FetchSessionIdNotFound,
        SessionError::Epoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::TopicIds => ErrorCode::FetchSessionTopicIdError,
    };
    fetch::Response {
        error_code: code.code(),
        session_id: NO_SESSION,
        ..Default::default()
    }
}

fn error_code(error: ReadError) -> ErrorCode {
    match error {
        // The image had it a moment ago: the client should look again.
        ReadError::UnknownPartition => ErrorCode::NotLeaderOrFollower,
        ReadError::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadError::FencedEpoch => ErrorCode::FencedLeaderEpoch,
        ReadError::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
        ReadError::Storage => ErrorCode::KafkaStorageError,
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::TopicName;
    use klamm_wire::{Message, MessageView};

    use super::*;

    fn plan(version: i16, partitions: &[(&str, i32)]) -> Plan {
        let wishes = partitions.iter().map(|&(topic, index)| {
            let topic = TopicKey::Name(TopicName::new(topic).expect("legal"));
            let wish = Wish {
                offset: 0,
                leader_epoch: -1,
                last_epoch: -1,
                bytes_max: 1,
            };
            (PartitionKey { topic, index }, wish)
        });
        Plan {
            version,
            correlation_id: 1,
            isolation: IsolationLevel::ReadUncommitted,
            bytes_max: 1,
            bytes_min: 1,
            wait: Duration::ZERO,
            relation: Relation::Sessionless,
            wishes: wishes.collect(),
        }
    }

    fn data(text: &'static str) -> Part {
        let positions = ReadPositions {
            high_watermark: Offset(9),
            last_stable: Offset(8),
            log_start: Offset(7),
        };
        Part {
            error: None,
            positions: Some(positions),
            diverging: None,
            records: vec![Bytes::from_static(text.as_bytes())],
        }
    }

    #[test]
    fn every_version_carries_records_positions_and_errors() {
        for version in 4..=18 {
            let plan = plan(version, &[("a", 0), ("a", 1), ("b", 0)]);
            let unknown = Part::failed(ErrorCode::UnknownTopicOrPartition);
            let parts = vec![data("first"), data("hidden"), unknown];
            let response = response(&plan, parts, &[true, false, true]);
            let mut bytes = bytes::BytesMut::new();
            response
                .encode(version, &mut bytes)
                .expect("every version can say it");
            let view = fetch::ResponseView::parse(&bytes, version).expect("own bytes");
            let topics: Vec<_> = view.responses().iter().collect();
            assert_eq!(topics.len(), 2, "version {version}");
            let first = topics[0].partitions().iter().next().expect("one partition");
            assert_eq!(first.records(), Some(&b"first"[..]));
            assert_eq!((first.high_watermark(), first.last_stable_offset()), (9, 8));
            let second = topics[1].partitions().iter().next().expect("one partition");
            assert_eq!((second.error_code(), second.high_watermark()), (3, -1));
            assert_eq!(second.records(), Some(&[][..]));
        }
    }

    #[test]
    fn a_reader_waits_only_for_partitions_that_could_be_read() {
        let part = |text| Part {
            records: vec![Bytes::from_static(text)],
            ..data("")
        };
        let partition = TopicPartition::METADATA;
        let found = |parts, failed, readable: usize| Found {
            parts,
            failed,
            readable: vec![(partition, Offset(0)); readable],
        };
        assert!(!found(vec![part(b"")], false, 1).is_enough(1));
        assert!(found(vec![part(b"x")], false, 1).is_enough(1));
        assert!(found(vec![part(b"")], true, 1).is_enough(1));
        assert!(found(Vec::new(), false, 0).is_enough(1));
        assert!(found(vec![part(b"")], false, 1).is_enough(0));
    }

    #[test]
    fn a_moved_leader_is_told_once_with_its_endpoint() {
        let image = crate::handlers::tests::image_of_two_brokers("a", NodeId(2));
        let plan = plan(12, &[("a", 0)]);
        for (version, nodes) in [(11, 0), (12, 0), (16, 1)] {
            let plan = Plan {
                version,
                wishes: plan.wishes.clone(),
                ..self::plan(version, &[])
            };
            let parts = vec![Part::failed(ErrorCode::NotLeaderOrFollower)];
            let mut response = response(&plan, parts, &[true]);
            if version >= FIRST_BY_ID {
                response.responses[0].topic_id = image.topic("a").expect("there").id().0;
            }
            add_hints(&mut response, &plan, &image, "PLAINTEXT");
            let leader = &response.responses[0].partitions[0].current_leader;
            assert_eq!(
                leader.leader_id,
                if version < 12 { -1 } else { 2 },
                "{version}"
            );
            assert_eq!(response.node_endpoints.len(), nodes, "{version}");
        }
    }
}
