//! Taking over a data folder from Apache Kafka: its metadata log is read into an image, and written
//! anew as the quorum's log. Segments are Kafka's own already; [`crate::boot::take_over`] proves them.

use std::fmt;

use bytes::Bytes;
use klamm_metadata::kafka::{KafkaMetadata, KafkaMetadataError};
use klamm_metadata::{Image, MetadataRecord, record};
use klamm_model::{Offset, Timestamp};
use klamm_raftlog::{HardState, Index, Payload, Term};
use klamm_records::batch::{self, BatchBuilder, BatchOptions};
use klamm_records::compress::Scratch;
use klamm_records::segment::{self, SegmentFile, segment_file};

use crate::boot::METADATA_FOLDER;
use crate::kafka_log::{SNAPSHOT_FOOTER, control_type};
use crate::quorum_log::{self, QUORUM_STATE_PATH};
use crate::storage::{Storage, StorageError};

/// Ends the name of a snapshot of Kafka's metadata (KIP-630).
const SNAPSHOT_SUFFIX: &str = ".checkpoint";

/// Digits of the offset in the name of a snapshot.
const OFFSET_DIGITS: usize = 20;

/// Records that become one entry of the quorum's log.
const ENTRY_RECORDS_MAX: usize = 4096;

/// Kafka's metadata or positions cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptError {
    /// A file cannot be read or written.
    Storage(StorageError),
    /// A file is not what it should be.
    File {
        /// Its path in the folder.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// The metadata cannot be taken over.
    Metadata(KafkaMetadataError),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(formatter),
            Self::File { path, fault } => write!(formatter, "{path}: {fault}"),
            Self::Metadata(error) => write!(formatter, "Kafka's metadata: {error}"),
        }
    }
}

impl std::error::Error for AdoptError {}

impl From<StorageError> for AdoptError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Reads Kafka's metadata log: the newest snapshot in `folder`, then what was appended behind it.
///
/// # Errors
/// A file cannot be read, is damaged, or holds what cannot be taken over.
pub fn read_kafka_metadata<S: Storage>(
    storage: &mut S,
    folder: &str,
) -> Result<KafkaMetadata, AdoptError> {
    let names = storage.list(folder)?;
    let mut metadata = KafkaMetadata::default();
    let mut from = Offset::ZERO;
    // Names sort as offsets do.
    let newest = names.iter().rev().find_map(|name| {
        let digits = name.strip_suffix(SNAPSHOT_SUFFIX)?.get(..OFFSET_DIGITS)?;
        Some((digits.parse().ok().map(Offset)?, name))
    });
    if let Some((end, name)) = newest {
        let path = format!("{folder}/{name}");
        let taken = take_in(storage, &path, None, Offset::ZERO, &mut metadata)?;
        if taken.last_control != Some(SNAPSHOT_FOOTER) {
            return Err(AdoptError::File {
                path,
                fault: "expected a snapshot that ends with its footer, found none".to_owned(),
            });
        }
        from = end;
    }
    let logs = names.iter().filter_map(|name| {
        let (base, file) = segment::parse_segment_file(name)?;
        (file == SegmentFile::Log).then_some((base, name))
    });
    let mut next = None;
    for (base, name) in logs {
        let path = format!("{folder}/{name}");
        let begins_late = next.unwrap_or(from) < base;
        if begins_late {
            return Err(AdoptError::File {
                path,
                fault: format!("records up to offset {base} are missing"),
            });
        }
        next = Some(take_in(storage, &path, Some(base), from, &mut metadata)?.end);
    }
    if next.is_none_or(|end| end < from) {
        return Err(AdoptError::File {
            path: folder.to_owned(),
            fault: format!("expected Kafka's metadata log up to offset {from} and on, found less"),
        });
    }
    Ok(metadata)
}

/// How far a file went.
struct Taken {
    end: Offset,
    /// Type of the last batch, if it is one of control records.
    last_control: Option<i16>,
}

/// Takes in the records of one file from an offset on. In a log, offsets follow on each other from
/// its `base`; a snapshot counts for itself.
fn take_in<S: Storage>(
    storage: &mut S,
    path: &str,
    base: Option<Offset>,
    from: Offset,
    metadata: &mut KafkaMetadata,
) -> Result<Taken, AdoptError> {
    let fault = |at: usize, fault: &dyn fmt::Display| AdoptError::File {
        path: path.to_owned(),
        fault: format!("at byte {at}: {fault}"),
    };
    let bytes = Bytes::from(storage.read(path)?.unwrap_or_default());
    let mut scratch = Scratch::default();
    let mut taken = Taken {
        end: base.unwrap_or(Offset::ZERO),
        last_control: None,
    };
    let mut at = 0;
    while at < bytes.len() {
        let header = batch::verify(&bytes[at..]).map_err(|error| fault(at, &error))?;
        if base.is_some() && header.base_offset != taken.end {
            let (expected, found) = (taken.end, header.base_offset);
            let gap = format!("expected a batch at offset {expected}, found {found}");
            return Err(fault(at, &gap));
        }
        let one = bytes.slice(at..at + header.size);
        taken.last_control = None;
        if header.attributes.is_control() {
            taken.last_control = control_type(&one, &mut scratch);
        } else if header.base_offset >= from {
            let records = batch::records(&one, usize::MAX, &mut scratch);
            for record in records.map_err(|error| fault(at, &error))? {
                let record = record.map_err(|error| fault(at, &error))?;
                let value = record.value.unwrap_or_default();
                metadata.take(&value).map_err(AdoptError::Metadata)?;
            }
        }
        taken.end = header.end_offset();
        at += header.size;
    }
    Ok(taken)
}

/// Writes an image as the quorum's whole log, with the state of a node that leads nothing yet.
///
/// # Errors
/// The files could not be written.
pub fn write_metadata<S: Storage>(storage: &mut S, image: &Image) -> Result<(), AdoptError> {
    storage.create_folder(METADATA_FOLDER)?;
    let term = Term(1);
    let mut log = Vec::new();
    let records = image.to_records();
    for (index, records) in (1..).map(Index).zip(records.chunks(ENTRY_RECORDS_MAX)) {
        log.extend(entry(index, term, records)?);
    }
    let path = format!(
        "{METADATA_FOLDER}/{}",
        segment_file(Offset::ZERO, SegmentFile::Log)
    );
    storage.replace(&path, &log)?;
    let state = HardState { term, vote: None };
    storage.replace(
        QUORUM_STATE_PATH,
        quorum_log::format_state(state).as_bytes(),
    )?;
    storage.flush_folder(METADATA_FOLDER)?;
    Ok(storage.flush_folder("")?)
}

fn entry(index: Index, term: Term, records: &[MetadataRecord]) -> Result<Vec<u8>, AdoptError> {
    let (key, value) = quorum_log::encode_entry(&Payload::Data(record::encode(records)));
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: quorum_log::offset_of(index),
        leader_epoch: quorum_log::epoch_of(term),
        ..BatchOptions::default()
    });
    builder.append(Timestamp::NONE, Some(&key), Some(&value), &[]);
    builder.build().map_err(|error| AdoptError::File {
        path: METADATA_FOLDER.to_owned(),
        fault: error.to_string(),
    })
}
