//! Command line of the load generator: parse, hand over, exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

use klamm_bench::arguments::Arguments;

fn main() -> ExitCode {
    match klamm_bench::run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("klamm-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}
