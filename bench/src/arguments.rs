//! Command line: a mode, where the broker is, and the words of a workload.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    problem::Problem,
    workload::{Mode, Scenario, Workload, WrittenWorkload},
};

/// Makes load for a Kafka broker and proves what it acknowledged.
#[derive(Debug, Parser)]
#[command(name = "klamm-bench", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One of the three kinds of load, or a scenario file that says which.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Produce batches.
    Produce(Load),
    /// Fetch batches, from the start over and over, or at the end.
    Fetch(Load),
    /// Produce one record per request.
    Requests(Load),
    /// What a scenario file says.
    Scenario {
        /// The file, for example bench/scenarios/w1-small-batched.toml.
        file: PathBuf,
        /// Options that beat those of the file.
        #[command(flatten)]
        load: Load,
    },
}

/// Where to, what, and how to tell.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Address of the broker; every partition must be led by the broker that answers there.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The workload.
    #[command(flatten)]
    pub workload: WrittenWorkload,
    /// Print JSON lines, one per interval and one for the result, instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Milliseconds between two interval lines.
    #[arg(long, default_value_t = 1000)]
    pub interval_ms: u64,
    /// Obey lines on standard input instead of the clock: `measure`, then `stop`. The end of
    /// input stops too.
    #[arg(long)]
    pub steered: bool,
    /// Write the latency histogram's percentiles to this file (.hgrm).
    #[arg(long)]
    pub histogram: Option<PathBuf>,
}

impl Command {
    /// The load's options and the checked workload.
    ///
    /// # Errors
    /// A scenario file that cannot be read, or options that contradict each other.
    pub fn workload(&self) -> Result<(&Load, Workload), Problem> {
        let (mode, load, below) = match self {
            Self::Produce(load) => (Mode::Produce, load, WrittenWorkload::default()),
            Self::Fetch(load) => (Mode::Fetch, load, WrittenWorkload::default()),
            Self::Requests(load) => (Mode::Requests, load, WrittenWorkload::default()),
            Self::Scenario { file, load } => {
                let text = std::fs::read_to_string(file)?;
                let scenario: Scenario = toml::from_str(&text)
                    .map_err(|error| Problem::Workload(format!("{}: {error}", file.display())))?;
                (scenario.mode, load, scenario.workload)
            }
        };
        let workload = load.workload.clone().over(below).check(mode)?;
        Ok((load, workload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn command_line_gives_a_workload() {
        let line = "klamm-bench requests --bootstrap h:1 --connections 64 --depth 1 --acks -1 \
                    --follow true";
        let arguments = Arguments::try_parse_from(line.split_whitespace()).expect("valid");
        let (load, workload) = arguments.command.workload().expect("a workload");
        assert_eq!(load.bootstrap, "h:1");
        assert_eq!(
            (workload.connections, workload.depth, workload.acks),
            (64, 1, -1)
        );
        assert!(workload.is_unbatched());
    }
}
