//! Every message in every version comes back as it was sent, and what a version cannot express is
//! refused.

use bytes::BytesMut;

use super::{dice::Dice, every_message, sample};
use crate::{
    ApiKey, Direction, EncodeError, Message, MessageView, create_topics, fetch, list_offsets,
    metadata, produce, visit_request, visit_response,
};

const SEEDS: u64 = 24;

#[test]
fn every_message_returns_from_its_bytes_in_every_version() {
    let mut count = 0;
    for seed in 0..SEEDS {
        for (key, direction, version) in every_message() {
            println!("seed {seed}: {key} {direction:?} v{version}");
            // Sampling compares the view's fields with what was encoded.
            let body = sample(key, direction, &mut Dice::new(seed), version);
            let mut again = BytesMut::new();
            let mut encode = |message: &dyn Message| {
                message
                    .encode(version, &mut again)
                    .expect("it was encoded before");
            };
            let parsed = match direction {
                Direction::Request => visit_request(key, version, &body, &mut encode),
                Direction::Response => visit_response(key, version, &body, &mut encode),
            };
            assert_eq!(parsed, Some(Ok(())));
            assert_eq!(body, again);
            count += 1;
        }
    }
    assert!(
        count > 400 * SEEDS,
        "the tables hold more than two hundred versions of APIs"
    );
}

#[test]
fn defaults_of_every_message_are_those_of_absent_fields() {
    let old = fetch::Request::default();
    let mut out = BytesMut::new();
    old.encode(4, &mut out).expect("defaults fit every version");
    let view = fetch::RequestView::parse(&out, 4).expect("what was written parses");
    assert_eq!(view.to_message(), old);
    assert_eq!(view.max_bytes(), i32::MAX);
    assert_eq!(view.session_epoch(), -1);
    assert_eq!(view.replica_state().replica_epoch(), -1);
}

#[test]
fn a_field_that_the_version_lacks_is_refused_unless_ignorable() {
    let request = create_topics::Request {
        validate_only: true,
        ..Default::default()
    };
    let refused = EncodeError::Unsupported {
        field: "validate_only",
        version: 0,
    };
    let mut out = BytesMut::from(&b"before"[..]);
    assert_eq!(request.encode(0, &mut out), Err(refused));
    assert_eq!(
        &out[..],
        b"before",
        "a refused message leaves the output alone"
    );
    assert_eq!(request.encode(1, &mut out), Ok(()));

    let response = produce::Response {
        throttle_time_ms: 5,
        ..Default::default()
    };
    assert!(response.encoded_len(13).is_ok());
    let state = fetch::ReplicaState {
        replica_id: 3,
        replica_epoch: 1,
    };
    let follower = fetch::Request {
        replica_state: state,
        ..Default::default()
    };
    let refused = EncodeError::Unsupported {
        field: "replica_state",
        version: 14,
    };
    assert_eq!(follower.encoded_len(14), Err(refused));
    assert!(follower.encoded_len(15).is_ok());
}

#[test]
fn a_null_that_the_version_does_not_admit_is_refused() {
    let all = metadata::Request {
        topics: None,
        ..Default::default()
    };
    assert_eq!(
        all.encoded_len(0),
        Err(EncodeError::Null {
            field: "topics",
            version: 0
        })
    );
    assert!(all.encoded_len(1).is_ok());
}

#[test]
fn a_version_outside_the_tables_is_refused() {
    let request = metadata::Request::default();
    assert_eq!(
        request.encoded_len(14),
        Err(EncodeError::Version { version: 14 })
    );
    assert_eq!(
        request.encoded_len(-1),
        Err(EncodeError::Version { version: -1 })
    );
    let refused = metadata::RequestView::parse(&[0; 4], 14).err();
    assert_eq!(refused, Some(crate::DecodeError::Version { version: 14 }));
}

#[test]
fn a_string_beyond_its_length_field_is_refused() {
    let name = Some("x".repeat(32_768).into());
    let topic = metadata::MetadataRequestTopic {
        name,
        ..Default::default()
    };
    let request = metadata::Request {
        topics: Some(vec![topic]),
        ..Default::default()
    };
    for version in [1, 13] {
        let refused = EncodeError::TooLong { length: 32_768 };
        assert_eq!(request.encoded_len(version), Err(refused));
    }
}

#[test]
fn list_offsets_zero_keeps_its_old_fields() {
    let partition = list_offsets::ListOffsetsPartition {
        partition_index: 1,
        timestamp: -1,
        max_num_offsets: 2,
        ..Default::default()
    };
    let topic = list_offsets::ListOffsetsTopic {
        name: "t".into(),
        partitions: vec![partition],
    };
    let request = list_offsets::Request {
        replica_id: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let mut out = BytesMut::new();
    request
        .encode(0, &mut out)
        .expect("version 0 has all these fields");
    let expected = [
        &[0xff; 4][..],
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1],
        &[0, 0, 0, 1],
        &[0xff; 8],
        &[0, 0, 0, 2],
    ];
    assert_eq!(out, expected.concat());
    let partition = list_offsets::ListOffsetsPartitionResponse {
        old_style_offsets: vec![9, 0],
        ..Default::default()
    };
    let topic = list_offsets::ListOffsetsTopicResponse {
        name: "t".into(),
        partitions: vec![partition],
    };
    let response = list_offsets::Response {
        topics: vec![topic],
        ..Default::default()
    };
    assert!(response.encoded_len(0).is_ok());
    let refused = EncodeError::Unsupported {
        field: "old_style_offsets",
        version: 1,
    };
    assert_eq!(response.encoded_len(1), Err(refused));
}

#[test]
fn key_facts_are_those_of_kafka() {
    assert_eq!(ApiKey::from_number(18), Some(ApiKey::ApiVersions));
    assert_eq!(ApiKey::from_number(-1), None);
    assert_eq!(ApiKey::from_number(95), None);
    assert_eq!(ApiKey::Vote.versions(), None);
    assert_eq!(ApiKey::Produce.first_flexible(), Some(9));
    assert_eq!(ApiKey::OffsetDelete.first_flexible(), None);
    assert_eq!(ApiKey::InitProducerId.first_unstable(), Some(6));
    assert_eq!(ApiKey::ApiVersions.request_header_version(99), 2);
    assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
    assert_eq!(ApiKey::Fetch.response_header_version(11), 0);
    assert_eq!(ApiKey::Fetch.response_header_version(12), 1);
    assert_eq!(ApiKey::ListOffsets.name(), "ListOffsets");
}
