//! Claims about connection, metadata and fetch against a broker made of the wire room's encoders,
//! and against bytes that no broker would send.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_model::{
    Acks, ErrorCode, IsolationLevel, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, ProducerStamp, Random, Sequence, Timestamp, TopicId, TopicName,
};
use klamm_records::batch::{BatchBuilder, BatchOptions};
use klamm_records::compress::Scratch;
use klamm_wire::{
    ApiKey, FrameLimits, Message, MessageView, RequestHeader, VersionRange, api_versions,
    encode_response, fetch as fetch_wire, metadata as metadata_wire, produce,
};

use crate::connection::{
    Connection, ConnectionError, ConnectionOptions, CorrelationId, NoVersion, SendError, sendable,
};
use crate::fetch::RecordReader;
use crate::metadata::{Cluster, PartitionName};
use crate::{append, fetch, metadata, offsets};

pub(crate) fn partition(index: i32) -> PartitionName {
    let topic = TopicName::new("t").expect("legal");
    PartitionName::new(topic, PartitionIndex(index))
}

/// The requests that a connection wrote: key, version, correlation id.
fn requests(connection: &mut Connection) -> Vec<(ApiKey, i16, i32)> {
    let mut output = BytesMut::from(&connection.take_output().unwrap_or_default()[..]);
    let limits = FrameLimits::of_requests(1 << 20);
    let mut found = Vec::new();
    while let Some(frame) = limits.split(&mut output).expect("sound frames") {
        let (header, _) = RequestHeader::parse(&frame).expect("a sound header");
        assert_eq!(header.client_id, Some("klamm"));
        found.push((header.key, header.version, header.correlation_id));
    }
    assert!(output.is_empty(), "whole requests are written");
    found
}

fn response(message: &dyn Message, version: i16, correlation_id: i32) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_response(message, version, correlation_id, &mut bytes).expect("it has this version");
    bytes
}

fn versions(error: ErrorCode, rows: &[(ApiKey, i16, i16)]) -> api_versions::Response<'static> {
    let row = |&(key, min_version, max_version): &(ApiKey, i16, i16)| api_versions::ApiVersion {
        api_key: key.number(),
        min_version,
        max_version,
    };
    api_versions::Response {
        error_code: error.code(),
        api_keys: rows.iter().map(row).collect(),
        ..Default::default()
    }
}

/// A connection to a broker that serves these versions.
fn connected(rows: &[(ApiKey, i16, i16)]) -> Connection {
    let mut connection = Connection::new(&ConnectionOptions::default());
    let asked = requests(&mut connection);
    assert_eq!(asked, [(ApiKey::ApiVersions, 4, 0)]);
    let answer = response(&versions(ErrorCode::None, rows), 4, 0);
    connection.on_input(&answer).expect("a sound answer");
    assert!(connection.is_ready());
    connection
}

#[test]
fn nothing_is_sent_before_versions_are_known() {
    let mut connection = Connection::new(&ConnectionOptions::default());
    let sent = connection.send(&metadata::request(None));
    assert_eq!(sent, Err(SendError::NotReady));
    assert_eq!(requests(&mut connection), [(ApiKey::ApiVersions, 4, 0)]);
}

#[test]
fn an_old_broker_is_asked_again_in_a_version_that_it_names() {
    let mut connection = Connection::new(&ConnectionOptions::default());
    requests(&mut connection);
    let rows = [(ApiKey::ApiVersions, 0, 2), (ApiKey::Metadata, 0, 5)];
    // The answer to an unknown version has the shape of version 0.
    let refusal = response(&versions(ErrorCode::UnsupportedVersion, &rows), 0, 0);
    connection.on_input(&refusal).expect("a sound refusal");
    assert!(!connection.is_ready());
    assert_eq!(requests(&mut connection), [(ApiKey::ApiVersions, 2, 1)]);
    let answer = response(&versions(ErrorCode::None, &rows), 2, 1);
    connection.on_input(&answer).expect("a sound answer");
    connection
        .send(&metadata::request(None))
        .expect("in common");
    assert_eq!(requests(&mut connection), [(ApiKey::Metadata, 5, 2)]);
}

#[test]
fn a_broker_that_only_refuses_is_given_up() {
    let mut connection = Connection::new(&ConnectionOptions::default());
    requests(&mut connection);
    let rows = [(ApiKey::ApiVersions, 0, 9)];
    let refusal = response(&versions(ErrorCode::UnsupportedVersion, &rows), 0, 0);
    let ended = connection.on_input(&refusal);
    let refused = ConnectionError::Negotiation(ErrorCode::UnsupportedVersion);
    assert_eq!(ended, Err(refused));
}

#[test]
fn the_highest_version_in_common_is_sent() {
    for (served, expected) in [((0, 13), 13), ((0, 99), 13), ((0, 4), 4), ((13, 40), 13)] {
        let mut connection = connected(&[(ApiKey::Metadata, served.0, served.1)]);
        connection
            .send(&metadata::request(None))
            .expect("in common");
        assert_eq!(requests(&mut connection), [(ApiKey::Metadata, expected, 1)]);
    }
    let mut connection = connected(&[(ApiKey::Metadata, 14, 15)]);
    let wanted = VersionRange { first: 0, last: 13 };
    let served = Some(VersionRange {
        first: 14,
        last: 15,
    });
    let missing = NoVersion {
        key: ApiKey::Metadata,
        wanted,
        served,
    };
    let sent = connection.send(&metadata::request(None));
    assert_eq!(sent, Err(SendError::NoVersion(missing)));
}

#[test]
fn unstable_versions_are_never_sent() {
    let range = sendable(ApiKey::InitProducerId).expect("known");
    assert_eq!(range.last, 5);
}

#[test]
fn responses_come_in_order_whatever_the_pieces() {
    let mut connection = connected(&[(ApiKey::Metadata, 0, 12)]);
    let mut stream = BytesMut::new();
    for number in 0..3 {
        let sent = connection
            .send(&metadata::request(None))
            .expect("in common");
        assert_eq!(sent, CorrelationId(number + 1));
        let message = metadata_wire::Response {
            controller_id: number,
            ..Default::default()
        };
        stream.extend_from_slice(&response(&message, 12, number + 1));
    }
    for piece in stream.chunks(7) {
        connection.on_input(piece).expect("sound bytes");
    }
    for number in 0..3 {
        let response = connection.next_response().expect("three of them");
        let view: metadata_wire::ResponseView<'_> = response.view().expect("sound");
        assert_eq!(view.controller_id(), number);
    }
    assert!(connection.next_response().is_none());
    assert_eq!(connection.in_flight(), 0);
}

#[test]
fn a_response_out_of_order_ends_the_connection() {
    let mut connection = connected(&[(ApiKey::Metadata, 0, 12)]);
    connection
        .send(&metadata::request(None))
        .expect("in common");
    let wrong = response(&metadata_wire::Response::default(), 12, 9);
    let ended = connection.on_input(&wrong);
    let expected = Some(CorrelationId(1));
    let found = CorrelationId(9);
    assert_eq!(ended, Err(ConnectionError::Correlation { expected, found }));
}

#[test]
fn requests_in_flight_are_bounded_and_named_when_lost() {
    let mut connection = connected(&[(ApiKey::Metadata, 0, 12)]);
    let mut sent = 0;
    while connection.send(&metadata::request(None)).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, crate::limits::IN_FLIGHT_MAX);
    assert_eq!(connection.abandon().len(), sent);
}

#[test]
fn a_produce_without_acks_leaves_nothing_in_flight() {
    let mut connection = connected(&[(ApiKey::Produce, 3, 11)]);
    let shaped = append::request(
        &[(partition(0), Bytes::from_static(b"batch"))],
        Acks::None,
        Duration::from_secs(1),
        &Cluster::default(),
    );
    assert_eq!(shaped.version_max, append::LAST_VERSION_BY_NAME);
    let sent = connection.send_unanswered(&shaped.request, shaped.version_max);
    assert!(sent.is_ok());
    assert_eq!(requests(&mut connection), [(ApiKey::Produce, 11, 1)]);
    assert_eq!(connection.in_flight(), 0);
}

pub(crate) fn metadata_response(leader_id: i32) -> metadata_wire::Response<'static> {
    let partitions = (0..3).map(|index| metadata_wire::MetadataResponsePartition {
        partition_index: index,
        leader_id,
        leader_epoch: 4,
        replica_nodes: vec![1, 2],
        isr_nodes: vec![1],
        ..Default::default()
    });
    let broker = |id: i32| metadata_wire::MetadataResponseBroker {
        node_id: id,
        host: "localhost".into(),
        port: 9092 + id,
        rack: None,
    };
    metadata_wire::Response {
        cluster_id: Some("c".into()),
        controller_id: 1,
        brokers: vec![broker(1), broker(2)],
        topics: vec![metadata_wire::MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: [7; 16],
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn cluster() -> Cluster {
    let mut body = BytesMut::new();
    metadata_response(1)
        .encode(12, &mut body)
        .expect("version 12");
    let view = metadata_wire::ResponseView::parse(&body, 12).expect("sound");
    let mut cluster = Cluster::default();
    cluster.apply(&view);
    cluster
}

#[test]
fn metadata_names_leaders_and_hints_correct_them() {
    let mut cluster = cluster();
    assert_eq!(cluster.leader(&partition(0)), Some(NodeId(1)));
    assert_eq!(cluster.leader(&partition(3)), None);
    cluster.hint_leader(&partition(0), NodeId(2), LeaderEpoch(3));
    assert_eq!(
        cluster.leader(&partition(0)),
        Some(NodeId(1)),
        "an older reign"
    );
    cluster.hint_leader(&partition(0), NodeId(2), LeaderEpoch(5));
    assert_eq!(cluster.leader(&partition(0)), Some(NodeId(2)));
    cluster.forget_leader(&partition(0));
    assert_eq!(cluster.leader(&partition(0)), None);
    let by_id = cluster.topic_by_id(TopicId([7; 16])).expect("known");
    assert_eq!(by_id.partitions.len(), 3);
}

/// A batch of these values at an offset.
pub(crate) fn batch(base_offset: i64, values: &[&str], options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(base_offset),
        ..options
    });
    for value in values {
        builder.append(Timestamp(0), None, Some(value.as_bytes()), &[]);
    }
    builder.build().expect("some records").into()
}

fn by_producer(id: i64) -> BatchOptions {
    BatchOptions {
        producer: Some(ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
        }),
        transactional: true,
        ..BatchOptions::default()
    }
}

/// An end-of-transaction marker: version and type in the key.
fn marker(base_offset: i64, producer: i64, kind: u8) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(base_offset),
        control: true,
        ..by_producer(producer)
    });
    builder.append(Timestamp(0), Some(&[0, 0, 0, kind]), Some(&[0; 6]), &[]);
    builder.build().expect("a record").into()
}

fn fetched(records: &[Bytes], aborted: &[(i64, i64)]) -> fetch::FetchedPartition {
    fetch::FetchedPartition {
        high_watermark: Offset(100),
        last_stable: Some(Offset(100)),
        log_start: Some(Offset(0)),
        aborted: aborted
            .iter()
            .map(|&(first_offset, producer)| fetch::AbortedTxn {
                first_offset: Offset(first_offset),
                producer: ProducerId(producer),
            })
            .collect(),
        records: records.concat().into(),
    }
}

/// Values read from `position` on, and where reading goes on.
fn read(
    fetched: fetch::FetchedPartition,
    position: i64,
    isolation: IsolationLevel,
) -> (Vec<String>, i64) {
    let mut reader = RecordReader::new(fetched, Offset(position), isolation);
    let mut scratch = Scratch::new();
    let mut values = Vec::new();
    while let Some(record) = reader.next_record(&mut scratch) {
        let value = record.expect("sound records").value.expect("a value");
        values.push(String::from_utf8_lossy(&value).into_owned());
    }
    (values, reader.position().0)
}

#[test]
fn reading_begins_at_the_position_inside_a_batch() {
    let batches = [batch(0, &["a", "b", "c"], BatchOptions::default())];
    let uncommitted = IsolationLevel::ReadUncommitted;
    assert_eq!(
        read(fetched(&batches, &[]), 1, uncommitted),
        (vec!["b".into(), "c".into()], 3)
    );
    assert_eq!(read(fetched(&batches, &[]), 3, uncommitted), (vec![], 3));
}

#[test]
fn a_batch_cut_short_is_left_for_the_next_fetch() {
    let mut batches = [
        batch(0, &["a"], BatchOptions::default()),
        batch(1, &["b"], BatchOptions::default()),
    ];
    batches[1].truncate(40);
    let (values, next) = read(fetched(&batches, &[]), 0, IsolationLevel::ReadUncommitted);
    assert_eq!((values, next), (vec!["a".to_owned()], 1));
}

#[test]
fn read_committed_skips_what_was_aborted_and_nothing_else() {
    let batches = [
        batch(0, &["a1"], by_producer(1)),
        batch(1, &["c1"], by_producer(2)),
        marker(2, 1, 0),
        batch(3, &["a2"], by_producer(1)),
        marker(4, 1, 1),
        batch(5, &["plain"], BatchOptions::default()),
        marker(6, 2, 1),
    ];
    let aborted = [(0, 1)];
    let committed = read(
        fetched(&batches, &aborted),
        0,
        IsolationLevel::ReadCommitted,
    );
    assert_eq!(committed.0, ["c1", "a2", "plain"]);
    assert_eq!(committed.1, 7, "markers are stepped over");
    let all = read(
        fetched(&batches, &aborted),
        0,
        IsolationLevel::ReadUncommitted,
    );
    assert_eq!(all.0, ["a1", "c1", "a2", "plain"]);
}

#[test]
fn a_flipped_bit_is_found_by_the_checksum() {
    let good = batch(0, &["value"], BatchOptions::default());
    for at in 21..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        let fetched = fetched(&[bad.into()], &[]);
        let mut reader = RecordReader::new(fetched, Offset(0), IsolationLevel::ReadUncommitted);
        let first = reader.next_record(&mut Scratch::new());
        assert!(matches!(first, Some(Err(_)) | None), "byte {at}");
    }
}

pub(crate) fn fetch_response(records: Bytes, error: ErrorCode) -> fetch_wire::Response<'static> {
    let partition = fetch_wire::PartitionData {
        partition_index: 0,
        error_code: error.code(),
        high_watermark: 2,
        last_stable_offset: 2,
        log_start_offset: 0,
        records: Some(records.into()),
        ..Default::default()
    };
    fetch_wire::Response {
        responses: vec![fetch_wire::FetchableTopicResponse {
            topic: "t".into(),
            topic_id: [7; 16],
            partitions: vec![partition],
        }],
        ..Default::default()
    }
}

/// Seeded, so that every run sees the same mutations.
pub(crate) struct Dice(pub(crate) Random);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0.below(below as u64) as usize
    }

    /// Overwrites, cuts or repeats a few bytes.
    pub(crate) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        for _ in 0..=self.roll(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.roll(bytes.len());
            match self.roll(4) {
                0 => bytes[at] = EDGES[self.roll(EDGES.len())],
                1 => bytes[at] ^= 1 << self.roll(8),
                2 => bytes.truncate(at),
                _ => {
                    let end = bytes.len().min(at + 8);
                    bytes.copy_within(at..end, 0);
                }
            }
        }
    }
}

/// Reads a body as every answer that this room reads.
fn read_as_everything(body: &Bytes, version: i16, cluster: &mut Cluster) -> usize {
    let mut understood = 0;
    if let Ok(view) = metadata_wire::ResponseView::parse(body, version.min(13)) {
        cluster.apply(&view);
        understood += 1;
    }
    if let Ok(view) = produce::ResponseView::parse(body, version.clamp(3, 13)) {
        append::read(&view, cluster);
        understood += 1;
    }
    if let Ok(view) = klamm_wire::list_offsets::ResponseView::parse(body, version.min(11)) {
        offsets::read(&view);
        understood += 1;
    }
    let Ok(view) = fetch_wire::ResponseView::parse(body, version.clamp(4, 18)) else {
        return understood;
    };
    let isolation = IsolationLevel::ReadCommitted;
    let outcomes = fetch::read(&view, body, cluster).map(|answer| answer.outcomes);
    for (_, outcome) in outcomes.unwrap_or_default() {
        let Ok(fetched) = outcome else { continue };
        let mut reader = RecordReader::new(fetched, Offset(0), isolation);
        let mut scratch = Scratch::new();
        let mut last = reader.position();
        while let Some(Ok(_)) = reader.next_record(&mut scratch) {
            assert!(reader.position() > last, "reading goes forward");
            last = reader.position();
        }
    }
    understood + 1
}

#[test]
fn hostile_answers_never_panic() {
    let records = [batch(0, &["a", "b"], by_producer(1)), marker(2, 1, 0)].concat();
    let fetch = fetch_response(records.into(), ErrorCode::None);
    let mut seeds: Vec<(Vec<u8>, i16)> = Vec::new();
    for version in [4, 11, 12, 13, 18] {
        let mut body = BytesMut::new();
        fetch
            .encode(version, &mut body)
            .expect("a version of Fetch");
        seeds.push((body.to_vec(), version));
    }
    for version in [1, 8, 12, 13] {
        let mut body = BytesMut::new();
        metadata_response(2)
            .encode(version, &mut body)
            .expect("a version of Metadata");
        seeds.push((body.to_vec(), version));
    }
    let mut dice = Dice(Random::new(20_260_101));
    let mut understood = 0;
    for round in 0..60_000 {
        let (seed, version) = &seeds[round % seeds.len()];
        let mut bytes = seed.clone();
        dice.spoil(&mut bytes);
        understood += read_as_everything(&bytes.into(), *version, &mut cluster());
    }
    assert!(
        understood > 5_000,
        "mutations reach past the first checks: {understood}"
    );
}

#[test]
fn hostile_streams_end_the_connection_or_wait_for_more() {
    let mut dice = Dice(Random::new(7));
    let rows = [(ApiKey::ApiVersions, 0, 4), (ApiKey::Metadata, 0, 12)];
    let mut ended = 0;
    for _ in 0..20_000 {
        let mut connection = Connection::new(&ConnectionOptions::default());
        let mut stream = response(&versions(ErrorCode::None, &rows), 4, 0).to_vec();
        stream.extend_from_slice(&response(&metadata_response(1), 12, 1));
        dice.spoil(&mut stream);
        let mut outcome = Ok(());
        for piece in stream.chunks(1 + dice.roll(200)) {
            if outcome.is_ok() {
                outcome = connection.on_input(piece);
                let _ = connection.send(&metadata::request(None));
            }
        }
        ended += usize::from(outcome.is_err());
    }
    assert!(ended > 1_000, "{ended}");
}

/// A batch of one record at this offset.
pub(crate) fn one_record_batch(offset: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Timestamp(0), None, Some(b"v"), &[]);
    let mut batch = builder.build().expect("a record");
    batch[..8].copy_from_slice(&offset.to_be_bytes());
    batch
}
