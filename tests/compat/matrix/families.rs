//! The families of clients that members are made of: how each is started, and what it can do.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::install::{self, Installed};

/// By which protocol a member joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Classic,
    Consumer,
}

/// What is asked of one member.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) name: &'a str,
    pub(crate) broker: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) protocol: Protocol,
    /// By Kafka's names; the classic protocol alone has any.
    pub(crate) assignor: &'a str,
    /// Static name.
    pub(crate) instance: Option<&'a str>,
    pub(crate) session_ms: u32,
}

/// A client in one of its protocols.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    /// It can have a static name.
    pub(crate) has_static_names: bool,
    pub(crate) install: fn() -> Installed,
    program: fn(&Path) -> Command,
}

impl Family {
    /// The command of a member, from what was installed.
    pub(crate) fn member(&self, installed: &Path, ask: &Ask<'_>) -> Command {
        let mut command = (self.program)(installed);
        let asked = json!({
            "client": self.name,
            "name": ask.name,
            "broker": ask.broker,
            "topic": ask.topic,
            "group": ask.group,
            "protocol": match ask.protocol {
                Protocol::Classic => "classic",
                Protocol::Consumer => "consumer",
            },
            "assignor": ask.assignor,
            "instance": ask.instance,
            "session_ms": ask.session_ms,
            "heartbeat_ms": ask.session_ms / 6,
            "poll_ms": 10 * ask.session_ms,
        });
        command.arg(asked.to_string());
        command
    }
}

fn sources() -> PathBuf {
    install::sources().join("members")
}

fn script(python: &Path, file: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(sources().join("python").join(file));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

pub(crate) const JAVA: Family = Family {
    name: "java",
    protocol: Protocol::Classic,
    has_static_names: true,
    install: install::java_member,
    program: |classes| {
        let mut command = Command::new("java");
        // Many of them share few cores: a small heap, and the compiler that is ready soon.
        command.args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command
            .args(["-Xshare:auto", "-cp"])
            .arg(classes)
            .arg("Member");
        command
    },
};

pub(crate) const JAVA_CONSUMER: Family = Family {
    protocol: Protocol::Consumer,
    ..JAVA
};

/// In Python.
pub(crate) const LIBRDKAFKA: Family = Family {
    name: "librdkafka",
    protocol: Protocol::Classic,
    has_static_names: true,
    install: install::python,
    program: |python| script(python, "confluent.py"),
};

pub(crate) const LIBRDKAFKA_CONSUMER: Family = Family {
    protocol: Protocol::Consumer,
    ..LIBRDKAFKA
};

pub(crate) const FRANZ_GO: Family = Family {
    name: "franz-go",
    protocol: Protocol::Classic,
    has_static_names: true,
    install: install::go_members,
    program: |program| Command::new(program),
};

pub(crate) const FRANZ_GO_CONSUMER: Family = Family {
    protocol: Protocol::Consumer,
    // A static member of 1.22.2 does not name its instance when it leaves, so that Apache Kafka
    // refuses its leaving as well and keeps its place until its session ends.
    has_static_names: false,
    ..FRANZ_GO
};

pub(crate) const SARAMA: Family = Family {
    name: "sarama",
    ..FRANZ_GO
};

pub(crate) const KAFKA_PYTHON: Family = Family {
    name: "kafka-python",
    protocol: Protocol::Classic,
    has_static_names: true,
    install: install::python,
    program: |python| script(python, "pure.py"),
};

pub(crate) const AIOKAFKA: Family = Family {
    name: "aiokafka",
    protocol: Protocol::Classic,
    has_static_names: true,
    install: install::python,
    program: |python| script(python, "aio.py"),
};

pub(crate) const KAFKAJS: Family = Family {
    name: "kafkajs",
    protocol: Protocol::Classic,
    has_static_names: false,
    install: install::kafkajs,
    program: |packages| {
        let mut command = Command::new("node");
        command.arg(sources().join("kafkajs/member.js"));
        command.current_dir(packages);
        command
    },
};
