//! Carries compaction out: on side threads, a window at a time, no faster than it may be. What it
//! found of a log's keys is kept from one step of a pass to the next.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klamm_engine::compaction_work::{
    Clean, CleanWork, CompactDone, CompactFault, CompactJob, CompactStep, NameOperation, Pace,
    StepFault, Survey, SurveyWork, Swap, name_operations,
};
use klamm_model::{Offset, TopicPartition};
use klamm_os::{clock, disk, exec, random};
use klamm_records::compact::{HashKey, OffsetMap};
use klamm_records::segment::{self, CLEANED_OFFSETS_FILE, PartitionOffsets};

use super::Patience;
use super::files::{Folders, unless_gone};
use crate::storage::DataFolder;
use crate::turn::must;

/// Up to where the partitions of a node are compacted, and the file that says so. Only side threads
/// take the lock.
#[derive(Clone, Debug)]
pub(crate) struct SharedCleaned {
    path: PathBuf,
    offsets: Arc<Mutex<PartitionOffsets>>,
}

impl SharedCleaned {
    pub(crate) fn new(folder: &Path, offsets: PartitionOffsets) -> Self {
        Self {
            path: folder.join(CLEANED_OFFSETS_FILE),
            offsets: Arc::new(Mutex::new(offsets)),
        }
    }

    /// Changes what is known of one partition, durably. Blocks.
    fn change(&self, change: impl FnOnce(&mut PartitionOffsets) -> bool) -> io::Result<()> {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut offsets) {
            return Ok(());
        }
        let text = segment::format_partition_offsets(&offsets);
        disk::write_atomically(&self.path, text.as_bytes())
    }

    /// The folder of this name is gone: nothing of it is clean. Blocks.
    pub(crate) fn forget(&self, folder: &str) -> io::Result<()> {
        let name = segment::parse_partition_folder(folder);
        self.change(|offsets| name.is_some_and(|name| offsets.remove(&name).is_some()))
    }
}

/// The compaction of one core.
pub(crate) struct Compactor {
    folders: Folders,
    cleaned: SharedCleaned,
    patience: Rc<Patience>,
    key: HashKey,
    /// The keys of the log under way.
    map: RefCell<Option<(TopicPartition, Arc<OffsetMap>)>>,
}

impl Compactor {
    pub(crate) fn new(folders: Folders, cleaned: SharedCleaned, patience: Rc<Patience>) -> Self {
        // Nobody can choose keys that fall together without knowing it.
        let key = HashKey(must("get randomness", random::bits()));
        Self {
            folders,
            cleaned,
            patience,
            key,
            map: RefCell::default(),
        }
    }

    /// Lets go of what is known of a partition that goes away.
    pub(crate) fn close(&self, partition: TopicPartition) {
        let mut map = self.map.borrow_mut();
        if map.as_ref().is_some_and(|(of, _)| *of == partition) {
            *map = None;
        }
    }

    /// Nothing of the partition whose folder is gone is clean.
    pub(crate) async fn forget(&self, folder: &str) -> io::Result<()> {
        let attempt = || {
            let (cleaned, folder) = (self.cleaned.clone(), folder.to_owned());
            exec::spawn_flush(move || cleaned.forget(&folder))
        };
        self.patience.attempt(attempt).await
    }

    /// Does a step. What fails and is not the log's own fault ends the process, as any failed write.
    pub(crate) async fn run(&self, job: &CompactJob) -> Result<CompactDone, CompactFault> {
        let done = match &job.step {
            CompactStep::Survey(survey) => self.survey(job, survey).await,
            CompactStep::Clean(clean) => self.clean(job, clean).await,
            CompactStep::Swap(swap) => self.swap(job, swap).await,
            CompactStep::End { cleaned_to, .. } => self.end(job, *cleaned_to).await,
        };
        match done {
            Err(fault) if self.is_gone(job).await => {
                tracing::debug!(partition = %job.partition, %fault, "compaction of a log that is gone");
                Err(CompactFault::Gone)
            }
            done => done,
        }
    }

    async fn is_gone(&self, job: &CompactJob) -> bool {
        let (folders, job) = (self.folders.clone(), job.clone());
        let enter =
            move || folders.enter(&job.folder, job.partition.topic, |path| Ok(path.is_dir()));
        let entered = exec::spawn_blocking(enter).await;
        matches!(entered, Ok(None | Some(false)))
    }

    fn storage(&self, job: &CompactJob) -> DataFolder {
        let (folders, folder) = (self.folders.clone(), Arc::clone(&job.folder));
        let opened = DataFolder::within(folders, &folder, job.partition.topic);
        must("open the data folder", opened)
    }

    async fn survey(&self, job: &CompactJob, survey: &Survey) -> Result<CompactDone, CompactFault> {
        self.map.replace(None);
        let mut work = SurveyWork::new(Arc::clone(&job.folder), survey.clone(), self.key);
        let mut storage = self.storage(job);
        let brake = Brake::new(survey.pace);
        loop {
            let step = move || {
                let stepped = work.step(&mut storage);
                (work, storage, stepped)
            };
            let stepped;
            (work, storage, stepped) = exec::spawn_flush(step).await;
            if let Some(done) = stepped? {
                let map = Arc::new(work.into_map());
                self.map.replace(Some((job.partition, map)));
                return Ok(done);
            }
            brake.wait(work.bytes()).await;
        }
    }

    async fn clean(&self, job: &CompactJob, clean: &Clean) -> Result<CompactDone, CompactFault> {
        let map = self.map.borrow().clone();
        let map = map.filter(|(of, _)| *of == job.partition);
        let (_, map) = map.ok_or(CompactFault::Gone)?;
        let mut work = CleanWork::new(Arc::clone(&job.folder), clean.clone());
        let mut storage = self.storage(job);
        let brake = Brake::new(clean.pace);
        loop {
            let keys = Arc::clone(&map);
            let step = move || {
                let stepped = work.step(&mut storage, &keys);
                if stepped.is_err() {
                    // A start removes it as well.
                    drop(work.discard(&mut storage));
                }
                (work, storage, stepped)
            };
            let stepped;
            (work, storage, stepped) = exec::spawn_flush(step).await;
            match stepped {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => brake.wait(work.bytes()).await,
                Err(StepFault::Fault(fault)) => return Err(fault),
                Err(StepFault::Write(error)) if error.out_of_space => {
                    return Err(CompactFault::OutOfSpace);
                }
                Err(StepFault::Write(error)) => {
                    if self.is_gone(job).await {
                        return Err(CompactFault::Gone);
                    }
                    must("write a compacted segment", Err::<(), _>(error));
                }
            }
        }
    }

    /// Puts a written segment in its place; what it replaces is deleted some time later.
    async fn swap(&self, job: &CompactJob, swap: &Swap) -> Result<CompactDone, CompactFault> {
        let operations = name_operations(&job.folder, swap);
        let aside = operations.iter().filter_map(|operation| match operation {
            NameOperation::PutAside { to, .. } => Some(to.clone()),
            _ => None,
        });
        let aside: Vec<String> = aside.collect();
        let (folders, of) = (self.folders.clone(), job.clone());
        let swapped = exec::spawn_flush(move || {
            // Where they lie now: the name may be another topic's when they are deleted.
            let aside: Vec<PathBuf> = aside.iter().map(|to| folders.path(to)).collect();
            let renamed = folders.rename(&of.folder, of.partition.topic, &operations)?;
            Ok::<_, io::Error>(renamed.map(|()| aside))
        });
        let swapped = match swapped.await {
            Err(_) if self.is_gone(job).await => None,
            swapped => must("put a compacted segment in its place", swapped),
        };
        let Some(aside) = swapped else {
            return Err(CompactFault::Gone);
        };
        let (delay, folder) = (swap.delay, Arc::clone(&job.folder));
        exec::spawn_local(async move {
            exec::sleep(delay).await;
            let remove = move || {
                aside.into_iter().try_for_each(|path| {
                    let removed = unless_gone(disk::remove_file(path));
                    removed.map(drop)
                })
            };
            if let Err(error) = exec::spawn_flush(remove).await {
                tracing::warn!(%folder, %error, "could not delete segments that were compacted; it is tried again at the next start");
            }
        })
        .detach();
        Ok(CompactDone::Swapped)
    }

    async fn end(
        &self,
        job: &CompactJob,
        cleaned_to: Option<Offset>,
    ) -> Result<CompactDone, CompactFault> {
        self.map.replace(None);
        if let Some(end) = cleaned_to {
            let attempt = || {
                let (cleaned, topic) = (self.cleaned.clone(), job.topic.clone());
                let name = (topic, job.partition.index);
                exec::spawn_flush(move || {
                    cleaned.change(|offsets| offsets.insert(name, end) != Some(end))
                })
            };
            let saved = self.patience.attempt(attempt).await;
            must("say up to where a log is compacted", saved);
        }
        Ok(CompactDone::Ended)
    }
}

/// Keeps to `log.cleaner.io.max.bytes.per.second`.
struct Brake {
    bytes_per_second: f64,
    began: Duration,
}

impl Brake {
    fn new(pace: Pace) -> Self {
        Self {
            bytes_per_second: pace.bytes_per_second.max(1.0),
            began: clock::monotonic(),
        }
    }

    /// Waits until so many bytes since the beginning are not too many.
    async fn wait(&self, bytes: u64) {
        let seconds = bytes as f64 / self.bytes_per_second;
        let due = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let early = due.saturating_sub(clock::monotonic().saturating_sub(self.began));
        if !early.is_zero() {
            exec::sleep(early).await;
        }
    }
}
