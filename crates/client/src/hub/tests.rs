//! The hub between a script and a broker made of the wire room's encoders.

use bytes::BytesMut;
use klamm_wire::{ApiKey, FrameLimits, RequestHeader, api_versions, encode_response};

use super::*;
use crate::tests::cluster;

fn hub() -> Hub<&'static str> {
    Hub::new("a:1, b:2", HubOptions::default())
}

fn outgoing(note: &'static str, answered: bool) -> Outgoing<&'static str> {
    Outgoing {
        note,
        request: Box::new(crate::metadata::request(None)),
        version_max: i16::MAX,
        answered,
        lane: Lane::Data,
        patience: Duration::ZERO,
    }
}

/// Correlation ids and keys of requests in bytes to be written.
fn requests(bytes: &[u8]) -> Vec<(ApiKey, i32)> {
    let mut bytes = BytesMut::from(bytes);
    let mut found = Vec::new();
    while let Some(frame) = FrameLimits::of_requests(1 << 20)
        .split(&mut bytes)
        .expect("sound frames")
    {
        let (header, _) = RequestHeader::parse(&frame).expect("a sound header");
        found.push((header.key, header.correlation_id));
    }
    found
}

/// The only effect, which writes.
fn written(hub: &mut Hub<&'static str>) -> Vec<(ApiKey, i32)> {
    match hub.next_effect() {
        Some(Effect::Write { bytes, .. }) => requests(&bytes),
        other => panic!("expected bytes, found {other:?}"),
    }
}

/// An answer to ApiVersions that serves Metadata.
fn versions() -> BytesMut {
    let row = |key: ApiKey, max_version| api_versions::ApiVersion {
        api_key: key.number(),
        min_version: 0,
        max_version,
    };
    let response = api_versions::Response {
        api_keys: vec![row(ApiKey::ApiVersions, 4), row(ApiKey::Metadata, 12)],
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    encode_response(&response, 4, 0, &mut bytes).expect("version 4");
    bytes
}

fn metadata_answer(correlation_id: i32) -> BytesMut {
    let mut bytes = BytesMut::new();
    let response = crate::tests::metadata_response(1);
    encode_response(&response, 12, correlation_id, &mut bytes).expect("version 12");
    bytes
}

#[test]
fn requests_wait_until_versions_are_known_and_answers_find_their_notes() {
    let mut hub = hub();
    let now = Instant(1);
    hub.send(now, None, &Cluster::default(), outgoing("one", true));
    hub.send(now, None, &Cluster::default(), outgoing("two", true));
    let link = LinkId(0);
    let address = "a:1".to_owned();
    assert_eq!(hub.next_effect(), Some(Effect::Open { link, address }));
    assert_eq!(
        hub.next_effect(),
        None,
        "nothing is written before it is open"
    );
    hub.on_opened(link);
    assert_eq!(written(&mut hub), [(ApiKey::ApiVersions, 0)]);
    hub.on_bytes(link, &versions());
    assert_eq!(
        written(&mut hub),
        [(ApiKey::Metadata, 1), (ApiKey::Metadata, 2)]
    );
    let both = [metadata_answer(1), metadata_answer(2)].concat();
    for piece in both.chunks(7) {
        hub.on_bytes(link, piece);
    }
    for note in ["one", "two"] {
        let outcome = hub.next_outcome();
        assert!(
            matches!(&outcome, Some(Outcome::Answered(found, _)) if *found == note),
            "{outcome:?}"
        );
    }
    assert_eq!(hub.next_deadline(), None, "nobody owes anything");
}

#[test]
fn addresses_are_tried_in_turn_and_brokers_by_their_own() {
    let mut hub = hub();
    let cluster = cluster();
    let opened = |hub: &mut Hub<&'static str>, node| {
        hub.send(Instant(1), node, &cluster, outgoing("x", true));
        match hub.next_effect() {
            Some(Effect::Open { link, address }) => {
                hub.on_closed(link, "refused");
                assert_eq!(hub.next_outcome(), Some(Outcome::Lost("x")));
                address
            }
            other => panic!("expected a connection, found {other:?}"),
        }
    };
    let tried: Vec<String> = (0..5).map(|_| opened(&mut hub, None)).collect();
    assert_eq!(
        tried,
        ["a:1", "b:2", "localhost:9093", "localhost:9094", "a:1"]
    );
    assert_eq!(opened(&mut hub, Some(NodeId(2))), "localhost:9094");
    hub.send(Instant(1), Some(NodeId(9)), &cluster, outgoing("x", true));
    assert_eq!(hub.next_outcome(), Some(Outcome::Lost("x")));
    assert_eq!(hub.last_failure(), Some("refused"));
}

#[test]
fn what_is_not_answered_in_time_ends_its_connection_and_all_upon_it() {
    let mut hub = hub();
    let now = Instant(1);
    hub.send(now, None, &Cluster::default(), outgoing("one", true));
    let link = LinkId(0);
    assert!(hub.next_effect().is_some());
    let due = hub.next_deadline().expect("a connection opens in time");
    assert_eq!(due.since(now), Duration::from_secs(10));
    hub.on_opened(link);
    hub.on_bytes(link, &versions());
    while hub.next_effect().is_some() {}
    hub.send(
        now.plus(Duration::from_secs(1)),
        None,
        &Cluster::default(),
        outgoing("two", true),
    );
    while hub.next_effect().is_some() {}
    let due = hub.next_deadline().expect("an answer comes in time");
    assert_eq!(due.since(now), Duration::from_secs(30));
    hub.on_time(Instant(due.0 - 1));
    assert_eq!(hub.next_outcome(), None);
    hub.on_time(due);
    assert_eq!(hub.next_effect(), Some(Effect::Close(link)));
    assert_eq!(hub.next_outcome(), Some(Outcome::Lost("one")));
    assert_eq!(hub.next_outcome(), Some(Outcome::Lost("two")));
    // What still arrives there is nobody's.
    hub.on_bytes(link, &metadata_answer(1));
    assert_eq!(hub.next_outcome(), None);
}

#[test]
fn a_request_without_an_answer_is_done_when_it_is_written() {
    let mut hub = hub();
    hub.send(
        Instant(1),
        None,
        &Cluster::default(),
        outgoing("one", false),
    );
    hub.on_opened(LinkId(0));
    hub.on_bytes(LinkId(0), &versions());
    assert_eq!(hub.next_outcome(), Some(Outcome::Written("one")));
    assert_eq!(hub.next_deadline(), None);
}

#[test]
fn bytes_that_are_no_answer_end_the_connection() {
    let mut hub = hub();
    hub.send(Instant(1), None, &Cluster::default(), outgoing("one", true));
    hub.on_opened(LinkId(0));
    while hub.next_effect().is_some() {}
    hub.on_bytes(LinkId(0), &[0xff; 64]);
    assert_eq!(hub.next_effect(), Some(Effect::Close(LinkId(0))));
    assert_eq!(hub.next_outcome(), Some(Outcome::Lost("one")));
}
