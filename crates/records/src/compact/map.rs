//! Which offset each key has last, in bounded memory: a table of 24 bytes a key, found by a hash of
//! 128 bits. It grows as keys come, up to its ceiling.

use klamm_model::Offset;

use super::hash::{HashKey, KeyHash, hash_of};

/// Bytes of memory that one place of the table takes.
pub const SLOT_BYTES: usize = size_of::<Slot>();

const _: () = assert!(SLOT_BYTES == 24);

/// Places of a table when the first key comes.
const SLOTS_FIRST: usize = 1 << 10;

/// Of so many places ...
const LOAD_OF: usize = 8;

/// ... so many are taken at the most.
const LOAD: usize = 6;

/// A place: both halves of the hash, and the offset plus one. All zeros where it is free, so that a
/// new table costs nothing before its places are used.
type Slot = [u64; 3];

const FREE: Slot = [0; 3];

/// Whether no key is there.
#[inline]
const fn is_free(slot: &Slot) -> bool {
    slot[2] == 0
}

/// Whether it is this key's.
#[inline]
const fn is_of(slot: &Slot, hash: KeyHash) -> bool {
    slot[0] == hash.low && slot[1] == hash.high
}

/// What a place says of an offset.
#[inline]
const fn mark(offset: Offset) -> u64 {
    (offset.0 as u64).wrapping_add(1)
}

/// The last offset of each key.
#[derive(Debug)]
pub struct OffsetMap {
    key: HashKey,
    slots: Vec<Slot>,
    taken: usize,
    slots_max: usize,
}

impl OffsetMap {
    /// An empty map whose table takes no more than so many bytes (and half as much again for the
    /// moment in which it grows).
    #[must_use]
    pub const fn new(key: HashKey, bytes_max: usize) -> Self {
        let slots_max = bytes_max / SLOT_BYTES;
        Self {
            key,
            slots: Vec::new(),
            taken: 0,
            slots_max: if slots_max < LOAD_OF {
                LOAD_OF
            } else {
                slots_max
            },
        }
    }

    /// Keys in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.taken
    }

    /// True if no key is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Bytes that the table takes now.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.slots.len() * SLOT_BYTES
    }

    /// What this map knows a key by.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        hash_of(self.key, key)
    }

    /// Takes in that a record with this key lies at `offset`. False, and nothing is changed, if the
    /// key is new and there is no room for another.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        self.put_hash(self.hash(key), offset)
    }

    /// [`put`](Self::put), of a key that was hashed before.
    pub fn put_hash(&mut self, hash: KeyHash, offset: Offset) -> bool {
        if self.taken >= self.slots.len() / LOAD_OF * LOAD && !self.grow() {
            let Some(place) = self.find(hash) else {
                return false;
            };
            return self.raise(place, offset);
        }
        let mut place = home(hash, self.slots.len());
        loop {
            let slot = &mut self.slots[place];
            if is_free(slot) {
                *slot = [hash.low, hash.high, mark(offset)];
                self.taken += 1;
                return true;
            }
            if is_of(slot, hash) {
                return self.raise(place, offset);
            }
            place = next(place, self.slots.len());
        }
    }

    /// The last offset of this key, if it is known.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        self.get_hash(self.hash(key))
    }

    /// [`get`](Self::get), of a key that was hashed before.
    #[must_use]
    #[inline]
    pub fn get_hash(&self, hash: KeyHash) -> Option<Offset> {
        let place = self.find(hash)?;
        Some(Offset(self.slots[place][2].wrapping_sub(1) as i64))
    }

    /// Has the places of these keys brought from memory, all at the same time: who then asks for
    /// one after the other does not wait for each.
    #[inline]
    pub(super) fn fetch(&self, hashes: impl Iterator<Item = KeyHash>) {
        let mut seen = 0;
        for hash in hashes {
            if let Some(slot) = self.slots.get(home(hash, self.slots.len())) {
                // Its ends: a place may lie across a border of cache lines.
                seen ^= slot[0] ^ slot[2];
            }
        }
        std::hint::black_box(seen);
    }

    fn raise(&mut self, place: usize, offset: Offset) -> bool {
        let slot = &mut self.slots[place];
        slot[2] = slot[2].max(mark(offset));
        true
    }

    fn find(&self, hash: KeyHash) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut place = home(hash, self.slots.len());
        loop {
            let slot = &self.slots[place];
            if is_free(slot) {
                return None;
            }
            if is_of(slot, hash) {
                return Some(place);
            }
            place = next(place, self.slots.len());
        }
    }

    /// Doubles the table, if it may be larger.
    fn grow(&mut self) -> bool {
        let wanted = (self.slots.len() * 2).max(SLOTS_FIRST).min(self.slots_max);
        if wanted <= self.slots.len() {
            return false;
        }
        let before = std::mem::replace(&mut self.slots, vec![FREE; wanted]);
        for slot in before {
            if is_free(&slot) {
                continue;
            }
            let [low, high, _] = slot;
            let mut place = home(KeyHash { low, high }, wanted);
            while !is_free(&self.slots[place]) {
                place = next(place, wanted);
            }
            self.slots[place] = slot;
        }
        self.taken < self.slots.len() / LOAD_OF * LOAD
    }
}

/// Where a key belongs in a table of so many places.
#[inline]
const fn home(hash: KeyHash, slots: usize) -> usize {
    ((hash.low as u128 * slots as u128) >> 64) as usize
}

#[inline]
const fn next(place: usize, slots: usize) -> usize {
    if place + 1 == slots { 0 } else { place + 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_found_while_the_table_grows() {
        let mut map = OffsetMap::new(HashKey(3), 1 << 20);
        let mut expected = BTreeMap::new();
        for offset in 0..30_000_i64 {
            let key = (offset * 7919 % 20_011).to_be_bytes();
            assert!(map.put(&key, Offset(offset)));
            expected.insert(key, offset);
        }
        assert_eq!(map.len(), expected.len());
        for (key, &offset) in &expected {
            assert_eq!(map.get(key), Some(Offset(offset)));
        }
        for key in 20_011..25_000_i64 {
            assert_eq!(map.get(&key.to_be_bytes()), None);
        }
        assert!(map.bytes() <= 1 << 20);
    }

    #[test]
    fn a_full_table_takes_no_new_key_and_still_learns_of_known_ones() {
        let mut map = OffsetMap::new(HashKey(3), 2000 * SLOT_BYTES);
        let mut known = 0;
        while map.put(&[known as u8, (known >> 8) as u8], Offset(known)) {
            known += 1;
        }
        assert_eq!(known, 1500);
        assert!(map.put(&[0, 0], Offset(9999)));
        assert!(!map.put(b"another", Offset(10_000)));
        assert_eq!(map.get(&[0, 0]), Some(Offset(9999)));
        assert_eq!(map.get(b"another"), None);
        assert_eq!(map.get(&[1, 0]), Some(Offset(1)));
        assert_eq!(map.bytes(), 2000 * SLOT_BYTES);
    }

    #[test]
    fn an_earlier_offset_takes_nothing_back() {
        let mut map = OffsetMap::new(HashKey(3), 0);
        assert_eq!(map.get(b"a"), None);
        assert!(map.put(b"a", Offset(5)) && map.put(b"a", Offset(3)));
        assert_eq!(map.get(b"a"), Some(Offset(5)));
        assert_eq!(map.len(), 1);
    }
}
