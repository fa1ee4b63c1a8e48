//! Why a verdict was given, in one sentence for people.

use std::time::Duration;

use klamm_model::Instant;
use klamm_shard::api::coord::lag::{GroupLag, LagRules, LaggingPartition, Verdict};

use crate::words::counted;

/// What a verdict rests on.
pub(super) fn sentence(now: Instant, lag: &GroupLag, rules: &LagRules) -> String {
    let totals = lag.totals(now, rules);
    let unread = totals.stable_records;
    let for_how_long = words(now.since(lag.since));
    match lag.verdict {
        Verdict::KeepingUp if unread == 0 => "nothing is unread".to_owned(),
        Verdict::KeepingUp => format!("{} unread, and not more and more", are(unread, "record")),
        Verdict::FallingBehind => {
            let rates = lag.rates().map_or_else(String::new, |(read, written)| {
                format!(": it reads {read:.1} of {written:.1} that are written each second")
            });
            format!("{} unread, and more and more{rates}", are(unread, "record"))
        }
        Verdict::Stuck => stuck(now, lag, rules, totals.stuck),
        Verdict::Rebalancing => format!("its members have divided the work for {for_how_long}"),
        Verdict::Empty if unread == 0 => format!("it has had no members for {for_how_long}"),
        Verdict::Empty => format!(
            "it has had no members for {for_how_long}, and {} unread",
            are(unread, "record")
        ),
    }
}

/// Names the partition that has lain still for the longest time.
fn stuck(now: Instant, lag: &GroupLag, rules: &LagRules, partitions: u64) -> String {
    let still = lag.partitions.iter().filter(|one| one.is_stuck(now, rules));
    let Some(longest) = still.min_by_key(|one| one.moved) else {
        // It moved since the verdict was given.
        return "an offset did not move although there was something to read".to_owned();
    };
    let LaggingPartition {
        topic,
        partition,
        lag,
        moved,
    } = longest;
    let others = match partitions.saturating_sub(1) {
        0 => String::new(),
        more => format!(", nor have those of {} more", counted(more, "partition")),
    };
    format!(
        "{topic}-{partition} has {} to read from offset {} on, and that has not moved for {}{others}",
        counted(lag.stable_records, "record"),
        lag.committed,
        words(now.since(*moved)),
    )
}

fn are(count: u64, what: &str) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb}", counted(count, what))
}

fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => counted(seconds, "second"),
        120..7_200 => counted(seconds / 60, "minute"),
        7_200..172_800 => counted(seconds / 3_600, "hour"),
        _ => counted(seconds / 86_400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::{Offset, PartitionIndex, TopicName, WallTime};
    use klamm_shard::api::coord::lag::{AskedOffset, LagBook, LogFacts, Look, Measured};
    use klamm_shard::api::coord::{GroupHead, GroupId, GroupState, GroupType};

    use super::*;

    /// A second, and the committed offset and the end of each partition then.
    type Seen<'a> = (u64, GroupState, &'a [(i64, i64)]);

    /// The sentence on a group that was seen so.
    fn after(looks: &[Seen<'_>]) -> String {
        let rules = LagRules {
            stuck_after: Duration::from_secs(60),
            sample_every: Duration::from_secs(10),
        };
        let mut book = LagBook::new(rules);
        let id = GroupId::new("g");
        let mut now = Instant(0);
        for (second, state, partitions) in looks {
            now = Instant(second * 1_000_000_000);
            let mut look = Look::default();
            for (index, (committed, end)) in (0..).zip(*partitions) {
                let asked = AskedOffset {
                    topic: TopicName::new("orders").expect("legal"),
                    partition: PartitionIndex(index),
                    offset: Offset(*committed),
                    committed: WallTime(0),
                };
                let facts = LogFacts {
                    log_start: Offset(0),
                    high_watermark: Offset(*end),
                    last_stable: Offset(*end),
                    bytes: Measured::exact(0),
                    oldest: None,
                };
                look.take(asked, Some(facts));
            }
            let head = GroupHead {
                group_type: GroupType::Classic,
                state: *state,
                protocol_type: "consumer".to_owned(),
                generation: None,
                members: usize::from(*state != GroupState::Empty),
            };
            book.on_look(now, WallTime(0), &id, head, look);
        }
        sentence(now, book.of("g").expect("it was seen"), &rules)
    }

    #[test]
    fn a_verdict_says_what_it_rests_on() {
        use GroupState::{Empty, PreparingRebalance, Stable};
        assert_eq!(after(&[(1, Stable, &[(5, 5)])]), "nothing is unread");
        assert_eq!(
            after(&[(1, Stable, &[(5, 6)])]),
            "1 record is unread, and not more and more"
        );
        assert_eq!(
            after(&[(1, Empty, &[(5, 5)]), (400, Empty, &[(5, 9)])]),
            "it has had no members for 6 minutes, and 4 records are unread"
        );
        assert_eq!(
            after(&[(1, PreparingRebalance, &[(5, 5)])]),
            "its members have divided the work for 0 seconds"
        );
        assert_eq!(
            after(&[
                (1, Stable, &[(5, 9), (7, 8), (3, 3)]),
                (40, Stable, &[(5, 9), (8, 9), (3, 3)]),
                (101, Stable, &[(5, 12), (8, 9), (3, 3)]),
            ]),
            "orders-0 has 7 records to read from offset 5 on, and that has not moved for 100 seconds, \
             nor have those of 1 partition more"
        );
        let grows = |second: u64| (second, Stable, (10 * second as i64, 30 * second as i64));
        let looks: Vec<_> = (0..8).map(|look| grows(10 * look + 10)).collect();
        let looks: Vec<_> = looks
            .iter()
            .map(|(second, state, ends)| (*second, *state, std::slice::from_ref(ends)))
            .collect();
        assert_eq!(
            after(&looks),
            "1600 records are unread, and more and more: it reads 10.0 of 30.0 that are written each second"
        );
    }
}
