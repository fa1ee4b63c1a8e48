//! The admin clients that people have, each call once against klamm and against Apache Kafka: what
//! a user is given is compared field by field. The scripts print a line of JSON for each call.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::expected::PAGE;
use crate::harness::{self, Broker, Options};
use crate::install::{self, Installed};
use crate::kafka::Kafka;

/// How long a client may take for all its calls on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// A client of somebody else's.
struct Client {
    name: &'static str,
    install: fn() -> Installed,
    command: fn(&Path) -> Command,
}

const CLIENTS: &[Client] = &[
    Client {
        name: "confluent-kafka (librdkafka)",
        install: install::python,
        command: |python| script(python, "confluent.py"),
    },
    Client {
        name: "kafka-python",
        install: install::python,
        command: |python| script(python, "pure.py"),
    },
    Client {
        name: "KafkaJS",
        install: install::kafkajs,
        command: |packages| {
            let mut command = Command::new("node");
            command.arg(sources().join("kafkajs/admin.js"));
            command.current_dir(packages);
            command
        },
    },
    Client {
        name: "franz-go",
        install: install::go_admins,
        command: |program| go(program, "franz-go"),
    },
    Client {
        name: "Sarama",
        install: install::go_admins,
        command: |program| go(program, "sarama"),
    },
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/admins")
}

fn script(python: &Path, file: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(sources().join("python").join(file));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn go(program: &Path, client: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(client);
    command
}

/// A row of the page that an answer shows: its first column, the calls in which it shows (words of
/// their names, in small letters; none is all), and fields on the way to what differs.
struct Row {
    subject: &'static str,
    calls: &'static [&'static str],
    fields: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        subject: "Keys, versions and features that ApiVersions names",
        calls: &["acl", "scram", "transactions", "token", "describe_features"],
        fields: &[],
    },
    Row {
        subject: "`min.insync.replicas` of all brokers",
        calls: &[],
        fields: &["min.insync.replicas"],
    },
    Row {
        subject: "Source of a topic's value that the file gives in hours or minutes (`log.retention.hours`)",
        calls: &["config"],
        fields: &["log.retention.hours"],
    },
    Row {
        subject: "Sentences beside error codes (`error_message`)",
        calls: &["create_partitions"],
        fields: &["text"],
    },
    Row {
        subject: "Endpoints of the quorum's voters (DescribeQuorum)",
        calls: &["quorum"],
        fields: &["listeners"],
    },
    Row {
        subject: "A group of which nothing is left (OffsetDelete)",
        calls: &["deleteconsumergroup"],
        fields: &[],
    },
];

/// Fields whose values are the time, the machine or each broker's own (how large a partition is
/// depends on how a client happened to batch); only that they are there is compared.
const OWN: &[&str] = &[
    "cluster_id",
    "clusterId",
    "usable_bytes",
    "total_bytes",
    "UsableBytes",
    "TotalBytes",
    "last_caught_up_timestamp",
    "last_fetch_timestamp",
    "log_end_offset",
    "high_watermark",
    "replica_directory_id",
    "partition_size",
];

/// Fields that name an element of a list.
const NAMES: &[&str] = &["name", "Name", "Key", "configName", "ConfigName"];

/// A broker as its answers tell of it.
struct Side {
    address: SocketAddr,
    folder: String,
}

impl Side {
    /// What is left of a value for comparison: no ports, folders and ids, and no order of lists,
    /// because Apache Kafka answers in the order of hash tables.
    fn neutral(&self, value: Value) -> Value {
        match value {
            Value::Number(number) if number.as_u64() == Some(u64::from(self.address.port())) => {
                json!("own port")
            }
            Value::String(text) => json!(self.neutral_text(&text)),
            Value::Array(values) => {
                let values = values
                    .into_iter()
                    .map(|value| self.neutral(value))
                    .collect();
                unordered(values)
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().filter(|(name, _)| !is_own_key(name));
                let turned = fields.map(|(name, value)| {
                    let value = match OWN.contains(&name.as_str()) {
                        true => json!("own"),
                        false => self.neutral(value),
                    };
                    (self.neutral_text(&name), value)
                });
                Value::Object(turned.collect::<Map<_, _>>())
            }
            other => other,
        }
    }

    fn neutral_text(&self, text: &str) -> String {
        if is_uuid(text) {
            return "an id".to_owned();
        }
        let text = text.replace(&self.address.to_string(), "own address");
        text.replace(&self.folder, "own folder")
    }

    /// What a client printed, by call in order.
    fn calls(&self, printed: &[u8]) -> Vec<(String, Value)> {
        let text = String::from_utf8_lossy(printed);
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| {
                panic!("a line of JSON, not {line:?}: {error}");
            });
            let call = line["call"].as_str().expect("a call").to_owned();
            (call, self.neutral(line["answer"].clone()))
        });
        lines.collect()
    }
}

/// A list without its order: by the names of its elements where each has one, else sorted.
fn unordered(mut values: Vec<Value>) -> Value {
    let name_of = |value: &Value| {
        let names = NAMES.iter().filter_map(|name| value.get(*name)?.as_str());
        names.map(str::to_owned).next()
    };
    let names: BTreeSet<_> = values.iter().filter_map(name_of).collect();
    if !values.is_empty() && names.len() == values.len() {
        let named = values.into_iter().map(|value| {
            let name = name_of(&value).expect("every element has a name");
            (name, value)
        });
        let others = named.filter(|(name, _)| !is_own_key(name));
        return Value::Object(others.collect());
    }
    values.sort_by_cached_key(Value::to_string);
    Value::Array(values)
}

/// True for a key of klamm's own: the page names them all.
fn is_own_key(name: &str) -> bool {
    name.starts_with("klamm.")
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    let is_hex = |byte: u8| byte == b'-' || byte.is_ascii_hexdigit();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(is_hex)
}

/// Every path at which two trees differ, with both values.
fn differences(path: Vec<String>, kafka: &Value, klamm: &Value, found: &mut Vec<Different>) {
    let below = |name: &str| {
        let mut path = path.clone();
        path.push(name.to_owned());
        path
    };
    match (kafka, klamm) {
        _ if kafka == klamm => {}
        (Value::Object(theirs), Value::Object(ours)) => {
            let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
            for name in names {
                let of = |fields: &Map<String, Value>| fields.get(name).cloned();
                let (kafka, klamm) = (of(theirs), of(ours));
                let absent = || json!("absent");
                let (kafka, klamm) = (kafka.unwrap_or_else(absent), klamm.unwrap_or_else(absent));
                differences(below(name), &kafka, &klamm, found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (place, (kafka, klamm)) in theirs.iter().zip(ours).enumerate() {
                differences(below(&place.to_string()), kafka, klamm, found);
            }
        }
        _ => found.push(Different {
            path,
            kafka: kafka.clone(),
            klamm: klamm.clone(),
        }),
    }
}

/// One thing in which two answers differ.
struct Different {
    /// The call, then fields down to it.
    path: Vec<String>,
    kafka: Value,
    klamm: Value,
}

impl Different {
    fn row(&self) -> Option<&'static Row> {
        let call = self.path[0].to_lowercase();
        ROWS.iter().find(|row| {
            let is_call = row.calls.is_empty() || row.calls.iter().any(|word| call.contains(word));
            let names = |field: &&str| {
                let is_there = |value: &Value| value.to_string().contains(field);
                self.path.iter().any(|name| name == field) || is_there(&self.kafka)
            };
            is_call && (row.fields.is_empty() || row.fields.iter().any(names))
        })
    }
}

#[test]
fn admin_clients_are_given_what_apache_kafka_gives_them() {
    let test = "admin_clients_are_given_what_apache_kafka_gives_them";
    let kafka = match Kafka::start(crate::SETTINGS) {
        Ok(kafka) => kafka,
        Err(why) => return harness::skipped(test, &why),
    };
    let settings = crate::SETTINGS.iter();
    let options = settings.fold(Options::new(), |options, (key, value)| {
        options.set(key, value)
    });
    let Some(broker) = Broker::own("the admin clients", options) else {
        return;
    };
    let kafka_side = Side {
        address: kafka.address,
        folder: kafka.data().display().to_string(),
    };
    let klamm_side = Side {
        address: broker.address(),
        folder: broker.folder().display().to_string(),
    };
    let mut shown = BTreeSet::new();
    let mut left_out = 0;
    let mut report = String::new();
    for client in CLIENTS {
        let installed = match (client.install)() {
            Ok(installed) => installed,
            Err(why) => {
                harness::skipped(&format!("{test}, {}", client.name), &why);
                left_out += 1;
                continue;
            }
        };
        let ask = |side: &Side| {
            let mut command = (client.command)(&installed);
            command.arg(side.address.to_string());
            let output = install::run(&mut command, None, LIMIT);
            let output = output.unwrap_or_else(|why| panic!("{}: {why}", client.name));
            side.calls(&output.stdout)
        };
        let (theirs, ours) = (ask(&kafka_side), ask(&klamm_side));
        assert!(theirs.len() > 30, "{} made all its calls", client.name);
        let names = |calls: &[(String, Value)]| {
            let names = calls.iter().map(|(call, _)| call.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(&theirs), names(&ours), "{}: same calls", client.name);
        for ((call, kafka), (_, klamm)) in theirs.iter().zip(&ours) {
            let mut found = Vec::new();
            differences(vec![call.clone()], kafka, klamm, &mut found);
            for different in found {
                match different.row() {
                    Some(row) => drop(shown.insert(row.subject)),
                    None => report.push_str(&format!(
                        "\n{}, {}\n    Apache Kafka: {}\n    klamm:        {}\n",
                        client.name,
                        different.path.join(" > "),
                        different.kafka,
                        different.klamm
                    )),
                }
            }
        }
    }
    assert!(
        report.is_empty(),
        "{PAGE} does not tell of these:\n{report}"
    );
    let unseen = ROWS.iter().filter(|row| !shown.contains(row.subject));
    let unseen: Vec<_> = unseen.map(|row| row.subject).collect();
    assert!(
        left_out > 0 || unseen.is_empty(),
        "no answer shows any more: {unseen:?}"
    );
}

#[test]
fn rows_expected_of_admin_clients_stand_on_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(path).expect("the page");
    for row in ROWS {
        let cell = format!("| {} |", row.subject);
        assert!(page.contains(&cell), "{PAGE} has no row {:?}", row.subject);
    }
}
