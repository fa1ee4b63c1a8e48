//! Claims about dividing: everything is given out once, evenly, to readers alone; little moves; and
//! it is quick.

use std::collections::BTreeMap;

use allocation_counter::measure;
use klamm_model::Random;

use super::*;

fn all(topics: &[u32], members: usize, before: Vec<Share>) -> Question {
    Question {
        topics: topics.to_vec(),
        wants: Wants::All { members },
        before,
    }
}

/// Members that read these, each a class of its own but for those that read the same.
fn each(wants: &[Vec<u32>]) -> Wants {
    let mut classes = Classes::default();
    for wants in wants {
        let found = classes.wants.iter().position(|class| class == wants);
        let class = found.unwrap_or(classes.wants.len());
        if found.is_none() {
            classes.wants.push(wants.clone());
        }
        classes.of.push(class as u32);
    }
    Wants::Each(classes)
}

fn counts(shares: &[Share]) -> Vec<usize> {
    let sum = |share: &Share| share.iter().map(|(_, partitions)| partitions.len()).sum();
    shares.iter().map(sum).collect()
}

/// Who has each partition; panics where two do.
fn owners(shares: &[Share]) -> BTreeMap<(u32, i32), usize> {
    let mut owners = BTreeMap::new();
    for (member, share) in shares.iter().enumerate() {
        assert!(share.windows(2).all(|two| two[0].0 < two[1].0), "{share:?}");
        for (topic, partitions) in share {
            assert!(partitions.windows(2).all(|two| two[0] < two[1]));
            for partition in partitions {
                let earlier = owners.insert((*topic, *partition), member);
                assert_eq!(earlier, None, "one owner");
            }
        }
    }
    owners
}

fn moved(before: &[Share], after: &[Share]) -> usize {
    let after = owners(after);
    let before = owners(before);
    let changed = before.iter().filter(|(at, own)| after.get(at) != Some(own));
    changed.count()
}

#[test]
fn range_gives_neighbours_and_the_first_get_one_more() {
    let shares = divide(Assignor::Range, &all(&[5, 5, 1], 2, Vec::new()));
    assert_eq!(
        shares[0],
        vec![(0, vec![0, 1, 2]), (1, vec![0, 1, 2]), (2, vec![0])]
    );
    assert_eq!(shares[1], vec![(0, vec![3, 4]), (1, vec![3, 4])]);
    let uneven = Question {
        topics: vec![3, 2],
        wants: each(&[vec![0], vec![0, 1]]),
        before: Vec::new(),
    };
    let shares = divide(Assignor::Range, &uneven);
    assert_eq!(shares[0], vec![(0, vec![0, 1])]);
    assert_eq!(shares[1], vec![(0, vec![2]), (1, vec![0, 1])]);
}

#[test]
fn uniform_is_even_and_moves_no_more_than_it_must() {
    let first = divide(Assignor::Uniform, &all(&[10, 7], 3, Vec::new()));
    assert_eq!(counts(&first).iter().max(), Some(&6));
    assert_eq!(owners(&first).len(), 17);
    let mut before = first;
    before.push(Share::new());
    let joined = divide(Assignor::Uniform, &all(&[10, 7], 4, before.clone()));
    assert_eq!(moved(&before, &joined), 4, "what the new one gets, no more");
    let left: Vec<Share> = joined[1..].to_vec();
    let after = divide(Assignor::Uniform, &all(&[10, 7], 3, left.clone()));
    assert_eq!(moved(&left, &after), 0, "what others have stays");
    assert_eq!(owners(&after).len(), 17);
    let again = divide(Assignor::Uniform, &all(&[10, 7], 3, after.clone()));
    assert_eq!(again, after, "nothing moves where nothing changes");
}

#[test]
fn members_that_read_different_topics_get_as_much_as_can_be() {
    let question = Question {
        topics: vec![6, 2],
        wants: each(&[vec![0], vec![0, 1], vec![1]]),
        before: Vec::new(),
    };
    let shares = divide(Assignor::Uniform, &question);
    assert_eq!(owners(&shares).len(), 8);
    assert_eq!(counts(&shares), vec![3, 3, 2]);
    let again = Question {
        before: shares.clone(),
        ..question
    };
    assert_eq!(divide(Assignor::Uniform, &again), shares);
}

/// Nothing could move to make two members more equal.
fn assert_settled(question: &Question, shares: &[Share]) {
    let Wants::Each(wants) = &question.wants else {
        return;
    };
    let counts = counts(shares);
    for (from, share) in shares.iter().enumerate() {
        for (topic, _) in share {
            for to in 0..counts.len() {
                let better = wants.of_member(to).contains(topic) && counts[from] >= counts[to] + 2;
                assert!(!better, "{from} could give of {topic} to {to}: {counts:?}");
            }
        }
    }
}

#[test]
fn whatever_members_read_all_is_given_out_once_to_readers() {
    let mut random = Random::new(7);
    for _ in 0..300 {
        let topics: Vec<u32> = (0..random.below(6))
            .map(|_| random.below(9) as u32)
            .collect();
        let members = 1 + random.below(6) as usize;
        let mut wants: Vec<Vec<u32>> = Vec::new();
        for _ in 0..members {
            let some = (0..topics.len() as u32).filter(|_| random.below(2) == 0);
            wants.push(some.collect());
        }
        let mut question = Question {
            topics: topics.clone(),
            wants: each(&wants),
            before: vec![Share::new(); members],
        };
        for assignor in [Assignor::Uniform, Assignor::Range, Assignor::Uniform] {
            let shares = divide(assignor, &question);
            let given = owners(&shares);
            for ((topic, _), member) in &given {
                assert!(wants[*member].contains(topic), "a reader");
            }
            let read = |topic: u32| wants.iter().any(|wants| wants.contains(&topic));
            let expected: u32 = (0..topics.len() as u32)
                .filter(|topic| read(*topic))
                .map(|topic| topics[topic as usize])
                .sum();
            assert_eq!(given.len() as u32, expected, "all of it");
            if assignor == Assignor::Uniform {
                assert_settled(&question, &shares);
            }
            question.before = shares;
        }
        question.wants = Wants::All { members };
        let shares = divide(Assignor::Uniform, &question);
        let counts = counts(&shares);
        assert!(counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1);
        assert_eq!(owners(&shares).len() as u32, topics.iter().sum::<u32>());
    }
}

#[test]
fn one_member_that_reads_otherwise_does_not_make_a_large_group_slow() {
    let topics = vec![1_u32; 10_000];
    let mut classes = Classes {
        wants: vec![(0..10_000).collect(), vec![7]],
        of: vec![0; 5_000],
    };
    classes.of.push(1);
    let mut question = Question {
        topics,
        wants: Wants::Each(classes),
        before: vec![Share::new(); 5_001],
    };
    for assignor in [Assignor::Uniform, Assignor::Range] {
        let mut shares = Vec::new();
        let spent = measure(|| shares = divide(assignor, &question));
        // Members times topics would be 50 million numbers.
        assert!(
            spent.bytes_total < 20_000_000,
            "{} bytes",
            spent.bytes_total
        );
        question.before = shares;
        assert_eq!(owners(&question.before).len(), 10_000);
    }
}
