//! Produce requests that are encoded once and sent many times. What changes with every send
//! (correlation id, stamp, timestamps, producer and sequence, checksum) stands in short stretches;
//! the rest is shared, and [`Seal`]s save touching it.

use std::{ops::Range, rc::Rc};

use bytes::{Bytes, BytesMut};
use klamm_model::{Timestamp, limits::BATCH_HEADER_BYTES};
use klamm_records::batch::{BatchBuilder, BatchOptions};
use klamm_wire::{encode_request, produce};

use crate::{
    control::CLIENT_ID,
    frame::{Cut, Frame, HEAD_BYTES},
    payload::{choose_key, fill},
    problem::Problem,
    schedule::Random,
    seal::Seal,
    stamp::{STAMP_BYTES, Stamp, mark, stamp_at},
    topics::{Topics, by_topic},
    workload::Workload,
};

/// Largest size of all frames together, in bytes: 50 KiB for each of ten thousand partitions fit.
const POOL_BYTES_MAX: usize = 640 << 20;

/// What a record's length and position cost at most, besides its key and value.
const RECORD_OVERHEAD_BYTES_MAX: usize = 32;

/// A run of shared bytes shorter than this is copied: another slice costs the kernel more.
const SHARED_BYTES_MIN: usize = 512;

/// Fields of a batch's head, by their first byte.
const CHECKSUM: usize = 17;
const COVERED_FROM: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;

/// A batch of a template.
#[derive(Clone, Debug)]
pub struct BatchPlace {
    /// Its partition among all.
    pub place: usize,
    /// Where the batch begins in the own bytes of the frame.
    own_at: usize,
    /// Where its changing stretch ends, counted from its first byte.
    changing: usize,
    /// Where the stamp begins, counted from its first byte.
    stamp_at: Option<usize>,
    seal: Rc<Seal>,
    /// Records in it.
    pub records: u64,
    /// Checksum of the batch as it was built: what marks a batch that is sent unchanged.
    pub checksum: u32,
}

/// One Produce request.
#[derive(Clone, Debug)]
pub struct Template {
    own: Vec<u8>,
    shared: Rc<[u8]>,
    cuts: Rc<[Cut]>,
    /// Its batches, one a partition.
    pub batches: Vec<BatchPlace>,
    /// Bytes of all batches, as the log keeps them.
    pub bytes: u64,
    /// Records in all batches.
    pub records: u64,
}

/// The idempotence triple that a batch is sent with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Producer {
    /// Id from InitProducerId.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of the batch's first record in its partition.
    pub sequence: i32,
}

/// What is written into a batch before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Its stamp, written where the batch has a place for one.
    pub stamp: Stamp,
    /// Its producer, if idempotent.
    pub producer: Option<Producer>,
}

impl Template {
    /// The frame with a mark in each batch.
    #[must_use]
    pub fn marked(&self, mut mark: impl FnMut(&BatchPlace) -> Mark) -> Frame {
        let mut own = self.own.clone();
        for batch in &self.batches {
            let bytes = &mut own[batch.own_at..batch.own_at + batch.changing];
            write_mark(bytes, batch, &mark(batch));
        }
        Frame::cut(own, Rc::clone(&self.shared), Rc::clone(&self.cuts))
    }

    /// The frame as it was built.
    #[must_use]
    pub fn unmarked(&self) -> Frame {
        let (own, shared) = (self.own.clone(), Rc::clone(&self.shared));
        Frame::cut(own, shared, Rc::clone(&self.cuts))
    }
}

fn write_mark(bytes: &mut [u8], batch: &BatchPlace, mark: &Mark) {
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    if let Some(producer) = mark.producer {
        put(PRODUCER_ID, &producer.id.to_be_bytes());
        put(PRODUCER_EPOCH, &producer.epoch.to_be_bytes());
        put(BASE_SEQUENCE, &producer.sequence.to_be_bytes());
    }
    if let Some(at) = batch.stamp_at {
        // All records of a batch have its base timestamp: their deltas are zero.
        let milliseconds = (mark.stamp.intended_ns / 1_000_000).to_be_bytes();
        put(BASE_TIMESTAMP, &milliseconds);
        put(MAX_TIMESTAMP, &milliseconds);
        let mut stamp = [0; STAMP_BYTES];
        mark.stamp.write(&mut stamp);
        put(at, &stamp);
    }
    let checksum = batch.seal.checksum(&bytes[COVERED_FROM..]);
    bytes[CHECKSUM..COVERED_FROM].copy_from_slice(&checksum.to_be_bytes());
}

/// The frames of a workload: for each group of partitions some variants.
#[derive(Clone, Debug)]
pub struct Pool {
    templates: Vec<Template>,
    variants: usize,
}

impl Pool {
    /// Encodes all frames. `now` stamps the records that are sent unmarked.
    ///
    /// # Errors
    /// A workload whose frames would not fit memory, or batches that cannot be built.
    pub fn new(
        workload: &Workload,
        topics: &Topics,
        version: i16,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let mut random = Random::new(0x006b_6c61_6d6d);
        let places: Vec<usize> = (0..topics.places()).collect();
        let mut templates = Vec::new();
        let mut pooled = 0;
        for group in places.chunks(workload.partitions_per_request) {
            for _ in 0..workload.variants {
                let template = template(workload, topics, version, now, group, &mut random)?;
                pooled += template.own.len() + template.shared.len();
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

    /// All frames.
    #[must_use]
    pub fn all(&self) -> &[Template] {
        &self.templates
    }

    /// Records and bytes of a request, on average over the pool.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sizes of a pool fit a double")]
    pub fn mean_request(&self) -> (f64, f64) {
        let count = self.templates.len() as f64;
        let records: u64 = self.templates.iter().map(|template| template.records).sum();
        let bytes: u64 = self.templates.iter().map(|template| template.bytes).sum();
        (records as f64 / count, bytes as f64 / count)
    }
}

fn template(
    workload: &Workload,
    topics: &Topics,
    version: i16,
    now: Timestamp,
    group: &[usize],
    random: &mut Random,
) -> Result<Template, Problem> {
    let mut built = Vec::new();
    let mut topic_data = Vec::new();
    for (topic, partitions) in by_topic(topics, group) {
        let mut partition_data = Vec::new();
        for (place, index) in partitions {
            let (batch, records) = batch(workload, now, random)?;
            let batch = Bytes::from(batch);
            partition_data.push(produce::PartitionProduceData {
                index,
                records: Some(batch.clone().into()),
            });
            built.push((place, batch, records));
        }
        topic_data.push(produce::TopicProduceData {
            name: topic.name.as_str().into(),
            topic_id: topic.id,
            partition_data,
        });
    }
    let request = produce::Request {
        transactional_id: None,
        acks: workload.acks,
        timeout_ms: 30_000,
        topic_data,
    };
    let mut frame = BytesMut::new();
    encode_request(&request, version, 0, Some(CLIENT_ID), &mut frame)?;
    cut_up(&frame, built, workload.stamped())
}

/// Divides an encoded frame into what changes and what is shared.
fn cut_up(
    frame: &[u8],
    built: Vec<(usize, Bytes, u64)>,
    stamped: bool,
) -> Result<Template, Problem> {
    let shared: Rc<[u8]> = Rc::from(frame);
    let mut template = Template {
        own: Vec::new(),
        shared,
        cuts: Rc::from([]),
        batches: Vec::new(),
        bytes: 0,
        records: 0,
    };
    let mut cuts = Vec::new();
    let mut taken = 0;
    for (place, batch, records) in built {
        let at = find(frame, taken.max(HEAD_BYTES), &batch)?;
        let stamp = if stamped { stamp_at(&batch) } else { None };
        let changing = stamp.map_or(BATCH_HEADER_BYTES, |at| at + STAMP_BYTES);
        let rest = at.start + changing..at.end;
        template.batches.push(BatchPlace {
            place,
            own_at: template.own.len() + (at.start - taken),
            changing,
            stamp_at: stamp,
            seal: Rc::new(Seal::new(&frame[rest.clone()])),
            records,
            checksum: klamm_records::batch::checksum_of(&batch),
        });
        template.bytes += batch.len() as u64;
        template.records += records;
        if rest.len() < SHARED_BYTES_MIN {
            template.own.extend_from_slice(&frame[taken..at.end]);
        } else {
            template.own.extend_from_slice(&frame[taken..rest.start]);
            let own_end = template.own.len();
            cuts.push(Cut {
                own_end,
                shared: rest,
            });
        }
        taken = at.end;
    }
    template.own.extend_from_slice(&frame[taken..]);
    if cuts
        .last()
        .is_none_or(|cut| cut.own_end < template.own.len())
    {
        let own_end = template.own.len();
        cuts.push(Cut {
            own_end,
            shared: 0..0,
        });
    }
    template.cuts = Rc::from(cuts);
    Ok(template)
}

fn find(frame: &[u8], from: usize, batch: &[u8]) -> Result<Range<usize>, Problem> {
    let found = frame[from..]
        .windows(batch.len())
        .position(|bytes| bytes == batch);
    let found = found.ok_or_else(|| Problem::Protocol("batch not found in its frame".into()))?;
    Ok(from + found..from + found + batch.len())
}

/// A batch of the workload, and how many records it holds: as many as fit, or as it says.
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
    let mut key = vec![0; workload.key_bytes];
    let record_bytes_max = workload.record_bytes + workload.key_bytes + RECORD_OVERHEAD_BYTES_MAX;
    let records_max = i32::try_from(workload.batch_records).unwrap_or(i32::MAX);
    loop {
        fill(workload.payload, &mut value, random);
        if builder.is_empty() && workload.stamped() {
            mark(&mut value);
        }
        choose_key(&mut key, workload.keys, random);
        let key = (!key.is_empty()).then_some(&key[..]);
        builder.append(now, key, Some(&value), &[]);
        let full = builder.size_uncompressed() + record_bytes_max > workload.batch_bytes;
        if full || builder.record_count() >= records_max {
            break;
        }
    }
    let records = u64::try_from(builder.record_count()).unwrap_or(0);
    let built = builder
        .build()
        .map_err(|error| Problem::Workload(error.to_string()))?;
    Ok((built, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{topics::Topic, workload::Mode, written::WrittenWorkload};
    use klamm_records::batch::{batches, verify};
    use klamm_wire::{MessageView, RequestHeader};

    fn pool(written: WrittenWorkload, mode: Mode) -> Pool {
        let workload = written.check(mode).expect("a workload");
        let names = workload.topic_names().into_iter().enumerate();
        let list = names.map(|(index, name)| Topic {
            name,
            id: [u8::try_from(index).expect("few") + 1; 16],
        });
        let partitions = usize::try_from(workload.partitions).expect("positive");
        let topics = Topics::new(list.collect(), partitions);
        Pool::new(&workload, &topics, 13, Timestamp(1)).expect("frames")
    }

    fn marked(number: u64, producer: Option<Producer>) -> impl FnMut(&BatchPlace) -> Mark {
        move |batch| Mark {
            stamp: Stamp {
                run: 1,
                stream: 2,
                number: number + batch.place as u64,
                intended_ns: 1_700_000_000_123_456_789,
            },
            producer,
        }
    }

    /// The batches of a frame, in order, with valid checksums.
    fn opened(frame: &[u8]) -> Vec<(i32, Vec<u8>)> {
        let size = i32::from_be_bytes(*frame.first_chunk().expect("a size"));
        assert_eq!(usize::try_from(size), Ok(frame.len() - 4));
        let (header, body) = RequestHeader::parse(&frame[4..]).expect("a header");
        let request = produce::RequestView::parse(body, header.version).expect("a request");
        let mut found = Vec::new();
        for topic in request.topic_data() {
            for partition in topic.partition_data() {
                let run = partition.records().expect("records");
                assert_eq!(batches(run).count(), 1);
                verify(run).expect("a valid batch");
                found.push((partition.index(), run.to_vec()));
            }
        }
        found
    }

    fn check(written: WrittenWorkload, mode: Mode) {
        let pool = pool(written, mode);
        let producer = Producer {
            id: 77,
            epoch: 3,
            sequence: 500,
        };
        for template in pool.all() {
            let plain = opened(&template.unmarked().to_vec());
            assert_eq!(plain.len(), template.batches.len());
            let frame = template.marked(marked(9, Some(producer))).to_vec();
            let sent = opened(&frame);
            let bytes: usize = sent.iter().map(|(_, run)| run.len()).sum();
            assert_eq!(bytes as u64, template.bytes);
            for ((_, run), batch) in sent.iter().zip(&template.batches) {
                let header = verify(run).expect("valid");
                assert_eq!(u64::try_from(header.record_count), Ok(batch.records));
                let stamp = header.producer.expect("idempotent");
                assert_eq!((stamp.id.0, stamp.base_sequence.0), (77, 500));
                let stamp = Stamp::of(&header, run);
                let number = stamp.map(|stamp| stamp.number);
                let expected = batch.stamp_at.map(|_| 9 + batch.place as u64);
                assert_eq!(number, expected);
            }
        }
    }

    #[test]
    fn marked_frames_hold_valid_batches_of_every_shape() {
        let batched = WrittenWorkload {
            topics: Some(2),
            partitions: Some(3),
            partitions_per_request: Some(4),
            ..WrittenWorkload::default()
        };
        check(batched.clone(), Mode::Produce);
        check(batched.clone(), Mode::Requests);
        let keyed = WrittenWorkload {
            key_bytes: Some(8),
            batch_bytes: Some(2048),
            ..batched.clone()
        };
        check(keyed, Mode::Produce);
        let packed = WrittenWorkload {
            codec: Some("lz4".into()),
            ..batched.clone()
        };
        check(packed, Mode::Produce);
        let tiny = WrittenWorkload {
            record_bytes: Some(10),
            ..batched.clone()
        };
        check(tiny, Mode::Produce);
        let large = WrittenWorkload {
            record_bytes: Some(10_240),
            batch_bytes: Some(1_000_000),
            partitions_per_request: Some(1),
            ..batched
        };
        check(large, Mode::Produce);
    }

    #[test]
    fn batches_are_filled_and_requests_hold_one_record() {
        let written = WrittenWorkload::default();
        let full = pool(written.clone(), Mode::Produce);
        assert!(full.get(0).bytes > 15 << 10 && full.get(0).bytes <= 16 << 10);
        let one = pool(written.clone(), Mode::Requests);
        assert_eq!(one.get(0).records, 1);
        assert!(one.get(0).unmarked().size() < 300);
        let some = WrittenWorkload {
            batch_records: Some(7),
            ..written
        };
        assert_eq!(pool(some, Mode::Produce).mean_request().0, 7.0);
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
