//! The producing load: frames of the pool in turn; every answer must be free of errors and its
//! offsets must grow. Counts what is acknowledged, for the verification.

use std::rc::Rc;

use klamm_wire::{ApiKey, MessageView, produce};

use crate::{control::refused, drive::Load, payload::Pool, problem::Problem, progress::Counted};

/// Producers on some connections.
#[derive(Debug)]
pub struct Producers {
    pool: Pool,
    version: i16,
    /// Requests sent, by connection.
    turns: Vec<usize>,
    /// Last base offset acknowledged, by connection and partition.
    last_offsets: Vec<Vec<i64>>,
    /// Records acknowledged, by partition.
    acknowledged: Vec<u64>,
}

impl Producers {
    /// Producers on `connections` connections to a topic of `partitions`.
    #[must_use]
    pub fn new(pool: Pool, version: i16, connections: usize, partitions: usize) -> Self {
        Self {
            pool,
            version,
            turns: vec![0; connections],
            last_offsets: vec![vec![-1; partitions]; connections],
            acknowledged: vec![0; partitions],
        }
    }

    /// Records acknowledged, by partition.
    #[must_use]
    pub fn acknowledged(&self) -> &[u64] {
        &self.acknowledged
    }
}

impl Load for Producers {
    fn api(&self) -> (ApiKey, i16) {
        (ApiKey::Produce, self.version)
    }

    fn next(&mut self, link: usize) -> (Rc<[u8]>, usize) {
        let index = self.pool.choose(link, self.turns[link]);
        self.turns[link] += 1;
        (Rc::clone(&self.pool.get(index).frame), index)
    }

    fn answered(&mut self, link: usize, tag: usize, body: &[u8]) -> Result<Counted, Problem> {
        let template = self.pool.get(tag);
        let answer = produce::ResponseView::parse_prefix(body, self.version)?.0;
        let partitions = answer
            .responses()
            .into_iter()
            .flat_map(|topic| topic.partition_responses().into_iter());
        let mut answered = 0;
        for partition in partitions {
            let index = partition.index();
            refused("Produce", partition.error_code(), || {
                format!(
                    "partition {index}: {}",
                    partition.error_message().unwrap_or("")
                )
            })?;
            let place = usize::try_from(index)
                .ok()
                .filter(|_| template.partitions.contains(&index))
                .ok_or_else(|| Problem::Protocol(format!("partition {index} was not sent")))?;
            let last = &mut self.last_offsets[link][place];
            if partition.base_offset() <= *last {
                let found = partition.base_offset();
                let text = format!("partition {index}: offset {found} comes after {last}");
                return Err(Problem::Verification(text));
            }
            *last = partition.base_offset();
            self.acknowledged[place] += template.records_per_batch;
            answered += 1;
        }
        if answered != template.partitions.len() {
            let text = format!(
                "{answered} of {} partitions answered",
                template.partitions.len()
            );
            return Err(Problem::Protocol(text));
        }
        let batches = answered as u64;
        let records = batches * template.records_per_batch;
        Ok(Counted {
            batches,
            records,
            bytes: template.bytes,
        })
    }
}
