//! A read of what is no longer in memory: whole batches of a segment file, each checked.

use bytes::{Bytes, BytesMut};
use klamm_engine::effects::{ColdError, ColdFault, ColdRead, ColdTarget};
use klamm_model::BatchHeader;
use klamm_records::batch;
use klamm_records::segment::{self, Landings, OffsetEntry, SegmentFile, Succession};

use super::disk::SimDisk;
use super::work::{Done, Hands};
use crate::faults::Plant;

impl Hands<'_> {
    pub(super) fn cold_read(&self, read: &ColdRead) -> Done {
        let (mut result, faults) = cold_read(self.disk, read);
        if self.plant == Some(Plant::ColdReadSkipsBatch) {
            result = result.map(|run| skip_second_batch(&run));
        }
        Done::ColdRead {
            read: read.clone(),
            result,
            faults,
        }
    }
}

/// Reads whole batches from a segment file, each checked against its checksum; also what was wrong
/// beside them.
fn cold_read(disk: &SimDisk, read: &ColdRead) -> (Result<Vec<Bytes>, ColdError>, Vec<ColdFault>) {
    let file = |file| {
        let name = segment::segment_file(read.segment, file);
        let node = disk.file(&format!("{}/{name}", read.folder))?;
        Some(disk.bytes(node))
    };
    let Some(log) = file(SegmentFile::Log) else {
        return (Err(ColdError::Damaged), Vec::new());
    };
    let index = file(SegmentFile::OffsetIndex).unwrap_or_default();
    let mut landings = Landings::new(match read.target {
        ColdTarget::Offset(offset) => Some(offset),
        ColdTarget::Timestamp { .. } => None,
    });
    let mut missed = None;
    loop {
        let start = landings.next(index, read.segment).flatten();
        let walked = walk(log, read, start.as_ref());
        let at = start.as_ref().map_or(0, |entry| entry.position as usize);
        if start.is_some() && walked.as_ref().err() == Some(&Some(at)) {
            missed.get_or_insert(at);
            continue;
        }
        let damage = walked.as_ref().err().copied().flatten();
        let mut faults = Vec::new();
        if missed.is_some_and(|at| damage != Some(at)) {
            faults.push(ColdFault::Index);
        }
        faults.extend(damage.map(|at| ColdFault::Damage { at: at as u64 }));
        return (walked.map_err(|_| ColdError::Damaged), faults);
    }
}

/// Walks through a segment from one place on. An error is the position of the damage, if that is
/// what it is.
fn walk(
    log: &[u8],
    read: &ColdRead,
    start: Option<&OffsetEntry>,
) -> Result<Vec<Bytes>, Option<usize>> {
    let mut at = start.map_or(0, |entry| entry.position as usize);
    let mut succession = start.map_or_else(
        || Succession::from_start(read.segment),
        Succession::from_entry,
    );
    let length = read.length as usize;
    let mut run = BytesMut::new();
    let mut next = None;
    while at < length {
        let found = batch_at(&log[..log.len().min(length)], at);
        let sound = found.filter(|(_, header)| succession.follow(header).is_ok());
        let Some((size, header)) = sound else {
            // What was found before the damage is good.
            if run.is_empty() {
                return Err(Some(at));
            }
            break;
        };
        let bytes = &log[at..at + size];
        at += size;
        if header.base_offset >= read.end_offset {
            break;
        }
        let wanted = match read.target {
            ColdTarget::Offset(offset) => header.end_offset() > offset,
            ColdTarget::Timestamp { at, from } => {
                header.max_timestamp >= at && header.end_offset() > from
            }
        };
        if !wanted {
            continue;
        }
        let hole = matches!(read.target, ColdTarget::Offset(offset) if header.base_offset > offset);
        if hole && run.is_empty() {
            return Err(None);
        }
        let follows = next.is_none_or(|next| next == header.base_offset);
        next = Some(header.end_offset());
        let fits = run.is_empty() || run.len() + bytes.len() <= read.bytes_max;
        if !(follows && fits) {
            break;
        }
        run.extend_from_slice(bytes);
        if run.len() >= read.bytes_max {
            break;
        }
    }
    Ok(if run.is_empty() {
        Vec::new()
    } else {
        vec![run.freeze()]
    })
}

/// The batch at a place of a segment, if it is whole and right.
fn batch_at(log: &[u8], at: usize) -> Option<(usize, BatchHeader)> {
    let rest = log.get(at..)?;
    let size = batch::size_of(rest).ok()?;
    let header = batch::verify(rest.get(..size)?).ok()?;
    Some((size, header))
}

/// Plants a hole into what a cold read found.
fn skip_second_batch(run: &[Bytes]) -> Vec<Bytes> {
    let joined: Vec<u8> = run.concat();
    let mut out = Vec::new();
    let (mut at, mut place) = (0, 0);
    while at < joined.len() {
        let size = batch::size_of(&joined[at..]).unwrap_or(joined.len() - at);
        let end = (at + size).min(joined.len());
        if place != 1 {
            out.extend_from_slice(&joined[at..end]);
        }
        at = end;
        place += 1;
    }
    vec![out.into()]
}
