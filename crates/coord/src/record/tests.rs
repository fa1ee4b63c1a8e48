//! Bytes that Apache Kafka 4.3.1's own classes made, all versions, and bytes that nobody made.

use klamm_model::{LeaderEpoch, Offset, TopicId, WallTime};

use super::*;
use crate::{Coordinator, GroupConfig, ReplayError};

const GROUPS: [&str; 5] = [
    "00000008636f6e73756d657200000007000572616e676500036d2d310000000200036d2d310006636c69656e74000a2f3132372e302e302e310000afc80000000300010200000002030400036d2d32000000042f3a3a31000017700000000000000000",
    "00010008636f6e73756d657200000007000572616e676500036d2d310000000200036d2d310006636c69656e74000a2f3132372e302e302e31000493e00000afc80000000300010200000002030400036d2d32000000042f3a3a31ffffffff000017700000000000000000",
    "00020008636f6e73756d657200000007000572616e676500036d2d310000018bcfe568000000000200036d2d310006636c69656e74000a2f3132372e302e302e31000493e00000afc80000000300010200000002030400036d2d32000000042f3a3a31ffffffff000017700000000000000000",
    "00030008636f6e73756d657200000007000572616e676500036d2d310000018bcfe568000000000200036d2d3100067374617469630006636c69656e74000a2f3132372e302e302e31000493e00000afc80000000300010200000002030400036d2d32ffff000000042f3a3a31ffffffff000017700000000000000000",
    "000409636f6e73756d6572000000070672616e6765046d2d310000018bcfe5680003046d2d310773746174696307636c69656e740b2f3132372e302e302e31000493e00000afc80400010203030400046d2d320001052f3a3a31ffffffff0000177001010000",
];
const EMPTY_GROUP: &str = "00030008636f6e73756d657200000008ffffffff000000000000000500000000";
const OFFSETS: [&str; 5] = [
    "000000000000075bcd1500037768790000018bcfe56800",
    "000100000000075bcd1500037768790000018bcfe568000000018bcfe56be8",
    "000200000000075bcd1500037768790000018bcfe56800",
    "000300000000075bcd150000000900037768790000018bcfe56800",
    "000400000000075bcd1500000009047768790000018bcfe568000100100102030405060708090a0b0c0d0e0f10",
];
const GROUP_KEY: &str = "0002000667726f756e64";
const OFFSET_KEY: &str = "0001000667726f756e640007666c696768747300000003";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).expect("a digit") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn kafkas_groups_of_every_version_are_read() {
    for (version, hex) in GROUPS.iter().enumerate() {
        let value = bytes(hex);
        let (head, mut members) = GroupValue::decode(&value).expect("of Kafka");
        let expected = GroupValue {
            protocol_type: "consumer",
            generation: 7,
            protocol: Some("range"),
            leader: Some("m-1"),
            since: (version >= 2).then_some(WallTime(1_700_000_000_000)),
        };
        assert_eq!(head, expected, "version {version}");
        let first = MemberValue {
            member: "m-1",
            instance: (version >= 3).then_some("static"),
            client_id: "client",
            client_host: "/127.0.0.1",
            rebalance_timeout_ms: if version >= 1 { 300_000 } else { 45_000 },
            session_timeout_ms: 45_000,
            subscription: &[0, 1, 2],
            assignment: &[3, 4],
        };
        assert_eq!(members.next(), Ok(Some(first)), "version {version}");
        let second = members.next().expect("of Kafka").expect("two members");
        assert_eq!((second.member, second.instance), ("m-2", None));
        assert_eq!(
            second.rebalance_timeout_ms, 6_000,
            "the session's where it is not set"
        );
        assert_eq!(members.next(), Ok(None), "version {version}");
    }
}

#[test]
fn groups_are_written_byte_for_byte_as_kafka_writes_them() {
    let value = bytes(GROUPS[3]);
    let (head, mut members) = GroupValue::decode(&value).expect("of Kafka");
    let mut all = Vec::new();
    while let Some(member) = members.next().expect("of Kafka") {
        all.push(member);
    }
    // Kafka's default of -1 is what only a test writes: a real member says how long it takes.
    all[1].rebalance_timeout_ms = -1;
    assert_eq!(head.encode(all.into_iter())[..], value);
    let value = bytes(EMPTY_GROUP);
    let (head, _) = GroupValue::decode(&value).expect("of Kafka");
    assert_eq!(head.encode(std::iter::empty())[..], value);
    assert_eq!(group_key("ground")[..], bytes(GROUP_KEY));
}

#[test]
fn kafkas_offsets_of_every_version_are_read_and_written_alike() {
    for (version, hex) in OFFSETS.iter().enumerate() {
        let value = bytes(hex);
        let expected = OffsetValue {
            offset: Offset(123_456_789),
            leader_epoch: (version >= 3).then_some(LeaderEpoch(9)),
            metadata: "why",
            committed: WallTime(1_700_000_000_000),
            expires: (version == 1).then_some(WallTime(1_700_000_001_000)),
            topic_id: TopicId(match version {
                4 => std::array::from_fn(|place| place as u8 + 1),
                _ => [0; 16],
            }),
        };
        assert_eq!(
            OffsetValue::decode(&value),
            Ok(expected.clone()),
            "version {version}"
        );
        if matches!(version, 1 | 4) {
            assert_eq!(expected.encode()[..], value, "version {version}");
        }
    }
    assert_eq!(offset_key("ground", "flights", 3)[..], bytes(OFFSET_KEY));
}

#[test]
fn a_log_of_kafka_is_replayed_and_unknown_kinds_are_passed_over() {
    let mut coordinator = Coordinator::new(GroupConfig::default());
    for kind in 3..=40_i16 {
        let mut key = kind.to_be_bytes().to_vec();
        key.extend(b"whatever");
        let served = matches!(kind, 3..=8 | 16);
        let result = coordinator.replay(&key, Some(b"whatever"));
        assert_eq!(result.is_err(), served, "kind {kind}");
    }
    for value in OFFSETS.map(bytes) {
        assert_eq!(coordinator.replay(&bytes(OFFSET_KEY), Some(&value)), Ok(()));
    }
    for value in GROUPS.map(bytes) {
        assert_eq!(coordinator.replay(&bytes(GROUP_KEY), Some(&value)), Ok(()));
    }
    let stats = coordinator.stats();
    assert_eq!(
        (stats.offsets, stats.empty, stats.counters.records_skipped),
        (1, 1, 31)
    );
    assert_eq!(coordinator.replay(&bytes(OFFSET_KEY), None), Ok(()));
    assert_eq!(coordinator.replay(&bytes(GROUP_KEY), None), Ok(()));
    assert_eq!(
        coordinator.hash(),
        Coordinator::new(GroupConfig::default()).hash()
    );
}

/// A value with two members.
fn group_of_two(ids: [&str; 2], instances: [Option<&str>; 2]) -> bytes::Bytes {
    let head = GroupValue {
        protocol_type: "consumer",
        generation: 7,
        protocol: Some("range"),
        leader: Some(ids[0]),
        since: None,
    };
    let members = ids
        .into_iter()
        .zip(instances)
        .map(|(member, instance)| MemberValue {
            member,
            instance,
            client_id: "client",
            client_host: "/::1",
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 60_000,
            subscription: &[],
            assignment: &[],
        });
    let members: Vec<_> = members.collect();
    head.encode(members.into_iter())
}

#[test]
fn a_group_that_has_a_member_twice_is_an_error_and_the_one_before_stays() {
    let key = bytes(GROUP_KEY);
    let mut coordinator = Coordinator::new(GroupConfig::default());
    let sound = group_of_two(["a", "b"], [Some("x"), None]);
    coordinator.replay(&key, Some(&sound)).expect("sound");
    let before = coordinator.hash();
    for (ids, instances) in [
        (["a", "a"], [Some("x"), Some("y")]),
        (["a", "a"], [None, None]),
        (["a", "b"], [Some("x"), Some("x")]),
    ] {
        let doubled = group_of_two(ids, instances);
        assert_eq!(
            coordinator.replay(&key, Some(&doubled)),
            Err(ReplayError::Value(RecordError::Repeated)),
            "{ids:?} {instances:?}"
        );
        assert_eq!(coordinator.hash(), before, "nothing has changed");
    }
    let moment = crate::Moment {
        now: klamm_model::Instant(0),
        wall: WallTime(0),
        seed: 1,
    };
    let _ = coordinator.on_loaded(moment);
    assert_eq!(coordinator.stats().members, 2);
}

#[test]
fn damaged_records_are_errors_and_change_nothing() {
    let mut refused = 0;
    let values = GROUPS
        .map(bytes)
        .into_iter()
        .map(|value| (bytes(GROUP_KEY), value));
    let offsets = OFFSETS
        .map(bytes)
        .into_iter()
        .map(|value| (bytes(OFFSET_KEY), value));
    for (key, value) in values.chain(offsets) {
        for end in 0..value.len() {
            let mut coordinator = Coordinator::new(GroupConfig::default());
            let result = coordinator.replay(&key, Some(&value[..end]));
            assert!(matches!(result, Err(ReplayError::Value(_))), "cut at {end}");
            assert_eq!(coordinator.stats().empty, 0, "nothing was made of it");
        }
        for place in 0..value.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut harmed = value.clone();
                harmed[place] ^= flip;
                let mut coordinator = Coordinator::new(GroupConfig::default());
                refused += usize::from(coordinator.replay(&key, Some(&harmed)).is_err());
            }
        }
        for end in 0..key.len() {
            let mut coordinator = Coordinator::new(GroupConfig::default());
            let result = coordinator.replay(&key[..end], Some(&value));
            assert!(
                matches!(result, Err(ReplayError::Key(_))),
                "key cut at {end}"
            );
        }
    }
    assert!(refused > 500, "lengths and texts are proved: {refused}");
}
