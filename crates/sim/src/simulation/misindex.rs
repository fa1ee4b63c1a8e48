//! Index files that are not what their batches say (L4): every record is read at its offset and
//! found by its time all the same, and what was read leaves a right index behind.

use klamm_engine::api::{Call, OffsetPosition, OffsetQuestion, OffsetsCall, Reply, Ticket};
use klamm_engine::boot::Finding;
use klamm_engine::metadata::ConfigMap;
use klamm_model::{IsolationLevel, Offset, ShardId, Timestamp, TopicPartition};
use klamm_records::segment::{OFFSET_ENTRY_BYTES, partition_folder, rebuild_indexes};

use super::Simulation;
use super::lives::End;
use crate::check::{
    Violation, dump, ensure, reads_return_exactly_what_was_appended,
    times_find_the_first_late_record,
};
use crate::world::node::{LifeOptions, SimNode, Started};

const INVARIANT: &str = "a_wrong_index_costs_no_answer";

impl Simulation {
    /// A run at whose end the index files are harmed.
    pub(super) fn live_and_misindex(&mut self) -> Result<(), Violation> {
        self.begin(false, false)?;
        for _ in 0..self.random.between(300, 2500) {
            self.step(false)?;
        }
        let end = *self
            .random
            .pick(&[End::Kill, End::Stop { power_cut: true }])
            .expect("there are some");
        self.end(end)?;
        let paths: Vec<String> = self.index_files();
        let share = [10, 50, 100][self.random.below(3)];
        for path in paths {
            if self.random.chance(share) {
                self.harm(&path);
                self.stats.damaged += 1;
            }
        }
        let life = LifeOptions::draw(&mut self.random, None);
        let started = SimNode::start(life, self.now, &mut self.disk, None);
        let (node, started) =
            started.map_err(|failed| Violation::new(INVARIANT, format!("{failed:?}")))?;
        self.node = Some(node);
        self.move_clients();
        self.judge_start(&started)?;
        self.wait_until("everything is quiet", Self::is_quiet)?;
        let ends = started.log_ends.iter();
        let ends = ends.filter(|(partition, _)| **partition != TopicPartition::METADATA);
        let ends: Vec<(TopicPartition, i64)> = ends.map(|(&at, end)| (at, end.0)).collect();
        for &(partition, end) in &ends {
            for at in 0..end {
                self.read_one(partition, at, end)?;
            }
            self.find_times(partition, end)?;
        }
        self.wait_until("everything is quiet", Self::is_quiet)?;
        self.indexes_are_right(&ends)
    }

    fn index_files(&self) -> Vec<String> {
        let folders = self.disk.list("").unwrap_or_default();
        let files = folders.into_iter().flat_map(|folder| {
            let names = self.disk.list(&folder).unwrap_or_default();
            let names = names.into_iter().filter(|name| name.ends_with("index"));
            names.map(move |name| format!("{folder}/{name}"))
        });
        files.collect()
    }

    fn harm(&mut self, path: &str) {
        let Some(node) = self.disk.file(path) else {
            return;
        };
        let length = self.disk.bytes(node).len();
        let kind = self.random.below(7);
        self.trace.event(format_args!("harm {kind} to {path}"));
        let mut noise = |bytes: usize| -> Vec<u8> {
            (0..bytes).map(|_| self.random.below(256) as u8).collect()
        };
        match kind {
            0 => {
                self.disk.remove(path);
            }
            1 => {
                let kept = self.random.below(length + 1);
                self.disk.truncate(node, kept);
            }
            2 => self.disk.write(node, 0, &vec![0; length]),
            3 => {
                let bytes = noise(96 + length % 8);
                self.disk.write(node, 0, &bytes);
            }
            4 => {
                let bytes = noise(24);
                self.disk.write(node, length, &bytes);
            }
            _ if length > 0 => {
                let at = self.random.below(length);
                self.disk.flip(node, at, self.random.below(8) as u8);
            }
            _ => {}
        }
    }

    /// Nothing is lost, and nothing else is told than that indexes were made anew.
    fn judge_start(&mut self, started: &Started) -> Result<(), Violation> {
        for finding in &started.findings {
            let is_expected = matches!(
                finding,
                Finding::IndexesMade { .. }
                    | Finding::TornTail { .. }
                    | Finding::UnknownWalFile { .. }
            );
            ensure!(
                INVARIANT,
                is_expected,
                "only indexes were harmed: {finding}"
            );
            let is_told = matches!(finding, Finding::IndexesMade { .. });
            self.stats.damage_told += u64::from(is_told);
        }
        let there = |partition: &TopicPartition| started.log_ends.contains_key(partition);
        self.ledger.logs.retain(|partition, _| there(partition));
        for (partition, log) in &mut self.ledger.logs {
            log.high_watermark = 0;
            let end = started.log_ends.get(partition).map_or(0, |end| end.0);
            ensure!(
                INVARIANT,
                end >= log.end(),
                "{partition} ended at {}, and ends at {end}",
                log.end()
            );
        }
        Ok(())
    }

    fn read_one(&mut self, partition: TopicPartition, at: i64, end: i64) -> Result<(), Violation> {
        let read = self.read_now(partition, at)?;
        let [outcome] = &read.outcomes[..] else {
            let what = format!("a read has {} outcomes", read.outcomes.len());
            return Err(Violation::new(INVARIANT, what));
        };
        ensure!(
            INVARIANT,
            outcome.error.is_none(),
            "{partition}: reading {at} gives {:?}",
            outcome.error
        );
        let bytes = read.records_of(outcome).concat();
        let high_watermark = outcome.positions.map_or(0, |found| found.high_watermark.0);
        let next = reads_return_exactly_what_was_appended::check(
            &mut self.ledger,
            partition,
            at,
            high_watermark,
            &bytes,
        )?;
        ensure!(
            INVARIANT,
            next > at,
            "{partition}: nothing is read at {at} of {end}"
        );
        Ok(())
    }

    /// Asks for the time of every record.
    fn find_times(&mut self, partition: TopicPartition, end: i64) -> Result<(), Violation> {
        let known = self.ledger.logs.get(&partition);
        let known = known.into_iter().flat_map(|log| log.known.values());
        let times = known.flat_map(|known| {
            let sent = self.ledger.sent.get(&known.number);
            sent.into_iter().flat_map(|sent| sent.timestamps.clone())
        });
        let mut times: Vec<i64> = times.collect();
        times.sort_unstable();
        times.dedup();
        for at in times {
            let position = OffsetPosition::At(Timestamp(at));
            let found = self.find_now(partition, position)?;
            times_find_the_first_late_record::check(&self.ledger, partition, at, end, found)?;
        }
        Ok(())
    }

    fn find_now(
        &mut self,
        partition: TopicPartition,
        position: OffsetPosition,
    ) -> Result<Option<(i64, Option<i64>)>, Violation> {
        let question = OffsetQuestion {
            partition,
            leader_epoch: None,
            position,
        };
        let call = Call::Offsets(OffsetsCall {
            isolation: IsolationLevel::ReadUncommitted,
            partitions: vec![question],
        });
        let Reply::Offsets(outcomes) = self.ask_now(partition, call)? else {
            let what = format!("{position:?} is answered by something else");
            return Err(Violation::new(INVARIANT, what));
        };
        match outcomes.first() {
            Some(Ok(found)) => Ok(found
                .as_ref()
                .map(|found| (found.offset.0, found.timestamp.map(|time| time.0)))),
            other => {
                let what = format!("{partition}: {position:?} gives {other:?}");
                Err(Violation::new(INVARIANT, what))
            }
        }
    }

    /// Asks, and lets everything happen until the answer comes.
    pub(super) fn ask_now(
        &mut self,
        partition: TopicPartition,
        call: Call,
    ) -> Result<Reply, Violation> {
        /// Happenings after which an answer is overdue.
        const PATIENCE: usize = 100_000;
        let number = self.next_call;
        self.next_call += 1;
        let ticket = Ticket {
            shard: ShardId(0),
            call: number,
        };
        let now = self.now;
        let home = partition.home(self.node().shards());
        self.node().call(now, ticket, home, call);
        for _ in 0..PATIENCE {
            if let Some((_, reply)) = self.node().take_replies().pop() {
                return Ok(reply);
            }
            let happenings = self.node().happenings();
            let Some(&what) = happenings.first() else {
                break;
            };
            let node = self.node.as_mut().expect("the node is up");
            node.happen(now, &mut self.disk, what);
        }
        let what = format!("{partition}: a question is never answered");
        Err(Violation::new(INVARIANT, what))
    }

    /// The offset index of every closed segment that was read is what its batches give.
    fn indexes_are_right(&mut self, ends: &[(TopicPartition, i64)]) -> Result<(), Violation> {
        let all = dump::dump(&self.disk);
        let image = self.image(0);
        for &(partition, _) in ends {
            let Some(topic) = image.topic_by_id(partition.topic) else {
                continue;
            };
            let interval = topic.config(&ConfigMap::new()).index_interval_bytes as usize;
            let folder = partition_folder(topic.name(), partition.index);
            let Some(files) = all.get(&folder) else {
                continue;
            };
            let last = files.segments.last_key_value().map(|(&base, _)| base);
            for (&base, segment) in &files.segments {
                let rebuilt = rebuild_indexes(&segment.log, Offset(base), interval);
                let found = &segment.offset_index;
                ensure!(
                    INVARIANT,
                    Some(base) == last || is_whole(found, &rebuilt.offset_index),
                    "{partition}: the offset index of segment {base} is {:?}, its batches give {:?}",
                    segment.offset_index,
                    rebuilt.offset_index
                );
            }
        }
        Ok(())
    }
}

/// The index is what the batches give, except that of its last entries those may be missing that
/// stand closer than any two before: nobody can tell, and nobody has to read further for it.
fn is_whole(found: &[u8], rebuilt: &[u8]) -> bool {
    let position =
        |entry: &[u8]| i64::from(u32::from_be_bytes([entry[4], entry[5], entry[6], entry[7]]));
    let positions: Vec<i64> = found
        .chunks_exact(OFFSET_ENTRY_BYTES)
        .map(position)
        .collect();
    let last = rebuilt
        .chunks_exact(OFFSET_ENTRY_BYTES)
        .last()
        .map(position);
    let (Some(&known), Some(last)) = (positions.last(), last) else {
        return found == rebuilt;
    };
    let gaps = positions.windows(2).map(|pair| pair[1] - pair[0]);
    rebuilt.starts_with(found) && last - known <= gaps.min().unwrap_or(known)
}
