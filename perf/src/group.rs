//! A control group for a broker: bounds its memory, page cache included, and counts its processor
//! time. Version 2 where the whole tree is mounted, else version 1's memory and cpuacct.

use std::{fs, path::PathBuf};

use crate::Problem;

const ROOT: &str = "/sys/fs/cgroup";

/// A group, removed when it is dropped; its processes must have ended.
#[derive(Debug)]
pub struct Group {
    /// Folders whose `cgroup.procs` a member writes itself into.
    folders: Vec<PathBuf>,
    usage: Usage,
}

#[derive(Debug)]
enum Usage {
    /// Nanoseconds in a file.
    Nanoseconds(PathBuf),
    /// `usage_usec` in `cpu.stat`.
    Microseconds(PathBuf),
}

impl Group {
    /// A new group of at most `memory_bytes`.
    ///
    /// # Errors
    /// No controllers are mounted, or this user may not make groups: run as root.
    pub fn new(name: &str, memory_bytes: u64) -> Result<Self, Problem> {
        let name = format!("klamm-perf-{name}-{}", std::process::id());
        let root = PathBuf::from(ROOT);
        let limit = memory_bytes.to_string();
        if root.join("cgroup.controllers").exists() {
            let folder = root.join(name);
            make(&folder)?;
            let usage = Usage::Microseconds(folder.join("cpu.stat"));
            let group = Self {
                folders: vec![folder.clone()],
                usage,
            };
            write(&folder.join("memory.max"), &limit)?;
            return Ok(group);
        }
        let memory = root.join("memory").join(&name);
        let account = root.join("cpuacct").join(&name);
        make(&memory)?;
        let usage = Usage::Nanoseconds(account.join("cpuacct.usage"));
        let group = Self {
            folders: vec![memory.clone(), account.clone()],
            usage,
        };
        make(&account)?;
        write(&memory.join("memory.limit_in_bytes"), &limit)?;
        Ok(group)
    }

    /// Files into which a process writes its id to become a member.
    #[must_use]
    pub fn doors(&self) -> Vec<PathBuf> {
        self.folders
            .iter()
            .map(|folder| folder.join("cgroup.procs"))
            .collect()
    }

    /// Processor time of all members so far, in nanoseconds.
    ///
    /// # Errors
    /// The group is gone.
    pub fn cpu_ns(&self) -> Result<u64, Problem> {
        let path = match &self.usage {
            Usage::Nanoseconds(path) | Usage::Microseconds(path) => path,
        };
        let text = fs::read_to_string(path).map_err(|error| Problem::at(path.display(), error))?;
        let parsed = match &self.usage {
            Usage::Nanoseconds(_) => text.trim().parse().ok(),
            Usage::Microseconds(_) => microseconds(&text).map(|usage| usage * 1000),
        };
        parsed.ok_or_else(|| Problem::at(path.display(), "not understood"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // Fails while a member lives; then the group stays, which harms nobody.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn microseconds(stat: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?
        .parse()
        .ok()
}

fn make(folder: &PathBuf) -> Result<(), Problem> {
    fs::create_dir(folder).map_err(|error| Problem::at(folder.display(), error))
}

fn write(path: &PathBuf, text: &str) -> Result<(), Problem> {
    fs::write(path, text).map_err(|error| Problem::at(path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_version_two_is_found_among_other_lines() {
        assert_eq!(
            microseconds("nr 1\nusage_usec 1234\nuser_usec 1\n"),
            Some(1234)
        );
        assert_eq!(microseconds("user_usec 1\n"), None);
    }
}
