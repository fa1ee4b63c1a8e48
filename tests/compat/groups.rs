//! Groups of other people's clients, by the classic protocol: each reads every record of a topic
//! through a group, and goes on where it was when it comes again.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use klamm_client::blocking::BlockingGroupConsumer;
use klamm_client::fetcher::Event;
use klamm_client::group::{GroupEvent, GroupOptions, GroupReset};
use klamm_client::hub::HubOptions;
use klamm_model::TopicName;

use crate::clients::java;
use crate::flights::one_line;
use crate::harness::{Broker, Client, RawBatch, Record, Topic, skipped};
use crate::install::{self, Installed, run};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 4;
const ROUND: usize = 400;

/// Calls a client that reads this many records of a topic through a group.
pub(crate) type Subscribe = fn(&Path, &str, &str, &str, usize) -> Command;

/// Writes records of keys from `first` on, and gives them as lines.
pub(crate) fn fill(client: &mut Client, topic: &Topic, first: usize) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for part in 0..PARTITIONS {
        let numbers = (first..first + ROUND).filter(|number| number % 4 == part as usize);
        let records: Vec<Record> = numbers
            .map(|number| {
                lines.insert(format!("{number}\tvalue {number}"));
                Record::new(number.to_string(), format!("value {number}"))
            })
            .collect();
        let batch = RawBatch::of(&records).encode();
        assert_eq!(client.produce(topic, part, &batch).error_code, 0);
    }
    lines
}

/// Twice: as many records are written, and all of them, no other, are read through the group.
pub(crate) fn check(test: &str, installed: Installed, subscribe: Subscribe) {
    let installed = match installed {
        Ok(installed) => installed,
        Err(missing) => return skipped(test, &one_line(&missing)),
    };
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("grouped", PARTITIONS);
    let (server, group) = (broker.address().to_string(), format!("of-{}", topic.name));
    for first in [0, ROUND] {
        let written = fill(&mut client, &topic, first);
        let mut command = subscribe(&installed, &server, &topic.name, &group, ROUND);
        let output = run(&mut command, None, LIMIT).unwrap_or_else(|reason| panic!("{reason}"));
        let text = String::from_utf8(output.stdout).expect("what was written");
        let read: Vec<&str> = text.lines().collect();
        assert_eq!(read.len(), ROUND, "each once");
        let read: BTreeSet<String> = read.into_iter().map(str::to_owned).collect();
        assert_eq!(read, written);
    }
}

pub(crate) fn script(python: &Path, file: &str, arguments: [&str; 3], count: usize) -> Command {
    let mut command = Command::new(python);
    command.arg(install::sources().join("python").join(file));
    command.arg("subscribe").args(arguments);
    command.arg(count.to_string());
    command
}

#[test]
fn kcat_reads_through_a_group() {
    let test = "kcat_reads_through_a_group";
    check(
        test,
        install::kcat(),
        |kcat, server, topic, group, count| {
            let mut command = Command::new(kcat);
            command.args(["-b", server, "-G", group, "-q", "-f", "%k\\t%s\\n"]);
            command.args(["-X", "auto.offset.reset=earliest", "-c", &count.to_string()]);
            command.arg(topic);
            command
        },
    );
}

#[test]
fn console_consumer_reads_through_a_group_of_the_classic_protocol() {
    let test = "console_consumer_reads_through_a_group_of_the_classic_protocol";
    check(
        test,
        install::java(),
        |jars, server, topic, group, count| {
            let mut command = java(jars);
            command.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
            command.args(["--bootstrap-server", server, "--topic", topic]);
            command.args(["--group", group, "--from-beginning"]);
            command.args(["--max-messages", &count.to_string()]);
            command.args(["--formatter-property", "print.key=true"]);
            command.args(["--command-property", "group.protocol=classic"]);
            command
        },
    );
}

#[test]
fn confluent_kafka_reads_through_a_group() {
    let test = "confluent_kafka_reads_through_a_group";
    check(
        test,
        install::python(),
        |python, server, topic, group, count| {
            script(python, "confluent.py", [server, topic, group], count)
        },
    );
}

#[test]
fn kafka_python_reads_through_a_group() {
    let test = "kafka_python_reads_through_a_group";
    check(
        test,
        install::python(),
        |python, server, topic, group, count| {
            script(python, "pure.py", [server, topic, group], count)
        },
    );
}

#[test]
fn aiokafka_reads_through_a_group() {
    let test = "aiokafka_reads_through_a_group";
    check(
        test,
        install::python(),
        |python, server, topic, group, count| {
            script(python, "aio.py", [server, topic, group], count)
        },
    );
}

/// Java's console consumer as a member of a group that shares by cooperative-sticky.
struct JavaMember(Child);

impl JavaMember {
    fn start(jars: &Path, server: &str, topic: &str, group: &str) -> Self {
        let mut command = java(jars);
        command.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command.args(["--bootstrap-server", server, "--topic", topic]);
        command.args(["--group", group, "--from-beginning"]);
        command.args(["--command-property", "group.protocol=classic"]);
        let sticky = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
        let assignor = format!("partition.assignment.strategy={sticky}");
        command.args(["--command-property", &assignor]);
        command.args(["--command-property", "heartbeat.interval.ms=200"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        Self(command.spawn().expect("java"))
    }

    /// Ends it in order, so that it leaves.
    fn leave(mut self) {
        let id = self.0.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s TERM \"$0\"", &id])
            .status();
        assert!(sent.expect("a shell").success());
        self.0.wait().expect("our child");
    }
}

impl Drop for JavaMember {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets our member look until it holds so many partitions and no round goes on.
fn until_it_holds(count: usize, member: &mut BlockingGroupConsumer) {
    let deadline = Instant::now() + LIMIT;
    while member.assignment().len() != count || !member.is_stable() {
        for event in member.poll(Duration::from_millis(50), 100) {
            match event {
                GroupEvent::Lost { reason, .. } => panic!("{reason}"),
                GroupEvent::Ended(error) => panic!("{error}"),
                _ => {}
            }
        }
        let held = member.assignment();
        assert!(
            Instant::now() < deadline,
            "{count} partitions, not {held:?}"
        );
    }
}

#[test]
fn our_members_and_javas_share_a_group_whoever_divides_the_work() {
    let test = "our_members_and_javas_share_a_group_whoever_divides_the_work";
    let jars = match install::java() {
        Ok(jars) => jars,
        Err(missing) => return skipped(test, &one_line(&missing)),
    };
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("mixed", PARTITIONS);
    let (server, group) = (broker.address().to_string(), format!("of-{}", topic.name));
    let options = GroupOptions {
        offset_reset: GroupReset::Earliest,
        heartbeat_interval: Duration::from_millis(200),
        ..GroupOptions::new(&group)
    };
    let topics = [TopicName::new(&topic.name).expect("legal")];
    let member = BlockingGroupConsumer::new(&server, HubOptions::default(), options, topics);
    let mut member = member.expect("a thread");
    // Ours is there first, and divides.
    until_it_holds(4, &mut member);
    let javas = JavaMember::start(&jars, &server, &topic.name, &group);
    until_it_holds(2, &mut member);
    javas.leave();
    until_it_holds(4, &mut member);
    assert!(member.close(LIMIT), "it left");
    // Java's is there first, and divides.
    let options = GroupOptions {
        offset_reset: GroupReset::Earliest,
        heartbeat_interval: Duration::from_millis(200),
        ..GroupOptions::new(&group)
    };
    let javas = JavaMember::start(&jars, &server, &topic.name, &group);
    let mut admin = klamm_client::blocking::Client::connect(&server, Default::default());
    let admin = admin.as_mut().expect("the broker listens");
    let deadline = Instant::now() + LIMIT;
    loop {
        let described = admin.describe_groups(&[&group]).expect("an answer");
        let stable = |it: &klamm_client::admin::DescribedGroup| {
            it.state == "Stable" && it.members.len() == 1 && it.members[0].assignment.len() == 4
        };
        if described[0].as_ref().is_ok_and(stable) {
            break;
        }
        assert!(Instant::now() < deadline, "{described:?}");
    }
    let topics = [TopicName::new(&topic.name).expect("legal")];
    let member = BlockingGroupConsumer::new(&server, HubOptions::default(), options, topics);
    let mut member = member.expect("a thread");
    until_it_holds(2, &mut member);
    fill(&mut client, &topic, 0);
    let mut read = 0;
    let deadline = Instant::now() + LIMIT;
    while read < ROUND / 2 {
        for event in member.poll(Duration::from_millis(50), 100) {
            if let GroupEvent::Read(Event::Record(..)) = event {
                read += 1;
            }
        }
        assert!(Instant::now() < deadline, "{read} records");
    }
    assert_eq!(read, ROUND / 2, "the other half is Java's");
    javas.leave();
    until_it_holds(4, &mut member);
    assert!(member.close(LIMIT));
}
