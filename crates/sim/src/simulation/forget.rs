//! A checkpoint that cannot be read (L1), whatever the end of the life before was: segments and
//! write-ahead logs bring back what had to survive that end.

use std::collections::BTreeMap;

use klamm_engine::boot::Finding;
use klamm_model::{Offset, TopicPartition};

use super::Simulation;
use super::damage::INVARIANT;
use super::lives::End;
use crate::check::ledger::Survives;
use crate::check::{Violation, ensure, reads_return_exactly_what_was_appended};
use crate::world::node::{LifeOptions, SimNode, Started};

/// Where every partition's log ends.
type LogEnds = BTreeMap<TopicPartition, Offset>;

impl Simulation {
    /// A run of some lives at whose end a checkpoint cannot be read. The logs then hold what they
    /// must; unless the power went in the middle of appends, they are as long as those of a twin
    /// that can read it.
    pub(super) fn live_and_forget(&mut self) -> Result<(), Violation> {
        self.begin(false, false)?;
        for _ in 0..self.random.between(0, 2) {
            for _ in 0..self.random.between(50, 800) {
                self.step(false)?;
            }
            self.end(End::Stop { power_cut: true })?;
            self.begin(true, true)?;
        }
        for _ in 0..self.random.between(300, 2500) {
            self.step(false)?;
        }
        let end = *self
            .random
            .pick(&[End::Kill, End::PowerCut, End::Stop { power_cut: true }])
            .expect("there are some");
        let committed = self.node().engine(0).cursors(TopicPartition::METADATA);
        let committed = committed.map_or(Offset::ZERO, |cursors| cursors.high_watermark);
        self.end(end)?;
        let life = LifeOptions::draw(&mut self.random, None);
        let mut twin = self.disk.clone();
        let (_, twin) = SimNode::start(life.clone(), self.now, &mut twin, None)
            .map_err(|failed| Violation::new(INVARIANT, format!("{failed:?}")))?;
        let Some(name) = self.spoil_checkpoint() else {
            return Ok(());
        };
        let started = SimNode::start(life, self.now, &mut self.disk, None);
        let (node, mut started) =
            started.map_err(|failed| Violation::new(INVARIANT, format!("{failed:?}")))?;
        self.node = Some(node);
        let least = match end {
            End::PowerCut => self.least_ends(committed, &twin.log_ends),
            _ => twin.log_ends,
        };
        self.ends_hold(&least, &started, &name)?;
        let before = started.findings.len();
        started
            .findings
            .retain(|finding| !matches!(finding, Finding::BadCheckpoint { .. }));
        ensure!(
            INVARIANT,
            started.findings.len() < before,
            "nobody is told that {name} is damaged"
        );
        self.stats.damage_told += 1;
        let is_torn = |finding: &Finding| {
            matches!(
                finding,
                Finding::TornTail { .. } | Finding::UnknownWalFile { .. }
            )
        };
        if end == End::PowerCut && !started.findings.iter().all(is_torn) {
            // Half-written batches that nobody vouches for look like damage, and are told as such.
            return self.read_what_survives(&started);
        }
        let power_was_cut = end != End::Kill;
        self.begun(&started, false, power_was_cut)?;
        self.wait_until("everything is quiet", Self::is_quiet)
    }

    /// Flips a bit of a checkpoint, and gives its name; none if there is no checkpoint.
    fn spoil_checkpoint(&mut self) -> Option<String> {
        let names = self.disk.list("klamm").unwrap_or_default();
        let names: Vec<String> = names
            .into_iter()
            .filter(|name| name.starts_with("checkpoint-") && !name.ends_with(".tmp"))
            .collect();
        let name = self.random.pick(&names)?.clone();
        let node = self.disk.file(&format!("klamm/{name}"))?;
        let at = self.random.below(self.disk.bytes(node).len().max(1));
        self.trace.event(format_args!("{name} is damaged at {at}"));
        self.disk.flip(node, at, self.random.below(8) as u8);
        self.stats.damaged += 1;
        Some(name)
    }

    /// Where each of these logs must end at the least after a power cut: behind the last batch that
    /// was promised to survive it. The twin may find more: a batch that no flush had covered is
    /// left in the write-ahead log by chance, one before it is not, and only the checkpoint between
    /// them tells that nothing is missing there.
    fn least_ends(&self, committed: Offset, found: &LogEnds) -> LogEnds {
        let promised = |partition: &TopicPartition| {
            if *partition == TopicPartition::METADATA {
                return committed;
            }
            let known = self.ledger.logs.get(partition);
            let known = known.into_iter().flat_map(|log| log.known.values());
            let surviving = known.filter(|known| known.survives == Survives::PowerCut);
            Offset(surviving.map(|known| known.end).max().unwrap_or(0))
        };
        found
            .keys()
            .map(|partition| (*partition, promised(partition)))
            .collect()
    }

    /// Reads every batch that had to survive a power cut, at its place.
    fn read_what_survives(&mut self, started: &Started) -> Result<(), Violation> {
        self.move_clients();
        let there = |partition: &TopicPartition| started.log_ends.contains_key(partition);
        self.ledger.logs.retain(|partition, _| there(partition));
        for log in self.ledger.logs.values_mut() {
            log.known
                .retain(|_, known| known.survives == Survives::PowerCut);
            log.high_watermark = 0;
        }
        self.wait_until("everything is quiet", Self::is_quiet)?;
        let logs = self.ledger.logs.iter();
        let promised = logs.flat_map(|(&partition, log)| {
            let bases = log.known.keys();
            bases.map(move |&base| (partition, base))
        });
        let promised: Vec<(TopicPartition, i64)> = promised.collect();
        for (partition, base) in promised {
            let read = self.read_now(partition, base)?;
            let [outcome] = &read.outcomes[..] else {
                let what = format!("a read has {} outcomes", read.outcomes.len());
                return Err(Violation::new(INVARIANT, what));
            };
            let bytes = read.records_of(outcome).concat();
            let high_watermark = outcome.positions.map_or(0, |found| found.high_watermark.0);
            let next = reads_return_exactly_what_was_appended::check(
                &mut self.ledger,
                partition,
                base,
                high_watermark,
                &bytes,
            )?;
            ensure!(
                INVARIANT,
                outcome.error.is_none() && next > base,
                "{partition}: what lies at {base} had to survive, and a read of it gives {:?}",
                outcome.error
            );
            self.stats.damage_survivors_read += 1;
        }
        Ok(())
    }

    /// No log ends before it may, and none is gone whose topic nobody wanted to delete.
    fn ends_hold(&self, least: &LogEnds, started: &Started, name: &str) -> Result<(), Violation> {
        for (partition, least) in least {
            let end = started.log_ends.get(partition);
            let holds = match end {
                Some(end) => end >= least,
                None => !self.created.contains_key(&partition.topic),
            };
            ensure!(
                INVARIANT,
                holds,
                "{partition} ends at {end:?} without {name}, and must not end before {least}; told: {:?}",
                started.findings
            );
        }
        Ok(())
    }
}
