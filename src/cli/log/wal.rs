//! Reads write-ahead files as a start does: those of one life in the order of their numbers, each up
//! to the start of the next, and what had been durable must be there.

use std::path::{Path, PathBuf};

use klamm_records::batch;
use klamm_records::compress::Scratch;
use klamm_records::wal::{
    Entry, EntryKind, FILE_HEAD_BYTES, FileHead, Scan, ScanBounds, ScanEnd, ScanItem, WalPosition,
    flushed_claim,
};
use serde_json::json;

use super::folders::unreadable;
use super::report::Report;
use super::segment::show_records;
use crate::cli::connect::Failure;

/// A file with its head.
struct Headed<'p> {
    path: &'p Path,
    head: FileHead,
}

/// Examines the files of one core.
pub(super) fn examine(files: &[PathBuf], report: &mut Report) -> Result<(), Failure> {
    let mut headed = Vec::new();
    for path in files {
        let bytes = read(path)?;
        match FileHead::decode(&bytes) {
            Ok(head) => headed.push(Headed { path, head }),
            // Made ahead of its use.
            Err(_) if bytes.iter().all(|&byte| byte == 0) => report.write_ahead_file(path)?,
            Err(error) => {
                report.write_ahead_file(path)?;
                report.damage(path, 0, &error.to_string())?;
            }
        }
    }
    headed.sort_by_key(|file| file.head.number);
    for place in 0..headed.len() {
        examine_file(&headed[place..], report)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

/// The file that continues the first of these, if it is of the same life.
fn next<'f>(files: &'f [Headed<'_>]) -> Option<&'f Headed<'f>> {
    let [file, next, ..] = files else { return None };
    let follows = next.head.incarnation == file.head.incarnation
        && Some(next.head.number) == file.head.number.checked_add(1)
        && next.head.start >= file.head.start;
    follows.then_some(next)
}

fn bounds(files: &[Headed<'_>], flushed: WalPosition) -> ScanBounds {
    let file = &files[0];
    ScanBounds {
        incarnation: file.head.incarnation,
        start: file.head.start,
        end: next(files).map(|next| next.head.start),
        flushed,
    }
}

/// Examines the first of these files; the others come after it.
fn examine_file(files: &[Headed<'_>], report: &mut Report) -> Result<(), Failure> {
    let path = files[0].path;
    report.write_ahead_file(path)?;
    let bytes = read(path)?;
    let area = &bytes[FILE_HEAD_BYTES..];
    let mut within = bounds(files, WalPosition::ZERO);
    let mut scan = Scan::new(area, within);
    scan.by_ref().for_each(drop);
    let end = scan.end().map_or(within.start, ScanEnd::position);
    let stops_early = within.end.is_some_and(|next| end < next);
    if stops_early {
        within.flushed = claims(&files[1..])?;
    }
    let mut scratch = Scratch::default();
    let mut scan = Scan::new(area, within);
    for item in scan.by_ref() {
        match item {
            ScanItem::Entry(entry) => {
                let at = place(&within, entry.head.stamp.position);
                show_entry(path, at, &entry, report, &mut scratch)?;
            }
            ScanItem::Damage(damage) => {
                let at = place(&within, damage.from);
                let bytes = damage.to.since(damage.from);
                let what = format!("{}; {bytes} bytes had been durable", damage.fault);
                report.damage(path, at, &what)?;
            }
        }
    }
    let words = match scan.end() {
        Some(ScanEnd::Torn(_)) => "the last write was not completed; the next start cuts it off",
        Some(ScanEnd::Clean(_)) => "nothing was written behind this",
        Some(ScanEnd::Full(_)) | None => "the file is used up",
    };
    let end = scan.end().map_or(within.start, ScanEnd::position);
    report.entry(path, place(&within, end), words, json!({ "end": words }))?;
    report.progress(bytes.len() as u64);
    Ok(())
}

/// The byte of the file at which a position stands.
fn place(bounds: &ScanBounds, position: WalPosition) -> u64 {
    FILE_HEAD_BYTES as u64 + position.since(bounds.start)
}

/// The largest durable end that files of the same life claim behind the one that stops early.
fn claims(later: &[Headed<'_>]) -> Result<WalPosition, Failure> {
    let mut largest = WalPosition::ZERO;
    for place in 0..later.len() {
        let files = &later[place..];
        if files[0].head.incarnation != later[0].head.incarnation {
            break;
        }
        let bytes = read(files[0].path)?;
        let area = bytes.get(FILE_HEAD_BYTES..).unwrap_or_default();
        let claim = flushed_claim(area, &bounds(files, WalPosition::ZERO));
        largest = largest.max(claim.unwrap_or(WalPosition::ZERO));
    }
    Ok(largest)
}

fn show_entry(
    path: &Path,
    at: u64,
    entry: &Entry<'_>,
    report: &mut Report,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let head = &entry.head;
    let kind = match head.kind {
        EntryKind::Batch => "batch",
        EntryKind::FlushMark => "flush-mark",
        EntryKind::Skip => "skip",
        EntryKind::LogStart => "log-start",
        EntryKind::Truncate => "truncate",
        EntryKind::Unknown(_) => "unknown",
    };
    let (position, flushed) = (head.stamp.position, head.stamp.flushed);
    let words = match head.kind {
        EntryKind::FlushMark | EntryKind::Skip => format!("{kind}  durable to {flushed}"),
        _ => format!(
            "{kind}  partition {}  offset {}  durable to {flushed}",
            head.partition, head.base_offset
        ),
    };
    let document = json!({
        "entry": kind,
        "wal_position": position.0,
        "durable_to": flushed.0,
        "topic_id": head.partition.topic.to_string(),
        "partition": head.partition.index.0,
        "offset": head.base_offset.0,
        "payload_bytes": head.payload_bytes,
    });
    report.entry(path, at, &words, document)?;
    if head.kind == EntryKind::Batch
        && let Ok(header) = batch::read(entry.payload)
    {
        let payload = at + head.payload_at() as u64;
        report.batch(path, payload, &header, true)?;
        if report.wants_records() {
            show_records(path, payload, entry.payload.to_vec(), report, scratch)?;
        }
    }
    Ok(())
}
