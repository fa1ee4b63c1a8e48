//! The fetching load: each connection is a consumer with offsets of its own. Steps over batches by
//! their heads, without decoding records; offsets must follow each other without a gap.

use std::rc::Rc;

use bytes::BytesMut;
use klamm_records::batch::{BatchError, batches, verify};
use klamm_wire::{ApiKey, MessageView, encode_request, fetch};

use crate::{
    control::{CLIENT_ID, Topic, refused},
    drive::Load,
    problem::Problem,
    progress::Counted,
    workload::Workload,
};

/// Stands in a frame where an offset belongs, plus the partition's index.
const OFFSET_MARK: i64 = 0x5fed_cba9_8765_0000;

/// The request for one group of partitions; offsets are written in place.
#[derive(Debug)]
struct Plan {
    frame: Rc<[u8]>,
    /// Partition and where its offset stands in the frame.
    places: Vec<(usize, usize)>,
}

impl Plan {
    fn new(
        workload: &Workload,
        topic: &Topic,
        version: i16,
        group: &[i32],
    ) -> Result<Self, Problem> {
        let partitions = group
            .iter()
            .map(|&partition| fetch::FetchPartition {
                partition,
                fetch_offset: OFFSET_MARK + i64::from(partition),
                partition_max_bytes: workload.partition_bytes,
                ..Default::default()
            })
            .collect();
        let asked = fetch::FetchTopic {
            topic: topic.name.as_str().into(),
            topic_id: topic.id,
            partitions,
        };
        let request = fetch::Request {
            max_wait_ms: workload.max_wait_ms,
            min_bytes: workload.min_bytes,
            max_bytes: workload.fetch_bytes,
            topics: vec![asked],
            ..Default::default()
        };
        let mut frame = BytesMut::new();
        encode_request(&request, version, 0, Some(CLIENT_ID), &mut frame)?;
        let mut places = Vec::new();
        for &partition in group {
            let mark = (OFFSET_MARK + i64::from(partition)).to_be_bytes();
            let mut found = frame
                .windows(8)
                .enumerate()
                .filter(|(_, bytes)| *bytes == mark);
            let place = found.next().map(|(place, _)| place);
            let place = place.filter(|_| found.next().is_none()).ok_or_else(|| {
                Problem::Protocol(format!(
                    "offset of partition {partition} not found in frame"
                ))
            })?;
            places.push((usize::try_from(partition).expect("not negative"), place));
        }
        Ok(Self {
            frame: Rc::from(&frame[..]),
            places,
        })
    }

    fn at(&mut self, offsets: &[i64]) -> Rc<[u8]> {
        if Rc::get_mut(&mut self.frame).is_none() {
            self.frame = Rc::from(&self.frame[..]);
        }
        let frame = Rc::get_mut(&mut self.frame).expect("nobody shares the copy");
        for &(partition, place) in &self.places {
            frame[place..place + 8].copy_from_slice(&offsets[partition].to_be_bytes());
        }
        Rc::clone(&self.frame)
    }
}

#[derive(Debug)]
struct Consumer {
    plans: Vec<Plan>,
    turn: usize,
    offsets: Vec<i64>,
}

/// The part of the log that is fetched, by partition.
#[derive(Clone, Debug)]
pub struct Window {
    /// First offset.
    pub start: Vec<i64>,
    /// Where a consumer turns back to the start; `None` to follow the end.
    pub end: Option<Vec<i64>>,
}

/// Consumers on some connections.
#[derive(Debug)]
pub struct Consumers {
    consumers: Vec<Consumer>,
    version: i16,
    window: Window,
    check_crc: bool,
}

impl Consumers {
    /// Consumers that begin at the window's start.
    ///
    /// # Errors
    /// Frames that cannot be encoded.
    pub fn new(
        workload: &Workload,
        topic: &Topic,
        version: i16,
        window: Window,
    ) -> Result<Self, Problem> {
        let partitions: Vec<i32> = (0..topic.partitions).collect();
        let mut consumers = Vec::new();
        for turn in 0..workload.connections {
            let plans = partitions
                .chunks(workload.partitions_per_request)
                .map(|group| Plan::new(workload, topic, version, group))
                .collect::<Result<Vec<_>, _>>()?;
            consumers.push(Consumer {
                plans,
                turn,
                offsets: window.start.clone(),
            });
        }
        Ok(Self {
            consumers,
            version,
            window,
            check_crc: workload.check_crc,
        })
    }

    /// Next offset of each partition of the first consumer.
    #[must_use]
    pub fn offsets(&self) -> &[i64] {
        &self.consumers[0].offsets
    }
}

impl Load for Consumers {
    fn api(&self) -> (ApiKey, i16) {
        (ApiKey::Fetch, self.version)
    }

    fn next(&mut self, link: usize) -> (Rc<[u8]>, usize) {
        let consumer = &mut self.consumers[link];
        let group = consumer.turn % consumer.plans.len();
        consumer.turn += 1;
        (consumer.plans[group].at(&consumer.offsets), group)
    }

    fn answered(&mut self, link: usize, _: usize, body: &[u8]) -> Result<Counted, Problem> {
        let answer = fetch::ResponseView::parse_prefix(body, self.version)?.0;
        refused("Fetch", answer.error_code(), || {
            "the whole request".to_owned()
        })?;
        let offsets = &mut self.consumers[link].offsets;
        let mut counted = Counted::default();
        for partition in answer
            .responses()
            .into_iter()
            .flat_map(|topic| topic.partitions())
        {
            let index = partition.partition_index();
            refused("Fetch", partition.error_code(), || {
                format!("partition {index}")
            })?;
            let place = usize::try_from(index)
                .ok()
                .filter(|&place| place < offsets.len());
            let place = place.ok_or_else(|| Problem::Protocol(format!("partition {index}")))?;
            let run = partition.records().unwrap_or(&[]);
            step(run, &mut offsets[place], self.check_crc, &mut counted)
                .map_err(|text| Problem::Verification(format!("partition {index}: {text}")))?;
            if let Some(end) = &self.window.end
                && offsets[place] >= end[place]
            {
                offsets[place] = self.window.start[place];
            }
        }
        Ok(counted)
    }
}

/// Steps over the whole batches of `run`, which begins at or before `offset`, and moves `offset`
/// behind them. A batch cut off at the end is legal: the client fetches it again.
fn step(
    run: &[u8],
    offset: &mut i64,
    check_crc: bool,
    counted: &mut Counted,
) -> Result<(), String> {
    for item in batches(run) {
        let (header, bytes) = match item {
            Ok(item) => item,
            Err(BatchError::Incomplete { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let begins = header.base_offset.0;
        let end = header.end_offset().0;
        // A fetch from inside a batch returns it from its first record.
        if begins > *offset || end <= *offset {
            return Err(format!(
                "expected offset {offset}, found batch {begins} to {end}"
            ));
        }
        if check_crc {
            verify(bytes).map_err(|error| error.to_string())?;
        }
        counted.batches += 1;
        counted.records += u64::try_from(end - *offset).unwrap_or(0);
        counted.bytes += bytes.len() as u64;
        *offset = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::{Offset, Timestamp};
    use klamm_records::batch::{BatchBuilder, BatchOptions};

    fn batch(base: i64, records: usize) -> Vec<u8> {
        let options = BatchOptions {
            base_offset: Offset(base),
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for _ in 0..records {
            builder.append(Timestamp(1), None, Some(b"value"), &[]);
        }
        builder.build().expect("a batch")
    }

    fn stepped(run: &[u8], from: i64) -> Result<(i64, Counted), String> {
        let (mut offset, mut counted) = (from, Counted::default());
        step(run, &mut offset, true, &mut counted)?;
        Ok((offset, counted))
    }

    #[test]
    fn whole_batches_move_the_offset_and_a_cut_one_waits() {
        let mut run = [batch(10, 3), batch(13, 2)].concat();
        run.extend_from_slice(&batch(15, 9)[..40]);
        let (offset, counted) = stepped(&run, 10).expect("legal");
        assert_eq!((offset, counted.batches, counted.records), (15, 2, 5));
    }

    #[test]
    fn gap_repeat_and_damage_are_found() {
        assert!(
            stepped(&batch(11, 3), 10)
                .expect_err("gap")
                .contains("expected offset 10")
        );
        assert!(
            stepped(&batch(5, 3), 10)
                .expect_err("old")
                .contains("expected offset 10")
        );
        let mut damaged = batch(10, 3);
        *damaged.last_mut().expect("bytes") ^= 1;
        assert!(
            stepped(&damaged, 10)
                .expect_err("damage")
                .contains("checksum")
        );
    }

    #[test]
    fn fetch_from_inside_a_batch_counts_only_what_is_new() {
        let (offset, counted) = stepped(&batch(10, 5), 12).expect("legal");
        assert_eq!((offset, counted.records), (15, 3));
    }
}
