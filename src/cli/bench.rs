//! `klamm bench`: the load generator of the `bench` room as a command. It drives any Kafka broker
//! over the network, this one or another; nothing of the broker knows it.

use std::process::ExitCode;

use clap::Args;
use klamm_bench::arguments::Command;
use klamm_os::signals;

use super::fail;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm bench produce --rate 1000 --consumers 1 --acks -1\n  \
    klamm bench scenario w1-small-batched --chart latency.svg\n  \
    klamm bench scenarios\n\n\
    With a rate the loop is open: latency counts from the intended send time, and a result below \
    99 % of the rate is dropped. Without one, figures are costs and rates, never latencies.\n\
    After the run, what was acknowledged is read back and proved.")]
pub(super) struct BenchArguments {
    #[command(subcommand)]
    command: Command,
}

pub(super) fn run(arguments: &BenchArguments) -> ExitCode {
    // Where it cannot be raised, a load of fewer connections still runs.
    let _ = signals::raise_open_files();
    match klamm_bench::run(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem.to_string()),
    }
}
