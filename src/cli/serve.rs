//! `klamm serve`: written values and facts of the machine into a checked configuration, which
//! boot runs. Says all that is wrong at once, each with its cure.

use std::process::ExitCode;

use clap::Args;

use super::configured::{Configured, host_facts};
use super::fail;
use crate::config::Config;
use crate::logging::{self, LogFormat};
use crate::startup_report::{StartProblem, failed_start};

/// Runs a broker until it is told to stop.
pub type Boot = fn(Config) -> Result<(), Vec<StartProblem>>;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm serve\n  \
    klamm serve --config server.properties\n  \
    klamm serve --set log.dirs=/var/lib/klamm --set listeners=PLAINTEXT://127.0.0.1:0\n\n\
    Keys are Apache Kafka's, with its defaults; docs/reference/configs.md lists them and klamm's own.")]
pub(super) struct ServeArguments {
    #[command(flatten)]
    pub(super) configured: Configured,

    /// Form of the log lines on standard error: text for people, json for machines.
    #[arg(long, value_name = "text|json", default_value = "text")]
    log_format: LogFormat,

    /// Which log lines are kept, for example info,klamm_shard=debug.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = logging::DEFAULT_FILTER)]
    log_filter: String,
}

pub(super) fn run(arguments: &ServeArguments, boot: Boot) -> ExitCode {
    if let Err(reason) = logging::start(arguments.log_format, &arguments.log_filter) {
        return fail(&reason);
    }
    let raw = match arguments.configured.read() {
        Ok(raw) => raw,
        Err(error) => return fail(&format!("klamm does not start:\n  {error}")),
    };
    let checked = Config::from_raw(&raw, &host_facts());
    let started = match checked {
        Ok((config, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            boot(config)
        }
        Err(problems) => Err(problems.into_iter().map(StartProblem::from).collect()),
    };
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => fail(&failed_start(&problems)),
    }
}
