//! The foreign clients: how each is called to write lines `key TAB value` from its standard input
//! into a topic, and to write a topic's records to its standard output.

use std::path::Path;
use std::process::Command;

use crate::install::{self, Installed};

/// A client of somebody else's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign {
    pub(crate) name: &'static str,
    /// Codecs that it writes, by Kafka's names.
    pub(crate) codecs: &'static [&'static str],
    /// False where it reads in groups only.
    pub(crate) reads: bool,
    pub(crate) install: fn() -> Installed,
    write: fn(&Path, &str, &str, &str) -> Command,
    read: fn(&Path, &str, &str) -> Command,
}

const ALL_CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

/// Every client, in the order in which they read each other's records.
pub(crate) const CLIENTS: &[Foreign] = &[
    Foreign {
        name: "kcat",
        codecs: ALL_CODECS,
        reads: true,
        install: install::kcat,
        write: |kcat, broker, topic, codec| {
            let mut command = Command::new(kcat);
            command.args([
                "-P", "-b", broker, "-t", topic, "-z", codec, "-K", "\t", "-Z",
            ]);
            command.args(["-X", "enable.idempotence=true"]);
            command
        },
        read: |kcat, broker, topic| {
            let mut command = Command::new(kcat);
            command.args([
                "-C",
                "-b",
                broker,
                "-t",
                topic,
                "-o",
                "beginning",
                "-e",
                "-q",
            ]);
            command.args(["-f", "%k\t%s\n"]);
            command
        },
    },
    Foreign {
        name: "confluent-kafka",
        codecs: ALL_CODECS,
        reads: true,
        install: install::python,
        write: |python, broker, topic, codec| {
            script(python, "confluent.py", broker, topic, Some(codec))
        },
        read: |python, broker, topic| script(python, "confluent.py", broker, topic, None),
    },
    Foreign {
        name: "kafka-python",
        codecs: ALL_CODECS,
        reads: true,
        install: install::python,
        write: |python, broker, topic, codec| script(python, "pure.py", broker, topic, Some(codec)),
        read: |python, broker, topic| script(python, "pure.py", broker, topic, None),
    },
    Foreign {
        name: "aiokafka",
        codecs: ALL_CODECS,
        reads: true,
        install: install::python,
        write: |python, broker, topic, codec| script(python, "aio.py", broker, topic, Some(codec)),
        read: |python, broker, topic| script(python, "aio.py", broker, topic, None),
    },
    Foreign {
        name: "KafkaJS",
        // lz4 and zstd need packages with native parts that build no more.
        codecs: &["none", "gzip", "snappy"],
        reads: false,
        install: install::kafkajs,
        write: |folder, broker, topic, codec| {
            let mut command = Command::new("node");
            command.arg(install::sources().join("kafkajs/flights.js"));
            command
                .args(["produce", broker, topic, codec])
                .current_dir(folder);
            command
        },
        read: |_, _, _| unreachable!("it reads in groups only"),
    },
    Foreign {
        name: "rust-rdkafka",
        codecs: ALL_CODECS,
        reads: true,
        install: install::rdkafka,
        write: program_writes,
        read: program_reads,
    },
    Foreign {
        name: "Apache Kafka's",
        codecs: ALL_CODECS,
        reads: true,
        install: install::java,
        write: |jars, broker, topic, codec| {
            let mut command = java(jars);
            command.arg(install::sources().join("java/Flights.java"));
            command.args(["produce", broker, topic, codec]);
            command
        },
        read: |jars, broker, topic| {
            let mut command = java(jars);
            command.arg(install::sources().join("java/Flights.java"));
            command.args(["consume", broker, topic]);
            command
        },
    },
    Foreign {
        name: "franz-go",
        codecs: ALL_CODECS,
        reads: true,
        install: install::franz_go,
        write: program_writes,
        read: program_reads,
    },
];

/// A JVM with Apache Kafka's jars.
pub(crate) fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args([
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
        ])
        .arg(jars);
    command
}

fn script(python: &Path, file: &str, broker: &str, topic: &str, codec: Option<&str>) -> Command {
    let mut command = Command::new(python);
    command.arg(install::sources().join("python").join(file));
    match codec {
        Some(codec) => command.args(["produce", broker, topic, codec]),
        None => command.args(["consume", broker, topic]),
    };
    command
}

fn program_writes(program: &Path, broker: &str, topic: &str, codec: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["produce", broker, topic, codec]);
    command
}

fn program_reads(program: &Path, broker: &str, topic: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["consume", broker, topic]);
    command
}

impl Foreign {
    pub(crate) fn writer(
        &self,
        installed: &Path,
        broker: &str,
        topic: &str,
        codec: &str,
    ) -> Command {
        (self.write)(installed, broker, topic, codec)
    }

    pub(crate) fn reader(&self, installed: &Path, broker: &str, topic: &str) -> Command {
        (self.read)(installed, broker, topic)
    }
}
