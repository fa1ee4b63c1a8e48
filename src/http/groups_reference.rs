//! The page of the reference documentation about groups over HTTP: paths, fields, verdicts. Pure.

use super::groups::{GROUPS_SHOWN_MAX, PARTITIONS_SHOWN_MAX};

/// Fields of a group in the list.
const LINE: &[(&str, &str)] = &[
    ("group", "Its name."),
    (
        "type",
        "By which protocol it is coordinated: `classic` or `consumer`.",
    ),
    ("state", "Where it stands, in Kafka's word."),
    (
        "protocol_type",
        "Its kind, such as `consumer`; empty where nobody ever joined.",
    ),
    ("members", "How many members it has."),
    ("verdict", "See below; null before the first look."),
    ("verdict_seconds", "For how long it is that."),
    (
        "reason",
        "What the verdict rests on, in a sentence for people; null before the first look.",
    ),
    (
        "lag",
        "Sums over its partitions; null before the first look.",
    ),
    ("looked_seconds_ago", "When it was looked at last."),
];

/// Fields of `lag`.
const SUMS: &[(&str, &str)] = &[
    ("partitions", "Partitions with a committed offset."),
    ("stuck_partitions", "Those of them that are stuck."),
    ("records", "Sum of `records`."),
    ("stable_records", "Sum of `stable_records`."),
    ("missed_records", "Sum of `missed_records`."),
    ("bytes", "Sum of `bytes`."),
    ("bytes_exact", "False if any part of it is judged."),
    ("seconds", "The largest `seconds`."),
    ("seconds_exact", "False if any is judged or unknown."),
];

/// Fields of one group, beside those of the list.
const PAGE: &[(&str, &str)] = &[
    (
        "generation",
        "Its generation, or its epoch; null where it has none.",
    ),
    (
        "protocol",
        "How the work is divided, such as `range`; empty while it is not.",
    ),
    ("leader", "The member that divides the work, if one does."),
    (
        "rates",
        "`consumed_per_second` and `produced_per_second`: how fast committed offsets and ends of partitions moved over the last looks; null before there are two.",
    ),
    (
        "member_list",
        "Members: `member`, `instance`, `client_id`, `client_host`, `assigned` (topics with their partitions; null where that cannot be read, or is more than is shown) and `assigned_partitions`.",
    ),
    ("members_omitted", "Members that are not shown."),
    ("partitions", "Its partitions, by topic and number."),
    ("partitions_omitted", "Partitions that are not shown."),
    (
        "uncommitted",
        "Partitions that members have to read and of which nothing was committed, so that nothing is known of how far they are behind: `topic`, `partition`, `member`. Empty where not all partitions are shown.",
    ),
];

/// Fields of a partition.
const PARTITION: &[(&str, &str)] = &[
    ("topic", "The topic."),
    ("partition", "The partition."),
    (
        "member",
        "The member that has to read it; null if there is none, or none that is known.",
    ),
    (
        "committed",
        "The committed offset: the next record that is to be read.",
    ),
    (
        "committed_ms",
        "When it was committed, in milliseconds since 1970.",
    ),
    ("log_start", "First offset that can be read."),
    (
        "last_stable",
        "End of what a consumer with `isolation.level=read_committed` can read.",
    ),
    ("high_watermark", "End of what any consumer can read."),
    (
        "records",
        "Offsets from the committed one, or from `log_start` if that is behind it, to `high_watermark`. In a compacted topic some of them have no record any more.",
    ),
    ("stable_records", "The same to `last_stable`."),
    (
        "missed_records",
        "Offsets that retention or DeleteRecords removed before they were read.",
    ),
    (
        "ahead_records",
        "Offsets by which the committed one is beyond the log: it is of another log, or a mistake.",
    ),
    (
        "bytes",
        "Bytes of the batches from the one that holds the first of `records` up to `high_watermark`, as they are stored and sent.",
    ),
    (
        "bytes_exact",
        "True if they are counted; false if judged by where the offset stands in its segment.",
    ),
    (
        "seconds",
        "Age of the first of `records`, by that record's own timestamp; 0 if there is none, null if it has no timestamp.",
    ),
    (
        "seconds_exact",
        "True if it is the record's; false if judged by its batch or segment.",
    ),
    (
        "still_seconds",
        "For how long the offset has been seen lying still although there was something to read, by members that could.",
    ),
    ("stuck", "True once that is `klamm.group.stuck.ms`."),
];

/// Fields of a history.
const HISTORY: &[(&str, &str)] = &[
    ("group", "Its name."),
    (
        "since_ms",
        "The start of the broker: what happened before is not known.",
    ),
    (
        "forgotten",
        "Events before the first one shown that are forgotten.",
    ),
    ("events", "The events, the oldest first."),
    (
        "refused_commits",
        "Commits that were refused since the first event: `total`, and by reason `unknown_member`, `fenced_instance`, `illegal_generation`, `rebalance_in_progress`, `others`; `last_ms` is when the last one came.",
    ),
];

/// What an event may be.
const EVENTS: &[(&str, &str)] = &[
    (
        "joined",
        "A member joined: `member`, `client_id`, `client_host`, `reason` (KIP-800).",
    ),
    (
        "replaced",
        "A static member came back: `member` in the place of `replaced`.",
    ),
    ("left", "A member left, or was made to: `member`, `reason`."),
    (
        "expired",
        "A member was silent for longer than its session: `member`.",
    ),
    (
        "late",
        "A member did not take part in a rebalance in time: `member`.",
    ),
    (
        "asked",
        "A member asked for a rebalance: `member`, `reason`.",
    ),
    ("rebalance-began", "After `generation`."),
    (
        "rebalance-ended",
        "With `generation`, `members`, `leader`, `took_seconds`, and `moved`: how many partitions were `gained` and `lost`, and by which `members`; how many of them are `unnamed`.",
    ),
    (
        "divided",
        "The work of a group of the consumer protocol was divided anew: `generation` is its epoch, `moved_partitions` how many have another owner.",
    ),
    ("emptied", "Nobody is left in `generation`."),
    (
        "deleted",
        "The group was deleted, or nothing was left of it.",
    ),
    ("other", "Anything else; `text` says what."),
];

/// The verdicts.
const VERDICTS: &[(&str, &str)] = &[
    ("keeping-up", "Nothing is unread, or what is does not grow."),
    (
        "falling-behind",
        "What is unread grows: the least of the newer half of the last eight samples is larger by a twentieth than the least of the older half, and more is unread now than when the newer half began. Until all is read, or that least does not grow.",
    ),
    (
        "stuck",
        "It has members, and in some partition there is something to read and the offset has not moved for `klamm.group.stuck.ms`. Until it moves. Time without members, or in a rebalance, does not count.",
    ),
    ("rebalancing", "Members are dividing the work."),
    (
        "empty",
        "It has no members. Consumers that commit without a membership are not seen as any.",
    ),
];

/// The page in Markdown.
#[must_use]
pub fn groups_reference() -> String {
    let mut page = format!(
        "# Groups over HTTP\n\n\
         Generated by `klamm reference`; edit `src/http/groups_reference.rs` instead.\n\n\
         Served as JSON by `klamm.admin.listener`. Names of groups in a path are written with \
         escapes (`a/b` is `/groups/a%2Fb`); `/groups/` is the group with the empty name. An answer \
         that is not 200 has an `error`: 404 where there is no such group, 503 while groups are \
         being loaded. What counts as read are committed offsets. Fields may be added; none changes \
         its meaning.\n\n\
         | Path | Answer |\n|---|---|\n\
         | `/groups` | `groups`, by name, as they were seen at the last look (`klamm.group.lag.interval.ms`): at most {GROUPS_SHOWN_MAX}, or `?limit=NUMBER`. Where there are more, `next` is a name, and `?after=NAME` goes on behind it. `loading` is true while some groups are still being read, so that they may be missing. |\n\
         | `/groups/GROUP` | One group, looked at now; of its partitions at most {PARTITIONS_SHOWN_MAX} are shown. |\n\
         | `/groups/GROUP/history` | What happened to it lately. At most 128 events and 64 KiB of one group are remembered, and 16 MiB of all groups of a shard; nothing over a restart. |\n\
         | `/metrics/groups` | The numbers of the last look for Prometheus: see [metrics](metrics.md). |\n"
    );
    put(&mut page, "A group in the list", "Field", LINE);
    put(&mut page, "`lag`", "Field", SUMS);
    put(
        &mut page,
        "One group, beside the fields of the list",
        "Field",
        PAGE,
    );
    put(&mut page, "A partition", "Field", PARTITION);
    put(&mut page, "Verdicts", "Verdict", VERDICTS);
    page.push_str(
        "\nA sample is what was least unread in a time of `klamm.group.lag.interval.ms`, so that \
         many questions do not make many samples. What is read with `read_committed` in mind: \
         records of open transactions are not unread for a verdict.\n",
    );
    put(&mut page, "A history", "Field", HISTORY);
    put(
        &mut page,
        "Events: `event`, `at_ms`, `text`, and",
        "Event",
        EVENTS,
    );
    page
}

fn put(page: &mut String, title: &str, kind: &str, rows: &[(&str, &str)]) {
    page.push_str(&format!(
        "\n## {title}\n\n| {kind} | Meaning |\n|---|---|\n"
    ));
    for (name, meaning) in rows {
        page.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Serialize;

    use super::super::groups::{GroupLine, GroupPage, HistoryPage, LagSums, PartitionLine};
    use super::*;

    fn keys(value: &impl Serialize) -> BTreeSet<String> {
        let value = serde_json::to_value(value).expect("JSON");
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    }

    fn names(rows: &[&[(&str, &str)]]) -> BTreeSet<String> {
        let rows = rows.iter().flat_map(|rows| rows.iter());
        rows.map(|(name, _)| (*name).to_owned()).collect()
    }

    #[test]
    fn every_field_of_the_answers_is_documented_and_no_other() {
        assert_eq!(keys(&GroupLine::default()), names(&[LINE]));
        assert_eq!(keys(&LagSums::default()), names(&[SUMS]));
        assert_eq!(keys(&GroupPage::default()), names(&[LINE, PAGE]));
        assert_eq!(keys(&PartitionLine::default()), names(&[PARTITION]));
        assert_eq!(keys(&HistoryPage::default()), names(&[HISTORY]));
    }

    #[test]
    fn every_verdict_is_documented() {
        use klamm_shard::api::coord::lag::Verdict;
        let words = Verdict::ALL.map(|verdict| verdict.as_str().to_owned());
        assert_eq!(BTreeSet::from(words), names(&[VERDICTS]));
    }
}
