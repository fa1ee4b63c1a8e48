//! Reads the write-ahead files of every core of the life before, and sorts their batches by
//! partition. Tells a torn tail from damage (L1 to L3).

use std::collections::BTreeMap;

use bytes::Bytes;
use klamm_model::{Offset, ShardId, TopicPartition};
use klamm_records::wal::{
    Damage, EntryKind, FILE_HEAD_BYTES, Scan, ScanBounds, ScanEnd, ScanItem, WalPosition,
    flushed_claim,
};

use crate::boot::{BootError, BootOptions, Finding, OWN_FOLDER, QUARANTINE_FOLDER};
use crate::boot_heads::{File, Files};
use crate::effects::WalPrepare;
use crate::quarantine;
use crate::storage::Storage;

/// What one core's folder holds.
#[derive(Debug, Default)]
pub(crate) struct FoundWal {
    /// Where the next life goes on: behind what was recovered, and behind every place at which
    /// older files may hold something.
    pub(crate) end: WalPosition,
    pub(crate) next_file: u64,
    pub(crate) recyclable: Vec<(u64, String)>,
    /// Paths of files of another length, which nobody uses again: made for one large batch, or
    /// under another setting. Void once a checkpoint covers this boot.
    pub(crate) surplus: Vec<String>,
}

/// What all cores' folders hold.
#[derive(Debug, Default)]
pub(crate) struct FoundWals {
    pub(crate) found: BTreeMap<ShardId, FoundWal>,
    pub(crate) logged: BTreeMap<TopicPartition, Logged>,
    /// Bytes are damaged of which nothing tells whose they were.
    pub(crate) is_in_doubt: bool,
}

/// What the write-ahead logs hold of one partition, in the order in which it was appended.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    pub(crate) batches: Vec<LoggedBatch>,
    /// The furthest start of the log that an entry names; and one behind a hole, which counts only
    /// as far as there are records.
    pub(crate) log_start: Offset,
    pub(crate) log_start_unvouched: Offset,
    /// Offset after the last record that is known to be lost.
    pub(crate) lost_end: Offset,
    /// Offset after the last record that was given up: what the logs hold before it is not enough.
    pub(crate) given_up: Offset,
    /// What is damaged, each with the offset after the last record that was there.
    pub(crate) damaged: Vec<(Offset, Finding)>,
    /// Nothing that cannot be told whose it was lies behind the last of the batches.
    pub(crate) is_end_known: bool,
}

/// A batch of a write-ahead log.
#[derive(Debug)]
pub(crate) struct LoggedBatch {
    pub(crate) bytes: Bytes,
    /// Nothing is missing before it, or somebody says that it was durable. Otherwise it counts
    /// only where it follows on what there is.
    pub(crate) is_vouched: bool,
}

/// What stands at a place of a write-ahead file.
enum FoundEntry {
    Batch(TopicPartition, Bytes),
    LogStart(TopicPartition, Offset),
    Damage(Damage),
}

/// Whose bytes are damaged, and the offset after them, if anything tells.
fn loser(damage: &Damage) -> Option<(TopicPartition, Offset)> {
    match damage.head {
        Some(head) if head.kind == EntryKind::Batch && head.end_offset > head.base_offset => {
            Some((head.partition, head.end_offset))
        }
        // A mark holds no record.
        Some(head) if !matches!(head.kind, EntryKind::Batch | EntryKind::Unknown(_)) => {
            Some((head.partition, Offset::ZERO))
        }
        _ => None,
    }
}

impl FoundWals {
    fn take_in(&mut self, partition: TopicPartition, bytes: Bytes, is_vouched: bool) {
        let logged = self.logged.entry(partition).or_default();
        logged.batches.push(LoggedBatch { bytes, is_vouched });
        logged.is_end_known = true;
    }

    fn trim(&mut self, partition: TopicPartition, log_start: Offset, is_vouched: bool) {
        let logged = self.logged.entry(partition).or_default();
        let known = match is_vouched {
            true => &mut logged.log_start,
            false => &mut logged.log_start_unvouched,
        };
        *known = log_start.max(*known);
    }

    /// A damaged entry, whose whole head tells the offset after it.
    fn lose(&mut self, partition: TopicPartition, end: Offset, finding: Finding) {
        let logged = self.logged.entry(partition).or_default();
        logged.lost_end = logged.lost_end.max(end);
        logged.damaged.push((end, finding));
        logged.is_end_known = true;
    }

    /// Damage of which nothing tells what it hit.
    fn doubt(&mut self) {
        self.is_in_doubt = true;
        for logged in self.logged.values_mut() {
            logged.is_end_known = false;
        }
    }
}

/// Reads everything behind the checkpoints. If one of them could not be read, `is_incomplete`,
/// files that it made void may have been used again.
pub(crate) fn read_all<S: Storage>(
    storage: &mut S,
    covered: &BTreeMap<ShardId, WalPosition>,
    is_incomplete: bool,
    options: &BootOptions,
    findings: &mut Vec<Finding>,
) -> Result<FoundWals, BootError> {
    let mut all = FoundWals::default();
    for (&shard, &end) in covered {
        all.found.insert(
            shard,
            FoundWal {
                end,
                ..FoundWal::default()
            },
        );
    }
    for name in storage.list(OWN_FOLDER)? {
        let Some(shard) = name
            .strip_prefix("wal-")
            .and_then(|number| number.parse().ok())
        else {
            continue;
        };
        let shard = ShardId(shard);
        let folder = format!("{OWN_FOLDER}/{name}");
        let from = covered.get(&shard).copied().unwrap_or(WalPosition::ZERO);
        let found = Reading {
            storage,
            folder,
            shard,
            is_incomplete,
            findings,
        }
        .read(from, options.wal_file_bytes, &mut all)?;
        all.found.insert(shard, found);
    }
    Ok(all)
}

/// Reads the folder of one core.
pub(crate) struct Reading<'a, S> {
    pub(crate) storage: &'a mut S,
    pub(crate) folder: String,
    pub(crate) shard: ShardId,
    pub(crate) is_incomplete: bool,
    pub(crate) findings: &'a mut Vec<Finding>,
}

impl<S: Storage> Reading<'_, S> {
    fn read(
        &mut self,
        from: WalPosition,
        file_bytes: u64,
        all: &mut FoundWals,
    ) -> Result<FoundWal, BootError> {
        let Files {
            begun: mut files,
            void,
        } = self.files()?;
        // Larger than what names say, too: a name is not given twice while its file is there.
        let named = files.iter().map(|file| &file.name);
        let named = named.chain(void.iter().map(|file| &file.name));
        let named = named.filter_map(|name| WalPrepare::number_in(name)).max();
        let newest = files.last().map(|file| file.head.number);
        let mut next_file = named.max(newest).map_or(0, |number| number + 1);
        let recyclable = files
            .iter()
            .filter(|file| file.length == file_bytes)
            .map(|file| (file.head.number, file.name.clone()));
        let mut recyclable: Vec<(u64, String)> = recyclable.collect();
        // The newest file stays: it tells that older lives' entries are void, and which numbers
        // were used.
        let older = files.split_last().map_or(&[][..], |(_, older)| older);
        let surplus = older
            .iter()
            .filter(|file| file.length != file_bytes)
            .map(|file| format!("{}/{}", self.folder, file.name));
        let mut surplus: Vec<String> = surplus.collect();
        let (usable, unusable): (Vec<_>, Vec<_>) = void
            .into_iter()
            .partition(|file| file.is_blank && file.length == file_bytes);
        if !usable.is_empty() {
            // The life that made them may have ended before their names were durable.
            self.storage.flush_folder(&self.folder)?;
        }
        for file in usable {
            recyclable.push((next_file, file.name));
            next_file += 1;
        }
        let unusable = unusable.iter();
        surplus.extend(unusable.map(|file| format!("{}/{}", self.folder, file.name)));
        // What was cut off may stand behind the end, and become the newest life again if the head
        // of the next one is lost: no position is used twice.
        let beyond = files.iter().map(File::beyond).max();
        let headless = files.iter().filter(|file| file.is_head_lost);
        let headless: Vec<_> = headless
            .map(|file| (file.name.clone(), file.head))
            .collect();
        // Only the newest life counts: what older ones wrote is in segments, or was cut.
        let life = files.last().map(|file| file.head.incarnation);
        files.retain(|file| Some(file.head.incarnation) == life);
        let mut end = from;
        if self.is_incomplete {
            // Where a number is missing, a file became void by a checkpoint and was used again.
            for run in files.chunk_by(|file, next| file.head.number + 1 == next.head.number) {
                end = self.read_run(run, from, end, all)?;
            }
        } else {
            end = self.read_run(&files, from, end, all)?;
        }
        self.put_back(&headless)?;
        let end = end.max(beyond.unwrap_or(end));
        // Entries stand at multiples of eight; what follows must, too.
        let end = WalPosition(end.0.next_multiple_of(8));
        Ok(FoundWal {
            end,
            next_file,
            recyclable,
            surplus,
        })
    }

    /// Reads files that follow on each other; what is before `end` was read. Gives the new end.
    fn read_run(
        &mut self,
        files: &[File],
        from: WalPosition,
        mut end: WalPosition,
        all: &mut FoundWals,
    ) -> Result<WalPosition, BootError> {
        let starts: Vec<WalPosition> = files.iter().map(|file| file.head.start).collect();
        let mut is_vouched = true;
        let mut first = true;
        for (place, file) in files.iter().enumerate() {
            let next = starts.get(place + 1).copied();
            if next.is_some_and(|next| next <= from) {
                continue;
            }
            if std::mem::take(&mut first) && file.head.start > end {
                let claimed = self.claims(&files[place..])?;
                if self.is_incomplete {
                    // What is missing was void perhaps, and perhaps never durable.
                    is_vouched = claimed >= file.head.start;
                } else if claimed > end {
                    self.report_missing(from, file);
                    all.doubt();
                } else {
                    // The head of the first file never reached the device, and nobody says that
                    // what stood in it was durable.
                    break;
                }
            }
            self.tell_of_head(&files[place..], from)?;
            let scanned = self.read_file(file, next, from, &files[place + 1..])?;
            let ended = scanned.ended;
            self.take_in(file, scanned, is_vouched, all)?;
            end = end.max(ended.position());
            let has_later = next.is_some();
            if stops_early(ended, next) && self.is_incomplete && has_later {
                // Perhaps this file was void, and being used again when the power went.
                is_vouched = false;
            } else if stops_early(ended, next) {
                self.findings.push(Finding::TornTail {
                    shard: self.shard,
                    position: end,
                });
                break;
            }
        }
        Ok(end)
    }

    fn report_missing(&mut self, from: WalPosition, file: &File) {
        self.findings.push(Finding::WalDamage {
            shard: self.shard,
            from,
            to: file.head.start,
            partition: None,
            fault: "the file that held these bytes is missing".to_owned(),
            quarantined: "nowhere".to_owned(),
        });
    }

    fn read_file(
        &mut self,
        file: &File,
        next: Option<WalPosition>,
        from: WalPosition,
        later: &[File],
    ) -> Result<Scanned, BootError> {
        let start = file.head.start.max(from);
        let skip = FILE_HEAD_BYTES as u64 + start.since(file.head.start);
        let path = format!("{}/{}", self.folder, file.name);
        let length = file.length.saturating_sub(skip) as usize;
        let area = self.storage.view(&path, skip, length)?;
        let mut bounds = ScanBounds {
            incarnation: file.head.incarnation,
            start,
            end: next,
            flushed: from,
        };
        let mut scanned = scan(&area, bounds);
        if stops_early(scanned.ended, next) && !later.is_empty() {
            let claimed = self.claims(later)?;
            if claimed > bounds.flushed {
                bounds.flushed = claimed;
                scanned = scan(&area, bounds);
            }
        }
        Ok(scanned)
    }

    /// Sorts what a file holds by partition, and keeps a copy of it if it is damaged.
    fn take_in(
        &mut self,
        file: &File,
        scanned: Scanned,
        is_vouched: bool,
        all: &mut FoundWals,
    ) -> Result<(), BootError> {
        let is_damaged = |found: &FoundEntry| matches!(found, FoundEntry::Damage(_));
        let copy = match scanned.found.iter().any(is_damaged) {
            true => self.quarantine(file)?,
            false => String::new(),
        };
        for found in scanned.found {
            let damage = match found {
                FoundEntry::Batch(partition, bytes) => {
                    all.take_in(partition, bytes, is_vouched);
                    continue;
                }
                FoundEntry::LogStart(partition, log_start) => {
                    all.trim(partition, log_start, is_vouched);
                    continue;
                }
                FoundEntry::Damage(damage) => damage,
            };
            let finding = Finding::WalDamage {
                shard: self.shard,
                from: damage.from,
                to: damage.to,
                partition: damage.head.map(|head| head.partition),
                fault: damage.fault.to_string(),
                quarantined: copy.clone(),
            };
            if let Some((partition, end)) = loser(&damage) {
                all.lose(partition, end, finding);
            } else {
                self.findings.push(finding);
                all.doubt();
            }
        }
        Ok(())
    }

    /// The largest flushed position that a later file of this life claims.
    pub(crate) fn claims(&mut self, later: &[File]) -> Result<WalPosition, BootError> {
        let mut largest = WalPosition::ZERO;
        for (place, file) in later.iter().enumerate() {
            let path = format!("{}/{}", self.folder, file.name);
            let skip = FILE_HEAD_BYTES as u64;
            let length = file.length.saturating_sub(skip) as usize;
            let area = self.storage.view(&path, skip, length)?;
            let bounds = ScanBounds {
                incarnation: file.head.incarnation,
                start: file.head.start,
                end: later.get(place + 1).map(|next| next.head.start),
                flushed: WalPosition::ZERO,
            };
            largest = largest.max(flushed_claim(&area, &bounds).unwrap_or(WalPosition::ZERO));
        }
        Ok(largest)
    }

    /// Where a file of this core is kept that is damaged.
    pub(crate) fn copy_of(&self, name: &str) -> String {
        format!("{QUARANTINE_FOLDER}/wal-{}-{name}", self.shard)
    }

    /// Copies a damaged file; gives the copy's path.
    fn quarantine(&mut self, file: &File) -> Result<String, BootError> {
        let copy = self.copy_of(&format!("{:020}.wal", file.head.number));
        let path = format!("{}/{}", self.folder, file.name);
        let bytes = self.storage.read(&path)?.unwrap_or_default();
        quarantine::keep(self.storage, &copy, &bytes)?;
        Ok(copy)
    }
}

/// True if the log is cut here: what a later file holds does not follow. A file of which nothing
/// reached the device looks as if it had never been written.
fn stops_early(ended: ScanEnd, next: Option<WalPosition>) -> bool {
    match ended {
        ScanEnd::Torn(_) => true,
        ScanEnd::Clean(position) | ScanEnd::Full(position) => {
            next.is_some_and(|next| position < next)
        }
    }
}

/// What one file holds.
struct Scanned {
    /// In order.
    found: Vec<FoundEntry>,
    ended: ScanEnd,
}

/// Reads every entry once: checksums of a whole write-ahead log are most of what a start costs.
fn scan(area: &Bytes, bounds: ScanBounds) -> Scanned {
    let mut scan = Scan::new(area, bounds);
    let mut found = Vec::new();
    for item in scan.by_ref() {
        match item {
            ScanItem::Entry(entry) if entry.head.kind == EntryKind::Batch => {
                let at = entry.head.stamp.position.since(bounds.start) as usize;
                let payload = at + entry.head.payload_at();
                let bytes = area.slice(payload..payload + entry.payload.len());
                found.push(FoundEntry::Batch(entry.head.partition, bytes));
            }
            ScanItem::Entry(entry) if entry.head.kind == EntryKind::LogStart => {
                let log_start = entry.head.base_offset;
                found.push(FoundEntry::LogStart(entry.head.partition, log_start));
            }
            ScanItem::Entry(_) => {}
            ScanItem::Damage(damage) => found.push(FoundEntry::Damage(damage)),
        }
    }
    Scanned {
        found,
        ended: scan.end().unwrap_or(ScanEnd::Clean(bounds.start)),
    }
}
