//! Looks at the room of the file systems that hold the data folders, and says when producers are
//! refused for want of it, and when no more.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use klamm_engine::Engine;
use klamm_engine::space::{DiskSpace, SpaceState, tightest};
use klamm_model::ShardId;
use klamm_os::disk::free_space;
use klamm_os::exec;

/// What the cores of a node tell each other of the disk.
#[derive(Clone, Debug)]
pub(crate) struct SharedDisk {
    folders: Arc<[PathBuf]>,
    /// `klamm.disk.reserve.bytes`.
    reserve: Option<u64>,
    /// What each core owes to segments.
    owed: Arc<[AtomicU64]>,
    /// Cores that refuse producers.
    refusing: Arc<AtomicUsize>,
}

impl SharedDisk {
    pub(crate) fn new(folders: &[PathBuf], reserve: Option<u64>, shards: u16) -> Self {
        Self {
            folders: folders.into(),
            reserve,
            owed: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            refusing: Arc::default(),
        }
    }
}

/// One core's eye on the disk.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    shared: SharedDisk,
    shard: ShardId,
    refuses: Cell<bool>,
    cannot_look: Cell<bool>,
    /// The data folder with the least room at the last look, by its place in the list.
    tightest: Cell<usize>,
}

impl DiskWatch {
    pub(crate) fn new(shared: SharedDisk, shard: ShardId) -> Self {
        Self {
            shared,
            shard,
            refuses: Cell::new(false),
            cannot_look: Cell::new(false),
            tightest: Cell::new(0),
        }
    }

    /// `klamm.disk.reserve.bytes`, where it is set.
    pub(crate) const fn reserve(&self) -> Option<u64> {
        self.shared.reserve
    }

    /// Sees how much room there is where there is least, on a side thread. None if that cannot be
    /// told of one of the folders.
    pub(crate) async fn look(&self) -> Option<DiskSpace> {
        // Before the free bytes: what goes into a segment meanwhile is counted twice, not never.
        let owed_elsewhere = self.owed_elsewhere();
        let folders = Arc::clone(&self.shared.folders);
        let look = move || -> Result<Vec<DiskSpace>, (PathBuf, io::Error)> {
            let seen = folders.iter().map(|folder| {
                let space = free_space(folder).map_err(|error| (folder.clone(), error))?;
                Ok(DiskSpace {
                    free: space.free,
                    total: space.total,
                    owed_elsewhere,
                })
            });
            seen.collect()
        };
        match exec::spawn_blocking(look).await {
            Ok(seen) => {
                self.cannot_look.set(false);
                let tightest = tightest(&seen, self.shared.reserve)?;
                self.tightest.set(tightest);
                seen.get(tightest).copied()
            }
            Err((folder, error)) => {
                if !self.cannot_look.replace(true) {
                    tracing::warn!(
                        folder = %folder.display(), %error,
                        "cannot see how much room the file system has: producers are refused only when a new file of the log finds none"
                    );
                }
                None
            }
        }
    }

    fn owed_elsewhere(&self) -> u64 {
        let owed = self.shared.owed.iter().zip(0_u16..);
        let others = owed.filter(|&(_, shard)| shard != self.shard.0);
        others.map(|(owed, _)| owed.load(Ordering::Relaxed)).sum()
    }

    /// Tells the others what this core owes, and the administrator if producers are refused now, or
    /// no more. One line does it for all cores.
    pub(crate) fn tell(&self, engine: &Engine) {
        if let Some(mine) = self.shared.owed.get(usize::from(self.shard.0)) {
            mine.store(engine.owed_bytes(), Ordering::Relaxed);
        }
        let SpaceState {
            refuses,
            free,
            reserve,
            ..
        } = engine.space();
        if self.refuses.replace(refuses) == refuses {
            return;
        }
        let Some(folder) = self.shared.folders.get(self.tightest.get()) else {
            return;
        };
        let folder = folder.display();
        if refuses {
            if self.shared.refusing.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    %folder, free, reserve,
                    "the disk is nearly full: producers are refused (KAFKA_STORAGE_ERROR, after which they try again), everything else goes on with what klamm.disk.reserve.bytes keeps. Delete topics or other files, or make the file system larger"
                );
            }
        } else if self.shared.refusing.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!(%folder, free, reserve, "the disk has room again: producers are served");
        }
    }
}
