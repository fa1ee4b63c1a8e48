//! What was found, on its way to a person or a program: lines of batches and entries for a dump,
//! damage for both, and the sum at the end of a verification.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use klamm_model::{BatchHeader, TimestampType};
use klamm_records::batch::Record;
use serde_json::{Map, Value, json};

use crate::cli::cluster::size_words;
use crate::cli::connect::Failure;
use crate::cli::output::{Format, put_bytes};
use crate::words::counted;

/// How often a line of progress is written.
const INTERVAL: Duration = Duration::from_secs(2);

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// What is damaged, and sums.
    Damage,
    /// Every batch and entry.
    Batches,
    /// The records of batches, too.
    Records,
}

/// Something damaged.
#[derive(Debug)]
struct Damage {
    file: String,
    position: u64,
    what: String,
}

/// Takes in what is found.
pub(super) struct Report {
    detail: Detail,
    format: Format,
    quiet: bool,
    out: BufWriter<io::Stdout>,
    damage: Vec<Damage>,
    damaged: u64,
    partitions: u64,
    segments: u64,
    write_ahead_files: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    next_line: Instant,
}

/// Damage that is kept to be told; what is beyond is counted.
const DAMAGE_KEPT_MAX: usize = 1000;

impl Report {
    pub(super) fn new(detail: Detail, format: Format, quiet: bool) -> Self {
        Self {
            detail,
            format,
            quiet,
            out: BufWriter::new(io::stdout()),
            damage: Vec::new(),
            damaged: 0,
            partitions: 0,
            segments: 0,
            write_ahead_files: 0,
            batches: 0,
            records: 0,
            bytes: 0,
            next_line: Instant::now() + INTERVAL,
        }
    }

    pub(super) fn wants_records(&self) -> bool {
        self.detail == Detail::Records
    }

    pub(super) const fn is_damaged(&self) -> bool {
        self.damaged > 0
    }

    pub(super) fn partition(&mut self) {
        self.partitions += 1;
    }

    /// A file begins.
    pub(super) fn segment(&mut self, file: &Path) -> Result<(), Failure> {
        self.segments += 1;
        self.heading(file)
    }

    pub(super) fn write_ahead_file(&mut self, file: &Path) -> Result<(), Failure> {
        self.write_ahead_files += 1;
        self.heading(file)
    }

    pub(super) fn heading(&mut self, file: &Path) -> Result<(), Failure> {
        match self.detail > Detail::Damage && self.format == Format::Table {
            true => self.put(&format!("{}", file.display())),
            false => Ok(()),
        }
    }

    /// Says how far it is, now and then.
    pub(super) fn progress(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.quiet {
            return;
        }
        let now = Instant::now();
        if now >= self.next_line {
            self.next_line = now + INTERVAL;
            let size = size_words(self.bytes);
            eprintln!("{size}, {} so far", counted(self.batches, "batch"));
        }
    }

    /// A batch, with what its checksum says of it.
    pub(super) fn batch(
        &mut self,
        file: &Path,
        position: u64,
        header: &BatchHeader,
        is_whole: bool,
    ) -> Result<(), Failure> {
        self.batches += 1;
        self.records += u64::try_from(header.record_count).unwrap_or(0);
        if self.detail == Detail::Damage {
            return Ok(());
        }
        let last = header
            .base_offset
            .0
            .saturating_add(header.last_offset_delta.0.into());
        let codec = header.attributes.compression();
        let codec = codec.map_or_else(|| "unknown".to_owned(), |codec| codec.word().to_owned());
        let by_broker = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        if self.format == Format::Json {
            let producer = header.producer.map(|producer| {
                json!({
                    "id": producer.id.0,
                    "epoch": producer.epoch.0,
                    "base_sequence": producer.base_sequence.0,
                })
            });
            return self.put(
                &json!({
                    "file": file.display().to_string(),
                    "position": position,
                    "base_offset": header.base_offset.0,
                    "last_offset": last,
                    "records": header.record_count,
                    "bytes": header.size,
                    "leader_epoch": header.leader_epoch.0,
                    "compression": codec,
                    "base_timestamp": header.base_timestamp.0,
                    "max_timestamp": header.max_timestamp.0,
                    "log_append_time": by_broker,
                    "transactional": header.attributes.is_transactional(),
                    "control": header.attributes.is_control(),
                    "producer": producer,
                    "checksum": format!("{:08x}", header.checksum),
                    "checksum_ok": is_whole,
                })
                .to_string(),
            );
        }
        let mut line = format!(
            "  {position:>10}  offsets {}-{last}  {}  {} bytes  epoch {}  {codec}  time {}-{}",
            header.base_offset,
            counted(u64::try_from(header.record_count).unwrap_or(0), "record"),
            header.size,
            header.leader_epoch,
            header.base_timestamp.0,
            header.max_timestamp.0,
        );
        if let Some(producer) = header.producer {
            line.push_str(&format!(
                "  producer {} epoch {} sequence {}",
                producer.id, producer.epoch.0, producer.base_sequence.0
            ));
        }
        let attributes = header.attributes;
        for (is_set, word) in [
            (by_broker, "log-append-time"),
            (attributes.is_transactional(), "transactional"),
            (attributes.is_control(), "control"),
            (!is_whole, "WRONG CHECKSUM"),
        ] {
            if is_set {
                line.push_str("  ");
                line.push_str(word);
            }
        }
        self.put(&line)
    }

    pub(super) fn record(&mut self, record: &Record) -> Result<(), Failure> {
        let mut object = Map::new();
        object.insert("offset".to_owned(), record.offset.0.into());
        object.insert("timestamp".to_owned(), record.timestamp.0.into());
        put_bytes(&mut object, "key", record.key.as_deref());
        put_bytes(&mut object, "value", record.value.as_deref());
        let headers = record.headers.iter().map(|header| {
            let mut object = Map::new();
            put_bytes(&mut object, "key", Some(&header.key));
            put_bytes(&mut object, "value", header.value.as_deref());
            Value::Object(object)
        });
        object.insert("headers".to_owned(), headers.collect());
        let indent = if self.format == Format::Table {
            "    "
        } else {
            ""
        };
        self.put(&format!("{indent}{}", Value::Object(object)))
    }

    /// An entry of an index or of a write-ahead file: in words, and for programs.
    pub(super) fn entry(
        &mut self,
        file: &Path,
        position: u64,
        words: &str,
        document: Value,
    ) -> Result<(), Failure> {
        if self.detail == Detail::Damage {
            return Ok(());
        }
        if self.format == Format::Table {
            return self.put(&format!("  {position:>10}  {words}"));
        }
        let mut document = document;
        document["file"] = file.display().to_string().into();
        document["position"] = position.into();
        self.put(&document.to_string())
    }

    /// Something is wrong at this byte of a file.
    pub(super) fn damage(&mut self, file: &Path, position: u64, what: &str) -> Result<(), Failure> {
        self.damaged += 1;
        let file = file.display().to_string();
        if self.format == Format::Table {
            self.put(&format!("DAMAGED {file} at byte {position}: {what}"))?;
        } else if self.detail > Detail::Damage {
            let document = json!({ "file": file, "position": position, "damage": what });
            self.put(&document.to_string())?;
        }
        if self.damage.len() < DAMAGE_KEPT_MAX {
            let what = what.to_owned();
            self.damage.push(Damage {
                file,
                position,
                what,
            });
        }
        Ok(())
    }

    /// The end of all.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        if self.detail == Detail::Damage {
            let text = match self.format {
                Format::Table => self.sum_words(),
                Format::Json => format!("{:#}", self.sum_json()),
            };
            self.put(&text)?;
        }
        quiet_about_readers(self.out.flush())
    }

    fn sum_words(&self) -> String {
        let damage = match self.damaged {
            0 => "no damage".to_owned(),
            many => format!("{} of damage", counted(many, "place")),
        };
        format!(
            "{} in {} of {} ({}), {}: {damage}",
            counted(self.batches, "batch"),
            counted(self.segments, "segment"),
            counted(self.partitions, "partition"),
            size_words(self.bytes),
            counted(self.write_ahead_files, "write-ahead file"),
        )
    }

    fn sum_json(&self) -> Value {
        let damage = self.damage.iter().map(|damage| {
            json!({
                "file": damage.file,
                "position": damage.position,
                "damage": damage.what,
            })
        });
        json!({
            "partitions": self.partitions,
            "segments": self.segments,
            "write_ahead_files": self.write_ahead_files,
            "batches": self.batches,
            "records": self.records,
            "bytes": self.bytes,
            "damaged_places": self.damaged,
            "damage": damage.collect::<Vec<_>>(),
        })
    }

    fn put(&mut self, line: &str) -> Result<(), Failure> {
        quiet_about_readers(writeln!(self.out, "{line}"))
    }
}

/// A reader that went away (`| head`) ends the command, and is no failure.
fn quiet_about_readers(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}
