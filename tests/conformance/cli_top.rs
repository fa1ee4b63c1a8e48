//! `klamm top`: one look at a broker that is being used.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::harness::{Broker, Options, RawBatch};

fn top(broker: &Broker, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["top", "--once", "--interval-ms", "500"])
        .args(["--admin", &broker.admin().to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary under test starts")
}

#[test]
fn one_look_tells_rates_parts_and_the_busiest_partition() {
    let test = "one_look_tells_rates_parts_and_the_busiest_partition";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("busy", 2);
    let batch = RawBatch::one("v").encode();
    let done = AtomicBool::new(false);
    let (document, text) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(client.produce(&topic, 1, &batch).error_code, 0);
            }
        });
        let json = top(&broker, &["--format", "json"]);
        let text = top(&broker, &[]);
        done.store(true, Ordering::Relaxed);
        (json, text)
    });
    let err = String::from_utf8_lossy(&document.stderr).into_owned();
    let document: Value =
        serde_json::from_slice(&document.stdout).unwrap_or_else(|error| panic!("{error}: {err}"));
    let requests = document["requests"].as_array().expect("a list");
    let produce = requests.iter().find(|row| row["request"] == "Produce");
    let produce = produce.expect("producers work");
    assert!(produce["per_second"].as_f64() > Some(0.0), "{document:#}");
    assert!(
        produce["mean_by_part"]["wait"].as_f64() > Some(0.0),
        "{document:#}"
    );
    assert!(produce["median"].as_f64() > Some(0.0), "{document:#}");
    let shards = document["shards"].as_array().expect("a list");
    let busiest = shards
        .iter()
        .find_map(|shard| shard["busiest_partitions"].get(0));
    let name = format!("{}-1", topic.name);
    assert_eq!(busiest.expect("one is busy")["partition"], name.as_str());
    let text = String::from_utf8(text.stdout).expect("text");
    for part in ["BUSIEST PARTITION", "Produce", "records/s", name.as_str()] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn nobody_there_is_told_with_the_option_that_names_another() {
    let output = Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["top", "--once", "--admin", "127.0.0.1:1"])
        .output()
        .expect("the binary under test starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("--admin"), "{text}");
    let live = Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["top", "--format", "json"])
        .output()
        .expect("the binary under test starts");
    assert_eq!(live.status.code(), Some(2), "json needs --once");
}
