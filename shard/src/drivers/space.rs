//! Looks at the room of the file system that holds the data folder, and says when producers are
//! refused for want of it, and when no more.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use klamm_engine::Engine;
use klamm_engine::space::{DiskSpace, SpaceState};
use klamm_model::ShardId;
use klamm_os::disk::free_space;
use klamm_os::exec;

/// What the cores of a node tell each other of the disk.
#[derive(Clone, Debug)]
pub(crate) struct SharedDisk {
    folder: PathBuf,
    /// What each core owes to segments.
    owed: Arc<[AtomicU64]>,
    /// Cores that refuse producers.
    refusing: Arc<AtomicUsize>,
}

impl SharedDisk {
    pub(crate) fn new(folder: PathBuf, shards: u16) -> Self {
        Self {
            folder,
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
}

impl DiskWatch {
    pub(crate) fn new(shared: SharedDisk, shard: ShardId) -> Self {
        Self {
            shared,
            shard,
            refuses: Cell::new(false),
            cannot_look: Cell::new(false),
        }
    }

    /// Sees how much room there is, on a side thread. None if that cannot be told.
    pub(crate) async fn look(&self) -> Option<DiskSpace> {
        // Before the free bytes: what goes into a segment meanwhile is counted twice, not never.
        let owed_elsewhere = self.owed_elsewhere();
        let folder = self.shared.folder.clone();
        let seen = exec::spawn_blocking(move || free_space(&folder)).await;
        match seen {
            Ok(space) => {
                self.cannot_look.set(false);
                Some(DiskSpace {
                    free: space.free,
                    total: space.total,
                    owed_elsewhere,
                })
            }
            Err(error) => {
                if !self.cannot_look.replace(true) {
                    tracing::warn!(
                        folder = %self.shared.folder.display(), %error,
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
        let folder = self.shared.folder.display();
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
