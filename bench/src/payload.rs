//! Frames that are encoded once and sent many times: only the correlation id changes.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use klamm_model::Timestamp;
use klamm_records::batch::{BatchBuilder, BatchOptions};
use klamm_wire::{encode_request, produce};

use crate::{
    control::{CLIENT_ID, Topic},
    problem::Problem,
    schedule::Random,
    workload::Workload,
};

/// Largest size of all frames together, in bytes: they should stay in the caches' reach.
const POOL_BYTES_MAX: usize = 256 << 20;

/// What a record's length and position cost at most, besides its value.
const RECORD_OVERHEAD_BYTES_MAX: usize = 32;

/// One Produce request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Template {
    /// The whole frame, with its size, and 0 as correlation id.
    pub frame: Rc<[u8]>,
    /// Partitions in it, each with one batch.
    pub partitions: Vec<i32>,
    /// Records of each batch.
    pub records_per_batch: u64,
    /// Bytes of all batches, as the log keeps them.
    pub bytes: u64,
}

/// The frames of a workload: for each group of partitions some variants.
#[derive(Clone, Debug)]
pub struct Pool {
    templates: Vec<Template>,
    variants: usize,
}

impl Pool {
    /// Encodes all frames. `now` stamps the records.
    ///
    /// # Errors
    /// A workload whose frames would not fit memory, or batches that cannot be built.
    pub fn new(
        workload: &Workload,
        topic: &Topic,
        version: i16,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let mut random = Random::new(0x006b_6c61_6d6d);
        let partitions: Vec<i32> = (0..topic.partitions).collect();
        let mut templates = Vec::new();
        let mut pooled = 0;
        for group in partitions.chunks(workload.partitions_per_request) {
            for _ in 0..workload.variants {
                let template = template(workload, topic, version, now, group, &mut random)?;
                pooled += template.frame.len();
                if pooled > POOL_BYTES_MAX {
                    let text = format!("frames would take more than {POOL_BYTES_MAX} bytes");
                    return Err(Problem::Workload(text));
                }
                templates.push(template);
            }
        }
        Ok(Self {
            templates,
            variants: workload.variants,
        })
    }

    /// Index of the frame that connection `link` sends as its `turn`-th: the groups in turn, each
    /// time another variant.
    #[must_use]
    pub fn choose(&self, link: usize, turn: usize) -> usize {
        let groups = self.templates.len() / self.variants;
        let group = (link + turn) % groups;
        group * self.variants + (turn / groups) % self.variants
    }

    /// The frame of an index.
    #[must_use]
    pub fn get(&self, index: usize) -> &Template {
        &self.templates[index]
    }
}

fn template(
    workload: &Workload,
    topic: &Topic,
    version: i16,
    now: Timestamp,
    group: &[i32],
    random: &mut Random,
) -> Result<Template, Problem> {
    let mut bytes = 0;
    let mut records_per_batch = 0;
    let mut partition_data = Vec::new();
    for &index in group {
        let (batch, records) = batch(workload, now, random)?;
        bytes += batch.len() as u64;
        records_per_batch = records;
        let records = Some(Bytes::from(batch).into());
        partition_data.push(produce::PartitionProduceData { index, records });
    }
    let topic_data = produce::TopicProduceData {
        name: topic.name.as_str().into(),
        topic_id: topic.id,
        partition_data,
    };
    let request = produce::Request {
        transactional_id: None,
        acks: workload.acks,
        timeout_ms: 30_000,
        topic_data: vec![topic_data],
    };
    let mut frame = BytesMut::new();
    encode_request(&request, version, 0, Some(CLIENT_ID), &mut frame)?;
    let frame = Rc::from(&frame[..]);
    Ok(Template {
        frame,
        partitions: group.to_vec(),
        records_per_batch,
        bytes,
    })
}

/// A batch of the workload, and how many records it holds: as many as fit, or one.
fn batch(
    workload: &Workload,
    now: Timestamp,
    random: &mut Random,
) -> Result<(Vec<u8>, u64), Problem> {
    let compressor = workload.compression().unwrap_or_default().into();
    let mut builder = BatchBuilder::new(BatchOptions {
        compressor,
        ..BatchOptions::default()
    });
    let mut value = vec![0; workload.record_bytes];
    let record_bytes_max = workload.record_bytes + RECORD_OVERHEAD_BYTES_MAX;
    loop {
        fill(&mut value, random);
        builder.append(now, None, Some(&value), &[]);
        let full = builder.size_uncompressed() + record_bytes_max > workload.batch_bytes;
        if full || workload.is_unbatched() {
            break;
        }
    }
    let records = u64::try_from(builder.record_count()).unwrap_or(0);
    let built = builder
        .build()
        .map_err(|error| Problem::Workload(error.to_string()))?;
    Ok((built, records))
}

/// Text of words from a small list: compresses about as well as logs do.
fn fill(value: &mut [u8], random: &mut Random) {
    const WORDS: [&[u8]; 16] = [
        b"offset ",
        b"broker ",
        b"41 ",
        b"leader ",
        b"epoch ",
        b"9f3c ",
        b"ack ",
        b"segment ",
        b"7 ",
        b"record ",
        b"batch ",
        b"2026-01-31 ",
        b"x ",
        b"warn ",
        b"follower ",
        b"0xb7e1 ",
    ];
    let mut filled = 0;
    while filled < value.len() {
        let bits = random.bits();
        let word = WORDS[usize::try_from(bits % 16).expect("below 16")];
        let room = (value.len() - filled).min(word.len());
        value[filled..filled + room].copy_from_slice(&word[..room]);
        filled += room;
        // A number now and then keeps repeated records apart.
        for byte in value[filled..].iter_mut().take(4) {
            *byte = b'a' + u8::try_from(random.bits() % 26).expect("below 26");
            filled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Mode, WrittenWorkload};
    use klamm_records::batch::{batches, verify};
    use klamm_wire::{MessageView, RequestHeader};

    fn pool(written: WrittenWorkload, mode: Mode) -> Pool {
        let workload = written.check(mode).expect("a workload");
        let partitions = workload.partitions;
        let topic = Topic {
            name: "t".to_owned(),
            id: [7; 16],
            partitions,
        };
        Pool::new(&workload, &topic, 13, Timestamp(1)).expect("frames")
    }

    #[test]
    fn frames_hold_whole_batches_with_valid_checksums_for_each_partition() {
        let written = WrittenWorkload {
            partitions: Some(6),
            partitions_per_request: Some(3),
            batch_bytes: Some(16 << 10),
            ..WrittenWorkload::default()
        };
        let pool = pool(written, Mode::Produce);
        assert_eq!(pool.templates.len(), 4);
        for template in &pool.templates {
            let (header, body) = RequestHeader::parse(&template.frame[4..]).expect("a header");
            let request = produce::RequestView::parse(body, header.version).expect("a request");
            let topic = request.topic_data().iter().next().expect("a topic");
            let mut bytes = 0;
            for partition in topic.partition_data() {
                let run = partition.records().expect("records");
                assert_eq!(batches(run).count(), 1);
                let batch = verify(run).expect("a valid batch");
                assert!(
                    batch.size <= 16 << 10 && batch.size > 15 << 10,
                    "{}",
                    batch.size
                );
                assert_eq!(
                    u64::try_from(batch.record_count),
                    Ok(template.records_per_batch)
                );
                bytes += run.len() as u64;
            }
            assert_eq!(bytes, template.bytes);
            assert_eq!(topic.partition_data().len(), template.partitions.len());
        }
    }

    #[test]
    fn unbatched_frames_hold_one_record() {
        let pool = pool(WrittenWorkload::default(), Mode::Requests);
        assert_eq!(pool.get(0).records_per_batch, 1);
        assert!(pool.get(0).frame.len() < 300);
    }

    #[test]
    fn connections_walk_all_groups_and_variants() {
        let written = WrittenWorkload {
            partitions: Some(3),
            ..WrittenWorkload::default()
        };
        let pool = pool(written, Mode::Produce);
        let chosen: Vec<usize> = (0..7).map(|turn| pool.choose(1, turn)).collect();
        assert_eq!(chosen, [2, 4, 0, 3, 5, 1, 2]);
    }
}
