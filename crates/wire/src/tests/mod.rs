//! Tests of the whole room: every message in every version, an independent codec as oracle, and
//! hostile input.

mod dice;
mod fields;
mod fuzzed;
mod gathering;
mod golden;
mod hostile;
mod oracle;
mod round_trip;

use bytes::BytesMut;

use crate::{ApiKey, DecodeError, Direction, Message};
use dice::Dice;
use samples::{parse_request, parse_response, sample_request, sample_response};

mod samples {
    #![allow(
        clippy::field_reassign_with_default,
        clippy::nonminimal_bool,
        reason = "generated"
    )]

    use super::{
        dice::{Dice, Sample},
        encoded,
    };
    use crate::{ApiKey, DecodeError, Message, MessageView};

    include!(concat!(env!("OUT_DIR"), "/samples.rs"));
}

fn encoded(message: &dyn Message, version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    message
        .encode(version, &mut out)
        .expect("samples fit their version");
    assert_eq!(
        out.len(),
        message.encoded_len(version).expect("it was just encoded")
    );
    out
}

/// Every message and version of the tables.
fn every_message() -> impl Iterator<Item = (ApiKey, Direction, i16)> {
    ApiKey::ALL
        .into_iter()
        .filter_map(|key| Some((key, key.versions()?)))
        .flat_map(|(key, range)| {
            (range.first..=range.last).flat_map(move |version| {
                [
                    (key, Direction::Request, version),
                    (key, Direction::Response, version),
                ]
            })
        })
}

fn sample(key: ApiKey, direction: Direction, dice: &mut Dice, version: i16) -> BytesMut {
    let message = match direction {
        Direction::Request => sample_request(key, dice, version),
        Direction::Response => sample_response(key, dice, version),
    };
    encoded(
        message.expect("keys with versions have messages").as_ref(),
        version,
    )
}

fn parse(key: ApiKey, direction: Direction, version: i16, body: &[u8]) -> Result<(), DecodeError> {
    let parsed = match direction {
        Direction::Request => parse_request(key, version, body),
        Direction::Response => parse_response(key, version, body),
    };
    parsed.expect("keys with versions have messages")
}
