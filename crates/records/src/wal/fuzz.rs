//! Fuzz function for the recovery scan: any bytes, no panic, and the items line up without gap.

use super::{FileHead, Incarnation, Scan, ScanBounds, ScanItem, WalPosition, flushed_claim};

/// Scans `data` as a file's entries. Its first 16 bytes choose the bounds.
///
/// # Panics
/// If the scan's items leave a gap, overlap, or do not end.
pub fn fuzz_scan(data: &[u8]) {
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
    let _ = flushed_claim(area, &bounds);
    let mut scan = Scan::new(area, bounds);
    let mut position = start;
    let mut items = 0;
    for item in scan.by_ref() {
        let (from, to) = match item {
            ScanItem::Entry(entry) => (entry.head.stamp.position, entry.head.end()),
            ScanItem::Damage(damage) => (damage.from, damage.to),
        };
        assert_eq!(from, position, "items follow each other without gap");
        assert!(to > from, "every item moves on");
        position = to;
        items += 1;
        assert!(items <= area.len() / 8 + 1, "the scan ends");
    }
    let end = scan
        .end()
        .expect("a finished scan has a verdict")
        .position();
    assert!(end >= position, "the verdict stands behind the last item");
}
