//! How far groups are behind, and what happened to them, as the admin listener tells it: against
//! records whose sizes and times the test knows.

use std::time::{SystemTime, UNIX_EPOCH};

use klamm_wire::{ApiKey, delete_records, join_group, leave_group, offset_commit, sync_group};
use serde_json::Value;

use super::groups::{beat, commit_as, group, options};
use crate::harness::{Broker, Client, Codec, Options, RawBatch, Record, Topic, unique, wait_for};

const JOIN: i16 = 9;
const SYNC: i16 = 5;
const LEAVE: i16 = 5;
const COMMIT: i16 = 9;

/// Looks are made often, so that tests need not wait.
fn often() -> Options {
    options()
        .set("klamm.group.lag.interval.ms", 50)
        .set("klamm.group.stuck.ms", 400)
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("a time")
}

/// A name as it stands in a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let sign = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(sign).collect()
}

fn json(broker: &Broker, path: &str) -> (u16, Value) {
    let (status, text) = broker.http(path);
    let value = serde_json::from_str(&text);
    (
        status,
        value.unwrap_or_else(|error| panic!("{error}: {status} {text}")),
    )
}

/// A group, looked at now.
fn look(broker: &Broker, group: &str) -> Value {
    wait_for("an answer about the group", || {
        let (status, page) = json(broker, &format!("/groups/{}", escaped(group)));
        match status {
            200 => Some(page),
            // It is being loaded.
            503 => None,
            other => panic!("{other}: {page}"),
        }
    })
}

fn partition<'p>(page: &'p Value, topic: &Topic, index: i64) -> &'p Value {
    let mut all = page["partitions"].as_array().expect("a list").iter();
    let found = all.find(|one| one["topic"] == *topic.name && one["partition"] == index);
    found.unwrap_or_else(|| panic!("no partition {index}: {page:#}"))
}

fn verdict(page: &Value) -> &str {
    page["verdict"].as_str().expect("a verdict")
}

/// Records of these times, as one batch.
fn batch(times: &[i64], codec: Codec) -> Vec<u8> {
    let record = |&timestamp: &i64| Record {
        timestamp,
        ..Record::new("key", "v".repeat(100))
    };
    let records: Vec<Record> = times.iter().map(record).collect();
    RawBatch::compressed(&records, codec).encode()
}

/// Commits offsets of partitions by hand, as consumers without a membership do.
fn commit(client: &mut Client, group: &str, topic: &Topic, offsets: &[(i32, i64)]) {
    let partition = |&(index, offset): &(i32, i64)| offset_commit::OffsetCommitRequestPartition {
        partition_index: index,
        committed_offset: offset,
        committed_leader_epoch: -1,
        ..Default::default()
    };
    let request = offset_commit::Request {
        group_id: group.to_owned().into(),
        generation_id_or_member_epoch: -1,
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: topic.name.clone().into(),
            partitions: offsets.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    wait_for("a commit", || {
        let reply = client.call(&request, COMMIT);
        let view = reply.view();
        let topic = view.topics().iter().next().expect("one topic");
        let mut codes = topic.partitions().iter().map(|one| one.error_code());
        let code = codes.find(|&code| code != 0).unwrap_or(0);
        // After a start the group may still be loading.
        assert!([0, 14, 16].contains(&code), "{code}");
        (code == 0).then_some(())
    });
}

/// A member: what it was told when the round was complete.
#[derive(Clone, Debug)]
struct Member {
    id: String,
    generation: i32,
}

impl Member {
    fn round(&self) -> super::groups::Round {
        super::groups::Round::told(&self.id, self.generation)
    }
}

struct Joining<'a> {
    group: &'a str,
    member: &'a str,
    reason: Option<&'a str>,
    session_ms: i32,
}

impl Joining<'_> {
    fn begin(&self, client: &mut Client) {
        let request = join_group::Request {
            group_id: self.group.to_owned().into(),
            session_timeout_ms: self.session_ms,
            rebalance_timeout_ms: 60_000,
            member_id: self.member.to_owned().into(),
            protocol_type: "consumer".into(),
            protocols: vec![join_group::JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0].into(),
            }],
            reason: self.reason.map(|reason| reason.to_owned().into()),
            ..Default::default()
        };
        client.begin(&request, JOIN);
    }
}

fn joined(client: &mut Client) -> (i16, Member) {
    let reply = client.finish::<join_group::Request<'_>>(ApiKey::JoinGroup, JOIN);
    let view = reply.view();
    let member = Member {
        id: view.member_id().to_owned(),
        generation: view.generation_id(),
    };
    (view.error_code(), member)
}

/// Begins to join with an id that was given out before.
fn begin_join(client: &mut Client, group: &str, reason: Option<&str>, session_ms: i32) -> String {
    let mut joining = Joining {
        group,
        member: "",
        reason,
        session_ms,
    };
    joining.begin(client);
    let (code, given) = joined(client);
    assert_eq!(code, 79, "a new member is given an id first");
    joining.member = &given.id;
    joining.begin(client);
    given.id
}

fn join(client: &mut Client, group: &str, reason: Option<&str>, session_ms: i32) -> Member {
    begin_join(client, group, reason, session_ms);
    let (code, member) = joined(client);
    assert_eq!(code, 0);
    member
}

/// The leader gives every member partitions of one topic.
fn sync(client: &mut Client, group: &str, leader: &Member, parts: &[(&str, &Topic, &[i32])]) {
    let assignment = |(member, topic, partitions): &(&str, &Topic, &[i32])| {
        let mut bytes = vec![0, 1, 0, 0, 0, 1];
        bytes.extend((topic.name.len() as i16).to_be_bytes());
        bytes.extend(topic.name.as_bytes());
        bytes.extend((partitions.len() as i32).to_be_bytes());
        bytes.extend(partitions.iter().flat_map(|index| index.to_be_bytes()));
        bytes.extend((-1_i32).to_be_bytes());
        sync_group::SyncGroupRequestAssignment {
            member_id: (*member).to_owned().into(),
            assignment: bytes.into(),
        }
    };
    let request = sync_group::Request {
        group_id: group.to_owned().into(),
        generation_id: leader.generation,
        member_id: leader.id.clone().into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: parts.iter().map(assignment).collect(),
        ..Default::default()
    };
    assert_eq!(client.call(&request, SYNC).view().error_code(), 0);
}

fn leave(client: &mut Client, group: &str, member: &str, reason: &str) {
    let request = leave_group::Request {
        group_id: group.to_owned().into(),
        members: vec![leave_group::MemberIdentity {
            member_id: member.to_owned().into(),
            reason: Some(reason.to_owned().into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(&request, LEAVE).view().error_code(), 0);
}

/// The lag of a partition is these records and bytes, and as old as the record of this time.
fn check_lag(broker: &Broker, group: &str, topic: &Topic, index: i64, expected: (u64, usize, i64)) {
    let (records, bytes, time) = expected;
    let before = now_ms();
    let page = look(broker, group);
    let after = now_ms();
    let found = partition(&page, topic, index);
    assert_eq!(found["records"], records, "{found:#}");
    assert_eq!(found["stable_records"], records, "{found:#}");
    assert_eq!(found["bytes"], bytes, "{found:#}");
    assert_eq!(found["bytes_exact"], true, "{found:#}");
    assert_eq!(found["seconds_exact"], true, "{found:#}");
    let seconds = found["seconds"].as_f64().expect("a time");
    let bounds = match records {
        0 => 0.0..=0.0,
        _ => (before - time) as f64 / 1e3..=(after - time) as f64 / 1e3,
    };
    assert!(bounds.contains(&seconds), "{seconds} of {bounds:?}");
}

#[test]
fn the_lag_of_a_group_that_stopped_is_exact_from_memory_and_from_disk() {
    let test = "the_lag_of_a_group_that_stopped_is_exact_from_memory_and_from_disk";
    let Some(mut broker) = Broker::own(test, often()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "stopped");
    let topic = client.create_topic_with("read-by-it", 3, &[("internal.segment.bytes", "2000")]);
    // A minute, and so on, before now.
    let base = now_ms() - 600_000;
    let mut sizes = Vec::new();
    for step in 0..30_i64 {
        let time = base + step * 10_000;
        let codec = if step % 2 == 0 {
            Codec::None
        } else {
            Codec::Gzip
        };
        let batch = batch(&[time, time + 1_000, time + 2_000], codec);
        sizes.push(batch.len());
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
        assert_eq!(client.produce(&topic, 1, &batch).error_code, 0);
    }
    let behind = |from: usize| sizes[from..].iter().sum::<usize>();
    let time = |step: i64, record: i64| base + step * 10_000 + record * 1_000;
    // At the end, and in partition 2 where nothing ever was.
    commit(&mut client, &group, &topic, &[(0, 90), (2, 0)]);
    let check = |broker: &Broker, client: &mut Client| {
        commit(client, &group, &topic, &[(0, 90)]);
        check_lag(broker, &group, &topic, 0, (0, 0, 0));
        check_lag(broker, &group, &topic, 2, (0, 0, 0));
        for (offset, batch, record) in [
            (0, 0, 0),
            (30, 10, 0),
            (31, 10, 1),
            (35, 11, 2),
            (89, 29, 2),
        ] {
            commit(client, &group, &topic, &[(0, offset)]);
            let expected = (
                90 - offset as u64,
                behind(batch),
                time(batch as i64, record),
            );
            check_lag(broker, &group, &topic, 0, expected);
        }
    };
    check(&broker, &mut client);
    let page = look(&broker, &group);
    assert_eq!(
        (verdict(&page), &page["state"]),
        ("empty", &Value::from("Empty"))
    );
    assert_eq!(page["lag"]["partitions"], 2);
    // Nothing is in memory after a start: places and times are read from segments.
    drop(client);
    broker.stop();
    broker.start_again();
    let mut client = broker.client();
    check(&broker, &mut client);
    // The same by the look at all groups, and under the names of exporters.
    commit(&mut client, &group, &topic, &[(0, 31)]);
    let lines = wait_for("the page of metrics", || {
        let (status, text) = broker.http(&format!("/metrics/groups?group={}", escaped(&group)));
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let labels = format!(
            "consumergroup=\"{group}\",topic=\"{}\",partition=\"0\"",
            topic.name
        );
        let shows = |line: String| text.lines().any(|one| one == line);
        let all = shows(format!("kafka_consumergroup_current_offset{{{labels}}} 31"))
            && shows(format!("kafka_consumergroup_lag{{{labels}}} 59"))
            && shows(format!(
                "klamm_consumergroup_lag_bytes{{{labels}}} {}",
                behind(10)
            ));
        all.then_some(text)
    });
    let verdict =
        format!("klamm_consumergroup_verdict{{consumergroup=\"{group}\",verdict=\"empty\"}} 1");
    assert!(lines.contains(&verdict), "{lines}");
    let members = format!("kafka_consumergroup_members{{consumergroup=\"{group}\"}} 0\n");
    assert!(lines.contains(&members), "{lines}");
}

#[test]
fn a_group_goes_through_all_verdicts_by_what_it_does() {
    let test = "a_group_goes_through_all_verdicts_by_what_it_does";
    let Some(broker) = Broker::own(test, often()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "judged");
    let topic = client.create_topic("read", 1);
    let batch = batch(&[now_ms(); 10], Codec::None);
    let produce = |client: &mut Client| {
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    };
    produce(&mut client);
    commit(&mut client, &group, &topic, &[(0, 0)]);
    assert_eq!(verdict(&look(&broker, &group)), "empty");
    let mut leader = join(&mut client, &group, None, 30_000);
    assert_eq!(verdict(&look(&broker, &group)), "rebalancing");
    sync(
        &mut client,
        &group,
        &leader,
        &[(&leader.id.clone(), &topic, &[0])],
    );
    let moves_to = |client: &mut Client, leader: &Member, offset: i64| {
        let member = (leader.id.as_str(), leader.generation);
        assert_eq!(commit_as(client, &group, member, &topic, offset, COMMIT), 0);
    };
    let page = look(&broker, &group);
    assert_eq!(partition(&page, &topic, 0)["member"], leader.id.as_str());
    moves_to(&mut client, &leader, 10);
    let page = look(&broker, &group);
    assert_eq!(verdict(&page), "keeping-up");
    assert_eq!(page["reason"], "nothing is unread");
    assert_eq!(page["members"], 1);
    assert_eq!(page["member_list"][0]["member"], leader.id.as_str());
    assert_eq!(page["member_list"][0]["assigned"][0]["partitions"][0], 0);
    // It reads less than is written.
    let mut offset = 10;
    let page = wait_for("a group that falls behind", || {
        produce(&mut client);
        offset += 5;
        moves_to(&mut client, &leader, offset);
        let page = look(&broker, &group);
        (verdict(&page) == "falling-behind").then_some(page)
    });
    assert!(
        page["rates"]["produced_per_second"].as_f64()
            > page["rates"]["consumed_per_second"].as_f64()
    );
    // It reads nothing more.
    let page = wait_for("a group that is stuck", || {
        let page = look(&broker, &group);
        (verdict(&page) == "stuck").then_some(page)
    });
    let found = partition(&page, &topic, 0);
    assert_eq!(
        (&found["stuck"], &page["lag"]["stuck_partitions"]),
        (&Value::from(true), &Value::from(1))
    );
    assert!(found["still_seconds"].as_f64() >= Some(0.4), "{found:#}");
    let reason = page["reason"].as_str().expect("a sentence");
    assert!(
        reason.starts_with(&format!("{}-0 has ", topic.name)) && reason.contains("has not moved"),
        "{reason}"
    );
    // It has read everything.
    moves_to(
        &mut client,
        &leader,
        client_end(&mut broker.client(), &topic),
    );
    assert_eq!(verdict(&look(&broker, &group)), "keeping-up");
    // Another comes: the work is divided anew.
    let mut other = broker.client();
    begin_join(&mut other, &group, None, 30_000);
    let page = wait_for("a rebalance", || {
        let page = look(&broker, &group);
        (verdict(&page) == "rebalancing").then_some(page)
    });
    assert_eq!(page["state"], "PreparingRebalance");
    assert_eq!(beat(&mut client, &group, &leader.round(), 4), 27);
    Joining {
        group: &group,
        member: &leader.id,
        reason: None,
        session_ms: 30_000,
    }
    .begin(&mut client);
    let (code, again) = joined(&mut client);
    assert_eq!(code, 0);
    leader = again;
    let (code, second) = joined(&mut other);
    assert_eq!(code, 0);
    sync(&mut client, &group, &leader, &[(&second.id, &topic, &[0])]);
    assert_eq!(verdict(&look(&broker, &group)), "keeping-up");
    for member in [&leader, &second] {
        leave(&mut client, &group, &member.id, "done");
    }
    // The last one is gone when the round that its leaving began has come to its end.
    wait_for("an empty group", || {
        (verdict(&look(&broker, &group)) == "empty").then_some(())
    });
}

fn client_end(client: &mut Client, topic: &Topic) -> i64 {
    client.list_offset(topic, 0, -1).offset
}

#[test]
fn records_that_are_removed_unread_are_missed_and_deleted_topics_vanish() {
    let test = "records_that_are_removed_unread_are_missed_and_deleted_topics_vanish";
    let Some(broker) = Broker::own(test, often()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "left-behind");
    let (topic, gone) = (
        client.create_topic("trimmed", 1),
        client.create_topic("gone", 1),
    );
    let time = now_ms() - 60_000;
    let batch = batch(&[time; 10], Codec::None);
    for _ in 0..5 {
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
        assert_eq!(client.produce(&gone, 0, &batch).error_code, 0);
    }
    commit(&mut client, &group, &topic, &[(0, 10)]);
    commit(&mut client, &group, &gone, &[(0, 10)]);
    let request = delete_records::Request {
        topics: vec![delete_records::DeleteRecordsTopic {
            name: topic.name.clone().into(),
            partitions: vec![delete_records::DeleteRecordsPartition {
                partition_index: 0,
                offset: 30,
            }],
        }],
        timeout_ms: 30_000,
    };
    client.call(&request, 2);
    check_lag(&broker, &group, &topic, 0, (20, batch.len() * 2, time));
    let page = look(&broker, &group);
    let found = partition(&page, &topic, 0);
    assert_eq!(
        (&found["missed_records"], &found["log_start"]),
        (&Value::from(20), &Value::from(30))
    );
    assert_eq!(partition(&page, &gone, 0)["records"], 40);
    // Exporters count what is gone, too.
    let labels = format!(
        "consumergroup=\"{group}\",topic=\"{}\",partition=\"0\"",
        topic.name
    );
    wait_for("the page of metrics", || {
        let (_, text) = broker.http("/metrics/groups");
        let lag = format!("kafka_consumergroup_lag{{{labels}}} 40");
        let missed = format!("klamm_consumergroup_missed{{{labels}}} 20");
        let shows = |line: &str| text.lines().any(|one| one == line);
        (shows(&lag) && shows(&missed) && text.contains(&gone.name)).then_some(())
    });
    // An offset beyond the end is of nothing that can be read.
    commit(&mut client, &group, &topic, &[(0, 60)]);
    let page = look(&broker, &group);
    assert_eq!(partition(&page, &topic, 0)["ahead_records"], 10);
    assert_eq!(partition(&page, &topic, 0)["records"], 0);
    assert_eq!(client.delete_topic(&gone), 0);
    wait_for("a group without the topic", || {
        let (_, text) = broker.http("/metrics/groups");
        let page = look(&broker, &group);
        let all = page["partitions"].as_array().expect("a list");
        (all.len() == 1 && !text.contains(&gone.name)).then_some(())
    });
}

/// Events of a group's history, by their words.
fn history(broker: &Broker, group: &str) -> (Vec<Value>, Value) {
    let (status, page) = json(broker, &format!("/groups/{}/history", escaped(group)));
    assert_eq!(status, 200, "{page}");
    let events = page["events"].as_array().expect("a list").clone();
    (events, page)
}

fn words(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().expect("a word"))
        .collect()
}

#[test]
fn the_history_of_a_group_says_who_came_and_went_and_why_and_what_moved() {
    let test = "the_history_of_a_group_says_who_came_and_went_and_why_and_what_moved";
    let Some(mut broker) = Broker::own(test, often()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "remembered");
    let topic = client.create_topic("divided", 4);
    let began = now_ms();
    let first = join(&mut client, &group, Some("a new day"), 30_000);
    sync(
        &mut client,
        &group,
        &first,
        &[(&first.id.clone(), &topic, &[0, 1, 2, 3])],
    );
    let (events, page) = history(&broker, &group);
    assert_eq!(
        words(&events),
        ["joined", "rebalance-began", "rebalance-ended"],
        "{page:#}"
    );
    assert_eq!(events[0]["member"], first.id.as_str());
    assert_eq!(events[0]["reason"], "a new day");
    assert_eq!(events[0]["client_id"], "black-box");
    assert_eq!(events[0]["client_host"], "/127.0.0.1");
    let at = events[0]["at_ms"].as_i64().expect("a time");
    assert!((began..=now_ms()).contains(&at), "{at}");
    let ended = &events[2];
    assert_eq!(
        (&ended["leader"], &ended["members"]),
        (&Value::from(first.id.as_str()), &Value::from(1))
    );
    assert!(ended["took_seconds"].as_f64() >= Some(0.0));
    assert_eq!(
        (&ended["moved"]["gained"], &ended["moved"]["lost"]),
        (&Value::from(4), &Value::from(0))
    );
    // A second one, that will fall silent.
    let mut other = broker.client();
    begin_join(&mut other, &group, None, 4_000);
    wait_for("a rebalance", || {
        (beat(&mut client, &group, &first.round(), 4) == 27).then_some(())
    });
    Joining {
        group: &group,
        member: &first.id,
        reason: None,
        session_ms: 30_000,
    }
    .begin(&mut client);
    let (_, leader) = joined(&mut client);
    let (_, second) = joined(&mut other);
    let parts: [(&str, &Topic, &[i32]); 2] =
        [(&leader.id, &topic, &[0, 1, 2]), (&second.id, &topic, &[3])];
    sync(&mut client, &group, &leader, &parts);
    let (events, page) = history(&broker, &group);
    let last = events.last().expect("some");
    let moved = &last["moved"];
    assert_eq!(
        (&moved["gained"], &moved["lost"]),
        (&Value::from(1), &Value::from(1)),
        "{page:#}"
    );
    let by_member = moved["members"].as_array().expect("a list");
    let lost = by_member
        .iter()
        .find(|one| one["member"] == leader.id.as_str());
    assert_eq!(
        lost.expect("it lost one")["lost"][0]["partitions"][0],
        3,
        "{page:#}"
    );
    // It falls silent; the other says why it goes.
    let events = wait_for("an expired member", || {
        let (events, _) = history(&broker, &group);
        let is_out =
            |event: &Value| event["event"] == "expired" && event["member"] == second.id.as_str();
        events.iter().any(is_out).then_some(events)
    });
    assert!(words(&events).contains(&"rebalance-began"));
    let stranger = ("nobody", 7);
    assert_eq!(
        commit_as(&mut client, &group, stranger, &topic, 0, COMMIT),
        25
    );
    leave(&mut client, &group, &first.id, "the \"day\" is over");
    let (events, page) = history(&broker, &group);
    let left = events
        .iter()
        .find(|event| event["event"] == "left")
        .expect("it left");
    assert_eq!(left["reason"], "the \"day\" is over");
    assert_eq!(words(&events).last(), Some(&"emptied"), "{page:#}");
    let refused = &page["refused_commits"];
    assert_eq!(
        (&refused["unknown_member"], &refused["total"]),
        (&Value::from(1), &Value::from(1))
    );
    // Nothing of it outlives the broker, and that is said.
    let since = page["since_ms"].as_i64().expect("a time");
    assert!(since <= began, "{since}");
    drop((client, other));
    broker.stop();
    broker.start_again();
    let page = wait_for("the group", || {
        let (status, page) = json(&broker, &format!("/groups/{}/history", escaped(&group)));
        (status == 200).then_some(page)
    });
    assert_eq!(page["events"], Value::Array(Vec::new()));
    assert!(page["since_ms"].as_i64() > Some(since), "{page:#}");
}

#[test]
fn groups_are_listed_page_by_page_whatever_they_are_called() {
    let test = "groups_are_listed_page_by_page_whatever_they_are_called";
    let Some(broker) = Broker::own(test, often()) else {
        return;
    };
    let mut client = broker.client();
    let begin = group(&mut client, "listed");
    let topic = client.create_topic("any", 1);
    let odd = [
        " ",
        "\"\\\n}",
        "/history",
        "?limit=1&x",
        "%2F",
        "\u{fc}\u{1f680}",
        "..",
        "#",
    ];
    let mut names: Vec<String> = odd.iter().map(|odd| format!("{begin}{odd}")).collect();
    names.extend((0..20).map(|number| format!("{begin}-{number:02}")));
    names.sort();
    for name in &names {
        commit(&mut client, name, &topic, &[(0, 0)]);
    }
    for limit in [1, 3, 28, 1_000] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (status, page) = json(
                &broker,
                &format!("/groups?limit={limit}&after={}", escaped(&after)),
            );
            assert_eq!(status, 200, "{page}");
            let groups = page["groups"].as_array().expect("a list");
            assert!(groups.len() <= limit, "{page}");
            seen.extend(
                groups
                    .iter()
                    .map(|one| one["group"].as_str().expect("a name").to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, names, "{limit}");
    }
    for name in &names {
        assert_eq!(look(&broker, name)["group"], name.as_str());
        let (status, page) = json(&broker, &format!("/groups/{}/history", escaped(name)));
        assert_eq!((status, &page["group"]), (200, &Value::from(name.as_str())));
    }
    let (_, text) = broker.http("/metrics/groups");
    assert!(
        text.lines()
            .all(|line| line.starts_with('#') || line.starts_with('k')),
        "{text}"
    );
    let missing = unique("no-such-group");
    for path in [
        format!("/groups/{missing}"),
        format!("/groups/{missing}/history"),
    ] {
        let (status, page) = json(&broker, &path);
        assert_eq!(status, 404, "{page}");
        assert!(page["error"].is_string(), "{page}");
    }
}

fn klamm(arguments: &[&str]) -> (bool, String, String) {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the binary under test starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (done.status.success(), text(done.stdout), text(done.stderr))
}

/// What a table says of a topic, behind its name.
fn cells_of<'t>(table: &'t str, topic: &Topic) -> Vec<&'t str> {
    let line = table.lines().find(|line| line.starts_with(&topic.name));
    let cells = line.expect("a line of the topic").split_whitespace();
    cells.skip(1).collect()
}

#[test]
fn the_command_line_tells_lag_and_history_and_what_to_do_where_nobody_answers() {
    let test = "the_command_line_tells_lag_and_history_and_what_to_do_where_nobody_answers";
    let Some(broker) = Broker::own(test, often()) else {
        return;
    };
    let mut client = broker.client();
    let group = group(&mut client, "odd / name");
    let topic = client.create_topic("shown", 1);
    let batch = batch(&[now_ms() - 7_200_000; 10], Codec::None);
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    let member = join(&mut client, &group, Some("to be shown"), 30_000);
    sync(&mut client, &group, &member, &[(&member.id, &topic, &[0])]);
    let admin = broker.admin().to_string();
    let (is_done, out, err) = klamm(&["group", "lag", &group, "--admin", &admin]);
    assert!(is_done, "{err}");
    // Of a partition that somebody has to read it is told that nothing was committed.
    assert_eq!(
        cells_of(&out, &topic),
        [&["0"][..], &["-"; 7], &[&member.id]].concat(),
        "{out}"
    );
    assert_eq!(
        commit_as(
            &mut client,
            &group,
            (&member.id, member.generation),
            &topic,
            0,
            COMMIT
        ),
        0
    );
    let (is_done, out, err) = klamm(&["group", "lag", &group, "--admin", &admin]);
    assert!(is_done, "{err}");
    let cells = cells_of(&out, &topic);
    assert_eq!(cells[..4], ["0", "0", "10", "10"], "{out}");
    assert_eq!(cells.last(), Some(&member.id.as_str()), "{out}");
    assert!(out.contains(" 2.0 h "), "{out}");
    assert!(
        out.contains("\n10 records are unread, and not more"),
        "{out}"
    );
    let all = wait_for("the list", || {
        let (is_done, out, err) = klamm(&["group", "lag", "--admin", &admin]);
        assert!(is_done, "{err}");
        let line = out
            .lines()
            .find(|line| line.starts_with(&group))?
            .to_owned();
        line.contains("keeping-up").then_some(out)
    });
    assert!(all.starts_with("GROUP"), "{all}");
    let (is_done, out, err) = klamm(&["group", "history", &group, "--admin", &admin]);
    assert!(is_done, "{err}");
    assert!(out.contains("saying \"to be shown\""), "{out}");
    assert!(
        out.contains(&format!("+ {} 0  {}", topic.name, member.id)),
        "{out}"
    );
    let json = [
        "group", "history", &group, "--admin", &admin, "--format", "json",
    ];
    let (_, out, _) = klamm(&json);
    let page: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(page["events"][0]["event"], "joined");
    let (is_done, _, err) = klamm(&["group", "lag", "no-such", "--admin", &admin]);
    assert!(!is_done && err.contains("there is no such group"), "{err}");
    let nobody = broker.address().to_string();
    let (is_done, _, err) = klamm(&["group", "lag", "--admin", &nobody]);
    assert!(!is_done && err.contains("--admin HOST:PORT"), "{err}");
}
