//! Recovery of one file's entries. Tells a torn tail, which was never durable and is cut, from
//! damage, which had been durable and is reported with its exact range and never cut.
//!
//! A bad entry at P is damage if and only if somebody says that bytes beyond P were durable: the
//! bounds' `flushed`, or the head of any later entry of this life in this file. The scan then goes
//! on at the next entry whose head is valid at its own place.

use super::entry::{
    ENTRY_ALIGN_BYTES, ENTRY_HEAD_BYTES, Entry, EntryFault, EntryHead, EntryKind, INCARNATION,
    POSITION, VERSION, VERSION_AT, VERSION_WITH_GAP, read_entry_head, read_payload,
};
use super::{Incarnation, WalPosition};
use crate::fields::u64_at;

/// What is known about a file's entries before they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanBounds {
    /// The life of the log that wrote the file.
    pub incarnation: Incarnation,
    /// Where the file's first entry stands.
    pub start: WalPosition,
    /// Where the next file starts; `None` for the last one.
    pub end: Option<WalPosition>,
    /// End of what is known from elsewhere to have been durable: from the checkpoint, and from
    /// [`flushed_claim`] over later files.
    pub flushed: WalPosition,
}

/// One thing that the scan found, in order of position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanItem<'a> {
    /// A valid entry, never a [`EntryKind::Skip`].
    Entry(Entry<'a>),
    /// Bytes that had been durable and cannot be read.
    Damage(Damage),
}

/// A range that had been durable and cannot be read, or that a later version of klamm wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its first byte.
    pub from: WalPosition,
    /// The byte after its last: the next entry, the durable end, or the file's end.
    pub to: WalPosition,
    /// The head at `from`, if that is whole: it names partition and offset of what is lost.
    pub head: Option<EntryHead>,
    /// What is wrong with the entry at `from`.
    pub fault: EntryFault,
}

/// How the scan of a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// The file is used up: what follows stands in the next file, at this position.
    Full(WalPosition),
    /// Nothing was ever written at this position.
    Clean(WalPosition),
    /// The write at this position was never completed, and nothing says that it was durable: the
    /// log is cut here.
    Torn(WalPosition),
}

impl ScanEnd {
    /// The end of what this file gives.
    #[must_use]
    pub const fn position(self) -> WalPosition {
        match self {
            Self::Full(position) | Self::Clean(position) | Self::Torn(position) => position,
        }
    }
}

/// Walks the entries of one file. Time is bounded by twice the file's size.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    area: &'a [u8],
    bounds: ScanBounds,
    at: usize,
    ahead: Option<Ahead>,
    end: Option<ScanEnd>,
}

/// What the heads behind the first bad entry say.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// Place of the last valid head.
    last: Option<usize>,
    flushed: WalPosition,
}

impl<'a> Scan<'a> {
    /// Starts at the first entry. `area` is the file behind its head, to the file's end.
    #[must_use]
    pub fn new(area: &'a [u8], bounds: ScanBounds) -> Self {
        Self {
            area: clip(area, &bounds),
            bounds,
            at: 0,
            ahead: None,
            end: None,
        }
    }

    /// How the scan ended; `None` until the iterator has.
    #[must_use]
    pub const fn end(&self) -> Option<ScanEnd> {
        self.end
    }

    /// Where the next item stands.
    #[must_use]
    pub const fn place(&self) -> WalPosition {
        self.bounds.start.plus(self.at)
    }

    fn read_entry(&self) -> Result<Entry<'a>, (Option<EntryHead>, EntryFault)> {
        let bytes = &self.area[self.at..];
        let head = read_entry_head(bytes, self.place(), self.bounds.incarnation)
            .map_err(|fault| (None, fault))?;
        match read_payload(bytes, &head) {
            Ok(payload) => Ok(Entry { head, payload }),
            Err(fault) => Err((Some(head), fault)),
        }
    }

    /// Ends the scan where too few bytes are left for a head. That is lawful at the next file's
    /// start, and in the last file, whose writer moves on rather than split a head; otherwise the
    /// file was cut short.
    fn out_of_bytes(&mut self) -> Option<Damage> {
        let from = self.place();
        let expected = self.bounds.end.unwrap_or(self.bounds.flushed).max(from);
        if from == expected {
            self.end = Some(ScanEnd::Full(from));
            return None;
        }
        if self.bounds.flushed <= from {
            self.end = Some(ScanEnd::Torn(from));
            return None;
        }
        let to = expected.min(self.bounds.flushed);
        self.end = Some(if to == expected {
            ScanEnd::Full(to)
        } else {
            ScanEnd::Torn(to)
        });
        Some(Damage {
            from,
            to,
            head: None,
            fault: EntryFault::Short,
        })
    }

    /// Decides what the bad entry at hand is.
    fn judge(&mut self, head: Option<EntryHead>, fault: EntryFault) -> Option<Damage> {
        let from = self.place();
        let ahead = *self
            .ahead
            .get_or_insert_with(|| look_ahead(self.area, self.at, &self.bounds));
        let flushed = ahead.flushed.max(self.bounds.flushed);
        let unknown = matches!(fault, EntryFault::UnknownKind(_));
        if flushed <= from && !unknown {
            self.end = Some(
                if fault == EntryFault::Foreign && ahead.last.is_none_or(|last| last < self.at) {
                    ScanEnd::Clean(from)
                } else {
                    ScanEnd::Torn(from)
                },
            );
            return None;
        }
        let entry_end = head
            .map(|head| self.at + head.entry_bytes())
            .filter(|&end| end <= self.area.len());
        let to = entry_end.unwrap_or_else(|| self.next_entry(flushed));
        self.at = to;
        Some(Damage {
            from,
            to: self.place(),
            head,
            fault,
        })
    }

    /// The place of the next valid head up to the durable end, or that end.
    fn next_entry(&self, flushed: WalPosition) -> usize {
        let durable = usize::try_from(flushed.since(self.bounds.start)).unwrap_or(usize::MAX);
        let end = durable.min(self.area.len());
        let first = self.at + ENTRY_ALIGN_BYTES;
        (first..end)
            .step_by(ENTRY_ALIGN_BYTES)
            .find(|&at| head_at(self.area, at, &self.bounds).is_some())
            .unwrap_or(end)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = ScanItem<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        if self.area.len() - self.at < ENTRY_HEAD_BYTES {
            return self.out_of_bytes().map(ScanItem::Damage);
        }
        match self.read_entry() {
            Ok(entry) => {
                self.at += entry.head.entry_bytes();
                if entry.head.kind == EntryKind::Skip {
                    self.end = Some(ScanEnd::Full(self.place()));
                    return None;
                }
                Some(ScanItem::Entry(entry))
            }
            Err((head, fault)) => self.judge(head, fault).map(ScanItem::Damage),
        }
    }
}

/// The largest flushed position that any valid entry head in a file claims; `None` if there is no
/// such head. For files behind one that ended torn: see the room's description of recovery.
#[must_use]
pub fn flushed_claim(area: &[u8], bounds: &ScanBounds) -> Option<WalPosition> {
    let area = clip(area, bounds);
    let mut claim = head_at(area, 0, bounds).map(|head| head.stamp.flushed);
    let ahead = look_ahead(area, 0, bounds);
    if ahead.last.is_some() {
        claim = claim.max(Some(ahead.flushed));
    }
    claim
}

/// Which life wrote a file whose head is lost, and where its first entry stands: from the first
/// entry whose head is whole and of which `believes` that it is one, by its place in `area`. An
/// entry says both of itself, but so does one that a payload quotes.
pub fn recognise(
    area: &[u8],
    mut believes: impl FnMut(usize, Incarnation, WalPosition) -> bool,
) -> Option<(Incarnation, WalPosition)> {
    let places = (0..area.len()).step_by(ENTRY_ALIGN_BYTES);
    places.into_iter().find_map(|at| {
        let head = area.get(at..at + ENTRY_HEAD_BYTES)?;
        // Unused space is told by one byte.
        if !matches!(head[VERSION_AT], VERSION | VERSION_WITH_GAP) {
            return None;
        }
        let position = WalPosition(u64_at(head, POSITION));
        let incarnation = Incarnation(u64_at(head, INCARNATION));
        let start = WalPosition(position.0.checked_sub(at as u64)?);
        let is_entry = start.0.is_multiple_of(ENTRY_ALIGN_BYTES as u64)
            && read_entry_head(head, position, incarnation).is_ok();
        (is_entry && believes(at, incarnation, start)).then_some((incarnation, start))
    })
}

/// The part of the file that may hold entries.
fn clip<'a>(area: &'a [u8], bounds: &ScanBounds) -> &'a [u8] {
    // A position beyond the last that can be named is no entry's: such a file holds none.
    let nameable = usize::try_from(u64::MAX - bounds.start.0).unwrap_or(usize::MAX);
    let used = bounds.end.map_or(usize::MAX, |end| {
        usize::try_from(end.since(bounds.start)).unwrap_or(usize::MAX)
    });
    &area[..area.len().min(used).min(nameable)]
}

/// Reads every valid head behind `at`. The position that a head must repeat is compared before
/// anything else is looked at, so that unused space costs one load for each eight bytes: every
/// start reads the rest of a file, which is most of it.
fn look_ahead(area: &[u8], at: usize, bounds: &ScanBounds) -> Ahead {
    let mut ahead = Ahead {
        last: None,
        flushed: WalPosition::ZERO,
    };
    let first = at + ENTRY_ALIGN_BYTES;
    let positions = area.get(first + POSITION..).unwrap_or_default();
    let (positions, _) = positions.as_chunks::<ENTRY_ALIGN_BYTES>();
    // A place that cannot be numbered holds no entry: `clip` has cut the area there.
    let mut expected = bounds.start.0.wrapping_add(first as u64);
    for (number, position) in positions.iter().enumerate() {
        if u64::from_be_bytes(*position) == expected {
            let at = first + number * ENTRY_ALIGN_BYTES;
            if let Some(head) = head_at(area, at, bounds) {
                ahead.last = Some(at);
                ahead.flushed = ahead.flushed.max(head.stamp.flushed);
            }
        }
        expected = expected.wrapping_add(ENTRY_ALIGN_BYTES as u64);
    }
    ahead
}

#[inline(always)]
fn head_at(area: &[u8], at: usize, bounds: &ScanBounds) -> Option<EntryHead> {
    let bytes = area.get(at..)?;
    read_entry_head(bytes, bounds.start.plus(at), bounds.incarnation).ok()
}
