//! Memory, limits of the process and network settings, as sysctl(8) and proc(5) name them.

use super::tree::{Reading, Tree, Unread};

/// A file or partition that memory is swapped to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Its name.
    pub name: String,
    /// Bytes of it in use.
    pub used_bytes: u64,
}

/// When the kernel holds writers back until dirty pages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writeback {
    /// A part of the memory, in hundredths (`vm.dirty_ratio`).
    Ratio(u64),
    /// A number of bytes (`vm.dirty_bytes`).
    Bytes(u64),
}

/// Memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Who gets huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Reading<String>,
    /// Where memory is swapped to; empty if nowhere.
    pub swaps: Reading<Vec<Swap>>,
    /// `vm.swappiness`.
    pub swappiness: Reading<u64>,
    /// Limit of dirty pages.
    pub writeback: Reading<Writeback>,
    /// Mappings that a process may have.
    pub maps_max: Reading<u64>,
}

impl Memory {
    pub(super) fn read(tree: &Tree) -> Self {
        Self {
            huge_pages: tree.choice("/sys/kernel/mm/transparent_hugepage/enabled"),
            swaps: swaps(tree),
            swappiness: tree.number("/proc/sys/vm/swappiness"),
            writeback: writeback(tree),
            maps_max: tree.number("/proc/sys/vm/max_map_count"),
        }
    }
}

fn swaps(tree: &Tree) -> Reading<Vec<Swap>> {
    const PLACE: &str = "/proc/swaps";
    let text = tree.text(PLACE)?;
    let swap = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Name, type, size, used, priority; a name may have blanks in octal form, not as such.
        let used_kib: Option<u64> = words.get(3).and_then(|word| word.parse().ok());
        let used_kib = used_kib.ok_or_else(|| Unread::unexpected(PLACE, line))?;
        Ok(Swap {
            name: words.first().copied().unwrap_or_default().to_owned(),
            used_bytes: used_kib.saturating_mul(1024),
        })
    };
    text.lines().skip(1).map(swap).collect()
}

fn writeback(tree: &Tree) -> Reading<Writeback> {
    // One of the two counts: setting either makes the other 0.
    match tree.number("/proc/sys/vm/dirty_bytes") {
        Ok(bytes) if bytes > 0 => Ok(Writeback::Bytes(bytes)),
        _ => tree
            .number("/proc/sys/vm/dirty_ratio")
            .map(Writeback::Ratio),
    }
}

/// A limit of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So much of it.
    To(u64),
    /// No limit.
    Unlimited,
}

/// Limits of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that may be locked.
    pub memory_lock: Reading<Limit>,
    /// Files that may be open at once after the process raised its own limit.
    pub open_files: Reading<Limit>,
}

impl Limits {
    pub(super) fn read(tree: &Tree) -> Self {
        Self {
            memory_lock: limit(tree, "Max locked memory", Column::Soft),
            open_files: limit(tree, "Max open files", Column::Hard),
        }
    }
}

/// Columns of /proc/self/limits behind the name.
#[derive(Clone, Copy)]
enum Column {
    Soft = 0,
    Hard = 1,
}

fn limit(tree: &Tree, name: &str, column: Column) -> Reading<Limit> {
    const PLACE: &str = "/proc/self/limits";
    let text = tree.text(PLACE)?;
    let word = text.lines().find_map(|line| {
        let columns = line.strip_prefix(name)?;
        columns.split_whitespace().nth(column as usize)
    });
    match word {
        Some("unlimited") => Ok(Limit::Unlimited),
        Some(word) => word
            .parse()
            .map(Limit::To)
            .map_err(|_| Unread::unexpected(PLACE, word)),
        None => Err(Unread::unexpected(PLACE, &text)),
    }
}

/// Network settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Connections that may wait to be accepted, whatever a listener asks for.
    pub backlog_max: Reading<u64>,
    /// Largest receive buffer that a program may ask for.
    pub receive_bytes_max: Reading<u64>,
    /// Largest send buffer that a program may ask for.
    pub send_bytes_max: Reading<u64>,
    /// Largest receive buffer that the kernel itself chooses.
    pub receive_bytes_tuned_max: Reading<u64>,
    /// Largest send buffer that the kernel itself chooses.
    pub send_bytes_tuned_max: Reading<u64>,
}

impl Network {
    pub(super) fn read(tree: &Tree) -> Self {
        Self {
            backlog_max: tree.number("/proc/sys/net/core/somaxconn"),
            receive_bytes_max: tree.number("/proc/sys/net/core/rmem_max"),
            send_bytes_max: tree.number("/proc/sys/net/core/wmem_max"),
            receive_bytes_tuned_max: third(tree, "/proc/sys/net/ipv4/tcp_rmem"),
            send_bytes_tuned_max: third(tree, "/proc/sys/net/ipv4/tcp_wmem"),
        }
    }
}

/// The last of minimum, first and largest size.
fn third(tree: &Tree, place: &str) -> Reading<u64> {
    let text = tree.text(place)?;
    let word = text.split_whitespace().nth(2);
    let number = word.and_then(|word| word.parse().ok());
    number.ok_or_else(|| Unread::unexpected(place, &text))
}
