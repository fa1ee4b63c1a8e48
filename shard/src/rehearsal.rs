//! One core on the calling thread, without a ring, threads and files: the front's calls go into a
//! real engine, and what that wants done succeeds at once, in memory. For counting what a request
//! costs where nothing else may be counted with it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::{Bytes, BytesMut};
use klamm_engine::boot::ShardBoot;
use klamm_engine::compaction_work::CompactFault;
use klamm_engine::effects::{ColdError, Effect};
use klamm_engine::engine::FlushWanted;
use klamm_engine::memory::{WalMemory, WalSpace, Wanting};
use klamm_engine::metadata::Image;
use klamm_engine::space::DiskSpace;
use klamm_model::ShardId;
use klamm_os::mesh::Mesh;

use crate::drivers::space::{DiskWatch, SharedDisk};
use crate::node::{self, NodeOptions};
use crate::probe::Probe;
use crate::shards::{Core, Shards};

/// A disk that is never full.
const ROOM: DiskSpace = DiskSpace {
    free: 1 << 40,
    total: 1 << 41,
    owed_elsewhere: 0,
};

/// The only core of a node without stage.
pub struct Rehearsal {
    core: Rc<Core>,
    /// What the engine wants done; empty between turns.
    effects: Vec<Effect>,
}

impl Rehearsal {
    /// A core that leads what the image gives to the node of these options. Their folder is never
    /// looked at.
    #[must_use]
    pub fn new(options: &NodeOptions, image: &Image) -> Self {
        let id = ShardId(0);
        let options = NodeOptions {
            shards: 1,
            ..options.clone()
        };
        let boot = ShardBoot {
            wal_next_file: 1,
            ..ShardBoot::default()
        };
        let mut engine = node::make_engine(&options, id, Some(ROOM), boot, None, Box::new(Memory));
        engine.on_image(image);
        let endpoint = Mesh::new(1, 1)
            .endpoint(0)
            .expect("nobody took the endpoint of a new mesh");
        let pressed = Arc::new([AtomicBool::new(false)]);
        let disk = DiskWatch::new(SharedDisk::new(&[options.folder], None, 1), id);
        let mut rehearsal = Self {
            core: Rc::new(Core::new(id, 1, engine, endpoint, pressed, disk)),
            effects: Vec::new(),
        };
        rehearsal.core.work.notify();
        rehearsal.turn();
        rehearsal
    }

    /// What the front may ask of this core.
    #[must_use]
    pub fn shards(&self) -> Shards {
        Shards {
            core: Rc::clone(&self.core),
        }
    }

    /// Takes a turn. Every write, flush and spill is over when it ends.
    pub fn turn(&mut self) {
        let core = &self.core;
        // What is in memory is read without a turn.
        if !core.work.take() {
            return;
        }
        Probe::count(&core.probe.turns, 1);
        core.settle(&mut self.effects, |effect| carry_out(core, effect));
        while core.engine.borrow().wal_flush_wanted() == FlushWanted::Now {
            let mut engine = core.engine.borrow_mut();
            let written = engine.wal_written();
            engine.on_wal_flushed(written);
            drop(engine);
            core.settle(&mut self.effects, |effect| carry_out(core, effect));
        }
    }
}

/// True if the effect wrote to the write-ahead log.
fn carry_out(core: &Core, effect: Effect) -> bool {
    let mut engine = core.engine.borrow_mut();
    match effect {
        Effect::Reply { ticket, reply } => core.calls.complete(ticket, reply),
        Effect::WalWrite { .. } => return true,
        Effect::Spill(spill) => engine.on_spilled(spill.partition, spill.end_offset),
        Effect::FlushSegments { partition, .. } => engine.on_segments_flushed(partition),
        Effect::SaveFile { file, .. } => engine.on_file_saved(file),
        // Nothing was kept but what is in memory.
        Effect::ColdRead(read) => engine.on_cold_read(read.id, Err(ColdError::Damaged)),
        Effect::Repair(_) => engine.on_repaired(),
        Effect::Compact(job) => engine.on_compacted(job.pass, Err(CompactFault::Gone)),
        Effect::LookAtSpace => engine.on_free_space(Some(ROOM)),
        Effect::Image(image) => drop(core.image.replace(image)),
        Effect::WalPrepare(prepare) => engine.on_wal_prepared(prepare.file, true),
        Effect::WalBegin(_)
        | Effect::WalRemove { .. }
        | Effect::RemoveSegments { .. }
        | Effect::MoveFiles { .. }
        | Effect::FilesHeld { .. }
        | Effect::DropFolder { .. } => {}
    }
    false
}

/// Memory that costs nothing before it is written, as that of a mapped file.
#[derive(Debug)]
struct Memory;

impl WalMemory for Memory {
    fn is_idle(&mut self, _file: u64) -> bool {
        true
    }

    fn begin(
        &mut self,
        _file: u64,
        _recycle: Option<u64>,
        at: u64,
        length: u64,
    ) -> Result<Box<dyn WalSpace>, Wanting> {
        let bytes = usize::try_from(length.saturating_sub(at)).map_err(|_| Wanting::Room)?;
        Ok(Box::new(Space {
            rest: BytesMut::zeroed(bytes),
            placed: 0,
        }))
    }
}

#[derive(Debug)]
struct Space {
    rest: BytesMut,
    /// Bytes at the front of the rest that are placed and not sealed.
    placed: usize,
}

impl WalSpace for Space {
    fn add(&mut self, length: usize) {
        self.placed += length;
        assert!(self.placed <= self.rest.len(), "entries fit their file");
    }

    fn unsealed(&self) -> usize {
        self.placed
    }

    fn unsealed_mut(&mut self) -> &mut [u8] {
        &mut self.rest[..self.placed]
    }

    fn seal(&mut self) -> Bytes {
        let placed = std::mem::take(&mut self.placed);
        self.rest.split_to(placed).freeze()
    }
}
