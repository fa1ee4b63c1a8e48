//! One connection as a queue: answers leave in the order of requests (F5 of docs/safety.md), one
//! for each request that asks for one, or the connection closes (F6).

use std::io::Write;
use std::thread;
use std::time::Duration;

use klamm_wire::{
    ApiKey, Request, api_versions, create_topics, delete_topics, fetch, list_offsets, metadata,
    produce,
};

use crate::harness::{
    Broker, Client, FETCH, Options, PRODUCE, Random, RawBatch, Record, Topic, creation, deletion,
    fetched, fetching, frame_of, listing, produced, production, records_of, request_bytes, unique,
};

/// Partitions of the topics that a connection asks for: some on each shard.
const PARTITIONS: i32 = 4;

/// How long a read of what is not there yet waits: long for a connection in a hurry.
const WAIT_MS: i32 = 30;

/// Two shards, so that a connection waits for cores other than its own.
fn two_shards() -> Broker {
    Broker::start_with(Options::new().set("klamm.shards", 2))
}

/// What the next answer must be; its correlation id is the question's.
#[derive(Debug)]
enum Expected {
    Versions,
    /// The topic that was asked for.
    Metadata(String),
    /// Where each connection's own batch went.
    Produced {
        base_offset: i64,
    },
    /// The first record's value; `None` where nothing is there.
    Fetched(Option<Vec<u8>>),
    Latest(i64),
    Created(String),
    Deleted(String),
}

/// One connection's questions, as they are made up, and what their answers must say.
struct Questions {
    random: Random,
    /// Has one large record in each partition, and gets no more.
    kept: Topic,
    values: Vec<Vec<u8>>,
    /// Gets the batches of this connection, and no others.
    own: Topic,
    ends: [i64; PARTITIONS as usize],
    created: Vec<String>,
    frames: Vec<Vec<u8>>,
    expected: Vec<(i32, Expected)>,
}

impl Questions {
    fn new(client: &mut Client, seed: u64) -> Self {
        let kept = client.create_topic("kept", PARTITIONS);
        let own = client.create_topic("own", PARTITIONS);
        let mut random = Random::new(seed);
        let mut values = Vec::new();
        for part in 0..PARTITIONS {
            // From a handful of bytes to several sends.
            let value = random.bytes(10 << (part * 5));
            let batch = RawBatch::of(&[Record::new("key", &value)]).encode();
            assert_eq!(client.produce(&kept, part, &batch).error_code, 0);
            values.push(value);
        }
        Self {
            random,
            kept,
            values,
            own,
            ends: [0; PARTITIONS as usize],
            created: Vec::new(),
            frames: Vec::new(),
            expected: Vec::new(),
        }
    }

    fn ask(&mut self, request: &impl Request, version: i16, expected: Option<Expected>) {
        let correlation_id = 1000 + self.frames.len() as i32;
        let frame = frame_of(request, version, correlation_id);
        self.frames.push(frame.to_vec());
        if let Some(expected) = expected {
            self.expected.push((correlation_id, expected));
        }
    }

    fn ask_twenty(&mut self) {
        for _ in 0..20 {
            self.ask_anything();
        }
    }

    /// One more question: fast or slow, small or large, of this core or another's, or none that
    /// is answered.
    fn ask_anything(&mut self) {
        let part = self.random.below(PARTITIONS as u64) as i32;
        match self.random.below(40) {
            0..=4 => self.ask(
                &api_versions::Request::default(),
                0,
                Some(Expected::Versions),
            ),
            5..=9 => self.ask_metadata(),
            10..=13 => self.produce(part, -1),
            14..=17 => self.produce(part, 1),
            18..=23 => self.produce(part, 0),
            24..=30 => {
                let request = fetching(&self.kept, part, 0);
                let value = self.values[part as usize].clone();
                self.ask(&request, FETCH, Some(Expected::Fetched(Some(value))));
            }
            31..=32 => {
                let mut request = fetching(&self.kept, part, 1);
                (request.min_bytes, request.max_wait_ms) = (1, WAIT_MS);
                self.ask(&request, FETCH, Some(Expected::Fetched(None)));
            }
            33..=37 => self.ask_latest(part),
            38 => self.create(),
            _ => self.delete(),
        }
    }

    fn ask_metadata(&mut self) {
        let name = [&self.kept, &self.own][self.random.below(2) as usize]
            .name
            .clone();
        let topic = metadata::MetadataRequestTopic {
            name: Some(name.clone().into()),
            ..Default::default()
        };
        let request = metadata::Request {
            topics: Some(vec![topic]),
            ..Default::default()
        };
        self.ask(&request, 9, Some(Expected::Metadata(name)));
    }

    fn produce(&mut self, part: i32, acks: i16) {
        let length = 1 << self.random.below(18);
        let value = self.random.bytes(length);
        let batch = RawBatch::of(&[Record::new("key", value)]).encode();
        let request = production(&self.own, acks, &[(part, &batch)]);
        let end = &mut self.ends[part as usize];
        let base_offset = *end;
        *end += 1;
        let expected = (acks != 0).then_some(Expected::Produced { base_offset });
        self.ask(&request, PRODUCE, expected);
    }

    fn ask_latest(&mut self, part: i32) {
        let request = listing(&self.kept, part, -1);
        self.ask(&request, 7, Some(Expected::Latest(1)));
    }

    fn create(&mut self) {
        let name = unique("made");
        self.created.push(name.clone());
        self.ask(
            &creation(&name, 1, 1, &[]),
            7,
            Some(Expected::Created(name)),
        );
    }

    fn delete(&mut self) {
        let Some(name) = self.created.pop() else {
            return self.create();
        };
        let request = deletion(&name);
        self.ask(&request, 4, Some(Expected::Deleted(name)));
    }

    /// Sends everything at once, and checks each answer as it comes.
    fn check(&self, client: &mut Client) {
        let mut sender = client.stream().try_clone().expect("a live socket");
        thread::scope(|scope| {
            scope.spawn(move || {
                for frame in &self.frames {
                    sender.write_all(frame).expect("the broker reads on");
                }
            });
            for (position, (correlation_id, expected)) in self.expected.iter().enumerate() {
                let found = check_answer(client, expected);
                assert_eq!(
                    found, *correlation_id,
                    "answer {position} is to another request"
                );
            }
        });
    }
}

/// Reads the next answer and compares it; gives its correlation id.
fn check_answer(client: &mut Client, expected: &Expected) -> i32 {
    match expected {
        Expected::Versions => {
            let reply = client.finish::<api_versions::Request<'_>>(ApiKey::ApiVersions, 0);
            assert_eq!(reply.view().error_code(), 0);
            reply.correlation_id
        }
        Expected::Metadata(name) => {
            let reply = client.finish::<metadata::Request<'_>>(ApiKey::Metadata, 9);
            let view = reply.view();
            let topic = view.topics().iter().next().expect("one topic");
            assert_eq!((topic.error_code(), topic.name()), (0, Some(name.as_str())));
            reply.correlation_id
        }
        Expected::Produced { base_offset } => {
            let reply = client.finish::<produce::Request<'_>>(ApiKey::Produce, PRODUCE);
            let part = &produced(&reply.view())[0];
            assert_eq!((part.error_code, part.base_offset), (0, *base_offset));
            reply.correlation_id
        }
        Expected::Fetched(value) => {
            let reply = client.finish::<fetch::Request<'_>>(ApiKey::Fetch, FETCH);
            let part = &fetched(&reply.view())[0];
            assert_eq!(part.error_code, 0);
            let found = records_of(&part.records).into_iter().next();
            assert_eq!(found.and_then(|read| read.record.value), *value);
            reply.correlation_id
        }
        Expected::Latest(offset) => {
            let reply = client.finish::<list_offsets::Request<'_>>(ApiKey::ListOffsets, 7);
            let view = reply.view();
            let topic = view.topics().iter().next().expect("one topic");
            let part = topic.partitions().iter().next().expect("one partition");
            assert_eq!((part.error_code(), part.offset()), (0, *offset));
            reply.correlation_id
        }
        Expected::Created(name) => {
            let reply = client.finish::<create_topics::Request<'_>>(ApiKey::CreateTopics, 7);
            let view = reply.view();
            let topic = view.topics().iter().next().expect("one topic");
            assert_eq!((topic.error_code(), topic.name()), (0, name.as_str()));
            reply.correlation_id
        }
        Expected::Deleted(name) => {
            let reply = client.finish::<delete_topics::Request<'_>>(ApiKey::DeleteTopics, 4);
            let view = reply.view();
            let topic = view.responses().iter().next().expect("one topic");
            assert_eq!((topic.error_code(), topic.name()), (0, Some(name.as_str())));
            reply.correlation_id
        }
    }
}

#[test]
fn answers_of_all_kinds_never_change_places_and_none_is_missing_or_double() {
    let broker = two_shards();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let broker = &broker;
            scope.spawn(move || {
                let mut client = broker.client();
                let mut questions = Questions::new(&mut client, seed);
                for _ in 0..400 {
                    questions.ask_anything();
                }
                questions.check(&mut client);
                // Whatever came twice, or for acks=0, would lie in front of the end.
                let shutdown = client.stream().shutdown(std::net::Shutdown::Write);
                shutdown.expect("a live socket");
                let (more, _) = client.until_closed(Duration::from_secs(10));
                assert!(more.is_empty(), "answered twice, seed {seed}: {more:02x?}");
                for part in 0..PARTITIONS {
                    let end = broker.client().list_offset(&questions.own, part, -1).offset;
                    assert_eq!(end, questions.ends[part as usize], "acks=0 is kept, too");
                }
            });
        }
    });
}

/// A request that ends the connection, in one of three ways.
fn fatal(kind: u64, topic: &Topic) -> Vec<u8> {
    match kind % 3 {
        0 => request_bytes(1, 99, 7, &[]),
        1 => request_bytes(999, 0, 7, &[]),
        // Closing is the only way to tell that this one failed.
        _ => {
            let batch = RawBatch::one("x").encode();
            let nowhere = production(topic, 0, &[(PARTITIONS, &batch)]);
            frame_of(&nowhere, PRODUCE, 7).to_vec()
        }
    }
}

#[test]
fn request_that_cannot_be_answered_closes_after_the_answers_before_it() {
    let broker = two_shards();
    for seed in 0..6 {
        let mut client = broker.client();
        let mut questions = Questions::new(&mut client, seed);
        questions.ask_twenty();
        questions.frames.push(fatal(seed, &questions.own));
        questions.check(&mut client);
        let (more, _) = client.until_closed(Duration::from_secs(10));
        assert!(more.is_empty(), "answered behind the end: {more:02x?}");
    }
}

#[test]
fn requests_behind_the_one_that_closes_are_not_answered() {
    let broker = two_shards();
    for seed in 0..6 {
        let mut client = broker.client();
        let mut questions = Questions::new(&mut client, seed);
        questions.ask_twenty();
        questions.frames.push(fatal(seed, &questions.own));
        let before = questions.expected.len();
        questions.ask_twenty();
        client.send(&questions.frames.concat());
        let (answers, _) = client.until_closed(Duration::from_secs(10));
        let found = answers
            .iter()
            .map(|frame| i32::from_be_bytes(frame[..4].try_into().expect("an id")));
        let expected = questions.expected[..before].iter().map(|(id, _)| *id);
        // What lies unread when a socket closes makes TCP drop what the peer has not read either,
        // so the last of these may be missing.
        assert!(answers.len() <= before, "answered behind the end");
        assert!(found.eq(expected.take(answers.len())), "out of order");
    }
}
