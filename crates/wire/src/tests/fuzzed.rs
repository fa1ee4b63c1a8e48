//! Short runs of the fuzz functions with a fixed seed, over mutated valid input. Each has a canary:
//! the same run must fail on code that is wrong in one place.

use bytes::{Bytes, BytesMut};

use super::{dice::Dice, sample};
use crate::{
    ApiKey, DecodeError, Direction, FrameError, FrameLimits, Message, fuzz, visit_request,
    visit_response,
};

/// Changes bytes, cuts, repeats a part or inserts an extreme number.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.below(bytes.len().max(1)).min(bytes.len());
    match dice.below(8) {
        0 => bytes.truncate(at),
        1 => {
            let end = at + dice.below(bytes.len() - at + 1);
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        2 => {
            let extremes: [&[u8]; 4] = [
                &[0x7f, 0xff, 0xff, 0xff],
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
                &[0x80, 0x00],
                &[0xff; 4],
            ];
            bytes.splice(at..at, extremes[dice.below(4)].iter().copied());
        }
        _ => {
            for _ in 0..=dice.below(3) {
                let at = dice.below(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.next() as u8;
                }
            }
        }
    }
}

/// Gives `check` every version of both directions of `key`, mutated; returns how many inputs.
fn run_messages(key: ApiKey, mut check: impl FnMut(&[u8])) -> usize {
    let range = key.versions().expect("a key with messages");
    let mut inputs = 0;
    for version in range.first..=range.last {
        for (bit, direction) in [(0, Direction::Request), (0x80, Direction::Response)] {
            let choice = bit | u8::try_from(version - range.first).expect("few versions");
            for seed in 0..10 {
                let mut dice = Dice::new(seed);
                let valid = sample(key, direction, &mut dice, version);
                let mut input = [&[choice], &valid[..]].concat();
                for round in 0..24 {
                    check(&input);
                    inputs += 1;
                    if round % 6 == 5 {
                        input = [&[choice], &valid[..]].concat();
                    }
                    mutate(&mut dice, &mut input);
                }
            }
        }
    }
    inputs
}

/// Gives `check` streams of one to five frames, mutated; returns how many inputs.
fn run_frames(mut check: impl FnMut(&[u8])) -> usize {
    let mut inputs = 0;
    for seed in 0..500 {
        let mut dice = Dice::new(seed);
        let mut stream = Vec::new();
        for _ in 0..=dice.below(5) {
            let size = 8 + dice.below(120);
            stream.extend_from_slice(&i32::try_from(size).expect("small").to_be_bytes());
            stream.extend((0..size).map(|_| dice.next() as u8));
        }
        for _ in 0..10 {
            check(&stream);
            inputs += 1;
            mutate(&mut dice, &mut stream);
        }
    }
    inputs
}

#[test]
fn thousands_of_mutated_produce_bodies_keep_every_claim() {
    assert!(run_messages(ApiKey::Produce, fuzz::fuzz_produce) > 4_000);
}

#[test]
fn thousands_of_mutated_fetch_bodies_keep_every_claim() {
    assert!(run_messages(ApiKey::Fetch, fuzz::fuzz_fetch) > 6_000);
}

#[test]
fn thousands_of_mutated_frame_streams_keep_every_claim() {
    assert!(run_frames(fuzz::fuzz_frames) >= 5_000);
}

/// A decoder that takes what it read for right, whatever the end says.
fn forgiving(
    key: ApiKey,
    version: i16,
    body: &[u8],
    visit: &mut dyn FnMut(&dyn Message),
) -> Option<Result<(), DecodeError>> {
    visit_response(key, version, body, visit).map(|_| Ok(()))
}

#[test]
#[should_panic(expected = "a parsed body is visited")]
fn canary_a_produce_decoder_that_forgives_is_caught() {
    run_messages(ApiKey::Produce, |data| {
        fuzz::check_message(ApiKey::Produce, data, visit_request, forgiving);
    });
}

#[test]
#[should_panic(expected = "a parsed body is visited")]
fn canary_a_fetch_decoder_that_forgives_is_caught() {
    run_messages(ApiKey::Fetch, |data| {
        fuzz::check_message(ApiKey::Fetch, data, visit_request, forgiving);
    });
}

#[test]
#[should_panic(expected = "chunking changes nothing")]
fn canary_a_splitter_that_hurries_is_caught() {
    // It gives what has arrived of a frame, once that is most of it.
    let limits = FrameLimits::of_requests(1 << 16);
    let hurried = |buffer: &mut BytesMut| -> Result<Option<Bytes>, FrameError> {
        match limits.split(buffer)? {
            None if buffer.len() > 100 => Ok(Some(buffer.split().freeze())),
            frame => Ok(frame),
        }
    };
    run_frames(|data| fuzz::check_frames(data, hurried));
}
