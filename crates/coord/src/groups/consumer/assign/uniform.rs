//! `uniform` where all members read the same topics: everyone gets as many partitions as anyone, or
//! one more, and keeps of what it had as much as that allows. Linear in partitions and members.

use super::{Question, Share};

pub(super) fn divide(question: &Question, members: usize) -> Vec<Share> {
    if members == 0 {
        return Vec::new();
    }
    let all: usize = question.topics.iter().map(|count| *count as usize).sum();
    let (each, mut extra) = (all / members, all % members);
    let mut owners: Vec<Vec<u32>> = question
        .topics
        .iter()
        .map(|count| vec![NOBODY; *count as usize])
        .collect();
    let mut counts = vec![0_usize; members];
    // Who had most keeps one more first, so that fewer partitions move.
    let mut order: Vec<usize> = (0..members).collect();
    let had = |member: usize| -> usize {
        let before = question.before.get(member).into_iter().flatten();
        before.map(|(_, partitions)| partitions.len()).sum()
    };
    order.sort_by_key(|member| (std::cmp::Reverse(had(*member)), *member));
    for member in &order {
        let mut quota = each;
        if extra > 0 && had(*member) > each {
            quota += 1;
        }
        let before = question.before.get(*member).into_iter().flatten();
        for (topic, partitions) in before {
            for partition in partitions {
                if counts[*member] == quota {
                    break;
                }
                let owner = &mut owners[*topic as usize][partition.cast_unsigned() as usize];
                if *owner == NOBODY {
                    *owner = *member as u32;
                    counts[*member] += 1;
                }
            }
        }
        if counts[*member] > each {
            extra -= 1;
        }
    }
    fill(&mut owners, &mut counts, each, extra);
    shares_of(&owners, members)
}

/// Nobody has the partition.
pub(super) const NOBODY: u32 = u32::MAX;

/// Gives what nobody has to those that have too little, in the order of members.
fn fill(owners: &mut [Vec<u32>], counts: &mut [usize], each: usize, mut extra: usize) {
    let mut quotas = Vec::with_capacity(counts.len());
    for count in counts.iter() {
        let one_more = *count > each || extra > 0;
        extra -= usize::from(one_more && *count <= each);
        quotas.push(each + usize::from(one_more));
    }
    let mut member = 0;
    for owner in owners.iter_mut().flatten().filter(|own| **own == NOBODY) {
        while counts[member] >= quotas[member] {
            member += 1;
        }
        *owner = member as u32;
        counts[member] += 1;
    }
}

/// What each member gets.
pub(super) fn shares_of(owners: &[Vec<u32>], members: usize) -> Vec<Share> {
    let mut shares = vec![Share::new(); members];
    for (topic, owners) in owners.iter().enumerate() {
        for (partition, owner) in owners.iter().enumerate() {
            if let Some(share) = shares.get_mut(*owner as usize) {
                super::give(share, topic as u32, partition as i32);
            }
        }
    }
    shares
}
