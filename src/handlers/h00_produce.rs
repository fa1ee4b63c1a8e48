//! Produce: finds each partition's core, hands over the batches at once, and answers when they are
//! kept. Step 3 and 7 of the walk "Produce".

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use klamm_model::{Acks, ErrorCode, TopicName, TopicPartition};
use klamm_shard::api::batch::{self, InvalidBatch};
use klamm_shard::api::metadata::Image;
use klamm_shard::api::replica::{ProducerRefused, TransactionVersion};
use klamm_shard::api::{AppendCall, AppendError, AppendOutcome, AppendPartition, Appended};
use klamm_shard::{Reusable, Stock};
use klamm_wire::{ApiKey, Gather, frame, produce};

use super::{TopicKey, borrowed, endpoint_of, leader_hint, led_partition};
use crate::net::{Close, Context, Request};
use crate::quotas::{ClientLimits, ThrottleMs};

/// First version that names topics by id (KIP-516).
const FIRST_BY_ID: i16 = 13;
/// First version whose answer may hold messages and errors of single records (KIP-467).
const FIRST_WITH_MESSAGES: i16 = 8;
/// First version whose answer names the present leader (KIP-951).
const FIRST_WITH_LEADER: i16 = 10;
/// First version that knows zstd (KIP-110).
const FIRST_WITH_ZSTD: i16 = 7;
/// First version of transactions of their own epoch (KIP-890).
const FIRST_OF_TRANSACTIONS_TWO: i16 = 12;
/// Ticks of the coarse clock are seconds.
const MS_PER_TICK: u64 = 1000;

/// A Produce whose batches have their place in the logs.
pub struct Pending {
    plan: Plan,
    /// Missing where no batch was handed over.
    append: Option<klamm_shard::Pending<AppendCall>>,
    context: Context,
    due_at: u64,
    version: i16,
    correlation_id: i32,
    silent: bool,
    limits: Option<Rc<ClientLimits>>,
    /// How long the client waits for the bytes of the request.
    throttle: ThrottleMs,
}

/// The request's partitions in order, with what is known of each before the cores answer.
#[derive(Debug, Default)]
struct Plan {
    topics: Vec<PlannedTopic>,
    partitions: Vec<PlannedPartition>,
}

#[derive(Debug)]
struct PlannedTopic {
    key: TopicKey,
    /// How many of the plan's partitions are its, in order.
    partitions: usize,
}

#[derive(Debug)]
struct PlannedPartition {
    index: i32,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    /// Handed to its core; the outcomes come in this order.
    Begun,
    /// Not handed over.
    Refused(ErrorCode, Option<&'static str>),
}

impl Reusable for Plan {
    fn empty(&mut self) -> bool {
        self.topics.empty() & self.partitions.empty()
    }
}

/// Lists of requests that were answered, for the next ones.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    plans: Stock<Plan>,
    mentions: Stock<Vec<TopicPartition>>,
    topics: Stock<Vec<produce::TopicProduceResponse<'static>>>,
    partitions: Stock<Vec<produce::PartitionProduceResponse<'static>>>,
}

impl Spares {
    fn take_back(&self, response: produce::Response<'_>) {
        let mut topics = response.responses;
        for topic in &mut topics {
            let partitions = std::mem::take(&mut topic.partition_responses);
            self.partitions.give_borrowing(partitions);
        }
        self.topics.give_borrowing(topics);
    }
}

/// Begins the appends of a request and returns without waiting for anything.
///
/// # Errors
/// The body cannot be read.
pub fn begin(context: &Context, request: &Request) -> Result<Pending, Close> {
    let view: produce::RequestView<'_> = request.body()?;
    let image = context.shards.glance();
    let node = context.front.node();
    let acks = Acks::try_from(view.acks());
    let spares = &context.front.produce;
    let mut plan = spares.plans.take();
    let mut append = context.shards.append(acks.unwrap_or(Acks::Leader));
    for topic in view.topic_data() {
        if topic.partition_data().is_empty() {
            // As in Kafka, a topic of which nothing is named is not answered.
            continue;
        }
        let by_id = request.version >= FIRST_BY_ID;
        let key = TopicKey::of(&image, by_id, topic.name(), topic.topic_id());
        let found = key.find(&image);
        for data in topic.partition_data() {
            let checked = match found {
                None => Err((key.unknown(), None)),
                Some(found) => led_partition(found, data.index(), node)
                    .map_err(|code| (code, None))
                    .and_then(|partition| {
                        check_writer(found.name(), request)?;
                        let records = data.records().unwrap_or(&[]);
                        check_batch(records, view.transactional_id())?;
                        Ok((partition, shared(request.frame(), records)))
                    }),
            };
            let verdict = match (&acks, checked) {
                // As in Kafka, what is not there is said first.
                (_, Err((code, message))) => Verdict::Refused(code, message),
                (Err(_), Ok(_)) => Verdict::Refused(ErrorCode::InvalidRequiredAcks, None),
                (Ok(_), Ok((partition, records))) => {
                    append.push(AppendPartition {
                        partition,
                        records,
                        zstd_known: request.version >= FIRST_WITH_ZSTD,
                        transactions: transactions_of(request.version),
                    });
                    Verdict::Begun
                }
            };
            plan.partitions.push(PlannedPartition {
                index: data.index(),
                verdict,
            });
        }
        plan.topics.push(PlannedTopic {
            key,
            partitions: topic.partition_data().len(),
        });
    }
    if append.partitions().len() > 1 {
        let mut mentions = spares.mentions.take();
        refuse_duplicates(&mut plan, append.partitions(), &mut mentions);
        append.retain(|batch| !is_twice(&mentions, batch.partition));
        spares.mentions.give(mentions);
    }
    let is_begun = !append.partitions().is_empty();
    let append = is_begun.then(|| append.begin());
    let silent = view.acks() == 0;
    let timeout_ms = u64::try_from(view.timeout_ms()).unwrap_or(0);
    Ok(Pending {
        plan,
        append,
        context: context.clone(),
        // One tick more, because the present one has begun already.
        due_at: context.front.tick() + timeout_ms.div_ceil(MS_PER_TICK) + 1,
        version: request.version,
        correlation_id: request.correlation_id,
        silent,
        limits: request.limits.clone(),
        throttle: charge(context, request),
    })
}

/// How long the client has to wait for the bytes of a request. They are counted before they are
/// kept, so that nothing of the connection that is read already gets past the quota.
fn charge(context: &Context, request: &Request) -> ThrottleMs {
    let Some(limits) = &request.limits else {
        return 0;
    };
    let now = context.shards.now().instant;
    let throttle = limits.produce(now, request.frame().len());
    context.caller.mute(now, throttle, limits);
    throttle
}

/// A Produce that begins only when it is due.
///
/// # Errors
/// The body cannot be read, or acks=0 and something failed.
pub async fn handle_late(context: Context, request: Request) -> Result<Gather, Close> {
    let mut pending = begin(&context, &request)?;
    drop(request);
    let front = Rc::clone(&context.front);
    let mut out = Gather::new();
    std::future::poll_fn(|task| pending.poll(task, front.tick(), &mut out)).await?;
    Ok(out)
}

fn shared(frame: &Bytes, records: &[u8]) -> Bytes {
    frame::shared_slice(frame, records).unwrap_or_else(|| Bytes::copy_from_slice(records))
}

const fn transactions_of(version: i16) -> TransactionVersion {
    if version >= FIRST_OF_TRANSACTIONS_TWO {
        TransactionVersion::Two
    } else {
        TransactionVersion::One
    }
}

/// Kafka's own records are no client's to write, but for its administration, which names itself so.
fn check_writer(
    topic: &TopicName,
    request: &Request,
) -> Result<(), (ErrorCode, Option<&'static str>)> {
    if topic.is_internal() && request.client_id() != Some("__admin_client") {
        return Err((ErrorCode::InvalidTopicException, None));
    }
    Ok(())
}

/// What a request's transactional id says about a batch. Everything else about the batch is checked
/// by the core that appends it, also that it is one at all.
fn check_batch(
    records: &[u8],
    transactional_id: Option<&str>,
) -> Result<(), (ErrorCode, Option<&'static str>)> {
    if !batch::may_be_transactional(records) {
        return Ok(());
    }
    let Ok(header) = batch::read(records) else {
        return Ok(());
    };
    if header.attributes.is_transactional() {
        return Err(match transactional_id {
            None => (ErrorCode::TransactionalIdAuthorizationFailed, None),
            Some(_) => (
                ErrorCode::InvalidTxnState,
                Some("transactions are not served by this broker"),
            ),
        });
    }
    Ok(())
}

/// A partition that the request names twice is refused both times, and nothing of it is appended
/// (Kafka keeps one of the two batches and tells nobody). `mentions` becomes the partitions that
/// are named, sorted.
fn refuse_duplicates(
    plan: &mut Plan,
    appends: &[AppendPartition],
    mentions: &mut Vec<TopicPartition>,
) {
    mentions.extend(appends.iter().map(|append| append.partition));
    mentions.sort_unstable();
    if mentions.windows(2).all(|pair| pair[0] != pair[1]) {
        return;
    }
    let begun = plan.partitions.iter_mut();
    let begun = begun.filter(|partition| matches!(partition.verdict, Verdict::Begun));
    for (partition, append) in begun.zip(appends) {
        if is_twice(mentions, append.partition) {
            let message = "the request names this partition twice";
            partition.verdict = Verdict::Refused(ErrorCode::InvalidRequest, Some(message));
        }
    }
}

/// True if a partition is among these, which are sorted, more than once.
fn is_twice(mentions: &[TopicPartition], partition: TopicPartition) -> bool {
    let first = mentions.partition_point(|other| *other < partition);
    mentions.get(first + 1) == Some(&partition)
}

impl Pending {
    /// When the answer must leave, by the coarse clock.
    pub(crate) const fn due_at(&self) -> Option<u64> {
        if self.append.is_some() {
            Some(self.due_at)
        } else {
            None
        }
    }

    /// Puts the answer into `out` once all batches are kept or the request's time is over; nothing
    /// for acks=0.
    pub(crate) fn poll(
        &mut self,
        task: &mut Task<'_>,
        tick: u64,
        out: &mut Gather,
    ) -> Poll<Result<(), Close>> {
        Poll::Ready(match &mut self.append {
            None => self.answer(Some(&[]), out),
            Some(append) => match Pin::new(append).poll(task) {
                Poll::Ready(call) => self.answer(Some(&call.outcomes), out),
                Poll::Pending if tick >= self.due_at => self.answer(None, out),
                Poll::Pending => return Poll::Pending,
            },
        })
    }

    /// How long the client is told to wait. What the request cost besides bytes does not count
    /// where nobody is told (acks=0), as in Kafka.
    fn throttle(&self) -> ThrottleMs {
        let work = self.context.charge_work(self.limits.as_ref());
        let work = if self.silent { 0 } else { work };
        if work > self.throttle
            && let Some(limits) = &self.limits
        {
            let now = self.context.shards.now().instant;
            self.context.caller.hold(now, work, limits);
        }
        let throttle = work.max(self.throttle);
        if throttle > 0 {
            self.context.front.throttled(throttle);
        }
        throttle
    }

    /// `outcomes` are missing where time was over.
    fn answer(
        &mut self,
        outcomes: Option<&[AppendOutcome]>,
        out: &mut Gather,
    ) -> Result<(), Close> {
        let failed = self.plan.first_error(outcomes);
        self.context.front.count(|counters| {
            counters.produce_requests += 1;
            counters.produce_requests_failed += u64::from(failed.is_some());
        });
        let throttle = self.throttle();
        if self.silent {
            return match failed {
                None => Ok(()),
                Some(error) => Err(Close::SilentProduce { error }),
            };
        }
        let spares = &self.context.front.produce;
        let image = self.context.shards.glance();
        let hints = Some((&*image, self.context.listener_name()));
        let mut response = self.plan.response(self.version, outcomes, hints, spares);
        response.throttle_time_ms = throttle;
        let (version, correlation_id) = (self.version, self.correlation_id);
        let written = self
            .context
            .encode(&response, ApiKey::Produce, version, correlation_id, out);
        spares.take_back(response);
        spares.plans.give(std::mem::take(&mut self.plan));
        written
    }
}

/// What became of one partition, borrowed from plan and outcomes.
enum Fate<'o> {
    Kept(&'o Appended),
    Failed(ErrorCode, Option<String>, &'o [batch::RecordError]),
}

impl Plan {
    /// Every partition with its fate, in order.
    fn fates<'o>(
        &'o self,
        outcomes: Option<&'o [AppendOutcome]>,
    ) -> impl Iterator<Item = Fate<'o>> {
        let mut next = outcomes.map(<[_]>::iter);
        let fate = move |partition: &'o PlannedPartition| match partition.verdict {
            Verdict::Refused(code, message) => Fate::Failed(code, message.map(String::from), &[]),
            Verdict::Begun => match next.as_mut().map(Iterator::next) {
                None => Fate::Failed(ErrorCode::RequestTimedOut, None, &[]),
                // A core that answers fewer partitions than it was asked for knows less than it
                // should; the client must not take that for success.
                Some(None) => Fate::Failed(ErrorCode::UnknownServerError, None, &[]),
                Some(Some(Ok(appended))) => Fate::Kept(appended),
                Some(Some(Err(error))) => {
                    let records = match error {
                        AppendError::Invalid(invalid) => invalid.record_errors(),
                        _ => &[],
                    };
                    Fate::Failed(error_code(error), message_of(error), records)
                }
            },
        };
        self.partitions.iter().map(fate)
    }

    fn first_error(&self, outcomes: Option<&[AppendOutcome]>) -> Option<ErrorCode> {
        self.fates(outcomes).find_map(|fate| match fate {
            Fate::Kept(_) => None,
            Fate::Failed(code, ..) => Some(code),
        })
    }

    fn response<'p>(
        &'p self,
        version: i16,
        outcomes: Option<&[AppendOutcome]>,
        hints: Option<(&'p Image, &'p str)>,
        spares: &Spares,
    ) -> produce::Response<'p> {
        let mut fates = self.partitions.iter().zip(self.fates(outcomes));
        let mut response = produce::Response {
            responses: spares.topics.take(),
            ..Default::default()
        };
        for topic in &self.topics {
            let mut partition_responses = spares.partitions.take();
            for (partition, fate) in fates.by_ref().take(topic.partitions) {
                let mut answer = partition_response(partition.index, fate);
                if version >= FIRST_WITH_LEADER
                    && answer.error_code == ErrorCode::NotLeaderOrFollower.code()
                    && let Some((image, listener)) = hints
                {
                    add_hint(&mut response, &mut answer, image, listener, &topic.key);
                }
                if version < FIRST_WITH_MESSAGES {
                    answer.record_errors.clear();
                }
                partition_responses.push(answer);
            }
            response.responses.push(produce::TopicProduceResponse {
                name: borrowed(topic.key.wire_name()),
                topic_id: topic.key.wire_id(),
                partition_responses,
            });
        }
        response
    }
}

fn add_hint<'i>(
    response: &mut produce::Response<'i>,
    answer: &mut produce::PartitionProduceResponse<'_>,
    image: &'i Image,
    listener: &'i str,
    key: &TopicKey,
) {
    let (leader_id, leader_epoch) = leader_hint(image, key, answer.index);
    answer.current_leader = produce::LeaderIdAndEpoch {
        leader_id,
        leader_epoch,
    };
    let told = response
        .node_endpoints
        .iter()
        .any(|node| node.node_id == leader_id);
    let node = klamm_model::NodeId(leader_id);
    if !told && let Some(endpoint) = endpoint_of(image, listener, node) {
        response.node_endpoints.push(produce::NodeEndpoint {
            node_id: endpoint.node.0,
            host: borrowed(endpoint.host),
            port: i32::from(endpoint.port),
            rack: endpoint.rack.map(borrowed),
        });
    }
}

fn partition_response(index: i32, fate: Fate<'_>) -> produce::PartitionProduceResponse<'static> {
    match fate {
        Fate::Kept(appended) => produce::PartitionProduceResponse {
            index,
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time.map_or(-1, |time| time.0),
            log_start_offset: appended.log_start.0,
            ..Default::default()
        },
        Fate::Failed(code, message, records) => produce::PartitionProduceResponse {
            index,
            error_code: code.code(),
            base_offset: -1,
            error_message: message.map(Into::into),
            record_errors: records
                .iter()
                .map(|error| produce::BatchIndexAndErrorMessage {
                    batch_index: error.index,
                    batch_index_error_message: Some(error.kind.to_string().into()),
                })
                .collect(),
            ..Default::default()
        },
    }
}

/// Kafka's row for a batch that was not appended.
fn error_code(error: &AppendError) -> ErrorCode {
    match error {
        // The image had it a moment ago: the client should look again.
        AppendError::UnknownPartition => ErrorCode::NotLeaderOrFollower,
        AppendError::Invalid(InvalidBatch::Corrupt(_)) => ErrorCode::CorruptMessage,
        AppendError::Invalid(InvalidBatch::TooLarge(_)) => ErrorCode::MessageTooLarge,
        AppendError::Invalid(InvalidBatch::Invalid(_)) | AppendError::Malformed => {
            ErrorCode::InvalidRecord
        }
        AppendError::Invalid(InvalidBatch::Timestamp(_)) => ErrorCode::InvalidTimestamp,
        AppendError::Invalid(InvalidBatch::Compression(_)) => ErrorCode::UnsupportedCompressionType,
        AppendError::LargerThanSegment => ErrorCode::RecordListTooLarge,
        AppendError::Producer(ProducerRefused::OutOfOrderSequence { .. }) => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        AppendError::Producer(ProducerRefused::StaleProducerEpoch { .. }) => {
            ErrorCode::InvalidProducerEpoch
        }
        AppendError::Producer(ProducerRefused::TableFull { .. }) => {
            ErrorCode::ThrottlingQuotaExceeded
        }
        AppendError::NoTransaction => ErrorCode::InvalidTxnState,
        // Clients try all of them again.
        AppendError::Storage | AppendError::OutOfFiles | AppendError::OutOfSpace => {
            ErrorCode::KafkaStorageError
        }
    }
}

/// What to say besides the code, where the code does not say it all.
fn message_of(error: &AppendError) -> Option<String> {
    match error {
        AppendError::Invalid(invalid) => Some(invalid.to_string()),
        AppendError::Producer(refused) => Some(refused.to_string()),
        AppendError::LargerThanSegment => {
            Some("the batch is larger than segment.bytes of the topic".to_owned())
        }
        AppendError::OutOfFiles => {
            Some("the broker cannot open a file of its log now: too many open files".to_owned())
        }
        AppendError::OutOfSpace => Some(
            "the broker's disk is full: it takes records again as soon as there is room".to_owned(),
        ),
        AppendError::UnknownPartition
        | AppendError::Malformed
        | AppendError::NoTransaction
        | AppendError::Storage => None,
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::{NodeId, Offset, PartitionIndex, TopicId};
    use klamm_wire::{Message, MessageView};

    use super::*;

    fn plan(partitions: &[(i32, Option<ErrorCode>)]) -> Plan {
        let name = TopicName::new("flights").expect("legal");
        let planned = partitions.iter().map(|&(index, refused)| PlannedPartition {
            index,
            verdict: refused.map_or(Verdict::Begun, |code| Verdict::Refused(code, None)),
        });
        let topic = PlannedTopic {
            key: TopicKey::Name(name),
            partitions: partitions.len(),
        };
        Plan {
            topics: vec![topic],
            partitions: planned.collect(),
        }
    }

    fn kept(offset: i64) -> AppendOutcome {
        let (base_offset, log_start) = (Offset(offset), Offset(3));
        Ok(Appended {
            base_offset,
            log_append_time: None,
            log_start,
        })
    }

    fn append(index: i32) -> AppendPartition {
        let partition = TopicPartition {
            topic: TopicId([1; 16]),
            index: PartitionIndex(index),
        };
        let transactions = TransactionVersion::One;
        AppendPartition {
            partition,
            records: Bytes::new(),
            zstd_known: true,
            transactions,
        }
    }

    #[test]
    fn outcomes_go_to_the_partitions_that_were_begun_in_every_version() {
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let plan = plan(&[(4, None), (9, Some(unknown)), (2, None)]);
        let outcomes = [kept(17), Err(AppendError::Storage)];
        for version in 3..=13 {
            let response = plan.response(version, Some(&outcomes), None, &Spares::default());
            let mut bytes = bytes::BytesMut::new();
            response
                .encode(version, &mut bytes)
                .expect("every version can say it");
            let view = produce::ResponseView::parse(&bytes, version).expect("own bytes");
            let topic = view.responses().iter().next().expect("one topic");
            let found: Vec<_> = topic
                .partition_responses()
                .iter()
                .map(|part| (part.index(), part.error_code(), part.base_offset()))
                .collect();
            assert_eq!(
                found,
                [(4, 0, 17), (9, 3, -1), (2, 56, -1)],
                "version {version}"
            );
        }
    }

    #[test]
    fn without_outcomes_every_batch_that_was_begun_timed_out() {
        let plan = plan(&[(0, None), (1, Some(ErrorCode::InvalidRequest))]);
        let response = plan.response(9, None, None, &Spares::default());
        let codes: Vec<_> = response.responses[0]
            .partition_responses
            .iter()
            .map(|p| p.error_code)
            .collect();
        assert_eq!(codes, [7, 42]);
    }

    #[test]
    fn a_missing_outcome_is_never_taken_for_success() {
        let plan = plan(&[(0, None)]);
        let response = plan.response(9, Some(&[]), None, &Spares::default());
        assert_eq!(response.responses[0].partition_responses[0].error_code, -1);
    }

    #[test]
    fn a_partition_named_twice_is_refused_both_times_and_others_are_kept() {
        let mut plan = plan(&[(0, None), (1, None), (0, None)]);
        let appends = vec![append(0), append(1), append(0)];
        let mut mentions = Vec::new();
        refuse_duplicates(&mut plan, &appends, &mut mentions);
        let left: Vec<_> = appends
            .iter()
            .filter(|append| !is_twice(&mentions, append.partition))
            .map(|append| append.partition.index.0)
            .collect();
        assert_eq!(left, [1]);
        let response = plan.response(9, Some(&[kept(5)]), None, &Spares::default());
        let codes: Vec<_> = response.responses[0]
            .partition_responses
            .iter()
            .map(|p| p.error_code)
            .collect();
        assert_eq!(codes, [42, 0, 42]);
    }

    #[test]
    fn a_silent_produce_reports_its_first_error_and_nothing_else() {
        let plan = plan(&[(0, None), (1, None)]);
        assert_eq!(plan.first_error(Some(&[kept(0), kept(0)])), None);
        let failed = [kept(0), Err(AppendError::LargerThanSegment)];
        assert_eq!(
            plan.first_error(Some(&failed)),
            Some(ErrorCode::RecordListTooLarge)
        );
    }

    #[test]
    fn a_foreign_leader_is_told_to_clients_that_understand_it() {
        let plan = plan(&[(0, Some(ErrorCode::NotLeaderOrFollower))]);
        let image = crate::handlers::tests::image_of_two_brokers("flights", NodeId(2));
        let response = plan.response(
            10,
            Some(&[]),
            Some((&image, "PLAINTEXT")),
            &Spares::default(),
        );
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.current_leader.leader_id, 2);
        assert_eq!(response.node_endpoints.len(), 1);
        assert_eq!(response.node_endpoints[0].port, 9002);
        let old = plan.response(
            9,
            Some(&[]),
            Some((&image, "PLAINTEXT")),
            &Spares::default(),
        );
        assert!(old.node_endpoints.is_empty());
        let mut bytes = bytes::BytesMut::new();
        old.encode(9, &mut bytes)
            .expect("nothing that version 9 lacks");
    }
}
