//! Has partitions' files lie in another data folder, one after the other on a core, while they are
//! used: copied a piece at a time on a side thread, the last of it while the engine lets nobody touch
//! them, then put in their place.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use klamm_engine::placement::FolderNumber;
use klamm_engine::space::reserve_of;
use klamm_model::TopicPartition;
use klamm_os::disk::{free_space, remove_dir_all};
use klamm_os::{exec, random};

use super::files::unless_gone;
use super::relocation::{Copying, Extent};
use super::turnstile::Turnstile;
use crate::turn::{Turns, must};

/// Moves of one core.
pub(crate) struct Mover {
    one: Turnstile,
    /// `klamm.disk.reserve.bytes`.
    reserve: Option<u64>,
    held: RefCell<BTreeMap<TopicPartition, Rc<Answer>>>,
}

/// What the engine says of files that were asked for.
#[derive(Default)]
struct Answer {
    is_here: Cell<Option<bool>>,
    told: exec::Notify,
}

/// How a move went.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The files lie where they should.
    Moved,
    /// They should go elsewhere by now.
    Changed,
    /// The partition is not here any more.
    Gone,
}

impl Mover {
    pub(crate) fn new(reserve: Option<u64>) -> Self {
        Self {
            one: Turnstile::new(1),
            reserve,
            held: RefCell::default(),
        }
    }

    /// The engine will answer.
    fn expect(&self, partition: TopicPartition, answer: Rc<Answer>) {
        self.held.borrow_mut().insert(partition, answer);
    }

    /// The engine answers.
    pub(crate) fn on_held(&self, partition: TopicPartition, is_here: bool) {
        if let Some(answer) = self.held.borrow_mut().remove(&partition) {
            answer.is_here.set(Some(is_here));
            answer.told.notify();
        }
    }
}

impl Turns {
    /// Begins a move, or tells the one under way where it should go.
    pub(crate) fn move_files(
        self: &Rc<Self>,
        partition: TopicPartition,
        folder: Arc<str>,
        to: FolderNumber,
    ) {
        if self.folders.data().wish(&folder, to) {
            exec::spawn_local(Rc::clone(self).relocate(partition, folder)).detach();
        }
    }

    async fn relocate(self: Rc<Self>, partition: TopicPartition, folder: Arc<str>) {
        let _one = self.mover.one.enter().await;
        let data = self.folders.data();
        while let Some(to) = data.wished(&folder) {
            let path = data.root(to).display().to_string();
            match self.attempt(partition, &folder, to).await {
                Ok(Outcome::Moved) => {
                    tracing::info!(%folder, to = path, "moved a partition to another data folder");
                }
                Ok(Outcome::Gone) => {
                    data.end_move(&folder, to);
                    return;
                }
                Ok(Outcome::Changed) => {}
                Err(error) => {
                    tracing::error!(
                        %folder, to = path, %error,
                        "a partition stays in its data folder: its files could not be copied; ask for it again once the other folder is in order"
                    );
                    if data.end_move(&folder, to) {
                        return;
                    }
                }
            }
        }
    }

    /// What fails before the copy is sealed leaves everything as it was.
    async fn attempt(
        &self,
        partition: TopicPartition,
        folder: &Arc<str>,
        to: FolderNumber,
    ) -> io::Result<Outcome> {
        let id = random::bits()?;
        let (folders, name) = (self.folders.clone(), Arc::clone(folder));
        let copying = exec::spawn_flush(move || Copying::begin(&folders, &name, to, id)).await?;
        let mut copying = Some(copying);
        let copied = self.copy(partition, folder, to, &mut copying).await;
        if !matches!(copied, Ok(Outcome::Moved))
            && let Some(copying) = copying
        {
            exec::spawn_flush(move || copying.discard()).await?;
        }
        copied
    }

    async fn copy(
        &self,
        partition: TopicPartition,
        folder: &Arc<str>,
        to: FolderNumber,
        copying: &mut Option<Copying>,
    ) -> io::Result<Outcome> {
        let data = self.folders.data();
        self.check_room(copying, to).await?;
        loop {
            if data.wished(folder) != Some(to) {
                return Ok(Outcome::Changed);
            }
            let written = self.core.engine.borrow().written_to(partition);
            let Some((newest, bytes)) = written else {
                return Ok(Outcome::Gone);
            };
            let piece = on_side(copying, move |copying| {
                copying.piece(Extent::Settled(newest, bytes))
            });
            let copied = piece.await?;
            if let Some(copying) = copying {
                data.note_move(folder, copying.bytes(), copying.end());
            }
            if copied == 0 {
                break;
            }
        }
        let outcome = match self.hold(partition).await {
            false => Ok(Outcome::Gone),
            true => self.finish(partition, folder, to, copying).await,
        };
        self.core.engine.borrow_mut().release_files(partition);
        self.core.work.notify();
        outcome
    }

    /// Refuses a move for which there is no room without the reserve.
    async fn check_room(&self, copying: &mut Option<Copying>, to: FolderNumber) -> io::Result<()> {
        let root = self.folders.data().root(to).to_owned();
        let reserve = self.mover.reserve;
        on_side(copying, move |copying| {
            let wanted = copying.source_bytes()?;
            let space = free_space(&root)?;
            let free = space.free.saturating_sub(reserve_of(reserve, space.total));
            if wanted <= free {
                return Ok(());
            }
            let reason =
                format!("it needs {wanted} bytes, and there are {free} beside the reserve");
            Err(io::Error::other(reason))
        })
        .await
    }

    /// Waits until nobody touches the files; false if the partition is gone.
    async fn hold(&self, partition: TopicPartition) -> bool {
        let answer = Rc::<Answer>::default();
        self.mover.expect(partition, Rc::clone(&answer));
        self.core.engine.borrow_mut().hold_files(partition);
        self.core.work.notify();
        loop {
            if let Some(is_here) = answer.is_here.get() {
                return is_here;
            }
            answer.told.notified().await;
        }
    }

    /// Nobody touches the files: copies the rest, and puts the copy in their place.
    async fn finish(
        &self,
        partition: TopicPartition,
        folder: &Arc<str>,
        to: FolderNumber,
        copying: &mut Option<Copying>,
    ) -> io::Result<Outcome> {
        self.segments.let_go(partition).await?;
        self.reader.close(partition);
        let (folders, name) = (self.folders.clone(), Arc::clone(folder));
        let sealed = on_side(copying, move |copying| {
            if folders.settle_nothing_at(&name, to) {
                return Ok(None);
            }
            copying.finish()?;
            copying.seal(&folders, &name, partition.topic).map(Some)
        });
        match sealed.await? {
            None => {
                // Nothing was written yet: the next batch is written there.
                return Ok(Outcome::Changed);
            }
            Some(false) => return Ok(Outcome::Gone),
            Some(true) => {}
        }
        let (folders, name) = (self.folders.clone(), Arc::clone(folder));
        let replaced = on_side(copying, move |copying| {
            copying.replace(&folders, &name, partition.topic, to)
        });
        let aside: Vec<PathBuf> = must("put a moved partition in its place", replaced.await);
        let folder = Arc::clone(folder);
        exec::spawn_local(async move {
            let remove = move || {
                let mut aside = aside.into_iter();
                aside.try_for_each(|path| unless_gone(remove_dir_all(path)).map(drop))
            };
            if let Err(error) = exec::spawn_flush(remove).await {
                tracing::warn!(%folder, %error, "could not delete the files of a partition that was moved; it is tried again at the next start");
            }
        })
        .detach();
        Ok(Outcome::Moved)
    }
}

/// Does some work with the copy on a side thread.
async fn on_side<T: Send + 'static>(
    copying: &mut Option<Copying>,
    work: impl FnOnce(&mut Copying) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let Some(mut taken) = copying.take() else {
        return Err(io::Error::other("there is no copy"));
    };
    let (taken, done) = exec::spawn_flush(move || {
        let done = work(&mut taken);
        (taken, done)
    })
    .await;
    *copying = Some(taken);
    done
}
