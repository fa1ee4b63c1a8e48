//! `klamm adopt`: takes over the data folder of a single Apache Kafka node that is stopped, as a copy
//! or in place, and proves every batch of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use klamm_shard::takeover::{TakenOver, TakeoverOptions, TakeoverStep, take_over};
use serde_json::json;

use super::fail;
use super::output::{Format, print, print_json};
use crate::words::counted;

/// How often a line of progress is written.
const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm adopt /var/lib/kafka --into /var/lib/klamm\n  \
    klamm adopt /disk1/kafka /disk2/kafka --into /var/lib/klamm\n  \
    klamm adopt /var/lib/kafka --in-place\n\n\
    Kafka must be stopped, and have stopped well. Topics keep their ids, configurations, records and \
    offsets. Every batch is read, and its checksum proved. A copy leaves Kafka's folder as it is; \
    in place, its metadata is kept under klamm/kafka, and Kafka cannot open the folder any more.")]
pub(super) struct AdoptArguments {
    /// Kafka's data folders: all that its log.dirs names, and its metadata.log.dir if it has one.
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,

    /// A new or empty folder that gets copies of the segments.
    #[arg(long, value_name = "FOLDER", required_unless_present = "in_place")]
    into: Option<PathBuf>,

    /// Make the folder itself klamm's, without a copy; only for a single folder.
    #[arg(long, conflicts_with = "into")]
    in_place: bool,

    /// Begin partitions empty of which no folder is there, instead of refusing.
    #[arg(long)]
    allow_missing: bool,

    /// Say nothing of progress.
    #[arg(long, short)]
    quiet: bool,

    /// Form of the result: table for people, json for programs.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &AdoptArguments) -> ExitCode {
    let options = TakeoverOptions {
        sources: arguments.folders.clone(),
        into: arguments.into.clone(),
        allow_missing: arguments.allow_missing,
    };
    let mut next = Instant::now();
    let mut progress = |step: TakeoverStep| {
        if arguments.quiet {
            return;
        }
        let (word, done, all) = match step {
            TakeoverStep::Proving { done, all } => ("proved", done, all),
            TakeoverStep::Copying { done, all } => ("copied", done, all),
            TakeoverStep::Making { partitions } => {
                let partitions = counted(partitions as u64, "partition");
                return eprintln!("making metadata and indexes of {partitions}");
            }
        };
        if Instant::now() >= next || done == all {
            next = Instant::now() + INTERVAL;
            eprintln!("{word} {} of {} MB", done / 1_000_000, all / 1_000_000);
        }
    };
    let taken = match take_over(&options, &mut progress) {
        Ok(taken) => taken,
        Err(error) => return fail(&format!("not taken over: {error}")),
    };
    let printed = match arguments.format {
        Format::Table => print(&text(&taken)),
        Format::Json => print_json(&json!({
            "folder": taken.folder.display().to_string(),
            "node": taken.node.0,
            "cluster": taken.cluster,
            "topics": taken.topics,
            "partitions": taken.partitions,
            "bytes": taken.bytes,
            "offsets": taken.offsets,
            "filled": taken.filled,
            "without_folder": taken.without_folder,
            "left_behind": taken.left_behind,
        })),
    };
    match printed {
        Err(error) => fail(&format!("cannot write to standard output: {error}")),
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn text(taken: &TakenOver) -> String {
    let mut text = format!(
        "{} is klamm's now: {}, {}, {} offsets in {} bytes, every batch proved\n",
        taken.folder.display(),
        counted(taken.topics as u64, "topic"),
        counted(taken.partitions as u64, "partition"),
        taken.offsets,
        taken.bytes,
    );
    if taken.filled > 0 {
        text += &format!(
            "note: {} of these offsets have no records: Kafka's compaction removed them\n",
            taken.filled
        );
    }
    for name in &taken.without_folder {
        text += &format!("note: partition {name} had no folder, and is empty\n");
    }
    for what in &taken.left_behind {
        text += &format!("note: left behind: {what}\n");
    }
    text += &format!(
        "open it with: klamm serve --set log.dirs={} --set node.id={}\n",
        taken.folder.display(),
        taken.node
    );
    text
}
