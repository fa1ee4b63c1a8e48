//! A sorted map whose clones share what did not change: an array of chunks behind an `Arc`, each
//! chunk a sorted array behind an `Arc`.
//!
//! ```text
//! Arc [ Arc [a b c d], Arc [e f g], Arc [h i j k] ]     a change of `f` copies the outer array
//!                          ^ and this chunk, if anybody else holds them; nothing otherwise
//! ```
//!
//! For 100 000 entries a shared change copies some 1 500 pointers and 64 entries. A tree would copy
//! fewer pointers but is several times the code, and slower to walk and to look things up in.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A chunk is divided in two when it has this many entries.
const CHUNK_MAX: usize = 128;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

#[derive(Clone, Debug)]
pub(crate) struct ChunkedMap<K, V> {
    /// In order; no chunk is empty.
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> Default for ChunkedMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
        }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for ChunkedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for ChunkedMap<K, V> {}

impl<K, V> ChunkedMap<K, V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// True if both are the same memory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }
}

impl<K: Ord + Clone, V: Clone> ChunkedMap<K, V> {
    /// The chunk that holds `key`, or where it would go.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let after = self.chunks.partition_point(|chunk| {
            chunk
                .first()
                .is_some_and(|(first, _)| first.borrow() <= key)
        });
        after.saturating_sub(1)
    }

    fn place_in<Q: Ord + ?Sized>(chunk: &[(K, V)], key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        chunk.binary_search_by(|(held, _)| held.borrow().cmp(key))
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let place = Self::place_in(chunk, key).ok()?;
        chunk.get(place).map(|(_, value)| value)
    }

    /// The entries behind a key, whether it is held or not, in order.
    pub(crate) fn iter_after<Q: Ord + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let skipped = self.chunks.get(at).map_or(0, |chunk| {
            chunk.partition_point(|(held, _)| held.borrow() <= key)
        });
        let chunks = self.chunks.get(at..).unwrap_or_default().iter();
        let entries = chunks.flat_map(|chunk| chunk.iter());
        entries.skip(skipped).map(|(key, value)| (key, value))
    }

    pub(crate) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The value for changing in place; copies its chunk if somebody else holds it.
    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let place = Self::place_in(self.chunks.get(at)?, key).ok()?;
        let chunk = Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(at)?);
        chunk.get_mut(place).map(|(_, value)| value)
    }

    /// Changes in place every value that is `wanted`; a chunk without such a value stays shared.
    pub(crate) fn change_where(
        &mut self,
        wanted: impl Fn(&V) -> bool,
        mut change: impl FnMut(&mut V),
    ) {
        let holds = |chunk: &Chunk<K, V>| chunk.iter().any(|(_, value)| wanted(value));
        if !self.chunks.iter().any(holds) {
            return;
        }
        for chunk in Arc::make_mut(&mut self.chunks) {
            if holds(chunk) {
                for (_, value) in Arc::make_mut(chunk) {
                    if wanted(value) {
                        change(value);
                    }
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        match Self::place_in(chunk, &key) {
            Ok(place) => Some(std::mem::replace(&mut chunk[place].1, value)),
            Err(place) => {
                chunk.insert(place, (key, value));
                self.len += 1;
                if chunk.len() >= CHUNK_MAX {
                    // Keys that come in order leave full chunks behind.
                    let cut = if place + 1 == chunk.len() {
                        chunk.len() - 1
                    } else {
                        chunk.len() / 2
                    };
                    let rest = chunk.split_off(cut);
                    chunks.insert(at + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let place = Self::place_in(self.chunks.get(at)?, key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let (_, value) = chunk.remove(place);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        Some(value)
    }

    /// Entries of `self` and `other` that are not in a chunk which both share: everything that
    /// differs is among them.
    pub(crate) fn unshared<'a>(
        &'a self,
        other: &'a Self,
    ) -> (Entries<'a, K, V>, Entries<'a, K, V>) {
        if Arc::ptr_eq(&self.chunks, &other.chunks) {
            return (Vec::new(), Vec::new());
        }
        (self.entries_beyond(other), other.entries_beyond(self))
    }

    fn entries_beyond<'a>(&'a self, other: &'a Self) -> Entries<'a, K, V> {
        let held: BTreeSet<_> = other.chunks.iter().map(Arc::as_ptr).collect();
        self.chunks
            .iter()
            .filter(|chunk| !held.contains(&Arc::as_ptr(chunk)))
            .flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
            .collect()
    }

    /// What differs, by key: the value before and the value after.
    pub(crate) fn differences<'a>(&'a self, after: &'a Self) -> Vec<Difference<'a, K, V>>
    where
        V: PartialEq,
    {
        let (old, new) = self.unshared(after);
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        let mut found = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return found,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((left, _)), Some((right, _))) => left.cmp(right),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            let Some(key) = before.or(after).map(|(key, _)| key) else {
                return found;
            };
            let (before, after) = (before.map(|entry| entry.1), after.map(|entry| entry.1));
            if before != after {
                found.push(Difference { key, before, after });
            }
        }
    }
}

type Entries<'a, K, V> = Vec<(&'a K, &'a V)>;

/// One key whose value differs.
#[derive(Debug, PartialEq)]
pub(crate) struct Difference<'a, K, V> {
    pub(crate) key: &'a K,
    pub(crate) before: Option<&'a V>,
    pub(crate) after: Option<&'a V>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn next(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn it_behaves_like_a_sorted_map_and_clones_do_not_change() {
        for seed in 0..50 {
            let mut state = seed;
            let mut map = ChunkedMap::default();
            let mut model = BTreeMap::new();
            let mut kept: Vec<(ChunkedMap<u64, u64>, BTreeMap<u64, u64>)> = Vec::new();
            for _ in 0..2000 {
                let (key, value) = (next(&mut state) % 700, next(&mut state));
                match next(&mut state) % 40 {
                    39 => {
                        let wanted = |held: &u64| held % 5 == key % 5;
                        map.change_where(wanted, |held| *held ^= value);
                        for held in model.values_mut().filter(|held| wanted(held)) {
                            *held ^= value;
                        }
                    }
                    0..10 => assert_eq!(map.remove(&key), model.remove(&key)),
                    10..20 => {
                        let (ours, theirs) = (map.get_mut(&key), model.get_mut(&key));
                        assert_eq!(ours, theirs);
                        if let (Some(ours), Some(theirs)) = (ours, theirs) {
                            *ours = value;
                            *theirs = value;
                        }
                    }
                    _ => assert_eq!(map.insert(key, value), model.insert(key, value)),
                }
                assert_eq!(map.get(&key), model.get(&key));
                let behind = model.range(key + 1..).take(200);
                assert!(map.iter_after(&key).take(200).eq(behind), "seed {seed}");
                if next(&mut state).is_multiple_of(400) {
                    kept.push((map.clone(), model.clone()));
                }
            }
            kept.push((map, model));
            for (map, model) in &kept {
                assert!(map.iter().eq(model.iter()), "seed {seed}");
                assert_eq!(map.len(), model.len());
            }
            for pair in kept.windows(2) {
                let ((old, old_model), (new, new_model)) = (&pair[0], &pair[1]);
                let keys: BTreeSet<_> = old_model.keys().chain(new_model.keys()).collect();
                let expected: Vec<_> = keys
                    .into_iter()
                    .map(|key| Difference {
                        key,
                        before: old_model.get(key),
                        after: new_model.get(key),
                    })
                    .filter(|difference| difference.before != difference.after)
                    .collect();
                assert_eq!(old.differences(new), expected, "seed {seed}");
            }
        }
    }
}
