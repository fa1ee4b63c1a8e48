//! What the clients of a world know for certain: what they sent, and where it was said to lie.

use std::collections::BTreeMap;

use bytes::Bytes;
use klamm_model::{LeaderEpoch, TopicPartition};

/// What a known batch survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survives {
    /// The death of the process.
    Kill,
    /// Loss of power.
    PowerCut,
}

/// A batch that a producer sent, under a number of its own.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where to.
    pub partition: TopicPartition,
    /// The bytes as they were sent.
    pub bytes: Bytes,
    /// Timestamp of each record.
    pub timestamps: Vec<i64>,
}

/// A batch whose place is known, by an acknowledgement or because it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which batch.
    pub number: u64,
    /// Offset after its last record.
    pub end: i64,
    /// What it survives.
    pub survives: Survives,
}

/// What is known of one partition's log.
#[derive(Clone, Debug, Default)]
pub struct LogLedger {
    /// By base offset.
    pub known: BTreeMap<i64, Known>,
    /// Of a compacted log: records that were acknowledged or seen, by their offsets.
    pub records: BTreeMap<i64, (u64, u8)>,
    /// Largest high watermark seen in this life.
    pub high_watermark: i64,
    /// Largest start of the log seen, in all lives.
    pub log_start: i64,
    /// Largest start that anybody asked for.
    pub trim_asked: i64,
    /// End of the log when this life began.
    pub recovered_end: i64,
    /// Largest leader epoch seen, in all lives.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Largest leader epoch seen before this life.
    pub earlier_leader_epoch: Option<LeaderEpoch>,
}

impl LogLedger {
    /// End of the last known batch.
    #[must_use]
    pub fn end(&self) -> i64 {
        let known = self
            .known
            .last_key_value()
            .map_or(0, |(_, known)| known.end);
        known.max(self.recovered_end)
    }

    /// Everything before `end` survives a power cut.
    pub fn is_durable_before(&mut self, end: i64) {
        for (_, known) in self.known.range_mut(..end).rev() {
            if known.survives == Survives::PowerCut {
                break;
            }
            known.survives = Survives::PowerCut;
        }
    }
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Batches by their numbers.
    pub sent: BTreeMap<u64, Sent>,
    /// Logs of topics that were not deleted, as far as is known.
    pub logs: BTreeMap<TopicPartition, LogLedger>,
    /// Producer ids that were given out: first and the one after the last.
    pub producer_ids: BTreeMap<i64, i64>,
}

impl Ledger {
    /// The log of a partition.
    pub fn log(&mut self, partition: TopicPartition) -> &mut LogLedger {
        self.logs.entry(partition).or_default()
    }
}

/// A batch as it lies in a log or in a reply, taken apart by the simplest means.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its base offset.
    pub base: i64,
    /// Offset after its last record.
    pub end: i64,
    /// All of its bytes.
    pub bytes: &'a [u8],
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl<'a> Stored<'a> {
    /// Takes a run of batches apart.
    ///
    /// # Errors
    /// The position at which no whole batch stands.
    pub fn all(bytes: &'a [u8]) -> Result<Vec<Self>, usize> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if rest.len() < 61 {
                return Err(at);
            }
            let length = i32::from_be_bytes(number_at(rest, 8));
            let size = usize::try_from(length).map_err(|_| at)? + 12;
            if size < 61 || size > rest.len() {
                return Err(at);
            }
            let base = i64::from_be_bytes(number_at(rest, 0));
            let delta = i32::from_be_bytes(number_at(rest, 23));
            out.push(Self {
                base,
                end: base + i64::from(delta) + 1,
                bytes: &rest[..size],
            });
            at += size;
        }
        Ok(out)
    }

    /// As [`Stored::all`], of a file that may still have room behind its batches.
    ///
    /// # Errors
    /// The position at which neither a whole batch stands nor nothing but zeros.
    pub fn before_room(bytes: &'a [u8]) -> Result<Vec<Self>, usize> {
        Self::all(bytes).or_else(|at| match bytes[at..].iter().all(|&byte| byte == 0) {
            true => Self::all(&bytes[..at]),
            false => Err(at),
        })
    }

    /// The number under which it was sent: the last eight bytes of its last value, which one byte
    /// follows.
    #[must_use]
    pub fn number(&self) -> u64 {
        let at = self.bytes.len() - 9;
        u64::from_be_bytes(number_at(self.bytes, at))
    }

    /// The reign in which it was written.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(number_at(self.bytes, 12))
    }

    /// Producer id, epoch and base sequence.
    #[must_use]
    pub fn producer(&self) -> (i64, i16, i32) {
        (
            i64::from_be_bytes(number_at(self.bytes, 43)),
            i16::from_be_bytes(number_at(self.bytes, 51)),
            i32::from_be_bytes(number_at(self.bytes, 53)),
        )
    }

    /// True if it is what was sent, but for base offset and leader epoch.
    #[must_use]
    pub fn is(&self, sent: &Sent) -> bool {
        self.bytes[8..12] == sent.bytes[8..12] && self.bytes[16..] == sent.bytes[16..]
    }
}
