//! The metadata log, replayed from its files, gives the picture that every core holds (R4, R12).

use klamm_engine::metadata::{Image, record};
use klamm_model::MetadataOffset;

use super::dump::PartitionDump;
use super::ledger::Stored;
use super::{Violation, ensure};

const INVARIANT: &str = "metadata_replay_equals_state";

/// Replays the files of the metadata log.
///
/// # Errors
/// They cannot be replayed.
pub fn replay(dump: &PartitionDump) -> Result<Image, Violation> {
    let broken = |what: String| Violation::new(INVARIANT, what);
    let mut image = Image::default();
    let bytes = dump.bytes();
    for batch in Stored::all(&bytes).map_err(|at| broken(format!("breaks at {at}")))? {
        let payload = data_of(batch.bytes);
        let records = payload.map_or_else(|| Ok(Vec::new()), record::decode);
        for record in &records.map_err(|error| broken(error.to_string()))? {
            let replayed = image.replay(MetadataOffset(batch.base), record);
            replayed.map_err(|error| broken(format!("at {}: {error}", batch.base)))?;
        }
        image.advance(MetadataOffset(batch.base));
    }
    Ok(image)
}

/// The value of a batch's only record, if its key says that it holds metadata records.
fn data_of(batch: &[u8]) -> Option<&[u8]> {
    let mut at = 61;
    let mut number = || {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = batch[at];
            at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (value >> 1) as usize;
            }
        }
    };
    // Length, attributes, both deltas; then a key of one byte.
    number();
    for _ in 0..4 {
        number();
    }
    let (key, start) = (batch[at], at + 1);
    at = start;
    let mut length = 0_u64;
    let mut shift = 0;
    loop {
        let byte = batch[at];
        at += 1;
        length |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (key == 0).then(|| &batch[at..at + (length >> 1) as usize])
}

/// Judges the pictures that the cores hold when nothing is under way.
///
/// # Errors
/// One differs from the replay.
pub fn check<'a>(replayed: &Image, held: impl Iterator<Item = &'a Image>) -> Result<(), Violation> {
    for (shard, image) in held.enumerate() {
        ensure!(
            INVARIANT,
            image.version() == replayed.version() && image.hash() == replayed.hash(),
            "core {shard} is at {:?}, its log gives {:?}, topics {:?} and {:?}",
            image.version(),
            replayed.version(),
            image.topics().map(|topic| topic.name()).collect::<Vec<_>>(),
            replayed
                .topics()
                .map(|topic| topic.name())
                .collect::<Vec<_>>()
        );
    }
    Ok(())
}
