//! What this core knows of its groups, in the words of the admin face: lines of the list, one group
//! with its lag, what happened to it, and numbers for the page of metrics.

mod reason;

use std::collections::BTreeMap;

use klamm_model::Instant;
use klamm_os::exec;
use klamm_shard::Shards;
use klamm_shard::api::GroupReport;
use klamm_shard::api::coord::lag::{GroupLag, LagRules, LaggingPartition};
use klamm_shard::api::coord::{
    Event, GroupHead, GroupId, Happened, History, MembersRoom, Moves, NamedPartitions, Note,
    SeenMember,
};

use crate::http::{
    EventLine, Found, GROUP_NAME_BYTES_MAX, GROUP_PARTITIONS_MAX, GroupLine, GroupMetrics,
    GroupPage, GroupPattern, HistoryPage, LIST_NAME_BYTES_MAX, LagSums, ListPart, ListedAfter,
    MemberLine, MemberMovedLine, MovedLine, OneGroupMetrics, OnePartitionMetrics,
    PARTITIONS_SHOWN_MAX, PartitionLine, Rates, RefusedLine, TopicLine, UncommittedLine,
    name_bytes,
};

/// How much of the members of a group is shown.
const MEMBERS_ROOM: MembersRoom = MembersRoom {
    members: 1_000,
    text_bytes: 1 << 20,
    assignment_bytes: 1 << 20,
    partitions: PARTITIONS_SHOWN_MAX,
};

/// Partitions that are gathered for metrics before others on the core have their turn.
const GATHERED_AT_ONCE: usize = 2_000;

/// Groups that are looked at before others on the core have their turn.
const LISTED_AT_ONCE: usize = 500;

/// The groups of this core behind a name.
pub(crate) fn list(shards: &Shards, listed: &ListedAfter) -> ListPart {
    let now = shards.now().instant;
    let mut bytes = 0;
    let mut part = ListPart {
        is_loading: shards.loads_groups(),
        ..ListPart::default()
    };
    shards.show_groups(listed.after.as_deref(), |id, head, lag, rules| {
        if part.groups.len() >= listed.limit || bytes > LIST_NAME_BYTES_MAX {
            part.has_more = true;
            return false;
        }
        bytes += id.as_str().len();
        part.groups.push(line(now, id.as_str(), head, lag, rules));
        true
    });
    part
}

/// One group, looked at now.
pub(crate) async fn group(shards: &Shards, name: &str) -> Found<GroupPage> {
    if !shards.look_at_group(name).await {
        return missing(shards);
    }
    let Some(report) = shards.report_group(name, MEMBERS_ROOM) else {
        return missing(shards);
    };
    let now = shards.now().instant;
    Found::Here(page(now, name, report, &shards.lag_rules()))
}

/// What happened to a group.
pub(crate) fn history(shards: &Shards, name: &str, since_ms: i64) -> Found<HistoryPage> {
    let page = shards.history_of(name, |history| history_page(name, since_ms, history));
    match page {
        Some(page) => Found::Here(page),
        // A group to which nothing happened has a history, too: an empty one.
        None if shards.report_group(name, MEMBERS_ROOM).is_some() => Found::Here(HistoryPage {
            group: name.to_owned(),
            since_ms,
            ..HistoryPage::default()
        }),
        None => missing(shards),
    }
}

fn missing<T>(shards: &Shards) -> Found<T> {
    if shards.loads_groups() {
        Found::Loading
    } else {
        Found::NotHere
    }
}

/// The numbers of all groups that are wanted, as they were seen last; gathered in slices.
pub(crate) async fn metrics(shards: &Shards, wanted: &GroupPattern) -> GroupMetrics {
    let mut found = GroupMetrics::default();
    let (mut after, mut all, mut bytes): (Option<String>, usize, usize) = (None, 0, 0);
    loop {
        let now = shards.now().instant;
        let (mut looked, mut gathered, mut is_end) = (0, 0, true);
        let mut last = None;
        shards.show_groups(after.as_deref(), |id, head, lag, rules| {
            if gathered >= GATHERED_AT_ONCE || looked >= LISTED_AT_ONCE || found.is_too_much {
                is_end = found.is_too_much;
                return false;
            }
            looked += 1;
            last = Some(id.as_str().to_owned());
            let Some(lag) = lag.filter(|_| wanted.admits(id.as_str())) else {
                return true;
            };
            gathered += lag.partitions.len();
            all += lag.partitions.len();
            bytes += name_bytes(id.as_str(), lag.partitions.len());
            if all > GROUP_PARTITIONS_MAX || bytes > GROUP_NAME_BYTES_MAX {
                found.is_too_much = true;
                return false;
            }
            found.groups.push(numbers(now, id, head, lag, rules));
            true
        });
        if is_end || found.is_too_much {
            return found;
        }
        after = last;
        exec::yield_now().await;
    }
}

fn numbers(
    now: Instant,
    id: &GroupId,
    head: &GroupHead,
    lag: &GroupLag,
    rules: &LagRules,
) -> OneGroupMetrics {
    let totals = lag.totals(now, rules);
    let partitions = lag.partitions.iter().map(|one| OnePartitionMetrics {
        topic: one.topic.to_string(),
        index: one.partition.0,
        committed: one.lag.committed.0,
        lag: one.lag.distance(),
        missed: one.lag.missed,
        bytes: one.lag.bytes.value,
        seconds: one.lag.age.map(|age| age.value.as_secs_f64()),
    });
    OneGroupMetrics {
        group: id.as_str().to_owned(),
        members: head.members as u64,
        verdict: lag.verdict.as_str(),
        seconds: totals.age.as_secs_f64(),
        lag_max: totals.distance_max,
        partitions: partitions.collect(),
    }
}

fn line(
    now: Instant,
    name: &str,
    head: &GroupHead,
    lag: Option<&GroupLag>,
    rules: &LagRules,
) -> GroupLine {
    GroupLine {
        group: name.to_owned(),
        kind: head.group_type.as_str(),
        state: head.state.as_str(),
        protocol_type: head.protocol_type.clone(),
        members: head.members,
        verdict: lag.map(|lag| lag.verdict.as_str()),
        verdict_seconds: lag.map(|lag| now.since(lag.since).as_secs_f64()),
        reason: lag.map(|lag| reason::sentence(now, lag, rules)),
        lag: lag.map(|lag| sums(now, lag, rules)),
        looked_seconds_ago: lag.map(|lag| now.since(lag.looked).as_secs_f64()),
    }
}

fn sums(now: Instant, lag: &GroupLag, rules: &LagRules) -> LagSums {
    let totals = lag.totals(now, rules);
    LagSums {
        partitions: totals.partitions,
        stuck_partitions: totals.stuck,
        records: totals.records,
        stable_records: totals.stable_records,
        missed_records: totals.missed,
        bytes: totals.bytes,
        bytes_exact: totals.bytes_are_exact,
        seconds: totals.age.as_secs_f64(),
        seconds_exact: totals.age_is_exact,
    }
}

fn page(now: Instant, name: &str, report: GroupReport, rules: &LagRules) -> GroupPage {
    let GroupReport { head, members, lag } = report;
    let mut owners = owners(&members.members);
    let shown = lag.iter().flat_map(|lag| &lag.partitions);
    let shown = shown.take(PARTITIONS_SHOWN_MAX).map(|one| {
        let owner = owners.remove(&(one.topic.as_str(), one.partition.0));
        partition(now, one, rules, owner)
    });
    let partitions: Vec<PartitionLine> = shown.collect();
    // Of a group with more offsets than are shown it is not known what is left.
    let is_whole = lag
        .as_ref()
        .is_none_or(|lag| lag.left_out == 0 && lag.partitions.len() == partitions.len());
    let uncommitted = owners.into_iter().filter(|_| is_whole);
    let uncommitted = uncommitted.map(|((topic, partition), member)| UncommittedLine {
        topic: topic.to_owned(),
        partition,
        member: member.to_owned(),
    });
    let uncommitted: Vec<UncommittedLine> = uncommitted.collect();
    let all = lag
        .as_ref()
        .map_or(0, |lag| lag.partitions.len() as u64 + lag.left_out);
    let member_list: Vec<MemberLine> = members.members.into_iter().map(member).collect();
    GroupPage {
        line: line(now, name, &head, lag.as_ref(), rules),
        generation: head.generation.map(|generation| generation.0),
        protocol: members.protocol,
        leader: members.leader.map(|leader| leader.to_string()),
        rates: lag
            .as_ref()
            .and_then(GroupLag::rates)
            .map(|(consumed, produced)| Rates {
                consumed_per_second: consumed,
                produced_per_second: produced,
            }),
        members_omitted: head.members.saturating_sub(member_list.len()),
        member_list,
        partitions_omitted: all.saturating_sub(partitions.len() as u64),
        partitions,
        uncommitted,
    }
}

/// Which member has which partition to read, as far as that is known.
fn owners(members: &[SeenMember]) -> BTreeMap<(&str, i32), &str> {
    let assigned = members.iter().flat_map(|member| {
        let topics = member.assigned.iter().flatten();
        topics.map(move |topic| (member.member.as_str(), topic))
    });
    let owners = assigned.flat_map(|(member, topic)| {
        let partitions = topic.partitions.iter();
        partitions.map(move |partition| ((topic.topic.as_str(), partition.0), member))
    });
    owners.collect()
}

fn partition(
    now: Instant,
    one: &LaggingPartition,
    rules: &LagRules,
    owner: Option<&str>,
) -> PartitionLine {
    let lag = &one.lag;
    let still = if lag.stable_records > 0 {
        now.since(one.moved).as_secs_f64()
    } else {
        0.0
    };
    PartitionLine {
        topic: one.topic.to_string(),
        partition: one.partition.0,
        member: owner.map(str::to_owned),
        committed: lag.committed.0,
        committed_ms: lag.committed_at.0,
        log_start: lag.log_start.0,
        last_stable: lag.last_stable.0,
        high_watermark: lag.high_watermark.0,
        records: lag.records,
        stable_records: lag.stable_records,
        missed_records: lag.missed,
        ahead_records: lag.ahead,
        bytes: lag.bytes.value,
        bytes_exact: lag.bytes.is_exact,
        seconds: lag.age.map(|age| age.value.as_secs_f64()),
        seconds_exact: lag.age.is_some_and(|age| age.is_exact),
        still_seconds: still,
        stuck: one.is_stuck(now, rules),
    }
}

fn member(seen: SeenMember) -> MemberLine {
    MemberLine {
        member: seen.member.to_string(),
        instance: seen.instance.map(|name| name.to_string()),
        client_id: seen.client_id,
        client_host: seen.client_host,
        assigned: seen
            .assigned
            .map(|topics| topics.iter().map(topic).collect()),
        assigned_partitions: seen.assigned_count,
    }
}

fn topic(named: &NamedPartitions) -> TopicLine {
    TopicLine {
        topic: named.topic.clone(),
        partitions: named.partitions.iter().map(|index| index.0).collect(),
    }
}

fn history_page(name: &str, since_ms: i64, history: &History) -> HistoryPage {
    let refused = history.refused();
    HistoryPage {
        group: name.to_owned(),
        since_ms,
        forgotten: history.forgotten(),
        events: history
            .events()
            .map(|event| event_line(name, event))
            .collect(),
        refused_commits: RefusedLine {
            total: refused.total(),
            unknown_member: refused.unknown_member,
            fenced_instance: refused.fenced_instance,
            illegal_generation: refused.illegal_generation,
            rebalance_in_progress: refused.rebalance_in_progress,
            others: refused.others,
            last_ms: refused.last.map(|last| last.0),
        },
    }
}

fn event_line(name: &str, event: &Event) -> EventLine {
    let note = Note {
        group: GroupId::new(name),
        what: event.what.clone(),
    };
    let text = note.to_string();
    let plain = EventLine {
        at_ms: event.at.0,
        event: "other",
        text: text
            .strip_prefix(&format!("group {name}: "))
            .unwrap_or(&text)
            .to_owned(),
        took_seconds: event.took.map(|took| took.as_secs_f64()),
        ..EventLine::default()
    };
    let of = |event, id: &klamm_shard::api::coord::MemberId| EventLine {
        event,
        member: Some(id.to_string()),
        ..plain.clone()
    };
    match &event.what {
        Happened::Joined {
            member,
            client,
            reason,
        } => EventLine {
            client_id: Some(client.id.clone()),
            client_host: Some(client.host.clone()),
            reason: reason.clone(),
            ..of("joined", member)
        },
        Happened::Replaced { old, new } => EventLine {
            replaced: Some(old.to_string()),
            ..of("replaced", new)
        },
        Happened::Left { member, reason } => EventLine {
            reason: reason.clone(),
            ..of("left", member)
        },
        Happened::Silent { member } => of("expired", member),
        Happened::Late { member } => of("late", member),
        Happened::Asked { member, reason } => EventLine {
            reason: reason.clone(),
            ..of("asked", member)
        },
        Happened::RoundBegan { after } => EventLine {
            event: "rebalance-began",
            generation: Some(after.0),
            ..plain
        },
        Happened::RoundKept { .. } => round_line(&event.what, plain),
        Happened::Divided { epoch, moved } => EventLine {
            event: "divided",
            generation: Some(*epoch),
            moved_partitions: Some(*moved),
            ..plain
        },
        Happened::Emptied { generation } => EventLine {
            event: "emptied",
            generation: Some(generation.0),
            ..plain
        },
        Happened::Deleted => EventLine {
            event: "deleted",
            ..plain
        },
    }
}

/// A round that came to its end.
fn round_line(what: &Happened, plain: EventLine) -> EventLine {
    let Happened::RoundKept {
        generation,
        members,
        leader,
        moved,
    } = what
    else {
        return plain;
    };
    EventLine {
        event: "rebalance-ended",
        generation: Some(generation.0),
        members: Some(*members),
        leader: leader.as_ref().map(ToString::to_string),
        moved: moved.as_deref().map(moves),
        ..plain
    }
}

fn moves(moves: &Moves) -> MovedLine {
    let members = moves.members.iter().map(|one| MemberMovedLine {
        member: one.member.to_string(),
        gained: one.gained.iter().map(topic).collect(),
        lost: one.lost.iter().map(topic).collect(),
    });
    MovedLine {
        gained: moves.gained,
        lost: moves.lost,
        unnamed: moves.unnamed,
        members: members.collect(),
    }
}
