//! Hostile input: nothing panics, nothing is allocated, every fault is an error. The rows A1 to
//! A13 are those of the abuse list.

use allocation_counter::measure;
use bytes::{BufMut, BytesMut};

use super::{dice::Dice, every_message, parse, sample};
use crate::{
    ApiKey, DecodeError, ForeignProtocol, FrameError, FrameLimits, HeaderError, MessageView,
    RequestHeader, api_versions, create_topics, fetch, fuzz, heartbeat, metadata, produce,
};

#[test]
fn the_allocation_counter_counts() {
    let allocations = measure(|| drop(std::hint::black_box(vec![0u8; 9])));
    assert_eq!(
        allocations.count_total, 1,
        "else the claims below are empty"
    );
}

#[test]
fn every_truncation_is_an_error_without_allocation() {
    for seed in 0..3 {
        for (key, direction, version) in every_message() {
            let body = sample(key, direction, &mut Dice::new(seed), version);
            println!("seed {seed}: {key} {direction:?} v{version}");
            let allocations = measure(|| {
                for end in 0..body.len() {
                    assert!(
                        parse(key, direction, version, &body[..end]).is_err(),
                        "cut at {end}"
                    );
                }
                assert_eq!(parse(key, direction, version, &body), Ok(()));
            });
            assert_eq!(allocations.count_total, 0);
        }
    }
}

#[test]
fn random_mutations_neither_panic_nor_allocate() {
    for (key, direction, version) in every_message() {
        for seed in 0..40 {
            let mut dice = Dice::new(seed);
            let mut body = sample(key, direction, &mut dice, version);
            if body.is_empty() {
                continue;
            }
            for _ in 0..=dice.below(4) {
                let at = dice.below(body.len());
                body[at] = if dice.coin() { 0xff } else { dice.next() as u8 };
            }
            println!("seed {seed}: {key} {direction:?} v{version}");
            let allocations = measure(|| {
                let _either = parse(key, direction, version, &body);
            });
            assert_eq!(allocations.count_total, 0);
        }
    }
}

#[test]
fn fuzz_functions_accept_samples_mutations_and_noise() {
    let mut parsed = 0;
    for (key, direction, version) in every_message() {
        for seed in 0..6 {
            let mut dice = Dice::new(seed);
            let body = sample(key, direction, &mut dice, version);
            let mut frame = BytesMut::new();
            frame.put_i16(key.number());
            frame.put_i16(version);
            frame.put_i32(7);
            let flexible = match direction {
                crate::Direction::Request => {
                    frame.put_i16(-1);
                    key.request_header_version(version) == 2
                }
                crate::Direction::Response => key.response_header_version(version) == 1,
            };
            if flexible {
                frame.put_u8(0);
            }
            frame.extend_from_slice(&body);
            for _ in 0..20 {
                match direction {
                    crate::Direction::Request => fuzz::fuzz_request(&frame),
                    crate::Direction::Response => fuzz::fuzz_response(&frame),
                }
                parsed += 1;
                let at = dice.below(frame.len());
                frame[at] = dice.next() as u8;
            }
            fuzz::fuzz_frames(&frame);
        }
    }
    assert!(parsed > 10_000);
    let mut dice = Dice::new(1);
    for _ in 0..2_000 {
        let noise: Vec<u8> = (0..dice.below(64)).map(|_| dice.next() as u8).collect();
        fuzz::fuzz_request(&noise);
        fuzz::fuzz_response(&noise);
        fuzz::fuzz_frames(&noise);
    }
}

#[test]
fn a1_a2_a3_sizes_out_of_bounds_end_the_connection() {
    let limits = FrameLimits::of_requests(1 << 20);
    assert_eq!(
        limits.check((-1i32).to_be_bytes()),
        Err(FrameError::Negative { size: -1 })
    );
    for size in 0..8 {
        let refused = FrameError::TooSmall {
            size: size as usize,
            min: 8,
        };
        assert_eq!(limits.check(i32::to_be_bytes(size)), Err(refused));
    }
    assert_eq!(limits.check(8i32.to_be_bytes()), Ok(8));
    let foreign = |prefix: [u8; 4]| match limits.check(prefix) {
        Err(FrameError::TooLarge { foreign, .. }) => foreign,
        other => panic!("expected a refusal of the size, found {other:?}"),
    };
    assert_eq!(foreign(*b"GET "), Some(ForeignProtocol::Http));
    assert_eq!(foreign([0x16, 3, 1, 0]), Some(ForeignProtocol::Tls));
    assert_eq!(foreign([0x7f; 4]), None);
}

#[test]
fn a4_a_buffer_is_never_enlarged_for_a_claimed_size() {
    let limits = FrameLimits::of_requests(100 << 20);
    let mut buffer = BytesMut::from(&[6, 0, 0, 0, 1, 2][..]);
    let before = buffer.capacity();
    let allocations = measure(|| assert_eq!(limits.split(&mut buffer), Ok(None)));
    assert_eq!((allocations.count_total, buffer.capacity()), (0, before));
}

#[test]
fn a6_keys_without_messages_are_refused() {
    for key in [4, 52, 56, 95, 1000, -1] {
        let mut frame = BytesMut::new();
        frame.put_i16(key);
        frame.put_slice(&[0, 0, 0, 0, 0, 1, 0xff, 0xff]);
        assert_eq!(
            RequestHeader::parse(&frame),
            Err(HeaderError::UnknownKey { key })
        );
    }
}

#[test]
fn a7_api_versions_of_an_unknown_version_keeps_a_readable_header() {
    let frame = [0, 18, 0, 99, 0, 0, 0, 5, 0, 1, b'c', 0, 1, 2, 3];
    let (header, body) = RequestHeader::parse(&frame).expect("a header of version 2");
    assert_eq!((header.key, header.version), (ApiKey::ApiVersions, 99));
    assert_eq!((header.correlation_id, header.client_id), (5, Some("c")));
    assert_eq!(body, [1, 2, 3]);
    let refused = api_versions::RequestView::parse(body, header.version).err();
    assert_eq!(refused, Some(DecodeError::Version { version: 99 }));
}

#[test]
fn a9_client_ids_are_checked() {
    let header = |client_id: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_slice(&[0, 12, 0, 0, 0, 0, 0, 1]);
        frame.put_slice(client_id);
        RequestHeader::parse(&frame).map(|(header, _)| header.client_id.map(str::to_owned))
    };
    assert_eq!(header(&[0xff, 0xff]), Ok(None));
    assert_eq!(header(&[0, 2, b'm', b'e']), Ok(Some("me".into())));
    assert!(
        matches!(header(&[0xff, 0xfe]), Err(HeaderError::Malformed(_))),
        "length -2"
    );
    assert!(
        matches!(header(&[0x80, 0]), Err(HeaderError::Malformed(_))),
        "32 KiB"
    );
    assert!(matches!(
        header(&[0, 1, 0xff]),
        Err(HeaderError::Malformed(DecodeError::Utf8 { .. }))
    ));
    assert_eq!(header(&[0, 1, 7]), Err(HeaderError::ControlCharacter));
    let of_length = |length: u16| {
        let mut client_id = length.to_be_bytes().to_vec();
        client_id.resize(2 + usize::from(length), b'x');
        header(&client_id).map(|name| name.map(|name| name.len()))
    };
    assert_eq!(of_length(4096), Ok(Some(4096)));
    for length in [4097, 32_767] {
        let too_long = HeaderError::ClientIdTooLong {
            length: usize::from(length),
        };
        assert_eq!(of_length(length), Err(too_long));
    }
}

#[test]
fn a10_claimed_lengths_beyond_the_rest_are_refused() {
    // The body that makes a reserving decoder ask for 154 GB.
    let claims = [0x7f, 0xff, 0xff, 0xff];
    let refused = DecodeError::Length {
        at: 4,
        claimed: 0x7fff_ffff,
        remaining: 0,
    };
    let allocations = measure(|| {
        assert_eq!(
            metadata::RequestView::parse(&claims, 1).err(),
            Some(refused)
        );
    });
    assert_eq!(allocations.count_total, 0);
    // A string of the classic form, one byte short; below -1.
    assert!(matches!(
        heartbeat::RequestView::parse(&[0, 2, b'g'], 0).err(),
        Some(DecodeError::Length {
            claimed: 2,
            remaining: 1,
            ..
        })
    ));
    assert!(matches!(
        heartbeat::RequestView::parse(&[0xff, 0xfe, 0, 0], 0).err(),
        Some(DecodeError::Length { claimed: -2, .. })
    ));
    // Records beyond the frame.
    let produce = [
        &[0xff; 2][..],
        &[0; 6],
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 1],
        &[0; 4],
        &claims,
    ];
    assert!(matches!(
        produce::RequestView::parse(&produce.concat(), 3).err(),
        Some(DecodeError::Length {
            claimed: 0x7fff_ffff,
            ..
        })
    ));
    // A varint of six bytes, and one above 32 bits.
    for varint in [
        [0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        [0xff, 0xff, 0xff, 0xff, 0x1f, 0],
    ] {
        let refused = DecodeError::Varint { at: 0 };
        assert_eq!(
            heartbeat::RequestView::parse(&varint, 4).err(),
            Some(refused)
        );
    }
}

#[test]
fn a10_nested_arrays_cannot_multiply() {
    // Each level claims all that is left; the walk is bounded by the bytes, not the product.
    let body = vec![0x01; 1 << 20];
    for version in 0..=13 {
        let allocations = measure(|| {
            assert!(metadata::ResponseView::parse(&body, version).is_err());
        });
        assert_eq!(allocations.count_total, 0);
    }
}

#[test]
fn a11_tagged_fields_stay_inside_the_frame() {
    // Heartbeat v4: group "", generation 0, member "", instance null, then tags.
    let heartbeat = |tags: &[u8]| {
        let body = [&[1, 0, 0, 0, 0, 1, 0][..], tags].concat();
        heartbeat::RequestView::parse(&body, 4).map(|view| view.generation_id())
    };
    assert_eq!(heartbeat(&[0]), Ok(0));
    assert_eq!(
        heartbeat(&[1, 99, 2, 0xaa, 0xbb]),
        Ok(0),
        "unknown tags are skipped"
    );
    assert_eq!(
        heartbeat(&[2, 99, 0, 100, 1, 0xbb]),
        Ok(0),
        "unknown tags are skipped"
    );
    // A count of 2^31.
    let refused = heartbeat(&[0x80, 0x80, 0x80, 0x80, 0x08]);
    assert!(matches!(
        refused,
        Err(DecodeError::Length {
            claimed: 0x8000_0000,
            ..
        })
    ));
    // A size past the end.
    let refused = heartbeat(&[1, 99, 3, 0xaa, 0xbb]);
    assert!(matches!(
        refused,
        Err(DecodeError::Length {
            claimed: 3,
            remaining: 2,
            ..
        })
    ));
}

#[test]
fn a11_a_known_tag_must_fill_its_size_and_exist_in_its_version() {
    let fetch = |version: i16, tags: &[u8]| {
        // No topics, nothing forgotten, no rack; versions 12 to 14 carry a replica id in front.
        let replica: &[u8] = if version < 15 { &[0xff; 4] } else { &[] };
        let body = [replica, &[0; 12], &[0], &[0; 8], &[1, 1, 1], tags].concat();
        fetch::RequestView::parse(&body, version).map(|view| {
            (
                view.cluster_id().map(str::to_owned),
                view.replica_state().replica_id(),
            )
        })
    };
    assert_eq!(fetch(12, &[1, 0, 2, 2, b'c']), Ok((Some("c".into()), -1)));
    assert!(matches!(
        fetch(12, &[1, 0, 3, 2, b'c', 0]),
        Err(DecodeError::Tag { tag: 0, .. })
    ));
    assert!(
        fetch(12, &[1, 0, 1, 2, b'c']).is_err(),
        "the field ends before its string"
    );
    let state = [&[1, 1, 13, 0, 0, 0, 9][..], &[0; 8], &[0]].concat();
    assert_eq!(fetch(15, &state), Ok((None, 9)));
    // Kafka knows tag 1 from version 15 and refuses it before.
    assert!(matches!(
        fetch(14, &state),
        Err(DecodeError::Tag { tag: 1, .. })
    ));
}

#[test]
fn a12_null_where_the_version_admits_none_is_refused() {
    let null = |parsed: Option<DecodeError>| matches!(parsed, Some(DecodeError::Null { .. }));
    assert!(
        null(heartbeat::RequestView::parse(&[0xff; 8], 0).err()),
        "classic string"
    );
    assert!(
        null(heartbeat::RequestView::parse(&[0; 8], 4).err()),
        "compact string"
    );
    assert!(
        null(create_topics::RequestView::parse(&[0xff; 8], 2).err()),
        "classic array"
    );
    assert!(
        null(create_topics::RequestView::parse(&[0; 8], 5).err()),
        "compact array"
    );
    assert!(
        null(metadata::RequestView::parse(&[0xff; 4], 0).err()),
        "not yet nullable"
    );
    assert!(metadata::RequestView::parse(&[0xff; 4], 1).is_ok());
}

#[test]
fn a13_bytes_behind_the_body_are_told_apart_and_can_be_ignored_as_kafka_does() {
    let body = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let refused = metadata::RequestView::parse(&body, 1).err();
    assert_eq!(refused, Some(DecodeError::Trailing { remaining: 3 }));
    let (view, rest) = metadata::RequestView::parse_prefix(&body, 1).expect("a valid prefix");
    assert!(view.topics().is_none());
    assert_eq!(rest, [1, 2, 3]);
}

#[test]
fn strings_that_are_not_utf8_are_refused() {
    let refused = heartbeat::RequestView::parse(&[0, 1, 0xff, 0, 0], 0).err();
    assert_eq!(refused, Some(DecodeError::Utf8 { at: 2 }));
}

#[test]
fn compact_strings_keep_the_classic_limit() {
    // Length 32 768, which Kafka refuses in the compact form too.
    let body = [&[0x81, 0x80, 0x02][..], &[b'a'; 40_000]].concat();
    let refused = heartbeat::RequestView::parse(&body, 4).err();
    assert!(matches!(
        refused,
        Some(DecodeError::Length {
            claimed: 32_768,
            ..
        })
    ));
}
