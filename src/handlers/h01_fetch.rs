//! Fetch: sessions, one read, at most one wait, one more read. Step 3 and 7 of the walk "Fetch".

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::Bytes;
use klamm_model::limits::{FETCH_PARTITIONS_MAX, FETCH_RESPONSE_BYTES_MAX, FETCH_WAIT_MS_MAX};
use klamm_model::{
    ErrorCode, Instant, IsolationLevel, LeaderEpoch, NodeId, Offset, TopicPartition,
};
use klamm_shard::api::metadata::Image;
use klamm_shard::api::{EpochEnd, ReadCall, ReadOutcome, ReadPartition, ReadPositions};
use klamm_shard::{Reusable, Stock};
use klamm_wire::{ApiKey, Gather, Records, fetch};

use super::{TopicKey, believed_epoch, borrowed, endpoint_of, isolation_of, leader_hint};
use super::{led_partition, read_error_code};
use crate::fetch_sessions::{
    NO_SESSION, PartitionKey, Relation, SessionError, SessionRequest, Told, Wish,
};
use crate::net::{Close, Context, Request, first_of};
use crate::quotas::{ClientLimits, ThrottleMs};

/// First version that names topics by id (KIP-516).
const FIRST_BY_ID: i16 = 13;
/// First version whose answer names the present leader (KIP-595), and where that is (KIP-951).
const FIRST_WITH_LEADER: i16 = 12;
const FIRST_WITH_ENDPOINTS: i16 = 16;
/// "Not known" for offsets.
const NO_OFFSET: i64 = -1;

/// A Fetch on its way. Nothing happens before it is polled, so that requests of one connection have
/// the effect that they would have one after the other.
pub struct Pending {
    context: Context,
    step: Step,
    /// Once it has begun.
    plan: Option<Plan>,
}

enum Step {
    /// Not begun.
    Asked(Request),
    /// Reads what is there; no read where no partition can be read.
    Reading {
        read: Option<klamm_shard::Pending<ReadCall>>,
        /// If that is too little, more is waited for until then.
        patience: Option<Instant>,
    },
    /// Waits until there is enough, time is over or the reader leaves.
    Waiting(Pin<Box<dyn Future<Output = ()>>>),
}

/// What is wanted, once the session has had its say.
struct Plan {
    version: i16,
    correlation_id: i32,
    isolation: IsolationLevel,
    bytes_max: usize,
    bytes_min: usize,
    /// When to answer with whatever is there; missing where the reader does not wait at all.
    deadline: Option<Instant>,
    relation: Relation,
    lists: Lists,
    limits: Option<Rc<ClientLimits>>,
}

/// The partitions of a request, in order.
#[derive(Debug, Default)]
struct Lists {
    wishes: Vec<(PartitionKey, Wish)>,
    forgotten: Vec<PartitionKey>,
    /// Why a wish was not asked of its core, for each of them.
    refusals: Vec<Option<ErrorCode>>,
    /// Which of them are worth telling.
    named: Vec<bool>,
}

impl Reusable for Lists {
    fn empty(&mut self) -> bool {
        self.wishes.empty() & self.forgotten.empty() & self.refusals.empty() & self.named.empty()
    }
}

/// Lists of requests that were answered, for the next ones.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    lists: Stock<Lists>,
    topics: Stock<Vec<fetch::FetchableTopicResponse<'static>>>,
    partitions: Stock<Vec<fetch::PartitionData>>,
    slices: Stock<Vec<Bytes>>,
}

impl Spares {
    fn take_back(&self, response: fetch::Response<'_>) {
        let mut topics = response.responses;
        for topic in &mut topics {
            let mut partitions = std::mem::take(&mut topic.partitions);
            for part in &mut partitions {
                if let Some(records) = part.records.take() {
                    let list = records.into_list();
                    if list.capacity() > 0 {
                        self.slices.give(list);
                    }
                }
            }
            self.partitions.give(partitions);
        }
        self.topics.give_borrowing(topics);
    }

    /// Record bytes by reference.
    fn records(&self, slices: &[Bytes]) -> Records {
        match slices {
            [] => Records::default(),
            [one] => Records::from(one.clone()),
            many => {
                let mut list = self.slices.take();
                list.extend_from_slice(many);
                Records::from(list)
            }
        }
    }
}

/// What one partition has to give.
struct Part<'r> {
    error: Option<ErrorCode>,
    positions: Option<ReadPositions>,
    diverging: Option<EpochEnd>,
    records: &'r [Bytes],
}

/// One read of everything that is wanted.
#[derive(Clone, Copy)]
struct Found<'r> {
    refusals: &'r [Option<ErrorCode>],
    /// Missing where no partition could be read.
    call: Option<&'r ReadCall>,
}

impl<'r> Found<'r> {
    /// What each partition has to give, in order.
    fn parts(self) -> impl ExactSizeIterator<Item = Part<'r>> {
        let mut outcomes = self.call.into_iter().flat_map(|call| &call.outcomes);
        self.refusals.iter().map(move |refusal| match refusal {
            Some(code) => Part::failed(*code),
            None => Part::of(self.call.zip(outcomes.next())),
        })
    }

    /// Kafka's conditions for an answer without waiting.
    fn is_enough(self, bytes_min: usize) -> bool {
        // Unknown topics are told in time, known ones that cannot be read at once.
        let moved = Some(ErrorCode::NotLeaderOrFollower);
        let Some(call) = self.call.filter(|call| !call.partitions.is_empty()) else {
            return true;
        };
        self.refusals.contains(&moved)
            || self
                .parts()
                .zip(self.refusals)
                .any(|(part, refusal)| refusal.is_none() && part.error.is_some())
            || call.outcomes.iter().any(|found| found.diverging.is_some())
            || call.bytes() >= bytes_min
    }
}

impl Pending {
    /// A request that waits for its turn.
    #[must_use]
    pub const fn new(context: Context, request: Request) -> Self {
        Self {
            context,
            step: Step::Asked(request),
            plan: None,
        }
    }

    /// Puts the answer into `out` once there is enough, or the request's time is over.
    ///
    /// # Errors
    /// The body cannot be read, or pretends to come from a broker.
    pub(crate) fn poll(
        &mut self,
        task: &mut Task<'_>,
        out: &mut Gather,
    ) -> Poll<Result<(), Close>> {
        let Self {
            context,
            step,
            plan,
        } = self;
        loop {
            match step {
                Step::Asked(request) => {
                    let image = context.shards.glance();
                    match plan_of(context, &image, request)? {
                        Ok(begun) => {
                            let begun = plan.insert(begun);
                            let patience = begun.deadline;
                            // The frame need not wait with the reader.
                            *step = Step::read(context, &image, begun, patience);
                        }
                        Err(error) => {
                            return Poll::Ready(refuse(context, request, error, out));
                        }
                    }
                }
                Step::Reading { read, patience } => {
                    let call = match read {
                        None => None,
                        Some(read) => match Pin::new(read).poll(task) {
                            Poll::Ready(call) => Some(call),
                            Poll::Pending => return Poll::Pending,
                        },
                    };
                    let plan = plan.as_mut().expect("what is read was planned");
                    let call = call.as_deref();
                    let found = Found {
                        refusals: &plan.lists.refusals,
                        call,
                    };
                    match *patience {
                        Some(deadline)
                            if !found.is_enough(plan.bytes_min) && !context.caller.is_pressed() =>
                        {
                            *step = Step::wait(context, plan, call, deadline);
                        }
                        _ => return Poll::Ready(answer(context, plan, call, out)),
                    }
                }
                Step::Waiting(more) => {
                    if more.as_mut().poll(task).is_pending() {
                        return Poll::Pending;
                    }
                    // Whatever is there now is the answer, as in Kafka: what woke the watch may
                    // be less than the least wanted, for example the end of a leadership.
                    let plan = plan.as_mut().expect("what is waited for was planned");
                    *step = Step::read(context, &context.shards.glance(), plan, None);
                }
            }
        }
    }
}

impl Step {
    /// Begins to read what is there now.
    fn read(context: &Context, image: &Image, plan: &mut Plan, patience: Option<Instant>) -> Self {
        let node = context.front.node();
        let mut read = context.shards.read(plan.isolation, plan.bytes_max);
        let Lists {
            wishes, refusals, ..
        } = &mut plan.lists;
        refusals.clear();
        let mut is_asked = false;
        for (key, wish) in wishes {
            match resolve(image, key, node) {
                Ok(partition) => {
                    is_asked = true;
                    refusals.push(None);
                    read.push(ReadPartition {
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
        Self::Reading {
            patience,
            read: is_asked.then(|| read.begin()),
        }
    }

    /// Begins to wait for more in the partitions of a read.
    fn wait(context: &Context, plan: &Plan, call: Option<&ReadCall>, deadline: Instant) -> Self {
        let parts = call.into_iter().flat_map(|call| &call.partitions);
        let positions = parts.map(|part| (part.partition, part.offset)).collect();
        let (isolation, bytes_min) = (plan.isolation, plan.bytes_min);
        let context = context.clone();
        Self::Waiting(Box::pin(async move {
            let watch = context
                .shards
                .watch(isolation, bytes_min, deadline, positions);
            first_of(watch, context.caller.pressed()).await;
        }))
    }
}

fn plan_of(
    context: &Context,
    image: &Image,
    request: &Request,
) -> Result<Result<Plan, SessionError>, Close> {
    let view: fetch::RequestView<'_> = request.body()?;
    for replica in [view.replica_id(), view.replica_state().replica_id()] {
        if replica >= 0 {
            return Err(request.refuse("expected a consumer's replica id", replica));
        }
    }
    let Some(isolation) = isolation_of(view.isolation_level()) else {
        return Err(request.refuse("expected isolation level 0 or 1", view.isolation_level()));
    };
    let by_id = request.version >= FIRST_BY_ID;
    let mut lists = context.front.fetch.lists.take();
    if !list_wishes(image, by_id, &view, &mut lists) {
        // Each costs memory until the answer has left; no error code says so.
        let named = partitions_named(&view) as i64;
        return Err(request.refuse("expected at most 200000 partitions", named));
    }
    let asked = SessionRequest {
        id: view.session_id(),
        epoch: view.session_epoch(),
        by_id,
    };
    let now = context.shards.now().instant;
    let mut sessions = context.front.sessions.borrow_mut();
    let begun = sessions.begin(now, asked, &mut lists.wishes, &lists.forgotten);
    let relation = match begun {
        Ok(relation) => relation,
        Err(error) => return Ok(Err(error)),
    };
    let configured = context.front.config.fetch.response_bytes_max as usize;
    let allowed = request.limits.as_ref();
    let bytes_max = clamp(view.max_bytes())
        .min(configured)
        .min(allowed.map_or(usize::MAX, |limits| limits.fetch_bytes_max()))
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
        deadline: (wait_ms > 0).then(|| now.plus(Duration::from_millis(wait_ms))),
        relation,
        lists,
        limits: request.limits.clone(),
    }))
}

/// The answer to a reader whose session cannot go on.
fn refuse(
    context: &Context,
    request: &Request,
    error: SessionError,
    out: &mut Gather,
) -> Result<(), Close> {
    count(context, true);
    let refused = session_refused(error);
    let (version, id) = (request.version, request.correlation_id);
    context.encode(&refused, ApiKey::Fetch, version, id, out)
}

fn clamp(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

fn partitions_named(view: &fetch::RequestView<'_>) -> usize {
    let wanted = view.topics().iter().map(|topic| topic.partitions().len());
    let forgotten = view.forgotten_topics_data().iter();
    let forgotten = forgotten.map(|topic| topic.partitions().len());
    wanted.chain(forgotten).sum()
}

/// What the request names, and what it takes back. False if that is too much.
fn list_wishes(
    image: &Image,
    by_id: bool,
    view: &fetch::RequestView<'_>,
    lists: &mut Lists,
) -> bool {
    let mut named = 0;
    for topic in view.topics() {
        let partitions = topic.partitions();
        named += partitions.len();
        if named > FETCH_PARTITIONS_MAX {
            return false;
        }
        let key = TopicKey::of(image, by_id, topic.topic(), topic.topic_id());
        lists.wishes.extend(partitions.iter().map(|part| {
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
    for topic in view.forgotten_topics_data() {
        let partitions = topic.partitions();
        named += partitions.len();
        if named > FETCH_PARTITIONS_MAX {
            return false;
        }
        let key = TopicKey::of(image, by_id, topic.topic(), topic.topic_id());
        lists
            .forgotten
            .extend(partitions.iter().map(|index| PartitionKey {
                topic: key.clone(),
                index,
            }));
    }
    true
}

fn resolve(image: &Image, key: &PartitionKey, node: NodeId) -> Result<TopicPartition, ErrorCode> {
    let topic = key.topic.find(image).ok_or_else(|| key.topic.unknown())?;
    led_partition(topic, key.index, node)
}

impl<'r> Part<'r> {
    const fn failed(code: ErrorCode) -> Self {
        Self {
            error: Some(code),
            positions: None,
            diverging: None,
            records: &[],
        }
    }

    fn of(found: Option<(&'r ReadCall, &'r ReadOutcome)>) -> Self {
        let Some((call, outcome)) = found else {
            return Self::failed(ErrorCode::UnknownServerError);
        };
        match outcome.error {
            Some(error) => Self::failed(read_error_code(error)),
            None => Self {
                error: None,
                positions: outcome.positions,
                diverging: outcome.diverging,
                records: call.records_of(outcome),
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

    /// The partition's part of the answer.
    fn answer(
        &self,
        index: i32,
        isolation: IsolationLevel,
        spares: &Spares,
    ) -> fetch::PartitionData {
        // Kafka's null and empty lists: null is what its log says where it does not look.
        let aborted = match (self.error, isolation) {
            (Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId), _) => {
                Some(Vec::new())
            }
            // No transaction has ever been aborted here, for none is served yet.
            (None, IsolationLevel::ReadCommitted) if self.diverging.is_none() => Some(Vec::new()),
            _ => None,
        };
        let mut answer = fetch::PartitionData {
            partition_index: index,
            error_code: self.error.unwrap_or(ErrorCode::None).code(),
            high_watermark: NO_OFFSET,
            last_stable_offset: NO_OFFSET,
            log_start_offset: NO_OFFSET,
            aborted_transactions: aborted,
            preferred_read_replica: -1,
            records: Some(spares.records(self.records)),
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

fn answer(
    context: &Context,
    plan: &mut Plan,
    call: Option<&ReadCall>,
    out: &mut Gather,
) -> Result<(), Close> {
    let spares = &context.front.fetch;
    let mut named = std::mem::take(&mut plan.lists.named);
    let found = Found {
        refusals: &plan.lists.refusals,
        call,
    };
    let throttle = throttle(context, plan.limits.as_ref(), found);
    if throttle > 0 {
        return answer_nothing(context, plan, throttle, out);
    }
    let told = plan.lists.wishes.iter().zip(found.parts());
    let told = told.map(|((key, wish), part)| (key, wish, part.told()));
    let now = context.shards.now().instant;
    let mut sessions = context.front.sessions.borrow_mut();
    let finished = sessions.finish(now, plan.relation, told, &mut named);
    drop(sessions);
    let failed = finished.is_err() || found.parts().any(|part| part.error.is_some());
    count(context, failed);
    let image = context.shards.glance();
    let response = match finished {
        Err(error) => session_refused(error),
        Ok(id) => {
            let mut response = response(plan, found, &named, spares);
            response.session_id = id;
            if failed {
                add_hints(&mut response, plan, &image, context.listener_name());
            }
            response
        }
    };
    let (version, correlation_id) = (plan.version, plan.correlation_id);
    let written = context.encode(&response, ApiKey::Fetch, version, correlation_id, out);
    spares.take_back(response);
    plan.lists.named = named;
    spares.lists.give(std::mem::take(&mut plan.lists));
    written
}

/// Bytes that an answer has beside its records: of its own, and of each partition that it tells of.
const ANSWER_BYTES: usize = 32;
const PART_BYTES: usize = 64;

/// How long the client has to wait before it gets this.
fn throttle(context: &Context, limits: Option<&Rc<ClientLimits>>, found: Found<'_>) -> ThrottleMs {
    let Some(limits) = limits else {
        return 0;
    };
    let sizes = found.parts().map(|part| {
        let records: usize = part.records.iter().map(Bytes::len).sum();
        match records {
            0 if part.error.is_none() => 0,
            _ => records + PART_BYTES,
        }
    });
    let bytes = ANSWER_BYTES + sizes.sum::<usize>();
    let now = context.shards.now().instant;
    let work = context.charge_work(Some(limits));
    let throttle = limits.fetch(now, bytes).max(work);
    if throttle > 0 {
        limits.unfetch(now, bytes);
        context.front.throttled(throttle);
        context.caller.hold(now, throttle, limits);
    }
    throttle
}

/// The answer to a client that has to wait: nothing, at once (KIP-219). It asks for the same again.
fn answer_nothing(
    context: &Context,
    plan: &mut Plan,
    throttle: ThrottleMs,
    out: &mut Gather,
) -> Result<(), Close> {
    let sessions = context.front.sessions.borrow();
    let mut response = match sessions.go_on(plan.relation) {
        Ok(session_id) => fetch::Response {
            session_id,
            ..Default::default()
        },
        Err(error) => session_refused(error),
    };
    drop(sessions);
    response.throttle_time_ms = throttle;
    count(context, false);
    let (version, correlation_id) = (plan.version, plan.correlation_id);
    let lists = std::mem::take(&mut plan.lists);
    context.front.fetch.lists.give(lists);
    context.encode(&response, ApiKey::Fetch, version, correlation_id, out)
}

fn count(context: &Context, failed: bool) {
    context.front.count(|counters| {
        counters.fetch_requests += 1;
        counters.fetch_requests_failed += u64::from(failed);
    });
}

/// The partitions worth naming, those of one topic together where they follow each other.
fn response<'p>(
    plan: &'p Plan,
    found: Found<'_>,
    named: &[bool],
    spares: &Spares,
) -> fetch::Response<'p> {
    let mut response = fetch::Response {
        responses: spares.topics.take(),
        ..Default::default()
    };
    let mut topic: Option<&TopicKey> = None;
    for (((key, _), part), named) in plan.lists.wishes.iter().zip(found.parts()).zip(named) {
        if !named {
            continue;
        }
        if topic != Some(&key.topic) {
            topic = Some(&key.topic);
            response.responses.push(fetch::FetchableTopicResponse {
                topic: borrowed(key.topic.wire_name()),
                topic_id: key.topic.wire_id(),
                partitions: spares.partitions.take(),
            });
        }
        let answer = part.answer(key.index, plan.isolation, spares);
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

#[cfg(test)]
mod tests {
    use klamm_model::TopicName;
    use klamm_shard::api::ReadError;
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
            deadline: None,
            relation: Relation::Sessionless,
            limits: None,
            lists: Lists {
                wishes: wishes.collect(),
                ..Lists::default()
            },
        }
    }

    /// A read that found this text in each partition; `None` cannot be read.
    fn found(texts: &[Option<&'static str>]) -> ReadCall {
        let positions = ReadPositions {
            high_watermark: Offset(9),
            last_stable: Offset(8),
            log_start: Offset(7),
        };
        let mut call = ReadCall::default();
        for text in texts {
            call.partitions.push(ReadPartition {
                partition: TopicPartition::METADATA,
                offset: Offset(0),
                leader_epoch: None,
                last_epoch: None,
                bytes_max: 1,
            });
            let first = call.records.len();
            let error = text.is_none().then_some(ReadError::Storage);
            let bytes = text.map(|text| Bytes::from_static(text.as_bytes()));
            call.records.extend(bytes);
            call.outcomes.push(ReadOutcome {
                positions: Some(positions),
                records: first..call.records.len(),
                diverging: None,
                error,
            });
        }
        call
    }

    #[test]
    fn every_version_carries_records_positions_and_errors() {
        for version in 4..=18 {
            let plan = plan(version, &[("a", 0), ("a", 1), ("b", 0)]);
            let call = found(&[Some("first"), Some("hidden")]);
            let found = Found {
                refusals: &[None, None, Some(ErrorCode::UnknownTopicOrPartition)],
                call: Some(&call),
            };
            let response = response(&plan, found, &[true, false, true], &Spares::default());
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
        let is_enough = |texts: &[Option<&'static str>], refusal: Option<ErrorCode>, least| {
            let mut refusals = vec![None; texts.len()];
            refusals.extend(refusal.map(Some));
            let call = found(texts);
            let found = Found {
                refusals: &refusals,
                call: (!texts.is_empty()).then_some(&call),
            };
            found.is_enough(least)
        };
        assert!(!is_enough(&[Some("")], None, 1));
        assert!(is_enough(&[Some("x")], None, 1));
        assert!(is_enough(&[Some(""), None], None, 1));
        assert!(is_enough(&[], None, 1));
        assert!(is_enough(&[Some("")], None, 0));
        let unknown = Some(ErrorCode::UnknownTopicOrPartition);
        assert!(!is_enough(&[Some("")], unknown, 1));
        assert!(is_enough(
            &[Some("")],
            Some(ErrorCode::NotLeaderOrFollower),
            1
        ));
    }

    #[test]
    fn a_moved_leader_is_told_once_with_its_endpoint() {
        let image = crate::handlers::tests::image_of_two_brokers("a", NodeId(2));
        for (version, nodes) in [(11, 0), (12, 0), (16, 1)] {
            let plan = plan(version, &[("a", 0)]);
            let found = Found {
                refusals: &[Some(ErrorCode::NotLeaderOrFollower)],
                call: None,
            };
            let mut response = response(&plan, found, &[true], &Spares::default());
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
