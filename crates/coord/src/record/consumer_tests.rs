//! Claims about the records of the consumer protocol, held against bytes that Kafka 4.3.1's own
//! classes wrote.

use super::*;
use klamm_model::{TopicId, WallTime};

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|two| {
            let two = std::str::from_utf8(two).expect("ASCII");
            u8::from_str_radix(two, 16).expect("hexadecimal")
        })
        .collect()
}

const EPOCH: &str = "000000000007010008fffffffffffffffb";
const EPOCH_WITHOUT_HASH: &str = "00000000000700";
const TARGETS: &str = "0000000000070100080000018bcfe56800";
const TARGETS_WITHOUT_TIME: &str = "00000000000700";
const SAID: &str = concat!(
    "00000269027202630b2f3132372e302e302e310308666c696768747307747261696e7305666c2e2a",
    "0000ea600672616e676500",
);
const SAID_CLASSIC: &str = concat!(
    "0000010102630b2f3132372e302e302e310101ffffffff01010012010000afc8020672616e676504",
    "0102030000",
);
const TARGET: &str = "0000020102030405060708090a0b0c0d0e0f10040000000000000001000000050000";
const CURRENT: &str = concat!(
    "0000000000090000000801020102030405060708090a0b0c0d0e0f10030000000000000001010009",
    "030000000300000004020102030405060709090a0b0c0d0e0f100200000002010005020000000500",
);
const CURRENT_WITHOUT_EPOCHS: &str = concat!(
    "0000000000090000000801020102030405060708090a0b0c0d0e0f10030000000000000001010001",
    "00020102030405060709090a0b0c0d0e0f100200000002010005020000000500",
);
const REGEX: &str = "00000208666c6967687473000000000000000c0000018bcfe5680000";

#[test]
fn keys_are_those_of_kafka() {
    let keys = [
        ("0003000667726f756e64", Part::Epoch),
        ("0004000667726f756e64", Part::Topics),
        ("0005000667726f756e6400036d2d31", Part::Member("m-1")),
        ("0006000667726f756e64", Part::TargetEpoch),
        ("0007000667726f756e6400036d2d31", Part::Target("m-1")),
        ("0008000667726f756e6400036d2d31", Part::Current("m-1")),
        ("0010000667726f756e640004666c2e2a", Part::Regex("fl.*")),
    ];
    for (hex, part) in keys {
        let key = bytes(hex);
        assert_eq!(part.key("ground")[..], key);
        let group = "ground";
        assert_eq!(Key::decode(&key), Ok(Key::Consumer { group, part }));
        for end in 2..key.len() {
            assert!(Key::decode(&key[..end]).is_err(), "{part:?} cut at {end}");
        }
    }
}

/// Read, written again, and cut off at every place.
fn holds(hex: &str, again: impl Fn(&[u8]) -> Result<bytes::Bytes, RecordError>) {
    let value = bytes(hex);
    assert_eq!(again(&value).expect("of Kafka")[..], value);
    for end in 0..value.len() {
        assert!(again(&value[..end]).is_err(), "cut at {end}");
    }
    let mut newer = value;
    newer[1] = 1;
    assert_eq!(
        again(&newer),
        Err(RecordError::UnknownVersion { version: 1 })
    );
}

#[test]
fn values_are_read_and_written_byte_for_byte_as_kafka_does() {
    for hex in [EPOCH, EPOCH_WITHOUT_HASH] {
        holds(hex, |value| Ok(EpochValue::decode(value)?.encode()));
    }
    for hex in [TARGETS, TARGETS_WITHOUT_TIME] {
        holds(hex, |value| Ok(TargetEpochValue::decode(value)?.encode()));
    }
    for hex in [SAID, SAID_CLASSIC] {
        holds(hex, |value| Ok(SaidValue::decode(value)?.encode()));
    }
    holds(TARGET, |value| Ok(encode_target(&decode_target(value)?)));
    holds(CURRENT, |value| {
        let read = CurrentValue::decode(value)?;
        Ok(encode_current(
            [read.epoch, read.previous_epoch],
            read.state,
            [&read.assigned, &read.revoking],
        ))
    });
    holds(REGEX, |value| Ok(RegexValue::decode(value)?.encode()));
}

#[test]
fn values_mean_what_kafka_means() {
    let epoch = EpochValue::decode(&bytes(EPOCH)).expect("of Kafka");
    assert_eq!((epoch.epoch, epoch.metadata_hash), (7, -5));
    let targets = TargetEpochValue::decode(&bytes(TARGETS)).expect("of Kafka");
    assert_eq!(
        (targets.epoch, targets.at),
        (7, WallTime(1_700_000_000_000))
    );
    let said = bytes(SAID);
    let said = SaidValue::decode(&said).expect("of Kafka");
    let names = (said.instance, said.rack, said.regex, said.assignor);
    assert_eq!(names, (Some("i"), Some("r"), Some("fl.*"), Some("range")));
    assert_eq!(said.topics, ["flights", "trains"]);
    assert_eq!((said.client_id, said.client_host), ("c", "/127.0.0.1"));
    assert_eq!(said.rebalance_timeout_ms, 60_000);
    let classic = bytes(SAID_CLASSIC);
    let classic = SaidValue::decode(&classic).expect("of Kafka");
    let classic = classic.classic.expect("it speaks the classic protocol");
    assert_eq!(classic.session_timeout_ms, 45_000);
    assert_eq!(classic.protocols, [("range", &[1, 2, 3][..])]);
    let topic = |last: u8| {
        let mut id: [u8; 16] = std::array::from_fn(|at| at as u8 + 1);
        id[7] = last;
        TopicId(id)
    };
    let target = decode_target(&bytes(TARGET)).expect("of Kafka");
    assert_eq!(target, Partitions::from([(topic(8), vec![0, 1, 5])]));
    let current = CurrentValue::decode(&bytes(CURRENT)).expect("of Kafka");
    let [epoch, previous] = [current.epoch, current.previous_epoch];
    assert_eq!((epoch, previous, current.state), (9, 8, 1));
    assert_eq!(current.assigned[&topic(8)], [(0, 3), (1, 4)].into());
    assert_eq!(current.revoking[&topic(9)], [(2, 5)].into());
    let older = CurrentValue::decode(&bytes(CURRENT_WITHOUT_EPOCHS)).expect("of Kafka");
    assert_eq!(
        older.assigned[&topic(8)],
        [(0, 9), (1, 9)].into(),
        "the member's own"
    );
    let regex = bytes(REGEX);
    let regex = RegexValue::decode(&regex).expect("of Kafka");
    assert_eq!((regex.topics, regex.version), (vec!["flights"], 12));
}

#[test]
fn a_claimed_length_reserves_nothing() {
    for length in [0x0f_u8, 0x07] {
        let mut value = vec![0, 0, 0xff, 0xff, 0xff, 0xff, length];
        value.extend([0; 16]);
        assert!(decode_target(&value).is_err());
        assert!(RegexValue::decode(&value).is_err());
    }
}
