//! A bit that flips where everything had been flushed (L3): it is found, never served, never cut
//! away in silence, and costs nothing but the batches that it hit.

use klamm_engine::api::{Call, ReadCall, ReadError, ReadPartition, Reply};
use klamm_engine::boot::Finding;
use klamm_model::{IsolationLevel, Offset, TopicPartition};
use klamm_records::wal::{EntryHead, FILE_HEAD_BYTES, FileHead, WalPosition, read_entry_head};

use super::lives::End;
use super::{Damage, Simulation};
use crate::check::ledger::Stored;
use crate::check::{Violation, dump, ensure, reads_return_exactly_what_was_appended};
use crate::world::disk::Node;
use crate::world::node::{LifeOptions, SimNode, Started};

pub(super) const INVARIANT: &str = "damage_is_found_named_and_never_served";

/// Where a bit was flipped.
#[derive(Clone, Copy, Debug)]
struct Hit {
    partition: TopicPartition,
    /// Offsets that may be refused.
    from: i64,
    to: i64,
}

/// A write-ahead file: its head, and its entries with their places behind that.
type WalFile = (Node, FileHead, Vec<(usize, EntryHead)>);

/// What the last of a file's entries says to have been durable.
fn flushed_of(entries: &[(usize, EntryHead)]) -> WalPosition {
    let flushed = entries.iter().map(|(_, entry)| entry.stamp.flushed);
    flushed.max().unwrap_or(WalPosition::ZERO)
}

impl Simulation {
    /// A run with damage at its end.
    pub(super) fn live_and_rot(&mut self, damage: Damage) -> Result<(), Violation> {
        self.begin(false, false)?;
        let steps = self.random.between(300, 2500);
        for _ in 0..steps {
            self.step(false)?;
        }
        let end = match damage {
            Damage::Segment | Damage::BaseOffset => End::Stop { power_cut: true },
            _ => End::Kill,
        };
        self.end(end)?;
        let hit = match damage {
            Damage::Segment | Damage::BaseOffset => self.flip_in_segment(damage),
            Damage::WalHead => self.spoil_wal_head(),
            _ => self.flip_in_wal(),
        };
        let Some(hit) = hit else { return Ok(()) };
        self.stats.damaged += 1;
        self.trace.event(format_args!("{hit:?}"));
        let life = LifeOptions::draw(&mut self.random, None);
        let started = SimNode::start(life, self.now, &mut self.disk, None);
        let (node, started) =
            started.map_err(|failed| Violation::new(INVARIANT, format!("{failed:?}")))?;
        self.node = Some(node);
        self.move_clients();
        let there = |partition: &TopicPartition| started.log_ends.contains_key(partition);
        self.ledger.logs.retain(|partition, _| there(partition));
        self.told(damage, hit, &started)?;
        self.wait_until("everything is quiet", Self::is_quiet)?;
        for (partition, end) in started.log_ends {
            if partition != TopicPartition::METADATA {
                self.read_all(partition, end.0, hit)?;
            }
        }
        Ok(())
    }

    /// Flips a bit of a batch in a segment.
    fn flip_in_segment(&mut self, damage: Damage) -> Option<Hit> {
        let partitions: Vec<TopicPartition> = self.ledger.logs.keys().copied().collect();
        let all = dump::dump(&self.disk);
        let mut candidates = Vec::new();
        for (folder, files) in &all {
            for (&base, segment) in &files.segments {
                let first = Stored::before_room(&segment.log)
                    .ok()?
                    .first()
                    .map(Stored::number);
                let sent = first.and_then(|number| self.ledger.sent.get(&number));
                let known = sent.filter(|sent| partitions.contains(&sent.partition));
                if let Some(sent) = known {
                    candidates.push((folder.clone(), base, sent.partition));
                }
            }
        }
        let (folder, base, partition) = self.random.pick(&candidates)?.clone();
        let segments = &all[&folder].segments;
        let end = segments.range(base + 1..).next().map(|(&next, _)| next);
        let node = self.disk.file(&format!("{folder}/{base:020}.log"))?;
        let stored = Stored::before_room(self.disk.bytes(node)).ok()?;
        let starts = stored.iter().scan(0, |at, batch| {
            let start = *at;
            *at += batch.bytes.len();
            Some((start, batch.bytes.len()))
        });
        let starts: Vec<(usize, usize)> = starts.collect();
        let &(start, size) = self.random.pick(&starts)?;
        // Kafka's checksum begins behind base offset and leader epoch: magic, checksum, the rest.
        let at = match damage {
            Damage::BaseOffset => start + self.random.below(8),
            _ => start + self.random.between(16, size - 1),
        };
        self.disk.flip(node, at, self.random.below(8) as u8);
        Some(Hit {
            partition,
            from: base,
            to: end.unwrap_or(i64::MAX),
        })
    }

    /// The entries of every write-ahead file, each with its place behind the file's head.
    fn wal_entries(&self) -> Vec<WalFile> {
        let mut files = Vec::new();
        for folder in self.disk.list("klamm").unwrap_or_default() {
            let path = format!("klamm/{folder}");
            for name in self.disk.list(&path).unwrap_or_default() {
                let path = format!("{path}/{name}");
                let Some(node) = self.disk.file(&path) else {
                    continue;
                };
                let bytes = self.disk.bytes(node);
                let Ok(head) = FileHead::decode(bytes) else {
                    continue;
                };
                let area = &bytes[FILE_HEAD_BYTES..];
                let mut entries = Vec::new();
                let mut at = 0;
                while let Some(rest) = area.get(at..) {
                    let place = head.start.plus(at);
                    let Ok(entry) = read_entry_head(rest, place, head.incarnation) else {
                        break;
                    };
                    entries.push((at, entry));
                    at += entry.entry_bytes();
                }
                files.push((node, head, entries));
            }
        }
        files
    }

    /// Spoils the head of a write-ahead file that is known to have been flushed.
    fn spoil_wal_head(&mut self) -> Option<Hit> {
        let mut files = self.wal_entries();
        files.retain(|(_, head, entries)| flushed_of(entries) > head.start);
        let &(node, ..) = self.random.pick(&files)?;
        match self.random.below(3) {
            0 => {
                // The bytes that are used.
                let at = self.random.below(40);
                self.disk.flip(node, at, self.random.below(8) as u8);
            }
            1 => self.disk.write(node, 0, &[0; FILE_HEAD_BYTES]),
            _ => {
                let noise = self.random.next().to_be_bytes();
                self.disk.write(node, 0, &noise.repeat(FILE_HEAD_BYTES / 8));
            }
        }
        // Nothing may be refused.
        let &partition = self.ledger.logs.keys().next()?;
        let (from, to) = (0, 0);
        Some(Hit {
            partition,
            from,
            to,
        })
    }

    /// Flips a bit of an entry of a write-ahead log that is known to have been flushed.
    fn flip_in_wal(&mut self) -> Option<Hit> {
        let mut candidates = Vec::new();
        for (node, _, entries) in self.wal_entries() {
            let flushed = flushed_of(&entries);
            let flushed = entries.iter().filter(|(_, entry)| entry.end() <= flushed);
            candidates.extend(flushed.map(|&(at, entry)| (node, at, entry)));
        }
        candidates.retain(|(_, _, entry)| self.ledger.logs.contains_key(&entry.partition));
        let (node, at, entry) = *self.random.pick(&candidates)?;
        let byte = FILE_HEAD_BYTES + at + self.random.below(entry.entry_bytes());
        self.disk.flip(node, byte, self.random.below(8) as u8);
        let base = entry.base_offset.0;
        let log = self.ledger.logs.get(&entry.partition)?;
        Some(Hit {
            partition: entry.partition,
            from: base,
            to: log.known.get(&base).map_or(base + 4, |known| known.end),
        })
    }

    /// Every log ends where it did, or what is missing was told.
    fn told(&mut self, damage: Damage, hit: Hit, started: &Started) -> Result<(), Violation> {
        let told = started
            .findings
            .iter()
            .filter(|finding| !matches!(finding, Finding::TornTail { .. }))
            .count();
        self.stats.damage_told += u64::from(told > 0);
        let in_doubt = |partition: &TopicPartition| {
            started.findings.iter().any(|finding| match finding {
                Finding::EndsInDoubt { partitions } => partitions.contains(partition),
                _ => false,
            })
        };
        for (partition, log) in &mut self.ledger.logs {
            log.high_watermark = 0;
            let end = started.log_ends.get(partition).map_or(0, |end| end.0);
            let shorter = end < log.end();
            // Only where nothing tells whose bytes were hit.
            let may = damage == Damage::Wal && *partition == hit.partition && in_doubt(partition);
            if shorter && may {
                self.stats.ends_in_doubt += 1;
            }
            ensure!(
                INVARIANT,
                !shorter || may,
                "{partition} ended at {}, and ends at {end} since a bit flipped at {hit:?}; told: {:?}",
                log.end(),
                started.findings
            );
        }
        Ok(())
    }

    /// Reads a whole log: what was hit is refused, everything else is there.
    fn read_all(&mut self, partition: TopicPartition, end: i64, hit: Hit) -> Result<(), Violation> {
        let mut at = 0;
        while at < end {
            let read = self.read_now(partition, at)?;
            let [outcome] = &read.outcomes[..] else {
                let what = format!("a read has {} outcomes", read.outcomes.len());
                return Err(Violation::new(INVARIANT, what));
            };
            match outcome.error {
                None => {
                    let bytes = read.records_of(outcome).concat();
                    let high_watermark =
                        outcome.positions.map_or(0, |found| found.high_watermark.0);
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
                    at = next;
                }
                Some(ReadError::Storage) => {
                    self.stats.damage_refused += 1;
                    ensure!(
                        INVARIANT,
                        partition == hit.partition && hit.from <= at && at < hit.to,
                        "{partition}: reading {at} is refused, but {hit:?} was hit"
                    );
                    at += 1;
                }
                Some(error) => {
                    ensure!(
                        INVARIANT,
                        false,
                        "{partition}: reading {at} gives {error:?}"
                    );
                }
            }
        }
        Ok(())
    }

    pub(super) fn read_now(
        &mut self,
        partition: TopicPartition,
        at: i64,
    ) -> Result<ReadCall, Violation> {
        let part = ReadPartition {
            partition,
            offset: Offset(at),
            leader_epoch: None,
            last_epoch: None,
            bytes_max: 2000,
        };
        let isolation = IsolationLevel::ReadUncommitted;
        let read = Call::Read(ReadCall::new(isolation, 2000, vec![part]));
        match self.ask_now(partition, read)? {
            Reply::Read(read) => Ok(read),
            reply => {
                let what = format!("a read is answered by {reply:?}");
                Err(Violation::new(INVARIANT, what))
            }
        }
    }
}
