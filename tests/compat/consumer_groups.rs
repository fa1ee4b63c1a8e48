//! Groups of other people's clients by the consumer protocol (KIP-848): each reads every record of a
//! topic, members come, die and go while the broker is killed, and Apache Kafka's tools see it all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::clients::java;
use crate::flights::one_line;
use crate::groups::{LIMIT, check, fill, script};
use crate::harness::{Broker, Options, skipped, wait_for};
use crate::install::{self, run};

const PARTITIONS: usize = 4;

#[test]
fn confluent_kafka_reads_through_a_group_of_the_consumer_protocol() {
    let test = "confluent_kafka_reads_through_a_group_of_the_consumer_protocol";
    check(
        test,
        install::python(),
        |python, server, topic, group, count| {
            let mut command = script(python, "confluent.py", [server, topic, group], count);
            command.arg("consumer");
            command
        },
    );
}

#[test]
fn console_consumer_reads_through_a_group_of_the_consumer_protocol() {
    let test = "console_consumer_reads_through_a_group_of_the_consumer_protocol";
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
            command.args(["--command-property", "group.protocol=consumer"]);
            command
        },
    );
}

/// A member as a process, and the lines that it wrote.
struct Member {
    process: Child,
    lines: PathBuf,
}

impl Member {
    fn start(python: &Path, folder: &Path, name: &str, arguments: [&str; 3]) -> Self {
        let lines = folder.join(name);
        let mut command = Command::new(python);
        command.arg(install::sources().join("python/members.py"));
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(File::create(&lines).expect("a file"));
        let process = command.spawn().expect("python");
        Self { process, lines }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.lines).expect("what it wrote")
    }

    /// How many partitions it holds.
    fn held(&self) -> usize {
        let text = self.text();
        let mut counts = text
            .lines()
            .filter_map(|line| line.strip_prefix("assigned "));
        counts
            .next_back()
            .map_or(0, |count| count.parse().unwrap_or(0))
    }

    fn read(&self) -> BTreeSet<String> {
        let text = self.text();
        let keys = text.lines().filter_map(|line| line.strip_prefix("read "));
        keys.map(str::to_owned).collect()
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("our own child");
    }

    /// It leaves the group and ends.
    fn stop(mut self) {
        drop(self.process.stdin.take());
        wait_for("the member's end", || {
            let ended = self.process.try_wait().expect("our own child");
            ended.map(|status| assert!(status.success(), "{status}"))
        });
        assert!(self.text().ends_with("left\n"), "{}", self.text());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address that stays the same when the broker starts again.
pub(crate) fn fixed_listener() -> String {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address");
    format!("PLAINTEXT://{address}")
}

fn keys_of(lines: &BTreeSet<String>) -> BTreeSet<String> {
    let keys = lines.iter().filter_map(|line| line.split('\t').next());
    keys.map(str::to_owned).collect()
}

#[test]
fn members_come_die_and_go_while_the_broker_is_killed_and_every_record_is_read() {
    let test = "members_come_die_and_go_while_the_broker_is_killed";
    let python = match install::python() {
        Ok(python) => python,
        Err(missing) => return skipped(test, &one_line(&missing)),
    };
    let options = Options::new()
        .set("listeners", fixed_listener())
        .set("group.consumer.session.timeout.ms", 3000)
        .set("group.consumer.min.session.timeout.ms", 1000)
        .set("group.consumer.heartbeat.interval.ms", 300)
        .set("group.consumer.min.heartbeat.interval.ms", 100);
    let Some(mut broker) = Broker::own(test, options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("lively", PARTITIONS as i32);
    let group = format!("of-{}", topic.name);
    let server = broker.address().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    // A pattern, so that the broker finds the topic.
    let pattern = format!("^{}.*", topic.name);
    let start = |name: &str| {
        let arguments = [server.as_str(), pattern.as_str(), group.as_str()];
        Member::start(&python, folder.path(), name, arguments)
    };
    let mut written = keys_of(&fill(&mut client, &topic, 0));
    let first = start("first");
    wait_for("the first member", || {
        (first.held() == PARTITIONS).then_some(())
    });
    let mut second = start("second");
    wait_for("half each", || {
        (first.held() == 2 && second.held() == 2).then_some(())
    });
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    written.extend(keys_of(&fill(&mut client, &topic, 1000)));
    wait_for("all records", || {
        let read: BTreeSet<String> = first.read().union(&second.read()).cloned().collect();
        (read == written).then_some(())
    });
    // One dies without a word: the other one takes over when its session has ended.
    second.kill();
    wait_for("the part of the dead one", || {
        (first.held() == PARTITIONS).then_some(())
    });
    written.extend(keys_of(&fill(&mut client, &topic, 2000)));
    wait_for("all records after it", || {
        let read: BTreeSet<String> = first.read().union(&second.read()).cloned().collect();
        (read == written).then_some(())
    });
    first.stop();
}

#[test]
fn kafkas_tools_describe_a_group_of_the_consumer_protocol() {
    let test = "kafkas_tools_describe_a_group_of_the_consumer_protocol";
    let (python, jars) = match (install::python(), install::java()) {
        (Ok(python), Ok(jars)) => (python, jars),
        (Err(missing), _) | (_, Err(missing)) => return skipped(test, &one_line(&missing)),
    };
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("described", PARTITIONS as i32);
    let group = format!("of-{}", topic.name);
    let server = broker.address().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [server.as_str(), topic.name.as_str(), group.as_str()];
    let member = Member::start(&python, folder.path(), "member", arguments);
    let written = keys_of(&fill(&mut client, &topic, 0));
    wait_for("all records", || (member.read() == written).then_some(()));
    let ask = |class: &str, more: &[&str]| {
        let mut command = java(&jars);
        command.arg(format!("org.apache.kafka.tools.consumer.group.{class}"));
        command.args(["--bootstrap-server", &server]).args(more);
        let output = run(&mut command, None, LIMIT).unwrap_or_else(|reason| panic!("{reason}"));
        String::from_utf8(output.stdout).expect("text")
    };
    let offsets = ask("ConsumerGroupCommand", &["--describe", "--group", &group]);
    let rows: Vec<&str> = offsets
        .lines()
        .filter(|line| line.contains(&topic.name))
        .collect();
    assert_eq!(rows.len(), PARTITIONS, "{offsets}");
    for row in rows {
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[3..6], ["100", "100", "0"], "{offsets}");
    }
    let state = ask(
        "ConsumerGroupCommand",
        &["--describe", "--state", "--group", &group],
    );
    assert!(
        state.contains("Stable") && state.contains("uniform"),
        "{state}"
    );
    let members = ask(
        "ConsumerGroupCommand",
        &["--describe", "--members", "--verbose", "--group", &group],
    );
    assert!(members.contains(&topic.name), "{members}");
    let mut command = java(&jars);
    command.arg("org.apache.kafka.tools.GroupsCommand");
    command.args(["--bootstrap-server", &server, "--list"]);
    let output = run(&mut command, None, LIMIT).unwrap_or_else(|reason| panic!("{reason}"));
    let listed = String::from_utf8(output.stdout).expect("text");
    let row = listed.lines().find(|line| line.contains(&group));
    assert!(row.is_some_and(|row| row.contains("Consumer")), "{listed}");
    member.stop();
}
