//! Processor cores as the kernel has them, and which interrupts land where.

use super::tree::{Reading, Tree, core_list};

/// One core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its number.
    pub number: usize,
    /// Cores that share its execution units, itself among them.
    pub siblings: Reading<Vec<usize>>,
    /// What decides its frequency, for example `performance`.
    pub governor: Reading<String>,
}

/// All cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Those that run now.
    pub online: Reading<Vec<usize>>,
    /// Those that the kernel's scheduler leaves alone (`isolcpus=`).
    pub isolated: Reading<Vec<usize>>,
    /// Each of those that this process may use.
    pub each: Vec<Core>,
    /// Cores of each memory node.
    pub nodes: Reading<Vec<Vec<usize>>>,
}

impl Cores {
    pub(super) fn read(tree: &Tree, usable: &[usize]) -> Self {
        const FOLDER: &str = "/sys/devices/system/cpu";
        let core = |&number: &usize| Core {
            number,
            siblings: tree.cores(&format!(
                "{FOLDER}/cpu{number}/topology/thread_siblings_list"
            )),
            governor: tree.choice(&format!("{FOLDER}/cpu{number}/cpufreq/scaling_governor")),
        };
        Self {
            online: tree.cores(&format!("{FOLDER}/online")),
            isolated: tree.cores(&format!("{FOLDER}/isolated")),
            each: usable.iter().map(core).collect(),
            nodes: nodes(tree),
        }
    }
}

fn nodes(tree: &Tree) -> Reading<Vec<Vec<usize>>> {
    const FOLDER: &str = "/sys/devices/system/node";
    let names = tree.names(FOLDER)?;
    let is_node = |name: &&String| {
        let number = name.strip_prefix("node");
        number.is_some_and(|number| number.parse::<usize>().is_ok())
    };
    let names = names.iter().filter(is_node);
    names
        .map(|name| tree.cores(&format!("{FOLDER}/{name}/cpulist")))
        .collect()
}

/// One interrupt of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number, as in /proc/irq.
    pub number: u32,
    /// The device, as the kernel names it.
    pub device: String,
    /// How often each core took it, by number of the core.
    pub taken: Vec<(usize, u64)>,
    /// Cores that it goes to now.
    pub goes_to: Reading<Vec<usize>>,
}

pub(super) fn interrupts(tree: &Tree) -> Reading<Vec<Interrupt>> {
    let text = tree.text("/proc/interrupts")?;
    let mut lines = text.lines();
    let core = |word: &str| word.strip_prefix("CPU")?.parse().ok();
    let heading = lines.next().unwrap_or_default();
    let cores: Vec<usize> = heading.split_whitespace().filter_map(core).collect();
    Ok(lines
        .filter_map(|line| interrupt(tree, &cores, line))
        .collect())
}

/// A row of a device; `None` for the kernel's own interrupts, which have names for numbers.
fn interrupt(tree: &Tree, cores: &[usize], line: &str) -> Option<Interrupt> {
    let (number, rest) = line.split_once(':')?;
    let number = number.trim().parse().ok()?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let counts = words.iter().map_while(|word| word.parse().ok());
    let taken: Vec<(usize, u64)> = cores.iter().copied().zip(counts).collect();
    // Behind the counts stand the controller, its number for the interrupt, and the device.
    let device = words.get(taken.len()..).unwrap_or_default();
    Some(Interrupt {
        number,
        device: device.last().copied().unwrap_or("unknown").to_owned(),
        taken,
        goes_to: goes_to(tree, number),
    })
}

/// Where the kernel sends it; on kernels that do not say, where it was allowed to send it.
fn goes_to(tree: &Tree, number: u32) -> Reading<Vec<usize>> {
    let effective = tree.text(&format!("/proc/irq/{number}/effective_affinity_list"));
    let listed = effective.ok().as_deref().and_then(core_list);
    match listed {
        Some(cores) if !cores.is_empty() => Ok(cores),
        _ => tree.cores(&format!("/proc/irq/{number}/smp_affinity_list")),
    }
}
