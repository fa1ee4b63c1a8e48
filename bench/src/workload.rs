//! What to do to a broker: the checked form of the written options, with defaults.

use clap::ValueEnum;
use klamm_model::Compression;
use serde::{Deserialize, Serialize};

use crate::{problem::Problem, stamp::STAMP_BYTES, written::WrittenWorkload};

/// Which API carries the load.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Batches by Produce.
    Produce,
    /// One record per Produce request.
    Requests,
    /// Batches by Fetch, from the start over and over.
    Fetch,
    /// Connections that are opened and left alone.
    Idle,
    /// All connections at once, again and again: connect, ask for versions, close.
    Reconnect,
    /// CreateTopics with ever new names.
    CreateTopics,
    /// Metadata of all topics, or of some.
    Metadata,
    /// Members of consumer groups, and what happens to them.
    Groups,
}

impl Mode {
    /// True where batches are produced.
    #[must_use]
    pub const fn produces(self) -> bool {
        matches!(self, Self::Produce | Self::Requests)
    }

    /// How many connections there are unless said otherwise: one, or one for each member, as
    /// clients have.
    const fn connections(self, groups: usize, members: usize) -> usize {
        match self {
            Self::Groups => groups.saturating_mul(members),
            _ => 1,
        }
    }
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Whenever a connection has room: measures cost, never latency.
    Closed,
    /// At a constant distance.
    Fixed,
    /// At random distances with the mean of the rate.
    Poisson,
}

/// What values hold.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Events as services log them; four bytes compress to about one.
    #[default]
    Json,
    /// Random bytes, which do not compress.
    Random,
}

/// What is proved after producing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Count, and by reading back: checksums, and that each batch is there once and in order.
    #[default]
    Full,
    /// Each log has grown by what was acknowledged.
    Count,
}

/// By which protocol members are members (`group.protocol`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GroupProtocol {
    /// JoinGroup, SyncGroup, Heartbeat: members divide the work among themselves.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848): the broker divides it.
    #[default]
    Consumer,
}

/// What happens to groups.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GroupEvent {
    /// All members join at once. Whatever is first joins before, uncounted, if this is not it.
    Join,
    /// The topic gets more partitions.
    NewPartitions,
    /// The last member of each group says that it leaves.
    Leave,
    /// Connections of the last member of each group close without a word, as those of a killed
    /// process do.
    Crash,
    /// The last member of each group says nothing any more; its connection stays open.
    Silence,
    /// Nothing, for `seconds`: what groups cost that are at rest.
    Hold,
}

/// Which bytes the result is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Account {
    /// Those that were sent.
    Produced,
    /// Those that the consumers received.
    Consumed,
}

/// How fast an open loop goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// As fast as answers come.
    Closed,
    /// Requests per second.
    Requests(f64),
    /// Records per second.
    Records(f64),
    /// Bytes of batches per second.
    Bytes(f64),
}

/// A workload that can run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of `WrittenWorkload`")]
pub struct Workload {
    pub mode: Mode,
    pub topic: String,
    pub topics: usize,
    pub partitions: i32,
    pub topic_config: Vec<String>,
    pub delete_topic: bool,
    pub connections: usize,
    pub depth: usize,
    pub idle_connections: usize,
    pub arrivals: Arrivals,
    pub pace: Pace,
    pub requests_max: Option<u64>,
    pub warm_up_seconds: f64,
    pub seconds: f64,
    pub acks: i16,
    pub idempotent: bool,
    pub record_bytes: usize,
    pub key_bytes: usize,
    pub keys: u64,
    pub payload: Payload,
    pub batch_bytes: usize,
    pub batch_records: usize,
    pub partitions_per_request: usize,
    pub codec: String,
    pub linger_ms: f64,
    pub variants: usize,
    pub consumers: usize,
    pub consumer_connections: usize,
    pub catch_up: usize,
    pub fetch_bytes: i32,
    pub partition_bytes: i32,
    pub min_bytes: i32,
    pub max_wait_ms: i32,
    pub fill_bytes: u64,
    pub drop_caches: bool,
    pub check_crc: bool,
    pub topics_per_request: usize,
    pub groups: usize,
    pub members: usize,
    pub group_protocol: GroupProtocol,
    pub assignor: Option<String>,
    pub group_events: Vec<GroupEvent>,
    pub new_partitions: i32,
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: u64,
    pub broker_process: Option<u32>,
    pub proof: Proof,
    pub proof_bytes: u64,
    pub account: Account,
}

impl WrittenWorkload {
    fn pace(&self) -> Result<Pace, Problem> {
        let paces = [
            self.rate.map(Pace::Requests),
            self.record_rate.map(Pace::Records),
            self.byte_rate.map(Pace::Bytes),
        ];
        let mut written = paces.into_iter().flatten();
        let pace = written.next().unwrap_or(Pace::Closed);
        if written.next().is_some() {
            let text = "one of rate, record-rate and byte-rate is enough";
            return Err(Problem::Workload(text.to_owned()));
        }
        Ok(pace)
    }

    /// Fills in defaults and checks the whole.
    ///
    /// # Errors
    /// [`Problem::Workload`]: what contradicts what.
    pub fn check(self, mode: Mode) -> Result<Workload, Problem> {
        let pace = self.pace()?;
        let open = pace != Pace::Closed;
        let default_arrivals = if open {
            Arrivals::Fixed
        } else {
            Arrivals::Closed
        };
        let fetch_bytes = self.fetch_bytes.unwrap_or(50 << 20);
        let partitions = self.partitions.unwrap_or(1);
        let topics = self.topics.unwrap_or(1);
        let all = usize::try_from(partitions)
            .unwrap_or(0)
            .saturating_mul(topics);
        let one_at_a_time = !mode.produces();
        let (groups, members) = (self.groups.unwrap_or(1), self.members.unwrap_or(10));
        let workload = Workload {
            mode,
            topic: self.topic.unwrap_or_else(|| "bench".to_owned()),
            topics,
            partitions,
            topic_config: self.topic_config.unwrap_or_default(),
            delete_topic: self.delete_topic.unwrap_or(false),
            connections: self
                .connections
                .unwrap_or_else(|| mode.connections(groups, members)),
            depth: self.depth.unwrap_or(if one_at_a_time { 1 } else { 5 }),
            idle_connections: self.idle_connections.unwrap_or(0),
            arrivals: self.arrivals.unwrap_or(default_arrivals),
            pace,
            requests_max: self.requests_max,
            warm_up_seconds: self.warm_up_seconds.unwrap_or(5.0),
            seconds: self.seconds.unwrap_or(10.0),
            acks: self.acks.unwrap_or(1),
            idempotent: self.idempotent.unwrap_or(false),
            record_bytes: self.record_bytes.unwrap_or(100),
            key_bytes: self.key_bytes.unwrap_or(0),
            keys: self.keys.unwrap_or(1_000_000),
            payload: self.payload.unwrap_or_default(),
            batch_bytes: self.batch_bytes.unwrap_or(16 << 10),
            batch_records: match mode {
                Mode::Requests => 1,
                _ => self.batch_records.unwrap_or(usize::MAX),
            },
            partitions_per_request: self
                .partitions_per_request
                .unwrap_or(if mode == Mode::Fetch { all } else { 1 }),
            codec: self.codec.unwrap_or_else(|| "none".to_owned()),
            linger_ms: self.linger_ms.unwrap_or(0.0),
            variants: self.variants.unwrap_or(2),
            consumers: self.consumers.unwrap_or(0),
            consumer_connections: self.consumer_connections.unwrap_or(1),
            catch_up: self.catch_up.unwrap_or(0),
            fetch_bytes,
            partition_bytes: self
                .partition_bytes
                .unwrap_or_else(|| fetch_bytes.min(1 << 20)),
            min_bytes: self.min_bytes.unwrap_or(1),
            max_wait_ms: self.max_wait_ms.unwrap_or(500),
            fill_bytes: self.fill_bytes.unwrap_or(0),
            drop_caches: self.drop_caches.unwrap_or(false),
            check_crc: self.check_crc.unwrap_or(false),
            topics_per_request: self.topics_per_request.unwrap_or(1),
            groups,
            members,
            group_protocol: self.group_protocol.unwrap_or_default(),
            assignor: self.assignor,
            group_events: self.group_events.unwrap_or_else(|| vec![GroupEvent::Join]),
            new_partitions: self.new_partitions.unwrap_or(1),
            session_timeout_ms: self.session_timeout_ms.unwrap_or(45_000),
            heartbeat_interval_ms: self.heartbeat_interval_ms.unwrap_or(3_000),
            broker_process: self.broker_process,
            proof: self.proof.unwrap_or_default(),
            proof_bytes: self.proof_bytes.unwrap_or(u64::MAX),
            account: self.account.unwrap_or(Account::Produced),
        };
        workload
            .contradiction()
            .map_or(Ok(workload), |text| Err(Problem::Workload(text)))
    }
}

impl Workload {
    /// The codec by its type.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_word(&self.codec)
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn places(&self) -> usize {
        usize::try_from(self.partitions).unwrap_or(0) * self.topics
    }

    /// Names of the topics.
    #[must_use]
    pub fn topic_names(&self) -> Vec<String> {
        if self.topics == 1 {
            return vec![self.topic.clone()];
        }
        let number = |index: usize| format!("{}-{index:05}", self.topic);
        (0..self.topics).map(number).collect()
    }

    /// True where batches can carry a stamp: uncompressed, and with room in their first record.
    #[must_use]
    pub fn stamped(&self) -> bool {
        self.compression() == Some(Compression::None) && self.record_bytes >= STAMP_BYTES
    }

    fn contradiction(&self) -> Option<String> {
        let says = |wrong: bool, text: &str| wrong.then(|| text.to_owned());
        says(
            self.places() == 0,
            "at least one topic with one partition is needed",
        )
        .or_else(|| {
            let parts = [
                self.connections,
                self.depth,
                self.variants,
                self.consumer_connections,
                self.topics_per_request,
                self.batch_records,
            ];
            let text = "connections, depth, variants, records and topics per request start at one";
            says(parts.contains(&0), text)
        })
        .or_else(|| self.producers_contradict())
        .or_else(|| {
            let count = self.partitions_per_request;
            let text = format!("{count} partitions a request, of {}", self.places());
            says(count == 0 || count > self.places(), &text)
        })
        .or_else(|| {
            let open = self.arrivals != Arrivals::Closed;
            let rate = match self.pace {
                Pace::Closed => 0.0,
                Pace::Requests(rate) | Pace::Records(rate) | Pace::Bytes(rate) => rate,
            };
            let text = "open arrivals need a rate above zero, a closed loop has none";
            says(open != (rate > 0.0), text)
        })
        .or_else(|| {
            let wrong = self.mode == Mode::Fetch && (self.depth != 1 || self.pace != Pace::Closed);
            says(wrong, "a consumer has one fetch in flight and no rate")
        })
        .or_else(|| self.groups_contradict())
        .or_else(|| {
            let beside = self.consumers > 0 || self.catch_up > 0;
            let text = "consumers and catch-up go beside produce or requests";
            says(beside && !self.mode.produces(), text)
        })
        .or_else(|| {
            let wrong = self.account == Account::Consumed && self.consumers == 0;
            says(wrong, "nothing is consumed without consumers")
        })
        .or_else(|| {
            let wrong = self.catch_up > 0 && self.fill_bytes == 0;
            says(wrong, "catch-up needs something to read: set fill-bytes")
        })
    }

    fn groups_contradict(&self) -> Option<String> {
        if self.mode != Mode::Groups {
            return None;
        }
        let says = |wrong: bool, text: &str| wrong.then(|| text.to_owned());
        let classic = self.group_protocol == GroupProtocol::Classic;
        let has = |event: GroupEvent| self.group_events.contains(&event);
        let all = self.groups.saturating_mul(self.members);
        says(
            all == 0 || self.group_events.is_empty(),
            "groups, members and events start at one",
        )
        .or_else(|| {
            let shared = self.connections.is_multiple_of(self.members) && self.connections <= all;
            let text = "connections are as many as members, or a multiple of those of one group: \
                        two members of one group never share one, as a join keeps others waiting";
            says(!shared, text)
        })
        .or_else(|| {
            let text = "members are of one topic: give partitions, not topics";
            says(self.topics != 1, text)
        })
        .or_else(|| {
            let text = "members of the classic protocol look for new partitions themselves, after \
                        minutes: new-partitions needs the consumer protocol";
            says(classic && has(GroupEvent::NewPartitions), text)
        })
        .or_else(|| {
            let text = "new-partitions are one or more";
            says(self.new_partitions < 1, text)
        })
        .or_else(|| {
            let away = self.group_events.iter().filter(|event| {
                matches!(
                    event,
                    GroupEvent::Leave | GroupEvent::Crash | GroupEvent::Silence
                )
            });
            let text = "each leave, crash and silence takes a member, and one has to stay";
            says(away.count() >= self.members, text)
        })
        .or_else(|| {
            let text = "members crash alone on their connections: give none, or as many as members";
            says(has(GroupEvent::Crash) && self.connections != all, text)
        })
        .or_else(|| {
            let name = self.assignor.as_deref()?;
            let known = !classic || klamm_client::group::assignor::Assignor::named(name).is_some();
            let text =
                format!("members divide by range, roundrobin or cooperative-sticky, not by {name}");
            says(!known, &text)
        })
    }

    fn producers_contradict(&self) -> Option<String> {
        let says = |wrong: bool, text: String| wrong.then_some(text);
        let text = "acks must be 1 or -1: without answers nothing can be proved";
        says(!matches!(self.acks, 1 | -1), text.to_owned())
            .or_else(|| {
                let text = format!("no codec is called {}", self.codec);
                says(self.compression().is_none(), text)
            })
            .or_else(|| {
                let text = "idempotence needs acks -1, and at most 5 requests in flight";
                let fits = self.acks == -1 && self.depth <= 5;
                says(self.idempotent && !fits, text.to_owned())
            })
            .or_else(|| {
                let text = "key-bytes hold at least the digits of keys";
                let digits = self.keys.max(1).ilog10() as usize + 1;
                says(
                    self.key_bytes > 0 && self.key_bytes < digits,
                    text.to_owned(),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::written::Scenario;

    fn problem(written: WrittenWorkload) -> String {
        match written.check(Mode::Produce) {
            Ok(_) => String::new(),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn command_line_beats_the_scenario_and_both_beat_defaults() {
        let text = "name = 'W9'\nabout = 'x'\nmode = 'produce'\n[workload]\nconnections = 4\n\
                    depth = 7\n";
        let scenario = Scenario::parse("W9", text).expect("a scenario");
        let line = WrittenWorkload {
            depth: Some(3),
            ..WrittenWorkload::default()
        };
        let workload = line.over(&scenario.workload).check(scenario.mode);
        let workload = workload.expect("a workload");
        let found = (workload.connections, workload.depth, workload.acks);
        assert_eq!(found, (4, 3, 1));
    }

    #[test]
    fn unknown_words_in_a_scenario_are_refused() {
        let text = "name = 'W9'\nabout = 'x'\nmode = 'produce'\n[workload]\nconections = 4\n";
        let error = Scenario::parse("W9", text).expect_err("a typing error");
        assert!(error.to_string().contains("conections"), "{error}");
    }

    #[test]
    fn contradictions_are_named() {
        let none = WrittenWorkload::default;
        assert_eq!(problem(none()), "");
        let check = |change: fn(&mut WrittenWorkload), word: &str| {
            let mut written = none();
            change(&mut written);
            let text = problem(written);
            assert!(text.contains(word), "{word}: {text}");
        };
        check(|w| w.acks = Some(0), "acks");
        check(|w| w.codec = Some("lzma".into()), "lzma");
        check(|w| w.partitions_per_request = Some(2), "partitions");
        check(|w| w.arrivals = Some(Arrivals::Poisson), "rate");
        check(|w| w.idempotent = Some(true), "acks -1");
        check(|w| w.account = Some(Account::Consumed), "consumers");
        check(|w| w.catch_up = Some(1), "fill-bytes");
        check(|w| w.topics = Some(0), "topic");
        check(|w| w.key_bytes = Some(2), "digits");
        check(
            |w| (w.rate, w.record_rate) = (Some(1.0), Some(1.0)),
            "enough",
        );
    }
}
