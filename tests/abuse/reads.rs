//! Fetch, ListOffsets and Metadata that ask for too much, or for what cannot be.

use std::time::{Duration, Instant};

use klamm_wire::{create_topics, fetch, list_offsets, metadata};

use crate::harness::{
    Broker, Client, Options, RawBatch, Topic, creation, fetched, fetching, frame_of, listing,
    unique, wait_for,
};

fn code_of(client: &mut Client, request: &fetch::Request<'_>, version: i16) -> i16 {
    client.call(request, version).view().error_code()
}

/// A30
#[test]
fn fetch_that_wants_everything_gets_what_there_is() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("all", 1);
    for _ in 0..20 {
        client.produce(&topic, 0, &RawBatch::one(&"x".repeat(100_000)).encode());
    }
    let mut request = fetching(&topic, 0, 0);
    (request.min_bytes, request.max_bytes) = (i32::MAX, i32::MAX);
    request.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    // More than there is to wait for, so the time decides.
    request.max_wait_ms = 200;
    let begun = Instant::now();
    let reply = client.call(&request, 12);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let parts = fetched(&reply.view());
    assert_eq!(parts[0].error_code, 0);
    assert!(parts[0].records.len() > 2_000_000 - 100_000);
    broker.is_healthy();
}

/// A30
#[test]
fn fetch_that_would_wait_for_ever_leaves_when_its_client_leaves() {
    let test = "fetch_that_would_wait_for_ever_leaves_when_its_client_leaves";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let topic = broker.client().create_topic("ever", 1);
    let mut request = fetching(&topic, 0, 0);
    (request.min_bytes, request.max_wait_ms) = (i32::MAX, i32::MAX);
    let memory = crate::Memory::of(&broker);
    for _ in 0..20 {
        let mut waiting: Vec<_> = (0..20).map(|_| broker.client()).collect();
        for client in &mut waiting {
            client.begin(&request, 12);
        }
    }
    memory.check_growth(&broker, 32 << 20);
    broker.is_healthy();
    assert!(broker.stop() < Duration::from_secs(10));
}

fn fetching_many(topic: &Topic, partitions: i32) -> fetch::Request<'static> {
    let mut request = fetching(topic, 0, 0);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..partitions)
        .map(|partition| fetch::FetchPartition {
            partition,
            ..one.clone()
        })
        .collect();
    request
}

/// A30
#[test]
fn fetch_of_more_partitions_than_anybody_has_is_closed_and_costs_its_bytes_alone() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("millions", 1);
    let frame = frame_of(&fetching_many(&topic, 3_400_000), 11, 1);
    let memory = crate::Memory::of(&broker);
    crate::check_closed(
        &broker,
        &frame,
        "expected at most 200000 partitions, found 3400000",
    );
    memory.check_peak(&broker, 160 << 20);
    broker.is_healthy();
}

/// A30
#[test]
fn fetch_of_a_hundred_thousand_partitions_is_answered() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("many", 1);
    let reply = client.call(&fetching_many(&topic, 100_000), 12);
    assert_eq!(fetched(&reply.view()).len(), 100_000);
    crate::check_peak(&broker);
    broker.is_healthy();
}

/// A30
#[test]
fn waiting_fetch_whose_request_is_large_makes_room_for_others() {
    let test = "waiting_fetch_whose_request_is_large_makes_room_for_others";
    let options = Options::new()
        .set("klamm.shards", 1)
        .set("queued.max.request.bytes", 300_000);
    let Some(mut broker) = Broker::own(test, options) else {
        return;
    };
    let topic = broker.client().create_topic("parked", 1);
    let mut request = fetching_many(&topic, 20_000);
    (request.min_bytes, request.max_wait_ms) = (1 << 20, 600_000);
    let (mut first, mut second) = (broker.client(), broker.client());
    first.begin(&request, 12);
    // Whichever is read later finds no room, and the other is answered long before its time.
    let from = broker.log_length();
    second.begin(&request, 12);
    let clients = [&first, &second];
    for client in clients {
        let blocking = client.stream().set_nonblocking(true);
        blocking.expect("a live socket");
    }
    let is_answered = |client: &&Client| matches!(client.stream().peek(&mut [0]), Ok(1));
    wait_for("an answer", || {
        clients.iter().any(is_answered).then_some(())
    });
    broker.expect_log(from, &["large requests wait"]);
    broker.is_healthy();
}

/// A31
#[test]
fn fetch_sessions_of_many_partitions_are_bounded_together() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("sessions", 1);
    let mut opening = fetching_many(&topic, 99_999);
    opening.session_epoch = 0;
    let memory = crate::Memory::of(&broker);
    let (mut with, mut without) = (0, 0);
    for _ in 0..20 {
        let reply = client.call(&opening, 12);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        assert_eq!(
            view.responses()
                .iter()
                .map(|one| one.partitions().len())
                .sum::<usize>(),
            99_999
        );
        if view.session_id() == 0 {
            without += 1;
        } else {
            with += 1;
        }
    }
    if broker.process().is_some() {
        assert!(
            with > 0 && without > 10,
            "{with} sessions, {without} without"
        );
    }
    memory.check_growth(&broker, 220 << 20);
    broker.is_healthy();
}

/// A10, A30
#[test]
fn long_name_of_many_partitions_is_held_once() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = Topic {
        name: "/".repeat(30_000),
        id: [0; 16],
    };
    let memory = crate::Memory::of(&broker);
    let reply = client.call(&fetching_many(&topic, 50_000), 11);
    assert_eq!(fetched(&reply.view()).len(), 50_000);
    memory.check_peak(&broker, 160 << 20);
    broker.is_healthy();
}

/// A31
#[test]
fn unknown_session_and_wrong_epoch_have_their_own_codes() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("session", 1);
    let mut opening = fetching(&topic, 0, 0);
    opening.session_epoch = 0;
    let session = client.call(&opening, 12).view().session_id();
    assert_ne!(session, 0);
    let next = |id: i32, epoch: i32| fetch::Request {
        session_id: id,
        session_epoch: epoch,
        topics: Vec::new(),
        ..fetching(&topic, 0, 0)
    };
    assert_eq!(code_of(&mut client, &next(session ^ 0x5555, 1), 12), 70);
    assert_eq!(code_of(&mut client, &next(session, 9), 12), 71);
    assert_eq!(
        code_of(&mut client, &next(session, 1), 12),
        0,
        "a wrong epoch ends nothing"
    );
    assert_eq!(
        code_of(&mut client, &next(session, 1), 12),
        71,
        "each epoch is used once"
    );
    broker.is_healthy();
}

/// A31
#[test]
fn session_that_began_by_names_does_not_go_on_by_ids() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("mixed", 1);
    let mut request = fetching(&topic, 0, 0);
    request.session_epoch = 0;
    let session = client.call(&request, 12).view().session_id();
    (request.session_id, request.session_epoch) = (session, 1);
    assert_eq!(code_of(&mut client, &request, 13), 106);
    broker.is_healthy();
}

/// A31
#[test]
fn endless_new_sessions_are_bounded_and_nobody_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("endless", 1);
    client.produce(&topic, 0, &RawBatch::one("x").encode());
    let mut opening = fetching(&topic, 0, 0);
    opening.session_epoch = 0;
    let mut without = 0;
    for _ in 0..4000 {
        let reply = client.call(&opening, 12);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        assert_eq!(fetched(&view)[0].high_watermark, 1);
        // Without a session the answer is as good.
        without += u32::from(view.session_id() == 0);
    }
    if broker.process().is_some() {
        assert!(
            without > 0,
            "4000 sessions of one client are all kept or all evicted"
        );
    }
    broker.is_healthy();
}

/// A32
#[test]
fn leader_epoch_from_the_future_is_unknown() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("future", 1);
    let mut request = fetching(&topic, 0, 0);
    request.topics[0].partitions[0].current_leader_epoch = 1000;
    let reply = client.call(&request, 12);
    assert_eq!(fetched(&reply.view())[0].error_code, 75);
    assert_eq!(epoch_code(&mut client, &topic, 1000), 75);
    broker.is_healthy();
}

/// A32
#[test]
fn leader_epoch_of_the_past_is_fenced() {
    let test = "leader_epoch_of_the_past_is_fenced";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let topic = broker.client().create_topic("past", 1);
    broker
        .client()
        .produce(&topic, 0, &RawBatch::one("x").encode());
    let before = broker.client().list_offset(&topic, 0, -1).leader_epoch;
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    let after = client.list_offset(&topic, 0, -1).leader_epoch;
    assert!(after > before, "no new epoch: {before}, then {after}");
    let mut request = fetching(&topic, 0, 0);
    request.topics[0].partitions[0].current_leader_epoch = before;
    let reply = client.call(&request, 12);
    assert_eq!(fetched(&reply.view())[0].error_code, 74);
    assert_eq!(epoch_code(&mut client, &topic, before), 74);
    broker.is_healthy();
}

fn epoch_code(client: &mut Client, topic: &Topic, epoch: i32) -> i16 {
    let mut request = listing(topic, 0, -1);
    request.topics[0].partitions[0].current_leader_epoch = epoch;
    let reply = client.call(&request, 7);
    let view = reply.view();
    let topic = view.topics().iter().next().expect("one topic");
    topic
        .partitions()
        .iter()
        .next()
        .expect("one partition")
        .error_code()
}

/// A33
#[test]
fn offset_outside_of_the_log_is_out_of_range() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("range", 1);
    for _ in 0..3 {
        client.produce(&topic, 0, &RawBatch::one("x").encode());
    }
    for offset in [-1, -2, i64::MIN, 4, i64::MAX] {
        let part = client.fetch(&topic, 0, offset);
        assert_eq!(
            (part.error_code, part.records.len()),
            (1, 0),
            "offset {offset}"
        );
    }
    assert_eq!(
        client.fetch(&topic, 0, 3).error_code,
        0,
        "the end itself is in range"
    );
    broker.is_healthy();
}

/// A34
#[test]
fn partition_listed_twice_is_refused_and_others_are_answered() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("listed", 2);
    let part = |index| list_offsets::ListOffsetsPartition {
        partition_index: index,
        timestamp: -1,
        ..Default::default()
    };
    let asked = list_offsets::ListOffsetsTopic {
        name: topic.name.into(),
        partitions: vec![part(0), part(1), part(0)],
    };
    let request = list_offsets::Request {
        replica_id: -1,
        topics: vec![asked],
        ..Default::default()
    };
    let reply = client.call(&request, 7);
    let view = reply.view();
    let mut codes: Vec<_> = view
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|part| (part.partition_index(), part.error_code()))
        .collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, [(0, 42), (1, 0)]);
    broker.is_healthy();
}

/// A35, A58
#[test]
fn names_that_cannot_be_topics_are_refused_one_by_one() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let long = "x".repeat(250);
    let names = [
        "",
        ".",
        "..",
        &long,
        "a/b",
        "../../etc/passwd",
        "line\nbreak",
        "nul\0",
        "a b",
        "\u{202e}txet",
        "größe",
        "a\\b",
        "%2e%2e",
        "\x1b[31m",
    ];
    for create in [true, false] {
        let topics = names.iter().map(|name| metadata::MetadataRequestTopic {
            name: Some((*name).into()),
            ..Default::default()
        });
        let request = metadata::Request {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let reply = client.call(&request, 9);
        let view = reply.view();
        assert_eq!(view.topics().len(), names.len());
        for topic in view.topics() {
            assert_eq!(topic.error_code(), 17, "{:?}", topic.name());
        }
    }
    for name in names {
        let reply = client.call(&creation(name, 1, 1, &[]), 7);
        let view = reply.view();
        let code = view.topics().iter().next().expect("one topic").error_code();
        assert_eq!(code, 17, "{name:?}");
    }
    broker.is_healthy();
    if let Some(process) = broker.process() {
        let text = process.log.text();
        assert!(
            !text.contains('\x1b') && !text.contains('\u{202e}'),
            "{text}"
        );
    }
}

/// A58
#[test]
fn longest_and_oddest_legal_names_work() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    for name in ["...", "-", "_", "__mine", "A.b-c_9", &"n".repeat(249)] {
        let unique = if name.len() == 249 {
            name.to_owned()
        } else {
            unique(name)
        };
        let reply = client.call(&creation(&unique, 1, 1, &[]), 7);
        let view = reply.view();
        let topic = view.topics().iter().next().expect("one topic");
        assert!(
            [0, 36].contains(&topic.error_code()),
            "{name}: {}",
            topic.error_code()
        );
        let topic = Topic {
            name: unique,
            id: topic.topic_id(),
        };
        wait_for("leader", || {
            let produced = client.produce(&topic, 0, &RawBatch::one("x").encode());
            (produced.error_code == 0).then_some(())
        });
    }
    broker.is_healthy();
}

/// A35
#[test]
fn a_million_names_are_answered_or_closed_within_bounds() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topics = (0..1_000_000).map(|number| metadata::MetadataRequestTopic {
        name: Some(format!("absent-{number}").into()),
        ..Default::default()
    });
    let request = metadata::Request {
        topics: Some(topics.collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    client.begin(&request, 9);
    crate::check_is_answered_or_closed(&mut client);
    crate::check_peak(&broker);
    broker.is_healthy();
}

/// A36
#[test]
fn topic_of_two_thousand_million_partitions_is_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    for partitions in [i32::MAX, 10_000_000] {
        let reply = client.call(&creation(&unique("vast"), partitions, 1, &[]), 7);
        let view = reply.view();
        let code = view.topics().iter().next().expect("one topic").error_code();
        assert!(
            [37, 42, 44].contains(&code),
            "code {code} for {partitions} partitions"
        );
    }
    broker.is_healthy();
}

/// A36
#[test]
fn a_hundred_thousand_topics_in_one_request_are_bounded() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let hint = unique("bulk");
    let topics = (0..100_000).map(|number| create_topics::CreatableTopic {
        name: format!("{hint}-{number}").into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    });
    let request = create_topics::Request {
        topics: topics.collect(),
        timeout_ms: 1000,
        ..Default::default()
    };
    client.begin(&request, 7);
    crate::check_is_answered_or_closed(&mut client);
    broker.is_healthy();
}
