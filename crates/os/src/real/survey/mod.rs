//! What a host says of itself, as plain values for somebody else to judge: cores, memory, limits,
//! network, and what lies under a folder. Changes nothing.

mod cores;
mod disk;
mod memory;
mod tree;

use std::path::Path;

pub use cores::{Core, Cores, Interrupt};
pub use disk::{DirectAccess, Disk, Folder, Mount, WriteCache};
pub use memory::{Limit, Limits, Memory, Network, Swap, Writeback};
pub use tree::{Reading, Tree, Unread};

use super::probe::{self, HostFacts, ProbeError, RingFacts};

/// A host at one moment.
#[derive(Debug)]
pub struct Survey {
    /// Whether io_uring serves us.
    pub ring: Result<RingFacts, ProbeError>,
    /// How much of the machine is ours.
    pub host: HostFacts,
    /// Times that the control group had used up its processor time.
    pub throttled: Reading<u64>,
    /// Processor cores.
    pub cores: Cores,
    /// Interrupts of devices.
    pub interrupts: Reading<Vec<Interrupt>>,
    /// Memory.
    pub memory: Memory,
    /// Limits of this process.
    pub limits: Limits,
    /// Network settings.
    pub network: Network,
    /// What tells the time.
    pub clock: Reading<String>,
    /// The folder that was asked about.
    pub folder: Folder,
}

impl Survey {
    /// Looks at the host, and at what lies under `folder`, which need not exist. Blocks.
    pub fn of(tree: &Tree, folder: &Path) -> Self {
        let host = probe::host();
        Self {
            ring: probe::check(),
            throttled: throttled(tree),
            cores: Cores::read(tree, &host.cores),
            interrupts: cores::interrupts(tree),
            memory: Memory::read(tree),
            limits: Limits::read(tree),
            network: Network::read(tree),
            clock: tree.choice("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            folder: Folder::read(tree, folder),
            host,
        }
    }
}

fn throttled(tree: &Tree) -> Reading<u64> {
    let group = probe::control_group(tree).ok_or_else(|| Unread::Absent {
        place: "control group (version 2) of this process".to_owned(),
    })?;
    let place = format!("/sys/fs/cgroup{group}/cpu.stat");
    let text = tree.text(&place)?;
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok());
    count.ok_or_else(|| Unread::unexpected(&place, &text))
}

#[cfg(test)]
mod tests;
