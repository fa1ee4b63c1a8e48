//! Data-driven scripts: each block of `testdata/*.txt` is commands, a line `----`, and what they
//! print. `UPDATE_EXPECT=1` rewrites what this code decides; what was captured from Kafka is never
//! rewritten.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use klamm_model::{
    Acks, Attributes, BatchHeader, Durability, LeaderEpoch, Offset, OffsetDelta, ProducerEpoch,
    ProducerId, ProducerStamp, Sequence, Timestamp, WallTime,
};

use crate::{
    Admission, Advance, AppendOrigin, AppendRefused, Leader, LogGeneration, ProducerLimits,
    ProducerRefused, Producers, ProducersSnapshot, Recovered, TransactionVersion,
};

/// One line of a script: a word, and `key=value` pairs.
struct Command<'a> {
    word: &'a str,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let word = words.next().expect("a command");
        let pairs = words
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        Self { word, pairs }
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.pairs
            .get(key)
            .map(|text| text.parse().expect("a number"))
    }

    fn number_or(&self, key: &str, default: i64) -> i64 {
        self.number(key).unwrap_or(default)
    }

    fn text(&self, key: &str) -> &'a str {
        self.pairs.get(key).copied().unwrap_or_default()
    }
}

/// A leader, and everything that outlives it.
struct World {
    leader: Leader,
    log: Vec<BatchHeader>,
    snapshot: ProducersSnapshot,
    limits: ProducerLimits,
}

impl World {
    fn new() -> Self {
        let limits = ProducerLimits::default();
        let recovered = Recovered::empty(
            LogGeneration(1),
            LeaderEpoch(0),
            Durability::Flushed,
            limits,
        );
        Self {
            leader: Leader::new(recovered).expect("empty"),
            log: Vec::new(),
            snapshot: ProducersSnapshot::default(),
            limits,
        }
    }

    fn run(&mut self, line: &str) -> String {
        let command = Command::parse(line);
        match command.word {
            "offer" => self.offer(&command),
            "append" => match self.append(&command) {
                Ok(Admission::Append(placed)) => format!(
                    "append at {}, end {}, leader epoch {}",
                    placed.base_offset, placed.end, placed.leader_epoch
                ),
                Ok(other) => format!("{other:?}"),
                Err(refused) => format!("refused: {refused}"),
            },
            "written" => {
                let (generation, end) = self.completion(&command);
                moved(self.leader.on_written(generation, end))
            }
            "flushed" => {
                let (generation, end) = self.completion(&command);
                moved(self.leader.on_flushed(generation, end))
            }
            "write-failed" => {
                let (generation, _) = self.completion(&command);
                self.leader.on_write_failed(generation);
                format!("failed {}", self.leader.has_failed())
            }
            "durability" => {
                let class = command.text("class").parse().expect("a durability class");
                moved(self.leader.set_durability(class))
            }
            "reign" => {
                let epoch = LeaderEpoch(command.number_or("epoch", 0) as i32);
                format!("newer {}", self.leader.begin_reign(epoch))
            }
            "trim" => match self.leader.trim(Offset(command.number_or("to", 0))) {
                Ok(moved) => format!("moved {moved}"),
                Err(refused) => format!("refused: {refused}"),
            },
            "committed" => {
                let end = Offset(command.number_or("end", 0));
                [Acks::None, Acks::Leader, Acks::All]
                    .map(|acks| format!("{acks:?} {}", self.leader.is_committed(end, acks)))
                    .join(", ")
            }
            "check-epoch" => {
                let found = command
                    .number("epoch")
                    .map(|epoch| LeaderEpoch(epoch as i32));
                match self.leader.check_leader_epoch(found) {
                    Ok(()) => "same".to_owned(),
                    Err(refused) => format!("{refused:?}"),
                }
            }
            "epoch-end" => {
                let requested = LeaderEpoch(command.number_or("epoch", 0) as i32);
                match self.leader.end_offset_for(requested) {
                    Some(found) => {
                        format!("leader epoch {} ends at {}", found.leader_epoch, found.end)
                    }
                    None => "unknown".to_owned(),
                }
            }
            "limits" => {
                self.limits.producers_max =
                    command.number_or("max", self.limits.producers_max as i64) as usize;
                self.limits.expiration_ms =
                    command.number_or("expiration", self.limits.expiration_ms);
                self.leader.set_producer_limits(self.limits);
                String::new()
            }
            "expire" => {
                self.leader
                    .expire_producers(WallTime(command.number_or("now", 0)));
                format!("producers {}", self.leader.producers().count())
            }
            "snapshot" => {
                self.snapshot = self.leader.producers().snapshot();
                format!("covers {}", self.snapshot.end)
            }
            "reopen" => self.reopen(&command),
            "positions" => self.positions(),
            "producers" => self.producers(),
            "epochs" => self
                .leader
                .epochs()
                .entries()
                .iter()
                .map(|entry| format!("{} from {}", entry.leader_epoch, entry.start))
                .collect::<Vec<_>>()
                .join(", "),
            other => panic!("no such command: {other}"),
        }
    }

    fn append(&mut self, command: &Command<'_>) -> Result<Admission, AppendRefused> {
        let now = command.number_or("now", 0);
        let producer = command.number("id").map(|id| ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(command.number_or("epoch", 0) as i16),
            base_sequence: Sequence(command.number_or("seq", 0) as i32),
        });
        let count = command.number_or("count", 1) as i32;
        let transactional = if command.text("txn").is_empty() {
            0
        } else {
            0x10
        };
        let control = if command.pairs.contains_key("control") {
            0x20
        } else {
            0
        };
        let batch = BatchHeader {
            base_offset: Offset(0),
            size: 61,
            leader_epoch: LeaderEpoch(-1),
            checksum: 0,
            attributes: Attributes(transactional | control),
            last_offset_delta: OffsetDelta(count - 1),
            base_timestamp: Timestamp(now),
            max_timestamp: Timestamp(now),
            producer,
            record_count: count,
        };
        let origin = match command.text("by") {
            "coordinator" => {
                AppendOrigin::Coordinator(LeaderEpoch(command.number_or("loaded", 0) as i32))
            }
            _ if command.text("txn") == "1" => AppendOrigin::Client(TransactionVersion::One),
            _ => AppendOrigin::Client(TransactionVersion::Two),
        };
        let admission = self.leader.append(WallTime(now), &batch, origin);
        if let Ok(Admission::Append(placed)) = admission {
            self.log.push(BatchHeader {
                base_offset: placed.base_offset,
                leader_epoch: placed.leader_epoch,
                ..batch
            });
        }
        admission
    }

    /// The verdict in the words in which Kafka's was captured.
    fn offer(&mut self, command: &Command<'_>) -> String {
        match self.append(command) {
            Ok(Admission::Append(placed)) => {
                format!("append {} .. {}", placed.base_offset, placed.end.0 - 1)
            }
            Ok(Admission::Duplicate {
                base_offset,
                last_offset,
                timestamp,
            }) => format!("duplicate {base_offset} .. {last_offset} time {timestamp}"),
            Err(AppendRefused::Producer(ProducerRefused::OutOfOrderSequence { .. })) => {
                "refused 45".to_owned()
            }
            Err(AppendRefused::Producer(ProducerRefused::StaleProducerEpoch { .. })) => {
                "refused 47".to_owned()
            }
            Err(AppendRefused::NoTransaction) => "would append".to_owned(),
            Err(other) => format!("refused: {other}"),
        }
    }

    fn completion(&self, command: &Command<'_>) -> (LogGeneration, Offset) {
        let generation = command.number("generation").map_or_else(
            || self.leader.generation(),
            |number| LogGeneration(number as u64),
        );
        (generation, Offset(command.number_or("end", 0)))
    }

    /// Power is cut: what lies behind `log_end` is gone, the last snapshot and the log remain.
    fn reopen(&mut self, command: &Command<'_>) -> String {
        let log_end = Offset(command.number_or("end", self.leader.cursors().log_end.0));
        self.log.retain(|batch| batch.end_offset() <= log_end);
        let now = WallTime(command.number_or("now", 0));
        let restored = Producers::restore(&self.snapshot, self.limits).expect("our own snapshot");
        let (producers, from) = match restored.truncate_to(log_end) {
            Ok(producers) => (producers, "snapshot"),
            Err(_) => (Producers::new(Offset::ZERO, self.limits), "start"),
        };
        let generation = self.leader.generation().next();
        let mut recovered = Recovered {
            producers,
            log_start: self.leader.cursors().log_start,
            ..Recovered::empty(
                generation,
                LeaderEpoch(command.number_or("epoch", self.leader.leader_epoch().0.into()) as i32),
                self.leader.durability(),
                self.limits,
            )
        };
        for batch in &self.log {
            recovered.replay(now, batch).expect("our own log");
        }
        match Leader::new(recovered) {
            Ok(leader) => {
                self.leader = leader;
                self.snapshot = self.leader.producers().snapshot();
                format!("from {from}, generation {}", self.leader.generation().0)
            }
            Err(inconsistent) => format!("refused: {inconsistent}"),
        }
    }

    fn positions(&self) -> String {
        let cursors = self.leader.cursors();
        format!(
            "start {} stable {} high {} flushed {} written {} end {}",
            cursors.log_start,
            cursors.last_stable,
            cursors.high_watermark,
            cursors.flushed,
            self.leader.written(),
            cursors.log_end
        )
    }

    fn producers(&self) -> String {
        let mut text = String::new();
        for producer in self.leader.producers().iter() {
            let batches = producer
                .batches
                .iter()
                .map(|batch| {
                    let base_sequence = batch.base_sequence().0;
                    format!(
                        "{base_sequence}-{}@{}",
                        batch.last_sequence.0,
                        batch.base_offset()
                    )
                })
                .collect::<Vec<_>>()
                .join(" ");
            writeln!(
                text,
                "{} epoch {}: {batches}",
                producer.id, producer.epoch.0
            )
            .expect("a string takes everything");
        }
        text.trim_end().to_owned()
    }
}

fn moved(advance: Option<Advance>) -> String {
    advance.map_or_else(
        || "nothing moved".to_owned(),
        |ends| format!("safe {} high {}", ends.safe_end, ends.high_watermark),
    )
}

/// Runs a script on a fresh world and returns it as it would read if every output were right.
fn replay_script(text: &str) -> String {
    let mut world = World::new();
    let mut result = String::new();
    let mut in_output = false;
    for line in text.lines() {
        match line {
            "" => {
                in_output = false;
                result.push('\n');
            }
            comment if comment.starts_with('#') => result.push_str(&format!("{comment}\n")),
            "----" => in_output = true,
            _ if in_output => {}
            command => {
                let output = world.run(command);
                result.push_str(&format!("{command}\n----\n"));
                if !output.is_empty() {
                    result.push_str(&format!("{output}\n"));
                }
            }
        }
    }
    result
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("readable").path())
        .collect();
    found.sort();
    found
}

#[test]
fn every_script_prints_what_it_expects() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let found = scripts();
    assert!(found.len() >= 5, "scripts are missing: {found:?}");
    for path in found {
        let expected = std::fs::read_to_string(&path).expect("a script");
        let actual = replay_script(&expected);
        let is_captured = expected.starts_with("# Captured from");
        if update && !is_captured {
            std::fs::write(&path, actual).expect("writable");
        } else {
            for (place, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
                assert_eq!(actual, expected, "{}:{}", path.display(), place + 1);
            }
            assert_eq!(
                actual.lines().count(),
                expected.lines().count(),
                "{}",
                path.display()
            );
        }
    }
}
