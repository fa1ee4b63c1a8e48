//! Record bytes go out by reference, and frames are what a contiguous encoder makes.

use bytes::{Bytes, BytesMut};

use super::{dice::Dice, every_message, sample_response};
use crate::{
    Direction, Gather, MessageView, Records, encode_response, fetch, frame::shared_slice,
    gather_response, parse_response_header, produce,
};

#[test]
fn gathered_pieces_join_to_the_contiguous_frame() {
    for seed in 0..4 {
        for (key, _, version) in every_message().filter(|row| row.1 == Direction::Response) {
            println!("seed {seed}: {key} v{version}");
            let message = sample_response(key, &mut Dice::new(seed), version).expect("a response");
            let mut whole = BytesMut::from(&b"before"[..]);
            encode_response(message.as_ref(), version, 77, &mut whole).expect("a sample fits");
            let mut gather = Gather::new();
            gather.extend_from_slice(b"before");
            gather_response(message.as_ref(), version, 77, &mut gather).expect("a sample fits");
            assert_eq!(gather.len(), whole.len());
            let pieces = Vec::from(std::mem::take(gather.pieces()));
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            assert_eq!(pieces.concat(), whole);
            let size = i32::from_be_bytes(*whole[6..].first_chunk().expect("a size"));
            assert_eq!(
                size as usize,
                whole.len() - 10,
                "the size counts header and body"
            );
            let (correlation_id, _) =
                parse_response_header(&whole[10..], key, version).expect("a header");
            assert_eq!(correlation_id, 77);
        }
    }
}

#[test]
fn fetch_response_shares_record_bytes() {
    let stored = Bytes::from(vec![7; 1000]);
    let records = Some(Records::from(vec![
        stored.slice(..600),
        stored.slice(600..),
    ]));
    let partition = fetch::PartitionData {
        records,
        ..Default::default()
    };
    let topic = fetch::FetchableTopicResponse {
        partitions: vec![partition],
        ..Default::default()
    };
    let response = fetch::Response {
        responses: vec![topic],
        ..Default::default()
    };
    let mut gather = Gather::new();
    gather_response(&response, 13, 1, &mut gather).expect("version 13 has these fields");
    let pieces = Vec::from(std::mem::take(gather.pieces()));
    assert_eq!(
        pieces.len(),
        4,
        "head, two slices of records, tagged fields behind"
    );
    assert_eq!(pieces[1].as_ptr(), stored.as_ptr());
    assert_eq!(pieces[2].as_ptr(), stored[600..].as_ptr());
}

#[test]
fn produce_view_finds_record_bytes_inside_the_shared_frame() {
    let records = Some(Records::from(Bytes::from_static(b"batch")));
    let partition = produce::PartitionProduceData { index: 4, records };
    let topic = produce::TopicProduceData {
        name: "t".into(),
        partition_data: vec![partition],
        ..Default::default()
    };
    let request = produce::Request {
        acks: -1,
        topic_data: vec![topic],
        ..Default::default()
    };
    let mut body = BytesMut::new();
    crate::Message::encode(&request, 9, &mut body).expect("version 9 has these fields");
    let frame = body.freeze();
    let view = produce::RequestView::parse(&frame, 9).expect("what was written parses");
    let topic = view.topic_data().iter().next().expect("one topic");
    let partition = topic.partition_data().iter().next().expect("one partition");
    let slice = shared_slice(&frame, partition.records().expect("not null")).expect("borrowed");
    assert_eq!(slice, &b"batch"[..]);
    assert_eq!(
        slice.as_ptr(),
        partition.records().expect("not null").as_ptr()
    );
    assert_eq!(shared_slice(&frame, b"elsewhere"), None);
}

#[test]
fn an_answer_of_very_many_slices_keeps_no_room_for_as_many() {
    let stored = Bytes::from(vec![7; 100]);
    let answer = |slices: usize| {
        let records = vec![stored.clone(); slices];
        fetch::Response {
            responses: vec![fetch::FetchableTopicResponse {
                partitions: vec![fetch::PartitionData {
                    records: Some(Records::from(records)),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    };
    let mut gather = Gather::new();
    let mut room_after = |slices| {
        gather_response(&answer(slices), 13, 1, &mut gather).expect("version 13 has these fields");
        assert!(gather.pieces().len() >= slices);
        gather.let_go();
        assert!(gather.is_empty());
        gather.pieces().capacity()
    };
    assert!(room_after(100) >= 100, "a usual one keeps its room");
    assert!(room_after(100_000) <= 1024);
}
