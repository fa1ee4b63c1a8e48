//! Groups of other people's clients, by the classic protocol: each reads every record of a topic
//! through a group, and goes on where it was when it comes again.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::clients::java;
use crate::flights::one_line;
use crate::harness::{Broker, Client, RawBatch, Record, Topic, skipped};
use crate::install::{self, Installed, run};

const LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 4;
const ROUND: usize = 400;

/// Calls a client that reads this many records of a topic through a group.
type Subscribe = fn(&Path, &str, &str, &str, usize) -> Command;

/// Writes records of keys from `first` on, and gives them as lines.
fn fill(client: &mut Client, topic: &Topic, first: usize) -> BTreeSet<String> {
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
fn check(test: &str, installed: Installed, subscribe: Subscribe) {
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

fn script(python: &Path, file: &str, arguments: [&str; 3], count: usize) -> Command {
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
