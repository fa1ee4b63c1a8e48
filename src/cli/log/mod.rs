//! `klamm log`: looks into the files of a data folder without a broker, klamm's own or Apache Kafka's:
//! prints what they hold, or verifies it and names what is damaged, by file and byte.

mod folders;
mod report;
mod segment;
mod wal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::folders::{Subject, subjects};
use self::report::{Detail, Report};
use super::connect::Failure;
use super::fail;
use super::output::Format;

#[derive(Debug, Args)]
pub(super) struct LogArguments {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Print batches, index entries and write-ahead entries, or with --records the records.
    Dump(DumpArguments),
    /// Verify checksums, the order of offsets, and that indexes agree; fail where it is damaged.
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm log dump klamm-data/orders-0/00000000000000000000.log --records\n  \
    klamm log dump klamm-data/orders-0 --format json\n\n\
    Exit code 1 where something is damaged, 0 otherwise. With --format json each line is a document.")]
struct DumpArguments {
    /// A .log, .index, .timeindex or .wal file, or a folder with such files below it.
    #[arg(value_name = "FILE|FOLDER")]
    path: PathBuf,
    /// Print the records of each batch, too.
    #[arg(long)]
    records: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm log verify klamm-data\n  \
    klamm log verify /var/lib/kafka --format json\n\n\
    Meant for a broker that is stopped: of one that runs, what is being written may look torn. After \
    a crash, start the broker first; it completes the segments from the write-ahead log. Exit code 1 \
    where something is damaged, 0 otherwise.")]
struct VerifyArguments {
    /// A data folder, a partition's folder, a folder of write-ahead files, or a file of them.
    #[arg(value_name = "FILE|FOLDER")]
    path: PathBuf,
    /// Say nothing of progress.
    #[arg(long, short)]
    quiet: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &LogArguments) -> ExitCode {
    let (path, mut report) = match &arguments.command {
        LogCommand::Dump(arguments) => {
            let detail = match arguments.records {
                true => Detail::Records,
                false => Detail::Batches,
            };
            (&arguments.path, Report::new(detail, arguments.format, true))
        }
        LogCommand::Verify(arguments) => {
            let report = Report::new(Detail::Damage, arguments.format, arguments.quiet);
            (&arguments.path, report)
        }
    };
    match examine(path, &mut report).and_then(|()| report.finish()) {
        Ok(()) => match report.is_damaged() {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        },
        Err(Failure(reason)) => fail(&reason),
    }
}

fn examine(path: &std::path::Path, report: &mut Report) -> Result<(), Failure> {
    let subjects = subjects(path)?;
    if subjects.is_empty() {
        return Err(Failure(format!(
            "{} holds no segments and no write-ahead files\n  name a data folder (log.dirs), or a folder or file in it",
            path.display()
        )));
    }
    for subject in subjects {
        match subject {
            Subject::Partition { segments } => segment::examine_partition(&segments, report)?,
            Subject::Index { path, base, file } => {
                segment::show_index(&path, base, file, report)?;
            }
            Subject::WriteAhead { files } => wal::examine(&files, report)?,
        }
    }
    Ok(())
}
