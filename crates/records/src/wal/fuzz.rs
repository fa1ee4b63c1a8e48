//! Fuzz function for the recovery scan: any bytes, no panic, the items line up without gap, and
//! knowing more to be durable never loses an entry.

use super::entry::{
    BASE_OFFSET, CHECKSUM, GAP, INCARNATION, KIND, LEADER_EPOCH, PAYLOAD_BYTES, PAYLOAD_CHECKSUM,
    POSITION, VERSION, VERSION_AT, VERSION_WITH_GAP,
};
use super::{
    ENTRY_ALIGN_BYTES, ENTRY_HEAD_BYTES, EntryKind, FileHead, Incarnation, Scan, ScanBounds,
    ScanEnd, ScanItem, WalPosition, entry_bytes, flushed_claim, recognise,
};
use crate::batch::mend_batch;
use crate::checksum::crc32c;
use crate::fields::{bytes_at, put, u32_at};

/// Scans `data` as a file's entries, as they are and with heads and checksums put right. Its first
/// 16 bytes choose the bounds.
///
/// # Panics
/// If the scan's items leave a gap, overlap, or do not end; or if entries are lost by raising the
/// durable end.
pub fn fuzz_scan(data: &[u8]) {
    check_scan(data, scan);
}

/// Everything that a scan gives.
type Scanned<'a> = (Vec<ScanItem<'a>>, ScanEnd);

fn scan(area: &[u8], bounds: ScanBounds) -> Scanned<'_> {
    let mut scan = Scan::new(area, bounds);
    // More items than eight-byte steps are a fault, not a reason to fill the memory.
    let items = scan.by_ref().take(area.len() / 8 + 2).collect();
    let end = scan.end().expect("a finished scan has a verdict");
    (items, end)
}

fn check_scan(data: &[u8], scan: impl Fn(&[u8], ScanBounds) -> Scanned<'_>) {
    let _ = FileHead::decode(data);
    let Some((choice, area)) = data.split_first_chunk::<16>() else {
        return;
    };
    let [start, end, flushed, ..] = *choice;
    // Zero is the incarnation that the sample corpus is written with.
    let start = WalPosition(u64::from(start & 0x0f) * 8);
    let bounds = ScanBounds {
        incarnation: Incarnation(0),
        start,
        end: (end > 0).then(|| start.plus(usize::from(end) * 64)),
        flushed: WalPosition(u64::from(flushed) * 32),
    };
    check(area, bounds, &scan);
    check(&mended(area, start), bounds, &scan);
}

fn check(area: &[u8], bounds: ScanBounds, scan: &impl Fn(&[u8], ScanBounds) -> Scanned<'_>) {
    let _ = flushed_claim(area, &bounds);
    let _ = recognise(area, |_, _, _| true);
    let (items, end) = scan(area, bounds);
    let mut position = bounds.start;
    for item in &items {
        let (from, to) = match item {
            ScanItem::Entry(entry) => (entry.head.stamp.position, entry.head.end()),
            ScanItem::Damage(damage) => (damage.from, damage.to),
        };
        assert_eq!(from, position, "items follow each other without gap");
        assert!(to > from, "every item moves on");
        position = to;
    }
    assert!(
        end.position() >= position,
        "the verdict stands behind the last item"
    );
    let unsure = ScanBounds {
        flushed: WalPosition::ZERO,
        ..bounds
    };
    let fewer = entries(&scan(area, unsure).0);
    assert!(
        entries(&items).starts_with(&fewer),
        "knowing more to be durable loses nothing"
    );
}

fn entries(items: &[ScanItem<'_>]) -> Vec<WalPosition> {
    items
        .iter()
        .filter_map(|item| match item {
            ScanItem::Entry(entry) => Some(entry.head.stamp.position),
            ScanItem::Damage(_) => None,
        })
        .collect()
}

/// The area with each entry's place, life and checksums put right, so that mutation reaches what
/// lies behind them. An entry whose version is not ours stays as it is.
fn mended(area: &[u8], start: WalPosition) -> Vec<u8> {
    let mut area = area.to_vec();
    let mut at = 0;
    while at + ENTRY_HEAD_BYTES <= area.len() {
        let size = entry_bytes(gap_of(&area[at..]) + u32_at(&area, at + PAYLOAD_BYTES) as usize);
        let Some(entry) = area.get_mut(at..).and_then(|rest| rest.get_mut(..size)) else {
            at += ENTRY_ALIGN_BYTES;
            continue;
        };
        if [VERSION, VERSION_WITH_GAP].contains(&entry[VERSION_AT]) {
            mend_entry(entry, start.plus(at));
        }
        at += size;
    }
    area
}

fn gap_of(head: &[u8]) -> usize {
    match head[VERSION_AT] {
        VERSION_WITH_GAP => u16::from_be_bytes(bytes_at(head, GAP)).into(),
        _ => 0,
    }
}

fn mend_entry(entry: &mut [u8], position: WalPosition) {
    let (gap, payload_bytes) = (gap_of(entry), u32_at(entry, PAYLOAD_BYTES) as usize);
    let (head, rest) = entry.split_at_mut(ENTRY_HEAD_BYTES);
    let payload = &mut rest[gap..gap + payload_bytes];
    if head[KIND] == EntryKind::Batch.number() {
        if mend_batch(payload) {
            put(head, BASE_OFFSET, &bytes_at::<8>(payload, 0));
            put(head, LEADER_EPOCH, &bytes_at::<4>(payload, 12));
        }
    } else {
        put(head, PAYLOAD_CHECKSUM, &crc32c(payload).to_be_bytes());
    }
    put(head, POSITION, &position.0.to_be_bytes());
    put(head, INCARNATION, &[0; 8]);
    let checksum = crc32c(&head[KIND..]);
    put(head, CHECKSUM, &checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use klamm_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};

    use super::*;
    use crate::batch::{BatchOptions, stamp};
    use crate::testdata::{Random, batch_of};
    use crate::wal::{EntryHead, EntryStamp, encode_entry};

    /// Twelve batches, each of which knows of a flush, and a mark.
    fn file() -> BytesMut {
        let partition = TopicPartition {
            topic: TopicId([7; 16]),
            index: PartitionIndex(0),
        };
        let mut area = BytesMut::new();
        let mut flushed = WalPosition::ZERO;
        for number in 0..12 {
            let at = EntryStamp {
                position: WalPosition::ZERO.plus(area.len()),
                incarnation: Incarnation(0),
                flushed,
            };
            let mut batch = batch_of(BatchOptions::default(), 1, 60);
            stamp(&mut batch, Offset(number), LeaderEpoch(4));
            let head = EntryHead::batch(at, partition, LeaderEpoch(4), Offset(number), batch.len());
            encode_entry(&mut area, head, &batch);
            if number % 2 == 1 {
                flushed = at.position;
            }
        }
        let at = EntryStamp {
            position: WalPosition::ZERO.plus(area.len()),
            incarnation: Incarnation(0),
            flushed,
        };
        encode_entry(&mut area, EntryHead::flush_mark(at), &[]);
        area.resize(area.len() + 512, 0);
        area
    }

    /// Gives `fuzz` thousands of mutations of the file.
    fn run(fuzz: impl Fn(&[u8])) {
        let file = file();
        let mut random = Random(7);
        for round in 0..4000 {
            let mut area = file.to_vec();
            for _ in 0..=random.below(3) {
                random.mutate(&mut area);
            }
            let mut choice = [0; 16];
            if round % 2 == 1 {
                choice[..3].fill_with(|| random.next() as u8);
            }
            fuzz(&[&choice[..], &area].concat());
        }
    }

    #[test]
    fn thousands_of_mutated_files_keep_every_claim() {
        let clean = [&[0; 16], &file()[..]].concat();
        let seen = std::cell::Cell::new(0);
        check_scan(&clean, |area, bounds| {
            let scanned = scan(area, bounds);
            seen.set(seen.get().max(entries(&scanned.0).len()));
            scanned
        });
        assert_eq!(seen.get(), 13, "else nothing is checked");
        run(fuzz_scan);
    }

    #[test]
    #[should_panic(expected = "items follow each other without gap")]
    fn canary_a_scan_that_hides_damage_is_caught() {
        run(|data| {
            check_scan(data, |area, bounds| {
                let (mut items, end) = scan(area, bounds);
                items.retain(|item| matches!(item, ScanItem::Entry(_)));
                (items, end)
            });
        });
    }

    #[test]
    #[should_panic(expected = "knowing more to be durable loses nothing")]
    fn canary_a_scan_that_stops_at_damage_is_caught() {
        run(|data| {
            check_scan(data, |area, bounds| {
                let (mut items, end) = scan(area, bounds);
                if bounds.flushed > WalPosition::ZERO {
                    let first = items
                        .iter()
                        .position(|item| matches!(item, ScanItem::Damage(_)));
                    items.truncate(first.unwrap_or(items.len()));
                }
                (items, end)
            });
        });
    }
}
