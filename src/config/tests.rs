//! Claims about checking a configuration as a whole.

use std::collections::BTreeMap;
use std::path::Path;

use klamm_model::{Durability, NodeId, TopicConfig};

use super::raw::RawConfig;
use super::*;

/// A combined-mode file with the keys that Apache Kafka's own sample sets.
const KAFKA_STYLE_FILE: &str = "\
# one node that is broker and controller
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

fn host() -> HostFacts {
    HostFacts {
        cores: vec![0, 1, 2, 3],
        core_limit: None,
        memory_bytes: 16 << 30,
        hostname: Some("box".to_owned()),
    }
}

fn read(text: &str) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    let raw = RawConfig::parse(text, Path::new("server.properties")).expect("legal properties");
    Config::from_raw(&raw, &host())
}

fn accepted(text: &str) -> (Config, Vec<Warning>) {
    read(text).unwrap_or_else(|problems| panic!("{text:?} is refused: {problems:?}"))
}

/// The only problem of a text: its key, and a part of what it says.
fn refused(text: &str, key: &str, part: &str) {
    let problems = read(text).expect_err(text);
    assert_eq!(problems.len(), 1, "{text:?}: {problems:?}");
    assert_eq!(problems[0].key, key, "{text:?}");
    let shown = problems[0].to_string();
    assert!(
        shown.contains(part) && shown.contains("to change: "),
        "{shown}"
    );
}

#[test]
fn without_a_file_it_listens_on_loopback_and_uses_every_core() {
    let (config, warnings) = accepted("");
    assert_eq!(warnings, []);
    assert_eq!(config.node_id, NodeId(1));
    assert_eq!(config.data_dirs, [Path::new("./klamm-data")]);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:9092");
    assert_eq!(config.listeners[0].advertised.host, "127.0.0.1");
    assert_eq!(config.listeners[0].advertised.port, None);
    assert_eq!(config.shards.count, 4);
    assert!(config.shards.cores.is_empty(), "{:?}", config.shards.cores);
    assert_eq!(config.shards.tail_bytes_max, 256 << 20);
    assert_eq!(config.durability, Durability::Flushed);
    assert_eq!(
        config.admin.map(|admin| admin.to_string()).as_deref(),
        Some("127.0.0.1:9644")
    );
    assert_eq!(config.sockets.request_bytes_max, 104_857_600);
    assert_eq!(config.fetch.response_bytes_max, 57_671_680);
    assert!(config.topics.auto_create && config.topics.delete_enable);
}

#[test]
fn a_kafka_combined_mode_file_is_accepted_unchanged() {
    let (config, warnings) = accepted(KAFKA_STYLE_FILE);
    assert_eq!(config.listeners.len(), 1, "the controller's is not opened");
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:9092");
    assert_eq!(config.listeners[0].advertised.host, "localhost");
    assert_eq!(config.listeners[0].advertised.port, Some(9092));
    assert_eq!(config.data_dirs, [Path::new("/tmp/kraft-combined-logs")]);
    assert_eq!(
        config
            .topics
            .layer
            .get("log.retention.ms")
            .map(String::as_str),
        Some("604800000")
    );
    assert!(
        warnings
            .iter()
            .all(|warning| !matches!(warning, Warning::UnknownKey { .. })),
        "{warnings:?}"
    );
    assert!(warnings.contains(&Warning::ControllerListener {
        name: "CONTROLLER".to_owned()
    }));
    assert!(warnings.contains(&Warning::LoopbackOnly {
        name: "PLAINTEXT".to_owned(),
        port: 9092
    }));
}

#[test]
fn an_unknown_key_is_warned_about_with_the_nearest_name_and_its_place() {
    let (_, warnings) = accepted("\nlog.retension.ms=5\nmy.own.thing=1\n");
    let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "unknown key log.retension.ms (server.properties:2) has no effect; is log.retention.ms meant?",
            "unknown key my.own.thing (server.properties:3) has no effect",
        ]
    );
}

#[test]
fn a_key_of_one_listener_is_not_unknown() {
    let (_, warnings) = accepted("listener.name.plaintext.ssl.client.auth=none");
    assert_eq!(warnings, []);
}

#[test]
fn an_illegal_value_names_its_place_its_rule_and_the_default() {
    let problems = read("num.partitions=0").expect_err("illegal");
    assert_eq!(
        problems[0].to_string(),
        "num.partitions (server.properties:1): Invalid value 0 for configuration num.partitions: \
         Value must be at least 1\n    to change: give it a value of the type int, at least 1; \
         the default is 1"
    );
}

#[test]
fn all_problems_are_found_in_one_start() {
    let problems = read("num.partitions=x\nprocess.roles=broker\nlog.dirs=/a,/a\n").expect_err("3");
    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["num.partitions", "process.roles", "log.dirs"]);
}

#[test]
fn several_data_folders_are_taken_unless_one_is_named_twice_or_lies_in_another() {
    let (config, _) = accepted("log.dirs=/disk1/klamm, /disk2/klamm,/disk10\nlog.dir=/other");
    let named = ["/disk1/klamm", "/disk2/klamm", "/disk10"].map(Path::new);
    assert_eq!(config.data_dirs, named);
    assert_eq!(config.data_dir(), named[0]);
    refused("log.dirs=/a,/b,/a/", "log.dirs", "/a/ is named twice");
    refused("log.dirs=/a/b,/a", "log.dirs", "/a/b lies in /a");
    refused("log.dirs=/a/./b,/a", "log.dirs", "lies in /a");
}

#[test]
fn an_open_plaintext_listener_needs_the_insecure_word() {
    let open = "listeners=PLAINTEXT://10.1.2.3:9092\n";
    refused(open, "listeners", "klamm.insecure.listeners=true");
    let (config, warnings) = accepted(&format!("{open}klamm.insecure.listeners=true"));
    assert_eq!(config.listeners[0].bind.to_string(), "10.1.2.3:9092");
    assert!(
        matches!(&warnings[..], [Warning::OpenPlaintext { .. }]),
        "{warnings:?}"
    );
}

#[test]
fn a_listener_on_all_addresses_must_not_advertise_that() {
    let word = "klamm.insecure.listeners=true\n";
    let (config, warnings) = accepted(&format!("{word}listeners=PLAINTEXT://:9092"));
    assert_eq!(config.listeners[0].bind.host, "0.0.0.0");
    assert_eq!(config.listeners[0].advertised.host, "box");
    assert!(warnings.contains(&Warning::AdvertisedHostname {
        name: "PLAINTEXT".to_owned(),
        host: "box".to_owned()
    }));
    refused(
        &format!("{word}listeners=PLAINTEXT://h:1\nadvertised.listeners=PLAINTEXT://0.0.0.0:9092"),
        "advertised.listeners",
        "no address that a client can reach",
    );
    refused(
        "advertised.listeners=EXTERNAL://h:1",
        "advertised.listeners",
        "no listener has that name",
    );
    let (_, warnings) = accepted(&format!(
        "{word}listeners=PLAINTEXT://h:1\nadvertised.listeners=PLAINTEXT://localhost:9092"
    ));
    assert!(
        warnings
            .iter()
            .any(|warning| matches!(warning, Warning::AdvertisedLoopback { .. })),
        "{warnings:?}"
    );
}

#[test]
fn listeners_that_cannot_be_are_refused_with_their_cure() {
    refused("listeners=9092", "listeners", "NAME://host:port");
    refused(
        "listeners=SSL://127.0.0.1:1",
        "listeners",
        "does not serve yet",
    );
    refused(
        "listeners=INNER://127.0.0.1:1",
        "listener.security.protocol.map",
        "INNER:PLAINTEXT",
    );
    refused(
        "listeners=PLAINTEXT://127.0.0.1:1,B://localhost:1\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,B:PLAINTEXT",
        "listeners",
        "share port 1",
    );
    refused(
        "listeners=PLAINTEXT://127.0.0.1:1,PLAINTEXT://127.0.0.1:2",
        "listeners",
        "two entries are named PLAINTEXT",
    );
    refused(
        "inter.broker.listener.name=OTHER",
        "inter.broker.listener.name",
        "no listener is named OTHER",
    );
    refused(
        "klamm.admin.listener=here",
        "klamm.admin.listener",
        "host:port",
    );
    refused(
        "klamm.admin.listener=0.0.0.0:9644",
        "klamm.admin.listener",
        "klamm.insecure.listeners=true",
    );
    let (config, _) = accepted("klamm.admin.listener=none\nlisteners=PLAINTEXT://127.0.0.1:0");
    assert_eq!(config.admin, None);
    assert_eq!(config.listeners[0].bind.port, 0);
}

#[test]
fn what_needs_other_nodes_is_refused() {
    refused(
        "process.roles=controller",
        "process.roles",
        "only controller",
    );
    refused(
        "controller.quorum.voters=1@a:9093,2@b:9093",
        "controller.quorum.voters",
        "this one node",
    );
    refused(
        "node.id=3\ncontroller.quorum.voters=1@a:9093",
        "controller.quorum.voters",
        "3@host:port",
    );
    accepted("node.id=3\ncontroller.quorum.voters=3@a:9093");
    refused(
        "default.replication.factor=3",
        "default.replication.factor",
        "one node",
    );
}

#[test]
fn a_promise_of_protection_that_klamm_cannot_keep_stops_the_start() {
    refused(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "authorizer.class.name",
        "StandardAuthorizer",
    );
    refused(
        "remote.log.storage.system.enable=true",
        "remote.log.storage.system.enable",
        "not served",
    );
}

#[test]
fn milliseconds_beat_minutes_and_minutes_beat_hours() {
    let retention = |text: &str| {
        let (config, _) = accepted(text);
        TopicConfig::from_layers(&BTreeMap::new(), &config.topics.layer).retention_ms
    };
    assert_eq!(retention(""), Some(604_800_000));
    assert_eq!(retention("log.retention.hours=2"), Some(7_200_000));
    assert_eq!(
        retention("log.retention.hours=2\nlog.retention.minutes=3"),
        Some(180_000)
    );
    assert_eq!(
        retention("log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=4"),
        Some(4)
    );
    assert_eq!(retention("log.retention.hours=-1"), None);
    refused("log.retention.ms=0", "log.retention.ms", "at once");
    let (config, _) = accepted("log.roll.hours=1");
    assert_eq!(
        TopicConfig::from_layers(&BTreeMap::new(), &config.topics.layer).segment_ms,
        3_600_000
    );
}

#[test]
fn cores_and_shards_follow_the_list_and_the_count() {
    let cores = |text: &str| accepted(text).0.shards.cores;
    let count = |text: &str| accepted(text).0.shards.count;
    assert_eq!(cores("klamm.cores=0-1,3"), [0, 1, 3]);
    assert_eq!(count("klamm.cores=0-1,3"), 3);
    assert_eq!(count("klamm.shards=2"), 2);
    assert_eq!(cores("klamm.cores=1-3\nklamm.shards=2"), [1, 2]);
    assert_eq!(cores("klamm.cores=2\nklamm.shards=3"), [2, 2, 2]);
    assert_eq!(cores_text(&[0, 1, 2, 6, 8, 9]), "0-2,6,8-9");
    refused("klamm.cores=7", "klamm.cores", "core 7");
    refused("klamm.cores=3-1", "klamm.cores", "0-3,6");
    refused("klamm.shards=0", "klamm.shards", "at least 1");
    refused("klamm.shards=5000", "klamm.shards", "5000");
    let (_, warnings) = accepted("klamm.shards=8");
    assert_eq!(
        warnings,
        [Warning::SharedCores {
            shards: 8,
            cores: 4
        }]
    );
}

#[test]
fn a_limit_of_processor_time_bounds_the_shards_and_memory_bounds_their_tails() {
    let small = HostFacts {
        cores: (0..64).collect(),
        core_limit: Some(2),
        memory_bytes: 512 << 20,
        hostname: None,
    };
    let (config, _) = Config::from_raw(&RawConfig::default(), &small).expect("nothing written");
    assert_eq!(config.shards.count, 2);
    assert_eq!(config.shards.tail_bytes_max, 64 << 20);
}

#[test]
fn the_write_ahead_log_holds_at_least_two_files() {
    refused(
        "klamm.wal.file.bytes=134217728",
        "klamm.wal.bytes",
        "at least 268435456",
    );
}

#[test]
fn keys_without_effect_are_named_once_and_only_if_they_differ_from_the_default() {
    let (_, warnings) = accepted("num.io.threads=8\nnum.network.threads=9\ngroup.share.max.size=5");
    let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "accepted without effect, because what they tune is not served yet: group.share.max.size",
            "accepted without effect, because klamm is built without what they tune: num.network.threads",
        ]
    );
}

#[test]
fn limits_of_connections_are_read() {
    let (config, _) = accepted(
        "max.connections.per.ip.overrides=10.0.0.7:200,[::1]:5\nconnections.max.idle.ms=-1\nsocket.send.buffer.bytes=102400\n",
    );
    let overrides = &config.sockets.connections_per_ip_overrides;
    assert_eq!(overrides.len(), 2);
    assert_eq!(
        overrides.get(&"10.0.0.7".parse().expect("address")),
        Some(&200)
    );
    assert_eq!(config.sockets.idle_ms_max, None);
    assert_eq!(config.sockets.send_buffer_bytes, Some(102_400));
    assert_eq!(config.sockets.receive_buffer_bytes, None);
    refused(
        "max.connections.per.ip.overrides=host:1",
        "max.connections.per.ip.overrides",
        "not a name",
    );
}

#[test]
fn a_described_key_says_its_source_and_hides_secrets() {
    let (config, _) = accepted("num.partitions=3\nssl.key.password=hush\nlog.retention.hours=2");
    let described = config.describe(Dynamic::NONE);
    let find = |name: &str| {
        let found = described.iter().find(|key| key.name == name);
        found.unwrap_or_else(|| panic!("{name} is not described"))
    };
    assert_eq!(described.len(), keys::broker_keys().count());

    let partitions = find("num.partitions");
    assert_eq!(partitions.value.as_deref(), Some("3"));
    assert_eq!(partitions.source, ConfigSource::StaticBroker);
    assert!(partitions.read_only && !partitions.is_default);
    assert_eq!(partitions.type_number, 3);
    assert_eq!(partitions.synonyms.len(), 2, "{partitions:?}");

    let password = find("ssl.key.password");
    assert!(password.sensitive && !password.is_default);
    assert_eq!(password.value, None);
    assert!(password.synonyms.iter().all(|one| one.value.is_none()));
    assert!(!format!("{described:?}{config:?}").contains("hush"));

    let retention = find("log.retention.ms");
    // As Kafka has it: the hours count, and are a synonym of themselves only.
    assert_eq!(retention.value, None);
    assert!(retention.is_default && retention.synonyms.is_empty());
    let hours = find("log.retention.hours");
    assert_eq!(hours.value.as_deref(), Some("2"));
    assert_eq!(hours.synonyms.len(), 2, "{hours:?}");

    let shards = find("klamm.shards");
    assert_eq!(shards.value.as_deref(), Some("4"));
    assert!(shards.is_default);
}

#[test]
fn a_described_topic_key_names_topic_broker_and_default_in_that_order() {
    let (config, _) = accepted("log.retention.hours=2\nlog.segment.bytes=2097152");
    let overrides = BTreeMap::from([("segment.bytes".to_owned(), "1048576".to_owned())]);
    let described = config.describe_topic(&overrides, Dynamic::NONE);
    let find = |name: &str| {
        let found = described.iter().find(|key| key.name == name);
        found.unwrap_or_else(|| panic!("{name} is not described"))
    };
    let segment = find("segment.bytes");
    assert_eq!(segment.value.as_deref(), Some("1048576"));
    assert_eq!(segment.source, ConfigSource::DynamicTopic);
    let order: Vec<_> = segment
        .synonyms
        .iter()
        .map(|one| one.source as i8)
        .collect();
    assert_eq!(order, [1, 4, 5]);
    let retention = find("retention.ms");
    assert_eq!(retention.value.as_deref(), Some("7200000"));
    assert_eq!(retention.source, ConfigSource::StaticBroker);
    assert!(find("cleanup.policy").is_default);
    // The broker's key for it has no default: that is a coarser key's.
    let jitter = find("segment.jitter.ms");
    assert_eq!(jitter.value.as_deref(), Some("0"));
    assert!(jitter.is_default && jitter.synonyms.is_empty());
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn what_is_set_while_brokers_run_beats_the_file_and_the_own_value_beats_that_for_all() {
    let (config, _) = accepted("message.max.bytes=2000\nmax.connections=9");
    let (own, for_all) = (
        map(&[("message.max.bytes", "4000"), ("some.plugin.key", "hush")]),
        map(&[("message.max.bytes", "3000"), ("max.connections", "7")]),
    );
    let dynamic = Dynamic::new(Some(&own), &for_all);
    let order = |described: &[DescribedKey], name: &str| {
        let found = described.iter().find(|key| key.name == name);
        let found = found.unwrap_or_else(|| panic!("{name} is not described"));
        let synonyms = found.synonyms.iter();
        let synonyms = synonyms.map(|one| (one.source as i8, one.value.clone()));
        (found.value.clone(), synonyms.collect::<Vec<_>>())
    };
    let some = |text: &str| Some(text.to_owned());
    let rows = vec![
        (2, some("4000")),
        (3, some("3000")),
        (4, some("2000")),
        (5, some("1048588")),
    ];
    let broker = config.describe(dynamic);
    assert_eq!(
        order(&broker, "message.max.bytes"),
        (some("4000"), rows.clone())
    );
    let topic = config.describe_topic(&BTreeMap::new(), dynamic);
    assert_eq!(order(&topic, "max.message.bytes"), (some("4000"), rows));
    // What nobody knows may be a secret.
    let unknown = broker.iter().find(|key| key.name == "some.plugin.key");
    assert!(unknown.is_some_and(|key| key.sensitive && key.value.is_none()));
    let for_all = config.describe_for_all(dynamic);
    let named: Vec<_> = for_all.iter().map(|key| key.name.as_ref()).collect();
    assert_eq!(named, ["max.connections", "message.max.bytes"]);
    let only = (some("3000"), vec![(3, some("3000"))]);
    assert_eq!(order(&for_all, "message.max.bytes"), only);
}

#[test]
fn limits_of_connections_follow_what_is_set_and_stay_below_the_files_that_may_be_open() {
    let (mut config, _) =
        accepted("max.connections=9\nmax.connections.per.ip.overrides=10.0.0.7:2");
    config.sockets.connections_ceiling = 100;
    let address = "10.0.0.7".parse().expect("an address");
    let still = config.sockets.connections(Dynamic::NONE);
    assert_eq!((still.total, still.per_ip), (9, i32::MAX as u32));
    assert_eq!(still.per_ip_overrides.get(&address), Some(&2));
    let for_all = map(&[
        ("max.connections", "1000"),
        ("max.connections.per.ip", "5"),
        ("max.connections.per.ip.overrides", "10.0.0.7:3,10.0.0.8:4"),
    ]);
    let now = config.sockets.connections(Dynamic::new(None, &for_all));
    assert_eq!((now.total, now.per_ip), (100, 5));
    assert_eq!(now.per_ip_overrides.get(&address), Some(&3));
    assert_eq!(now.per_ip_overrides.len(), 2);
}

#[test]
fn a_dynamic_value_must_keep_to_the_topic_key_that_it_is_a_default_of() {
    let check = |key: &str, value: &str| {
        let change = BrokerKeyChange::Set(value);
        check_dynamic(std::iter::once((key, change)), false).map_err(|refused| refused.to_string())
    };
    assert_eq!(check("log.roll.ms", "5"), Ok(()));
    let refused = "Invalid value 0 for configuration log.roll.ms: Value must be at least 1";
    assert_eq!(check("log.roll.ms", "0"), Err(refused.to_owned()));
    assert!(check("max.connections.per.ip.overrides", "host:1").is_err());
    let refused = "Cannot update these configs dynamically: [log.roll.hours]";
    assert_eq!(check("log.roll.hours", "5"), Err(refused.to_owned()));
}
