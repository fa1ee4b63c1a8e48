//! `range`: of each topic every reader gets neighbouring partitions, the first ones one more where
//! they do not come out even. Topics of one size and the same readers are divided alike. Readers
//! that get nothing cost nothing.

use super::{Question, Share, Wants};

pub(super) fn divide(question: &Question) -> Vec<Share> {
    let members = question.wants.members();
    let mut shares = vec![Share::new(); members];
    match &question.wants {
        Wants::All { .. } => {
            for (topic, partitions) in question.topics.iter().enumerate() {
                give(topic as u32, *partitions, members, 0..members, &mut shares);
            }
        }
        Wants::Each(classes) => {
            let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes.wants.len()];
            for (member, class) in classes.of.iter().enumerate() {
                of_class[*class as usize].push(member);
            }
            for (topic, readers) in classes.readers(question.topics.len()).iter().enumerate() {
                let partitions = question.topics[topic];
                let lists: Vec<&Vec<usize>> = readers
                    .iter()
                    .map(|class| &of_class[*class as usize])
                    .collect();
                let count = lists.iter().map(|list| list.len()).sum();
                // No more of each class than there are partitions.
                let first = lists
                    .iter()
                    .flat_map(|list| list.iter().take(partitions as usize));
                let mut first: Vec<usize> = first.copied().collect();
                first.sort_unstable();
                give(
                    topic as u32,
                    partitions,
                    count,
                    first.into_iter(),
                    &mut shares,
                );
            }
        }
    }
    shares
}

/// Divides one topic among its readers, who come in their order.
fn give(
    topic: u32,
    partitions: u32,
    readers: usize,
    members: impl Iterator<Item = usize>,
    shares: &mut [Share],
) {
    let readers = u32::try_from(readers.max(1)).unwrap_or(u32::MAX);
    let (each, mut extra) = (partitions / readers, partitions % readers);
    let mut next = 0;
    for member in members {
        let mut end = next + each;
        if extra > 0 {
            extra -= 1;
            end += 1;
        }
        if end == next {
            return;
        }
        let range = (next..end).map(u32::cast_signed);
        shares[member].push((topic, range.collect()));
        next = end;
    }
}
