//! A reader of one partition: goes through it, begins anew, waits for more, asks for times.

use std::time::Duration;

use klamm_engine::api::{
    Call, OffsetPosition, OffsetQuestion, OffsetsCall, ReadCall, ReadPartition, WatchCall,
};
use klamm_model::{Instant, IsolationLevel, Offset, Timestamp, TopicPartition};

use super::Named;
use crate::random::Random;

/// What a reader has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Batches from this offset on.
    Read(i64),
    /// To be told of more.
    Watch,
    /// The offset at a time.
    Time(i64),
    /// The log's end.
    Latest,
    /// The log's start.
    Earliest,
}

/// A question under way, with what was known when it was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The call that it travels in.
    pub call: u64,
    /// To which partition.
    pub partition: TopicPartition,
    /// What.
    pub question: Question,
    /// Where the log was known to begin.
    pub known_start: i64,
    /// End of what was known to be committed.
    pub known_end: i64,
}

/// One reader.
#[derive(Clone, Debug)]
pub struct Reader {
    /// What it reads.
    pub named: Named,
    /// Its core in this life.
    pub shard: u16,
    /// Where it stands.
    pub offset: i64,
    /// In which partition.
    pub target: Option<TopicPartition>,
    /// What it waits for.
    pub asked: Option<Asked>,
}

impl Reader {
    /// A reader at the beginning.
    #[must_use]
    pub const fn new(named: Named) -> Self {
        Self {
            named,
            shard: 0,
            offset: 0,
            target: None,
            asked: None,
        }
    }

    /// The node died.
    pub const fn on_crash(&mut self) {
        self.asked = None;
    }

    /// What it asks next. `calm` is for the end: only reads, always onwards.
    pub fn wish(
        &mut self,
        random: &mut Random,
        found: Option<TopicPartition>,
        now: Instant,
        wall: i64,
        calm: bool,
    ) -> Option<(TopicPartition, Question, Call)> {
        if self.asked.is_some() {
            return None;
        }
        let partition = found?;
        if self.target != found {
            self.target = found;
            self.offset = 0;
        }
        let isolation = IsolationLevel::ReadUncommitted;
        let dice = if calm { 0 } else { random.below(100) };
        if (70..80).contains(&dice) {
            self.offset = if random.chance(50) {
                0
            } else {
                random.below(self.offset as usize + 1) as i64
            };
        }
        if dice < 80 {
            let bytes_max = [1, 300, 1500, 6000, 1 << 20][random.below(5)];
            let part = ReadPartition {
                partition,
                offset: Offset(self.offset),
                leader_epoch: None,
                last_epoch: None,
                bytes_max: bytes_max.max(random.between(1, 9000)),
            };
            let call = Call::Read(ReadCall::new(isolation, bytes_max, vec![part]));
            return Some((partition, Question::Read(self.offset), call));
        }
        if dice < 88 {
            let call = Call::Watch(WatchCall {
                positions: vec![(partition, Offset(self.offset))],
                isolation,
                bytes_min: random.between(1, 3000),
                deadline: now.plus(Duration::from_millis(random.between(1, 2000) as u64)),
            });
            return Some((partition, Question::Watch, call));
        }
        let (question, position) = match dice {
            88..96 => {
                let at = wall + random.below(4_000) as i64 - 6_000;
                (Question::Time(at), OffsetPosition::At(Timestamp(at)))
            }
            96..98 => (Question::Latest, OffsetPosition::Latest),
            _ => (Question::Earliest, OffsetPosition::Earliest),
        };
        let call = Call::Offsets(OffsetsCall {
            isolation,
            partitions: vec![OffsetQuestion {
                partition,
                leader_epoch: None,
                position,
            }],
        });
        Some((partition, question, call))
    }
}
