//! Quotas of clients: kept and told as Kafka does, and obeyed: answered at once with the time to
//! wait, and then nothing more is read from the connection for that time (KIP-13, KIP-124, KIP-219,
//! KIP-546, KIP-599, KIP-612).

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::{Duration, Instant};

use klamm_wire::{Request, alter_client_quotas, api_versions, describe_client_quotas, metadata};

use crate::harness::{
    Broker, Client, Options, PRODUCE, RawBatch, Record, Reply, Topic, creation, deletion, fetched,
    fetching, production, request_bytes_of, wait_for,
};

const PRODUCER: &str = "producer_byte_rate";
const CONSUMER: &str = "consumer_byte_rate";
const REQUESTS: &str = "request_percentage";
const MUTATIONS: &str = "controller_mutation_rate";
const CONNECTIONS: &str = "connection_creation_rate";

/// The name that the clients of the harness give themselves.
const OURSELVES: &str = "black-box";

type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

fn alteration(
    parts: Parts<'_>,
    ops: &[(&str, Option<f64>)],
) -> alter_client_quotas::RequestEntryData<'static> {
    let entity = parts
        .iter()
        .map(|&(kind, name)| alter_client_quotas::RequestEntityData {
            entity_type: kind.to_owned().into(),
            entity_name: name.map(|name| name.to_owned().into()),
        });
    let ops = ops.iter().map(|&(key, value)| alter_client_quotas::OpData {
        key: key.to_owned().into(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
    });
    alter_client_quotas::RequestEntryData {
        entity: entity.collect(),
        ops: ops.collect(),
    }
}

/// Sets or removes limits, in this version; code and message.
fn alter(
    client: &mut Client,
    version: i16,
    parts: Parts<'_>,
    ops: &[(&str, Option<f64>)],
) -> (i16, Option<String>) {
    let request = alter_client_quotas::Request {
        entries: vec![alteration(parts, ops)],
        validate_only: false,
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let entry = view.entries().iter().next().expect("one entity");
    (entry.error_code(), entry.error_message().map(str::to_owned))
}

fn set(broker: &Broker, parts: Parts<'_>, key: &str, value: Option<f64>) {
    // Of another name, so that the quota does not hold it.
    let mut client = broker.client();
    assert_eq!(alter(&mut client, 1, parts, &[(key, value)]), (0, None));
}

/// Entities that the filter lets through, each with its limits, as text.
fn described(
    client: &mut Client,
    version: i16,
    parts: &[(&str, i8, Option<&str>)],
) -> BTreeSet<String> {
    let components =
        parts.iter().map(
            |&(kind, match_type, name)| describe_client_quotas::ComponentData {
                entity_type: kind.to_owned().into(),
                match_type,
                r#match: name.map(|name| name.to_owned().into()),
            },
        );
    let request = describe_client_quotas::Request {
        components: components.collect(),
        strict: false,
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    assert_eq!(view.error_code(), 0, "{:?}", view.error_message());
    let entries = view.entries().expect("a list").iter().map(|entry| {
        let parts = entry.entity().iter();
        let parts = parts.map(|part| {
            format!(
                "{}={}",
                part.entity_type(),
                part.entity_name().unwrap_or("*")
            )
        });
        let values = entry
            .values()
            .iter()
            .map(|value| format!("{}={}", value.key(), value.value()));
        format!(
            "{} {}",
            parts.collect::<Vec<_>>().join(","),
            values.collect::<Vec<_>>().join(",")
        )
    });
    entries.collect()
}

/// Asks under another name than the harness does.
fn call_as<Q: Request>(client: &mut Client, name: &str, request: &Q, version: i16) -> Reply<Q> {
    send_as(client, name, request, version);
    client.finish(request.schema().key, version)
}

fn send_as<Q: Request>(client: &mut Client, name: &str, request: &Q, version: i16) {
    let key = request.schema().key;
    let mut body = bytes::BytesMut::new();
    request.encode(version, &mut body).expect("expressible");
    let frame = request_bytes_of(key.number(), version, 7, Some(name.as_bytes()), &body);
    client.send(&frame);
}

fn batch(bytes: usize) -> Vec<u8> {
    RawBatch::of(&[Record::new("", vec![b'x'; bytes])]).encode()
}

/// Appends under a name; the time that the client is told to wait.
fn produce(client: &mut Client, name: &str, topic: &Topic, batch: &[u8]) -> Duration {
    let request = production(topic, 1, &[(0, batch)]);
    let reply = call_as(client, name, &request, PRODUCE);
    let view = reply.view();
    let part = view.responses().iter().next().expect("one topic");
    let part = part
        .partition_responses()
        .iter()
        .next()
        .expect("one partition");
    assert_eq!(part.error_code(), 0);
    told(view.throttle_time_ms())
}

fn told(ms: i32) -> Duration {
    Duration::from_millis(ms.try_into().expect("no time is negative"))
}

/// Measures over three windows of a second.
fn quick() -> Options {
    Options::new()
        .set("quota.window.num", 3)
        .set("quota.window.size.seconds", 1)
        .set("klamm.durability", "written")
}

#[test]
fn every_version_sets_describes_and_removes_what_the_next_life_still_knows() {
    let Some(mut broker) = Broker::own("quotas of the next life", Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let served = client.api_versions();
    assert_eq!((served[&48], served[&49]), ((0, 1), (0, 1)));
    let done = (0, None);
    let both: Parts<'_> = &[("user", Some("u")), ("client-id", None)];
    let ops = [(PRODUCER, Some(1e12)), (REQUESTS, Some(12.5))];
    assert_eq!(alter(&mut client, 0, both, &ops), done);
    let named: Parts<'_> = &[("client-id", Some("shop"))];
    assert_eq!(alter(&mut client, 1, named, &[(CONSUMER, Some(5e9))]), done);
    let ip: Parts<'_> = &[("ip", Some("10.1.2.3"))];
    assert_eq!(alter(&mut client, 1, ip, &[(CONNECTIONS, Some(3.0))]), done);

    let all = BTreeSet::from([
        "client-id=shop consumer_byte_rate=5000000000".to_owned(),
        "ip=10.1.2.3 connection_creation_rate=3".to_owned(),
        "user=u,client-id=* producer_byte_rate=1000000000000,request_percentage=12.5".to_owned(),
    ]);
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    for version in 0..=1 {
        wait_for("quotas", || {
            (described(&mut client, version, &[]) == all).then_some(())
        });
        let clients = described(&mut client, version, &[("client-id", 2, None)]);
        assert_eq!(clients.len(), 2);
        let shop = described(&mut client, version, &[("client-id", 0, Some("shop"))]);
        assert_eq!(shop.len(), 1);
        let defaults = described(&mut client, version, &[("client-id", 1, None)]);
        assert_eq!(defaults.len(), 1);
    }
    assert_eq!(alter(&mut client, 1, named, &[(CONSUMER, None)]), done);
    assert_eq!(alter(&mut client, 1, ip, &[(CONNECTIONS, None)]), done);
    assert_eq!(described(&mut client, 1, &[]).len(), 1);
}

#[test]
fn what_is_wrong_with_a_quota_is_said_in_kafkas_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    let cases: [(Parts<'_>, &str, f64, &str); 8] = [
        (&[], PRODUCER, 1.0, "Invalid empty client quota entity"),
        (
            &[("user", Some(""))],
            PRODUCER,
            1.0,
            "Empty user not supported",
        ),
        (
            &[("foo", Some("x"))],
            PRODUCER,
            1.0,
            "Unhandled client quota entity type: foo",
        ),
        (
            &[("user", Some("a")), ("ip", Some("1.2.3.4"))],
            PRODUCER,
            1.0,
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
        ),
        (
            &[("ip", Some("not a host!"))],
            CONNECTIONS,
            1.0,
            "not a host! is not a valid IP or resolvable host.",
        ),
        (
            &[("user", Some("a"))],
            CONNECTIONS,
            1.0,
            "Invalid configuration key connection_creation_rate",
        ),
        (
            &[("user", Some("a"))],
            PRODUCER,
            0.0,
            "Quota producer_byte_rate must be greater than 0",
        ),
        (
            &[("user", Some("a"))],
            PRODUCER,
            1.5,
            "producer_byte_rate cannot be a fractional value.",
        ),
    ];
    for (parts, key, value, text) in cases {
        let answer = alter(&mut client, 1, parts, &[(key, Some(value))]);
        assert_eq!(answer, (42, Some(text.to_owned())));
    }
}

#[test]
fn a_producer_over_its_quota_is_answered_at_once_and_then_not_read_for_the_time_it_was_told() {
    let broker = Broker::start();
    let topic = broker.client().create_topic("muted", 1);
    let name = crate::harness::unique("muted-client");
    set(
        &broker,
        &[("client-id", Some(&name))],
        PRODUCER,
        Some(10_000.0),
    );
    let mut client = broker.client();
    wait_for("a quota that holds", || {
        (produce(&mut broker.client(), &name, &topic, &batch(1)) == Duration::ZERO).then_some(())
    });
    // Ten windows of a second allow 100 000 bytes, and 40 000 more are worth four seconds, less
    // what has passed of the present one.
    let begun = Instant::now();
    let wait = produce(&mut client, &name, &topic, &batch(140_000));
    let answered = begun.elapsed();
    assert!((2_500..=4_500).contains(&wait.as_millis()), "{wait:?}");
    assert!(answered < wait, "answered after {answered:?} of {wait:?}");
    // Another connection is not muted, and told what there is to wait of the same quota.
    let other = produce(&mut broker.client(), &name, &topic, &batch(1));
    assert!(other > Duration::ZERO && other <= wait + Duration::from_millis(100));
    let asked = Instant::now();
    let version = 0;
    call_as(
        &mut client,
        &name,
        &api_versions::Request::default(),
        version,
    );
    let muted = asked.elapsed() + (asked - begun);
    assert!(muted >= wait, "read again after {muted:?} of {wait:?}");
}

#[test]
fn a_producer_that_does_not_care_comes_out_at_its_limit() {
    let Some(broker) = Broker::own("a producer's rate", quick()) else {
        return;
    };
    let topic = broker.client().create_topic("rate", 1);
    let limit = 100_000.0;
    set(
        &broker,
        &[("user", Some("ANONYMOUS"))],
        PRODUCER,
        Some(limit),
    );
    let piece = batch(10_000);
    // Two connections, which may live on two cores, share what the user may.
    let mut clients = [broker.client(), broker.client()];
    let (begun, mut sent) = (Instant::now(), 0);
    let names = ["one", "two"];
    while begun.elapsed() < Duration::from_secs(12) {
        for (client, name) in clients.iter_mut().zip(names) {
            produce(client, name, &topic, &piece);
            sent += piece.len();
        }
    }
    // Two windows' worth may be used before any time has passed, and as much may be owed.
    let passed = begun.elapsed().as_secs_f64();
    let rate = sent as f64 / passed;
    let slack = 2.0 * limit / passed;
    assert!(
        rate <= limit * 1.1 + slack && rate >= limit * 0.9 - slack,
        "{rate} instead of {limit} bytes a second over {passed} s"
    );
    assert!(broker.metric("klamm_shard_throttles_total") > 0);
}

#[test]
fn a_quota_holds_and_ends_at_once_for_connections_that_are_there() {
    let broker = Broker::start();
    let topic = broker.client().create_topic("changing", 1);
    let name = crate::harness::unique("changing-client");
    let mut client = broker.client();
    assert_eq!(
        produce(&mut client, &name, &topic, &batch(20_000)),
        Duration::ZERO
    );
    let entity: Parts<'_> = &[("client-id", Some(&name))];
    set(&broker, entity, PRODUCER, Some(1_000.0));
    // Every use from now on counts, and ten seconds' worth is free.
    wait_for("a quota that holds", || {
        let wait = produce(&mut broker.client(), &name, &topic, &batch(6_000));
        (wait > Duration::ZERO).then_some(())
    });
    set(&broker, entity, PRODUCER, None);
    wait_for("a quota that ended", || {
        let wait = produce(&mut broker.client(), &name, &topic, &batch(6_000));
        (wait == Duration::ZERO).then_some(())
    });
    assert_eq!(
        produce(&mut client, &name, &topic, &batch(20_000)),
        Duration::ZERO
    );
}

/// Over its quota of a byte a second, it is told to wait for hours.
fn exhaust(broker: &Broker, client: &mut Client, name: &str, topic: &Topic) {
    set(broker, &[("client-id", Some(name))], PRODUCER, Some(1.0));
    wait_for("a quota that holds", || {
        let wait = produce(client, name, topic, &batch(20_000));
        (wait > Duration::from_secs(3600)).then_some(())
    });
}

#[test]
fn a_mute_ends_with_its_quota_and_a_muted_client_that_left_is_let_go() {
    let Some(broker) = Broker::own("mutes that end", Options::new()) else {
        return;
    };
    let topic = broker.client().create_topic("unmuted", 1);
    let name = "mute-that-ends";
    let mut client = broker.client();
    exhaust(&broker, &mut client, name, &topic);
    send_as(&mut client, name, &api_versions::Request::default(), 0);
    let entity: Parts<'_> = &[("client-id", Some(name))];
    let begun = Instant::now();
    set(&broker, entity, PRODUCER, None);
    let _: Reply<api_versions::Request<'_>> = client.finish(klamm_wire::ApiKey::ApiVersions, 0);
    assert!(begun.elapsed() < Duration::from_secs(10));

    let only_ours = || {
        let count = broker.metric("kafka_server_socket_server_metrics_connection_count");
        (count == 1).then_some(())
    };
    let mut leaving = broker.client();
    exhaust(&broker, &mut leaving, name, &topic);
    drop(leaving);
    wait_for("the end of a connection whose client left", only_ours);
}

#[test]
fn a_broker_stops_at_once_although_a_client_that_left_was_held() {
    let Some(mut broker) = Broker::own("held at the stop", Options::new()) else {
        return;
    };
    let name = "held-at-the-stop";
    set(
        &broker,
        &[("client-id", Some(name))],
        MUTATIONS,
        Some(0.0001),
    );
    wait_for("a quota that is exhausted", || {
        let mut client = broker.client();
        let request = creation(&crate::harness::unique("held"), 5, 1, &[]);
        let reply = call_as(&mut client, name, &request, 5);
        (reply.view().throttle_time_ms() > 0).then_some(())
    });
    let mut staying = broker.client();
    let request = creation(&crate::harness::unique("held"), 5, 1, &[]);
    call_as(&mut staying, name, &request, 5);
    send_as(&mut staying, name, &request, 5);
    let took = broker.stop();
    assert!(took < Duration::from_secs(4), "stopped after {took:?}");
}

#[test]
fn a_raised_mutation_quota_pays_what_was_owed_under_the_lower_one() {
    let broker = Broker::start();
    let name = crate::harness::unique("raised-creator");
    let create = |partitions| {
        let topic = crate::harness::unique("raised");
        let request = creation(&topic, partitions, 1, &[]);
        let reply = call_as(&mut broker.client(), &name, &request, 7);
        let view = reply.view();
        view.topics().iter().next().expect("one topic").error_code()
    };
    let entity: Parts<'_> = &[("client-id", Some(&name))];
    set(&broker, entity, MUTATIONS, Some(0.0001));
    wait_for("a quota that is exhausted", || {
        (create(5) == 89).then_some(())
    });
    set(&broker, entity, MUTATIONS, Some(1000.0));
    wait_for("a quota that allows it", || (create(5) == 0).then_some(()));
}

#[test]
fn a_consumer_over_its_quota_gets_nothing_at_once_and_everything_in_time() {
    let Some(broker) = Broker::own("a consumer's rate", quick()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("fetched", 1);
    let piece = batch(10_000);
    for _ in 0..80 {
        assert_eq!(client.produce(&topic, 0, &piece).error_code, 0);
    }
    let limit = 50_000.0;
    set(&broker, &[("client-id", None)], CONSUMER, Some(limit));
    let mut reader = broker.client();
    let (begun, mut got, mut throttled, mut offset) = (Instant::now(), 0, 0, 0);
    while offset < 80 {
        // Small answers: one that is as large as all full windows allow would wait for all of them.
        let request = klamm_wire::fetch::Request {
            max_bytes: 20_000,
            ..fetching(&topic, 0, offset)
        };
        let reply = call_as(&mut reader, "reader", &request, 12);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        if view.throttle_time_ms() > 0 {
            throttled += 1;
            assert_eq!(view.responses().iter().count(), 0, "an empty answer");
            continue;
        }
        let parts = fetched(&view);
        let records = parts.iter().map(|part| part.records.len()).sum::<usize>();
        got += records;
        offset += (records / piece.len()) as i64;
    }
    let passed = begun.elapsed().as_secs_f64();
    let (rate, slack) = (got as f64 / passed, 2.0 * limit / passed);
    assert!(throttled > 0);
    // However much it asks for: no answer is larger than what all full windows allow.
    let all = call_as(&mut broker.client(), "greedy", &fetching(&topic, 0, 0), 12);
    let most = fetched(&all.view())[0].records.len();
    assert!((80_000..=100_000).contains(&most), "{most}");
    assert!(
        rate <= limit * 1.1 + slack && rate >= limit * 0.9 - slack,
        "{rate} instead of {limit} bytes a second over {passed} s"
    );
}

#[test]
fn requests_over_their_share_of_a_core_are_told_to_wait_in_every_answer() {
    let broker = Broker::start();
    let name = crate::harness::unique("busy-client");
    set(
        &broker,
        &[("client-id", Some(&name))],
        REQUESTS,
        Some(0.0001),
    );
    let request = metadata::Request {
        topics: Some(Vec::new()),
        ..Default::default()
    };
    wait_for("a quota that holds", || {
        let mut client = broker.client();
        let begun = Instant::now();
        let reply = call_as(&mut client, &name, &request, 9);
        let wait = told(reply.view().throttle_time_ms());
        // Nobody waits for longer than a window.
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        if wait < Duration::from_millis(100) {
            return None;
        }
        call_as(&mut client, &name, &api_versions::Request::default(), 0);
        assert!(begun.elapsed() >= wait);
        Some(())
    });
}

#[test]
fn creating_and_deleting_more_than_the_quota_is_refused_to_new_versions_and_slows_old_ones() {
    let broker = Broker::start();
    let name = crate::harness::unique("creator");
    let mut client = broker.client();
    let before = client.create_topic("before", 30);
    set(&broker, &[("client-id", Some(&name))], MUTATIONS, Some(0.5));
    let create = |version, partitions| {
        let topic = crate::harness::unique("mutation");
        let request = creation(&topic, partitions, 1, &[]);
        let reply = call_as(&mut broker.client(), &name, &request, version);
        let view = reply.view();
        let code = view.topics().iter().next().expect("one topic").error_code();
        (code, view.throttle_time_ms())
    };
    // 11 windows of a second gather five tokens; whoever finds one may use any number.
    wait_for("a quota that is exhausted", || {
        let (code, wait) = create(7, 6);
        match code {
            0 => assert_eq!(wait, 0),
            code => assert_eq!(code, 89),
        }
        (wait > 0).then_some(())
    });
    let (code, wait) = create(5, 6);
    assert!(code == 0 && wait > 0, "{code} {wait}");
    let mut other = broker.client();
    let request = deletion(&before.name);
    let reply = call_as(
        &mut other,
        &name,
        &klamm_wire::delete_topics::Request {
            topic_names: request.topic_names,
            timeout_ms: 1000,
            ..Default::default()
        },
        5,
    );
    let view = reply.view();
    let code = view
        .responses()
        .iter()
        .next()
        .expect("one topic")
        .error_code();
    assert!(code == 89 && view.throttle_time_ms() > 0);
    assert_eq!(client.delete_topic(&before), 0, "of another client");
}

#[test]
fn an_address_that_begins_too_many_connections_is_kept_out_until_it_may() {
    let Some(broker) = Broker::own("connections of an address", quick()) else {
        return;
    };
    let mut client = broker.client();
    let entity: Parts<'_> = &[("ip", Some("127.0.0.1"))];
    assert_eq!(
        alter(&mut client, 1, entity, &[(CONNECTIONS, Some(2.0))]),
        (0, None)
    );
    // Four connections are what two windows allow.
    let mut kept = Vec::new();
    let ended = wait_for("a connection that is ended", || {
        let mut other = Client::try_connect(broker.address()).ok()?;
        other.send(&crate::harness::frame_of(
            &api_versions::Request::default(),
            0,
            1,
        ));
        match other.stream().read(&mut [0; 64]) {
            Ok(0) | Err(_) => Some(kept.len()),
            Ok(_) => {
                kept.push(other);
                None
            }
        }
    });
    assert!(ended >= 2, "{ended} were let in");
    assert_eq!(
        alter(&mut client, 1, entity, &[(CONNECTIONS, None)]),
        (0, None)
    );
    wait_for("the end of the quota", || {
        let mut other = Client::try_connect(broker.address()).ok()?;
        other.send(&crate::harness::frame_of(
            &api_versions::Request::default(),
            0,
            1,
        ));
        other
            .stream()
            .read(&mut [0; 64])
            .is_ok_and(|read| read > 0)
            .then_some(())
    });
    assert_eq!(
        alter(&mut client, 1, &[("client-id", Some(OURSELVES))], &[]),
        (0, None)
    );
}
