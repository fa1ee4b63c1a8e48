//! `klamm serve`: written values and facts of the machine into a checked configuration, which
//! boot runs. Says all that is wrong at once, each with its cure.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use klamm_os::probe;

use super::fail;
use crate::config::raw::{RawConfig, RawError};
use crate::config::{Config, HostFacts};
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
    /// Java properties file with Apache Kafka's keys, such as server.properties.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set one key; beats the file. May be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(super) set: Vec<String>,

    /// Form of the log lines on standard error: text for people, json for machines.
    #[arg(long, value_name = "text|json", default_value = "text")]
    log_format: LogFormat,

    /// Which log lines are kept, for example info,klamm_shard=debug.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = logging::DEFAULT_FILTER)]
    log_filter: String,
}

/// Refuses a `--set` without `=` as wrong usage.
fn key_and_value(text: &str) -> Result<String, RawError> {
    RawConfig::default().set(text).map(|()| text.to_owned())
}

pub(super) fn run(arguments: &ServeArguments, boot: Boot) -> ExitCode {
    if let Err(reason) = logging::start(arguments.log_format, &arguments.log_filter) {
        return fail(&reason);
    }
    let raw = match read(arguments) {
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

fn read(arguments: &ServeArguments) -> Result<RawConfig, RawError> {
    let mut raw = match &arguments.config {
        Some(file) => RawConfig::read_file(file)?,
        None => RawConfig::default(),
    };
    for text in &arguments.set {
        raw.set(text)?;
    }
    Ok(raw)
}

/// What the machine offers this process.
fn host_facts() -> HostFacts {
    let host = probe::host();
    let mut cores = host.cores;
    cores.sort_unstable();
    let core_limit = host.core_limit_thousandths.map(|limit| {
        let cores = limit.div_ceil(1000).max(1);
        usize::try_from(cores).unwrap_or(usize::MAX)
    });
    HostFacts {
        cores,
        core_limit,
        memory_bytes: host.memory_limit_bytes.unwrap_or(host.memory_bytes),
        hostname: std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty()),
    }
}
