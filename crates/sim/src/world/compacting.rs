//! A step of compaction on the fake disk: the same code as on a real one, a window, a flush or a
//! change of names at a time.

use std::sync::Arc;

use klamm_engine::compaction_work::{
    CleanWork, CompactDone, CompactFault, CompactJob, CompactStep, NameOperation, StepFault,
    SurveyWork, name_operations,
};
use klamm_model::{Offset, TopicPartition};
use klamm_records::compact::{HashKey, OffsetMap};
use klamm_records::segment::{self, CLEANED_OFFSETS_FILE};

use super::segments::Removal;
use super::storage::BootStorage;
use super::work::{Done, Hands};
use crate::faults::Plant;

/// What the keys of simulated worlds are hashed with.
const KEY: HashKey = HashKey(0x6b6c_616d_6d00_7369_6d00);

/// The keys of the log that a core compacts.
pub(crate) type Keys = Option<(TopicPartition, OffsetMap)>;

#[derive(Debug)]
enum Doing {
    Survey(Box<SurveyWork>),
    Clean(Box<CleanWork>),
    /// These operations are left to do; the next one is the last.
    Swap(Vec<NameOperation>),
    /// The small file is replaced, as far as this, with this content.
    End(Option<Offset>, usize, Vec<u8>),
}

/// One step of a pass under way.
#[derive(Debug)]
pub(crate) struct Compacting {
    job: CompactJob,
    doing: Doing,
    aside: Vec<String>,
}

impl Compacting {
    pub(crate) fn new(job: CompactJob) -> Self {
        let folder = || Arc::clone(&job.folder);
        let doing = match &job.step {
            CompactStep::Survey(survey) => {
                Doing::Survey(Box::new(SurveyWork::new(folder(), survey.clone(), KEY)))
            }
            CompactStep::Clean(clean) => {
                Doing::Clean(Box::new(CleanWork::new(folder(), clean.clone())))
            }
            CompactStep::Swap(swap) => {
                let mut operations = name_operations(&job.folder, swap);
                operations.reverse();
                Doing::Swap(operations)
            }
            CompactStep::End { cleaned_to, .. } => Doing::End(*cleaned_to, 0, Vec::new()),
        };
        Self {
            job,
            doing,
            aside: Vec::new(),
        }
    }

    /// Whose log it is.
    pub(crate) const fn partition(&self) -> TopicPartition {
        self.job.partition
    }

    /// The file that this step replaces, if any.
    pub(crate) const fn path(&self) -> Option<&str> {
        match self.doing {
            Doing::End(Some(_), ..) => Some(CLEANED_OFFSETS_FILE),
            _ => None,
        }
    }

    /// There was no room for what was done last.
    pub(crate) const fn do_again(&mut self) {
        if let Doing::End(_, stage, _) = &mut self.doing {
            *stage = stage.saturating_sub(1);
        }
    }

    /// What was put aside.
    pub(crate) fn removal(&mut self) -> Option<Removal> {
        let aside = std::mem::take(&mut self.aside);
        let (partition, folder) = (self.job.partition, Arc::clone(&self.job.folder));
        (!aside.is_empty()).then(|| Removal::of_files(partition, folder, aside))
    }
}

impl Hands<'_> {
    /// Some more of a step.
    pub(crate) fn compact(&mut self, compacting: &mut Compacting) -> Option<Done> {
        let job = &compacting.job;
        if !self.may_enter(job.partition, &job.folder) {
            *self.keys = None;
            return Some(Done::Compacted(job.pass, Err(CompactFault::Gone)));
        }
        let done = match &mut compacting.doing {
            Doing::Survey(work) => {
                let stepped = work.step(&mut self.storage());
                if let Ok(Some(_)) = stepped {
                    let survey = match &job.step {
                        CompactStep::Survey(survey) => survey.clone(),
                        _ => return None,
                    };
                    let folder = Arc::clone(&job.folder);
                    let new = SurveyWork::new(folder, survey, KEY);
                    let mut map = std::mem::replace(&mut **work, new).into_map();
                    if self.plant == Some(Plant::CompactionForgetsRecord) {
                        map.put(b"key 1", Offset(i64::MAX));
                    }
                    *self.keys = Some((job.partition, map));
                }
                stepped.transpose()?
            }
            Doing::Clean(work) => self.clean(job, work).transpose()?,
            Doing::Swap(operations) => {
                let operation = operations.pop()?;
                self.rename(job, operation, &mut compacting.aside);
                if !operations.is_empty() {
                    return None;
                }
                if let CompactStep::Swap(swap) = &job.step {
                    self.open
                        .retain(|(of, base), _| *of != job.partition || !swap.bases.contains(base));
                }
                Ok(CompactDone::Swapped)
            }
            Doing::End(cleaned_to, stage, text) => {
                *self.keys = None;
                if let Some(end) = *cleaned_to {
                    *stage += 1;
                    if *stage == 1 {
                        let name = (job.topic.clone(), job.partition.index);
                        self.cleaned.insert(name, end);
                        *text = segment::format_partition_offsets(self.cleaned).into_bytes();
                    }
                    if !self.replace(CLEANED_OFFSETS_FILE, text, *stage) {
                        return None;
                    }
                }
                Ok(CompactDone::Ended)
            }
        };
        Some(Done::Compacted(job.pass, done))
    }

    fn storage(&mut self) -> BootStorage<'_> {
        BootStorage {
            disk: self.disk,
            changes_left: None,
            plant: self.plant,
        }
    }

    fn clean(
        &mut self,
        job: &CompactJob,
        work: &mut CleanWork,
    ) -> Result<Option<CompactDone>, CompactFault> {
        let keys = self.keys.take();
        let Some((_, map)) = keys.as_ref().filter(|(of, _)| *of == job.partition) else {
            return Err(CompactFault::Gone);
        };
        let stepped = work.step(&mut self.storage(), map);
        *self.keys = keys;
        match stepped {
            Ok(done) => Ok(done),
            Err(StepFault::Fault(fault)) => Err(fault),
            Err(StepFault::Write(error)) if error.out_of_space => {
                let discarded = work.discard(&mut self.storage());
                debug_assert!(discarded.is_ok(), "removing needs no room");
                Err(CompactFault::OutOfSpace)
            }
            // The disk failed, and the process with it.
            Err(StepFault::Write(_)) => Ok(None),
        }
    }

    fn rename(&mut self, job: &CompactJob, operation: NameOperation, aside: &mut Vec<String>) {
        match operation {
            NameOperation::Rename { from, to } => {
                let renamed = self.disk.rename(&from, &to);
                assert!(
                    renamed || self.disk.has_failed(),
                    "{from} is there to be renamed"
                );
            }
            NameOperation::PutAside { from, to } => {
                if self.disk.rename(&from, &to) {
                    aside.push(to);
                }
            }
            NameOperation::FlushFolder => {
                if self.plant != Some(Plant::SwapNotFlushed) {
                    self.disk.flush_folder(&job.folder);
                }
            }
        }
    }
}
