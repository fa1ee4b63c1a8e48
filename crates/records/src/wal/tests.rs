//! Claims about the write-ahead log: formats, torn tails, damage, hostile bytes.

use bytes::BytesMut;
use klamm_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};

use super::*;
use crate::batch::{BatchOptions, stamp};
use crate::testdata::{JAVA_NONE, batch_of};

const LIFE: Incarnation = Incarnation(0x1122_3344_5566_7788);

const PARTITION: TopicPartition = TopicPartition {
    topic: TopicId([7; 16]),
    index: PartitionIndex(3),
};

/// A file under construction: entries with the positions at which they begin.
struct File {
    area: BytesMut,
    start: WalPosition,
    entries: Vec<WalPosition>,
    incarnation: Incarnation,
}

impl File {
    fn new(start: u64) -> Self {
        Self {
            area: BytesMut::new(),
            start: WalPosition(start),
            entries: Vec::new(),
            incarnation: LIFE,
        }
    }

    fn position(&self) -> WalPosition {
        self.start.plus(self.area.len())
    }

    fn stamp(&mut self, flushed: WalPosition) -> EntryStamp {
        self.entries.push(self.position());
        EntryStamp {
            position: self.position(),
            incarnation: self.incarnation,
            flushed,
        }
    }

    /// A batch of about `bytes` that claims `flushed`.
    fn batch(&mut self, flushed: WalPosition, bytes: usize) -> WalPosition {
        let offset = Offset(self.entries.len() as i64);
        let mut batch = batch_of(BatchOptions::default(), 1, bytes);
        stamp(&mut batch, offset, LeaderEpoch(4));
        let stamp = self.stamp(flushed);
        let head = EntryHead::batch(stamp, PARTITION, LeaderEpoch(4), offset, batch.len());
        encode_entry(&mut self.area, head, &batch);
        stamp.position
    }

    fn mark(&mut self, flushed: WalPosition) -> WalPosition {
        let stamp = self.stamp(flushed);
        encode_entry(&mut self.area, EntryHead::flush_mark(stamp), &[]);
        stamp.position
    }

    fn skip(&mut self, flushed: WalPosition) {
        let stamp = self.stamp(flushed);
        encode_entry(&mut self.area, EntryHead::skip(stamp), &[]);
    }

    /// Room that was preallocated, or that an earlier life of the log has left full of entries.
    fn grow(&mut self, bytes: usize) {
        let len = self.area.len() + bytes;
        self.area.resize(len, 0);
    }

    fn bounds(&self) -> ScanBounds {
        ScanBounds {
            incarnation: self.incarnation,
            start: self.start,
            end: None,
            flushed: WalPosition::ZERO,
        }
    }

    /// Flips one bit at a position.
    fn rot(&mut self, at: WalPosition) {
        let at = usize::try_from(at.since(self.start)).expect("small");
        self.area[at] ^= 0x08;
    }

    fn scan(&self, bounds: ScanBounds) -> (Vec<Found>, ScanEnd) {
        let mut scan = Scan::new(&self.area, bounds);
        let found = scan.by_ref().map(Found::from).collect();
        (found, scan.end().expect("a verdict"))
    }
}

/// What a scan found, without the bytes.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Entry(WalPosition),
    Damage(WalPosition, WalPosition),
}

impl From<ScanItem<'_>> for Found {
    fn from(item: ScanItem<'_>) -> Self {
        match item {
            ScanItem::Entry(entry) => Self::Entry(entry.head.stamp.position),
            ScanItem::Damage(damage) => Self::Damage(damage.from, damage.to),
        }
    }
}

fn entries(positions: &[WalPosition]) -> Vec<Found> {
    positions
        .iter()
        .map(|&position| Found::Entry(position))
        .collect()
}

#[test]
fn a_head_is_80_bytes_and_reads_back() {
    let stamp = EntryStamp {
        position: WalPosition(8 << 40),
        incarnation: LIFE,
        flushed: WalPosition(77),
    };
    let heads = [
        EntryHead::batch(stamp, PARTITION, LeaderEpoch(9), Offset(1 << 50), 12_345),
        EntryHead::batch(stamp, PARTITION, LeaderEpoch(9), Offset(7), 12_345).with_gap(511),
        EntryHead::flush_mark(stamp),
        EntryHead::skip(stamp),
        EntryHead::log_start(stamp, PARTITION, Offset(5)),
        EntryHead::truncate(stamp, PARTITION, Offset(6)),
    ];
    for head in heads {
        let mut bytes = [0xaa; ENTRY_HEAD_BYTES];
        write_entry_head(&mut bytes, &head);
        assert_eq!(read_entry_head(&bytes, stamp.position, LIFE), Ok(head));
        let elsewhere = read_entry_head(&bytes, stamp.position.plus(8), LIFE);
        assert_eq!(elsewhere, Err(EntryFault::Foreign));
        let later = read_entry_head(&bytes, stamp.position, Incarnation(1));
        assert_eq!(later, Err(EntryFault::Foreign));
        for at in 0..ENTRY_HEAD_BYTES {
            let mut broken = bytes;
            broken[at] ^= 1;
            assert!(
                read_entry_head(&broken, stamp.position, LIFE).is_err(),
                "{at}"
            );
        }
    }
}

#[test]
fn entries_are_padded_to_eight_bytes() {
    assert_eq!(entry_bytes(0), 80);
    assert_eq!(entry_bytes(1), 88);
    assert_eq!(entry_bytes(8), 88);
    assert_eq!(entry_bytes(9), 96);
}

#[test]
fn an_entry_written_in_place_equals_an_encoded_one() {
    let mut batch = JAVA_NONE.to_vec();
    stamp(&mut batch, Offset(10), LeaderEpoch(2));
    let stamp = EntryStamp {
        position: WalPosition(64),
        incarnation: LIFE,
        flushed: WalPosition(8),
    };
    let head = EntryHead::batch(stamp, PARTITION, LeaderEpoch(2), Offset(10), batch.len());
    let mut encoded = BytesMut::new();
    encode_entry(&mut encoded, head, &batch);
    let mut chunk = vec![0; entry_bytes(batch.len())];
    chunk[ENTRY_HEAD_BYTES..ENTRY_HEAD_BYTES + batch.len()].copy_from_slice(&batch);
    let place = chunk.first_chunk_mut::<ENTRY_HEAD_BYTES>().expect("room");
    write_entry_head(place, &head);
    assert_eq!(chunk, encoded);
    assert_eq!(head.end(), WalPosition(64 + encoded.len() as u64));
}

#[test]
fn a_file_head_reads_back_and_every_bit_counts() {
    let head = FileHead {
        incarnation: LIFE,
        number: 12,
        start: WalPosition(1 << 41),
    };
    let bytes = head.encode();
    assert_eq!(bytes.len(), FILE_HEAD_BYTES);
    assert_eq!(FileHead::decode(&bytes[..]), Ok(head));
    for at in 0..40 {
        let mut broken = bytes.clone();
        broken[at] ^= 0x40;
        assert!(FileHead::decode(&broken[..]).is_err(), "{at}");
    }
    assert_eq!(FileHead::decode(&bytes[..4095]), Err(FileHeadError::Short));
    assert_eq!(FileHead::decode(&[0; 4096]), Err(FileHeadError::NotAHead));
    let mut later = bytes;
    later[11] = 2;
    assert_eq!(FileHead::decode(&later[..]), Err(FileHeadError::Version(2)));
}

#[test]
fn a_preallocated_file_ends_clean_behind_its_last_entry() {
    let mut file = File::new(800);
    for bytes in [1, 100, 5000] {
        file.batch(WalPosition(800), bytes);
    }
    let end = file.position();
    file.grow(64 * 1024);
    let (found, verdict) = file.scan(file.bounds());
    assert_eq!(found, entries(&file.entries));
    assert_eq!(verdict, ScanEnd::Clean(end));
}

#[test]
fn an_empty_file_is_clean_at_its_start() {
    let mut file = File::new(800);
    file.grow(4096);
    assert_eq!(
        file.scan(file.bounds()),
        (vec![], ScanEnd::Clean(WalPosition(800)))
    );
    let none = File::new(800);
    assert_eq!(
        none.scan(none.bounds()),
        (vec![], ScanEnd::Full(WalPosition(800)))
    );
}

#[test]
fn entries_of_an_earlier_life_behind_the_end_are_not_seen() {
    // The same file, written at the same positions by the life before.
    let mut old = File::new(0);
    old.incarnation = Incarnation(1);
    for _ in 0..10 {
        let flushed = old.position();
        old.batch(flushed, 100);
    }
    let mut new = File::new(0);
    new.batch(WalPosition(0), 100);
    new.batch(WalPosition(0), 100);
    let end = new.position();
    let written = new.area.len();
    new.area.extend_from_slice(&old.area[written..]);
    let (found, verdict) = new.scan(new.bounds());
    assert_eq!(found, entries(&new.entries));
    assert_eq!(verdict, ScanEnd::Clean(end));
    // Nor are entries of this very life at other positions, as in a file recycled within it.
    let mut recycled = File::new(1 << 20);
    recycled.area.extend_from_slice(&new.area);
    assert_eq!(
        recycled.scan(recycled.bounds()),
        (vec![], ScanEnd::Clean(recycled.start))
    );
}

#[test]
fn a_skip_ends_the_file_and_names_the_next_ones_start() {
    let mut file = File::new(0);
    let first = file.batch(WalPosition(0), 10);
    file.skip(WalPosition(0));
    let end = file.position();
    file.grow(4096);
    assert_eq!(
        file.scan(file.bounds()),
        (entries(&[first]), ScanEnd::Full(end))
    );
    let bounds = ScanBounds {
        end: Some(end),
        ..file.bounds()
    };
    assert_eq!(file.scan(bounds), (entries(&[first]), ScanEnd::Full(end)));
}

#[test]
fn a_full_file_ends_at_the_next_ones_start() {
    let mut file = File::new(0);
    file.batch(WalPosition(0), 10);
    let end = file.position();
    file.grow(72);
    let bounds = ScanBounds {
        end: Some(end),
        ..file.bounds()
    };
    assert_eq!(file.scan(bounds).1, ScanEnd::Full(end));
    assert_eq!(file.scan(file.bounds()).1, ScanEnd::Full(end));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_at_its_entry() {
    let mut file = File::new(0);
    let kept = file.batch(WalPosition(0), 50);
    let torn = file.batch(WalPosition(0), 300);
    let written = file.area.len();
    for end in torn.0 as usize + 1..written {
        let mut cut = File::new(0);
        cut.area.extend_from_slice(&file.area[..end]);
        cut.grow(8192);
        let (found, verdict) = cut.scan(cut.bounds());
        // Padding may be lost, and so may bytes that were zero in any case.
        let whole = torn.0 as usize + 80 + batch_bytes(300);
        if cut.area[..whole] == file.area[..whole] {
            assert_eq!(found, entries(&[kept, torn]), "nothing was lost at {end}");
            continue;
        }
        assert_eq!(found, entries(&[kept]), "{end}");
        // A head of which position and incarnation never arrived looks like none at all.
        let seen = matches!(verdict, ScanEnd::Torn(at) | ScanEnd::Clean(at) if at == torn);
        assert!(seen, "{end}: {verdict:?}");
        if end >= torn.0 as usize + 80 {
            assert_eq!(verdict, ScanEnd::Torn(torn), "{end}");
        }
    }
}

fn batch_bytes(value_bytes: usize) -> usize {
    batch_of(BatchOptions::default(), 1, value_bytes).len()
}

#[test]
fn blocks_written_out_of_order_are_torn_when_nobody_calls_them_durable() {
    // The middle write is lost, the later ones reached the device: all of it was in flight.
    let mut file = File::new(0);
    let kept = file.batch(WalPosition(0), 10);
    let lost = file.batch(WalPosition(0), 2000);
    let lost_end = file.position();
    file.batch(lost, 10);
    file.batch(lost, 10);
    file.grow(4096);
    file.area[lost.0 as usize..lost_end.0 as usize].fill(0);
    let (found, verdict) = file.scan(file.bounds());
    assert_eq!(found, entries(&[kept]));
    assert_eq!(verdict, ScanEnd::Torn(lost));
}

#[test]
fn rot_below_a_later_entrys_flushed_position_is_damage_with_its_exact_range() {
    let mut file = File::new(0);
    for _ in 0..4 {
        file.batch(WalPosition(0), 200);
    }
    let flushed = file.position();
    let last = file.batch(flushed, 200);
    file.grow(4096);
    let positions = file.entries.clone();
    for number in 0..4 {
        // In the head; in the payload; at the payload's base offset, outside of its checksum.
        for inside in [
            4,
            40,
            ENTRY_HEAD_BYTES as u64 + 100,
            ENTRY_HEAD_BYTES as u64 + 7,
        ] {
            let at = WalPosition(positions[number].0 + inside);
            file.rot(at);
            let (found, verdict) = file.scan(file.bounds());
            let mut expected = entries(&positions);
            let next = positions[number + 1];
            expected[number] = Found::Damage(positions[number], next);
            assert_eq!(found, expected, "{number} {inside}");
            assert_eq!(
                verdict,
                ScanEnd::Clean(last.plus(entry_bytes(batch_bytes(200))))
            );
            file.rot(at);
        }
    }
}

#[test]
fn damage_in_a_payload_names_the_partition_that_lost_it() {
    let mut file = File::new(0);
    let lost = file.batch(WalPosition(0), 200);
    let flushed = file.position();
    file.mark(flushed);
    file.rot(lost.plus(ENTRY_HEAD_BYTES + 30));
    let mut scan = Scan::new(&file.area, file.bounds());
    let Some(ScanItem::Damage(damage)) = scan.next() else {
        panic!("damage expected");
    };
    let head = damage.head.expect("the head is whole");
    assert_eq!((head.partition, head.base_offset), (PARTITION, Offset(0)));
    assert!(matches!(damage.fault, EntryFault::Batch(_)));
}

#[test]
fn rot_below_the_checkpoints_flushed_position_is_damage_even_at_the_end() {
    let mut file = File::new(0);
    let kept = file.batch(WalPosition(0), 10);
    let lost = file.batch(WalPosition(0), 10);
    let end = file.position();
    file.grow(4096);
    file.rot(lost.plus(40));
    let torn = file.scan(file.bounds());
    assert_eq!(torn, (entries(&[kept]), ScanEnd::Torn(lost)));
    let bounds = ScanBounds {
        flushed: end,
        ..file.bounds()
    };
    let (found, verdict) = file.scan(bounds);
    assert_eq!(found, [Found::Entry(kept), Found::Damage(lost, end)]);
    assert_eq!(verdict, ScanEnd::Clean(end));
    // Durable up to the bad entry only: then it is a torn tail again.
    let bounds = ScanBounds {
        flushed: lost,
        ..file.bounds()
    };
    assert_eq!(file.scan(bounds), (entries(&[kept]), ScanEnd::Torn(lost)));
}

#[test]
fn several_lost_entries_are_one_range_up_to_the_next_valid_head() {
    let mut file = File::new(0);
    for _ in 0..5 {
        file.batch(WalPosition(0), 100);
    }
    let flushed = file.position();
    file.mark(flushed);
    let positions = file.entries.clone();
    file.area[positions[1].0 as usize..positions[3].0 as usize + 8].fill(0xee);
    let (found, _) = file.scan(file.bounds());
    let expected = [
        Found::Entry(positions[0]),
        Found::Damage(positions[1], positions[4]),
        Found::Entry(positions[4]),
        Found::Entry(positions[5]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn after_damage_an_unflushed_torn_tail_is_still_cut() {
    let mut file = File::new(0);
    let lost = file.batch(WalPosition(0), 100);
    let flushed = file.position();
    let kept = file.batch(flushed, 100);
    let torn = file.batch(flushed, 100);
    file.grow(4096);
    file.rot(lost.plus(50));
    file.rot(torn.plus(90));
    let (found, verdict) = file.scan(file.bounds());
    assert_eq!(found, [Found::Damage(lost, kept), Found::Entry(kept)]);
    assert_eq!(verdict, ScanEnd::Torn(torn));
}

#[test]
fn a_later_file_tells_damage_from_a_torn_tail() {
    let mut first = File::new(0);
    let kept = first.batch(WalPosition(0), 100);
    let bad = first.batch(WalPosition(0), 100);
    let end = first.position();
    first.rot(bad.plus(200));
    let between = ScanBounds {
        end: Some(end),
        ..first.bounds()
    };
    for (flushed, expected) in [
        (bad, (entries(&[kept]), ScanEnd::Torn(bad))),
        (
            end,
            (
                vec![Found::Entry(kept), Found::Damage(bad, end)],
                ScanEnd::Full(end),
            ),
        ),
    ] {
        let mut second = File::new(end.0);
        second.batch(flushed, 100);
        second.grow(1000);
        let claim = flushed_claim(&second.area, &second.bounds());
        assert_eq!(claim, Some(flushed));
        let bounds = ScanBounds {
            flushed: claim.expect("a claim"),
            ..between
        };
        assert_eq!(first.scan(bounds), expected);
    }
    let mut empty = File::new(end.0);
    empty.grow(1000);
    assert_eq!(flushed_claim(&empty.area, &empty.bounds()), None);
}

#[test]
fn a_file_cut_short_below_the_durable_end_is_damage() {
    let mut file = File::new(0);
    let kept = file.batch(WalPosition(0), 100);
    let lost = file.batch(WalPosition(0), 100);
    let end = file.position();
    file.area.truncate(lost.0 as usize);
    let durable = ScanBounds {
        flushed: end,
        ..file.bounds()
    };
    let expected = vec![Found::Entry(kept), Found::Damage(lost, end)];
    assert_eq!(file.scan(durable), (expected, ScanEnd::Full(end)));
    let between = ScanBounds {
        end: Some(end),
        ..file.bounds()
    };
    assert_eq!(file.scan(between), (entries(&[kept]), ScanEnd::Torn(lost)));
}

#[test]
fn an_entry_of_a_later_version_is_never_cut() {
    let mut file = File::new(0);
    let stamp = file.stamp(WalPosition(0));
    let mut head = EntryHead::flush_mark(stamp);
    head.kind = EntryKind::Unknown(200);
    encode_entry(&mut file.area, head, b"words of the future");
    let next = file.batch(WalPosition(0), 10);
    let (found, verdict) = file.scan(file.bounds());
    assert_eq!(
        found,
        [Found::Damage(WalPosition(0), next), Found::Entry(next)]
    );
    assert_eq!(verdict, ScanEnd::Full(file.position()));
}

#[test]
fn a_batch_under_a_foreign_head_is_not_taken() {
    // A write of the batch landed under the head of another.
    let mut file = File::new(0);
    let mut batch = JAVA_NONE.to_vec();
    stamp(&mut batch, Offset(10), LeaderEpoch(2));
    let stamp = file.stamp(WalPosition(0));
    let head = EntryHead::batch(stamp, PARTITION, LeaderEpoch(2), Offset(11), batch.len());
    encode_entry(&mut file.area, head, &batch);
    assert_eq!(
        file.scan(file.bounds()),
        (vec![], ScanEnd::Torn(WalPosition(0)))
    );
}

#[test]
fn a_payload_that_quotes_an_entry_is_not_taken_for_one() {
    // A producer sends the log's own bytes: entries of this life at the position where they would
    // stand. The damaged entry's head is whole, so the scan steps over the payload unseen.
    let mut inner = File::new(0);
    inner.start = WalPosition(ENTRY_HEAD_BYTES as u64 + 64);
    inner.batch(WalPosition(0), 10);
    let mut file = File::new(0);
    let mut payload = vec![0; 64];
    payload.extend_from_slice(&inner.area);
    let stamp = file.stamp(WalPosition(0));
    let bytes = payload.len();
    let head = EntryHead::batch(stamp, PARTITION, LeaderEpoch(0), Offset(0), bytes);
    encode_entry(&mut file.area, head, &payload);
    let flushed = file.position();
    let next = file.mark(flushed);
    let (found, _) = file.scan(file.bounds());
    assert_eq!(
        found,
        [Found::Damage(WalPosition(0), next), Found::Entry(next)]
    );
}

#[test]
fn every_single_bit_of_rot_is_found_and_nothing_else_is_lost() {
    // L2 and L3 over the whole file: whatever bit rots, every other flushed entry is given back
    // unchanged, and the rotten one is damage or was not durable.
    let mut file = File::new(0);
    for _ in 0..6 {
        file.batch(WalPosition(0), 40);
    }
    let flushed = file.position();
    file.mark(flushed);
    let positions = file.entries.clone();
    let clean = file.area.clone();
    for at in 0..clean.len() {
        file.area = clean.clone();
        file.area[at] ^= 0x20;
        let (found, verdict) = file.scan(file.bounds());
        let struck = positions
            .iter()
            .rposition(|position| position.0 <= at as u64);
        let struck = struck.expect("the first entry stands at 0");
        let mut expected = entries(&positions);
        let payload_end = positions[struck].0 as usize + 80 + batch_bytes(40);
        if struck == 6 {
            // The mark itself: it alone knew of the flush, and is torn.
            expected.truncate(6);
            assert!(
                matches!(verdict, ScanEnd::Torn(_) | ScanEnd::Clean(_)),
                "{at}"
            );
        } else if at < payload_end {
            expected[struck] = Found::Damage(positions[struck], positions[struck + 1]);
        }
        assert_eq!(found, expected, "{at}");
    }
}

#[test]
fn a_gap_before_the_payload_is_neither_read_nor_lost() {
    let mut batch = JAVA_NONE.to_vec();
    stamp(&mut batch, Offset(3), LeaderEpoch(2));
    let mut area = BytesMut::new();
    let mut position = WalPosition(64);
    let mut positions = Vec::new();
    for gap in [0, 1, 511] {
        let stamp = EntryStamp {
            position,
            incarnation: LIFE,
            flushed: WalPosition::ZERO,
        };
        let head = EntryHead::batch(stamp, PARTITION, LeaderEpoch(2), Offset(3), batch.len());
        encode_entry(&mut area, head.with_gap(gap), &batch);
        positions.push(position);
        position = head.with_gap(gap).end();
    }
    // What lies in a gap is not covered by anything.
    let second = positions[1].since(positions[0]) as usize;
    area[second + ENTRY_HEAD_BYTES] = 0x55;
    let bounds = ScanBounds {
        incarnation: LIFE,
        start: positions[0],
        end: Some(position),
        flushed: position,
    };
    let mut scan = Scan::new(&area, bounds);
    let found: Vec<_> = scan
        .by_ref()
        .map(|item| match item {
            ScanItem::Entry(entry) => (entry.head.stamp.position, entry.payload.to_vec()),
            ScanItem::Damage(damage) => panic!("{damage:?}"),
        })
        .collect();
    let expected: Vec<_> = positions.iter().map(|at| (*at, batch.clone())).collect();
    assert_eq!(found, expected);
    assert_eq!(scan.end(), Some(ScanEnd::Full(position)));
}

#[test]
fn a_file_is_recognised_by_the_first_entry_that_is_believed() {
    let mut file = File::new(800);
    for bytes in [1, 100, 500] {
        file.batch(WalPosition(800), bytes);
    }
    file.grow(4096);
    let found = Some((LIFE, WalPosition(800)));
    assert_eq!(recognise(&file.area, |at, _, _| at == 0), found);
    // Its first entry is lost as well.
    file.area[..ENTRY_HEAD_BYTES].fill(0);
    assert_eq!(recognise(&file.area, |at, _, _| at == 0), None);
    assert_eq!(recognise(&file.area, |_, life, _| life == LIFE), found);
    assert_eq!(recognise(&file.area, |_, life, _| life != LIFE), None);
    assert_eq!(recognise(&[0; 4096], |_, _, _| true), None);
    assert_eq!(recognise(&[1; 4100], |_, _, _| true), None);
}
