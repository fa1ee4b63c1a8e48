//! Runs `testdata/*.txt` against a coordinator. A file is a list of cases: command lines, `----`,
//! the expected answer, an empty line. `UPDATE_EXPECT=1 cargo test -p klamm-coord` rewrites the
//! answers; read the difference before you keep it.
//!
//! Ids of members are shown as the client's name and a number, in the order of their first use.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use klamm_model::{LeaderEpoch, Offset, PartitionIndex};

use super::consumer::testing::{
    TestTopics, assignment, owned, show_assignment, show_partitions, show_record,
};
use super::testing::Host;
use super::*;
use crate::kit::Record;
use crate::record::{GroupValue, Key, OffsetValue};

struct Script {
    host: Host,
    /// Short names of members, and their ids.
    names: Vec<(String, String)>,
}

/// The words of a line: those with a `=` by name, the others in order.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(words: &[&'a str]) -> Self {
        let mut plain = Vec::new();
        let mut named = BTreeMap::new();
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => {
                    named.insert(name, value);
                }
                None => plain.push(*word),
            }
        }
        Self { plain, named }
    }

    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }

    fn seconds(&self, name: &str, default: u64) -> Duration {
        let seconds = self
            .named
            .get(name)
            .map(|word| word.parse().expect("seconds"));
        Duration::from_secs(seconds.unwrap_or(default))
    }
}

/// What consumers say: a version, topics, and behind `!` the data of their own.
pub(super) fn subscription(topics: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    let (topics, data) = match topics.split_once('!') {
        Some((topics, data)) => (topics, Some(data)),
        None => (topics, None),
    };
    let topics: Vec<&str> = topics
        .split('+')
        .filter(|topic| !topic.is_empty())
        .collect();
    bytes.put_i16(0);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(data.map_or(-1, |data| data.len() as i32));
    bytes.put_slice(data.unwrap_or("").as_bytes());
    bytes.freeze()
}

impl Script {
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = words.split_first().expect("a verb");
        let words = Words::of(words);
        let logged = self.host.log.len();
        let (ticket, replies) = match *verb {
            "config" => {
                self.configure(&words);
                return String::new();
            }
            "advance" => {
                let seconds = words.plain[0].parse().expect("seconds");
                (None, self.host.advance(Duration::from_secs(seconds)))
            }
            "hold" => {
                self.host.commits_at_once = false;
                (None, Vec::new())
            }
            "commit-log" => {
                let end = self.host.log.len();
                (None, self.host.commit(end))
            }
            "restart" | "restart-compacted" => {
                let end = match words.has("lost") {
                    true => self.host.committed,
                    false => self.host.log.len(),
                };
                self.host.commits_at_once = true;
                self.host.crash(end, *verb == "restart-compacted");
                (None, Vec::new())
            }
            "gone" => {
                let topics: Vec<_> = words.plain.iter().map(|name| topic(name)).collect();
                let replies = self
                    .host
                    .input(|coordinator, moment| coordinator.on_topics_deleted(moment, &topics));
                (None, replies)
            }
            "topics" => {
                let replies = self.host.see_topics(TestTopics::of(&words.plain));
                (None, replies)
            }
            "settings" => {
                let settings = GroupSettings {
                    session_timeout: Some(words.seconds("session", 45)),
                    heartbeat_interval: Some(words.seconds("heartbeat", 5)),
                    assignment_interval: Some(words.seconds("assignment", 1)),
                };
                let group = GroupId::new(words.plain[0]);
                self.host
                    .coordinator
                    .set_group_settings(&group, Some(settings));
                return String::new();
            }
            "serves" => {
                let members = words.plain[0].parse().expect("a number");
                self.host.coordinator.set_members_served(members);
                return String::new();
            }
            "stats" => return format!("{:?}\n", self.host.coordinator.stats()),
            _ => {
                let command = self.command(verb, &words);
                let (ticket, replies) = self.host.decide(command);
                (Some(ticket), replies)
            }
        };
        let mut out = String::new();
        let records = self.host.log.get(logged..).unwrap_or_default().to_vec();
        for record in &records {
            writeln!(out, "{}", self.show_record(record)).expect("to a string");
        }
        let answered = replies
            .iter()
            .any(|(answered, _)| Some(*answered) == ticket);
        for (answered, reply) in replies {
            let shown = self.show(&reply);
            match Some(answered) == ticket {
                true => writeln!(out, "{shown}"),
                false => writeln!(out, "#{}: {shown}", answered.0),
            }
            .expect("to a string");
        }
        if let Some(ticket) = ticket
            && !answered
        {
            writeln!(out, "#{} waits", ticket.0).expect("to a string");
        }
        out
    }

    fn configure(&mut self, words: &Words<'_>) {
        let mut config = self.host.coordinator.config.clone();
        for (name, value) in &words.named {
            let number: u64 = value.parse().expect("a number");
            match *name {
                "delay" => config.initial_rebalance_delay = Duration::from_secs(number),
                "members" => config.members_max = number as usize,
                "batch" => config.batch_bytes_max = number as usize,
                "metadata" => config.offset_metadata_bytes_max = number as usize,
                "consumers" => config.consumer.members_max = number as usize,
                "migration" => {
                    config.consumer.migration = match number {
                        0 => MigrationPolicy::Disabled,
                        1 => MigrationPolicy::Upgrade,
                        2 => MigrationPolicy::Downgrade,
                        _ => MigrationPolicy::Bidirectional,
                    };
                }
                "session" => {
                    config.consumer.session_timeout = Duration::from_secs(number);
                    config.consumer.session_timeout_min = Duration::from_secs(1);
                }
                "interval" => config.consumer.assignment_interval = Duration::from_secs(number),
                "retention" => config.offsets_retention = Duration::from_secs(number),
                other => panic!("unknown setting {other}"),
            }
        }
        self.host.coordinator.set_config(config);
    }

    fn command(&self, verb: &str, words: &Words<'_>) -> Command {
        let group = GroupId::new(words.plain.first().copied().unwrap_or("").trim_matches('"'));
        let instance = words
            .named
            .get("instance")
            .map(|name| GroupInstanceId::new(name));
        let named = |name: &str| words.named.get(name).map(|member| self.id(member));
        let generation = || GenerationId(words.plain[2].parse().expect("a generation"));
        match verb {
            "join" => Command::Join(Join {
                group,
                member: named("member"),
                instance,
                client_id: words.plain[1].to_owned(),
                client_host: "/127.0.0.1".to_owned(),
                protocol_type: words.named.get("type").unwrap_or(&"consumer").to_string(),
                protocols: protocols(words.named.get("protocols").unwrap_or(&"range:t")),
                session_timeout: words.seconds("session", 10),
                rebalance_timeout: words.seconds("rebalance", 60),
                member_id_required: words.has("required"),
                may_skip_assignment: words.has("skip"),
                reason: None,
            }),
            "sync" => Command::Sync(Sync {
                group,
                member: self.id(words.plain[1]),
                instance,
                generation: generation(),
                protocol_type: words.named.get("type").map(|word| word.to_string()),
                protocol: words.named.get("protocol").map(|word| word.to_string()),
                assignments: words
                    .named
                    .get("assign")
                    .map(|word| word.split(',').map(|part| self.assignment(part)).collect())
                    .unwrap_or_default(),
            }),
            "beat" => Command::Heartbeat(Heartbeat {
                group,
                member: self.id(words.plain[1]),
                instance,
                generation: generation(),
            }),
            "leave" => {
                let mut members: Vec<Leaving> = words.plain[1..]
                    .iter()
                    .map(|member| Leaving {
                        member: Some(self.id(member)),
                        instance: instance.clone(),
                        reason: None,
                    })
                    .collect();
                if members.is_empty() {
                    members.push(Leaving {
                        member: None,
                        instance,
                        reason: None,
                    });
                }
                Command::Leave(Leave { group, members })
            }
            "commit" => Command::CommitOffsets(CommitOffsets {
                group,
                member: named("member"),
                instance,
                generation: words
                    .named
                    .get("generation")
                    .map(|word| GenerationId(word.parse().expect("a generation"))),
                understands_epochs: true,
                retention: words
                    .named
                    .contains_key("retention")
                    .then(|| words.seconds("retention", 0)),
                topics: offsets(words),
            }),
            "fetch" => {
                let all = words.has("all");
                let topics = partitions(words)
                    .into_iter()
                    .map(|(name, partitions)| FetchTopic {
                        topic: topic(name.as_str()),
                        partitions,
                    });
                Command::FetchOffsets(FetchOffsets {
                    group,
                    topics: (!all).then(|| topics.collect()),
                    member: words.named.get("member").map(|id| {
                        let epoch = words
                            .named
                            .get("epoch")
                            .map_or(-1, |word| word.parse().expect("an epoch"));
                        (MemberId::new(id), MemberEpoch(epoch))
                    }),
                    from: None,
                    require_stable: false,
                })
            }
            "delete-offsets" => Command::DeleteOffsets(DeleteOffsets {
                group,
                topics: partitions(words)
                    .into_iter()
                    .map(|(name, partitions)| (topic(&name).name, partitions))
                    .collect(),
            }),
            "hb" => {
                let names = |name: &str| {
                    let words = words.named.get(name)?;
                    let words = words.split(',').filter(|word| !word.is_empty());
                    Some(words.map(str::to_owned).collect())
                };
                let said = |name: &str| words.named.get(name).map(|word| word.to_string());
                let epoch = words.plain[2].parse().expect("an epoch");
                let joins = epoch == 0;
                let owned = words.named.get("owned").map(|word| owned(word));
                let timeout = words.named.get("rebalance").map(|word| word.parse::<i32>());
                let timeout = timeout.map(|word| word.expect("seconds") * 1_000);
                Command::ConsumerHeartbeat(ConsumerHeartbeat {
                    group,
                    member: MemberId::new(words.plain[1].trim_matches('"')),
                    member_id_required: words.has("v1"),
                    epoch: MemberEpoch(epoch),
                    instance,
                    rack: said("rack"),
                    rebalance_timeout_ms: timeout.unwrap_or(if joins { 60_000 } else { -1 }),
                    client_id: "client".to_owned(),
                    client_host: "/127.0.0.1".to_owned(),
                    topics: names("topics"),
                    regex: said("regex"),
                    assignor: said("by"),
                    owned: owned.or_else(|| joins.then(Vec::new)),
                    patience: if words.has("impatient") {
                        HeartbeatPatience::UntilNext
                    } else {
                        HeartbeatPatience::Apart
                    },
                })
            }
            "describe-consumers" => Command::DescribeConsumers {
                groups: groups(words),
            },
            "list" => {
                let of = |name: &str| {
                    let words = words.named.get(name).copied();
                    words.map(|words| words.split(','))
                };
                Command::List(List {
                    states: of("states").map(|words| words.filter_map(GroupState::named).collect()),
                    types: of("types").map(|words| words.filter_map(GroupType::named).collect()),
                    from: None,
                })
            }
            "describe" => Command::Describe {
                groups: groups(words),
                bytes_max: usize::MAX,
            },
            "delete" => Command::Delete {
                groups: groups(words),
            },
            other => panic!("unknown verb {other}"),
        }
    }

    /// The id behind a short name; a name that is not known is an id itself.
    fn id(&self, name: &str) -> MemberId {
        let known = self.names.iter().find(|(short, _)| short == name);
        MemberId::new(known.map_or(name, |(_, id)| id))
    }

    fn assignment(&self, word: &str) -> (MemberId, Bytes) {
        let (member, what) = word.split_once(':').expect("member:assignment");
        if let Some(what) = what.strip_prefix('@') {
            return (self.id(member), assignment(what));
        }
        let what = match what.strip_prefix('*') {
            Some(length) => "x".repeat(length.parse().expect("a length")),
            None => what.to_owned(),
        };
        (self.id(member), what.into())
    }

    /// The short name of an id.
    fn short(&mut self, id: &str) -> String {
        if let Some((short, _)) = self.names.iter().find(|(_, known)| known == id) {
            return short.clone();
        }
        let Some(name) = id.len().checked_sub(37).and_then(|end| id.get(..end)) else {
            return id.to_owned();
        };
        let earlier = self.names.iter().filter(|(short, _)| {
            short
                .rsplit_once('.')
                .is_some_and(|(client, _)| client == name)
        });
        let short = format!("{name}.{}", earlier.count() + 1);
        self.names.push((short.clone(), id.to_owned()));
        short
    }

    fn show(&mut self, reply: &Reply) -> String {
        match reply {
            Reply::Join(Ok(joined)) => self.show_joined(joined),
            Reply::Join(Err(refused)) => {
                let member = refused.member.as_ref();
                let member = member.map(|member| format!(" {}", self.short(member.as_str())));
                format!("{:?}{}", refused.error, member.unwrap_or_default())
            }
            Reply::Sync(Ok(synced)) => {
                let part = show_assignment(&synced.assignment);
                format!(
                    "synced {}/{} {part:?}",
                    synced.protocol_type, synced.protocol
                )
            }
            Reply::Leave(Ok(left)) => left
                .iter()
                .map(|left| match left.result {
                    Ok(()) => "left".to_owned(),
                    Err(error) => format!("{error:?}"),
                })
                .collect::<Vec<_>>()
                .join(", "),
            Reply::CommitOffsets(Ok(topics)) => {
                let results = topics.iter().flat_map(|topic| &topic.partitions);
                let failed: Vec<_> = results
                    .filter_map(|(partition, result)| Some((partition, result.err()?)))
                    .map(|(partition, error)| format!(" {partition}: {error:?}"))
                    .collect();
                format!("committed{}", failed.concat())
            }
            Reply::FetchOffsets(Ok(fetched)) => {
                let mut out = "fetched".to_owned();
                for topic in &fetched.topics {
                    for (partition, offset) in &topic.partitions {
                        write!(out, " {}/{partition}=", topic.topic.name).expect("to a string");
                        match offset {
                            Some(kept) => write!(out, "{}", kept.offset),
                            None => write!(out, "none"),
                        }
                        .expect("to a string");
                        if let Some(kept) = offset.as_ref().filter(|kept| !kept.metadata.is_empty())
                        {
                            write!(out, "({})", kept.metadata).expect("to a string");
                        }
                    }
                }
                out
            }
            Reply::DeleteOffsets(Ok(topics)) => {
                let all = topics.iter().flat_map(|topic| {
                    let name = &topic.topic;
                    topic
                        .partitions
                        .iter()
                        .map(move |(partition, result)| match result {
                            Ok(()) => format!("{name}/{partition} done"),
                            Err(error) => format!("{name}/{partition} {error:?}"),
                        })
                });
                all.collect::<Vec<_>>().join(", ")
            }
            Reply::List(listed) if listed.groups.is_empty() => "nothing".to_owned(),
            Reply::List(listed) => listed
                .groups
                .iter()
                .map(|listed| {
                    let kind = &listed.protocol_type;
                    format!(
                        "{} {:?} {kind:?} {:?}",
                        listed.group, listed.state, listed.group_type
                    )
                })
                .collect::<Vec<_>>()
                .join("\n"),
            Reply::Describe(described) => described
                .iter()
                .flatten()
                .map(|group| self.show_described(group))
                .collect::<Vec<_>>()
                .join("\n"),
            Reply::Delete(deleted) => deleted
                .iter()
                .map(|(group, result)| format!("{group} {result:?}"))
                .collect::<Vec<_>>()
                .join(", "),
            Reply::ConsumerHeartbeat(Ok(done)) => {
                let member = self.short_consumer(done.member.as_str());
                let wait = done.heartbeat_interval.as_millis();
                let given = done.assignment.as_ref().map(|given| show_partitions(given));
                let given = given
                    .map(|given| format!(" gets {given}"))
                    .unwrap_or_default();
                format!("{member} in {} again in {wait} ms{given}", done.epoch)
            }
            Reply::ConsumerHeartbeat(Err(refused)) => {
                format!("{:?}: {}", refused.error, refused.message)
            }
            Reply::DescribeConsumers(described) => {
                let described = described.iter();
                let described = described.map(|(id, group)| match group {
                    Ok(group) => self.show_consumers(id, group),
                    Err(error) => format!("{id} {error:?}"),
                });
                described.collect::<Vec<_>>().join("\n")
            }
            Reply::FetchOffsets(Err(error)) => format!("{error:?}"),
            Reply::Heartbeat(Ok(())) => "heard".to_owned(),
            Reply::Sync(Err(error)) => format!("{error:?}"),
            Reply::Heartbeat(Err(error)) => format!("{error:?}"),
            Reply::Leave(Err(error)) => format!("{error:?}"),
            Reply::CommitOffsets(Err(error)) => format!("{error:?}"),
            Reply::DeleteOffsets(Err(error)) => format!("{error:?}"),
        }
    }

    fn show_joined(&mut self, joined: &Joined) -> String {
        let me = self.short(joined.member.as_str());
        let leader = self.short(joined.leader.as_str());
        let kind = &joined.protocol_type;
        let mut out = format!(
            "joined {me} in {} {kind}/{}, {leader} leads",
            joined.generation, joined.protocol
        );
        if !joined.members.is_empty() {
            let members = joined.members.iter();
            let members: Vec<_> = members.map(|m| self.short(m.member.as_str())).collect();
            write!(out, " {}", members.join(" ")).expect("to a string");
        }
        if joined.skip_assignment {
            out.push_str(", skips");
        }
        out
    }

    fn show_consumers(&mut self, id: &GroupId, group: &DescribedConsumerGroup) -> String {
        let mut out = format!(
            "{id} {:?} epoch {} targets {} by {}",
            group.state, group.epoch, group.assignment_epoch, group.assignor
        );
        for member in &group.members {
            let parts = |parts: &[(TopicName, TopicPartitions)]| {
                let parts: Vec<_> = parts.iter().map(|(_, part)| part.clone()).collect();
                show_partitions(&parts)
            };
            write!(
                out,
                "\n  {} in {} reads {} has {} shall have {}",
                self.short_consumer(member.member.as_str()),
                member.epoch,
                member.topics.join(","),
                parts(&member.assignment),
                parts(&member.target),
            )
            .expect("to a string");
        }
        out
    }

    /// Ids that the coordinator made, but for their randomness.
    fn short_consumer(&mut self, id: &str) -> String {
        if id.len() == 36 && id.contains("-4000-") {
            "made".to_owned()
        } else {
            self.short(id)
        }
    }

    fn show_described(&mut self, group: &DescribedGroup) -> String {
        let kind = &group.protocol_type;
        let mut out = format!(
            "{} {:?} {kind}/{}",
            group.group, group.state, group.protocol
        );
        for member in &group.members {
            let short = self.short(member.member.as_str());
            let part = String::from_utf8_lossy(&member.assignment);
            let said = member.metadata.len();
            write!(
                out,
                "\n  {short} {} says {said} has {part:?}",
                member.client_id
            )
            .expect("to a string");
        }
        out
    }

    fn show_record(&mut self, record: &Record) -> String {
        match Key::decode(&record.key).expect("of this program") {
            Key::Offset {
                group,
                topic,
                partition,
            } => match &record.value {
                None => format!("- offset {group} {topic}/{partition}"),
                Some(value) => {
                    let value = OffsetValue::decode(value).expect("of this program");
                    format!("+ offset {group} {topic}/{partition}={}", value.offset)
                }
            },
            Key::Group { group } => {
                let Some(value) = &record.value else {
                    return format!("- group {group}");
                };
                let (head, mut members) = GroupValue::decode(value).expect("of this program");
                let mut out = format!(
                    "+ group {group} in {} {}/{}",
                    head.generation,
                    head.protocol_type,
                    head.protocol.unwrap_or("none")
                );
                while let Some(member) = members.next().expect("of this program") {
                    let short = self.short(member.member);
                    let part = String::from_utf8_lossy(member.assignment);
                    write!(out, " {short}={part:?}").expect("to a string");
                }
                out
            }
            Key::Consumer { group, part } => {
                let value = record.value.as_deref();
                show_record(group, part, value, |id| self.short_consumer(id))
            }
            other => panic!("this program writes no {other:?}"),
        }
    }
}

fn protocols(word: &str) -> Vec<Protocol> {
    let words = word.split(',').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (name, topics) = word.split_once(':').unwrap_or((word, "t"));
            Protocol {
                name: name.to_owned(),
                metadata: match topics.strip_prefix('*') {
                    Some(length) => vec![0xff; length.parse().expect("a length")].into(),
                    None => subscription(topics),
                },
            }
        })
        .collect()
}

/// A topic; `t@2` is another topic of the name `t`.
fn topic(word: &str) -> TopicReference {
    let (name, version) = word.split_once('@').unwrap_or((word, "1"));
    TopicReference {
        name: TopicName::new(name).expect("a name"),
        id: TestTopics::id(name, version.parse().expect("a number")),
    }
}

fn groups(words: &Words<'_>) -> Vec<GroupId> {
    let names = words.plain.iter();
    names
        .map(|name| GroupId::new(name.trim_matches('"')))
        .collect()
}

/// Words such as `t/0=5`, or `t/0=5:why`.
fn offsets(words: &Words<'_>) -> Vec<CommitTopic> {
    let offsets = words.named.iter().filter_map(|(name, value)| {
        let (name, partition) = name.split_once('/')?;
        let (offset, metadata) = value.split_once(':').unwrap_or((value, ""));
        Some(CommitTopic {
            topic: topic(name),
            partitions: vec![CommitPartition {
                partition: PartitionIndex(partition.parse().expect("a partition")),
                offset: Offset(offset.parse().expect("an offset")),
                leader_epoch: Some(LeaderEpoch(0)),
                metadata: metadata.to_owned(),
            }],
        })
    });
    offsets.collect()
}

/// Words such as `t/0`.
fn partitions(words: &Words<'_>) -> Vec<(String, Vec<PartitionIndex>)> {
    let words = words.plain.iter().filter_map(|word| word.split_once('/'));
    words
        .map(|(name, partition)| {
            let partition = PartitionIndex(partition.parse().expect("a partition"));
            (name.to_owned(), vec![partition])
        })
        .collect()
}

fn run_file(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a script");
    let mut script = Script {
        host: Host::new(GroupConfig::default()),
        names: Vec::new(),
    };
    let mut rewritten = Vec::new();
    for case in text.trim_end().split("\n\n") {
        let (input, expected) = case.split_once("\n----").unwrap_or((case, ""));
        let mut found = String::new();
        for line in input.lines().filter(|line| !line.starts_with('#')) {
            found.push_str(&script.run(line));
        }
        let found = found.trim_end();
        if std::env::var_os("UPDATE_EXPECT").is_none() {
            assert_eq!(found, expected.trim(), "{}\n{input}", path.display());
        }
        let separator = if found.is_empty() { "" } else { "\n" };
        rewritten.push(format!("{input}\n----{separator}{found}"));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, rewritten.join("\n\n") + "\n").expect("the script is writable");
    }
}

#[test]
fn scripts_are_answered_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "the scripts are there: {files:?}");
    for file in files {
        run_file(&file);
    }
}
