//! What lag is, by tables and by random logs, and how verdicts come and go.

use klamm_model::{Instant, Random};

use super::*;
use crate::{GroupHead, GroupId, GroupState, GroupType};

const SECOND: u64 = 1_000_000_000;
const NOW: WallTime = WallTime(100_000);

fn facts(log_start: i64, last_stable: i64, high_watermark: i64) -> LogFacts {
    LogFacts {
        log_start: Offset(log_start),
        high_watermark: Offset(high_watermark),
        last_stable: Offset(last_stable),
        bytes: Measured::exact(777),
        oldest: Some(Measured::exact(Timestamp(40_000))),
    }
}

fn lag(committed: i64, facts: &LogFacts) -> PartitionLag {
    PartitionLag::new(Offset(committed), WallTime(90_000), facts, NOW)
}

#[test]
fn lag_is_what_can_be_read_and_what_was_removed_is_told_apart() {
    // committed, start, stable, end: records, stable, missed, ahead
    for (given, expected) in [
        ([10, 0, 30, 30], [20, 20, 0, 0]),
        ([30, 0, 30, 30], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        // An open transaction: a consumer that waits for its end has read all there is.
        ([20, 0, 20, 30], [10, 0, 0, 0]),
        ([10, 0, 20, 30], [20, 10, 0, 0]),
        // Beyond the last stable offset, as consumers of all records are.
        ([25, 0, 20, 30], [5, 0, 0, 0]),
        // Retention has taken records unread.
        ([10, 15, 30, 30], [15, 15, 5, 0]),
        ([10, 30, 30, 30], [0, 0, 20, 0]),
        // The log is another one, or whoever committed was wrong.
        ([40, 0, 30, 30], [0, 0, 0, 10]),
        ([i64::MAX, 0, 30, 30], [0, 0, 0, i64::MAX as u64 - 30]),
        ([i64::MIN, 5, 30, 30], [25, 25, i64::MAX as u64, 0]),
    ] {
        let [committed, start, stable, end] = given;
        let lag = lag(committed, &facts(start, stable, end));
        let found = [lag.records, lag.stable_records, lag.missed, lag.ahead];
        assert_eq!(found, expected, "{given:?}");
    }
}

#[test]
fn bytes_and_age_are_those_of_what_is_unread_and_of_nothing_where_all_is_read() {
    let behind = lag(10, &facts(0, 30, 30));
    assert_eq!(behind.bytes, Measured::exact(777));
    assert_eq!(behind.age, Some(Measured::exact(Duration::from_secs(60))));
    let through = lag(30, &facts(0, 30, 30));
    assert_eq!(through.bytes, Measured::exact(0));
    assert_eq!(through.age, Some(Measured::exact(Duration::ZERO)));
    let timeless = LogFacts {
        oldest: None,
        ..facts(0, 30, 30)
    };
    assert_eq!(lag(10, &timeless).age, None);
    let ahead_of_time = LogFacts {
        oldest: Some(Measured::judged(Timestamp(NOW.0 + 5))),
        ..facts(0, 30, 30)
    };
    assert_eq!(
        lag(10, &ahead_of_time).age,
        Some(Measured::judged(Duration::ZERO))
    );
}

#[test]
fn whatever_the_log_and_the_offset_what_is_read_unread_and_removed_adds_up() {
    let mut random = Random::new(7);
    for _ in 0..20_000 {
        let mut points = [0; 3].map(|_| (random.next() % 50) as i64);
        points.sort_unstable();
        let [start, stable, end] = points;
        let committed = (random.next() % 60) as i64;
        let lag = lag(committed, &facts(start, stable, end));
        let signed = lag.distance() as i64 - lag.ahead as i64;
        assert_eq!(signed, end - committed, "{points:?} {committed}");
        assert!(lag.stable_records <= lag.records, "{points:?} {committed}");
        assert!(
            lag.records <= (end - start) as u64,
            "{points:?} {committed}"
        );
        assert!(lag.missed == 0 || lag.ahead == 0);
    }
}

fn head(state: GroupState, members: usize) -> GroupHead {
    GroupHead {
        group_type: GroupType::Classic,
        state,
        protocol_type: "consumer".to_owned(),
        generation: None,
        members,
    }
}

fn asked(topic: &str, partition: i32, offset: i64) -> AskedOffset {
    AskedOffset {
        topic: TopicName::new(topic).expect("legal"),
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        committed: WallTime(0),
    }
}

/// A group that reads partitions of one topic; each look gives their offsets and ends.
struct Watched {
    book: LagBook,
    id: GroupId,
    seconds: u64,
}

impl Watched {
    fn new() -> Self {
        let rules = LagRules {
            stuck_after: Duration::from_secs(60),
            sample_every: Duration::from_secs(10),
        };
        let id = GroupId::new("g");
        let book = LagBook::new(rules);
        Self {
            book,
            id,
            seconds: 1_000,
        }
    }

    fn look(&mut self, state: GroupState, members: usize, partitions: &[(i64, i64)]) -> Verdict {
        let mut look = Look::default();
        for (index, &(offset, end)) in partitions.iter().enumerate() {
            look.take(asked("t", index as i32, offset), Some(facts(0, end, end)));
        }
        let now = Instant(self.seconds * SECOND);
        self.book
            .on_look(now, NOW, &self.id, head(state, members), look);
        self.book.of("g").expect("just seen").verdict
    }

    /// A look ten seconds after the last one, at a stable group of two.
    fn next(&mut self, partitions: &[(i64, i64)]) -> Verdict {
        self.seconds += 10;
        self.look(GroupState::Stable, 2, partitions)
    }
}

#[test]
fn a_group_is_stuck_when_one_of_its_partitions_does_not_move_for_a_minute_and_no_sooner() {
    let mut watched = Watched::new();
    let mut verdicts = Vec::new();
    for step in 0..7 {
        // One partition goes on as it should.
        verdicts.push(watched.next(&[(5, 9), (step * 10, step * 10)]));
    }
    assert_eq!(
        &verdicts[..6],
        [Verdict::KeepingUp; 6],
        "fifty seconds are no minute"
    );
    assert_eq!(verdicts[6], Verdict::Stuck);
    assert_eq!(
        watched.next(&[(6, 9), (60, 60)]),
        Verdict::KeepingUp,
        "it moved"
    );
}

#[test]
fn whoever_has_read_everything_is_never_stuck_however_long_nothing_comes() {
    let mut watched = Watched::new();
    for _ in 0..100 {
        assert_eq!(watched.next(&[(9, 9)]), Verdict::KeepingUp);
    }
    for _ in 0..6 {
        assert_eq!(
            watched.next(&[(9, 10)]),
            Verdict::KeepingUp,
            "counts from when there was something"
        );
    }
    assert_eq!(watched.next(&[(9, 10)]), Verdict::Stuck);
}

#[test]
fn a_group_without_members_is_empty_and_one_that_divides_its_work_is_rebalancing() {
    let mut watched = Watched::new();
    for state in [
        GroupState::PreparingRebalance,
        GroupState::CompletingRebalance,
    ] {
        assert_eq!(watched.look(state, 1, &[(0, 9)]), Verdict::Rebalancing);
    }
    for _ in 0..20 {
        watched.seconds += 10;
        assert_eq!(
            watched.look(GroupState::Empty, 0, &[(0, 9)]),
            Verdict::Empty
        );
    }
    // The time without members does not count against those that come.
    assert_eq!(watched.next(&[(0, 9)]), Verdict::KeepingUp);
    for _ in 0..5 {
        assert_eq!(watched.next(&[(0, 9)]), Verdict::KeepingUp);
    }
    assert_eq!(watched.next(&[(0, 9)]), Verdict::Stuck);
}

#[test]
fn a_group_falls_behind_when_what_is_unread_grows_and_recovers_when_it_does_not() {
    let mut watched = Watched::new();
    let mut verdict = Verdict::KeepingUp;
    for step in 0..4 {
        verdict = watched.next(&[(step * 100, step * 150)]);
    }
    assert_eq!(verdict, Verdict::FallingBehind);
    // It still grows, but by too little to have been called falling behind: that is not recovery.
    for step in 1..8 {
        verdict = watched.next(&[(300 + step * 100, 450 + step * 101)]);
        assert_eq!(verdict, Verdict::FallingBehind, "{step}");
    }
    // What is unread shrinks.
    for step in 1..10 {
        verdict = watched.next(&[(1_000 + step * 100, 1_157 + step * 99)]);
    }
    assert_eq!(verdict, Verdict::KeepingUp);
}

#[test]
fn a_group_that_has_caught_up_is_not_falling_behind_at_once() {
    let mut watched = Watched::new();
    for step in 0..6 {
        watched.next(&[(step * 100, step * 150)]);
    }
    assert_eq!(watched.next(&[(900, 900)]), Verdict::KeepingUp);
}

#[test]
fn commits_in_steps_are_no_falling_behind() {
    let mut watched = Watched::new();
    for step in 0..60_i64 {
        let end = step * 100;
        // Commits every thirty seconds.
        let offset = (step / 3 * 3) * 100;
        let verdict = watched.next(&[(offset, end)]);
        assert_eq!(verdict, Verdict::KeepingUp, "{step}");
    }
}

#[test]
fn many_looks_in_a_short_time_are_not_many_samples() {
    let mut watched = Watched::new();
    for step in 0..50 {
        let verdict = watched.look(GroupState::Stable, 2, &[(0, step)]);
        assert_eq!(verdict, Verdict::KeepingUp, "{step}");
    }
}

#[test]
fn rates_are_how_far_both_ends_went_in_the_time_between_looks() {
    let mut watched = Watched::new();
    for step in 0..5 {
        watched.next(&[(step * 100, step * 200), (step * 10, step * 10)]);
    }
    let rates = watched.book.of("g").and_then(GroupLag::rates);
    assert_eq!(rates, Some((11.0, 21.0)));
}

#[test]
fn partitions_that_are_gone_vanish_and_new_ones_begin_afresh() {
    let mut watched = Watched::new();
    watched.next(&[(5, 9), (5, 9), (5, 9)]);
    watched.next(&[(5, 9)]);
    let left = watched.book.of("g").map(|group| group.partitions.len());
    assert_eq!((left, watched.book.partitions()), (Some(1), 1));
    for _ in 0..5 {
        watched.next(&[(5, 9)]);
    }
    watched.next(&[(5, 9), (5, 9)]);
    let stuck: Vec<bool> = {
        let now = Instant(watched.seconds * SECOND);
        let group = watched.book.of("g").expect("seen");
        let rules = watched.book.rules();
        group
            .partitions
            .iter()
            .map(|one| one.is_stuck(now, rules))
            .collect()
    };
    assert_eq!(stuck, [true, false]);
    watched
        .book
        .forget_unseen(Instant(watched.seconds * SECOND));
    assert_eq!(watched.book.groups().count(), 1, "it was seen then");
    watched
        .book
        .forget_unseen(Instant(watched.seconds * SECOND + 1));
    assert_eq!(
        (watched.book.groups().count(), watched.book.partitions()),
        (0, 0)
    );
}

#[test]
fn what_is_more_than_the_book_remembers_is_counted() {
    let mut book = LagBook::with_room(LagRules::default(), 10);
    for round in 0..3 {
        for group in ["a", "b", "c"] {
            let mut look = Look::default();
            for partition in 0..4 {
                look.take(asked("t", partition, 0), Some(facts(0, 1, 1)));
            }
            let id = GroupId::new(group);
            book.on_look(Instant(round), NOW, &id, head(GroupState::Empty, 0), look);
        }
        let left_out = |group| book.of(group).map(|one| one.left_out);
        assert_eq!(
            [left_out("a"), left_out("b"), left_out("c")],
            [Some(0), Some(0), Some(2)]
        );
        assert_eq!(book.partitions(), 10);
    }
    book.forget("a");
    assert_eq!(book.partitions(), 6);
}

#[test]
fn sums_say_whether_any_part_of_them_is_judged() {
    let mut look = Look::default();
    let judged = LogFacts {
        bytes: Measured::judged(100),
        oldest: None,
        ..facts(0, 9, 9)
    };
    look.take(asked("t", 0, 0), Some(facts(0, 9, 9)));
    look.take(asked("t", 1, 0), None);
    look.take(asked("t", 2, 0), Some(judged));
    let mut book = LagBook::new(LagRules::default());
    book.on_look(
        Instant(0),
        NOW,
        &GroupId::new("g"),
        head(GroupState::Stable, 1),
        look,
    );
    let totals = book.of("g").expect("seen").totals(Instant(0), book.rules());
    assert_eq!(
        (totals.partitions, totals.records, totals.bytes),
        (2, 18, 877)
    );
    assert!(!totals.bytes_are_exact && !totals.age_is_exact);
    assert_eq!(totals.age, Duration::from_secs(60));
}
