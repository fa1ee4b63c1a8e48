//! Who used the processors: /proc and control groups, read at one moment and subtracted.

use std::{fs, path::Path, process::Command};

use serde::Serialize;

use crate::Problem;

/// Clock ticks a second in /proc; asked of the system once.
#[must_use]
pub fn ticks_per_second() -> u64 {
    let asked = Command::new("getconf").arg("CLK_TCK").output().ok();
    let text = asked.and_then(|output| String::from_utf8(output.stdout).ok());
    text.and_then(|text| text.trim().parse().ok())
        .unwrap_or(100)
}

/// Time of all processors since boot, in ticks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Machine {
    /// Everything but idling, waiting for a disk, and stolen time.
    pub busy: u64,
    /// Taken by the host.
    pub steal: u64,
    /// All of it.
    pub total: u64,
}

impl Machine {
    /// Reads the first line of /proc/stat.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let &[user, nice, system, idle, wait, irq, softirq, steal, ..] = fields.as_slice() else {
            return None;
        };
        // Guest time is part of user time already.
        let busy = user + nice + system + irq + softirq;
        Some(Self {
            busy,
            steal,
            total: busy + idle + wait + steal,
        })
    }
}

/// A line of /proc/PID/stat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Process {
    parent: u64,
    ticks: u64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The name may hold spaces and parentheses: fields count from the last one.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: number(1)?,
            ticks: number(11)? + number(12)?,
        })
    }
}

/// Ticks of one process with all its threads, dead ones included.
///
/// # Errors
/// It has ended.
pub fn process_ticks(process: u32) -> Result<u64, Problem> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).map_err(|error| Problem::at(&path, error))?;
    let parsed = Process::parse(&text).ok_or_else(|| Problem::at(&path, "not understood"))?;
    Ok(parsed.ticks)
}

/// Ticks of all kernel threads that live now: writeback and the like, which belong to whoever
/// caused them, and which no process account shows.
fn kernel_ticks() -> u64 {
    const KTHREADD: u64 = 2;
    let entries = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .map_while(Result::ok);
    let processes = entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        Process::parse(&fs::read_to_string(entry.path().join("stat")).ok()?)
    });
    processes
        .filter(|process| process.parent == KTHREADD)
        .map(|process| process.ticks)
        .sum()
}

/// The machine at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Moment {
    /// All processors.
    pub machine: Machine,
    /// Kernel threads, in ticks.
    pub kernel: u64,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// /proc is not what it should be.
    pub fn now() -> Result<Self, Problem> {
        let path = Path::new("/proc/stat");
        let text = fs::read_to_string(path).map_err(|error| Problem::at(path.display(), error))?;
        let machine =
            Machine::parse(&text).ok_or_else(|| Problem::at(path.display(), "not understood"))?;
        Ok(Self {
            machine,
            kernel: kernel_ticks(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_line_is_divided_into_busy_stolen_and_idle() {
        let text = "cpu  10 1 20 100 5 2 3 7 9 9\ncpu0 1 1 1 1\n";
        let machine = Machine::parse(text).expect("a line");
        assert_eq!(
            machine,
            Machine {
                busy: 36,
                steal: 7,
                total: 148
            }
        );
        assert_eq!(Machine::parse("cpu  1 2"), None);
    }

    #[test]
    fn process_names_with_parentheses_do_not_confuse() {
        let text = "7 (a) b (c)) S 2 0 0 0 -1 0 0 0 0 0 30 12 0 0 20 0 1";
        assert_eq!(
            Process::parse(text),
            Some(Process {
                parent: 2,
                ticks: 42
            })
        );
    }

    #[test]
    fn this_process_has_an_account() {
        assert!(process_ticks(std::process::id()).is_ok());
        let moment = Moment::now().expect("a Linux machine");
        assert!(moment.machine.total > moment.machine.busy);
    }
}
