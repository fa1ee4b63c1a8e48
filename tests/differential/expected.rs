//! Which of the differences that docs/reference/differences.md tells can be seen here, and how they
//! look. A row that no answer shows any more fails the test, as does a difference without a row.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::compare::{Exchange, Finding};
use crate::peer::Bend;

/// Where the rows stand for people.
pub(crate) const PAGE: &str = "docs/reference/differences.md";

/// One row.
pub(crate) struct Expected {
    /// The first column of the page, word by word.
    pub(crate) subject: &'static str,
    /// True where the finding is what the row tells.
    pub(crate) is_it: fn(&Exchange<'_>, &Finding) -> bool,
}

pub(crate) const EXPECTED: &[Expected] = &[
    Expected {
        subject: "Keys, versions and features that ApiVersions names",
        is_it: |exchange, finding| {
            let lists = ["api_keys", "finalized_features", "supported_features"];
            exchange.ask.key == 18 && lists.contains(&finding.path.as_str())
        },
    },
    Expected {
        subject: "An isolation level that is neither 0 nor 1 (Fetch, ListOffsets)",
        is_it: |exchange, _| {
            let level = exchange.number("isolation_level").unwrap_or(0);
            exchange.is_closed_by_klamm(&[1, 2]) && !(0..=1).contains(&level)
        },
    },
    Expected {
        subject: "Fetch and ListOffsets in the name of a replica",
        is_it: |exchange, _| {
            let state = &exchange.ask.body["replica_state"]["replica_id"];
            let replica = exchange.number("replica_id").max(state.as_i64());
            exchange.is_closed_by_klamm(&[1, 2]) && replica >= Some(0)
        },
    },
    Expected {
        subject: "A Fetch of fewer than no bytes",
        is_it: |exchange, _| {
            let body = exchange.ask.body.to_string();
            exchange.ask.key == 1 && body.contains("max_bytes\":-1")
        },
    },
    Expected {
        subject: "A fetch session of nothing, or of a topic whose name no topic can have",
        is_it: |exchange, finding| {
            let is_new = finding.kafka == json!("a session") && finding.klamm == json!(0);
            exchange.ask.key == 1 && finding.path == "session_id" && is_new
        },
    },
    Expected {
        subject: "A topic or partition that Fetch, ListOffsets or DeleteRecords names twice",
        is_it: |exchange, finding| {
            let path = finding.path.replace("responses", "topics");
            let is_list = path.starts_with("topics");
            [1, 2, 21].contains(&exchange.ask.key) && is_list && exchange.names_twice()
        },
    },
    Expected {
        subject: "A partition that DescribeProducers names twice, or a resource that DescribeConfigs does",
        is_it: |exchange, finding| {
            let lists = ["topics", "topics[].partitions", "results"];
            let is_list = lists.contains(&finding.path.as_str());
            [32, 61].contains(&exchange.ask.key) && is_list && exchange.names_twice()
        },
    },
    Expected {
        subject: "A batch in Produce that breaks its encoding",
        is_it: |exchange, finding| {
            let body = exchange.ask.body["topic_data"].to_string();
            let breaks = body.contains("junk") || body.contains("magic=");
            let is_list = finding.path.ends_with("partition_responses");
            exchange.ask.key == 0 && breaks && !is_list
        },
    },
    Expected {
        subject: "Start of the log beside a batch that was refused (Produce)",
        is_it: |exchange, finding| {
            let is_start = finding.path.ends_with("log_start_offset");
            exchange.ask.key == 0 && is_start && finding.klamm == json!(-1)
        },
    },
    Expected {
        subject: "Batches that no client makes, and two batches for one partition in one Produce",
        is_it: |exchange, _| {
            let topic = &exchange.ask.body["topic_data"][0]["name"];
            exchange.ask.key == 0 && topic == &json!("odd")
        },
    },
    Expected {
        subject: "Sentences beside error codes (`error_message`)",
        is_it: |exchange, finding| {
            let has_none = finding.kafka.is_null() || finding.kafka == json!("");
            let is_more = has_none && finding.klamm == json!("a text");
            let of_features = exchange.ask.key == 57 && finding.klamm.is_null();
            finding.path.ends_with("error_message") && (is_more || of_features)
        },
    },
    Expected {
        subject: "A topic that OffsetDelete names twice",
        is_it: |exchange, finding| {
            let topics = exchange.ask.body["topics"].as_array().into_iter().flatten();
            let mut names = BTreeSet::new();
            let is_twice = topics
                .map(|topic| topic["name"].to_string())
                .any(|name| !names.insert(name));
            exchange.ask.key == 47 && finding.path == "topics" && is_twice
        },
    },
    Expected {
        subject: "Lengths below -1, and text that is not UTF-8",
        is_it: |exchange, finding| {
            let is_bent = matches!(exchange.ask.bend, Bend::Byte(..) | Bend::Header);
            is_bent && finding.path.is_empty() && *exchange.klamm == json!("closed")
        },
    },
    Expected {
        subject: "A group of which nothing is left (OffsetDelete)",
        is_it: |exchange, finding| {
            let codes = (finding.kafka.as_i64(), finding.klamm.as_i64());
            let is_deleted = exchange.ask.key == 42 && codes == (Some(0), Some(69));
            let is_joined = exchange.ask.key == 11 && codes == (Some(23), Some(25));
            let is_kept = exchange.ask.key == 8 && codes == (Some(25), Some(22));
            finding.path.ends_with("error_code") && (is_deleted || is_joined || is_kept)
        },
    },
    Expected {
        subject: "Time of a batch that was sent again (Produce)",
        is_it: |exchange, finding| {
            let is_time = finding.path.ends_with("log_append_time_ms");
            exchange.ask.key == 0 && is_time && finding.klamm == json!(-1)
        },
    },
    Expected {
        subject: "Transactional ids",
        is_it: |exchange, finding| {
            let has_one = !exchange.ask.body["transactional_id"].is_null();
            // Whether a batch may be part of a transaction is asked before anything else.
            let is_denied = exchange.ask.key == 0 && finding.kafka == json!(53);
            (exchange.ask.key == 22 && has_one) || is_denied
        },
    },
    Expected {
        subject: "`min.insync.replicas` of all brokers",
        is_it: |exchange, finding| {
            let is_source = finding.path.ends_with("config_source") && finding.kafka == json!(3);
            let is_synonym = finding.path.ends_with("synonyms")
                && finding.kafka.to_string().contains("min.insync.replicas");
            let is_kept = exchange.ask.key == 33 && exchange.kafka.to_string().contains(":40,");
            let is_in_list = finding.path == "results[].configs"
                && finding.kafka.to_string().contains("min.insync.replicas")
                && !finding.klamm.to_string().contains("min.insync.replicas");
            is_source || is_synonym || is_kept || is_in_list
        },
    },
    Expected {
        subject: "Source of a topic's value that the file gives in hours or minutes (`log.retention.hours`)",
        is_it: |_, finding| {
            let is_synonym = finding.path.ends_with("synonyms");
            is_synonym && finding.kafka.to_string().contains("log.retention.hours")
        },
    },
    Expected {
        subject: "Default of `node.id`",
        is_it: |_, finding| {
            let is_synonym = finding.path.ends_with("synonyms");
            is_synonym && finding.klamm.to_string().contains("node.id")
        },
    },
    Expected {
        subject: "A resource type that does not exist (DescribeConfigs)",
        is_it: |exchange, _| {
            let types = exchange.all("resources", "resource_type");
            exchange.ask.key == 32 && !types.iter().all(|kind| [2, 4, 32].contains(kind))
        },
    },
    Expected {
        subject: "An operation that IncrementalAlterConfigs does not have, on a topic",
        is_it: |exchange, finding| {
            let is_code = finding.path.ends_with("error_code");
            exchange.ask.key == 44 && is_code && finding.kafka == json!(-1)
        },
    },
    Expected {
        subject: "An empty name in DescribeTopicPartitions",
        is_it: |exchange, _| {
            let topics = exchange.ask.body["topics"].to_string();
            exchange.ask.key == 75 && topics.contains("\"name\":\"\"")
        },
    },
    Expected {
        subject: "Groups without members and offsets",
        is_it: |exchange, finding| match exchange.ask.key {
            15 => {
                finding.kafka == json!("Empty") && finding.klamm == json!("Dead")
                    || finding.kafka == json!(0) && finding.klamm == json!(69)
                    || finding.path.ends_with("operations") && finding.kafka == json!(3400)
            }
            16 => finding.path == "groups" && are_few_more(&finding.kafka, &finding.klamm),
            42 => finding.kafka == json!(0) && finding.klamm == json!(69),
            47 => {
                exchange.klamm["answer"]["error_code"] == json!(69)
                    && exchange.kafka["answer"]["error_code"] == json!(0)
            }
            _ => false,
        },
    },
    Expected {
        subject: "Topics by id in Metadata before version 12, beside names, or with neither",
        is_it: |exchange, _| exchange.ask.key == 3 && exchange.mixes_ids(),
    },
    Expected {
        subject: "An election of a kind that does not exist, of no partitions",
        is_it: |exchange, finding| exchange.ask.key == 43 && finding.path == "error_code",
    },
    Expected {
        subject: "A topic that DeleteTopics names by name and by id",
        is_it: |exchange, finding| exchange.ask.key == 20 && finding.path == "responses[].topic_id",
    },
    Expected {
        subject: "More than 10000 new partitions at once",
        is_it: |exchange, finding| exchange.ask.key == 37 && finding.kafka == json!(-1),
    },
    Expected {
        subject: "Offset of the largest timestamp behind DeleteRecords",
        is_it: |exchange, _| {
            let body = exchange.ask.body.to_string();
            exchange.ask.key == 2 && body.contains("\"timestamp\":-3")
        },
    },
    Expected {
        subject: "Endpoints of the quorum's voters (DescribeQuorum)",
        is_it: |exchange, finding| {
            exchange.ask.key == 55 && finding.path.starts_with("nodes[].listeners")
        },
    },
];

/// True where Apache Kafka lists all that klamm does, and groups besides whose members had no kind.
fn are_few_more(kafka: &Value, klamm: &Value) -> bool {
    let (Some(kafka), Some(klamm)) = (kafka.as_array(), klamm.as_array()) else {
        return false;
    };
    let more = kafka.iter().filter(|group| !klamm.contains(group));
    klamm.iter().all(|group| kafka.contains(group))
        && more
            .into_iter()
            .all(|group| group["protocol_type"] == json!(""))
}

impl Exchange<'_> {
    fn number(&self, field: &str) -> Option<i64> {
        self.ask.body.get(field).and_then(Value::as_i64)
    }

    fn is_closed_by_klamm(&self, keys: &[i16]) -> bool {
        keys.contains(&self.ask.key) && *self.klamm == json!("closed")
    }

    /// The numbers that a field of all elements of a list has.
    fn all(&self, list: &str, field: &str) -> Vec<i64> {
        let elements = self.ask.body[list].as_array();
        let elements = elements.into_iter().flatten();
        elements
            .filter_map(|element| element[field].as_i64())
            .collect()
    }

    /// True where a topic and partition, or a resource, stands in the request more than once.
    fn names_twice(&self) -> bool {
        let lists = [&self.ask.body["topics"], &self.ask.body["resources"]];
        let named = lists.iter().filter_map(|list| list.as_array()).flatten();
        let mut seen = BTreeSet::new();
        for one in named {
            let name = format!(
                "{}{}{}",
                one["name"], one["resource_type"], one["resource_name"]
            );
            let topic = format!("{}{}{}", one["name"], one["topic"], one["topic_id"]);
            if one.get("partitions").is_some() && !seen.insert(topic) {
                return true;
            }
            let partitions = [&one["partitions"], &one["partition_indexes"]];
            let partitions = partitions
                .iter()
                .filter_map(|list| list.as_array())
                .flatten();
            let mut indexes: Vec<String> = partitions
                .map(|partition| {
                    let index = partition.get("partition_index");
                    let index = index.or_else(|| partition.get("partition"));
                    index.unwrap_or(partition).to_string()
                })
                .collect();
            if one.get("resource_type").is_some() {
                indexes.push(String::new());
            }
            for index in indexes {
                if !seen.insert(format!("{name} {index}")) {
                    return true;
                }
            }
        }
        false
    }

    /// True where a topic is named by id before that is so, beside one that is named by name, or
    /// by neither.
    fn mixes_ids(&self) -> bool {
        let topics = self.ask.body["topics"].as_array();
        let topics: Vec<_> = topics.into_iter().flatten().collect();
        let by_id = |topic: &&&Value| topic["topic_id"].as_str().is_some();
        let with_id = topics.iter().filter(by_id).count();
        let with_neither = topics
            .iter()
            .any(|topic| topic["name"].is_null() && topic["topic_id"].is_null());
        let is_early = self.ask.version < 12 && with_id > 0;
        let is_mixed = with_id > 0 && with_id < topics.len();
        self.ask.version >= 10 && (is_early || is_mixed || with_neither)
    }
}
