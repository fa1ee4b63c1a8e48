//! Frames, headers and bodies that break the encoding, and peers that break the rhythm.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use klamm_wire::{ApiKey, api_versions, metadata};

use crate::harness::{
    Broker, Client, Options, RawBatch, request_bytes, request_bytes_of, wait_for,
};
use crate::{check_closed, check_is_closed};

/// A1
#[test]
fn negative_frame_size_closes() {
    let mut broker = Broker::start();
    for size in [-1_i32, i32::MIN] {
        check_closed(&broker, &size.to_be_bytes(), "expected a frame size");
    }
    broker.is_healthy();
}

/// A2
#[test]
fn frame_above_the_limit_closes_before_anything_is_allocated() {
    let mut broker = Broker::start();
    let memory = crate::Memory::of(&broker);
    for size in [i32::MAX, 100 * 1024 * 1024 + 1] {
        check_closed(
            &broker,
            &size.to_be_bytes(),
            "expected a frame of at most 104857600 bytes",
        );
    }
    memory.check_growth(&broker, 16 << 20);
    broker.is_healthy();
}

/// A2
#[test]
fn tls_and_http_on_a_plaintext_port_are_recognised_in_the_log() {
    let mut broker = Broker::start();
    let hello = [0x16, 0x03, 0x01, 0x00, 0xa5, 0x01, 0x00, 0x00];
    check_closed(&broker, &hello, "tls on a plaintext port");
    check_closed(
        &broker,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "http on a kafka port",
    );
    check_closed(
        &broker,
        b"POST /topics HTTP/1.1\r\n\r\n",
        "http on a kafka port",
    );
    broker.is_healthy();
}

/// A3
#[test]
fn frame_without_room_for_a_header_closes() {
    let mut broker = Broker::start();
    for size in 0..8_i32 {
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend(vec![0; size as usize]);
        check_closed(&broker, &bytes, "expected a frame of at least 8 bytes");
    }
    broker.is_healthy();
}

/// A4: Kafka waits for ten minutes here.
#[test]
fn frame_that_never_arrives_costs_no_memory_and_closes_after_thirty_seconds() {
    let mut broker = Broker::start();
    let memory = crate::Memory::of(&broker);
    let mut clients: Vec<_> = (0..50).map(|_| broker.client()).collect();
    let (from, begun) = (broker.log_length(), Instant::now());
    for client in &mut clients {
        // 90 MB are promised, and 12 bytes come.
        client.send(&[&[5, 0x5d, 0x4a, 0x80][..], &[0, 3, 0, 9, 0, 0, 0, 1]].concat());
    }
    broker.is_healthy();
    memory.check_growth(&broker, 64 << 20);
    for client in &mut clients {
        client.until_closed(Duration::from_secs(45));
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(28), "closed after {took:?}");
    broker.expect_log(
        from,
        &["connection closed", "did not arrive in time", "12 bytes"],
    );
    broker.is_healthy();
}

/// A6
#[test]
fn key_that_is_unknown_or_not_for_clients_closes() {
    let mut broker = Broker::start();
    // Unassigned, dead (ZooKeeper's), the quorum's and the brokers' own.
    for key in [
        -1,
        999,
        i16::MAX,
        4,
        5,
        6,
        7,
        52,
        53,
        54,
        56,
        58,
        59,
        62,
        63,
        67,
        70,
        73,
        82,
    ] {
        let why = format!("no api with key {key}");
        check_closed(&broker, &request_bytes(key, 0, 1, &[0; 16]), &why);
    }
    broker.is_healthy();
}

/// A8
#[test]
fn version_outside_of_what_is_served_closes() {
    let mut broker = Broker::start();
    let keys = broker.client().api_versions();
    for (key, (min, max)) in keys {
        if key == 18 {
            continue;
        }
        let name = ApiKey::from_number(key)
            .expect("a key of the tables")
            .to_string();
        // Produce is named from 0 and served from 3.
        let below = if key == 0 { 2 } else { min - 1 };
        for version in [below, max + 1, i16::MAX] {
            check_closed(&broker, &request_bytes(key, version, 1, &[0; 16]), &name);
        }
    }
    broker.is_healthy();
}

/// A9
#[test]
fn client_id_that_is_no_printable_text_closes() {
    let mut broker = Broker::start();
    let metadata = [0xff, 0xff, 0xff, 0xff];
    for (client_id, why) in [
        (&b"\xff\xfe"[..], "request header"),
        (b"line\nbreak", "control character"),
        (b"escape\x1b[31m", "control character"),
        (b"nul\0", "control character"),
    ] {
        let frame = request_bytes_of(3, 1, 1, Some(client_id), &metadata);
        check_closed(&broker, &frame, why);
    }
    let mut negative = request_bytes_of(3, 1, 1, None, &metadata);
    negative[12..14].copy_from_slice(&(-2_i16).to_be_bytes());
    check_closed(&broker, &negative, "request header");
    broker.is_healthy();
}

/// A9
#[test]
fn client_id_of_32_kib_closes() {
    let mut broker = Broker::start();
    let long = vec![b'x'; 32 * 1024 - 1];
    let frame = request_bytes_of(3, 1, 1, Some(&long), &[0xff; 4]);
    check_closed(&broker, &frame, "client id of at most");
    broker.is_healthy();
}

#[test]
fn null_and_empty_client_ids_are_served() {
    let broker = Broker::start();
    for client_id in [None, Some(&b""[..]), Some("grüße".as_bytes())] {
        let mut client = broker.client();
        client.send(&request_bytes_of(3, 1, 9, client_id, &[0; 4]));
        let reply = client.finish::<metadata::Request<'_>>(ApiKey::Metadata, 1);
        assert_eq!(reply.view().brokers().len(), 1);
    }
}

/// A10
#[test]
fn length_beyond_the_frame_closes_and_reserves_nothing() {
    let mut broker = Broker::start();
    let memory = crate::Memory::of(&broker);
    let huge = i32::MAX.to_be_bytes();
    let cases: &[(&str, i16, i16, Vec<u8>)] = &[
        ("array", 3, 1, huge.to_vec()),
        ("compact array", 3, 9, vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        (
            "array in an array",
            2,
            1,
            [&[0xff; 4][..], &[0, 0, 0, 1, 0, 1, b'a'], &huge].concat(),
        ),
        (
            "string",
            3,
            1,
            [&[0, 0, 0, 1][..], &[0x7f, 0xff, b'a']].concat(),
        ),
        ("compact string", 3, 9, vec![2, 0xff, 0xff, 0x03, b'a', 0]),
        ("string below null", 3, 1, vec![0, 0, 0, 1, 0xff, 0xfe]),
        (
            "varint of six bytes",
            3,
            9,
            vec![0x81, 0x80, 0x80, 0x80, 0x80, 0x01],
        ),
        ("varint without end", 3, 9, vec![0xff; 16]),
        (
            "records",
            0,
            3,
            [
                &[
                    0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1,
                ][..],
                &[0, 0, 0, 0],
                &huge,
            ]
            .concat(),
        ),
        ("body cut short", 3, 1, vec![0, 0]),
        ("no body", 3, 1, Vec::new()),
    ];
    for (what, key, version, body) in cases {
        let name = ApiKey::from_number(*key)
            .expect("a key of the tables")
            .to_string();
        let mut client = broker.client();
        let from = broker.log_length();
        client.send(&request_bytes(*key, *version, 1, body));
        let (answers, _) = client.until_closed(crate::SOON);
        assert!(answers.is_empty(), "{what} is answered with {answers:02x?}");
        let why = format!("{name} version {version}");
        broker.expect_log(
            from,
            &[&client.local().to_string(), "connection closed", &why],
        );
    }
    memory.check_growth(&broker, 16 << 20);
    broker.is_healthy();
}

/// A11
#[test]
fn tagged_fields_that_lie_about_their_size_close() {
    let mut broker = Broker::start();
    // Metadata version 9: no topics, three flags, then the tags.
    let body = |tags: &[u8]| [&[1, 0, 0, 0][..], tags].concat();
    for tags in [
        &[0xff, 0xff, 0xff, 0xff, 0x07][..],   // 2^31 - 1 of them
        &[1, 9, 0xff, 0xff, 0xff, 0xff, 0x07], // one of 2^31 - 1 bytes
        &[1, 9, 5, 0, 0],                      // one that ends behind the frame
    ] {
        check_closed(
            &broker,
            &request_bytes(3, 9, 1, &body(tags)),
            "Metadata version 9",
        );
    }
    broker.is_healthy();
}

/// A11
#[test]
fn unknown_tagged_fields_are_skipped() {
    let broker = Broker::start();
    let mut client = broker.client();
    let body = [1, 0, 0, 0, 2, 77, 3, 1, 2, 3, 0xe4, 0x0f, 0];
    client.send(&request_bytes(3, 9, 4, &body));
    let reply = client.finish::<metadata::Request<'_>>(ApiKey::Metadata, 9);
    assert_eq!(reply.correlation_id, 4);
    assert!(reply.view().topics().is_empty());
}

/// A12
#[test]
fn null_where_none_may_be_closes() {
    let mut broker = Broker::start();
    for (key, version, body) in [
        // Topics of a ListOffsets; the name in one; topics of CreateTopics; Fetch's in compact form.
        (2, 1, [&[0xff; 4][..], &[0xff; 4]].concat()),
        (
            2,
            1,
            [&[0xff; 4][..], &[0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0]].concat(),
        ),
        (19, 2, [&[0xff; 4][..], &[0, 0, 0, 1, 0]].concat()),
        (19, 5, vec![0, 0, 0, 0, 1, 0, 0]),
    ] {
        let name = ApiKey::from_number(key)
            .expect("a key of the tables")
            .to_string();
        let why = format!("{name} version {version}");
        check_closed(&broker, &request_bytes(key, version, 1, &body), &why);
    }
    broker.is_healthy();
}

/// A13: Kafka ignores them.
#[test]
fn bytes_behind_a_valid_body_are_ignored() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    client.send(&request_bytes(
        3,
        1,
        5,
        &[0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef],
    ));
    let reply = client.finish::<metadata::Request<'_>>(ApiKey::Metadata, 1);
    assert_eq!(reply.correlation_id, 5);
    assert_eq!(
        client
            .call(&api_versions::Request::default(), 0)
            .view()
            .error_code(),
        0
    );
    broker.is_healthy();
}

/// A57
#[test]
fn correlation_ids_are_echoed_whatever_they_are() {
    let broker = Broker::start();
    let mut client = broker.client();
    for correlation_id in [7, 7, -1, i32::MIN, i32::MAX, 0, 7] {
        client.send(&request_bytes(18, 0, correlation_id, &[]));
        let reply = client.finish::<api_versions::Request<'_>>(ApiKey::ApiVersions, 0);
        assert_eq!(reply.correlation_id, correlation_id);
        assert_eq!(reply.view().error_code(), 0);
    }
}

#[test]
fn what_came_before_a_bad_frame_is_answered_first() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let mut bytes = request_bytes(18, 0, 1, &[]);
    bytes.extend(request_bytes(3, 1, 2, &[0, 0, 0, 0]));
    bytes.extend((-5_i32).to_be_bytes());
    client.send(&bytes);
    let (answers, _) = client.until_closed(crate::SOON);
    let ids: Vec<_> = answers.iter().map(|answer| answer[..4].to_vec()).collect();
    assert_eq!(ids, [[0, 0, 0, 1], [0, 0, 0, 2]]);
    broker.is_healthy();
}

#[test]
fn peer_that_asks_and_stops_writing_is_answered_and_closed() {
    let broker = Broker::start();
    for round in 0..1000 {
        let mut client = broker.client();
        client.send(&request_bytes(18, 0, round, &[]));
        client
            .stream()
            .shutdown(std::net::Shutdown::Write)
            .expect("a live socket");
        let (answers, _) = client.until_closed(crate::SOON);
        assert_eq!(answers.len(), 1, "round {round}");
        assert_eq!(answers[0][..4], round.to_be_bytes());
    }
}

#[test]
fn frames_in_pieces_of_one_byte_are_served() {
    let broker = Broker::start();
    let mut client = broker.client();
    for byte in request_bytes(18, 0, 3, &[]) {
        client.send(&[byte]);
    }
    let reply = client.finish::<api_versions::Request<'_>>(ApiKey::ApiVersions, 0);
    assert_eq!(reply.correlation_id, 3);
}

/// A48
#[test]
fn peer_that_asks_for_ever_and_reads_nothing_is_bounded_and_cut_off() {
    let mut broker = Broker::start();
    let memory = crate::Memory::of(&broker);
    let mut deaf = broker.client();
    let from = broker.log_length();
    fill(&mut deaf);
    let begun = Instant::now();
    broker.is_healthy();
    memory.check_growth(&broker, 64 << 20);
    let address = deaf.local().to_string();
    let process = broker
        .process()
        .expect("only klamm's own rule can be judged");
    let closed = process.log.find(from, Duration::from_secs(90), |line| {
        (line.contains(&address) && line.contains("takes no answers")).then_some(())
    });
    assert!(closed.is_some(), "not cut off after {:?}", begun.elapsed());
    broker.is_healthy();
}

/// Sends requests until the broker reads no more.
fn fill(client: &mut Client) {
    let requests: Vec<u8> = (0..500)
        .flat_map(|id| request_bytes(18, 3, id, b"\x02a\x021\x00"))
        .collect();
    let timeout = Some(Duration::from_secs(3));
    client
        .stream()
        .set_write_timeout(timeout)
        .expect("a live socket");
    let mut sent = 0;
    loop {
        match client.stream().write(&requests) {
            Ok(written) => sent += written,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(
            sent < 256 << 20,
            "the broker reads on although nobody takes its answers"
        );
    }
}

/// One connection after the other that breaks the rules leaves nothing behind.
#[test]
fn ten_thousand_bad_connections_leave_nothing_behind() {
    let mut broker = Broker::start();
    let bad = |count: usize| {
        for number in 0..count {
            let mut client = broker.client();
            let size = if number % 2 == 0 { -1_i32 } else { i32::MAX };
            client.send(&size.to_be_bytes());
            client.until_closed(crate::SOON);
        }
    };
    bad(1000);
    let warm = crate::Memory::of(&broker);
    bad(if crate::harness::is_release() {
        9000
    } else {
        3000
    });
    warm.check_growth(&broker, 8 << 20);
    broker.is_healthy();
}

/// Whoever can connect could else fill the disk with the trace.
#[test]
fn flood_of_bad_connections_costs_a_line_a_second_and_none_is_forgotten() {
    const BAD: u64 = 500;
    let mut broker = Broker::start_with(Options::new().set("klamm.shards", 1));
    let Some(log) = broker.process().map(|process| process.log.clone()) else {
        eprintln!("skipped: the broker's log is not at hand");
        return;
    };
    let begun = Instant::now();
    for _ in 0..BAD {
        let mut client = broker.client();
        client.send(&(-1_i32).to_be_bytes());
        client.until_closed(crate::SOON);
    }
    let seconds = begun.elapsed().as_secs() + 2;
    // Lines for one connection, and the number of those that share a line.
    let told = || -> (u64, Vec<u64>) {
        let text = log.text();
        let lines = text.lines().filter(|line| line.contains("WARN"));
        let (single, others): (Vec<_>, Vec<_>) =
            lines.partition(|line| line.contains("connection closed"));
        let shared = others.iter().filter_map(|line| {
            let count = line.split("left out").nth(1)?.split("times=").nth(1)?;
            count.split_whitespace().next()?.parse::<u64>().ok()
        });
        (single.len() as u64, shared.collect())
    };
    let (single, shared) = wait_for("every connection is told of", || {
        let (single, shared) = told();
        (single + shared.iter().sum::<u64>() == BAD).then_some((single, shared))
    });
    assert!(single <= 5 + seconds, "{single} lines in {seconds} s");
    assert!(shared.len() as u64 <= seconds, "{shared:?} in {seconds} s");
    broker.is_healthy();
}

/// A1 to A12 with noise: no bytes at all make the broker fall.
#[test]
fn noise_behind_a_valid_header_is_answered_or_closes() {
    let mut broker = Broker::start();
    let keys = broker.client().api_versions();
    let seed = 20_260_101;
    let mut random = crate::harness::Random::new(seed);
    for (key, (min, max)) in keys {
        for version in min..=max {
            for _ in 0..5 {
                let length = random.below(60) as usize;
                let body = random.bytes(length);
                eprintln!("key {key} version {version}: {body:02x?}");
                let mut client = broker.client();
                client.send(&request_bytes(key, version, 1, &body));
                client
                    .stream()
                    .shutdown(std::net::Shutdown::Write)
                    .expect("a live socket");
                client.until_closed(crate::SOON);
            }
        }
    }
    let mut client = broker.client();
    let from = broker.log_length();
    client.send(&(-1_i32).to_be_bytes());
    check_is_closed(&broker, &mut client, from, "expected a frame size");
    broker.is_healthy();
}

/// A4, A49: half-sent frames of many connections.
#[test]
fn half_sent_frames_of_many_connections_hold_no_more_than_the_pool() {
    const FRAME: usize = 20 << 20;
    let test = "half_sent_frames_of_many_connections_hold_no_more_than_the_pool";
    let options = Options::new()
        .set("klamm.shards", 1)
        .set("queued.max.request.bytes", 64 << 20);
    let Some(mut broker) = Broker::own(test, options) else {
        return;
    };
    let memory = crate::Memory::of(&broker);
    let from = broker.log_length();
    let mut half = (FRAME as i32).to_be_bytes().to_vec();
    half.extend(request_bytes(0, 9, 1, &[]).split_off(4));
    half.resize(FRAME - 1, 0);
    // Those that are let in take all; the others are not read, and the kernel holds little.
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let client = broker.client();
            client
                .stream()
                .set_nonblocking(true)
                .expect("a live socket");
            client
        })
        .collect();
    let mut sent = vec![0; clients.len()];
    let mut total = 0;
    wait_for("three whole halves", || {
        for (client, sent) in clients.iter().zip(&mut sent) {
            while let Ok(bytes) = client.stream().write(&half[*sent..]) {
                *sent += bytes;
                total += bytes;
                if bytes == 0 {
                    break;
                }
            }
        }
        (sent.iter().filter(|sent| **sent == half.len()).count() >= 3).then_some(())
    });
    memory.check_peak(&broker, 160 << 20);
    // Small requests are served meanwhile, and whoever holds the pool and sends nothing has to go.
    broker.is_healthy();
    broker.expect_log(from, &["large requests wait", "queued.max.request.bytes"]);
    broker.expect_log(from, &["connection closed", "and others wait"]);
    memory.check_peak(&broker, 160 << 20);
    drop(clients);
    // A large request gets its turn.
    let mut client = broker.client();
    let topic = client.create_topic("turn", 1);
    let batch = RawBatch::one(&"x".repeat(900_000)).encode();
    assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    broker.is_healthy();
}
