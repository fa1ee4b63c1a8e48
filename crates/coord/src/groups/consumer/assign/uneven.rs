//! `uniform` where members read different topics: what nobody has goes to the reader that has least,
//! topics with few readers first; then partitions move from those that have more to those that have
//! at least two less, until none can. Members that read the same are one class, so that the work
//! grows with partitions, members and what classes read, and not with members times topics.

use std::collections::BTreeSet;

use super::uniform::{NOBODY, shares_of};
use super::{Classes, Question, Share};

/// Most rounds over all topics that even out what members have. Each makes it better; two or three
/// are enough but for questions that were made to be hard.
const ROUNDS_MAX: usize = 16;

pub(super) fn divide(question: &Question, classes: &Classes) -> Vec<Share> {
    let members = classes.of.len();
    let readers = classes.readers(question.topics.len());
    let mut loads = Loads::new(classes);
    let mut owners: Vec<Vec<u32>> = question
        .topics
        .iter()
        .map(|count| vec![NOBODY; *count as usize])
        .collect();
    for (member, before) in question.before.iter().enumerate() {
        for (topic, partitions) in before {
            for partition in partitions {
                let owner = &mut owners[*topic as usize][partition.cast_unsigned() as usize];
                if *owner == NOBODY {
                    *owner = member as u32;
                    loads.change(member as u32, 1);
                }
            }
        }
    }
    let count = |topic: usize| -> usize {
        let classes = readers[topic].iter();
        classes
            .map(|class| loads.classes[*class as usize].len())
            .sum()
    };
    let mut order: Vec<(usize, usize)> = (0..readers.len()).map(|at| (count(at), at)).collect();
    order.retain(|(count, _)| *count > 0);
    order.sort_unstable();
    for (_, topic) in &order {
        give_out(&mut owners[*topic], &readers[*topic], &mut loads);
    }
    for _ in 0..ROUNDS_MAX {
        let mut moved = false;
        for (_, topic) in &order {
            moved |= even_out(&mut owners[*topic], &readers[*topic], &mut loads);
        }
        if !moved {
            break;
        }
    }
    shares_of(&owners, members)
}

/// How much each member has, and who of each class has least.
struct Loads<'c> {
    of: &'c [u32],
    loads: Vec<u32>,
    classes: Vec<BTreeSet<(u32, u32)>>,
}

impl<'c> Loads<'c> {
    fn new(classes: &'c Classes) -> Self {
        let mut all = vec![BTreeSet::new(); classes.wants.len()];
        for (member, class) in classes.of.iter().enumerate() {
            all[*class as usize].insert((0, member as u32));
        }
        Self {
            of: &classes.of,
            loads: vec![0; classes.of.len()],
            classes: all,
        }
    }

    fn change(&mut self, member: u32, by: i32) {
        let load = &mut self.loads[member as usize];
        let class = &mut self.classes[self.of[member as usize] as usize];
        class.remove(&(*load, member));
        *load = load.wrapping_add_signed(by);
        class.insert((*load, member));
    }

    /// Who of a class has least.
    fn least(&self, class: u32) -> Option<(u32, u32)> {
        self.classes[class as usize].first().copied()
    }
}

/// Gives what nobody has of a topic to the readers that have least.
fn give_out(owners: &mut [u32], readers: &[u32], loads: &mut Loads<'_>) {
    let mut least: BTreeSet<(u32, u32, u32)> = BTreeSet::new();
    let entry = |loads: &Loads<'_>, class: u32| {
        let (load, member) = loads.least(class)?;
        Some((load, member, class))
    };
    for owner in owners.iter_mut().filter(|owner| **owner == NOBODY) {
        if least.is_empty() {
            least.extend(readers.iter().filter_map(|class| entry(loads, *class)));
        }
        let Some((_, member, class)) = least.pop_first() else {
            return;
        };
        *owner = member;
        loads.change(member, 1);
        least.extend(entry(loads, class));
    }
}

/// Moves partitions of a topic from readers that have most to those that have least, while they
/// differ by two or more. Returns whether any moved.
fn even_out(owners: &mut [u32], readers: &[u32], loads: &mut Loads<'_>) -> bool {
    let lowest = |loads: &Loads<'_>| readers.iter().filter_map(|class| loads.least(*class)).min();
    let highest = owners.iter().filter(|owner| **owner != NOBODY);
    let highest = highest.map(|owner| loads.loads[*owner as usize]).max();
    let (Some((low, _)), Some(highest)) = (lowest(loads), highest) else {
        return false;
    };
    if highest < low + 2 {
        return false;
    }
    // Who holds what of this topic: pairs of owner and partition, in order.
    let mut held: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut holders: BTreeSet<(u32, u32)> = BTreeSet::new();
    for (partition, owner) in owners.iter().enumerate() {
        if *owner != NOBODY {
            held.insert((*owner, partition as u32));
            holders.insert((loads.loads[*owner as usize], *owner));
        }
    }
    let mut moved = false;
    while let (Some((low, to)), Some((high, from))) = (lowest(loads), holders.last().copied()) {
        if high < low + 2 {
            break;
        }
        // The last partition goes, so that what is kept stays together.
        let last = held.range((from, 0)..=(from, u32::MAX)).next_back();
        let Some((_, partition)) = last.copied() else {
            break;
        };
        moved = true;
        owners[partition as usize] = to;
        loads.change(from, -1);
        loads.change(to, 1);
        held.remove(&(from, partition));
        held.insert((to, partition));
        holders.remove(&(high, from));
        if held.range((from, 0)..=(from, u32::MAX)).next().is_some() {
            holders.insert((high - 1, from));
        }
        holders.remove(&(low, to));
        holders.insert((low + 1, to));
    }
    moved
}
