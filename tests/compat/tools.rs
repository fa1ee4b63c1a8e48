//! Apache Kafka's own tools against klamm, and one of them on klamm's files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clients::java;
use crate::flights::one_line;
use crate::harness::{Broker, Options, RawBatch, Record, skipped, unique};
use crate::install::{self, run};

const LIMIT: Duration = Duration::from_secs(120);

/// A broker, and the tools that shall be run against it.
struct Bench {
    jars: PathBuf,
    broker: Broker,
}

impl Bench {
    fn new(test: &str) -> Option<Self> {
        match install::java() {
            Ok(jars) => Some(Self {
                jars,
                broker: Broker::start(),
            }),
            Err(missing) => {
                skipped(test, &one_line(&missing));
                None
            }
        }
    }

    /// Runs a tool that talks to the broker; gives what it wrote.
    fn run(&self, class: &str, arguments: &[&str], input: Option<&str>) -> String {
        self.run_class(&format!("org.apache.kafka.tools.{class}"), arguments, input)
    }

    fn run_class(&self, class: &str, arguments: &[&str], input: Option<&str>) -> String {
        let server = self.broker.address().to_string();
        let mut command = java(&self.jars);
        command.arg(class);
        command
            .args(["--bootstrap-server", &server])
            .args(arguments);
        tool(&mut command, input)
    }
}

fn tool(command: &mut Command, input: Option<&str>) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("input");
    std::fs::write(&path, input.unwrap_or("")).expect("writes");
    match run(command, Some(&path), LIMIT) {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                !output.stderr.contains("Exception"),
                "{command:?}: {}",
                output.stderr
            );
            text
        }
        Err(reason) => panic!("{reason}"),
    }
}

#[test]
fn kafka_topics_creates_lists_describes_and_deletes() {
    let test = "kafka_topics_creates_lists_describes_and_deletes";
    let Some(bench) = Bench::new(test) else {
        return;
    };
    let name = unique("tool");
    let topics = |arguments: &[&str]| bench.run("TopicCommand", arguments, None);
    let config = ["--config", "retention.ms=3600000"];
    let create = ["--create", "--topic", &name, "--partitions", "3"];
    topics(&[&create[..], &config].concat());
    assert!(topics(&["--list"]).lines().any(|line| line == name));
    let described = topics(&["--describe", "--topic", &name]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("retention.ms=3600000"), "{described}");
    assert_eq!(described.matches("Leader: ").count(), 3, "{described}");
    topics(&["--delete", "--topic", &name]);
    assert!(!topics(&["--list"]).contains(&name));
}

#[test]
fn kafka_topics_adds_partitions() {
    let Some(bench) = Bench::new("kafka_topics_adds_partitions") else {
        return;
    };
    let topic = bench.broker.client().create_topic("tool-grown", 2);
    let topics = |arguments: &[&str]| {
        let named = ["--topic", topic.name.as_str()];
        bench.run("TopicCommand", &[arguments, &named].concat(), None)
    };
    topics(&["--alter", "--partitions", "4"]);
    let by_hand = ["--partitions", "6", "--replica-assignment", "1,1,1,1,1,1"];
    topics(&[&["--alter"][..], &by_hand].concat());
    let described = topics(&["--describe"]);
    assert!(described.contains("PartitionCount: 6"), "{described}");
    assert_eq!(described.matches("Leader: 1").count(), 6, "{described}");
}

#[test]
fn kafka_configs_changes_and_describes_topics_and_brokers() {
    let test = "kafka_configs_changes_and_describes_topics_and_brokers";
    let Some(bench) = Bench::new(test) else {
        return;
    };
    let topic = bench.broker.client().create_topic("tool-configured", 1);
    let configs = |entity: &[&str], arguments: &[&str]| {
        let class = "kafka.admin.ConfigCommand";
        bench.run_class(class, &[arguments, entity].concat(), None)
    };
    let of_topic = ["--entity-type", "topics", "--entity-name", &topic.name];
    let of_broker = ["--entity-type", "brokers", "--entity-name", "1"];
    let of_all = ["--entity-type", "brokers", "--entity-default"];
    let alter = |entity: &[&str], change: &[&str]| {
        let said = configs(entity, &[&["--alter"][..], change].concat());
        assert!(said.contains("Completed updating"), "{change:?}: {said}");
    };
    let describe = |entity: &[&str], expected: &str| {
        let said = configs(entity, &["--describe"]);
        assert!(said.contains(expected), "{expected} is missing in {said}");
    };
    let set = "segment.ms=70000000,cleanup.policy=[compact,delete]";
    alter(&of_topic, &["--add-config", set]);
    let synonyms = "{DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, \
                    DEFAULT_CONFIG:log.cleanup.policy=delete}";
    let listed = format!("cleanup.policy=compact,delete sensitive=false synonyms={synonyms}");
    describe(&of_topic, &listed);
    alter(&of_topic, &["--delete-config", "cleanup.policy"]);
    let said = configs(&of_topic, &["--describe"]);
    assert!(!said.contains("cleanup.policy"), "{said}");

    alter(&of_all, &["--add-config", "message.max.bytes=500000"]);
    alter(&of_broker, &["--add-config", "message.max.bytes=400000"]);
    let synonyms = "{DYNAMIC_BROKER_CONFIG:message.max.bytes=400000, \
                    DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=500000, \
                    DEFAULT_CONFIG:message.max.bytes=1048588}";
    let listed = format!("message.max.bytes=400000 sensitive=false synonyms={synonyms}");
    describe(&of_broker, &listed);
    let synonyms = "{DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=500000}";
    let listed = format!("message.max.bytes=500000 sensitive=false synonyms={synonyms}");
    describe(&of_all, &listed);
    alter(&of_broker, &["--delete-config", "message.max.bytes"]);
    alter(&of_all, &["--delete-config", "message.max.bytes"]);
    let said = configs(&of_all, &["--describe"]);
    assert!(!said.contains("message.max.bytes"), "{said}");
    // Nothing can be set for loggers and client metrics, and asking for them is no error.
    let of_loggers = ["--entity-type", "broker-loggers", "--entity-name", "1"];
    configs(&of_loggers, &["--describe"]);
    configs(&["--entity-type", "client-metrics"], &["--describe"]);
}

#[test]
fn console_producer_and_consumer_pass_lines_on() {
    let Some(bench) = Bench::new("console_producer_and_consumer_pass_lines_on") else {
        return;
    };
    let topic = bench.broker.client().create_topic("console", 1);
    let lines: String = (0..100)
        .map(|number| format!("key{number}:value {number}\n"))
        .collect();
    let properties = [
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
    ];
    let to = ["--topic", &topic.name];
    bench.run(
        "ConsoleProducer",
        &[&to[..], &properties].concat(),
        Some(&lines),
    );
    let from = [
        "--partition",
        "0",
        "--offset",
        "earliest",
        "--max-messages",
        "100",
    ];
    let properties = [
        "--formatter-property",
        "print.key=true",
        "--formatter-property",
        "key.separator=:",
    ];
    let arguments = [&to[..], &from, &properties].concat();
    assert_eq!(
        bench.run("consumer.ConsoleConsumer", &arguments, None),
        lines
    );
    let offsets = bench.run("GetOffsetShell", &to, None);
    assert_eq!(offsets.trim(), format!("{}:0:100", topic.name));
    let earliest = bench.run(
        "GetOffsetShell",
        &[&to[..], &["--time", "earliest"]].concat(),
        None,
    );
    assert_eq!(earliest.trim(), format!("{}:0:0", topic.name));
}

/// Runs a command of the binary under test.
fn klamm(broker: &Broker, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command
        .args(arguments)
        .arg("--quiet")
        .env("KLAMM_BOOTSTRAP", broker.address().to_string());
    tool(&mut command, Some(input))
}

fn keyed_lines(range: std::ops::Range<u32>) -> String {
    range
        .map(|number| format!("key {number}:value {number}\n"))
        .collect()
}

#[test]
fn what_klamm_produce_writes_in_every_codec_the_console_consumer_reads() {
    let Some(bench) = Bench::new("what_klamm_produce_writes_in_every_codec") else {
        return;
    };
    let topic = bench.broker.client().create_topic("codecs", 1);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (at, codec) in (0..).zip(codecs) {
        let lines = keyed_lines(at * 200..(at + 1) * 200);
        let arguments = ["produce", &topic.name, "-k", ":", "--compression", codec];
        klamm(&bench.broker, &arguments, &lines);
    }
    let arguments = [
        "--topic",
        &topic.name,
        "--partition",
        "0",
        "--offset",
        "earliest",
        "--max-messages",
        "1000",
        "--formatter-property",
        "print.key=true",
        "--formatter-property",
        "key.separator=:",
    ];
    let read = bench.run("consumer.ConsoleConsumer", &arguments, None);
    assert_eq!(read, keyed_lines(0..1000));
}

#[test]
fn klamm_produce_puts_keys_where_kafkas_producer_puts_them() {
    let Some(bench) = Bench::new("klamm_produce_puts_keys_where_kafkas_producer_puts_them") else {
        return;
    };
    let lines = keyed_lines(0..3000);
    let mut client = bench.broker.client();
    let (ours, theirs) = (
        client.create_topic("ours", 12),
        client.create_topic("theirs", 12),
    );
    klamm(&bench.broker, &["produce", &ours.name, "-k", ":"], &lines);
    let arguments = [
        "--topic",
        &theirs.name,
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
    ];
    bench.run("ConsoleProducer", &arguments, Some(&lines));
    let placed = |topic: &str| {
        let arguments = ["consume", topic, "--format", "%k in %p\\n"];
        let text = klamm(&bench.broker, &arguments, "");
        let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    };
    let rows = placed(&ours.name);
    assert_eq!(rows.len(), 3000);
    assert_eq!(rows, placed(&theirs.name));
}

#[test]
fn broker_api_versions_understands_every_key() {
    let Some(bench) = Bench::new("broker_api_versions_understands_every_key") else {
        return;
    };
    let found = bench.run("BrokerApiVersionsCommand", &[], None);
    assert!(
        found.contains(&bench.broker.address().to_string()),
        "{found}"
    );
    for key in [
        "Produce(0): 0 to 13",
        "Fetch(1): 4 to 18",
        "Metadata(3): 0 to 13",
    ] {
        assert!(found.contains(key), "{key} is missing in {found}");
    }
    assert!(!found.contains("UNKNOWN("), "{found}");
}

/// Columns of a table that a tool wrote below its head line, one row a line.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().skip(1).map(str::trim);
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn log_dirs_shows_what_partitions_take() {
    let Some(bench) = Bench::new("log_dirs_shows_what_partitions_take") else {
        return;
    };
    let mut client = bench.broker.client();
    let topic = client.create_topic("sized", 1);
    let batch = RawBatch::one("x").encode();
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    let arguments = ["--describe", "--topic-list", &topic.name];
    let found = bench.run("LogDirsCommand", &arguments, None);
    let expected = format!("\"partition\":\"{}-0\"", topic.name);
    assert!(found.contains(&expected), "{found}");
    let size = format!("\"size\":{}", batch.len());
    assert!(found.contains(&size), "{found}");
}

#[test]
fn metadata_quorum_shows_one_voter_that_leads() {
    let Some(bench) = Bench::new("metadata_quorum_shows_one_voter_that_leads") else {
        return;
    };
    let quorum = |what: &str| bench.run("MetadataQuorumCommand", &["describe", what], None);
    let status = quorum("--status");
    for part in ["ClusterId:", "LeaderId:", "LeaderEpoch:", "HighWatermark:"] {
        assert!(status.contains(part), "{status}");
    }
    assert!(status.contains("MaxFollowerLag:         0"), "{status}");
    let port = format!(":{}\"", bench.broker.address().port());
    assert!(status.contains(&port), "{status}");
    let replication = quorum("--replication");
    let rows = rows(&replication);
    assert_eq!(rows.len(), 1, "{replication}");
    assert_eq!(rows[0].last(), Some(&"Leader"), "{replication}");
}

#[test]
fn features_are_described_and_stay() {
    let Some(bench) = Bench::new("features_are_described_and_stay") else {
        return;
    };
    let found = bench.run("FeatureCommand", &["describe"], None);
    let line = found.lines().find(|line| line.contains("metadata.version"));
    let line = line.unwrap_or_else(|| panic!("{found}"));
    for part in [
        "SupportedMinVersion: 3.3-IV3",
        "FinalizedVersionLevel: 4.3-IV0",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn leader_election_and_reassignment_have_nothing_to_do() {
    let test = "leader_election_and_reassignment_have_nothing_to_do";
    let Some(bench) = Bench::new(test) else {
        return;
    };
    let topic = bench.broker.client().create_topic("led", 2);
    let kind = ["--election-type", "preferred"];
    let all = [&kind[..], &["--all-topic-partitions"]].concat();
    bench.run("LeaderElectionCommand", &all, None);
    let one = ["--topic", &topic.name, "--partition", "1"];
    let found = bench.run("LeaderElectionCommand", &[&kind[..], &one].concat(), None);
    let expected = format!(
        "Valid replica already elected for partitions {}-1",
        topic.name
    );
    assert!(found.contains(&expected), "{found}");
    let found = bench.run("reassign.ReassignPartitionsCommand", &["--list"], None);
    assert_eq!(found.trim(), "No partition reassignments found.");
}

#[test]
fn transactions_tool_describes_producers() {
    let Some(bench) = Bench::new("transactions_tool_describes_producers") else {
        return;
    };
    let mut client = bench.broker.client();
    let topic = client.create_topic("producers", 1);
    let (id, epoch) = client.init_producer_id();
    let batch = RawBatch::one("x").of_producer(id, epoch, 0).encode();
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    let arguments = [
        "describe-producers",
        "--topic",
        &topic.name,
        "--partition",
        "0",
    ];
    let found = bench.run("TransactionsCommand", &arguments, None);
    let rows = rows(&found);
    let [row] = &rows[..] else {
        panic!("{found}");
    };
    let (id, epoch) = (id.to_string(), epoch.to_string());
    assert_eq!(row[..2], [id.as_str(), epoch.as_str()], "{found}");
    assert_eq!((row[3], row.last()), ("0", Some(&"None")), "{found}");
}

#[test]
fn delete_records_moves_the_start_of_a_log() {
    let Some(bench) = Bench::new("delete_records_moves_the_start_of_a_log") else {
        return;
    };
    let mut client = bench.broker.client();
    let topic = client.create_topic("trimmed", 1);
    for _ in 0..5 {
        let batch = RawBatch::one("x").encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!(
        r#"{{"partitions":[{{"topic":"{}","partition":0,"offset":3}}],"version":1}}"#,
        topic.name
    );
    std::fs::write(file.path(), text).expect("writes");
    let path = file.path().display().to_string();
    let found = bench.run("DeleteRecordsCommand", &["--offset-json-file", &path], None);
    let expected = format!("partition: {}-0\tlow_watermark: 3", topic.name);
    assert!(found.contains(&expected), "{found}");
    let earliest = ["--topic", &topic.name, "--time", "earliest"];
    let found = bench.run("GetOffsetShell", &earliest, None);
    assert_eq!(found.trim(), format!("{}:0:3", topic.name));
}

#[test]
fn cluster_tool_reads_the_id_of_the_cluster() {
    let Some(bench) = Bench::new("cluster_tool_reads_the_id_of_the_cluster") else {
        return;
    };
    let server = bench.broker.address().to_string();
    let ask = |what: &str| {
        let mut command = java(&bench.jars);
        command.args(["org.apache.kafka.tools.ClusterTool", what]);
        tool(command.args(["--bootstrap-server", &server]), None)
    };
    let found = ask("cluster-id");
    assert!(found.starts_with("Cluster ID: "), "{found}");
    let found = ask("list-endpoints");
    assert!(
        found.contains(&bench.broker.address().port().to_string()),
        "{found}"
    );
}

#[test]
fn producer_perf_test_delivers_all_its_records() {
    let Some(bench) = Bench::new("producer_perf_test_delivers_all_its_records") else {
        return;
    };
    let topic = bench.broker.client().create_topic("perf", 4);
    let server = format!("bootstrap.servers={}", bench.broker.address());
    for (acks, codec) in [("all", "none"), ("1", "zstd")] {
        let mut command = java(&bench.jars);
        command.arg("org.apache.kafka.tools.ProducerPerformance");
        command.args([
            "--topic",
            &topic.name,
            "--num-records",
            "20000",
            "--record-size",
            "100",
        ]);
        command.args(["--throughput", "-1", "--producer-props", &server]);
        command.args([
            &format!("acks={acks}"),
            &format!("compression.type={codec}"),
        ]);
        let found = tool(&mut command, None);
        assert!(found.contains("20000 records sent"), "{found}");
    }
    let mut client = bench.broker.client();
    let ends: i64 = (0..4)
        .map(|part| client.list_offset(&topic, part, -1).offset)
        .sum();
    assert_eq!(ends, 40_000);
}

#[test]
fn dump_log_reads_klamm_s_files() {
    let test = "dump_log_reads_klamm_s_files";
    let jars = match install::java() {
        Ok(jars) => jars,
        Err(missing) => return skipped(test, &one_line(&missing)),
    };
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("dumped", 1);
    for codec in crate::harness::Codec::ALL {
        let records: Vec<_> = (0..20)
            .map(|n| Record::new(format!("k{n}"), format!("{codec:?} {n}")))
            .collect();
        let batch = RawBatch::compressed(&records, codec).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    // The index has an entry for each 4 KiB of log.
    for _ in 0..10 {
        let batch = RawBatch::one(&"x".repeat(5000)).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    broker.stop();
    let files = files_of(broker.folder(), &topic.name);
    let of = |ending: &str| -> Vec<String> {
        let found = files
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == ending));
        found.map(|path| path.display().to_string()).collect()
    };
    let logs = of("log");
    assert!(!logs.is_empty(), "no segment among {files:?}");
    let mut command = java(&jars);
    command.args(["org.apache.kafka.tools.DumpLogSegments", "--print-data-log"]);
    let found = tool(
        command.args(["--deep-iteration", "--files", &logs.join(",")]),
        None,
    );
    assert_eq!(found.matches("isvalid: true").count(), 15, "{found}");
    assert!(!found.contains("isvalid: false"), "{found}");
    for codec in crate::harness::Codec::ALL {
        for number in 0..20 {
            let payload = format!("payload: {codec:?} {number}\n");
            assert!(found.contains(&payload), "{payload} is missing in {found}");
        }
    }
    for ending in ["index", "timeindex"] {
        for file in of(ending) {
            let mut command = java(&jars);
            command.args(["org.apache.kafka.tools.DumpLogSegments", "--files", &file]);
            command.arg("--index-sanity-check");
            let found = tool(&mut command, None);
            assert!(found.contains("passed sanity check"), "{file}: {found}");
        }
    }
}

/// All files below `folder` in folders that are named after the topic.
fn files_of(folder: &Path, topic: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_of(&path, topic));
        } else if path.to_string_lossy().contains(topic) {
            found.push(path);
        }
    }
    found
}
