//! The paths whose instructions have a budget: what is prepared, and what is sent again and again.

use bytes::{Bytes, BytesMut};
use klamm_model::{ProducerEpoch, ProducerId, ProducerStamp, Sequence, Timestamp};
use klamm_records::batch::{BatchBuilder, BatchOptions};
use klamm_wire::{MessageView, api_versions, fetch, metadata, parse_response_header, produce};

use crate::requests::{self, Recorded};
use crate::stage::Stage;

/// Requests before the first that may be counted, so that every stock has its size.
const WARM_UP: usize = 128;

/// Batches of 16 KiB in the log before something is fetched.
const FILLED_BATCHES: i64 = 96;

/// Bytes of a value in batches that are made here.
const VALUE_BYTES: usize = 100;

/// Something that a client asks for, alone or in company.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Its row in perf/budgets.toml, without what all rows begin with.
    pub name: &'static str,
    /// Requests for a count: one run sends as many, the other twice as many.
    pub requests: usize,
    /// Connections that send at once and share a turn.
    connections: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// The recorded request, as it is.
    AsRecorded(Recorded),
    /// The recorded request with an idempotent producer's batch of one record.
    Idempotent(Recorded),
    /// The recorded request with one batch of about this many bytes.
    Batch(Recorded, usize),
    /// The recorded request, for this many batches of 16 KiB at the end of the log.
    Tail(Recorded, i64),
}

const fn path(name: &'static str, requests: usize, connections: usize, what: What) -> Path {
    Path {
        name,
        requests,
        connections,
        what,
    }
}

/// All of them.
pub const PATHS: &[Path] = &[
    path(
        "api versions, librdkafka",
        256,
        1,
        What::AsRecorded(requests::LIBRDKAFKA_API_VERSIONS),
    ),
    path(
        "metadata of one topic, librdkafka",
        256,
        1,
        What::AsRecorded(requests::LIBRDKAFKA_METADATA),
    ),
    path(
        "produce of one record, librdkafka",
        512,
        1,
        What::AsRecorded(requests::LIBRDKAFKA_PRODUCE_ONE),
    ),
    path(
        "produce of one record, librdkafka, 64 in a turn",
        1024,
        64,
        What::AsRecorded(requests::LIBRDKAFKA_PRODUCE_ONE),
    ),
    path(
        "produce of one record, java",
        512,
        1,
        What::AsRecorded(requests::JAVA_PRODUCE_ONE),
    ),
    path(
        "produce of one record, java, idempotent",
        512,
        1,
        What::Idempotent(requests::JAVA_PRODUCE_ONE),
    ),
    path(
        "produce of 2 KiB keyed, librdkafka",
        512,
        1,
        What::AsRecorded(requests::LIBRDKAFKA_PRODUCE_KEYED),
    ),
    path(
        "produce of 16 KiB, librdkafka",
        128,
        1,
        What::AsRecorded(requests::LIBRDKAFKA_PRODUCE_16_KIB),
    ),
    path(
        "produce of 16 KiB, java",
        128,
        1,
        What::AsRecorded(requests::JAVA_PRODUCE_16_KIB),
    ),
    path(
        "produce of 1 MiB, librdkafka",
        32,
        1,
        What::Batch(requests::LIBRDKAFKA_PRODUCE_ONE, 1_000_000),
    ),
    path(
        "fetch of 16 KiB from the tail, librdkafka",
        256,
        1,
        What::Tail(requests::LIBRDKAFKA_FETCH, 1),
    ),
    path(
        "fetch of 16 KiB from the tail, java",
        256,
        1,
        What::Tail(requests::JAVA_FETCH, 1),
    ),
    path(
        "fetch of 1 MiB from the tail, librdkafka",
        128,
        1,
        What::Tail(requests::LIBRDKAFKA_FETCH, 62),
    ),
];

/// Prepares a path and sends that many requests, after as many as it takes to get warm. Bytes of
/// their answers.
///
/// # Panics
/// If an answer is not the one that the path means.
#[must_use]
pub fn run(path: &Path, requests: usize) -> usize {
    let mut stage = Stage::new(path.connections);
    let mut frames = Frames::new(path, &mut stage);
    frames.check(&mut stage);
    // As many in every run, so that two runs differ by nothing but what they send.
    let made = (WARM_UP + 2 * path.requests).next_multiple_of(path.connections);
    let mut prepared: Vec<BytesMut> = (0..made).map(|_| frames.next()).collect();
    let (warm_up, counted) = prepared.split_at_mut(WARM_UP.next_multiple_of(path.connections));
    for frames in warm_up.chunks_mut(path.connections) {
        stage.exchange(frames);
    }
    stage.answered_bytes = 0;
    for frames in counted[..requests.min(2 * path.requests)].chunks_mut(path.connections) {
        stage.exchange(frames);
    }
    stage.answered_bytes
}

/// The requests of a path, one after the other.
struct Frames {
    what: What,
    frame: Bytes,
    sequence: i32,
    /// The fetch session and its next epoch, of clients that have one.
    session: Option<(i32, i32)>,
    offset: i64,
}

impl Frames {
    fn new(path: &Path, stage: &mut Stage) -> Self {
        let mut frames = Self {
            what: path.what,
            frame: Bytes::new(),
            sequence: 0,
            session: None,
            offset: 0,
        };
        frames.frame = match path.what {
            What::AsRecorded(recorded) => Bytes::from_static(recorded.bytes()),
            What::Batch(recorded, bytes) => recorded.with_records(batch(bytes, None)).into(),
            What::Idempotent(_) => Bytes::new(),
            What::Tail(recorded, batches) => {
                let full = requests::LIBRDKAFKA_PRODUCE_16_KIB;
                let mut bases = (0..FILLED_BATCHES).map(|_| stage.ask(full.bytes()));
                let at = usize::try_from(FILLED_BATCHES - batches).expect("fewer than there are");
                frames.offset = base_offset(&full, &bases.nth(at).expect("as many"));
                bases.for_each(drop);
                let has_session = recorded.session().0 != 0;
                frames.session = has_session.then(|| {
                    let begun = stage.ask(&recorded.fetching(frames.offset, (0, 0)));
                    (session_of(&recorded, &begun), 1)
                });
                let session = frames.session.unwrap_or_else(|| recorded.session());
                recorded.fetching(frames.offset, session).into()
            }
        };
        frames
    }

    fn next(&mut self) -> BytesMut {
        match (self.what, &mut self.session) {
            (What::Idempotent(recorded), _) => {
                let base_sequence = Sequence(self.sequence);
                self.sequence += 1;
                let stamp = ProducerStamp {
                    id: ProducerId(7),
                    epoch: ProducerEpoch(0),
                    base_sequence,
                };
                BytesMut::from(&recorded.with_records(batch(0, Some(stamp)))[..])
            }
            (What::Tail(recorded, _), Some((id, epoch))) => {
                let frame = recorded.fetching(self.offset, (*id, *epoch));
                *epoch += 1;
                BytesMut::from(&frame[..])
            }
            _ => BytesMut::from(&self.frame[..]),
        }
    }

    /// Sends one request and looks whether its answer is what the path means.
    fn check(&mut self, stage: &mut Stage) {
        let frame = self.next();
        let answer = stage.ask(&frame);
        match self.what {
            What::AsRecorded(recorded) | What::Idempotent(recorded) | What::Batch(recorded, _) => {
                check_answer(&recorded, &answer);
            }
            What::Tail(recorded, batches) => {
                let wanted = batches * requests::LIBRDKAFKA_PRODUCE_16_KIB.records().len() as i64;
                let found = fetched_bytes(&recorded, &answer);
                assert_eq!(found as i64, wanted, "the tail from {}", self.offset);
            }
        }
    }
}

/// A batch of records of [`VALUE_BYTES`], of about this many bytes or one record.
fn batch(bytes: usize, producer: Option<ProducerStamp>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer,
        ..BatchOptions::default()
    });
    while builder.is_empty() || builder.size_uncompressed() < bytes {
        builder.append(Timestamp(1_000), None, Some(&[b'v'; VALUE_BYTES]), &[]);
    }
    builder.build().expect("a batch")
}

/// Body of an answer to a recorded request.
fn body<'a, V: MessageView<'a>>(recorded: &Recorded, answer: &'a [u8]) -> V {
    let (header, _) = recorded.parts();
    let frame = &answer[4..];
    let parsed = parse_response_header(frame, header.key, header.version);
    let (correlation_id, body) = parsed.expect("a header");
    assert_eq!(correlation_id, header.correlation_id);
    V::parse(body, header.version).expect("a body")
}

fn check_answer(recorded: &Recorded, answer: &[u8]) {
    match recorded.parts().0.key {
        klamm_wire::ApiKey::Produce => {
            base_offset(recorded, answer);
        }
        klamm_wire::ApiKey::Metadata => {
            let view: metadata::ResponseView<'_> = body(recorded, answer);
            let topic = view.topics().iter().next().expect("a topic");
            assert_eq!((topic.error_code(), topic.partitions().len()), (0, 1));
        }
        klamm_wire::ApiKey::ApiVersions => {
            let view: api_versions::ResponseView<'_> = body(recorded, answer);
            assert_eq!(view.error_code(), 0);
        }
        other => panic!("no path asks for {other:?}"),
    }
}

fn base_offset(recorded: &Recorded, answer: &[u8]) -> i64 {
    let view: produce::ResponseView<'_> = body(recorded, answer);
    let topic = view.responses().iter().next().expect("a topic");
    let found = topic.partition_responses().iter().next();
    let found = found.expect("a partition");
    assert_eq!(found.error_code(), 0, "{:?}", found.error_message());
    found.base_offset()
}

fn session_of(recorded: &Recorded, answer: &[u8]) -> i32 {
    let view: fetch::ResponseView<'_> = body(recorded, answer);
    assert_eq!(view.error_code(), 0);
    assert_ne!(view.session_id(), 0, "a session was opened");
    view.session_id()
}

fn fetched_bytes(recorded: &Recorded, answer: &[u8]) -> usize {
    let view: fetch::ResponseView<'_> = body(recorded, answer);
    assert_eq!(view.error_code(), 0);
    let topic = view.responses().iter().next().expect("a topic");
    let found = topic.partitions().iter().next().expect("a partition");
    assert_eq!(found.error_code(), 0);
    found.records().map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_answered_as_it_means() {
        for path in PATHS {
            let bytes = run(path, path.connections);
            assert!(bytes > 0, "{}", path.name);
        }
    }
}
