//! The topics of a load. All have the same number of partitions; a *place* is a partition among
//! all of them, counted through the topics in turn.

/// A topic as the load needs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
}

/// All topics.
#[derive(Clone, Debug)]
pub struct Topics {
    list: Vec<Topic>,
    partitions: usize,
}

impl Topics {
    /// Topics of `partitions` each.
    #[must_use]
    pub fn new(list: Vec<Topic>, partitions: usize) -> Self {
        Self { list, partitions }
    }

    /// The topics in their order.
    #[must_use]
    pub fn list(&self) -> &[Topic] {
        &self.list
    }

    /// Partitions of each topic.
    #[must_use]
    pub const fn partitions(&self) -> usize {
        self.partitions
    }

    /// Number of places.
    #[must_use]
    pub fn places(&self) -> usize {
        self.list.len() * self.partitions
    }

    /// The topic of a place, and the partition as the protocol counts it.
    #[must_use]
    pub fn at(&self, place: usize) -> (&Topic, i32) {
        let partition = i32::try_from(place % self.partitions).expect("fits the protocol");
        (&self.list[place / self.partitions], partition)
    }

    /// The index of the topic that a response means: by id where versions have ids, else by name.
    #[must_use]
    pub fn find(&self, id: [u8; 16], name: &str) -> Option<usize> {
        let is_meant = |topic: &Topic| {
            if name.is_empty() {
                topic.id == id
            } else {
                topic.name == name
            }
        };
        // Nearly always the first; answers name few topics.
        self.list.iter().position(is_meant)
    }

    /// The place of a partition of the topic with this index.
    #[must_use]
    pub fn place(&self, topic: usize, partition: i32) -> Option<usize> {
        let partition = usize::try_from(partition).ok()?;
        (partition < self.partitions).then(|| topic * self.partitions + partition)
    }

    /// A place in words.
    #[must_use]
    pub fn words(&self, place: usize) -> String {
        let (topic, partition) = self.at(place);
        format!("{}-{partition}", topic.name)
    }
}

/// `places` in groups of the same topic, each with its partitions.
#[must_use]
pub fn by_topic<'t>(topics: &'t Topics, places: &[usize]) -> Vec<(&'t Topic, Vec<(usize, i32)>)> {
    let mut groups: Vec<(&Topic, Vec<(usize, i32)>)> = Vec::new();
    for &place in places {
        let (topic, partition) = topics.at(place);
        match groups.last_mut() {
            Some((last, partitions)) if last.id == topic.id => partitions.push((place, partition)),
            _ => groups.push((topic, vec![(place, partition)])),
        }
    }
    groups
}
