//! Fuzz functions: the oracle for arbitrary bytes against every part of this room. Targets of a
//! fuzzer call them with their input; the tests run them on generated input.

use bytes::{Bytes, BytesMut};

use crate::{
    ApiKey, DecodeError, EncodeError, FrameError, FrameLimits, Message, RequestHeader,
    frame::subslice_range, parse_response_header, visit_request, visit_response,
};

/// What a visit of [`visit_request`] or [`visit_response`] gets and gives.
pub(crate) type Visit =
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

/// One byte of direction and version, then a body of Produce: no input is lost on the header.
pub fn fuzz_produce(data: &[u8]) {
    check_message(ApiKey::Produce, data, visit_request, visit_response);
}

/// One byte of direction and version, then a body of Fetch: no input is lost on the header.
pub fn fuzz_fetch(data: &[u8]) {
    check_message(ApiKey::Fetch, data, visit_request, visit_response);
}

/// The first byte's highest bit asks for the response, the others choose among the versions.
pub(crate) fn check_message(key: ApiKey, data: &[u8], request: Visit, response: Visit) {
    let (Some((&choice, body)), Some(range)) = (data.split_first(), key.versions()) else {
        return;
    };
    let version = range.first + i16::from(choice & 0x7f) % (range.last - range.first + 1);
    let visit = if choice & 0x80 == 0 {
        request
    } else {
        response
    };
    check_body(visit, key, version, body);
}

/// A byte stream. However it is cut into chunks, the same frames and the same fault come out, and
/// the frames are the stream's bytes.
pub fn fuzz_frames(data: &[u8]) {
    let limits = FrameLimits::of_requests(1 << 16);
    check_frames(data, |buffer| limits.split(buffer));
}

/// What takes one frame off the front of a buffer.
pub(crate) trait Split: Fn(&mut BytesMut) -> Result<Option<Bytes>, FrameError> {}

impl<F: Fn(&mut BytesMut) -> Result<Option<Bytes>, FrameError>> Split for F {}

pub(crate) fn check_frames(data: &[u8], split: impl Split) {
    let whole = frames(&split, &[data]);
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(whole, frames(&split, &bytes), "chunking changes nothing");
    let cut = data
        .first()
        .map_or(0, |first| usize::from(*first))
        .min(data.len());
    assert_eq!(
        whole,
        frames(&split, &[&data[..cut], &data[cut..]]),
        "chunking changes nothing"
    );
    let mut rest = data;
    for frame in whole.0 {
        let size = i32::try_from(frame.len()).expect("a frame's size is an i32");
        rest = rest
            .strip_prefix(&size.to_be_bytes())
            .and_then(|rest| rest.strip_prefix(&frame[..]))
            .expect("frames are what the stream says");
    }
}

fn frames(split: &impl Split, chunks: &[&[u8]]) -> (Vec<Bytes>, bool) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match split(&mut buffer) {
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
        let written = message.encode(version, &mut out);
        assert_eq!(
            message.encoded_len(version),
            written.map(|()| out.len()),
            "counting and writing agree"
        );
        first = Some(written.map(|()| out));
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
