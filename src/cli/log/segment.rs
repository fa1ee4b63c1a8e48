//! Reads segments, one batch in memory at a time, and holds them against their indexes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use klamm_model::Offset;
use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_records::batch::{self, BatchError};
use klamm_records::compress::Scratch;
use klamm_records::segment::{
    Agreement, OFFSET_ENTRY_BYTES, Place, SegmentFile, TIME_ENTRY_BYTES, offset_entries,
    time_entries,
};
use serde_json::json;

use super::folders::{Segment, unreadable};
use super::report::Report;
use crate::cli::connect::Failure;

/// Most bytes that the records of one batch may have.
const RECORDS_BYTES_MAX: usize = 1 << 30;

/// Most bytes of an index; Kafka's own limit is 10 MiB.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// Examines the segments of one partition, in order.
pub(super) fn examine_partition(segments: &[Segment], report: &mut Report) -> Result<(), Failure> {
    report.partition();
    let mut end = Offset(0);
    for segment in segments {
        end = examine(segment, end, report)?;
    }
    Ok(())
}

/// Examines one segment behind others that end at `earliest`; where the log goes on.
fn examine(segment: &Segment, earliest: Offset, report: &mut Report) -> Result<Offset, Failure> {
    report.segment(&segment.log)?;
    let index = |path: &Option<std::path::PathBuf>| match path {
        Some(path) => read_index(path),
        None => Ok(Vec::new()),
    };
    let (offset_index, time_index) = (index(&segment.offset_index)?, index(&segment.time_index)?);
    let mut agreement = Agreement::new(segment.base, earliest, &offset_index, &time_index);
    let is_whole = read_batches(&segment.log, &mut agreement, report)?;
    let (next, found) = agreement.finish();
    for (place, disagreement) in found {
        let (path, position) = match place {
            Place::Log(position) => (Some(&segment.log), position),
            Place::OffsetIndex(position) => (segment.offset_index.as_ref(), position),
            Place::TimeIndex(position) => (segment.time_index.as_ref(), position),
        };
        // What lies behind bytes that cannot be read is not known to be wrong.
        if let Some(path) = path.filter(|_| is_whole || matches!(place, Place::Log(_))) {
            report.damage(path, position, &disagreement.to_string())?;
        }
    }
    Ok(next)
}

/// Reads to the end, or to where batches cannot be told apart any more; true if it was the end.
fn read_batches(
    path: &Path,
    agreement: &mut Agreement,
    report: &mut Report,
) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file).take(length);
    let (mut position, mut scratch) = (0, Scratch::default());
    while position < length {
        let mut bytes = Vec::new();
        more(&mut reader, BATCH_HEADER_BYTES, &mut bytes).map_err(failed)?;
        if bytes.iter().all(|&byte| byte == 0) && only_zeros(&mut reader, path)? {
            // Room that was made ahead of the segment's end.
            report.progress(length - position);
            return Ok(true);
        }
        let size = match batch::size_of(&bytes) {
            Ok(size) if size as u64 <= length - position => size,
            found => {
                let left = length - position;
                let error = found.map_or_else(
                    |error| error,
                    |size| BatchError::Incomplete {
                        needed: size,
                        found: usize::try_from(left).unwrap_or(usize::MAX),
                    },
                );
                let what = format!("{error}; the {left} bytes from there on cannot be examined");
                report.damage(path, position, &what)?;
                return Ok(false);
            }
        };
        let rest = size.saturating_sub(bytes.len());
        more(&mut reader, rest, &mut bytes).map_err(failed)?;
        examine_batch(path, position, bytes, agreement, report, &mut scratch)?;
        position += size as u64;
        report.progress(size as u64);
    }
    Ok(true)
}

/// Reads so many more bytes, or what there is. Memory grows with that, whatever a head claims.
fn more(reader: &mut impl Read, wanted: usize, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.by_ref().take(wanted as u64).read_to_end(bytes)
}

fn only_zeros(reader: &mut impl Read, path: &Path) -> Result<bool, Failure> {
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut piece);
        let read = read.map_err(|error| unreadable(path, &error))?;
        if piece[..read].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// One whole batch.
fn examine_batch(
    path: &Path,
    position: u64,
    bytes: Vec<u8>,
    agreement: &mut Agreement,
    report: &mut Report,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let verified = batch::verify(&bytes);
    let header = match verified.as_ref() {
        Ok(header) => *header,
        Err(error) => match batch::read(&bytes) {
            Ok(header) => header,
            Err(_) => return report.damage(path, position, &error.to_string()),
        },
    };
    report.batch(path, position, &header, verified.is_ok())?;
    if let Err(error) = verified {
        report.damage(path, position, &error.to_string())?;
    } else if report.wants_records() {
        show_records(path, position, bytes, report, scratch)?;
    }
    agreement.on_batch(position, &header);
    Ok(())
}

/// Prints the records of a batch.
pub(super) fn show_records(
    path: &Path,
    position: u64,
    bytes: Vec<u8>,
    report: &mut Report,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let records = match batch::records(&Bytes::from(bytes), RECORDS_BYTES_MAX, scratch) {
        Ok(records) => records,
        Err(error) => return report.damage(path, position, &error.to_string()),
    };
    for record in records {
        match record {
            Ok(record) => report.record(&record)?,
            Err(error) => return report.damage(path, position, &error.to_string()),
        }
    }
    Ok(())
}

fn read_index(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(INDEX_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// Prints one index file by itself.
pub(super) fn show_index(
    path: &Path,
    base: Offset,
    file: SegmentFile,
    report: &mut Report,
) -> Result<(), Failure> {
    let bytes = read_index(path)?;
    report.heading(path)?;
    report.progress(bytes.len() as u64);
    if file == SegmentFile::OffsetIndex {
        for (number, entry) in offset_entries(&bytes, base).enumerate() {
            let (offset, position) = (entry.offset, entry.position);
            let words = format!("offset {offset}  byte {position} of the log");
            let document = json!({ "offset": offset.0, "log_position": position });
            let at = (number * OFFSET_ENTRY_BYTES) as u64;
            report.entry(path, at, &words, document)?;
        }
    } else {
        for (number, entry) in time_entries(&bytes, base).enumerate() {
            let (time, offset) = (entry.timestamp.0, entry.offset);
            let words = format!("time {time}  offset {offset}");
            let document = json!({ "timestamp": time, "offset": offset.0 });
            let at = (number * TIME_ENTRY_BYTES) as u64;
            report.entry(path, at, &words, document)?;
        }
    }
    let entry_bytes = match file {
        SegmentFile::OffsetIndex => OFFSET_ENTRY_BYTES,
        SegmentFile::Log | SegmentFile::TimeIndex => TIME_ENTRY_BYTES,
    };
    if !bytes.len().is_multiple_of(entry_bytes) {
        let at = bytes.len() - bytes.len() % entry_bytes;
        report.damage(path, at as u64, "index entry is not whole")?;
    }
    Ok(())
}
