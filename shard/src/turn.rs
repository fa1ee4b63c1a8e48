//! The turn: collect events, run the engine, carry out its effects. Nothing here decides.
//!
//! ```text
//! connections, letters, completions -> engine -> effects -> write, flush, replies, letters
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use klamm_engine::compaction_work::{CompactFault, CompactJob, CompactStep};
use klamm_engine::effects::{
    ColdError, ColdFault, ColdRead, Effect, Repair, SmallFile, Spill, WalPrepare,
};
use klamm_engine::engine::FlushWanted;
use klamm_engine::repair::Repaired;
use klamm_model::{Instant, Offset, TopicPartition};
use klamm_os::disk;
use klamm_os::{clock, exec};

use crate::data_folders::FileSystems;
use crate::drivers::Patience;
use crate::drivers::compactor::{Compactor, SharedCleaned};
use crate::drivers::files::{self, Dropped, Folders};
use crate::drivers::mover::Mover;
use crate::drivers::reader::Reader;
use crate::drivers::segments::SegmentFiles;
use crate::drivers::wal::SharedWalFiles;
use crate::letters::Letter;
use crate::probe::Probe;
use crate::shards::{Core, Shards};

/// Letters that one turn takes in.
const LETTERS_PER_TURN_MAX: usize = 1024;

/// A segment that nobody wrote to for one or two of these gets its own length.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// How often a busy core looks after quiet partitions and unflushed bytes nobody waits for.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// One core at work: its engine's hands.
pub(crate) struct Turns {
    pub(crate) core: Rc<Core>,
    pub(crate) folders: Folders,
    wal: SharedWalFiles,
    pub(crate) segments: SegmentFiles,
    patience: Rc<Patience>,
    pub(crate) reader: Reader,
    compactor: Compactor,
    pub(crate) mover: Mover,
    /// What the engine wants done; empty between turns.
    effects: RefCell<Vec<Effect>>,
    flushing: Cell<bool>,
    /// The deadline that a timer is set for.
    armed: Cell<Option<Instant>>,
    timer: RefCell<Option<exec::Task<()>>>,
    housekeeping: Cell<bool>,
    trimming: Cell<bool>,
}

impl Turns {
    pub(crate) fn new(
        core: Rc<Core>,
        folders: Folders,
        file_systems: FileSystems,
        wal: SharedWalFiles,
        cleaned: SharedCleaned,
    ) -> Rc<Self> {
        let patience = Rc::new(Patience::new(folders.data().clone()));
        Rc::new(Self {
            segments: SegmentFiles::new(folders.clone(), Rc::clone(&patience), file_systems),
            compactor: Compactor::new(folders.clone(), cleaned, Rc::clone(&patience)),
            patience,
            reader: Reader::new(folders.data().clone()),
            mover: Mover::new(core.disk.reserve()),
            core,
            folders,
            wal,
            effects: RefCell::default(),
            flushing: Cell::new(false),
            armed: Cell::new(None),
            timer: RefCell::default(),
            housekeeping: Cell::new(false),
            trimming: Cell::new(false),
        })
    }

    /// Takes turns for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        exec::spawn_local(Rc::clone(&self).receive()).detach();
        loop {
            self.core.work.notified().await;
            // Whatever else is ready now runs first, so that one turn serves all of it.
            exec::yield_now().await;
            self.turn();
        }
    }

    /// Takes letters in and lets a turn follow.
    async fn receive(self: Rc<Self>) {
        let shards = Shards {
            core: Rc::clone(&self.core),
        };
        loop {
            self.core.endpoint.wait().await;
            let taken = self.core.endpoint.drain(LETTERS_PER_TURN_MAX, |_, letter| {
                self.take_in(&shards, letter);
            });
            Probe::count(&self.core.probe.letters, taken as u64);
            self.core.work.notify();
            exec::yield_now().await;
        }
    }

    fn take_in(&self, shards: &Shards, letter: Letter) {
        match letter {
            Letter::Call { ticket, call } => {
                self.core
                    .engine
                    .borrow_mut()
                    .call(Core::now(), ticket, call);
            }
            Letter::Reply { ticket, reply } => self.core.calls.complete(ticket, reply),
            Letter::CancelWatch(ticket) => self.core.engine.borrow_mut().cancel_watch(ticket),
            Letter::Image(image) => {
                self.core.engine.borrow_mut().on_image(&image);
                self.core.image.replace(image);
            }
            Letter::Connection { socket, number } => shards.arrive(socket, number),
            Letter::ConnectionOver { shard } => shards.uncount(shard),
        }
    }

    fn turn(self: &Rc<Self>) {
        let began = clock::monotonic_ns();
        self.resend();
        let mut effects = self.effects.take();
        self.core
            .settle(&mut effects, |effect| self.carry_out(effect));
        self.effects.replace(effects);
        self.flush_if_wanted();
        self.arm();
        let engine = self.core.engine.borrow();
        self.core.disk.tell(&engine);
        self.segments.spare_room(engine.space().is_scarce);
        let pressed = engine.is_pressed();
        drop(engine);
        if let Some(mine) = self.core.pressed.get(usize::from(self.core.id.0)) {
            mine.store(pressed, Ordering::Relaxed);
        }
        self.core.endpoint.flush();
        Probe::count(&self.core.probe.turns, 1);
        let took = clock::monotonic_ns() - began;
        self.core.probe.turn_times.add_ns(took);
    }

    /// Letters that found a full queue go first, in order.
    fn resend(&self) {
        let mut overflow = self.core.overflow.borrow_mut();
        let waiting = std::mem::take(&mut *overflow);
        for (to, letter) in waiting {
            let blocked = overflow.iter().any(|(other, _)| *other == to);
            if blocked {
                overflow.push_back((to, letter));
            } else if let Err(letter) = self.core.endpoint.send(to, letter) {
                overflow.push_back((to, letter));
            }
        }
        if !overflow.is_empty() {
            self.core.work.notify();
        }
    }

    /// True if the effect wrote to the write-ahead log.
    fn carry_out(self: &Rc<Self>, effect: Effect) -> bool {
        match effect {
            Effect::Reply { ticket, reply } => {
                if ticket.shard == self.core.id {
                    self.core.calls.complete(ticket, reply);
                } else {
                    self.core
                        .post(ticket.shard, Letter::Reply { ticket, reply });
                }
            }
            Effect::WalBegin(begin) => {
                must("begin a write-ahead file", self.wal.begin(&begin));
                let made_waiting = self.wal.made_waiting();
                self.core.probe.wal_files_made_waiting.set(made_waiting);
            }
            Effect::WalPrepare(prepare) => {
                exec::spawn_local(Rc::clone(self).prepare(prepare)).detach();
            }
            Effect::WalRemove { file } => {
                exec::spawn_local(Rc::clone(self).remove_wal_file(file)).detach();
            }
            Effect::WalWrite { file, .. } => {
                must("write to the write-ahead log", self.wal.placed(file));
                return true;
            }
            Effect::Spill(spill) => exec::spawn_local(Rc::clone(self).spill(spill)).detach(),
            Effect::FlushSegments {
                partition,
                folder,
                segments,
            } => {
                let work = Rc::clone(self).flush_segments(partition, folder, segments);
                exec::spawn_local(work).detach();
            }
            Effect::SaveFile { file, path, bytes } => {
                exec::spawn_local(Rc::clone(self).save(file, path, bytes)).detach();
            }
            Effect::ColdRead(read) => exec::spawn_local(Rc::clone(self).read(read)).detach(),
            Effect::Repair(repair) => exec::spawn_local(Rc::clone(self).repair(repair)).detach(),
            Effect::Compact(job) => exec::spawn_local(Rc::clone(self).compact(job)).detach(),
            Effect::RemoveSegments {
                partition,
                folder,
                segments,
                delay,
            } => self.remove_segments(partition, folder, segments, delay),
            Effect::MoveFiles {
                partition,
                folder,
                to,
            } => self.move_files(partition, folder, to),
            Effect::FilesHeld { partition, is_here } => self.mover.on_held(partition, is_here),
            Effect::DropFolder { partition, folder } => self.drop_folder(partition, &folder),
            Effect::LookAtSpace => exec::spawn_local(Rc::clone(self).look_at_space()).detach(),
            Effect::Image(image) => {
                for shard in 0..self.core.shards {
                    let to = klamm_model::ShardId(shard);
                    if to != self.core.id {
                        self.core.post(to, Letter::Image(image.clone()));
                    }
                }
                self.core.image.replace(image);
            }
        }
        false
    }

    async fn prepare(self: Rc<Self>, prepare: WalPrepare) {
        let is_made = must("make a write-ahead file", self.wal.prepare(prepare).await);
        if is_made {
            Probe::count(&self.core.probe.wal_files_made_ahead, 1);
        }
        let mut engine = self.core.engine.borrow_mut();
        engine.on_wal_prepared(prepare.file, is_made);
    }

    /// Nothing depends on it: a file that stays is removed by the next start.
    async fn remove_wal_file(self: Rc<Self>, file: u64) {
        if let Err(error) = self.wal.remove(file).await {
            tracing::warn!(file, %error, "could not remove a file of the log that nothing needs any more; the next start does");
        }
    }

    async fn flush_segments(
        self: Rc<Self>,
        partition: TopicPartition,
        folder: Arc<str>,
        segments: Vec<(Offset, u64)>,
    ) {
        self.segments.flush(partition, folder, &segments).await;
        self.core.engine.borrow_mut().on_segments_flushed(partition);
        self.core.work.notify();
    }

    async fn save(self: Rc<Self>, file: SmallFile, path: Arc<str>, bytes: Bytes) {
        let saved = files::save(&self.patience, self.folders.data().main(), &path, bytes).await;
        must("replace a file", saved);
        self.core.engine.borrow_mut().on_file_saved(file);
        self.core.work.notify();
    }

    /// Moves the folder aside, before anything that is asked of this core's folders later, and
    /// deletes it.
    fn drop_folder(self: &Rc<Self>, partition: TopicPartition, folder: &Arc<str>) {
        self.segments.close(partition);
        self.reader.close(partition);
        self.compactor.close(partition);
        let (folders, folder) = (self.folders.clone(), Arc::clone(folder));
        let patience = Rc::clone(&self.patience);
        let turns = Rc::clone(self);
        exec::spawn_local(async move {
            let attempt = || {
                let (folders, name) = (folders.clone(), Arc::clone(&folder));
                exec::spawn_blocking(move || folders.drop(&name, partition.topic))
            };
            let dropped = patience.attempt(attempt).await;
            let Some(dropped) = must("move a dropped partition's folder", dropped) else {
                return;
            };
            let Dropped { aside, removal } = dropped;
            if aside.is_some() {
                let forgotten = turns.compactor.forget(&folder).await;
                must("forget up to where a log was compacted", forgotten);
            }
            if let Some(removal) = removal {
                let name = Arc::clone(&folder);
                let settled = exec::spawn_flush(move || folders.forget(&name, removal)).await;
                must("flush a data folder", settled);
            }
            let Some(aside) = aside else {
                return;
            };
            let deleted = exec::spawn_flush(move || disk::remove_dir_all(&aside)).await;
            if let Err(error) = deleted {
                tracing::warn!(%folder, %error, "could not delete a dropped partition's folder; it is tried again at the next start");
            }
        })
        .detach();
    }

    async fn look_at_space(self: Rc<Self>) {
        let seen = self.core.disk.look().await;
        self.core.engine.borrow_mut().on_free_space(seen);
        self.core.work.notify();
    }

    /// Puts segments aside, and deletes them some time later. What is left of them a start removes.
    fn remove_segments(
        &self,
        partition: TopicPartition,
        folder: Arc<str>,
        segments: Vec<Offset>,
        delay: Duration,
    ) {
        for &segment in &segments {
            self.reader.forget(partition, segment);
            self.segments.forget(partition, segment);
        }
        let folders = self.folders.clone();
        exec::spawn_local(async move {
            let name = Arc::clone(&folder);
            let put_aside =
                exec::spawn_blocking(move || folders.remove(&name, partition.topic, &segments));
            let removed = match put_aside.await {
                Ok(aside) => {
                    exec::sleep(delay).await;
                    let remove = move || aside.into_iter().try_for_each(disk::remove_file);
                    exec::spawn_flush(remove).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::warn!(%folder, %error, "could not delete trimmed segments; it is tried again at the next start");
            }
        })
        .detach();
    }

    async fn spill(self: Rc<Self>, spill: Spill) {
        let (partition, end_offset) = (spill.partition, spill.end_offset);
        must("write to a segment", self.segments.spill(spill).await);
        if !self.trimming.replace(true) {
            exec::spawn_local(Rc::clone(&self).keep_trim()).detach();
        }
        self.core
            .engine
            .borrow_mut()
            .on_spilled(partition, end_offset);
        self.core.work.notify();
    }

    /// Gives segments their own lengths once nobody writes to them any more.
    async fn keep_trim(self: Rc<Self>) {
        loop {
            exec::sleep(TRIM_INTERVAL).await;
            if self.trim_segments().await {
                return self.trimming.set(false);
            }
        }
    }

    /// As [`SegmentFiles::trim_quiet`].
    pub(crate) async fn trim_segments(&self) -> bool {
        must("trim segments", self.segments.trim_quiet().await)
    }

    async fn read(self: Rc<Self>, read: ColdRead) {
        let (result, position, faults) = self.reader.read(&self.patience, &read).await;
        let result = result.map_err(|error| {
            tracing::error!(
                partition = %read.partition, folder = %read.folder, segment = %read.segment, %error,
                "stored records cannot be served"
            );
            ColdError::Damaged
        });
        let mut engine = self.core.engine.borrow_mut();
        for fault in faults {
            engine.on_cold_fault(read.partition, read.segment, fault);
        }
        engine.on_cold_read_at(read.id, result, position);
        drop(engine);
        self.core.work.notify();
    }

    async fn compact(self: Rc<Self>, job: CompactJob) {
        let done = self.compactor.run(&job).await;
        let (partition, folder) = (job.partition, &job.folder);
        let mut lacking = None;
        if let CompactStep::End {
            lacks_room: true, ..
        } = job.step
        {
            lacking = Some(CompactFault::OutOfSpace);
        }
        // Want of room is told once, at the pass's end.
        let other = done.as_ref().err();
        let other = other.filter(|&fault| *fault != CompactFault::OutOfSpace);
        match other.or(lacking.as_ref()) {
            None | Some(CompactFault::Gone) => {}
            Some(fault) if fault.is_lasting() => tracing::error!(
                %partition, %folder, %fault,
                "a log is not compacted any more before the next start: all of its records stay"
            ),
            Some(fault) => {
                tracing::warn!(%partition, %folder, %fault, "a log is not compacted now; it is tried again");
            }
        }
        if let (CompactStep::Swap(swap), Ok(_)) = (&job.step, &done) {
            // Other files lie under these names now; nobody reads them yet.
            for &segment in &swap.bases {
                self.reader.forget(partition, segment);
                self.segments.forget(partition, segment);
            }
        }
        self.core.engine.borrow_mut().on_compacted(job.pass, done);
        self.core.work.notify();
    }

    /// Nothing that was promised depends on a repair: it may fail, and is then told.
    async fn repair(self: Rc<Self>, repair: Repair) {
        let (folders, work) = (self.folders.clone(), repair.clone());
        let done = exec::spawn_flush(move || folders.repair(&work)).await;
        let partition = repair.partition;
        match done {
            Ok(Some(Repaired::Nothing) | None) => {}
            Ok(Some(done @ Repaired::Indexes { .. })) => tracing::warn!(%partition, "{done}"),
            Ok(Some(done)) => tracing::error!(%partition, "{done}"),
            Err(error) if repair.fault == ColdFault::Index => tracing::warn!(
                %partition, folder = %repair.folder, segment = %repair.segment, %error,
                "could not make an index anew that led a read astray; reads go on without it"
            ),
            Err(error) => tracing::error!(
                %partition, folder = %repair.folder, segment = %repair.segment, %error,
                "could not keep a copy of the damaged bytes that a read found"
            ),
        }
        self.reader.forget(partition, repair.segment);
        self.core.engine.borrow_mut().on_repaired();
        self.core.work.notify();
    }

    fn flush_if_wanted(self: &Rc<Self>) {
        if self.flushing.get() {
            return;
        }
        if self.core.engine.borrow().wal_flush_wanted() == FlushWanted::Now {
            self.flush();
        }
    }

    /// Begins one flush; the next begins when it ends, for everything written meanwhile.
    fn flush(self: &Rc<Self>) {
        self.flushing.set(true);
        let position = self.core.engine.borrow().wal_written();
        let flush = self.wal.flush();
        let turns = Rc::clone(self);
        let began = clock::monotonic();
        exec::spawn_local(async move {
            must("flush the write-ahead log", flush.await);
            turns.core.probe.flushed(clock::monotonic() - began);
            turns.flushing.set(false);
            turns.core.engine.borrow_mut().on_wal_flushed(position);
            turns.core.work.notify();
        })
        .detach();
    }

    /// Sets a timer for the engine's next deadline, and keeps the housekeeping going while there
    /// is something to keep.
    fn arm(self: &Rc<Self>) {
        let (deadline, busy) = {
            let engine = self.core.engine.borrow();
            (engine.next_deadline(), engine.wants_housekeeping())
        };
        if busy && !self.housekeeping.replace(true) {
            exec::spawn_local(Rc::clone(self).housekeep()).detach();
        }
        let Some(deadline) = deadline else { return };
        if self.armed.get().is_some_and(|armed| armed <= deadline) {
            return;
        }
        self.armed.set(Some(deadline));
        let turns = Rc::clone(self);
        let timer = exec::spawn_local(async move {
            exec::sleep(deadline.since(Core::now().instant)).await;
            turns.armed.set(None);
            turns.core.work.notify();
        });
        // The one before ends: clients ask for deadlines as often as they like, and one that lies
        // far ahead must not leave a timer behind each time.
        drop(self.timer.replace(Some(timer)));
    }

    async fn housekeep(self: Rc<Self>) {
        exec::sleep(HOUSEKEEPING_INTERVAL).await;
        self.housekeeping.set(false);
        self.core.engine.borrow_mut().housekeep(Core::now().instant);
        self.core.work.notify();
    }
}

/// A failed write or flush leaves no promise that could be kept: the process ends, and recovery
/// finds what is durable (reliability law: no retry after the first error).
pub(crate) fn must<T, E: std::fmt::Display>(operation: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(
                operation, %error,
                "the data folder failed; klamm stops now so that nothing is acknowledged that may not be kept. Check the disk, then start again"
            );
            std::process::exit(74)
        }
    }
}
