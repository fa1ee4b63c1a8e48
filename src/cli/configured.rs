//! How a command is told a broker's configuration: a file, single keys, and what the machine offers.

use std::path::PathBuf;

use clap::Args;
use klamm_os::probe;

use crate::config::HostFacts;
use crate::config::raw::{RawConfig, RawError};

#[derive(Debug, Args)]
pub(super) struct Configured {
    /// Java properties file with Apache Kafka's keys, such as server.properties.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set one key; beats the file. May be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(super) set: Vec<String>,
}

/// Refuses a `--set` without `=` as wrong usage.
fn key_and_value(text: &str) -> Result<String, RawError> {
    RawConfig::default().set(text).map(|()| text.to_owned())
}

impl Configured {
    /// What was written, unchecked.
    pub(super) fn read(&self) -> Result<RawConfig, RawError> {
        let mut raw = match &self.config {
            Some(file) => RawConfig::read_file(file)?,
            None => RawConfig::default(),
        };
        for text in &self.set {
            raw.set(text)?;
        }
        Ok(raw)
    }
}

/// What the machine offers this process.
pub(super) fn host_facts() -> HostFacts {
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
