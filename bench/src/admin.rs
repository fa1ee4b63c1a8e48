//! The loads of modes `create-topics` and `metadata`.

use std::time::Instant;

use bytes::BytesMut;
use klamm_wire::{ApiKey, MessageView, create_topics, encode_request, metadata};

use crate::{
    control::{CLIENT_ID, create_request, refused},
    drive::{Answer, Load},
    frame::Frame,
    problem::Problem,
    progress::Counted,
    topics::Topics,
    workload::Workload,
};

/// Creates topics under ever new names. A *record* of its totals is a topic.
#[derive(Debug)]
pub struct Creators {
    workload: Workload,
    version: i16,
    run: u32,
    requests: u64,
    created: Vec<String>,
}

impl Creators {
    /// Creates topics named for `run`.
    #[must_use]
    pub fn new(workload: &Workload, version: i16, run: u32) -> Self {
        Self {
            workload: workload.clone(),
            version,
            run,
            requests: 0,
            created: Vec::new(),
        }
    }

    /// Names of all topics that were asked for.
    #[must_use]
    pub fn created(&self) -> &[String] {
        &self.created
    }
}

impl Load for Creators {
    fn api(&self) -> (ApiKey, i16) {
        (ApiKey::CreateTopics, self.version)
    }

    fn next(&mut self, _: usize, _: Instant) -> Option<(Frame, usize)> {
        if self.requests >= self.workload.requests_max.unwrap_or(u64::MAX) {
            return None;
        }
        self.requests += 1;
        let from = self.created.len();
        let (topic, run) = (&self.workload.topic, self.run);
        for number in from..from + self.workload.topics_per_request {
            self.created.push(format!("{topic}-{run:08x}-{number:06}"));
        }
        let request = create_request(&self.created[from..], &self.workload)
            .expect("the settings of topics were read before");
        let mut frame = BytesMut::new();
        encode_request(&request, self.version, 0, Some(CLIENT_ID), &mut frame)
            .expect("names and settings fit every version");
        Some((Frame::whole(frame.to_vec()), 0))
    }

    fn answered(&mut self, answer: &Answer<'_>) -> Result<Counted, Problem> {
        let response = create_topics::ResponseView::parse_prefix(answer.body, self.version)?.0;
        let mut counted = Counted::default();
        for topic in response.topics() {
            let words = || topic.error_message().unwrap_or("").to_owned();
            refused("CreateTopics", topic.error_code(), words)?;
            counted.records += 1;
        }
        if counted.records != self.workload.topics_per_request as u64 {
            let text = format!("{} topics answered", counted.records);
            return Err(Problem::Protocol(text));
        }
        Ok(counted)
    }
}

/// Asks for metadata. A *record* of its totals is a partition, and bytes are the responses'.
#[derive(Debug)]
pub struct Askers {
    version: i16,
    frames: Vec<Vec<u8>>,
    turn: usize,
    partitions: usize,
    asked: Asked,
}

/// How much of the metadata is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    /// Everything that the broker knows.
    All,
    /// So many topics.
    Some(usize),
}

impl Askers {
    /// Asks for `topics_per_request` topics at a time; for all where that is their number.
    ///
    /// # Errors
    /// Never, unless the tables are broken.
    pub fn new(workload: &Workload, topics: &Topics, version: i16) -> Result<Self, Problem> {
        let per_request = workload.topics_per_request;
        let asked = if per_request >= topics.list().len() {
            Asked::All
        } else {
            Asked::Some(per_request)
        };
        let mut frames = Vec::new();
        for group in topics.list().chunks(per_request) {
            let named = group.iter().map(|topic| metadata::MetadataRequestTopic {
                name: Some(topic.name.as_str().into()),
                ..Default::default()
            });
            let request = metadata::Request {
                topics: (asked != Asked::All).then(|| named.collect()),
                allow_auto_topic_creation: false,
                ..Default::default()
            };
            let mut frame = BytesMut::new();
            encode_request(&request, version, 0, Some(CLIENT_ID), &mut frame)?;
            frames.push(frame.to_vec());
        }
        Ok(Self {
            version,
            frames,
            turn: 0,
            partitions: topics.partitions(),
            asked,
        })
    }
}

impl Load for Askers {
    fn api(&self) -> (ApiKey, i16) {
        (ApiKey::Metadata, self.version)
    }

    fn next(&mut self, _: usize, _: Instant) -> Option<(Frame, usize)> {
        let index = self.turn % self.frames.len();
        self.turn += 1;
        Some((Frame::whole(self.frames[index].clone()), index))
    }

    fn answered(&mut self, answer: &Answer<'_>) -> Result<Counted, Problem> {
        let response = metadata::ResponseView::parse_prefix(answer.body, self.version)?.0;
        let mut counted = Counted {
            batches: 0,
            records: 0,
            bytes: answer.body.len() as u64,
        };
        let mut least = 0;
        for topic in response.topics() {
            let name = || topic.name().unwrap_or("").to_owned();
            refused("Metadata", topic.error_code(), name)?;
            counted.batches += 1;
            counted.records += topic.partitions().len() as u64;
        }
        if let Asked::Some(topics) = self.asked {
            // The last group may be smaller.
            least = usize::from(topics > 0) * self.partitions;
        }
        if counted.records < least as u64 {
            let text = format!("{} partitions described, {least} expected", counted.records);
            return Err(Problem::Protocol(text));
        }
        Ok(counted)
    }
}
