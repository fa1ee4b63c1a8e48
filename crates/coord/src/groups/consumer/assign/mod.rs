//! How the partitions of topics are divided among members. Numbers stand for members and topics, so
//! that dividing is arithmetic: the same question has the same answer, whoever asks.

mod range;
#[cfg(test)]
mod tests;
mod uneven;
mod uniform;

use super::config::Assignor;

/// What is to be divided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// How many partitions each topic has.
    pub(crate) topics: Vec<u32>,
    /// Which topics members read.
    pub(crate) wants: Wants,
    /// What each member was to have so far: a topic, and partitions in order. Topics that the member
    /// does not read, and partitions that are not, are left out.
    pub(crate) before: Vec<Share>,
}

/// Which topics members read.
#[derive(Clone, Debug)]
pub(crate) enum Wants {
    /// All members read all topics.
    All {
        /// How many members there are.
        members: usize,
    },
    /// They read different ones.
    Each(Classes),
}

/// Members that read the same are one class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    /// What each class reads, in order.
    pub(crate) wants: Vec<Vec<u32>>,
    /// The class of each member.
    pub(crate) of: Vec<u32>,
}

impl Classes {
    /// Which classes read each topic.
    fn readers(&self, topics: usize) -> Vec<Vec<u32>> {
        let mut readers: Vec<Vec<u32>> = vec![Vec::new(); topics];
        for (class, wants) in self.wants.iter().enumerate() {
            for topic in wants {
                readers[*topic as usize].push(class as u32);
            }
        }
        readers
    }

    /// What a member reads.
    pub(crate) fn of_member(&self, member: usize) -> &[u32] {
        &self.wants[self.of[member] as usize]
    }
}

impl Default for Wants {
    fn default() -> Self {
        Self::Each(Classes::default())
    }
}

impl Wants {
    pub(crate) const fn members(&self) -> usize {
        match self {
            Self::All { members } => *members,
            Self::Each(classes) => classes.of.len(),
        }
    }
}

/// What one member gets: topics in order, and partitions of each, in order, never none.
pub(crate) type Share = Vec<(u32, Vec<i32>)>;

/// Divides. The members are in the order in which [`Assignor::Range`] shall serve them.
pub(crate) fn divide(assignor: Assignor, question: &Question) -> Vec<Share> {
    match (assignor, &question.wants) {
        (Assignor::Range, _) => range::divide(question),
        (Assignor::Uniform, Wants::All { members }) => uniform::divide(question, *members),
        (Assignor::Uniform, Wants::Each(wants)) => uneven::divide(question, wants),
    }
}

/// Gathers a member's partitions; they come topic by topic.
fn give(share: &mut Share, topic: u32, partition: i32) {
    match share.last_mut() {
        Some((last, partitions)) if *last == topic => partitions.push(partition),
        _ => share.push((topic, vec![partition])),
    }
}
