//! Command line: a mode, where the broker is, and the words of a workload.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    problem::Problem,
    workload::{Mode, Workload},
    written::{Outputs, Scenario, WrittenWorkload},
};

/// Makes load for a Kafka broker and proves what it acknowledged.
#[derive(Debug, Parser)]
#[command(name = "klamm-bench", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A kind of load, or a scenario that says which.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Produce batches, closed loop or at a rate, with or without consumers.
    Produce(Box<Load>),
    /// Produce one record per request.
    Requests(Box<Load>),
    /// Fetch batches, from the start over and over.
    Fetch(Box<Load>),
    /// Open connections and leave them alone.
    Idle(Box<Load>),
    /// Open all connections at once, ask for versions, close them, again and again.
    Reconnect(Box<Load>),
    /// Create topics.
    CreateTopics(Box<Load>),
    /// Ask for the metadata of many topics.
    Metadata(Box<Load>),
    /// Be the members of consumer groups, and tell how long they take to agree again after what
    /// happens to them.
    Groups(Box<Load>),
    /// Run a scenario: one that comes with the program, or a file.
    Scenario {
        /// Its name, for example w1-small-batched, or the path of a file.
        name: PathBuf,
        /// Options that beat those of the scenario.
        #[command(flatten)]
        load: Box<Load>,
    },
    /// List the scenarios that come with the program.
    Scenarios,
}

/// Where to, what, and how to tell.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Address of the broker; every partition must be led by the broker that answers there.
    #[arg(long, short, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The workload.
    #[command(flatten)]
    pub workload: WrittenWorkload,
    /// Print JSON lines, one per interval and one for the result, instead of a table.
    #[arg(long, help_heading = "Result")]
    pub json: bool,
    /// Milliseconds between two interval lines.
    #[arg(long, default_value_t = 1000, help_heading = "Result")]
    pub interval_ms: u64,
    /// Obey lines on standard input instead of the clock: `measure`, then `stop`. The end of
    /// input stops too.
    #[arg(long, help_heading = "Load")]
    pub steered: bool,
    /// Files for the result.
    #[command(flatten)]
    pub outputs: Outputs,
}

impl Command {
    /// The load's options and the checked workload; `None` where nothing is to be loaded.
    ///
    /// # Errors
    /// A scenario that cannot be read, or options that contradict each other.
    pub fn workload(&self) -> Result<Option<(&Load, Workload)>, Problem> {
        let (mode, load, below) = match self {
            Self::Produce(load) => (Mode::Produce, load, WrittenWorkload::default()),
            Self::Requests(load) => (Mode::Requests, load, WrittenWorkload::default()),
            Self::Fetch(load) => (Mode::Fetch, load, WrittenWorkload::default()),
            Self::Idle(load) => (Mode::Idle, load, WrittenWorkload::default()),
            Self::Reconnect(load) => (Mode::Reconnect, load, WrittenWorkload::default()),
            Self::CreateTopics(load) => (Mode::CreateTopics, load, WrittenWorkload::default()),
            Self::Metadata(load) => (Mode::Metadata, load, WrittenWorkload::default()),
            Self::Groups(load) => (Mode::Groups, load, WrittenWorkload::default()),
            Self::Scenario { name, load } => {
                let scenario = Scenario::find(name)?;
                (scenario.mode, load, scenario.workload)
            }
            Self::Scenarios => return Ok(None),
        };
        let workload = load.workload.clone().over(&below).check(mode)?;
        Ok(Some((load, workload)))
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
        let line = "klamm-bench requests --bootstrap h:1 --connections 64 --depth 1 --acks -1";
        let arguments = Arguments::try_parse_from(line.split_whitespace()).expect("valid");
        let found = arguments.command.workload().expect("valid");
        let (load, workload) = found.expect("a workload");
        assert_eq!(load.bootstrap, "h:1");
        assert_eq!(
            (workload.connections, workload.depth, workload.acks),
            (64, 1, -1)
        );
        assert_eq!(workload.batch_records, 1);
    }
}
