//! Committed offsets never move without a client's request, and never vanish (G2).

use std::collections::{BTreeMap, BTreeSet};

use klamm_engine::coord::FetchedOffsets;
use klamm_model::TopicId;

use super::{Violation, ensure};

const INVARIANT: &str = "committed_offsets_stay";

/// Where an offset is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The group.
    pub group: &'static str,
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub index: i32,
}

/// What was asked to be kept at one place. Each request asks for more than the one before it, and
/// none is sent before the one before it is settled.
#[derive(Clone, Debug, Default)]
struct Asked {
    /// What was acknowledged or seen last.
    sure: Option<i64>,
    /// What was asked for and not refused.
    possible: BTreeSet<i64>,
    /// A request is under way.
    is_under_way: bool,
}

/// Everything that clients know of committed offsets.
#[derive(Clone, Debug, Default)]
pub struct CommittedOffsets {
    places: BTreeMap<Place, Asked>,
    next: i64,
}

/// What was sure when somebody asked for the offsets of a group.
pub type Sure = BTreeMap<Place, i64>;

impl CommittedOffsets {
    /// An offset to commit there, unless somebody is about to.
    pub fn ask(&mut self, place: &Place) -> Option<i64> {
        let asked = self.places.entry(place.clone()).or_default();
        if asked.is_under_way {
            return None;
        }
        asked.is_under_way = true;
        self.next += 1;
        asked.possible.insert(self.next);
        Some(self.next)
    }

    /// It is kept.
    pub fn on_kept(&mut self, place: &Place, offset: i64) {
        let asked = self.places.entry(place.clone()).or_default();
        asked.is_under_way = false;
        asked.sure = asked.sure.max(Some(offset));
    }

    /// It was refused, so that it is not kept.
    pub fn on_refused(&mut self, place: &Place, offset: i64) {
        let asked = self.places.entry(place.clone()).or_default();
        asked.is_under_way = false;
        asked.possible.remove(&offset);
    }

    /// Nobody knows whether it is kept.
    pub fn on_unknown(&mut self, place: &Place) {
        let asked = self.places.entry(place.clone()).or_default();
        asked.is_under_way = false;
    }

    /// The node died: nobody is answered any more.
    pub fn on_crash(&mut self) {
        for asked in self.places.values_mut() {
            asked.is_under_way = false;
        }
    }

    /// What is sure of a group.
    #[must_use]
    pub fn sure(&self, group: &str) -> Sure {
        let places = self.places.iter().filter(|(place, _)| place.group == group);
        places
            .filter_map(|(place, asked)| Some((place.clone(), asked.sure?)))
            .collect()
    }

    /// Judges what somebody was told of a group. Says how many offsets were sure.
    ///
    /// # Errors
    /// An offset vanished, went back, or was never asked for.
    pub fn check(
        &mut self,
        group: &'static str,
        sure: &Sure,
        found: &FetchedOffsets,
        is_gone: impl Fn(TopicId) -> bool,
    ) -> Result<u64, Violation> {
        let mut told = BTreeMap::new();
        for topic in &found.topics {
            for (index, kept) in &topic.partitions {
                let place = Place {
                    group,
                    topic: topic.topic.id,
                    index: index.0,
                };
                told.extend(kept.as_ref().map(|kept| (place, kept.offset.0)));
            }
        }
        let mut judged = 0;
        for (place, sure) in sure.iter().filter(|(place, _)| !is_gone(place.topic)) {
            let told = told.get(place);
            ensure!(
                INVARIANT,
                told.is_some_and(|told| told >= sure),
                "{place:?}: {sure} was committed, {told:?} is told"
            );
            judged += 1;
        }
        for (place, told) in told {
            let asked = self.places.entry(place.clone()).or_default();
            ensure!(
                INVARIANT,
                asked.possible.contains(&told),
                "{place:?}: {told} is told, which nobody asked for, but {:?}",
                asked.possible
            );
            // What somebody was told stays as well.
            asked.sure = asked.sure.max(Some(told));
        }
        Ok(judged)
    }
}
