//! Fuzz functions: the oracle for arbitrary bytes against every part of this room. Targets of a
//! fuzzer call them with their input; the tests run them on generated input.

use bytes::BytesMut;

use crate::{
    ApiKey, DecodeError, EncodeError, FrameLimits, Message, RequestHeader, frame::subslice_range,
    parse_response_header, visit_request, visit_response,
};

/// What a visit of [`visit_request`] or [`visit_response`] gets and gives.
type Visit =
    fn(ApiKey, i16, &[u8], &mut dyn FnMut(&dyn Message)) -> Option<Result<(), DecodeError>>;

/// A request frame without its size: header, then body. What parses must encode, and must come back
/// the same.
pub fn fuzz_request(data: &[u8]) {
    let Ok((header, body)) = RequestHeader::parse(data) else {
        return;
    };
    assert_eq!(
        subslice_range(data, body).map(|range| range.end),
        Some(data.len())
    );
    check_body(visit_request, header.key, header.version, body);
}

/// Two bytes of key and two of version, then a response frame without its size.
pub fn fuzz_response(data: &[u8]) {
    let Some((head, frame)) = data.split_first_chunk::<4>() else {
        return;
    };
    let number = i16::from_be_bytes([head[0], head[1]]);
    let version = i16::from_be_bytes([head[2], head[3]]);
    let Some(key) = ApiKey::from_number(number) else {
        return;
    };
    let Ok((_, body)) = parse_response_header(frame, key, version) else {
        return;
    };
    check_body(visit_response, key, version, body);
}

/// A byte stream. However it is cut into chunks, the same frames and the same fault come out.
pub fn fuzz_frames(data: &[u8]) {
    let limits = FrameLimits::of_requests(1 << 16);
    let whole = frames(limits, &[data]);
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(whole, frames(limits, &bytes), "chunking changes nothing");
    let cut = data
        .first()
        .map_or(0, |first| usize::from(*first))
        .min(data.len());
    assert_eq!(
        whole,
        frames(limits, &[&data[..cut], &data[cut..]]),
        "chunking changes nothing"
    );
}

fn frames(limits: FrameLimits, chunks: &[&[u8]]) -> (Vec<bytes::Bytes>, bool) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match limits.split(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

/// A body that parses is encoded, and what was encoded parses and encodes to the same bytes. The
/// input itself may be longer: unknown tags are dropped.
fn check_body(visit: Visit, key: ApiKey, version: i16, body: &[u8]) {
    let mut first: Option<Result<BytesMut, EncodeError>> = None;
    let parsed = visit(key, version, body, &mut |message| {
        let mut out = BytesMut::new();
        first = Some(message.encode(version, &mut out).map(|()| out));
    });
    let Some(first) = first else {
        assert!(!matches!(parsed, Some(Ok(()))), "a parsed body is visited");
        return;
    };
    let first = first.expect("what a version can say can be written in it");
    let mut second = BytesMut::new();
    let again = visit(key, version, &first, &mut |message| {
        message
            .encode(version, &mut second)
            .expect("it was written before");
    });
    assert_eq!(again, Some(Ok(())), "what was encoded parses");
    assert_eq!(first, second, "{key} v{version}");
}
