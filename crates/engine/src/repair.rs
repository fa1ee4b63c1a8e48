//! What reads found wrong in segments: an index is made anew, damaged bytes are copied into
//! quarantine. One after the other, beside the core's work, and each only once in a life.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use klamm_model::{Offset, TopicPartition};
use klamm_records::batch;
use klamm_records::segment::{self, SegmentEnd, Succession};

use crate::boot::QUARANTINE_FOLDER;
use crate::boot_partition::log_path;
use crate::effects::{ColdFault, Effect, Repair};
use crate::engine::Engine;
use crate::quarantine;
use crate::reindex::reindex;
use crate::storage::{Storage, StorageError};

/// Repairs that a core asks for in one life; what is beyond waits for the next.
const REPAIRS_MAX: usize = 1024;

/// Copies that are kept of one partition.
const COPIES_MAX: usize = 64;

/// Bytes of a damaged range that are copied at the most.
const COPY_BYTES_MAX: usize = 16 << 20;

/// Bytes in which the end of a damaged range is first sought.
const WINDOW_BYTES: usize = 256 << 10;

/// The repairs of one core.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// All that were ever asked for.
    known: BTreeSet<(TopicPartition, Offset, ColdFault)>,
    waiting: VecDeque<Repair>,
    under_way: Option<TopicPartition>,
}

impl Repairs {
    /// True if a repair of this segment is under way, or will be.
    pub(crate) fn concern(&self, partition: TopicPartition, segment: Offset) -> bool {
        // What is under way is not in the list any more.
        self.under_way.is_some()
            && self
                .known
                .iter()
                .any(|&(other, base, _)| (other, base) == (partition, segment))
    }
}

impl Repairs {
    /// True if a repair of one of its segments is under way.
    pub(crate) fn work_on(&self, partition: TopicPartition) -> bool {
        self.under_way == Some(partition)
    }

    /// Other files lie under these names now: whatever is found wrong in them is new.
    pub(crate) fn forget(&mut self, partition: TopicPartition, segments: &[Offset]) {
        self.known
            .retain(|(other, base, _)| *other != partition || !segments.contains(base));
    }
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// These index files were not what the batches say, and were replaced.
    Indexes {
        /// Relative to the data folder.
        paths: Vec<String>,
    },
    /// The damaged bytes were copied, or had been before.
    Copied {
        /// The damaged segment.
        from: String,
        /// Position of the first damaged byte.
        at: u64,
        /// How many were copied.
        bytes: u64,
        /// The copy, relative to the data folder.
        to: String,
    },
    /// As many copies as are kept of one partition lie in its folder.
    Full {
        /// The folder.
        folder: String,
    },
    /// There was nothing to do.
    Nothing,
}

impl fmt::Display for Repaired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Indexes { paths } => {
                write!(
                    formatter,
                    "{} made anew; nothing was lost",
                    paths.join(" and ")
                )
            }
            Self::Copied {
                from,
                at,
                bytes,
                to,
            } => write!(
                formatter,
                "{bytes} damaged bytes of {from} at position {at} are kept in {to}"
            ),
            Self::Full { folder } => write!(
                formatter,
                "{folder} holds as many damaged pieces as are kept; no more are copied"
            ),
            Self::Nothing => formatter.write_str("nothing was to be done"),
        }
    }
}

impl Engine {
    /// A cold read met something wrong; called before [`on_cold_read`](Self::on_cold_read).
    pub fn on_cold_fault(&mut self, partition: TopicPartition, segment: Offset, fault: ColdFault) {
        let known = (partition, segment, fault);
        if self.repairs.known.len() >= REPAIRS_MAX || self.repairs.known.contains(&known) {
            return;
        }
        let Some(log) = self
            .slot_of(partition)
            .and_then(|slot| self.partition(slot))
        else {
            return;
        };
        let Some(found) = log.segments.get(segment) else {
            return;
        };
        if fault == ColdFault::Index && segment >= log.spilled_in.0 {
            // It is still written to. Its index is judged again when it is read closed.
            return;
        }
        let repair = Repair {
            partition,
            folder: Arc::clone(&log.folder),
            segment,
            length: log.spilled_bytes(found),
            interval_bytes: log.config.index_interval_bytes as usize,
            fault,
        };
        self.repairs.known.insert(known);
        self.repairs.waiting.push_back(repair);
        self.drive_repairs();
    }

    /// The repair that was handed out is done, or cannot be.
    pub fn on_repaired(&mut self) {
        self.repairs.under_way = None;
        self.drive_repairs();
    }

    pub(crate) fn drive_repairs(&mut self) {
        if self.repairs.under_way.is_some() {
            return;
        }
        let mut held = VecDeque::new();
        while let Some(repair) = self.repairs.waiting.pop_front() {
            if self.holds_files(repair.partition) {
                held.push_back(repair);
            } else if self.slot_of(repair.partition).is_some() {
                self.repairs.under_way = Some(repair.partition);
                self.effects.push(Effect::Repair(repair));
                break;
            }
        }
        held.append(&mut self.repairs.waiting);
        self.repairs.waiting = held;
    }
}

/// A repair that is worked out and only has to be written.
#[derive(Debug)]
pub struct Prepared {
    /// A folder that is made first.
    folder: Option<String>,
    replaces: Vec<(String, Vec<u8>)>,
    done: Repaired,
}

impl Prepared {
    fn nothing(done: Repaired) -> Self {
        Self {
            folder: None,
            replaces: Vec::new(),
            done,
        }
    }

    /// Files of the partition to replace, relative to the data folder, each with its new content;
    /// none if all there is to do is to make a copy elsewhere. A host whose folders change owners
    /// replaces them itself, so that nobody waits for the device meanwhile.
    #[must_use]
    pub fn replaces(&self) -> &[(String, Vec<u8>)] {
        match self.folder {
            None => &self.replaces,
            Some(_) => &[],
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn done(self) -> Repaired {
        self.done
    }

    /// Writes it.
    ///
    /// # Errors
    /// The storage's; nothing is lost by that.
    pub fn finish<S: Storage>(self, storage: &mut S) -> Result<Repaired, StorageError> {
        if let Some(folder) = &self.folder {
            storage.create_folder(folder)?;
        }
        for (path, bytes) in &self.replaces {
            storage.replace(path, bytes)?;
        }
        Ok(self.done)
    }
}

/// Works a repair out, which may take reading a whole segment, and changes nothing. Blocks on the
/// storage.
///
/// # Errors
/// The storage's; nothing is lost by that.
pub fn prepare<S: Storage>(storage: &mut S, repair: &Repair) -> Result<Prepared, StorageError> {
    let (folder, segment) = (&*repair.folder, repair.segment);
    let at = match repair.fault {
        ColdFault::Damage { at } => at,
        ColdFault::Index => {
            let interval = repair.interval_bytes;
            let made = reindex(storage, folder, segment, repair.length, interval)?;
            let paths = made.replaces.iter().map(|(path, _)| path.clone());
            let paths: Vec<String> = paths.collect();
            let is_right = paths.is_empty();
            return Ok(Prepared {
                folder: None,
                replaces: made.replaces,
                done: if is_right {
                    Repaired::Nothing
                } else {
                    Repaired::Indexes { paths }
                },
            });
        }
    };
    keep(storage, folder, segment, at, repair.length)
}

/// Copies the damaged bytes from `at` on into quarantine, up to the next batch that can be read.
fn keep<S: Storage>(
    storage: &mut S,
    folder: &str,
    segment: Offset,
    at: u64,
    length: u64,
) -> Result<Prepared, StorageError> {
    let from = log_path(folder, segment);
    let into = format!("{QUARANTINE_FOLDER}/{folder}");
    let to = quarantine::path_of_range(folder, segment, at);
    let copied = |bytes, to| Repaired::Copied {
        from: from.clone(),
        at,
        bytes,
        to,
    };
    if let Some(bytes) = storage.length(&to)? {
        return Ok(Prepared::nothing(copied(bytes, to)));
    }
    if storage.list(&into)?.len() >= COPIES_MAX {
        return Ok(Prepared::nothing(Repaired::Full { folder: into }));
    }
    let bytes = damaged_range(storage, &from, segment, at, length)?;
    if bytes.is_empty() {
        return Ok(Prepared::nothing(Repaired::Nothing));
    }
    Ok(Prepared {
        folder: Some(into),
        done: copied(bytes.len() as u64, to.clone()),
        replaces: vec![(to, bytes)],
    })
}

/// What cannot be read from `at` on. Where a whole batch stands, it is that batch: it is not where
/// it should be.
fn damaged_range<S: Storage>(
    storage: &mut S,
    path: &str,
    segment: Offset,
    at: u64,
    length: u64,
) -> Result<Vec<u8>, StorageError> {
    let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
    let most = left.min(COPY_BYTES_MAX);
    let mut window = WINDOW_BYTES.min(most);
    loop {
        let mut bytes = storage.read_at(path, at, window)?;
        let is_all = window == most || bytes.len() < window;
        if let Ok(header) = batch::verify(&bytes) {
            bytes.truncate(header.size);
            return Ok(bytes);
        }
        let end = at as usize + bytes.len();
        let mut succession = Succession::from_least(segment);
        let verdict = segment::recover(
            &bytes,
            at as usize,
            segment,
            &mut succession,
            end,
            |_, _| {},
        );
        match verdict {
            SegmentEnd::Damage { to, .. } if to < end => {
                bytes.truncate(to - at as usize);
                return Ok(bytes);
            }
            _ if is_all => return Ok(bytes),
            _ => window = (window * 4).min(most),
        }
    }
}
