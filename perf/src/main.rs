//! Command line of the judge: parse, hand over, exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

use klamm_perf::arguments::Arguments;

fn main() -> ExitCode {
    match klamm_perf::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("klamm-perf: {problem}");
            ExitCode::FAILURE
        }
    }
}
