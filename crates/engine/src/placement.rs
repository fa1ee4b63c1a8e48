//! Which of a node's data folders a partition's folder lies in, and which one a new partition gets:
//! as in Apache Kafka the one with the fewest partitions, among several of these the first.

use std::collections::BTreeMap;

/// One of a node's data folders, in the order of their list; the first keeps what is not a
/// partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderNumber(pub usize);

impl FolderNumber {
    /// The folder with the write-ahead logs and the metadata.
    pub const MAIN: Self = Self(0);
}

/// Where partitions' folders lie, by their names.
#[derive(Clone, Debug)]
pub struct Placement {
    /// How many partitions each folder has.
    counts: Vec<usize>,
    places: BTreeMap<String, Place>,
    removals: u64,
}

/// One removal of a partition's folder among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal(u64);

#[derive(Clone, Copy, Debug)]
struct Place {
    folder: FolderNumber,
    /// It was removed by this, and may be there again after a power cut.
    leaving: Option<Removal>,
}

impl Placement {
    /// Nothing lies in any of so many folders.
    #[must_use]
    pub fn new(folders: usize) -> Self {
        Self {
            counts: vec![0; folders.max(1)],
            places: BTreeMap::new(),
            removals: 0,
        }
    }

    /// Notes where a start found a partition's folder.
    ///
    /// # Errors
    /// It was found before: there.
    pub fn found(&mut self, name: &str, folder: FolderNumber) -> Result<(), FolderNumber> {
        if let Some(place) = self.places.get(name) {
            return Err(place.folder);
        }
        self.insert(name, folder);
        Ok(())
    }

    /// Where a partition's folder lies, if it lies anywhere.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<FolderNumber> {
        self.places.get(name).map(|place| place.folder)
    }

    /// Where a partition's folder lies; if it lies nowhere, where it does from now on. A name that
    /// was removed stays where it was until that is durable, or a power cut could show two.
    pub fn place(&mut self, name: &str) -> FolderNumber {
        if let Some(place) = self.places.get_mut(name) {
            let folder = place.folder;
            if place.leaving.take().is_some() {
                self.counts[folder.0] += 1;
            }
            return folder;
        }
        let fewest = (0..self.counts.len()).min_by_key(|&folder| self.counts[folder]);
        let folder = FolderNumber(fewest.unwrap_or(0));
        self.insert(name, folder);
        folder
    }

    /// The partition's folder was removed, which is not durable yet. None if it lay nowhere.
    pub fn leave(&mut self, name: &str) -> Option<Removal> {
        let place = self.places.get_mut(name)?;
        self.removals += 1;
        let removal = Removal(self.removals);
        if place.leaving.replace(removal).is_none() {
            self.counts[place.folder.0] -= 1;
        }
        Some(removal)
    }

    /// This removal is durable. The name may lie elsewhere from now on, unless it was placed again,
    /// also where it was removed again since: that one may not be durable.
    pub fn forget(&mut self, name: &str, removal: Removal) {
        let place = self.places.get(name);
        if place.is_some_and(|place| place.leaving == Some(removal)) {
            self.places.remove(name);
        }
    }

    /// A partition's folder lies elsewhere from now on. False, and nothing is changed, if it was
    /// removed meanwhile.
    pub fn moved(&mut self, name: &str, to: FolderNumber) -> bool {
        let Some(place) = self.places.get_mut(name) else {
            return false;
        };
        if place.leaving.is_some() {
            return false;
        }
        let from = std::mem::replace(&mut place.folder, to);
        self.counts[from.0] -= 1;
        self.counts[to.0] += 1;
        true
    }

    /// Everything that was removed before is so durably.
    pub fn forget_all(&mut self) {
        self.places.retain(|_, place| place.leaving.is_none());
    }

    /// How many partitions a folder has.
    #[must_use]
    pub fn count(&self, folder: FolderNumber) -> usize {
        self.counts.get(folder.0).copied().unwrap_or(0)
    }

    /// Names of the partitions' folders that lie in others than the first.
    pub fn elsewhere(&self) -> impl Iterator<Item = &str> {
        let places = self.places.iter();
        let there = places
            .filter(|(_, place)| place.folder != FolderNumber::MAIN && place.leaving.is_none());
        there.map(|(name, _)| name.as_str())
    }

    fn insert(&mut self, name: &str, folder: FolderNumber) {
        self.counts[folder.0] += 1;
        let place = Place {
            folder,
            leaving: None,
        };
        self.places.insert(name.to_owned(), place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_partition_goes_to_the_folder_with_the_fewest_and_among_equals_to_the_first() {
        let mut placement = Placement::new(3);
        placement
            .found("old-0", FolderNumber(0))
            .expect("the first");
        placement
            .found("old-1", FolderNumber(2))
            .expect("the first");
        let placed: Vec<_> = ["a-0", "a-1", "a-2", "a-3", "a-4"]
            .map(|name| placement.place(name).0)
            .into();
        assert_eq!(placed, [1, 0, 1, 2, 0]);
        assert_eq!(placement.place("old-1"), FolderNumber(2), "it stays");
        let counts = [0, 1, 2].map(|folder| placement.count(FolderNumber(folder)));
        assert_eq!(counts, [3, 2, 2]);
    }

    #[test]
    fn a_partition_that_lies_in_two_folders_is_told() {
        let mut placement = Placement::new(2);
        placement.found("a-0", FolderNumber(1)).expect("the first");
        assert_eq!(
            placement.found("a-0", FolderNumber(0)),
            Err(FolderNumber(1))
        );
    }

    #[test]
    fn what_moves_lies_and_counts_elsewhere_unless_it_was_removed() {
        let mut placement = Placement::new(2);
        placement.place("a-0");
        assert!(placement.moved("a-0", FolderNumber(1)));
        assert_eq!(placement.of("a-0"), Some(FolderNumber(1)));
        let counts = [0, 1].map(|folder| placement.count(FolderNumber(folder)));
        assert_eq!(counts, [0, 1]);
        placement.leave("a-0");
        assert!(!placement.moved("a-0", FolderNumber(0)));
        assert!(!placement.moved("b-0", FolderNumber(0)), "it lies nowhere");
        assert_eq!(placement.of("a-0"), Some(FolderNumber(1)));
    }

    #[test]
    fn what_was_removed_counts_no_more_and_keeps_its_place_until_that_is_durable() {
        let mut placement = Placement::new(2);
        placement.place("a-0");
        placement.place("b-0");
        let first = placement.leave("b-0").expect("it lies there");
        let removal = placement.leave("b-0").expect("it lies there");
        assert_eq!(placement.count(FolderNumber(1)), 0);
        assert_eq!(placement.of("b-0"), Some(FolderNumber(1)));
        assert_eq!(placement.elsewhere().count(), 0);
        assert_eq!(placement.place("c-0"), FolderNumber(1));
        assert_eq!(placement.place("b-0"), FolderNumber(1), "not yet durable");
        for removal in [first, removal] {
            placement.forget("b-0", removal);
        }
        assert_eq!(placement.of("b-0"), Some(FolderNumber(1)), "it came back");
        let again = placement.leave("b-0").expect("it lies there");
        placement.forget("b-0", removal);
        let of = placement.of("b-0");
        assert_eq!(of, Some(FolderNumber(1)), "another removal is durable");
        placement.leave("c-0");
        placement.place("d-0");
        placement.forget("b-0", again);
        placement.forget_all();
        assert_eq!(placement.leave("b-0"), None);
        assert_eq!(placement.of("c-0"), None);
        assert_eq!(placement.place("b-0"), FolderNumber(0));
    }
}
