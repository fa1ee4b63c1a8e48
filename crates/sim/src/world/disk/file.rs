//! One file: what reads see, what the device has, and what becomes of the difference.

use std::collections::BTreeMap;

use super::{DiskStats, Node, SECTOR_BYTES};
use crate::random::Random;

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What reads see.
    pub(super) cached: Vec<u8>,
    /// What the device has.
    pub(super) device: Vec<u8>,
    /// Writes that no flush has covered, for each sector that has any.
    pub(super) dirty: BTreeMap<usize, Vec<Write>>,
    /// Numbers of the flushes that wrote each sector last, and the length: an older flush that ends
    /// later takes nothing back.
    pub(super) flushed_by: BTreeMap<usize, u64>,
    pub(super) length_by: u64,
    /// A flush failed: there are sectors that look clean and are not on the device.
    pub(super) is_forsaken: bool,
}

/// Bytes of one sector that were written, relative to its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// Number of the flush that would be the next.
    pub(super) before: u64,
    pub(super) low: usize,
    pub(super) high: usize,
}

/// What a flush covers: the content of the dirty sectors when it began.
#[derive(Clone, Debug)]
pub struct FlushTicket {
    pub(super) node: Node,
    pub(super) number: u64,
    pub(super) sectors: BTreeMap<usize, Vec<u8>>,
    pub(super) length: usize,
}

impl FlushTicket {
    /// Which file is flushed.
    #[must_use]
    pub const fn node(&self) -> Node {
        self.node
    }
}

impl File {
    pub(super) fn sector(&self, sector: usize) -> &[u8] {
        let start = (sector * SECTOR_BYTES).min(self.cached.len());
        let end = (start + SECTOR_BYTES).min(self.cached.len());
        &self.cached[start..end]
    }

    pub(super) fn touch(&mut self, from: usize, end: usize, before: u64) {
        let mut at = from;
        while at < end {
            let sector = at / SECTOR_BYTES;
            let start = sector * SECTOR_BYTES;
            let stop = end.min(start + SECTOR_BYTES);
            let write = Write {
                before,
                low: at - start,
                high: stop - start,
            };
            let writes = self.dirty.entry(sector).or_default();
            // The same is written again and again where there is no room for what stands behind it.
            if writes.last() != Some(&write) {
                writes.push(write);
            }
            at = stop;
        }
    }

    pub(super) fn write_back(&mut self, sector: usize, content: &[u8]) {
        let start = sector * SECTOR_BYTES;
        let end = (start + content.len()).min(self.device.len());
        if start < end {
            self.device[start..end].copy_from_slice(&content[..end - start]);
        }
    }

    /// Nothing that was written before this flush is dirty any more.
    pub(super) fn clean(&mut self, sector: usize, flush: u64) {
        if let Some(writes) = self.dirty.get_mut(&sector) {
            writes.retain(|write| write.before > flush);
            if writes.is_empty() {
                self.dirty.remove(&sector);
            }
        }
    }

    /// A flush fails as Linux lets it: any part reached the device, all that it covers counts as
    /// clean, and the cache goes on showing the new bytes (ext4, XFS) or the old ones again (Btrfs,
    /// or whatever is read anew after it was evicted). True if some are the old ones.
    pub(super) fn fail_flush(
        &mut self,
        ticket: &FlushTicket,
        random: &mut Random,
        stats: &mut DiskStats,
    ) -> bool {
        let written_percent = [0, 50, 100][random.below(3)];
        let revert_percent = [0, 50, 100][random.below(3)];
        let mut reverted = false;
        if self.length_by < ticket.number && random.chance(50) {
            self.length_by = ticket.number;
            self.device.resize(ticket.length, 0);
        }
        for (&sector, content) in &ticket.sectors {
            let last = self.flushed_by.get(&sector).copied();
            if last.is_some_and(|last| last > ticket.number) {
                continue;
            }
            self.clean(sector, ticket.number);
            if random.chance(written_percent) {
                self.write_back(sector, content);
                continue;
            }
            stats.sectors_forsaken += 1;
            if random.chance(revert_percent) && !self.dirty.contains_key(&sector) {
                reverted = true;
                let start = (sector * SECTOR_BYTES).min(self.cached.len());
                let end = (start + SECTOR_BYTES).min(self.cached.len());
                for at in start..end {
                    self.cached[at] = self.device.get(at).copied().unwrap_or(0);
                }
            }
        }
        self.is_forsaken = true;
        reverted
    }

    pub(super) fn cut_power(
        &mut self,
        random: &mut Random,
        written_back: u32,
        garbage_percent: u32,
        stats: &mut DiskStats,
    ) {
        let (cached, device) = (self.cached.len(), self.device.len());
        if cached == device && self.dirty.is_empty() && !self.is_forsaken {
            return;
        }
        let length = match random.below(3) {
            0 => cached,
            1 => device,
            _ => random.between(cached.min(device), cached.max(device)),
        };
        let mut survived = self.device.clone();
        survived.resize(length, 0);
        for (&sector, writes) in &self.dirty {
            let start = sector * SECTOR_BYTES;
            let content = self.sector(sector);
            let end = (start + content.len()).min(length);
            if start >= end {
                stats.sectors_lost += 1;
            } else if random.chance(written_back) {
                survived[start..end].copy_from_slice(&content[..end - start]);
            } else if random.chance(garbage_percent) {
                // Bytes of the sector that were not being written keep their value.
                stats.sectors_garbled += 1;
                for write in writes {
                    let (low, high) = (start + write.low, start + write.high);
                    for byte in &mut survived[low.min(end)..high.min(end)] {
                        *byte = random.next() as u8;
                    }
                }
            } else {
                stats.sectors_lost += 1;
            }
        }
        self.dirty.clear();
        self.is_forsaken = false;
        self.cached = survived.clone();
        self.device = survived;
    }
}
