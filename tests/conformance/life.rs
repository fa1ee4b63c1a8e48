//! The process: how fast it is there and gone, what it refuses and how it says so, what it costs
//! while nothing happens.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use klamm_wire::fetch;

use crate::harness::{
    Broker, DEADLINE, End, Options, Process, RawBatch, fetching, is_release, request_bytes,
    wait_for,
};

/// Starts a broker that cannot start, and gives what it said.
fn refusal(folder: &Path, options: &Options) -> String {
    let mut process = Process::start(folder, options);
    let status = process.end(DEADLINE);
    let text = process.log.text();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("klamm does not start:"), "{text}");
    text
}

fn check_refusal(folder: &Path, options: &Options, parts: &[&str]) {
    let text = refusal(folder, options);
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

#[test]
fn second_process_on_a_folder_is_refused() {
    let test = "second_process_on_a_folder_is_refused";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let shown = broker.folder().display().to_string();
    check_refusal(
        broker.folder(),
        &Options::new(),
        &[
            &shown,
            "in use by another process",
            "to change:",
            "log.dirs",
        ],
    );
    broker.is_healthy();
    broker.kill();
    broker.start_again();
}

#[test]
fn what_a_node_voted_stays_when_its_metadata_are_written_for_the_first_time() {
    let test = "what_a_node_voted_stays_when_its_metadata_are_written_for_the_first_time";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let vote = broker.folder().join("__cluster_metadata-0/quorum-state");
    let voted = wait_for("a vote", || std::fs::read(&vote).ok());
    broker.client().create_topic("first", 1);
    broker.end(End::Stop);
    let metadata = vote.with_file_name("00000000000000000000.log");
    assert!(metadata.exists(), "a stop brings segments up to date");
    assert_eq!(std::fs::read(&vote).expect("the vote"), voted);
    broker.start_again();
    broker.is_healthy();
}

#[test]
fn damaged_meta_properties_is_named_with_what_to_change() {
    for (bytes, why) in [
        (&b"\xff\xfe\0garbage"[..], "invalid utf-8"),
        (b"version=1\nnode.id=one\n", "line 2: expected a node id"),
        (b"", "line 1: expected version=1"),
    ] {
        let folder = folder();
        let path = folder.path().join("meta.properties");
        std::fs::write(&path, bytes).expect("writes");
        let damaged = format!("{} is damaged: ", path.display());
        let words = [
            &damaged,
            why,
            "to change:",
            "bring the file back",
            "directory.id=",
        ];
        check_refusal(folder.path(), &Options::new(), &words);
        let kept = std::fs::read(&path).expect("is there");
        assert_eq!(kept, bytes, "the file was changed");
    }
}

#[test]
fn port_that_is_taken_is_named_with_what_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let address = format!("127.0.0.1:{port}");
    let options = Options::new().set("listeners", format!("PLAINTEXT://{address}"));
    check_refusal(
        folder().path(),
        &options,
        &[&address, "in use", "to change:", "listeners"],
    );
    let options = Options::new().set("klamm.admin.listener", &address);
    check_refusal(
        folder().path(),
        &options,
        &[&address, "in use", "klamm.admin.listener"],
    );
}

/// As after `kill -9`: the kernel gives back what the rings of the dead held only a moment later.
#[test]
fn port_that_is_given_back_a_moment_later_is_waited_for() {
    for key in ["listeners", "klamm.admin.listener"] {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound").to_string();
        let value = match key {
            "listeners" => format!("PLAINTEXT://{address}"),
            _ => address.clone(),
        };
        let folder = folder();
        let process = Process::start(folder.path(), &Options::new().set(key, value));
        let tells = |text: &'static str| {
            let found = process
                .log
                .find(0, DEADLINE, |line| line.contains(text).then_some(()));
            assert!(
                found.is_some(),
                "{text:?} is missing in:\n{}",
                process.log.text()
            );
        };
        tells("trying again");
        drop(taken);
        tells("ready after");
    }
}

#[test]
fn start_on_a_taken_port_leaves_nothing_in_a_new_folder() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let folder = folder();
    let options = Options::new().set("listeners", format!("PLAINTEXT://127.0.0.1:{port}"));
    check_refusal(&folder.path().join("data"), &options, &["in use"]);
    check_refusal(folder.path(), &options, &["in use"]);
    let options = Options::new().set("klamm.admin.listener", format!("127.0.0.1:{port}"));
    check_refusal(folder.path(), &options, &["in use"]);
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("reads").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn folder_that_cannot_be_made_is_named_with_what_to_change() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").expect("writes");
    for path in [
        file.clone(),
        file.join("data"),
        Path::new("/proc/klamm").to_owned(),
    ] {
        let shown = path.display().to_string();
        check_refusal(&path, &Options::new(), &[&shown, "to change:", "log.dirs"]);
    }
}

#[test]
fn folder_of_another_node_is_refused() {
    let test = "folder_of_another_node_is_refused";
    let Some(mut broker) = Broker::own(test, Options::new().set("node.id", 5)) else {
        return;
    };
    broker.stop();
    let options = Options::new().set("node.id", 6);
    let parts = ["not this node's", "node.id=5", "node.id=6", "to change:"];
    check_refusal(broker.folder(), &options, &parts);
    broker.start_again();
}

#[test]
fn every_wrong_value_is_named_at_once() {
    let options = Options::new()
        .set("num.partitions", "many")
        .set("klamm.durability", "mostly")
        .set("listeners", "PLAINTEXT://:notaport");
    let parts = ["num.partitions", "klamm.durability", "mostly", "listeners"];
    check_refusal(folder().path(), &options, &parts);
}

#[test]
fn listener_that_would_need_a_login_is_not_opened_without_one() {
    for protocol in ["SASL_PLAINTEXT", "SASL_SSL", "SSL"] {
        let options = Options::new().set("listeners", format!("{protocol}://127.0.0.1:0"));
        check_refusal(folder().path(), &options, &["listeners", protocol]);
    }
}

/// E1: what nobody asked for is not there, whichever way a configuration says nothing.
#[test]
fn without_a_plain_word_every_socket_listens_on_loopback_only() {
    let silent = Options::new()
        .unset("listeners")
        .unset("klamm.admin.listener");
    let no_host = Options::new().set("listeners", "PLAINTEXT://:0");
    for (options, own_ports) in [(silent, false), (no_host, true)] {
        let folder = folder();
        let mut process = Process::start(folder.path(), &options);
        let ready = process.log.find(0, DEADLINE, |line| {
            line.contains("ready after").then_some(())
        });
        if ready.is_none() {
            // Somebody else has the port of the default; that is said of the loopback address.
            let status = process.end(DEADLINE);
            let text = process.log.text();
            let taken = |port| text.contains(&format!("127.0.0.1:{port}: the port is in use"));
            assert!(
                !own_ports && (taken(9092) || taken(9644)),
                "{status}\n{text}"
            );
            continue;
        }
        let found = process.listens_on();
        assert_eq!(
            found.len(),
            2,
            "for Kafka's clients and for the admin: {found:?}"
        );
        let open = found.iter().find(|address| !address.ip().is_loopback());
        assert_eq!(open, None, "{}", process.log.text());
        if !own_ports {
            let ports: Vec<_> = found.iter().map(|address| address.port()).collect();
            assert_eq!(ports, [9092, 9644]);
        }
    }
}

#[test]
fn sigterm_ends_the_process_within_seconds_whatever_clients_do() {
    let test = "sigterm_ends_the_process_within_seconds_whatever_clients_do";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("open", 1);
    let mut idle: Vec<_> = (0..20).map(|_| broker.client()).collect();
    for waiting in &mut idle[..10] {
        let mut request = fetching(&topic, 0, 0);
        (request.min_bytes, request.max_wait_ms) = (1, 600_000);
        waiting.begin(&request, 12);
    }
    // A frame of which half is here, and a peer that reads nothing.
    idle[11].send(&[0, 0, 1, 0, 0, 3]);
    client.produce(&topic, 0, &RawBatch::one("x").encode());
    let took = broker.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
    broker.start_again();
    assert_eq!(broker.client().read_all(&topic, 0).len(), 1);
}

#[test]
fn sigint_ends_the_process_too() {
    let folder = folder();
    let mut process = Process::start(folder.path(), &Options::new());
    let ready = process.log.find(0, DEADLINE, |line| {
        line.contains("ready after").then_some(())
    });
    assert!(ready.is_some(), "{}", process.log.text());
    process.signal("INT");
    assert!(process.end(DEADLINE).success(), "{}", process.log.text());
}

#[test]
fn node_without_load_costs_no_processor_and_little_memory() {
    let test = "node_without_load_costs_no_processor_and_little_memory";
    let options = Options::new().set("klamm.shards", 2);
    let Some(broker) = Broker::own(test, options) else {
        return;
    };
    let connections: Vec<_> = (0..10).map(|_| broker.client()).collect();
    let process = broker.process().expect("our own");
    // Without load there is no event to wait for: the time itself is what is measured.
    let (before, begun) = (process.cpu_time(), Instant::now());
    while begun.elapsed() < Duration::from_secs(3) {
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let used = process.cpu_time() - before;
    // Three seconds of two shards; one in a hundred of a core is noise of timers.
    assert!(
        used < Duration::from_millis(60),
        "{used:?} in three seconds without load"
    );
    let resident = process.resident_bytes();
    let limit = if is_release() { 40 << 20 } else { 80 << 20 };
    assert!(resident < limit, "{resident} bytes resident");
    drop(connections);
}

#[test]
fn node_serves_soon_after_it_starts() {
    let test = "node_serves_soon_after_it_starts";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut times = vec![broker.started_in];
    for _ in 0..4 {
        broker.stop();
        broker.start_again();
        times.push(broker.started_in);
    }
    times.sort_unstable();
    let limit = if is_release() { 300 } else { 3000 };
    assert!(times[2] < Duration::from_millis(limit), "{times:?}");
}

#[test]
fn admin_listener_tells_life_readiness_and_metrics() {
    let test = "admin_listener_tells_life_readiness_and_metrics";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    broker.is_healthy();
    assert_eq!(broker.http("/livez"), (200, "alive\n".to_owned()));
    assert_eq!(broker.http("/readyz").0, 200);
    let (status, text) = broker.http("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE klamm_"), "{text}");
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
    assert_eq!(broker.http("/no-such-page").0, 404);
}

#[test]
fn metrics_tell_how_full_fetch_sessions_and_requests_are() {
    let test = "metrics_tell_how_full_fetch_sessions_and_requests_are";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("watched", 3);
    let mut opening = fetching(&topic, 0, 0);
    opening.session_epoch = 0;
    let one = opening.topics[0].partitions[0].clone();
    let partition = |partition| fetch::FetchPartition {
        partition,
        ..one.clone()
    };
    opening.topics[0].partitions = (0..3).map(partition).collect();
    let sessions = "kafka_server_fetchsessioncache_numincrementalfetchsessions";
    let cached = "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached";
    assert_eq!((broker.metric(sessions), broker.metric(cached)), (0, 0));
    assert_ne!(client.call(&opening, 12).view().session_id(), 0);
    assert_eq!((broker.metric(sessions), broker.metric(cached)), (1, 3));
    assert_eq!(broker.metric("klamm_shard_fetch_session_partitions"), 3);

    // A request whose end is not sent yet.
    let room = broker.metric("kafka_network_socketserver_memorypoolavailable");
    let size = 1_000_000_u64;
    let mut begun = (size as i32).to_be_bytes().to_vec();
    begun.extend(request_bytes(0, 9, 1, &[]).split_off(4));
    begun.resize(size as usize, 0);
    client.send(&begun);
    wait_for("the claim", || {
        (broker.metric("kafka_network_socketserver_memorypoolused") >= size).then_some(())
    });
    let left = broker.metric("kafka_network_socketserver_memorypoolavailable");
    assert!(left <= room - size, "{room} before, {left} after");
    assert_eq!(broker.metric("klamm_shard_requests_waiting_for_room"), 0);
}
