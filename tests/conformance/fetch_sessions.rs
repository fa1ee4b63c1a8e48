//! Incremental fetch sessions (KIP-227): what is told, what is left out, what ends one.

use klamm_wire::fetch;

use crate::harness::{Broker, Client, RawBatch, Topic, fetching, records_of};

/// Answer of a session: its id, and index and number of records of each partition that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Round {
    error_code: i16,
    session: i32,
    told: Vec<(i32, usize)>,
}

fn ask(client: &mut Client, request: &fetch::Request<'_>) -> Round {
    let reply = client.call(request, 12);
    let view = reply.view();
    let parts = view.responses().iter().flat_map(|topic| topic.partitions());
    let mut told: Vec<_> = parts
        .map(|part| {
            assert_eq!(part.error_code(), 0);
            (
                part.partition_index(),
                records_of(part.records().unwrap_or(&[])).len(),
            )
        })
        .collect();
    told.sort_unstable();
    Round {
        error_code: view.error_code(),
        session: view.session_id(),
        told,
    }
}

/// A request that opens a session over the first `count` partitions, from offset 0.
fn opening(topic: &Topic, count: i32) -> fetch::Request<'static> {
    let mut request = fetching(topic, 0, 0);
    request.session_epoch = 0;
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..count)
        .map(|partition| fetch::FetchPartition {
            partition,
            ..one.clone()
        })
        .collect();
    request
}

/// The next request of a session: only what changed, as (partition, offset).
fn next(
    topic: &Topic,
    session: i32,
    epoch: i32,
    changed: &[(i32, i64)],
) -> fetch::Request<'static> {
    let mut request = fetching(topic, 0, 0);
    (request.session_id, request.session_epoch) = (session, epoch);
    let one = request.topics[0].partitions[0].clone();
    let part = |&(partition, fetch_offset): &(i32, i64)| fetch::FetchPartition {
        partition,
        fetch_offset,
        ..one.clone()
    };
    request.topics[0].partitions = changed.iter().map(part).collect();
    if changed.is_empty() {
        request.topics.clear();
    }
    request
}

#[test]
fn session_tells_only_what_changed() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("session", 3);
    let opened = ask(&mut client, &opening(&topic, 3));
    assert_ne!(opened.session, 0);
    assert_eq!(
        opened.told,
        [(0, 0), (1, 0), (2, 0)],
        "the first answer tells all"
    );
    let quiet = ask(&mut client, &next(&topic, opened.session, 1, &[]));
    assert_eq!(
        quiet,
        Round {
            error_code: 0,
            session: opened.session,
            told: Vec::new()
        }
    );
    client.produce(&topic, 1, &RawBatch::one("x").encode());
    let news = ask(&mut client, &next(&topic, opened.session, 2, &[]));
    assert_eq!(news.told, [(1, 1)]);
    // The position has not moved, so the record is still to be told.
    assert_eq!(
        ask(&mut client, &next(&topic, opened.session, 3, &[])).told,
        [(1, 1)]
    );
    let moved = ask(&mut client, &next(&topic, opened.session, 4, &[(1, 1)]));
    assert_eq!(moved.told, []);
}

#[test]
fn forgotten_partition_is_told_no_more() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("forgotten", 2);
    for part in 0..2 {
        client.produce(&topic, part, &RawBatch::one("x").encode());
    }
    let opened = ask(&mut client, &opening(&topic, 2));
    assert_eq!(opened.told, [(0, 1), (1, 1)]);
    let mut request = next(&topic, opened.session, 1, &[]);
    request.forgotten_topics_data = vec![fetch::ForgottenTopic {
        topic: topic.name.clone().into(),
        topic_id: topic.id,
        partitions: vec![0],
    }];
    assert_eq!(ask(&mut client, &request).told, [(1, 1)]);
}

#[test]
fn session_that_is_closed_is_unknown_afterwards() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("closed", 1);
    let opened = ask(&mut client, &opening(&topic, 1));
    // Epoch -1 closes the session and reads without one.
    let mut last = opening(&topic, 1);
    (last.session_id, last.session_epoch) = (opened.session, -1);
    let closed = ask(&mut client, &last);
    assert_eq!((closed.error_code, closed.session), (0, 0));
    assert_eq!(
        ask(&mut client, &next(&topic, opened.session, 1, &[])).error_code,
        70
    );
}

#[test]
fn session_by_topic_ids_follows_the_same_rules() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("ids", 2);
    let reply = client.call(&opening(&topic, 2), 17);
    let session = reply.view().session_id();
    assert_ne!(session, 0);
    client.produce(&topic, 0, &RawBatch::one("x").encode());
    let reply = client.call(&next(&topic, session, 1, &[]), 17);
    let view = reply.view();
    assert_eq!(view.error_code(), 0);
    let told: Vec<_> = view.responses().iter().collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].topic_id(), topic.id);
    assert_eq!(
        told[0]
            .partitions()
            .iter()
            .next()
            .expect("one")
            .partition_index(),
        0
    );
}

#[test]
fn fetch_without_a_session_gets_none() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("none", 1);
    assert_eq!(ask(&mut client, &fetching(&topic, 0, 0)).session, 0);
}
