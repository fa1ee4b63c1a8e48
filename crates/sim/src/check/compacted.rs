//! A compacted log holds of each key its latest record, or nothing of it where that is a deletion
//! marker whose time was over; every record that is there is the one that was sent, where it was
//! put, once; and what was deleted does not come back (X1, X2).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use klamm_model::{Timestamp, TopicPartition};
use klamm_records::batch::{self, Record};
use klamm_records::compress::Scratch;

use super::ledger::{Ledger, LogLedger, Sent, Stored, Survives};
use super::{Violation, ensure};

const INVARIANT: &str = "of_each_key_the_latest_record_stays";

/// A record by the batch in which it was sent, and its place there.
pub type Sender = (u64, u8);

/// The name of the header that says which record it is.
pub const HEADER: &[u8] = b"sent-as";

/// Decodes the records of one batch.
fn records_of(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let bytes = Bytes::copy_from_slice(bytes);
    let records = batch::records(&bytes, usize::MAX, &mut Scratch::default());
    let records = records.map_err(|error| error.to_string())?;
    let records = records.map(|record| record.map_err(|error| error.to_string()));
    records.collect()
}

/// Which record this is.
fn sender_of(record: &Record) -> Option<Sender> {
    let header = record.headers.first()?;
    let value = header.value.as_deref()?;
    let (index, number) = value.split_last()?;
    let number = <[u8; 8]>::try_from(number).ok()?;
    (header.key == HEADER).then_some((u64::from_be_bytes(number), *index))
}

/// The record as it was sent.
fn as_sent(sent: &Sent, index: u8) -> Option<Record> {
    let mut records = records_of(&sent.bytes).ok()?;
    let index = usize::from(index);
    (index < records.len()).then(|| records.swap_remove(index))
}

/// Takes a batch apart and finds that its records are those that were sent to this partition.
///
/// # Errors
/// One is not.
pub fn senders(
    ledger: &Ledger,
    partition: TopicPartition,
    stored: &Stored<'_>,
) -> Result<Vec<(i64, Sender)>, Violation> {
    let broken = |what: String| Violation::new(INVARIANT, what);
    let records = records_of(stored.bytes)
        .map_err(|error| broken(format!("{partition} at {}: {error}", stored.base)))?;
    let mut found = Vec::new();
    for record in records {
        let offset = record.offset.0;
        let sender = sender_of(&record);
        let sent = sender.and_then(|(number, index)| {
            let sent = ledger.sent.get(&number)?;
            Some((sent, as_sent(sent, index)?))
        });
        let (Some(sender), Some((sent, original))) = (sender, sent) else {
            return Err(broken(format!(
                "{partition}: nobody sent what lies at {offset}"
            )));
        };
        ensure!(
            INVARIANT,
            sent.partition == partition,
            "{partition}: what lies at {offset} was sent to {}",
            sent.partition
        );
        ensure!(
            INVARIANT,
            (stored.base..stored.end).contains(&offset),
            "{partition}: {offset} lies in the batch from {} to {}",
            stored.base,
            stored.end
        );
        let is_same = record.key == original.key
            && record.value == original.value
            && record.headers == original.headers
            && record.timestamp == original.timestamp;
        ensure!(
            INVARIANT,
            is_same,
            "{partition}: {sender:?} at {offset} is {record:?}, was sent as {original:?}"
        );
        found.push((offset, sender));
    }
    Ok(found)
}

/// Takes in where records lie.
///
/// # Errors
/// Another record is known to lie there.
pub fn learn(
    log: &mut LogLedger,
    partition: TopicPartition,
    found: &[(i64, Sender)],
) -> Result<(), Violation> {
    for &(offset, sender) in found {
        let known = *log.records.entry(offset).or_insert(sender);
        ensure!(
            INVARIANT,
            known == sender,
            "{partition}: offset {offset} was {known:?}, now it is {sender:?}"
        );
    }
    Ok(())
}

/// Judges the bytes of one answer; returns where the reader stands then.
///
/// # Errors
/// What is wrong with them.
pub fn check_read(
    ledger: &mut Ledger,
    partition: TopicPartition,
    wanted: i64,
    high_watermark: i64,
    bytes: &[u8],
) -> Result<i64, Violation> {
    let broken = |at| Violation::new(INVARIANT, format!("{partition}: no batch at byte {at}"));
    let mut next = None;
    for stored in Stored::all(bytes).map_err(broken)? {
        let right = match next {
            None => stored.base <= wanted && wanted < stored.end,
            Some(next) => stored.base == next,
        };
        ensure!(
            INVARIANT,
            right && stored.end <= high_watermark,
            "{partition}: read from {wanted}, expected {next:?} before {high_watermark}, found {} to {}",
            stored.base,
            stored.end
        );
        let found = senders(ledger, partition, &stored)?;
        learn(ledger.log(partition), partition, &found)?;
        next = Some(stored.end);
    }
    Ok(next.unwrap_or(wanted))
}

/// Judges a log after a restart; `stored` is all that it holds from `log_start` on and perhaps
/// before. Forgets what was lawfully lost, and returns how many batches that were.
///
/// # Errors
/// Something is wrong with it.
pub fn after_restart(
    ledger: &mut Ledger,
    partition: TopicPartition,
    stored: &[Stored<'_>],
    (log_start, log_end): (i64, i64),
    power_was_cut: bool,
) -> Result<usize, Violation> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for batch in stored {
        for (offset, sender) in senders(ledger, partition, batch)? {
            ensure!(
                INVARIANT,
                seen.insert(sender),
                "{partition}: {sender:?} lies at {offset} for the second time"
            );
            found.insert(offset, sender);
        }
    }
    let log = ledger.log(partition);
    let lost = lose(log, partition, log_end, power_was_cut)?;
    let all: Vec<(i64, Sender)> = found
        .iter()
        .map(|(&offset, &sender)| (offset, sender))
        .collect();
    learn(log, partition, &all)?;
    let known: Vec<(i64, Sender)> = log
        .records
        .range(log_start..)
        .map(|(&offset, &sender)| (offset, sender))
        .collect();
    let mut latest: BTreeMap<Bytes, (i64, Sender, bool)> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (offset, sender) in known {
        let sent = ledger.sent.get(&sender.0);
        let Some(record) = sent.and_then(|sent| as_sent(sent, sender.1)) else {
            continue;
        };
        let key = record.key.clone().unwrap_or_default();
        keys.insert(offset, key.clone());
        latest.insert(key, (offset, sender, record.value.is_none()));
    }
    for (key, (offset, sender, is_marker)) in latest {
        if found.contains_key(&offset) {
            continue;
        }
        ensure!(
            INVARIANT,
            is_marker,
            "{partition}: {sender:?} at {offset} is the latest of key {key:?}, and is gone"
        );
        let back = found
            .keys()
            .find(|&at| *at >= log_start && keys.get(at) == Some(&key));
        ensure!(
            INVARIANT,
            back.is_none(),
            "{partition}: key {key:?} was deleted at {offset}, and {back:?} is there again"
        );
    }
    Ok(lost)
}

/// Forgets what lies behind the end of the log, if it may be lost.
fn lose(
    log: &mut LogLedger,
    partition: TopicPartition,
    log_end: i64,
    power_was_cut: bool,
) -> Result<usize, Violation> {
    let had_to = match power_was_cut {
        true => Survives::PowerCut,
        false => Survives::Kill,
    };
    let lost = log.known.split_off(&log_end);
    for (base, known) in &lost {
        ensure!(
            "acked_is_never_lost",
            known.survives < had_to,
            "{partition}: batch {} at {base} had to survive ({:?}), the log ends at {log_end}",
            known.number,
            known.survives
        );
    }
    let read = log.records.split_off(&log_end);
    ensure!(
        "acked_is_never_lost",
        power_was_cut || read.is_empty(),
        "{partition}: {:?} was read, the log ends at {log_end}",
        read.first_key_value()
    );
    for known in log.known.values_mut() {
        known.survives = Survives::PowerCut;
    }
    Ok(lost.len())
}

/// An answer to a question for a time names a record that was sent, and is late enough.
///
/// # Errors
/// It does not.
pub fn check_time(
    ledger: &Ledger,
    partition: TopicPartition,
    at: i64,
    found: Option<(i64, Option<i64>)>,
) -> Result<(), Violation> {
    let (Some((offset, time)), Some(log)) = (found, ledger.logs.get(&partition)) else {
        return Ok(());
    };
    ensure!(
        INVARIANT,
        time.is_some_and(|time| time >= at),
        "{partition}: found time {time:?} for {at}"
    );
    let Some((number, index)) = log.records.get(&offset) else {
        return Ok(());
    };
    let sent = ledger
        .sent
        .get(number)
        .and_then(|sent| as_sent(sent, *index));
    ensure!(
        INVARIANT,
        sent.is_some_and(|sent| Some(sent.timestamp) == time.map(Timestamp)),
        "{partition}: found time {time:?} at {offset}, which has another"
    );
    Ok(())
}

/// The files of a compacted log have no hole, and nothing half done lies beside them.
///
/// # Errors
/// They have.
pub fn check_files(
    partition: TopicPartition,
    names: &[String],
    stored: &[Stored<'_>],
    (log_start, log_end): (i64, i64),
) -> Result<(), Violation> {
    let left = names.iter().find(|name| {
        [".cleaned", ".swap", ".deleted"]
            .iter()
            .any(|end| name.ends_with(end))
    });
    ensure!(
        INVARIANT,
        left.is_none(),
        "{partition}: {left:?} is left over after a start"
    );
    let first = stored.first().map_or(log_end, |first| first.base);
    ensure!(
        INVARIANT,
        first <= log_start || stored.is_empty(),
        "{partition}: the files begin at {first}, the log at {log_start}"
    );
    let mut next = first;
    for batch in stored {
        ensure!(
            INVARIANT,
            batch.base == next,
            "{partition}: expected offset {next}, found {}",
            batch.base
        );
        next = batch.end;
    }
    ensure!(
        INVARIANT,
        next == log_end,
        "{partition}: the files end at {next}, the node says {log_end}"
    );
    Ok(())
}
