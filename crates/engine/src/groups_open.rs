//! Offsets that transactions committed and of whose end nothing was read yet (of a folder that was
//! Kafka's). As there they count once the marker says so, unless something newer of the same key
//! counts by then: the place in the log decides, not the order of the markers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use klamm_model::{Offset, ProducerId};

/// What open transactions wrote.
#[derive(Debug, Default)]
pub(crate) struct OpenOffsets {
    by_producer: BTreeMap<ProducerId, BTreeMap<Bytes, Pending>>,
    by_key: BTreeMap<Bytes, BTreeSet<ProducerId>>,
}

/// A record of an open transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Its place in the log.
    pub(crate) offset: Offset,
    /// Its value.
    pub(crate) value: Bytes,
}

impl OpenOffsets {
    /// A record of a transaction, in the place of an earlier one of the same key.
    pub(crate) fn keep(&mut self, producer: ProducerId, key: Bytes, pending: Pending) {
        let producers = self.by_key.entry(key.clone()).or_default();
        producers.insert(producer);
        let records = self.by_producer.entry(producer).or_default();
        records.insert(key, pending);
    }

    /// What stands at `offset` counts for this key: nothing that was written before it does so any
    /// more.
    pub(crate) fn supersede(&mut self, key: &Bytes, offset: Offset) {
        let Some(producers) = self.by_key.get_mut(key) else {
            return;
        };
        let by_producer = &mut self.by_producer;
        producers.retain(|producer| {
            let records = by_producer.get_mut(producer);
            records.is_some_and(|records| {
                let stays = records.get(key).is_some_and(|kept| kept.offset > offset);
                if !stays {
                    records.remove(key);
                }
                stays
            })
        });
        if producers.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// A transaction has ended. Gives what is left of what it wrote.
    pub(crate) fn end(&mut self, producer: ProducerId) -> BTreeMap<Bytes, Pending> {
        let records = self.by_producer.remove(&producer).unwrap_or_default();
        for key in records.keys() {
            if let Some(producers) = self.by_key.get_mut(key) {
                producers.remove(&producer);
                if producers.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(offset: i64) -> Pending {
        Pending {
            offset: Offset(offset),
            value: Bytes::from(offset.to_string()),
        }
    }

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    #[test]
    fn what_is_newer_takes_the_place_of_what_is_open_and_nothing_else_does() {
        let mut open = OpenOffsets::default();
        let (one, two) = (ProducerId(1), ProducerId(2));
        open.keep(one, key("a"), kept(5));
        open.keep(one, key("b"), kept(6));
        open.keep(two, key("a"), kept(7));
        open.supersede(&key("a"), Offset(6));
        open.supersede(&key("c"), Offset(9));
        assert_eq!(open.end(one), BTreeMap::from([(key("b"), kept(6))]));
        assert_eq!(open.end(two), BTreeMap::from([(key("a"), kept(7))]));
        assert!(open.by_key.is_empty() && open.by_producer.is_empty());
        assert!(open.end(two).is_empty(), "it has ended");
    }

    #[test]
    fn a_transaction_that_writes_a_key_again_means_the_last() {
        let mut open = OpenOffsets::default();
        open.keep(ProducerId(1), key("a"), kept(5));
        open.keep(ProducerId(1), key("a"), kept(8));
        open.supersede(&key("a"), Offset(6));
        let left = open.end(ProducerId(1));
        assert_eq!(left, BTreeMap::from([(key("a"), kept(8))]));
    }
}
