//! Judges a host for this broker: one finding for each knob, with what was found, what was
//! expected, and the command that mends it. Pure: a survey and a configuration in, findings out.

mod cores;
mod disk;
mod kernel;
mod memory;
mod network;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_disk;

use std::fmt;
use std::path::Path;

use klamm_os::exec;
use klamm_os::survey::{Survey, Unread};

use crate::config::Config;

/// What is said of a knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Good,
    /// Could not be found out.
    Unknown,
    /// The broker works; it would be faster, steadier or safer otherwise.
    Advice,
    /// The broker does not start, or cannot keep what it promises.
    Problem,
}

impl State {
    /// All, the worst last.
    pub const ALL: [Self; 4] = [Self::Good, Self::Unknown, Self::Advice, Self::Problem];

    /// The word for it, in text and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Advice => "advice",
            Self::Problem => "problem",
        }
    }
}

/// A setting of the host, or of the broker where it has to fit the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knob {
    /// Its name here.
    pub name: &'static str,
    /// Heading of its section in tuning.md, as in a link.
    pub section: &'static str,
}

const fn knob(name: &'static str, section: &'static str) -> Knob {
    Knob { name, section }
}

/// What was found out about one knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The knob.
    pub knob: Knob,
    /// What is said of it.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What suits this broker.
    pub expected: String,
    /// Why it matters, or why it is not known. Absent where all is well.
    pub why: Option<String>,
    /// A command to paste, or a value to set. Absent where there is nothing to do.
    pub fix: Option<String>,
}

impl Finding {
    fn good(knob: Knob, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            knob,
            state: State::Good,
            found: found.into(),
            expected: expected.into(),
            why: None,
            fix: None,
        }
    }

    fn unknown(knob: Knob, expected: impl Into<String>, why: impl fmt::Display) -> Self {
        Self {
            state: State::Unknown,
            why: Some(why.to_string()),
            ..Self::good(knob, "nothing", expected)
        }
    }

    fn unread(knob: Knob, expected: impl Into<String>, unread: &Unread) -> Self {
        Self::unknown(knob, expected, unread)
    }

    /// Not good after all.
    fn but(self, state: State, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            state,
            why: Some(why.into()),
            fix: Some(fix.into()),
            ..self
        }
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The host.
    pub survey: &'a Survey,
    /// The configuration that the broker would run with.
    pub config: &'a Config,
    /// The data folder that the survey is of: one of the configuration's.
    pub folder: &'a Path,
    /// Bytes of write-ahead files that the data folder holds already.
    pub wal_bytes_present: u64,
}

impl Subject<'_> {
    /// Cores that the shards would be pinned to, in their order; empty if they would not be.
    fn pinned(&self) -> &[usize] {
        let shards = &self.config.shards;
        if shards.cores.is_empty() {
            exec::choose_among(&self.survey.host.cores, shards.count).unwrap_or_default()
        } else {
            &shards.cores
        }
    }

    /// True for the data folder with the write-ahead logs.
    fn has_log(&self) -> bool {
        self.folder == self.config.data_dir()
    }

    /// Memory that the broker may use.
    fn memory_bytes(&self) -> u64 {
        let host = &self.survey.host;
        host.memory_limit_bytes.unwrap_or(host.memory_bytes)
    }

    /// Bytes of all shards' write-ahead files when they are as large as they may become.
    fn log_bytes_max(&self) -> u64 {
        let shards = &self.config.shards;
        let each = shards.wal_bytes_max.saturating_add(shards.tail_bytes_max);
        each.saturating_mul(shards.count as u64)
    }
}

/// Every finding, one for each knob, in the order of tuning.md; what is of a data folder, of this one.
#[must_use]
pub fn examine(subject: Subject<'_>) -> Vec<Finding> {
    let mut findings = vec![
        kernel::io_uring(subject),
        kernel::release(subject),
        kernel::memory_lock(subject),
        kernel::clock(subject),
        cores::shards(subject),
        cores::isolation(subject),
        cores::siblings(subject),
        cores::nodes(subject),
        cores::interrupts(subject),
        cores::governor(subject),
        cores::quota(subject),
        cores::spin(subject),
        memory::limit(subject),
        memory::huge_pages(subject),
        memory::swap(subject),
        memory::dirty_pages(subject),
        memory::mappings(subject),
        network::open_files(subject),
        network::backlog(subject),
        network::buffers(subject),
    ];
    findings.extend(examine_folder(subject));
    findings
}

/// What depends on the data folder: of the first one for [`examine`], and of each other.
#[must_use]
pub fn examine_folder(subject: Subject<'_>) -> Vec<Finding> {
    let mut findings = vec![
        disk::folder(subject),
        disk::file_system(subject),
        disk::mount_options(subject),
        disk::direct(subject),
        disk::space(subject),
        disk::scheduler(subject),
        disk::write_cache(subject),
    ];
    if subject.config.data_dirs.len() > 1 {
        for finding in &mut findings {
            finding.found = format!("{}: {}", subject.folder.display(), finding.found);
        }
    }
    findings
}

/// A command that sets a kernel's value now and for later starts.
fn sysctl(name: &str, value: impl fmt::Display) -> String {
    format!(
        "sudo sysctl -w {name}={value} && echo '{name} = {value}' | sudo tee -a /etc/sysctl.d/60-klamm.conf"
    )
}

/// Bytes as people say them, cut to a tenth.
fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let fits = |power: &usize| bytes >> (10 * power) > 0;
    let power = (1..UNITS.len()).rev().find(fits).unwrap_or(0);
    let unit = 1_u64 << (10 * power);
    let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
    if tenth == 0 {
        format!("{whole} {}", UNITS[power])
    } else {
        format!("{whole}.{tenth} {}", UNITS[power])
    }
}
