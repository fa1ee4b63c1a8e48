//! What `/metrics` and `/metrics/partitions` tell of work that was just done.

use crate::harness::{Broker, Options, RawBatch, Record, fetching, wait_for};

/// The number of the line that begins so.
fn line(page: &str, beginning: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(beginning));
    let found = found.unwrap_or_else(|| panic!("no line {beginning} in\n{page}"));
    found.trim().parse().expect("a number")
}

fn page(broker: &Broker, path: &str) -> String {
    let (status, text) = broker.http(path);
    assert_eq!(status, 200, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

#[test]
fn the_time_of_each_request_is_told_by_api_and_part() {
    let test = "the_time_of_each_request_is_told_by_api_and_part";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("timed", 1);
    for _ in 0..10 {
        let batch = RawBatch::one("v").encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    // Nothing to read: it waits for its time.
    let mut waiting = fetching(&topic, 0, 10);
    waiting.max_wait_ms = 300;
    waiting.min_bytes = 1;
    client.call(&waiting, 12);
    // The answer is counted after it left.
    let text = wait_for("the counted fetch", || {
        let text = page(&broker, "/metrics");
        text.contains("klamm_request_seconds_count{request=\"Fetch\",part=\"total\"} 1")
            .then_some(text)
    });
    let seconds = |what: &str, request: &str, part: &str| {
        line(
            &text,
            &format!("klamm_request_seconds_{what}{{request=\"{request}\",part=\"{part}\"}}"),
        )
    };
    for part in ["queue", "log", "wait", "behind", "send", "total"] {
        assert_eq!(seconds("count", "Produce", part), 10.0, "{part}");
    }
    // Producers wait for the flush; the consumer for records that never came.
    assert!(seconds("sum", "Produce", "wait") > 0.0);
    let waited = seconds("sum", "Fetch", "wait");
    assert!((0.25..10.0).contains(&waited), "{waited}");
    let parts =
        ["queue", "log", "wait", "behind", "send"].map(|part| seconds("sum", "Fetch", part));
    let total = seconds("sum", "Fetch", "total");
    assert!(
        (total - parts.iter().sum::<f64>()).abs() < 1e-4,
        "{total}: {parts:?}"
    );
    let quantile =
        "kafka_network_requestmetrics_totaltimems{request=\"FetchConsumer\",quantile=\"0.99\"}";
    assert!((250.0..10_000.0).contains(&line(&text, quantile)), "{text}");
    let flushes = line(&text, "kafka_log_logflushstats_logflushrateandtimems_count");
    assert!(flushes >= 1.0, "{text}");
}

#[test]
fn names_that_dashboards_for_kafka_query_are_there() {
    let test = "names_that_dashboards_for_kafka_query_are_there";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    client.create_topic("looked-at", 3);
    let text = page(&broker, "/metrics");
    for (name, expected) in [
        (
            "kafka_controller_kafkacontroller_activecontrollercount",
            1.0,
        ),
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            0.0,
        ),
        ("kafka_controller_kafkacontroller_globaltopiccount", 1.0),
        ("kafka_controller_kafkacontroller_globalpartitioncount", 3.0),
        ("kafka_controller_kafkacontroller_fencedbrokercount", 0.0),
        (
            "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
            0.0,
        ),
        (
            "kafka_controller_controllerstats_uncleanleaderelections_total",
            0.0,
        ),
        ("kafka_server_replicamanager_underreplicatedpartitions", 0.0),
        ("kafka_server_replicamanager_underminisrpartitioncount", 0.0),
        ("kafka_server_replicamanager_atminisrpartitioncount", 3.0),
        ("kafka_server_replicamanager_partitioncount", 3.0),
        ("kafka_server_replicamanager_leadercount", 3.0),
        ("kafka_server_kafkaserver_brokerstate", 3.0),
        (
            "kafka_server_raftmetrics_current_state{current_state=\"leader\"}",
            1.0,
        ),
        ("kafka_network_requestchannel_requestqueuesize", 0.0),
    ] {
        assert_eq!(line(&text, &format!("{name} ")), expected, "{name}");
    }
    let idle = "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent";
    assert!((0.0..=1.0).contains(&line(&text, idle)), "{text}");
    assert!(line(&text, "process_resident_memory_bytes") > 1e6, "{text}");
}

#[test]
fn partitions_have_a_page_of_their_own_that_topics_can_be_chosen_of() {
    let test = "partitions_have_a_page_of_their_own_that_topics_can_be_chosen_of";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let chosen = client.create_topic("chosen", 2);
    let other = client.create_topic("other", 1);
    let batch = RawBatch::of(&[Record::new("k", "a"), Record::new("k", "b")]).encode();
    let bytes = batch.len() as f64;
    assert_eq!(client.produce(&chosen, 1, &batch).error_code, 0);
    assert_eq!(client.fetch(&chosen, 1, 0).records.len(), batch.len());
    let text = page(&broker, "/metrics/partitions");
    let of = |name: &str, labels: &str| line(&text, &format!("{name}{{{labels}}}"));
    let topic = format!("topic=\"{}\"", chosen.name);
    let topic = topic.as_str();
    let one = &format!("{topic},partition=\"1\"");
    assert_eq!(of("kafka_topic_partition_current_offset", one), 2.0);
    assert_eq!(of("kafka_log_log_logendoffset", one), 2.0);
    assert_eq!(of("kafka_topic_partition_in_sync_replica", one), 1.0);
    assert_eq!(
        of("kafka_server_brokertopicmetrics_messagesin_total", topic),
        2.0
    );
    assert_eq!(
        of("kafka_server_brokertopicmetrics_bytesin_total", topic),
        bytes
    );
    assert_eq!(
        of("kafka_server_brokertopicmetrics_bytesout_total", topic),
        bytes
    );
    assert!(text.contains(&other.name));
    let text = page(&broker, "/metrics/partitions?topic=chos*");
    assert!(text.contains(&chosen.name) && !text.contains(&other.name));
    assert_eq!(broker.http("/metrics/partitions?x=y").0, 400);
}
