//! Bodies confirmed by Kafka's own classes: the last word on the layout, also for versions that the
//! other oracle does not have.

use bytes::BytesMut;

use crate::{ApiKey, visit_request, visit_response};

const CONFIRMED: &str = include_str!("golden/kafka-4.3.1.txt");

#[test]
fn bodies_confirmed_by_kafka_parse_and_come_out_the_same() {
    let mut count = 0;
    for line in CONFIRMED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [number, direction, version, hex] = words[..] else {
            panic!("four words: {line}")
        };
        let key = ApiKey::from_number(number.parse().expect("a key")).expect("an assigned key");
        let version: i16 = version.parse().expect("a version");
        let body = unhex(hex);
        println!("{key} {direction} v{version}");
        let visit = if direction == "request" {
            visit_request
        } else {
            visit_response
        };
        let mut again = BytesMut::new();
        let parsed = visit(key, version, &body, &mut |message| {
            message
                .encode(version, &mut again)
                .expect("a version can say what it said");
        });
        assert_eq!(parsed, Some(Ok(())));
        assert_eq!(again, body);
        count += 1;
    }
    assert!(count > 250, "found {count} bodies");
}

fn unhex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| std::str::from_utf8(pair).expect("ascii"))
        .map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits"))
        .collect()
}
