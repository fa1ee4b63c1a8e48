//! Runs `testdata/*.txt` against a controller. A file is a list of cases: command lines, `----`,
//! the expected answer, an empty line. `UPDATE_EXPECT=1 cargo test -p klamm-metadata` rewrites the
//! answers; read the difference before you keep it.

use std::fmt::Write as _;
use std::path::Path;

use klamm_model::{ClusterId, Instant, MetadataOffset, NodeId, TopicId, TopicName, WallTime};

use super::*;
use crate::delta::Delta;
use crate::quota::QuotaName;
use crate::record::ConfigResource;

struct Script {
    controller: Controller,
    position: i64,
    within: Option<i64>,
}

/// What the file of a broker says of groups, where it says nothing.
fn defaults() -> BrokerDefaults {
    let groups = [
        ("group.consumer.session.timeout.ms", "45000"),
        ("group.consumer.min.session.timeout.ms", "45000"),
        ("group.consumer.max.session.timeout.ms", "60000"),
        ("group.consumer.heartbeat.interval.ms", "5000"),
        ("group.consumer.min.heartbeat.interval.ms", "5000"),
        ("group.consumer.max.heartbeat.interval.ms", "15000"),
        ("group.streams.max.standby.replicas", "2"),
    ];
    BrokerDefaults {
        groups: groups
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..BrokerDefaults::default()
    }
}

impl Script {
    fn new() -> Self {
        Self {
            controller: Controller::resume(Image::default(), defaults()),
            position: 0,
            within: None,
        }
    }

    fn run(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a verb");
        let words: Vec<&str> = words.collect();
        match verb {
            // `within 3 create ...`: of a client with a quota of mutations.
            "within" => {
                let mutations = words[0].parse().expect("a number");
                self.within = Some(mutations);
                let answer = self.run(&words[1..].join(" "));
                self.within = None;
                answer
            }
            "quota" | "validate-quota" => self.decide(Command::AlterClientQuotas {
                changes: words.split(|word| *word == "/").map(quota_change).collect(),
                validate_only: verb == "validate-quota",
            }),
            "register" => self.decide(Command::Register(registration(&words))),
            "create" | "validate" => self.decide(Command::CreateTopics {
                topics: words.split(|word| *word == "/").map(new_topic).collect(),
                validate_only: verb == "validate",
            }),
            "auto-create" => self.decide(Command::AutoCreateTopic {
                name: unquote(words[0]),
            }),
            "delete" => {
                let topics = words.iter().map(|word| self.reference(word)).collect();
                self.decide(Command::DeleteTopics { topics })
            }
            "grow" | "validate-grow" => self.decide(Command::CreatePartitions {
                topics: words
                    .split(|word| *word == "/")
                    .map(more_partitions)
                    .collect(),
                validate_only: verb == "validate-grow",
            }),
            "configure" | "replace" | "validate-configure" => {
                let mode = match verb {
                    "replace" => ConfigMode::Replace,
                    _ => ConfigMode::Incremental,
                };
                let changes = words
                    .split(|word| *word == "/")
                    .map(config_change)
                    .collect();
                self.decide(Command::SetConfigs {
                    changes,
                    mode,
                    validate_only: verb == "validate-configure",
                })
            }
            "producer-ids" => self.decide(Command::AllocateProducerIds {
                count: words[0].parse().expect("a number"),
            }),
            "elect" => {
                let kind = match words[0] {
                    "preferred" => ElectionKind::Preferred,
                    "unclean" => ElectionKind::Unclean,
                    other => panic!("unknown election {other}"),
                };
                let partitions = (words[1] != "all")
                    .then(|| words[1..].iter().map(|word| partition(word)).collect());
                self.decide(Command::ElectLeaders { kind, partitions })
            }
            "reassign" => self.decide(Command::AlterReassignments {
                reassignments: words[1..].iter().map(|word| reassignment(word)).collect(),
                replication_factor_may_change: words[0] == "any",
            }),
            "features" | "validate-features" => self.decide(Command::UpdateFeatures {
                node: NodeId(1),
                updates: words.iter().map(|word| feature_update(word)).collect(),
                supported: vec![SupportedFeature {
                    name: "metadata.version".to_owned(),
                    min: 7,
                    max: 30,
                }],
                validate_only: verb == "validate-features",
            }),
            "now" => {
                self.put(&words);
                String::new()
            }
            "defaults" => {
                self.controller.defaults.partitions = words[0].parse().expect("a number");
                self.controller.defaults.replication_factor = words[1].parse().expect("a number");
                String::new()
            }
            "show" => show(self.controller.image()),
            other => panic!("unknown verb {other}"),
        }
    }

    fn reference(&self, word: &str) -> TopicReference {
        match word.strip_prefix("id-of:") {
            Some(name) => TopicReference::Id(
                self.controller
                    .image()
                    .topic(name)
                    .map_or(TopicId([9; 16]), |topic| topic.id()),
            ),
            None => TopicReference::Name(word.to_owned()),
        }
    }

    /// A partition is as another controller left it: `topic:index leader in-sync`.
    fn put(&mut self, words: &[&str]) {
        let (topic, index) = partition(words[0]);
        let topic = self
            .controller
            .image()
            .topic(&topic)
            .expect("there")
            .clone();
        let index = klamm_model::PartitionIndex(index);
        let before = topic.partition(index).expect("there");
        let id = klamm_model::TopicPartition {
            topic: topic.id(),
            index,
        };
        let record = crate::PartitionRecord {
            leader: words[1].parse().ok().map(NodeId),
            isr: numbers(words.get(2).copied().unwrap_or_default())
                .into_iter()
                .map(NodeId)
                .collect(),
            ..before.to_record(id)
        };
        self.position += 1;
        let records = [MetadataRecord::PartitionChanged(record)];
        let replayed = self
            .controller
            .replay_all(MetadataOffset(self.position), &records);
        replayed.expect("fits");
    }

    fn decide(&mut self, command: Command) -> String {
        self.position += 1;
        let moment = Moment {
            now: Instant(0),
            wall: WallTime(1000),
            seed: self.position as u128,
        };
        let before = self.controller.image().clone();
        let command = match self.within {
            None => command,
            Some(mutations) => Command::Within {
                mutations,
                command: Box::new(command),
            },
        };
        let decision = self.controller.decide(moment, command);
        self.controller
            .replay_all(MetadataOffset(self.position), &decision.records)
            .expect("own records fit");
        let mut out = answer(&decision.reply);
        let delta = Delta::between(&before, self.controller.image());
        if !delta.is_empty() {
            let names = |topics: &[std::sync::Arc<crate::Topic>]| -> Vec<String> {
                topics
                    .iter()
                    .map(|topic| topic.name().to_string())
                    .collect()
            };
            let changed = delta.topics_changed.iter();
            let changed: Vec<_> = changed
                .map(|topic| format!("{} config {}", topic.after.name(), topic.config_changed))
                .collect();
            writeln!(
                out,
                "delta +{:?} -{:?} ~{changed:?} brokers {:?} broker config {}{}",
                names(&delta.topics_created),
                names(&delta.topics_deleted),
                delta
                    .brokers_changed
                    .iter()
                    .map(|node| node.0)
                    .collect::<Vec<_>>(),
                delta.broker_config_changed,
                if delta.client_quotas_changed {
                    " quotas"
                } else {
                    ""
                },
            )
            .expect("a string");
            if !delta.groups_configured.is_empty() {
                writeln!(out, "configured {:?}", delta.groups_configured).expect("a string");
            }
        }
        let records = decision.records.len();
        writeln!(out, "records {records}").expect("a string");
        out
    }
}

/// `topic:index`.
fn partition(word: &str) -> (String, i32) {
    let (topic, index) = word.split_once(':').expect("topic:index");
    (topic.to_owned(), index.parse().expect("a number"))
}

fn numbers(list: &str) -> Vec<i32> {
    let numbers = list.split(',').filter(|text| !text.is_empty());
    numbers
        .map(|text| text.parse().expect("a number"))
        .collect()
}

/// `topic:index=1,2`, or `topic:index` to cancel.
fn reassignment(word: &str) -> Reassignment {
    let (place, replicas) = match word.split_once('=') {
        Some((place, replicas)) => (place, Some(numbers(replicas))),
        None => (word, None),
    };
    let (topic, partition) = partition(place);
    Reassignment {
        topic,
        partition,
        replicas,
    }
}

/// `name:up:level`, with `down`, `unsafe` or anything else in place of `up`.
fn feature_update(word: &str) -> FeatureUpdate {
    let words: Vec<&str> = word.split(':').collect();
    FeatureUpdate {
        name: words[0].to_owned(),
        upgrade: match words[1] {
            "up" => FeatureUpgrade::Upgrade,
            "down" => FeatureUpgrade::SafeDowngrade,
            "unsafe" => FeatureUpgrade::UnsafeDowngrade,
            _ => FeatureUpgrade::Unknown,
        },
        level: words[2].parse().expect("a number"),
    }
}

fn registration(words: &[&str]) -> Registration {
    let node = NodeId(words[0].parse().expect("a number"));
    let mut registration = Registration::new(node, ClusterId([7; 16]));
    for word in &words[1..] {
        match word.split_once('=').expect("key=value") {
            ("rack", rack) => registration.rack = Some(rack.to_owned()),
            ("life", number) => {
                registration.incarnation = [number.parse().expect("a number"); 16];
            }
            ("cluster", byte) => {
                registration.cluster = ClusterId([byte.parse().expect("a number"); 16]);
            }
            ("feature", text) => {
                let (name, range) = text.split_once(':').expect("name:min-max");
                let (min, max) = range.split_once('-').expect("min-max");
                registration.features.push(SupportedFeature {
                    name: name.to_owned(),
                    min: min.parse().expect("a number"),
                    max: max.parse().expect("a number"),
                });
            }
            other => panic!("unknown word {other:?}"),
        }
    }
    registration
}

/// Names that a line of words cannot hold: `''` is empty, `%20` a space, `x*250` a long one.
fn unquote(word: &str) -> String {
    if let Some((text, times)) = word.split_once('*') {
        return text.repeat(times.parse().expect("a number"));
    }
    word.replace("''", "").replace("%20", " ")
}

fn new_topic(words: &[&str]) -> NewTopic {
    let mut topic = NewTopic::named(&unquote(words[0]));
    for word in &words[1..] {
        let (key, value) = word.split_once('=').expect("key=value");
        match key {
            "p" => topic.partitions = Some(value.parse().expect("a number")),
            "rf" => topic.replication_factor = Some(value.parse().expect("a number")),
            "at" => {
                let (index, replicas) = value.split_once(':').expect("index:replicas");
                let replicas = replicas.split(',').filter(|text| !text.is_empty());
                topic.assignments.push(ManualAssignment {
                    index: index.parse().expect("a number"),
                    replicas: replicas
                        .map(|text| NodeId(text.parse().expect("a number")))
                        .collect(),
                });
            }
            key => {
                let value = (value != "null").then(|| value.to_owned());
                topic.configs.push((key.replace("''", ""), value));
            }
        }
    }
    topic
}

/// `name count`, and `at:1,2` for each new partition that is placed by hand.
fn more_partitions(words: &[&str]) -> MorePartitions {
    let nodes = |text: &str| -> Vec<NodeId> {
        let nodes = text.split(',').filter(|node| !node.is_empty());
        nodes
            .map(|node| NodeId(node.parse().expect("a number")))
            .collect()
    };
    let by_hand = words[2..].iter().map(|word| match *word {
        "none" => Vec::new(),
        word => vec![nodes(word.strip_prefix("at:").expect("at:nodes"))],
    });
    MorePartitions {
        topic: unquote(words[0]),
        count: words[1].parse().expect("a number"),
        assignments: (words.len() > 2).then(|| by_hand.flatten().collect()),
    }
}

/// `user=a,client-id=* producer_byte_rate=10 request_percentage=null`; `*` is the default.
fn quota_change(words: &[&str]) -> QuotaChange {
    let part = |kind: &str| {
        let parts = words[0]
            .split(',')
            .map(|part| part.split_once('=').expect("kind=name"));
        let mut named = parts.filter(|(found, _)| *found == kind);
        named.next().map(|(_, name)| match name {
            "*" => QuotaName::Default,
            name => QuotaName::Named(unquote(name)),
        })
    };
    let entity = QuotaEntity::of(part("user"), part("client-id"), part("ip"));
    let operations = words[1..].iter().map(|word| {
        let (key, value) = word.split_once('=').expect("key=value");
        QuotaOperation {
            key: key.to_owned(),
            value: value.parse().ok(),
        }
    });
    QuotaChange {
        entity: entity.expect("a combination"),
        operations: operations.collect(),
    }
}

fn config_change(words: &[&str]) -> ConfigChange {
    let resource = match words[0].split_once(':').expect("kind:name") {
        ("topic", name) => ConfigResource::Topic(TopicName::new(name).expect("legal")),
        ("metrics", name) => ConfigResource::ClientMetrics(name.to_owned()),
        ("group", name) => ConfigResource::Group(name.to_owned()),
        ("broker", "") => ConfigResource::BrokerDefault,
        ("broker", node) => ConfigResource::Broker(NodeId(node.parse().expect("a number"))),
        other => panic!("unknown resource {other:?}"),
    };
    let operation = |word: &&str| {
        let some = |value: &str| (value != "null").then(|| value.to_owned());
        let find = |sign: &str| word.split_once(sign);
        if let Some((key, value)) = find("+=") {
            (key.to_owned(), ConfigOperation::Append(some(value)))
        } else if let Some((key, value)) = find("-=") {
            (key.to_owned(), ConfigOperation::Subtract(some(value)))
        } else if let Some((key, value)) = find("=") {
            (key.to_owned(), ConfigOperation::Set(some(value)))
        } else {
            ((*word).to_owned(), ConfigOperation::Delete)
        }
    };
    ConfigChange {
        resource,
        operations: words[1..].iter().map(operation).collect(),
    }
}

fn shorten(name: &str) -> String {
    let run = "x".repeat(250);
    name.replace(&run, "x*250")
}

fn answer(reply: &Reply) -> String {
    let mut out = String::new();
    let created = |outcome: &Result<CreatedTopic, CreateTopicError>| match outcome {
        Ok(topic) => format!(
            "ok, {} partitions, replication factor {}, {:?}",
            topic.partitions, topic.replication_factor, topic.overrides
        ),
        Err(error) => format!("{} {}", error.code(), shorten(&error.to_string())),
    };
    match reply {
        Reply::Registered(Ok(())) => out.push_str("ok\n"),
        Reply::Registered(Err(error)) => writeln!(out, "{} {error}", error.code()).expect("string"),
        Reply::CreateTopics(answers) => {
            for (name, outcome) in answers {
                writeln!(out, "{:?}: {}", shorten(name), created(outcome)).expect("string");
            }
        }
        Reply::AutoCreateTopic(outcome) => writeln!(out, "{}", created(outcome)).expect("string"),
        Reply::DeleteTopics(answers) => {
            for topic in answers {
                match &topic.outcome {
                    Ok((name, _)) => writeln!(out, "{name} deleted"),
                    Err(error) => writeln!(out, "{} {error}", error.code()),
                }
                .expect("string");
            }
        }
        Reply::CreatePartitions(answers) => {
            for (name, outcome) in answers {
                match outcome {
                    Ok(()) => writeln!(out, "{name:?}: ok"),
                    Err(error) => writeln!(out, "{name:?}: {} {error}", error.code()),
                }
                .expect("string");
            }
        }
        Reply::SetConfigs(answers) => {
            for outcome in answers {
                match outcome {
                    Ok(()) => writeln!(out, "ok"),
                    Err(error) => writeln!(out, "{} {error}", error.code()),
                }
                .expect("string");
            }
        }
        Reply::AlterClientQuotas(answers) => {
            for (entity, outcome) in answers {
                match outcome {
                    Ok(()) => writeln!(out, "{entity}: ok"),
                    Err(error) => writeln!(out, "{entity}: {} {error}", error.code()),
                }
                .expect("string");
            }
        }
        Reply::ElectLeaders(elected) => {
            for one in elected {
                let place = format!("{}:{}", one.topic, one.partition);
                match &one.outcome {
                    Ok(()) => writeln!(out, "{place} elected"),
                    Err(error) => writeln!(out, "{place} {} {error}", error.code()),
                }
                .expect("string");
            }
        }
        Reply::AlterReassignments(answers) => {
            for outcome in answers {
                match outcome {
                    Ok(()) => writeln!(out, "ok"),
                    Err(error) => writeln!(out, "{} {error}", error.code()),
                }
                .expect("string");
            }
        }
        Reply::UpdateFeatures(Ok(())) => out.push_str("ok\n"),
        Reply::UpdateFeatures(Err(error)) => {
            writeln!(out, "{} {error}", error.code()).expect("string");
        }
        Reply::ProducerIds(Ok(block)) => {
            writeln!(out, "{} from {}", block.count, block.first).expect("string");
        }
        Reply::ProducerIds(Err(error)) => {
            writeln!(out, "{} {error}", error.code()).expect("string");
        }
    }
    out
}

fn show(image: &Image) -> String {
    let copy = Image::from_snapshot(&image.to_snapshot()).expect("own bytes");
    assert_eq!(&copy, image, "a snapshot holds the whole image");
    let mut out = String::new();
    writeln!(
        out,
        "version {} cluster {:?}",
        image.version().0,
        image.cluster()
    )
    .expect("string");
    for broker in image.brokers().values() {
        writeln!(out, "broker {} epoch {}", broker.node, broker.epoch).expect("string");
    }
    writeln!(out, "features {:?}", image.features()).expect("string");
    writeln!(out, "broker defaults {:?}", image.broker_defaults()).expect("string");
    for (name, keys) in image.client_metrics() {
        writeln!(out, "metrics {name} {keys:?}").expect("string");
    }
    for (name, keys) in image.group_configs() {
        writeln!(out, "group {name} {keys:?}").expect("string");
    }
    for (entity, limits) in image.client_quotas().entities() {
        let limits = limits.iter().map(|(key, value)| (key.name(), value.get()));
        let limits: Vec<_> = limits.collect();
        writeln!(out, "quota {entity} {limits:?}").expect("string");
    }
    for topic in image.topics() {
        writeln!(out, "topic {} {:?}", topic.name(), topic.overrides()).expect("string");
        for (index, partition) in topic.partitions() {
            let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
            let (replicas, isr) = (ids(&partition.replicas), ids(&partition.isr));
            let leader = partition.leader.map(|node| node.0);
            let (epoch, version) = (partition.leader_epoch, partition.partition_epoch);
            writeln!(
                out,
                "  {index} on {replicas:?} in sync {isr:?} leader {leader:?} in epoch {epoch}, version {version}"
            )
            .expect("string");
        }
    }
    out
}

fn rerun(text: &str) -> String {
    let mut script = Script::new();
    let mut out = String::new();
    for case in text
        .split("\n\n")
        .map(str::trim)
        .filter(|case| !case.is_empty())
    {
        let commands = case.split("\n----").next().unwrap_or(case);
        out.push_str(commands);
        let lines = commands.lines().filter(|line| !line.starts_with('#'));
        let answers: String = lines.map(|line| script.run(line)).collect();
        if commands.lines().any(|line| !line.starts_with('#')) {
            write!(out, "\n----\n{answers}").expect("string");
        } else {
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/testdata")
        .join(file);
    let text = std::fs::read_to_string(&path).expect("the script is readable");
    let found = rerun(&text);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).expect("the script is writable");
        return;
    }
    assert!(
        text == found,
        "{file} expects other answers; UPDATE_EXPECT=1 rewrites it. Found:\n{found}"
    );
}

#[test]
fn create_topics_answers_as_kafka_does() {
    check("create_topics.txt");
}

#[test]
fn subscriptions_to_client_metrics_are_kept_and_refused_as_in_kafka() {
    check("client_metrics.txt");
}

#[test]
fn configuration_of_groups_is_kept_and_refused_as_in_kafka() {
    check("groups.txt");
}

#[test]
fn client_quotas_are_kept_and_refused_as_in_kafka() {
    check("quotas.txt");
}

#[test]
fn delete_topics_answers_as_kafka_does() {
    check("delete_topics.txt");
}

#[test]
fn partitions_are_added_as_kafka_does() {
    check("create_partitions.txt");
}

#[test]
fn configuration_answers_as_kafka_does() {
    check("configs.txt");
}

#[test]
fn brokers_register_and_producer_ids_never_repeat() {
    check("brokers.txt");
}

#[test]
fn elections_answer_as_kafka_does() {
    check("elections.txt");
}

#[test]
fn reassignments_answer_as_kafka_does() {
    check("reassignments.txt");
}

#[test]
fn feature_levels_move_as_kafka_moves_them() {
    check("features.txt");
}
