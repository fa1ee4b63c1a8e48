//! Requests from a seed: every key at every version that both serve, each field drawn from a small
//! pool of what exists, what does not, and what cannot be; now and then with bytes that are no
//! message at all.

use serde_json::{Map, Value, json};

use crate::codec::{has, is_nullable};
use crate::groups::GROUPS;
use crate::harness::Random;
use crate::pair::Pair;
use crate::peer::{Ask, Bend};
use crate::table::{Field, Half, Kind, Struct};

/// Topics that requests make and delete.
const OWN: &[&str] = &["gen-a", "gen-b", "gen-c"];
/// How often the topics above are made anew.
const ROUND: usize = 60;
/// Keys that only ask: what a changed byte makes of them cannot do harm, nor take long.
const ASKING: &[i16] = &[2, 3, 18, 23, 35, 46, 55, 60, 61, 74, 75];
/// Keys that no listener of a broker serves: dead ones, the quorum's, and unassigned ones.
const NOBODYS: &[i16] = &[4, 5, 6, 7, 52, 53, 54, 59, 62, 82, 999, -1];

pub(crate) fn run(pair: &mut Pair<'_>, seed: u64, count: usize) {
    let mut dice = Dice(Random::new(seed));
    let keys = pair.keys();
    let windows: Vec<(i16, i16)> = keys
        .iter()
        .flat_map(|&key| pair.versions(key).map(move |version| (key, version)))
        .collect();
    for at in 0..count {
        if at % ROUND == 0 {
            pair.at_newest(19, own_topics());
        }
        // Every version of every key first, then the keys alike.
        let (key, version) = windows.get(at).copied().unwrap_or_else(|| {
            let key = keys[dice.below(keys.len())];
            let versions: Vec<i16> = pair.versions(key).collect();
            (key, versions[dice.below(versions.len())])
        });
        let ask = request(&mut dice, pair, key, version);
        pair.ask(&ask);
    }
}

fn own_topics() -> Value {
    let topics: Vec<Value> = OWN
        .iter()
        .zip(1..)
        .map(|(name, count)| {
            json!({ "name": name, "num_partitions": count, "replication_factor": 1 })
        })
        .collect();
    json!({ "topics": topics, "timeout_ms": 30000 })
}

struct Dice(Random);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0.below(end as u64) as usize
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'a, T>(&mut self, pool: &'a [T]) -> &'a T {
        &pool[self.below(pool.len())]
    }
}

fn request(dice: &mut Dice, pair: &Pair<'_>, key: i16, version: i16) -> Ask {
    if dice.once_in(60) {
        let key = *dice.of(NOBODYS);
        return plain(key, 0, json!({}), Bend::Nothing);
    }
    if dice.once_in(40) {
        let version = *dice.of(&[version_behind(pair, key), 99, i16::MAX, -1]);
        return plain(key, version, json!({}), Bend::Nothing);
    }
    let half = &pair.apis.of(key).request;
    let maker = Maker { half, key, version };
    let mut body = maker.nested(dice, &half.structs[0]);
    tame(&mut body, key, version);
    let bend = if dice.once_in(8) {
        bend(dice, key)
    } else {
        Bend::Nothing
    };
    plain(key, version, body, bend)
}

fn version_behind(pair: &Pair<'_>, key: i16) -> i16 {
    pair.versions(key).end() + 1
}

const fn plain(key: i16, version: i16, body: Value, bend: Bend) -> Ask {
    Ask {
        key,
        version,
        body,
        bend,
    }
}

fn bend(dice: &mut Dice, key: i16) -> Bend {
    match dice.below(5) {
        0 => Bend::Cut(dice.below(1000) as u32),
        1 => Bend::Longer(1 + dice.below(9) as u32),
        2 if ASKING.contains(&key) => Bend::Byte(dice.below(1000) as u32, 1 << dice.below(8)),
        3 => Bend::NullClient,
        // Apache Kafka takes any length below zero for null, klamm for the end of a connection.
        _ if key == 43 => Bend::Nothing,
        _ => Bend::Header,
    }
}

/// Keeps a request from what would take too long, or end the comparison.
fn tame(body: &mut Value, key: i16, version: i16) {
    let set = |body: &mut Value, name: &str, value: Value| {
        if let Some(fields) = body.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    match key {
        // A feature is not to be changed; version 0 knows no trying.
        57 => {
            set(body, "validate_only", json!(true));
            if version == 0 {
                set(body, "feature_updates", json!([]));
            }
        }
        // All keys of a broker at once are a request of the history.
        32 => {
            let resources = body.pointer_mut("/resources");
            for resource in resources
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if resource["resource_type"] == json!(4) && resource["configuration_keys"].is_null()
                {
                    set(resource, "configuration_keys", json!(["log.retention.ms"]));
                }
            }
        }
        // A quota would make answers wait; Apache Kafka takes entities that are alike for one.
        49 => {
            set(body, "validate_only", json!(true));
            truncate(body, "/entries");
            truncate(body, "/entries/0/entity");
        }
        // Apache Kafka never answers an AlterConfigs that names a resource twice, and appends only
        // one of two batches to the same partition.
        33 => truncate(body, "/resources"),
        0 => {
            truncate(body, "/topic_data");
            truncate(body, "/topic_data/0/partition_data");
            // Of two batches Apache Kafka speaks before it looks at what acks may be.
            if body.to_string().contains("none 1+none 1") {
                set(body, "acks", json!(-1));
            }
        }
        // A new member would wait for others that never come.
        11 => set(body, "member_id", json!("stranger")),
        // A client that waits for more than there is waits for its limit.
        1 => set(body, "max_wait_ms", json!(0)),
        _ => {}
    }
}

/// Leaves one element at most.
fn truncate(body: &mut Value, list: &str) {
    if let Some(list) = body.pointer_mut(list).and_then(Value::as_array_mut) {
        list.truncate(1);
    }
}

struct Maker<'a> {
    half: &'a Half,
    key: i16,
    version: i16,
}

impl Maker<'_> {
    fn nested(&self, dice: &mut Dice, of: &Struct) -> Value {
        let mut fields = Map::new();
        for field in &of.fields {
            if has(field.window, self.version) && (field.tag.is_none() || dice.once_in(4)) {
                fields.insert(field.name.clone(), self.field(dice, field));
            }
        }
        if dice.once_in(60) {
            fields.insert("_unknown_tag".to_owned(), json!(77));
        }
        Value::Object(fields)
    }

    fn field(&self, dice: &mut Dice, field: &Field) -> Value {
        let name = field.name.as_str();
        // Null records are left out: Apache Kafka never answers them.
        if field.kind != Kind::Records {
            let is_null = if is_nullable(field, self.version) {
                dice.once_in(4)
            } else {
                let may_be = matches!(field.kind, Kind::String | Kind::Array(_));
                may_be && dice.once_in(150)
            };
            if is_null {
                return Value::Null;
            }
        }
        self.value(dice, &field.kind, name)
    }

    fn value(&self, dice: &mut Dice, kind: &Kind, name: &str) -> Value {
        match kind {
            Kind::Bool => json!(dice.once_in(2)),
            Kind::String => json!(self.text(dice, name)),
            Kind::Uuid => match dice.below(8) {
                0 if self.key != 1 => Value::Null,
                1 => json!("77777777777777777777777777777777"),
                _ => json!(format!("@id of {}", dice.of(self.topics()))),
            },
            Kind::Records | Kind::Bytes => json!(dice.of(RECORDS)),
            Kind::Struct(nested) => self.nested(dice, self.half.find(nested)),
            Kind::Array(element) => {
                let count = *dice.of(&[0, 1, 1, 1, 2, 2, 3]);
                let mut values: Vec<Value> = (0..count)
                    .map(|_| self.value(dice, element, name))
                    .collect();
                if count > 1 && dice.once_in(4) {
                    values[1] = values[0].clone();
                }
                Value::Array(values)
            }
            _ => self.number(dice, name),
        }
    }

    /// Topics that a request may name: of those that it deletes only what is made again.
    fn topics(&self) -> &'static [&'static str] {
        match self.key {
            19 | 20 | 37 => &["gen-a", "gen-b", "gen-c", "gen-a", "gen-b", "absent"],
            _ => &[
                "one",
                "three",
                "compacted",
                "gen-a",
                "gen-b",
                "gen-c",
                "absent",
            ],
        }
    }

    fn text(&self, dice: &mut Dice, name: &str) -> String {
        let long = "l".repeat(250);
        let pool: &[&str] = match (self.key, name) {
            (32 | 33 | 44, "name" | "configuration_keys") => CONFIG_KEYS,
            (19, "name") if dice.once_in(5) => CONFIG_KEYS,
            (_, "value") => CONFIG_VALUES,
            (32 | 33 | 44, "resource_name") if dice.once_in(4) => &["1", "", "9", "x"],
            (57, _) => &[
                "metadata.version",
                "metadata.version",
                "no.such.feature",
                "",
            ],
            (18, _) => &["a", "a-b.c", "", "a b", "-a", "a!"],
            (48 | 49, "entity_type") => &["user", "client-id", "ip", "", "x"],
            (48 | 49, "key") => &["producer_byte_rate", "request_percentage", "x", ""],
            (34, "path") => &["@log dir", "@log dir", "/no/such/folder", "relative", ""],
            (
                8..=16 | 42 | 47,
                "group_id" | "groups" | "groups_names" | "key" | "coordinator_keys",
            ) => GROUPS,
            (8..=16, "member_id" | "group_instance_id") => &["", "stranger"],
            (8, "committed_metadata") => &["", "x"],
            (16, "states_filter") => &["Empty", "stable", "x"],
            (16, "types_filter") => &["classic", "consumer", "x"],
            (1, "cluster_id") => &["@cluster", "x", ""],
            (55, _) if !dice.once_in(4) => &["__cluster_metadata"],
            (_, "transactional_id") => &["t", ""],
            (_, "rack_id") => &["", "a rack"],
            _ if dice.once_in(9) => &["", "a b", ".", &long],
            _ => self.topics(),
        };
        (*dice.of(pool)).to_owned()
    }

    fn number(&self, dice: &mut Dice, name: &str) -> Value {
        let pool: &[i64] = match name {
            "timeout_ms" => &[10000, 30000],
            "partition" | "partitions" | "partition_index" | "partition_indexes" | "index" => {
                &[0, 0, 0, 1, 1, 2, -1, 9999]
            }
            "key_type" => &[0, 0, 0, 0, 7, -1],
            "generation_id" | "generation_id_or_member_epoch" | "member_epoch" => &[-1, -1, 0, 1],
            "session_timeout_ms" => &[60000, 5, -1],
            "acks" => &[-1, -1, -1, 1, 1, 0, 2, -2],
            "broker_ids" | "replicas" => &[1, 1, 1, 9, -1],
            "num_partitions" | "count" => &[1, 2, 3, 4, -1, 0, -2],
            "replication_factor" => &[1, 1, 1, -1, 0, 2, -2],
            "resource_type" if self.key == 32 => &[2, 2, 2, 2, 4, 0, 99, -1],
            "resource_type" => &[2, 2, 2, 2, 0, 99, -1],
            "resource_types" => &[2, 4, 2, 4, 0, 99, -1],
            "config_operation" => &[0, 0, 0, 1, 1, 2, 3, 4, -1],
            "replica_id" => &[-1, -1, -1, -1, -2, 1, 7],
            "isolation_level" => &[0, 0, 0, 0, 1, 1, 2, -1],
            "session_id" => &[0, 0, 0, 5],
            "session_epoch" => &[-1, -1, -1, -1, 0, 1],
            "min_bytes" => &[0, 1, 1, -1, 100],
            "max_bytes" | "partition_max_bytes" => &[1_000_000, 1_000_000, 100, 1, 0, -1],
            "fetch_offset" | "offset" => &[0, 0, 1, 2, 5, 20, -1, -2, 100_000, i64::MAX],
            "timestamp" => &[
                -1,
                -1,
                -2,
                -2,
                -3,
                -4,
                -5,
                -6,
                -9,
                0,
                1_700_000_001_000,
                i64::MAX,
            ],
            "log_start_offset" => &[-1, 0, 7],
            "high_watermark" => &[-1, 0, i64::MAX],
            "current_leader_epoch" => &[-1, -1, 0, 0, 1, -2],
            "leader_epoch" | "last_fetched_epoch" => &[-1, 0, 0, 1, -2],
            "election_type" => &[0, 0, 1, 2, -1],
            "endpoint_type" => &[1, 1, 1, 2, 0, 9],
            "upgrade_type" => &[1, 1, 2, 3, 0, 9],
            "max_version_level" => &[30, 30, 29, 7, 6, 1, 0, -1, 99],
            "response_partition_limit" => &[2000, 2, 1, 0, -1],
            "transaction_timeout_ms" => &[1000, 60000, 0, -1, i64::from(i32::MAX)],
            "producer_id" => &[-1, -1, -1, 5, -2],
            "producer_epoch" => &[-1, -1, 0, 1, -2],
            "replica_epoch" => &[-1, 0],
            _ => &[0, 1, -1, 100],
        };
        json!(dice.of(pool))
    }
}

const RECORDS: &[&str] = &[
    "none 1",
    "none 3",
    "gzip 2",
    "snappy 2",
    "lz4 2",
    "zstd 2",
    "none 2 nokey",
    "none 1 tombstone",
    "none 1+none 1",
    "",
    "junk",
    "none 2 crc=1",
    "none 2 magic=1",
    "none 2 count=3",
    "none 2 attributes=32",
    "none 2 id=5 epoch=0 sequence=0",
    "none 2 producer=0 sequence=7",
];

const CONFIG_KEYS: &[&str] = &[
    "retention.ms",
    "cleanup.policy",
    "max.message.bytes",
    "compression.type",
    "message.timestamp.type",
    "min.insync.replicas",
    "segment.ms",
    "retention.bytes",
    "no.such.key",
    "",
];

const CONFIG_VALUES: &[&str] = &[
    "1000000",
    "1000000",
    "-1",
    "0",
    "x",
    "",
    "delete",
    "compact",
    "compact,delete",
    "lz4",
    "producer",
    "CreateTime",
    "*",
];
