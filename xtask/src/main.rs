//! The project's automation, called as `cargo xtask <task>`: the walls and the map (`tidy`),
//! continuous integration (`ci`), and the sum of a test run (`tally`).
#![forbid(unsafe_code)]

mod ci;
mod tally;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Automation of the klamm repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compare the tree with its laws: walls, bans, names, map.
    Tidy,
    /// Run what the continuous integration runs (`.ci/run`).
    Ci,
    /// Print the sum of all `test result:` lines in a log of `cargo test`.
    Tally {
        /// What `cargo test` printed, both streams.
        log: PathBuf,
        /// The exit status of that `cargo test`.
        #[arg(long, default_value_t = 0)]
        status: i32,
    },
}

fn main() -> ExitCode {
    let root = repository_root();
    let outcome = match Arguments::parse().task {
        Task::Tidy => tidy::run(&root),
        Task::Ci => ci::run(&root),
        Task::Tally { log, status } => tally::run(&log, status),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The folder above this package.
fn repository_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("xtask lies in a folder of the repository")
        .to_path_buf()
}
