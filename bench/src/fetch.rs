//! The load of mode `fetch`: each connection is a consumer that reads a part of the logs over and
//! over, by requests that are encoded once and without a fetch session.

use std::time::Instant;

use bytes::BytesMut;
use klamm_wire::{ApiKey, MessageView, encode_request, fetch};

use crate::{
    batches::step,
    control::{CLIENT_ID, refused},
    drive::{Answer, Load},
    frame::Frame,
    problem::Problem,
    progress::Counted,
    topics::{Topics, by_topic},
    workload::Workload,
};

/// Stands in a frame where an offset belongs, plus the place.
const OFFSET_MARK: i64 = 0x5fed_cba9_8700_0000;

/// The request for one group of partitions; offsets are written in place.
#[derive(Clone, Debug)]
struct Plan {
    frame: Vec<u8>,
    /// Places and where their offsets stand in the frame.
    offsets_at: Vec<(usize, usize)>,
}

impl Plan {
    fn new(
        workload: &Workload,
        topics: &Topics,
        version: i16,
        group: &[usize],
    ) -> Result<Self, Problem> {
        let offsets = |place: usize| OFFSET_MARK + i64::try_from(place).unwrap_or(0);
        let request = request(workload, topics, group, &offsets);
        let mut encoded = BytesMut::new();
        encode_request(&request, version, 0, Some(CLIENT_ID), &mut encoded)?;
        let frame = encoded.to_vec();
        let mut offsets_at = Vec::new();
        let mut from = 0;
        for &place in group {
            let mark = offsets(place).to_be_bytes();
            let found = frame[from..].windows(8).position(|bytes| bytes == mark);
            let found = found.ok_or_else(|| {
                Problem::Protocol(format!("offset of place {place} not found in frame"))
            })?;
            offsets_at.push((place, from + found));
            from += found + 8;
        }
        Ok(Self { frame, offsets_at })
    }

    fn at(&self, offsets: &[i64]) -> Frame {
        let mut frame = self.frame.clone();
        for &(place, at) in &self.offsets_at {
            frame[at..at + 8].copy_from_slice(&offsets[place].to_be_bytes());
        }
        Frame::whole(frame)
    }
}

const OFFSET_OUT_OF_RANGE: i16 = 1;

/// A Fetch request for the places of `group`, which lie in their order.
pub(crate) fn request<'t>(
    workload: &Workload,
    topics: &'t Topics,
    group: &[usize],
    offset_of: &dyn Fn(usize) -> i64,
) -> fetch::Request<'t> {
    let mut asked = Vec::new();
    for (topic, partitions) in by_topic(topics, group) {
        let partitions = partitions
            .into_iter()
            .map(|(place, partition)| fetch::FetchPartition {
                partition,
                fetch_offset: offset_of(place),
                partition_max_bytes: workload.partition_bytes,
                ..Default::default()
            });
        asked.push(fetch::FetchTopic {
            topic: topic.name.as_str().into(),
            topic_id: topic.id,
            partitions: partitions.collect(),
        });
    }
    fetch::Request {
        max_wait_ms: workload.max_wait_ms,
        min_bytes: workload.min_bytes,
        max_bytes: workload.fetch_bytes,
        topics: asked,
        ..Default::default()
    }
}

#[derive(Debug)]
struct Consumer {
    turn: usize,
    offsets: Vec<i64>,
}

/// The part of the logs that is read, by place.
#[derive(Clone, Debug)]
pub struct Window {
    /// First offsets.
    pub start: Vec<i64>,
    /// Where a consumer turns back to the start.
    pub end: Vec<i64>,
}

/// Consumers on some connections.
#[derive(Debug)]
pub struct Consumers<'t> {
    topics: &'t Topics,
    plans: Vec<Plan>,
    consumers: Vec<Consumer>,
    version: i16,
    window: Window,
    check_crc: bool,
}

impl<'t> Consumers<'t> {
    /// Consumers that begin at the window's start.
    ///
    /// # Errors
    /// Frames that cannot be encoded.
    pub fn new(
        workload: &Workload,
        topics: &'t Topics,
        version: i16,
        window: Window,
    ) -> Result<Self, Problem> {
        let places: Vec<usize> = (0..topics.places()).collect();
        let plans = places
            .chunks(workload.partitions_per_request)
            .map(|group| Plan::new(workload, topics, version, group))
            .collect::<Result<Vec<_>, _>>()?;
        let consumers = (0..workload.connections).map(|turn| Consumer {
            turn,
            offsets: window.start.clone(),
        });
        Ok(Self {
            topics,
            plans,
            consumers: consumers.collect(),
            version,
            window,
            check_crc: workload.check_crc,
        })
    }
}

impl Load for Consumers<'_> {
    fn api(&self) -> (ApiKey, i16) {
        (ApiKey::Fetch, self.version)
    }

    fn next(&mut self, link: usize, _: Instant) -> Option<(Frame, usize)> {
        let consumer = &mut self.consumers[link];
        let group = consumer.turn % self.plans.len();
        consumer.turn += 1;
        Some((self.plans[group].at(&consumer.offsets), group))
    }

    fn answered(&mut self, answer: &Answer<'_>) -> Result<Counted, Problem> {
        let offsets = &mut self.consumers[answer.link].offsets;
        let (topics, window, check_crc) = (self.topics, &self.window, self.check_crc);
        let mut counted = Counted::default();
        each_partition(
            answer.body,
            self.version,
            topics,
            &mut |place, partition| {
                let run = partition.records().unwrap_or(&[]);
                let offset = &mut offsets[place];
                step(run, offset, check_crc, &mut counted, &mut |_, _, _| Ok(()))?;
                if *offset >= window.end[place] {
                    *offset = window.start[place];
                }
                Ok(())
            },
        )?;
        Ok(counted)
    }
}

/// Walks the partitions of a Fetch response that holds no error.
///
/// # Errors
/// An error code, a partition that is not ours, or what `see` says of one.
pub(crate) fn each_partition(
    body: &[u8],
    version: i16,
    topics: &Topics,
    see: &mut dyn FnMut(usize, &fetch::PartitionDataView<'_>) -> Result<(), String>,
) -> Result<(i32, i16), Problem> {
    each_partition_but(body, version, topics, &mut |_| false, see)
}

/// The same, but `lost` hears of places whose offset is out of range, and says whether it minds not.
pub(crate) fn each_partition_but(
    body: &[u8],
    version: i16,
    topics: &Topics,
    lost: &mut dyn FnMut(usize) -> bool,
    see: &mut dyn FnMut(usize, &fetch::PartitionDataView<'_>) -> Result<(), String>,
) -> Result<(i32, i16), Problem> {
    let answer = fetch::ResponseView::parse_prefix(body, version)?.0;
    for topic in answer.responses() {
        let index = topics.find(topic.topic_id(), topic.topic());
        for partition in topic.partitions() {
            let number = partition.partition_index();
            let place = index.and_then(|index| topics.place(index, number));
            let place = place.ok_or_else(|| Problem::Protocol(format!("partition {number}")))?;
            if partition.error_code() == OFFSET_OUT_OF_RANGE && lost(place) {
                continue;
            }
            refused("Fetch", partition.error_code(), || topics.words(place))?;
            see(place, &partition).map_err(|text| {
                Problem::Verification(format!("{}: {text}", topics.words(place)))
            })?;
        }
    }
    Ok((answer.session_id(), answer.error_code()))
}
