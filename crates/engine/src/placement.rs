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
}

#[derive(Clone, Copy, Debug)]
struct Place {
    folder: FolderNumber,
    /// It was removed, and may be there again after a power cut.
    is_leaving: bool,
}

impl Placement {
    /// Nothing lies in any of so many folders.
    #[must_use]
    pub fn new(folders: usize) -> Self {
        Self {
            counts: vec![0; folders.max(1)],
            places: BTreeMap::new(),
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
            if std::mem::take(&mut place.is_leaving) {
                self.counts[folder.0] += 1;
            }
            return folder;
        }
        let fewest = (0..self.counts.len()).min_by_key(|&folder| self.counts[folder]);
        let folder = FolderNumber(fewest.unwrap_or(0));
        self.insert(name, folder);
        folder
    }

    /// The partition's folder was removed, which is not durable yet.
    pub fn leave(&mut self, name: &str) {
        if let Some(place) = self.places.get_mut(name)
            && !std::mem::replace(&mut place.is_leaving, true)
        {
            self.counts[place.folder.0] -= 1;
        }
    }

    /// What was removed before is so durably, unless it was placed again.
    pub fn forget(&mut self, name: &str) {
        if self.places.get(name).is_some_and(|place| place.is_leaving) {
            self.places.remove(name);
        }
    }

    /// Everything that was removed before is so durably.
    pub fn forget_all(&mut self) {
        self.places.retain(|_, place| !place.is_leaving);
    }

    /// How many partitions a folder has.
    #[must_use]
    pub fn count(&self, folder: FolderNumber) -> usize {
        self.counts.get(folder.0).copied().unwrap_or(0)
    }

    /// Names of the partitions' folders that lie in others than the first.
    pub fn elsewhere(&self) -> impl Iterator<Item = &str> {
        let places = self.places.iter();
        let there =
            places.filter(|(_, place)| place.folder != FolderNumber::MAIN && !place.is_leaving);
        there.map(|(name, _)| name.as_str())
    }

    fn insert(&mut self, name: &str, folder: FolderNumber) {
        self.counts[folder.0] += 1;
        let place = Place {
            folder,
            is_leaving: false,
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
    fn what_was_removed_counts_no_more_and_keeps_its_place_until_that_is_durable() {
        let mut placement = Placement::new(2);
        placement.place("a-0");
        placement.place("b-0");
        placement.leave("b-0");
        placement.leave("b-0");
        assert_eq!(placement.count(FolderNumber(1)), 0);
        assert_eq!(placement.of("b-0"), Some(FolderNumber(1)));
        assert_eq!(placement.elsewhere().count(), 0);
        assert_eq!(placement.place("c-0"), FolderNumber(1));
        assert_eq!(placement.place("b-0"), FolderNumber(1), "not yet durable");
        placement.forget("b-0");
        assert_eq!(placement.of("b-0"), Some(FolderNumber(1)), "it came back");
        placement.leave("b-0");
        placement.leave("c-0");
        placement.place("d-0");
        placement.forget("b-0");
        placement.forget_all();
        assert_eq!(placement.of("c-0"), None);
        assert_eq!(placement.place("b-0"), FolderNumber(0));
    }
}
