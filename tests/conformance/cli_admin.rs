//! The commands of operators: topics altered, configuration, the cluster, completions and pages of
//! the manual.

use serde_json::Value;

use crate::cli::{klamm, told};
use crate::harness::{Broker, Options, RawBatch, Topic, unique};

fn json(broker: &Broker, arguments: &[&str]) -> Value {
    let (out, _) = told(&klamm(broker, &[arguments, &["--format", "json"]].concat()));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Why a command failed; its exit code is 1.
fn refused(broker: &Broker, arguments: &[&str]) -> String {
    let output = klamm(broker, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn topics_are_given_partitions_and_configuration_and_described_with_sizes() {
    let broker = Broker::start();
    let mut client = broker.client();
    let Topic { name, .. } = &client.create_topic("altered", 1);
    let alter = |more: &[&str]| {
        json(
            &broker,
            &[&["topic", "alter", name.as_str()], more].concat(),
        )
    };
    let done = alter(&["--partitions", "3", "--config", "retention.ms=86400000"]);
    assert_eq!(done[0]["partitions"], 3, "{done}");
    assert_eq!(done[1]["values"], 1, "{done}");
    let checked = alter(&["--unset", "retention.ms", "--validate-only"]);
    assert_eq!(checked[0]["altered"], false, "{checked}");
    let topic = client.create_topic("sized", 1);
    let batch = RawBatch::one("some bytes").encode();
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    let described = json(&broker, &["topic", "describe", name, &topic.name]);
    let partitions = described[0]["partitions"].as_array().expect("a list");
    assert_eq!(partitions.len(), 3);
    let config = &described[0]["configs"][0];
    assert_eq!(config["name"], "retention.ms");
    assert_eq!(
        (&config["value"], &config["source"]),
        (&"86400000".into(), &"topic".into())
    );
    assert_eq!(described[1]["partitions"][0]["bytes"], batch.len());
    let fewer = refused(&broker, &["topic", "alter", name, "--partitions", "2"]);
    assert!(fewer.contains("INVALID_PARTITIONS"), "{fewer}");
    let wrong = refused(&broker, &["topic", "alter", name, "--config", "no.such=1"]);
    assert!(
        wrong.contains("INVALID_CONFIG") && wrong.contains("klamm config"),
        "{wrong}"
    );
    let nothing = klamm(&broker, &["topic", "alter", name]);
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn configuration_is_set_shown_with_its_layers_and_taken_away_again() {
    let test = "configuration_is_set_shown_with_its_layers_and_taken_away_again";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let name = unique("configured");
    told(&klamm(&broker, &["topic", "create", &name]));
    let of_topic = ["--topic", name.as_str()];
    let key = "max.message.bytes";
    let run = |verb: &str, more: &[&str]| {
        json(&broker, &[&["config", verb], &of_topic[..], more].concat())
    };
    assert_eq!(run("list", &[]), Value::Array(vec![]));
    let before = &run("get", &[key])[0];
    assert_eq!(
        (&before["source"], &before["type"]),
        (&"default".into(), &"whole number of 32 bits".into())
    );
    let default = before["value"].clone();
    assert!(
        before["documentation"]
            .as_str()
            .is_some_and(|text| text.len() > 10),
        "{before}"
    );
    assert_eq!(
        run("set", &["max.message.bytes=5000", "retention.ms=1"])["altered"],
        true
    );
    let after = &run("get", &[key])[0];
    assert_eq!(
        (&after["value"], &after["source"]),
        (&"5000".into(), &"topic".into())
    );
    assert_eq!(after["default"], default);
    assert_eq!(run("list", &[]).as_array().map(Vec::len), Some(2));
    assert!(
        run("list", &["--all"])
            .as_array()
            .is_some_and(|all| all.len() > 20)
    );
    run("unset", &[key]);
    assert_eq!(run("get", &[key])[0]["source"], "default");

    // What holds for all brokers shows where a topic has nothing of its own.
    let all = ["config", "set", "--all-brokers", "message.max.bytes=7000"];
    assert_eq!(json(&broker, &all)["altered"], true);
    let now = &run("get", &[key])[0];
    assert_eq!(
        (&now["value"], &now["source"]),
        (&"7000".into(), &"all brokers".into())
    );
    let (text, _) = told(&klamm(&broker, &["config", "get", "--topic", &name, key]));
    assert!(
        text.contains("max.message.bytes = 7000\n  from     all brokers\n"),
        "{text}"
    );
    let unknown = refused(&broker, &["config", "get", "--broker", "1", "no.such"]);
    assert!(unknown.contains("klamm config list --all"), "{unknown}");
    let nothing = klamm(&broker, &["config", "list"]);
    assert_eq!(nothing.status.code(), Some(2), "a subject is needed");
}

#[test]
fn quotas_are_set_listed_described_and_deleted() {
    let test = "quotas_are_set_listed_described_and_deleted";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let run = |arguments: &[&str]| json(&broker, &[&["quota"], arguments].concat());
    assert_eq!(run(&["list"]), Value::Array(vec![]));
    let alice = ["--user", "alice"];
    let set = |entity: &[&str], limits: &[&str]| run(&[&["set"], entity, limits].concat());
    let done = set(
        &alice,
        &["producer_byte_rate=10MiB", "request_percentage=50%"],
    );
    assert_eq!(
        (&done["altered"], &done["subject"]),
        (&true.into(), &"user alice".into())
    );
    let both = ["--user", "alice", "--client-id", "orders"];
    set(&both, &["consumer_byte_rate=1.5MB"]);
    set(&["--default-client-id"], &["controller_mutation_rate=0.5"]);
    set(&["--ip", "10.0.0.7"], &["connection_creation_rate=5"]);
    let checked = run(&[
        "set",
        "--default-ip",
        "connection_creation_rate=9",
        "--validate-only",
    ]);
    assert_eq!(checked["altered"], false, "{checked}");

    assert_eq!(run(&["list"]).as_array().map(Vec::len), Some(4));
    let listed = run(&["list", "--user", "alice"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    let described = run(&["describe", "--user", "alice"]);
    assert_eq!(described.as_array().map(Vec::len), Some(1), "{described}");
    assert_eq!(described[0]["entity"]["user"], "alice");
    assert_eq!(described[0]["limits"]["producer_byte_rate"], 10_485_760.0);
    assert_eq!(described[0]["limits"]["request_percentage"], 50.0);
    let default = run(&["describe", "--default-client-id"]);
    assert_eq!(default[0]["entity"]["client-id"], Value::Null);
    assert_eq!(default[0]["limits"]["controller_mutation_rate"], 0.5);
    let (text, _) = told(&klamm(&broker, &["quota", "list"]));
    for part in [
        "ENTITY",
        "user alice, client-id orders",
        "10.0 MiB/s",
        "50 %",
        "5 connections/s",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let deleted = run(&["delete", "--user", "alice", "producer_byte_rate"]);
    assert_eq!(deleted["altered"], true);
    let left = run(&["describe", "--user", "alice"]);
    assert_eq!(
        left[0]["limits"]["producer_byte_rate"],
        Value::Null,
        "{left}"
    );
    run(&[&["delete"], &both[..], &["--all"]].concat());
    assert_eq!(
        run(&["list", "--client-id", "orders"]),
        Value::Array(vec![])
    );
    let (_, note) = told(&klamm(
        &broker,
        &["quota", "describe", "--client-id", "orders"],
    ));
    assert!(note.contains("klamm quota list"), "{note}");

    let wrong = refused(
        &broker,
        &["quota", "set", "--ip", "10.0.0.7", "producer_byte_rate=1"],
    );
    assert!(wrong.contains("--client-id"), "{wrong}");
    let wrong = refused(
        &broker,
        &["quota", "set", "--user", "a", "connection_creation_rate=1"],
    );
    assert!(wrong.contains("--ip ADDRESS"), "{wrong}");
    let wrong = refused(&broker, &["quota", "delete", "--user", "nobody", "--all"]);
    assert!(wrong.contains("klamm quota list"), "{wrong}");
    let wrong: [&[&str]; 5] = [
        &["set", "producer_byte_rate=1"],
        &["set", "--user", "a", "producer_byte_rate=fast"],
        &["set", "--user", "a", "--ip", "::1", "producer_byte_rate=1"],
        &["set", "--user", "a"],
        &["delete", "--user", "a", "no_such_key"],
    ];
    for arguments in wrong {
        let output = klamm(&broker, &[&["quota"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_cluster_shows_brokers_quorum_features_and_folders() {
    let test = "the_cluster_shows_brokers_quorum_features_and_folders";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("stored", 2);
    let batch = RawBatch::one("v").encode();
    assert_eq!(client.produce(&topic, 1, &batch).error_code, 0);
    let cluster = json(&broker, &["cluster"]);
    let own = &cluster["brokers"][0];
    assert_eq!(own["port"], broker.address().port());
    assert_eq!(cluster["controller"], own["id"]);
    assert_eq!(cluster["quorum"]["leader"], own["id"]);
    assert_eq!(
        cluster["quorum"]["voters"].as_array().map(Vec::len),
        Some(1)
    );
    let features = cluster["features"].as_array().expect("a list");
    assert!(
        features.iter().any(|row| row["name"] == "metadata.version"),
        "{cluster:#}"
    );
    let folder = &cluster["log_folders"][0];
    assert!(
        folder["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes >= batch.len() as u64)
    );
    assert!(folder["bytes_total"].as_u64() >= folder["bytes_usable"].as_u64());
    let (text, _) = told(&klamm(&broker, &["cluster"]));
    for part in ["BROKER", "quorum leader", "FEATURE", "LOG FOLDER"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn shells_complete_the_commands_and_the_manual_has_a_page_of_each() {
    let broker = Broker::start();
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef klamm"),
        ("fish", "complete -c klamm"),
    ] {
        let (script, _) = told(&klamm(&broker, &["completions", shell]));
        assert!(
            script.contains(sign) && script.contains("describe"),
            "{shell}: {script}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    told(&klamm(&broker, &["man", &pages.display().to_string()]));
    for (page, words) in [("klamm.1", "klamm"), ("klamm-topic-alter.1", "validate")] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(
            text.contains(".TH") && text.contains(words),
            "{page}: {text}"
        );
    }
}
