//! `klamm group` as operators and scripts use it, on groups with and without members.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use klamm_client::blocking::{Client, ClientOptions, Target};
use klamm_client::group::CommittedOffset;
use klamm_client::group::protocol::{Assignment, CONSUMER, Subscription};
use klamm_client::metadata::PartitionName;
use klamm_client::wire::{join_group, leave_group, sync_group};
use klamm_model::{NodeId, Offset, PartitionIndex, TopicName};
use serde_json::Value;

use crate::cli::{klamm, told};
use crate::groups::options;
use crate::harness::{Broker, Log, RawBatch, Record, unique, wait_for};

fn connect(broker: &Broker) -> Client {
    let address = broker.address().to_string();
    Client::connect(&address, ClientOptions::default()).expect("the broker listens")
}

fn json(broker: &Broker, arguments: &[&str]) -> Value {
    let (out, _) = told(&klamm(broker, &[arguments, &["--format", "json"]].concat()));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Why a command failed; its exit code is 1.
fn refused(broker: &Broker, arguments: &[&str]) -> String {
    let output = klamm(broker, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

fn partition(topic: &str, index: i32) -> PartitionName {
    PartitionName::new(TopicName::new(topic).expect("legal"), PartitionIndex(index))
}

/// The one member of a group, which reads some partitions.
struct Member {
    client: Client,
    node: NodeId,
    group: String,
    id: String,
}

impl Member {
    fn join(broker: &Broker, group: &str, partitions: &[PartitionName]) -> Self {
        let mut client = connect(broker);
        let node = client.find_coordinators(&[group]).expect("found")[group];
        let mut topics: Vec<_> = partitions.iter().map(|it| it.topic.clone()).collect();
        topics.dedup();
        let subscription = Subscription {
            topics,
            ..Subscription::default()
        };
        let mut member = Self {
            client,
            node,
            group: group.to_owned(),
            id: String::new(),
        };
        // The first answer brings the id.
        let mut generation = member.ask_to_join(&subscription);
        if generation < 0 {
            generation = member.ask_to_join(&subscription);
        }
        assert!(generation >= 0, "joined");
        member.sync(generation, partitions);
        member
    }

    fn ask_to_join(&mut self, subscription: &Subscription) -> i32 {
        let request = join_group::Request {
            group_id: self.group.clone().into(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            member_id: self.id.clone().into(),
            protocol_type: CONSUMER.into(),
            protocols: vec![join_group::JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: subscription.encode().to_vec().into(),
            }],
            ..Default::default()
        };
        let (id, generation) = self
            .client
            .request(Target::Node(self.node), &request, |view| {
                (view.member_id().to_owned(), view.generation_id())
            })
            .expect("an answer");
        self.id = id;
        generation
    }

    fn sync(&mut self, generation: i32, partitions: &[PartitionName]) {
        let assignment = Assignment {
            partitions: partitions.to_vec(),
            user_data: None,
        };
        let request = sync_group::Request {
            group_id: self.group.clone().into(),
            generation_id: generation,
            member_id: self.id.clone().into(),
            protocol_type: Some(CONSUMER.into()),
            protocol_name: Some("range".into()),
            assignments: vec![sync_group::SyncGroupRequestAssignment {
                member_id: self.id.clone().into(),
                assignment: assignment.encode().to_vec().into(),
            }],
            ..Default::default()
        };
        let target = Target::Node(self.node);
        let code = self
            .client
            .request(target, &request, |view| view.error_code());
        assert_eq!(code.expect("an answer"), 0);
    }

    fn leave(mut self) {
        let request = leave_group::Request {
            group_id: self.group.clone().into(),
            members: vec![leave_group::MemberIdentity {
                member_id: self.id.clone().into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let target = Target::Node(self.node);
        let code = self
            .client
            .request(target, &request, |view| view.error_code());
        assert_eq!(code.expect("an answer"), 0);
    }
}

/// A topic of two partitions with ten records each, a second apart from 1000 on.
fn topic(broker: &Broker) -> String {
    let mut client = broker.client();
    let topic = client.create_topic("read", 2);
    for part in 0..2 {
        for second in 0..10 {
            let record = Record {
                timestamp: 1000 * (second + 1),
                ..Record::new("k", "v")
            };
            let batch = RawBatch::of(&[record]);
            assert_eq!(client.produce(&topic, part, &batch.encode()).error_code, 0);
        }
    }
    topic.name
}

fn commit(broker: &Broker, group: &str, offsets: &[(PartitionName, i64)]) {
    let offsets = offsets.iter();
    let offsets: BTreeMap<_, _> = offsets
        .map(|(partition, offset)| {
            let kept = CommittedOffset::at(Offset(*offset));
            (partition.clone(), kept)
        })
        .collect();
    let outcomes = connect(broker).alter_group_offsets(group, &offsets);
    for (partition, outcome) in outcomes.expect("an answer") {
        outcome.unwrap_or_else(|error| panic!("{partition}: {error}"));
    }
}

fn row<'v>(document: &'v Value, topic: &str, index: i32) -> &'v Value {
    let rows = document["partitions"].as_array().expect("rows");
    let found = rows
        .iter()
        .find(|row| row["topic"] == topic && row["partition"] == index);
    found.unwrap_or_else(|| panic!("{topic}-{index} in {document}"))
}

#[test]
fn a_group_is_listed_and_described_with_lag_and_members() {
    let broker = Broker::start_with(options());
    let (topic, group) = (topic(&broker), unique("described"));
    commit(&broker, &group, &[(partition(&topic, 1), 4)]);
    let member = Member::join(&broker, &group, &[partition(&topic, 0)]);
    let listed = json(&broker, &["group", "list", "--state", "stable"]);
    let listed = listed.as_array().expect("rows").iter();
    let found: Vec<_> = listed
        .filter(|row| row["group"] == group.as_str())
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["state"], "Stable");
    assert_eq!(found[0]["protocol_type"], "consumer");
    assert_eq!(
        json(&broker, &["group", "list", "--state", "dead"]),
        Value::Array(vec![])
    );

    let described = &json(&broker, &["group", "describe", &group])[0];
    assert_eq!(described["assignor"], "range", "{described}");
    let read = row(described, &topic, 0);
    assert_eq!(
        (&read["committed"], &read["end"], &read["lag"]),
        (&Value::Null, &10.into(), &Value::Null)
    );
    assert_eq!(read["member"], member.id.as_str());
    assert_eq!(read["host"], "127.0.0.1", "{read}");
    let idle = row(described, &topic, 1);
    assert_eq!(
        (&idle["committed"], &idle["lag"], &idle["member"]),
        (&4.into(), &6.into(), &Value::Null)
    );
    let (text, _) = told(&klamm(&broker, &["group", "describe", &group]));
    let head = format!("group {group}  Stable  classic, range  1 member  coordinator ");
    assert!(text.starts_with(&head), "{text}");
    assert!(
        text.contains("COMMITTED") && text.contains(&member.id),
        "{text}"
    );

    let members = &json(&broker, &["group", "members", &group])[0]["members"];
    assert_eq!(members.as_array().map(Vec::len), Some(1), "{members}");
    assert_eq!(members[0]["client_id"], "klamm");
    assert_eq!(members[0]["topics"][0], topic.as_str());
    assert_eq!(members[0]["assignment"][0]["partition"], 0);
    let (text, _) = told(&klamm(&broker, &["group", "members", &group]));
    assert!(text.contains(&format!("{topic}:0")), "{text}");

    // One that does not exist fails the command; the other is shown all the same.
    let output = klamm(&broker, &["group", "describe", &group, "no-such-group"]);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains(&group), "{out}");
    assert!(
        err.contains("no-such-group") && err.contains("klamm group list"),
        "{err}"
    );
}

#[test]
fn a_reset_shows_its_plan_and_moves_nothing_until_it_is_told_to() {
    let broker = Broker::start_with(options());
    let (topic, group) = (topic(&broker), unique("reset"));
    let all = ["--topic", topic.as_str()];
    let reset = |goal: &[&str]| {
        let arguments = [&["group", "reset", group.as_str()], goal].concat();
        json(&broker, &arguments)
    };
    let planned = reset(&[&all[..], &["--to-offset", "3"]].concat());
    assert_eq!(planned["executed"], false, "{planned}");
    assert_eq!(row(&planned, &topic, 1)["new"], 3);
    refused(&broker, &["group", "describe", &group]);
    let done = reset(&[&all[..], &["--to-offset", "3", "--execute"]].concat());
    assert_eq!(done["executed"], true);
    let described = &json(&broker, &["group", "describe", &group])[0];
    assert_eq!(row(described, &topic, 0)["committed"], 3);
    assert_eq!(described["state"], "Empty");

    let new = |goal: &[&str]| {
        let planned = reset(&[&["--all-topics"], goal].concat());
        let row = row(&planned, &topic, 1);
        (row["current"].as_i64(), row["new"].as_i64())
    };
    assert_eq!(new(&["--to-earliest"]), (Some(3), Some(0)));
    assert_eq!(new(&["--to-latest"]), (Some(3), Some(10)));
    assert_eq!(new(&["--to-current"]), (Some(3), Some(3)));
    assert_eq!(new(&["--shift-by", "-2"]), (Some(3), Some(1)));
    assert_eq!(new(&["--shift-by", "100"]), (Some(3), Some(10)));
    assert_eq!(new(&["--to-time", "@5000"]), (Some(3), Some(4)));
    assert_eq!(
        new(&["--to-time", "1970-01-01T00:00:04.5Z"]),
        (Some(3), Some(4))
    );
    assert_eq!(new(&["--by-duration", "1h"]), (Some(3), Some(10)));
    let one = format!("{topic}:1");
    let arguments = [
        "group",
        "reset",
        &group,
        "--topic",
        &one,
        "--to-latest",
        "--execute",
    ];
    let (table, note) = told(&klamm(&broker, &arguments));
    assert!(table.contains("CURRENT") && table.contains("+7"), "{table}");
    assert!(note.contains("moved 1 partition"), "{note}");
    let described = &json(&broker, &["group", "describe", &group])[0];
    assert_eq!(row(described, &topic, 0)["committed"], 3);
    assert_eq!(row(described, &topic, 1)["committed"], 10);
    assert_eq!(row(described, &topic, 1)["lag"], 0);
    let (_, note) = told(&klamm(&broker, &arguments[..6]));
    assert!(note.contains("--execute"), "{note}");
}

#[test]
fn a_reset_of_a_group_with_members_names_them() {
    let broker = Broker::start_with(options());
    let (topic, group) = (topic(&broker), unique("busy"));
    let member = Member::join(&broker, &group, &[partition(&topic, 0)]);
    let arguments = [
        "group",
        "reset",
        &group,
        "--topic",
        &topic,
        "--to-earliest",
        "--execute",
    ];
    let text = refused(&broker, &arguments);
    assert!(
        text.contains("has 1 member") && text.contains(&member.id) && text.contains("127.0.0.1"),
        "{text}"
    );
    let text = refused(&broker, &["group", "delete", &group]);
    assert!(text.contains("klamm group members"), "{text}");
    member.leave();
    assert_eq!(json(&broker, &arguments)["executed"], true);
}

#[test]
fn what_a_reset_cannot_do_says_what_to_do_instead() {
    let broker = Broker::start_with(options());
    let (topic, group) = (topic(&broker), unique("wrong"));
    let reset = ["group", "reset", group.as_str()];
    let text = refused(
        &broker,
        &[&reset[..], &["--all-topics", "--to-latest"]].concat(),
    );
    assert!(text.contains("--topic"), "{text}");
    let text = refused(
        &broker,
        &[&reset[..], &["--topic", &topic, "--shift-by", "1"]].concat(),
    );
    assert!(text.contains("--to-earliest"), "{text}");
    let last = format!("{topic}:7");
    let text = refused(
        &broker,
        &[&reset[..], &["--topic", &last, "--to-latest"]].concat(),
    );
    assert!(text.contains("from 0 to 1, found 7"), "{text}");
    let text = refused(
        &broker,
        &[&reset[..], &["--topic", "no-such", "--to-latest"]].concat(),
    );
    assert!(text.contains("klamm topic list"), "{text}");
    for wrong in [
        &["--topic", &topic][..],
        &["--to-latest"],
        &["--topic", &topic, "--to-latest", "--to-earliest"],
        &["--topic", &topic, "--to-offset", "-1"],
        &["--topic", &topic, "--to-time", "yesterday"],
        &["--topic", &topic, "--by-duration", "5"],
    ] {
        let output = klamm(&broker, &[&reset[..], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn groups_and_single_offsets_are_deleted() {
    let broker = Broker::start_with(options());
    let (topic, group) = (topic(&broker), unique("gone"));
    let both = [(partition(&topic, 0), 1), (partition(&topic, 1), 2)];
    commit(&broker, &group, &both);
    let one = format!("{topic}:0");
    let done = json(&broker, &["group", "delete", &group, "--topic", &one]);
    assert_eq!(done[0]["partition"], 0, "{done}");
    let described = &json(&broker, &["group", "describe", &group])[0];
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(1));
    let text = refused(&broker, &["group", "delete", &group, "--topic", &one]);
    assert!(text.contains("klamm group describe"), "{text}");
    assert_eq!(
        json(&broker, &["group", "delete", &group])[0]["deleted"],
        true
    );
    let text = refused(&broker, &["group", "delete", &group]);
    assert!(text.contains("klamm group list"), "{text}");
    json(&broker, &["group", "delete", &group, "--if-exists"]);
}

/// Where a group is, added up over its partitions.
fn committed(broker: &Broker, group: &str) -> i64 {
    let kept = connect(broker).list_group_offsets(group, None);
    let kept = kept.expect("an answer").into_values();
    kept.map(|kept| kept.offset.0).sum()
}

#[test]
fn consume_as_a_member_prints_each_record_once_and_commits_what_it_printed() {
    let broker = Broker::start_with(options());
    let (first, second, group) = (topic(&broker), topic(&broker), unique("printed"));
    let consume = |more: &[&str]| {
        let arguments = [
            "consume",
            &first,
            &second,
            "--group",
            &group,
            "-f",
            "%t/%p/%o\\n",
        ];
        told(&klamm(&broker, &[&arguments, more].concat()))
    };
    let (out, err) = consume(&[]);
    let lines: BTreeSet<&str> = out.lines().collect();
    assert_eq!((out.lines().count(), lines.len()), (40, 40), "{out}");
    let assigned = err
        .lines()
        .filter(|line| line.starts_with("assigned "))
        .count();
    assert!(assigned > 0 && err.ends_with("40 records\n"), "{err}");
    assert_eq!(committed(&broker, &group), 40);
    let described = &json(&broker, &["group", "describe", &group])[0];
    assert_eq!(described["state"], "Empty", "it left: {described}");

    let reset = [
        "group",
        "reset",
        &group,
        "--all-topics",
        "--shift-by",
        "-5",
        "--execute",
    ];
    json(&broker, &reset);
    let (out, _) = consume(&["-n", "3", "--quiet"]);
    assert_eq!(out.lines().count(), 3, "{out}");
    assert_eq!(committed(&broker, &group), 23, "no more than was printed");
    let (out, _) = consume(&["--quiet"]);
    assert_eq!(out.lines().count(), 17, "{out}");

    let text = refused(
        &broker,
        &["consume", &first, "--group", &group, "--from", "5"],
    );
    assert!(text.contains("klamm group reset"), "{text}");
    let text = refused(&broker, &["consume", "no-such", "--group", &group]);
    assert!(text.contains("klamm topic list"), "{text}");
    for wrong in [&["--partition", "0"], &["--to", "end"]] {
        let arguments = [&["consume", &first, "--group", &group], &wrong[..]].concat();
        assert_eq!(
            klamm(&broker, &arguments).status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
}

#[test]
fn consume_that_follows_leaves_its_group_at_control_c() {
    let broker = Broker::start_with(options());
    let (topic, group) = (topic(&broker), unique("follows"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["consume", &topic, "--group", &group, "--follow"])
        .env("KLAMM_BOOTSTRAP", broker.address().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let log = Log::default();
    log.follow(child.stdout.take().expect("piped"));
    wait_for("twenty records", || {
        (log.text().lines().count() == 20).then_some(())
    });
    let id = child.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill -s INT \"$0\"", &id])
        .status();
    assert!(sent.expect("a shell").success());
    let output = child.wait_with_output().expect("our child");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert!(err.contains("20 records"), "{err}");
    let described = &json(&broker, &["group", "describe", &group])[0];
    assert_eq!(described["state"], "Empty", "{described}");
    assert_eq!(committed(&broker, &group), 20);
}
