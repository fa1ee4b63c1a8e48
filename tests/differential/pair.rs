//! Both brokers side by side: every request goes to both, and what they make of it is compared.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::apis::Apis;
use crate::compare::{Findings, tree_of};
use crate::peer::{Ask, Bend, Outcome, Peer};

/// How long Apache Kafka may take until every part of it knows what was decided.
const SETTLED: Duration = Duration::from_secs(5);
/// How long an answer may stay different before it is one.
const PATIENCE: Duration = Duration::from_secs(2);
/// APIs whose requests change something; all others can be asked again.
const CHANGING: &[i16] = &[
    0, 1, 8, 11, 12, 13, 14, 19, 20, 21, 22, 33, 34, 37, 42, 43, 44, 45, 47, 57, 68,
];

pub(crate) struct Pair<'a> {
    pub(crate) apis: &'a Apis,
    pub(crate) kafka: Peer<'a>,
    pub(crate) klamm: Peer<'a>,
    pub(crate) findings: Findings,
    /// Lowest and highest version that both have, by key.
    pub(crate) windows: BTreeMap<i16, (i16, i16)>,
}

impl Pair<'_> {
    /// Sends a request to both and takes in what differs.
    pub(crate) fn ask(&mut self, ask: &Ask) {
        let (mut kafka, mut klamm) = self.both(ask);
        // Apache Kafka decides in one thread and tells the others a moment later.
        let deadline = Instant::now() + PATIENCE;
        while !CHANGING.contains(&ask.key)
            && self.findings.is_news(self.apis, ask, &kafka, &klamm)
            && Instant::now() < deadline
        {
            std::thread::park_timeout(Duration::from_millis(40));
            (kafka, klamm) = self.both(ask);
        }
        self.findings.add(self.apis, ask, &kafka, &klamm);
        match ask.key {
            19 | 20 | 37 => self.settle_topics(),
            33 | 44 => self.settle_configs(&ask.body),
            _ => {}
        }
    }

    fn both(&mut self, ask: &Ask) -> (Value, Value) {
        let (kafka, klamm) = (self.kafka.ask(ask), self.klamm.ask(ask));
        // A session ends with its connection: both brokers get a new one, or none does.
        if kafka != klamm {
            let is_closed = |outcome: &Outcome| *outcome == Outcome::Closed;
            if is_closed(&kafka) != is_closed(&klamm) {
                self.kafka.reconnect();
                self.klamm.reconnect();
            }
        }
        (
            tree_of(&self.kafka, ask.key, &kafka),
            tree_of(&self.klamm, ask.key, &klamm),
        )
    }

    /// Asks with a body at every version that both serve.
    pub(crate) fn at_every_version(&mut self, key: i16, body: &Value) {
        for version in self.versions(key) {
            let text = body.to_string().replace("{v}", &version.to_string());
            let body = serde_json::from_str(&text).expect("as it was");
            self.ask(&Ask {
                key,
                version,
                body,
                bend: Bend::Nothing,
            });
        }
    }

    /// Asks with a body at the newest version.
    pub(crate) fn at_newest(&mut self, key: i16, body: Value) {
        let version = *self.versions(key).end();
        self.at(key, version, body);
    }

    pub(crate) fn at(&mut self, key: i16, version: i16, body: Value) {
        self.ask(&Ask {
            key,
            version,
            body,
            bend: Bend::Nothing,
        });
    }

    /// The versions that both advertise; of Produce those that have a meaning.
    pub(crate) fn versions(&self, key: i16) -> RangeInclusive<i16> {
        let (first, last) = self.windows[&key];
        let first = if key == 0 { 3 } else { first };
        first..=last
    }

    /// Every key that both advertise.
    pub(crate) fn keys(&self) -> Vec<i16> {
        self.windows.keys().copied().collect()
    }

    /// Learns what both advertise.
    pub(crate) fn meet(&mut self) {
        let ask = Ask {
            key: 18,
            version: 0,
            body: json!({}),
            bend: Bend::Nothing,
        };
        let (kafka, klamm) = self.both(&ask);
        self.warm_up();
        let (kafka, klamm) = (windows(&kafka), windows(&klamm));
        self.windows = kafka
            .into_iter()
            .filter_map(|(key, (first, last))| {
                let (own_first, own_last) = klamm.get(&key)?;
                Some((key, (first.max(*own_first), last.min(*own_last))))
            })
            .collect();
    }

    /// Waits until Apache Kafka has a block of producer ids, which it asks for when the first one
    /// is wanted.
    fn warm_up(&mut self) {
        let ask = Ask {
            key: 22,
            version: 0,
            body: json!({ "transactional_id": null, "transaction_timeout_ms": 1000 }),
            bend: Bend::Nothing,
        };
        let deadline = Instant::now() + SETTLED;
        while Instant::now() < deadline {
            let outcome = self.kafka.ask(&ask);
            if tree_of(&self.kafka, 22, &outcome)["answer"]["error_code"] == json!(0) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        self.klamm.ask(&ask);
    }

    /// Waits until both know the same topics, and Apache Kafka leads their partitions.
    pub(crate) fn settle_topics(&mut self) {
        let all = Ask {
            key: 3,
            version: 12,
            body: json!({ "topics": null, "allow_auto_topic_creation": false }),
            bend: Bend::Nothing,
        };
        let deadline = Instant::now() + SETTLED;
        loop {
            let (kafka, klamm) = self.both(&all);
            if (kafka == klamm && self.leads(&kafka)) || Instant::now() > deadline {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn leads(&mut self, metadata: &Value) -> bool {
        let topics = metadata["answer"]["topics"].as_array();
        let topics: Vec<Value> = topics
            .into_iter()
            .flatten()
            .map(|topic| {
                let count = topic["partitions"].as_array().map_or(0, Vec::len);
                let partitions: Vec<Value> = (0..count)
                    .map(|index| json!({ "partition_index": index, "timestamp": -1 }))
                    .collect();
                json!({ "name": topic["name"], "partitions": partitions })
            })
            .collect();
        let ends = Ask {
            key: 2,
            version: 5,
            body: json!({ "replica_id": -1, "topics": topics }),
            bend: Bend::Nothing,
        };
        let outcome = self.kafka.ask(&ends);
        let answer = tree_of(&self.kafka, 2, &outcome);
        !answer
            .to_string()
            .replace("\"error_code\":0", "")
            .contains("\"error_code\"")
    }

    /// Waits until both describe the same configuration of what a request names, if they ever do.
    fn settle_configs(&mut self, body: &Value) {
        let named: Vec<Value> = body["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|resource| resource["resource_type"] == 2 || resource["resource_type"] == 32)
            .map(|resource| {
                let keys: Vec<&Value> = resource["configs"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|config| &config["name"])
                    .collect();
                json!({
                    "resource_type": resource["resource_type"],
                    "resource_name": resource["resource_name"],
                    "configuration_keys": keys,
                })
            })
            .collect();
        if named.is_empty() {
            return;
        }
        let ask = Ask {
            key: 32,
            version: 1,
            body: json!({ "resources": named }),
            bend: Bend::Nothing,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (kafka, klamm) = self.both(&ask);
            let is_news = self.findings.is_news(self.apis, &ask, &kafka, &klamm);
            if !is_news || Instant::now() > deadline {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn windows(answer: &Value) -> BTreeMap<i16, (i16, i16)> {
    let rows = answer["answer"]["api_keys"].as_array();
    let number = |value: &Value| value.as_i64().expect("a number") as i16;
    rows.into_iter()
        .flatten()
        .map(|row| {
            let window = (number(&row["min_version"]), number(&row["max_version"]));
            (number(&row["api_key"]), window)
        })
        .collect()
}
