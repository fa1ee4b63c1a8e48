//! Random histories of producers, completions, snapshots, trims and power cuts, every verdict
//! compared with a model that knows nothing but the log. `KLAMM_SEED=n` repeats one history.

use klamm_model::{
    Acks, Attributes, BatchHeader, Durability, LeaderEpoch, Offset, OffsetDelta, ProducerEpoch,
    ProducerId, ProducerStamp, Random, Sequence, Timestamp, WallTime,
};

use crate::{
    Admission, AppendOrigin, AppendRefused, Leader, LogGeneration, ProducerLimits, ProducerRefused,
    ProducerSnapshot, Producers, ProducersSnapshot, Recovered, TransactionVersion,
};

const SEEDS: u64 = 2000;
const STEPS: u64 = 300;
const PRODUCERS: u64 = 4;

fn one_in(random: &mut Random, chances: u64) -> bool {
    random.below(chances) == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Append,
    Duplicate(Offset, Offset),
    OutOfOrder,
    Stale,
}

/// The verdict by the log alone: what an endless memory would say, but for the window of five.
fn verdict_by_log(log: &[BatchHeader], batch: &BatchHeader) -> Verdict {
    let Some(stamp) = batch.producer else {
        return Verdict::Append;
    };
    let of_producer = |found: &&BatchHeader| found.producer.is_some_and(|p| p.id == stamp.id);
    let epoch_of = |found: &BatchHeader| found.producer.map(|p| p.epoch);
    let Some(newest) = log.iter().filter(of_producer).filter_map(epoch_of).max() else {
        return Verdict::Append;
    };
    if stamp.epoch < newest {
        return Verdict::Stale;
    }
    let mut same_epoch: Vec<_> = log.iter().filter(of_producer).collect();
    same_epoch.retain(|found| epoch_of(found) == Some(stamp.epoch));
    let window = &same_epoch[same_epoch.len().saturating_sub(5)..];
    let base = |found: &BatchHeader| found.producer.expect("filtered").base_sequence;
    if let Some(first) = window.iter().find(|found| {
        base(found) == stamp.base_sequence && found.last_offset_delta == batch.last_offset_delta
    }) {
        return Verdict::Duplicate(first.base_offset, first.last_offset());
    }
    let expected = window.last().map_or(Sequence(0), |last| {
        base(last).plus(OffsetDelta(last.last_offset_delta.0 + 1))
    });
    if stamp.base_sequence == expected {
        Verdict::Append
    } else {
        Verdict::OutOfOrder
    }
}

/// A client's side of one producer id.
struct Client {
    id: ProducerId,
    epoch: ProducerEpoch,
    next: Sequence,
    sent: Vec<BatchHeader>,
}

impl Client {
    fn new(number: u64, random: &mut Random) -> Self {
        let next = match random.below(3) {
            0 => Sequence(i32::MAX - random.below(40) as i32),
            1 => Sequence(random.below(1000) as i32),
            _ => Sequence(0),
        };
        Self {
            id: ProducerId(number as i64),
            epoch: ProducerEpoch(0),
            next,
            sent: Vec::new(),
        }
    }

    /// The next batch, a retry, or something that must be refused.
    fn choose(&mut self, random: &mut Random, now: i64) -> BatchHeader {
        let delta = random.below(4) as i32;
        let mut stamp = ProducerStamp {
            id: self.id,
            epoch: self.epoch,
            base_sequence: self.next,
        };
        match random.below(20) {
            0..=5 if !self.sent.is_empty() => {
                let back = random.below(7.min(self.sent.len() as u64)) as usize;
                return self.sent[self.sent.len() - 1 - back];
            }
            6 => {
                stamp.base_sequence = self.next.plus(OffsetDelta(1 + random.below(9) as i32));
                return batch(Some(stamp), delta, now);
            }
            7 if self.epoch.0 > 0 => {
                stamp.epoch = ProducerEpoch(self.epoch.0 - 1);
                return batch(Some(stamp), delta, now);
            }
            8 => {
                stamp.epoch = ProducerEpoch(self.epoch.0 + 1);
                stamp.base_sequence = Sequence(1 + random.below(9) as i32);
                return batch(Some(stamp), delta, now);
            }
            9 if one_in(random, 3) => {
                self.epoch = ProducerEpoch(self.epoch.0 + 1);
                stamp.epoch = self.epoch;
                stamp.base_sequence = Sequence::FIRST;
                self.sent.clear();
            }
            _ => {}
        }
        let chosen = batch(Some(stamp), delta, now);
        self.next = stamp.base_sequence.plus(OffsetDelta(delta + 1));
        self.sent.push(chosen);
        chosen
    }

    /// The server lost its unflushed tail: goes on after what is still there, as a client does
    /// that retries what was never acknowledged.
    fn resume(&mut self, log: &[BatchHeader]) {
        let own = |found: &&BatchHeader| {
            found
                .producer
                .is_some_and(|p| p.id == self.id && p.epoch == self.epoch)
        };
        self.sent = log.iter().filter(own).copied().collect();
        match self.sent.last() {
            Some(last) => {
                let base = last.producer.expect("filtered").base_sequence;
                self.next = base.plus(OffsetDelta(last.last_offset_delta.0 + 1));
            }
            None if self.epoch.0 > 0 => self.next = Sequence::FIRST,
            None => {}
        }
    }
}

fn batch(producer: Option<ProducerStamp>, delta: i32, now: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(0),
        size: 61,
        leader_epoch: LeaderEpoch(-1),
        checksum: 0,
        attributes: Attributes(0),
        last_offset_delta: OffsetDelta(delta),
        base_timestamp: Timestamp(now),
        max_timestamp: Timestamp(now),
        producer,
        record_count: delta + 1,
    }
}

/// What the log determines: everything but when a producer was last seen.
fn hard_state(producers: &Producers) -> Vec<ProducerSnapshot> {
    producers
        .iter()
        .map(|found| ProducerSnapshot {
            last_used: WallTime(0),
            ..found
        })
        .collect()
}

/// How often the interesting things happened, so that a test that meets none of them fails.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    appends: u64,
    duplicates: u64,
    out_of_order: u64,
    stale: u64,
    /// Recoveries whose newest snapshot was of no use.
    rebuilds: u64,
    /// Recoveries that lost a tail.
    cuts: u64,
    /// Appends of coordinators of another reign.
    deposed: u64,
}

struct World {
    met: Met,
    leader: Leader,
    /// Every batch ever kept, trimmed ones too: trimming must not narrow anyone's window.
    log: Vec<BatchHeader>,
    /// End of what was acknowledged to some client.
    acked: Offset,
    /// The newest snapshot, which may be ahead of the device.
    latest: ProducersSnapshot,
    /// A snapshot that was covered by flushed bytes when it was taken.
    covered: ProducersSnapshot,
    now: i64,
}

impl World {
    fn new() -> Self {
        let recovered = Recovered::empty(
            LogGeneration(1),
            LeaderEpoch(0),
            Durability::Flushed,
            ProducerLimits::default(),
        );
        Self {
            met: Met::default(),
            leader: Leader::new(recovered).expect("empty"),
            log: Vec::new(),
            acked: Offset::ZERO,
            latest: ProducersSnapshot::default(),
            covered: ProducersSnapshot::default(),
            now: 0,
        }
    }

    fn append(&mut self, offered: &BatchHeader) {
        let expected = verdict_by_log(&self.log, offered);
        let before = self.leader.cursors();
        let origin = AppendOrigin::Client(TransactionVersion::Two);
        let found = match self.leader.append(WallTime(self.now), offered, origin) {
            Ok(Admission::Append(placed)) => {
                assert_eq!(placed.base_offset, before.log_end);
                assert_eq!(placed.end, self.leader.cursors().log_end);
                self.log.push(BatchHeader {
                    base_offset: placed.base_offset,
                    leader_epoch: placed.leader_epoch,
                    ..*offered
                });
                Verdict::Append
            }
            Ok(Admission::Duplicate {
                base_offset,
                last_offset,
                ..
            }) => Verdict::Duplicate(base_offset, last_offset),
            Err(AppendRefused::Producer(ProducerRefused::OutOfOrderSequence { .. })) => {
                Verdict::OutOfOrder
            }
            Err(AppendRefused::Producer(ProducerRefused::StaleProducerEpoch { .. })) => {
                Verdict::Stale
            }
            Err(other) => panic!("unexpected refusal {other} of {offered:?}"),
        };
        assert_eq!(found, expected, "{offered:?}");
        match found {
            Verdict::Append => self.met.appends += 1,
            Verdict::Duplicate(..) => self.met.duplicates += 1,
            Verdict::OutOfOrder => self.met.out_of_order += 1,
            Verdict::Stale => self.met.stale += 1,
        }
        if found != Verdict::Append {
            assert_eq!(self.leader.cursors(), before, "nothing else has changed");
        }
    }

    /// A coordinator appends that loaded its state in some reign, not always this one.
    fn append_as_coordinator(&mut self, random: &mut Random) {
        let current = self.leader.leader_epoch();
        let loaded_in = LeaderEpoch(current.0 + random.below(5) as i32 - 2);
        let offered = batch(None, random.below(3) as i32, self.now);
        let before = (self.leader.cursors(), hard_state(self.leader.producers()));
        let origin = AppendOrigin::Coordinator(loaded_in);
        match self.leader.append(WallTime(self.now), &offered, origin) {
            Ok(Admission::Append(placed)) => {
                assert_eq!(
                    loaded_in, current,
                    "a coordinator of another reign appended"
                );
                assert_eq!(placed.leader_epoch, current);
                self.log.push(BatchHeader {
                    base_offset: placed.base_offset,
                    leader_epoch: placed.leader_epoch,
                    ..offered
                });
                self.met.appends += 1;
            }
            Err(AppendRefused::LeaderEpoch(refused)) => {
                assert_ne!(loaded_in, current, "{refused:?}");
                let after = (self.leader.cursors(), hard_state(self.leader.producers()));
                assert_eq!(after, before, "nothing has changed");
                self.met.deposed += 1;
            }
            other => panic!("unexpected verdict {other:?} of {offered:?}"),
        }
    }

    fn complete(&mut self, random: &mut Random) {
        let (before, generation) = (self.leader.cursors(), self.leader.generation());
        let ends = [before.flushed, self.leader.written(), before.log_end];
        let end = ends[random.below(3) as usize];
        let advance = match random.below(5) {
            0 | 1 => self.leader.on_written(generation, end),
            2 | 3 => self.leader.on_flushed(generation, end),
            // Of an older life of the log, in which it was longer.
            _ => {
                let stale = LogGeneration(generation.0 - 1);
                let advance = self.leader.on_flushed(stale, Offset(i64::MAX / 2));
                assert_eq!(self.leader.cursors(), before);
                advance
            }
        };
        let after = self.leader.cursors();
        assert!(after.high_watermark >= before.high_watermark);
        assert!(advance.is_some() || after.high_watermark == before.high_watermark);
        if self.leader.durability() == Durability::Flushed
            && self.leader.is_committed(after.high_watermark, Acks::All)
        {
            assert!(after.flushed >= after.high_watermark);
            self.acked = self.acked.max(after.high_watermark);
        }
    }

    fn cut_power(&mut self, random: &mut Random) {
        let cursors = self.leader.cursors();
        let keep_all = one_in(random, 2);
        let live = hard_state(self.leader.producers());
        let kept = |found: &BatchHeader| keep_all || found.end_offset() <= cursors.flushed;
        let log_end = self
            .log
            .iter()
            .filter(|found| kept(found))
            .map(BatchHeader::end_offset)
            .max()
            .unwrap_or(Offset::ZERO);
        assert!(
            log_end >= self.acked,
            "the device holds what was acknowledged"
        );
        self.log.retain(kept);
        let limits = ProducerLimits::default();
        let restore = |snapshot| Producers::restore(snapshot, limits).expect("our own");
        self.met.cuts += u64::from(log_end < cursors.log_end);
        let producers = restore(&self.latest)
            .truncate_to(log_end)
            .unwrap_or_else(|_| {
                self.met.rebuilds += 1;
                restore(&self.covered)
            });
        let mut recovered = Recovered {
            producers,
            log_start: cursors.log_start,
            ..Recovered::empty(
                self.leader.generation().next(),
                LeaderEpoch(self.leader.leader_epoch().0 + random.below(2) as i32),
                Durability::Flushed,
                limits,
            )
        };
        for found in self
            .log
            .iter()
            .filter(|found| found.end_offset() > cursors.log_start)
        {
            recovered
                .replay(WallTime(self.now), found)
                .expect("our own log");
        }
        // Every batch may have been trimmed away.
        recovered.log_end = recovered.log_end.max(recovered.log_start);
        self.leader = Leader::new(recovered).expect("consistent");
        assert_eq!(self.leader.cursors().log_end, log_end);
        if keep_all {
            assert_eq!(
                hard_state(self.leader.producers()),
                live,
                "replay gives the same state"
            );
        }
        self.latest = self.leader.producers().snapshot();
        self.covered = self.latest.clone();
    }

    fn snapshot(&mut self) {
        self.latest = self.leader.producers().snapshot();
        if self.leader.cursors().flushed >= self.latest.end {
            self.covered = self.latest.clone();
        }
    }

    fn trim(&mut self, random: &mut Random) {
        let cursors = self.leader.cursors();
        let until = cursors
            .high_watermark
            .min(self.covered.end)
            .min(cursors.flushed);
        let span = (until.0 - cursors.log_start.0).max(0) as u64;
        let log_start = Offset(cursors.log_start.0 + random.below(span + 1) as i64);
        self.leader
            .trim(log_start)
            .expect("below the high watermark");
    }
}

fn run_history(seed: u64) -> Met {
    let mut random = Random::new(seed);
    let mut world = World::new();
    let mut clients: Vec<_> = (0..PRODUCERS)
        .map(|number| Client::new(number, &mut random))
        .collect();
    for _ in 0..STEPS {
        world.now += 1;
        match random.below(100) {
            0..=59 => {
                let chosen = random.below(PRODUCERS) as usize;
                let offered = clients[chosen].choose(&mut random, world.now);
                world.append(&offered);
            }
            60..=64 => world.append(&batch(None, random.below(3) as i32, world.now)),
            65..=87 => world.complete(&mut random),
            88..=91 => world.snapshot(),
            92..=93 => world.trim(&mut random),
            94..=95 => {
                let class = [Durability::Flushed, Durability::Written][random.below(2) as usize];
                world.leader.set_durability(class);
            }
            96 => {
                let next = LeaderEpoch(world.leader.leader_epoch().0 + 1);
                assert!(world.leader.begin_reign(next));
            }
            _ => {
                world.cut_power(&mut random);
                for client in &mut clients {
                    client.resume(&world.log);
                }
            }
        }
    }
    assert_nothing_twice(&world.log);
    world.met
}

/// S1: the log of each producer and epoch is consecutive, so no record is in it twice.
fn assert_nothing_twice(log: &[BatchHeader]) {
    for id in 0..PRODUCERS {
        let mut last: Option<ProducerStamp> = None;
        for found in log {
            let Some(stamp) = found.producer.filter(|stamp| stamp.id.0 == id as i64) else {
                continue;
            };
            if let Some(before) = last {
                let follows =
                    stamp.epoch == before.epoch && stamp.base_sequence == before.base_sequence;
                let bumped = stamp.epoch > before.epoch && stamp.base_sequence == Sequence::FIRST;
                assert!(follows || bumped, "{before:?} then {stamp:?}");
            }
            last = Some(ProducerStamp {
                base_sequence: stamp
                    .base_sequence
                    .plus(OffsetDelta(found.last_offset_delta.0 + 1)),
                ..stamp
            });
        }
    }
}

#[test]
fn no_duplicate_is_admitted_and_no_acknowledged_batch_is_refused() {
    let chosen = std::env::var("KLAMM_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seeds = chosen.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut met = Met::default();
    for seed in seeds {
        let in_one = std::panic::catch_unwind(|| run_history(seed)).unwrap_or_else(|cause| {
            eprintln!("repeat: KLAMM_SEED={seed} cargo test -p klamm-replica --lib no_duplicate");
            std::panic::resume_unwind(cause)
        });
        met.appends += in_one.appends;
        met.duplicates += in_one.duplicates;
        met.out_of_order += in_one.out_of_order;
        met.stale += in_one.stale;
        met.rebuilds += in_one.rebuilds;
        met.cuts += in_one.cuts;
    }
    println!("{met:?}");
    if chosen.is_none() {
        let rarest = [
            met.appends,
            met.duplicates,
            met.out_of_order,
            met.stale,
            met.rebuilds,
        ]
        .into_iter()
        .chain([met.cuts])
        .min();
        assert!(rarest > Some(500), "histories too tame: {met:?}");
    }
}

#[test]
fn append_with_a_leader_epoch_that_is_not_the_current_one_fails_and_changes_nothing() {
    let (mut appends, mut deposed) = (0, 0);
    for seed in 0..SEEDS / 4 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        for _ in 0..STEPS / 4 {
            world.now += 1;
            match random.below(20) {
                0..=13 => world.append_as_coordinator(&mut random),
                14..=17 => world.complete(&mut random),
                18 => {
                    let next = LeaderEpoch(world.leader.leader_epoch().0 + 1);
                    assert!(world.leader.begin_reign(next));
                }
                _ => world.cut_power(&mut random),
            }
        }
        appends += world.met.appends;
        deposed += world.met.deposed;
    }
    assert!(
        appends.min(deposed) > 500,
        "too tame: {appends} and {deposed}"
    );
}
