//! Memory: how much the broker may have, and what the kernel does with it meanwhile.

use klamm_model::Durability;
use klamm_os::survey::Writeback;

use super::{Finding, Knob, State, Subject, bytes_text, knob, sysctl};

pub(super) fn limit(subject: Subject<'_>) -> Finding {
    const LIMIT: Knob = knob("memory limit", "control-group-limits");
    let shards = &subject.config.shards;
    let tails = shards.tail_bytes_max.saturating_mul(shards.count as u64);
    let expected = format!(
        "twice the tails of all shards or more ({})",
        bytes_text(tails.saturating_mul(2))
    );
    let (kind, bytes) = match subject.survey.host.memory_limit_bytes {
        Some(limit) => ("the control group allows", limit),
        None => ("the machine has", subject.survey.host.memory_bytes),
    };
    let finding = Finding::good(LIMIT, format!("{kind} {}", bytes_text(bytes)), expected);
    if bytes / 2 >= tails {
        return finding;
    }
    let fitting = bytes / 4 / shards.count.max(1) as u64;
    finding.but(
        State::Advice,
        "the tails are page cache of the write-ahead files and count as the broker's memory; with \
         little beside them the kernel reclaims what consumers are about to read, or ends the process",
        format!("klamm.tail.bytes={}", fitting.max(1 << 20)),
    )
}

pub(super) fn huge_pages(subject: Subject<'_>) -> Finding {
    const HUGE_PAGES: Knob = knob("huge pages", "huge-pages");
    const PLACE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let expected = "madvise or always";
    match &subject.survey.memory.huge_pages {
        Err(unread) => Finding::unread(HUGE_PAGES, expected, unread),
        Ok(word) if word == "never" => Finding::good(HUGE_PAGES, word, expected).but(
            State::Advice,
            "the broker asks for huge pages under its buffers of 2 MiB, which the disk then takes \
             as one run instead of 512",
            format!("echo madvise | sudo tee {PLACE}"),
        ),
        Ok(word) => Finding::good(HUGE_PAGES, word, expected),
    }
}

/// `vm.swappiness` up to which the kernel swaps programs out only when there is no other way.
const SWAPPINESS_LOW: u64 = 10;

pub(super) fn swap(subject: Subject<'_>) -> Finding {
    const SWAP: Knob = knob("swap", "swap");
    let expected = format!("none, or vm.swappiness of at most {SWAPPINESS_LOW}");
    let memory = &subject.survey.memory;
    let (swaps, swappiness) = match (&memory.swaps, &memory.swappiness) {
        (Ok(swaps), _) if swaps.is_empty() => return Finding::good(SWAP, "none", expected),
        (Err(unread), _) | (_, Err(unread)) => return Finding::unread(SWAP, expected, unread),
        (Ok(swaps), Ok(swappiness)) => (swaps, *swappiness),
    };
    let used = swaps.iter().map(|swap| swap.used_bytes).sum();
    let names: Vec<&str> = swaps.iter().map(|swap| swap.name.as_str()).collect();
    let found = format!(
        "{} with {} in use, vm.swappiness={swappiness}",
        names.join(", "),
        bytes_text(used)
    );
    let finding = Finding::good(SWAP, found, expected);
    if swappiness <= SWAPPINESS_LOW {
        return finding;
    }
    finding.but(
        State::Advice,
        "the write-ahead logs and the tails are page cache, and to make room for it the kernel may \
         swap out the broker's own memory: a shard that touches such a \
         page waits for the disk, with all its connections",
        sysctl("vm.swappiness", 1),
    )
}

pub(super) fn dirty_pages(subject: Subject<'_>) -> Finding {
    const DIRTY_PAGES: Knob = knob("dirty pages", "dirty-pages");
    let logs = subject.log_bytes_max();
    let written = subject.config.durability == Durability::Written;
    let expected = if written {
        format!("room for all write-ahead logs ({})", bytes_text(logs))
    } else {
        "any limit: what was acknowledged is flushed, so little is dirty".to_owned()
    };
    let (found, limit) = match subject.survey.memory.writeback {
        Err(ref unread) => return Finding::unread(DIRTY_PAGES, expected, unread),
        Ok(Writeback::Bytes(bytes)) => (format!("vm.dirty_bytes={bytes}"), bytes),
        Ok(Writeback::Ratio(ratio)) => {
            let bytes = subject.memory_bytes().saturating_mul(ratio) / 100;
            let found = format!("vm.dirty_ratio={ratio}, about {}", bytes_text(bytes));
            (found, bytes)
        }
    };
    let finding = Finding::good(DIRTY_PAGES, found, expected);
    if !written || limit >= logs {
        return finding;
    }
    finding.but(
        State::Advice,
        "with klamm.durability=written the log is dirty page cache until the kernel writes it back; \
         at this limit the kernel holds the shard itself until it has",
        sysctl("vm.dirty_bytes", logs.saturating_mul(2)),
    )
}

/// Mappings of anything but write-ahead files: libraries, stacks, buffers.
const MAPPINGS_BESIDE: u64 = 4096;

pub(super) fn mappings(subject: Subject<'_>) -> Finding {
    const MAPPINGS: Knob = knob("mappings", "mappings");
    let files = subject.log_bytes_max() / subject.config.shards.wal_file_bytes.max(1);
    let needed = files.saturating_add(MAPPINGS_BESIDE);
    let expected = format!("vm.max_map_count of at least {needed}");
    match subject.survey.memory.maps_max {
        Err(ref unread) => Finding::unread(MAPPINGS, expected, unread),
        Ok(most) => {
            let finding = Finding::good(MAPPINGS, format!("vm.max_map_count={most}"), expected);
            if most >= needed {
                return finding;
            }
            finding.but(
                State::Problem,
                format!(
                    "each write-ahead file is one mapping, and there may be {files}; a file that \
                     cannot be mapped ends the process"
                ),
                sysctl("vm.max_map_count", needed.saturating_mul(2)),
            )
        }
    }
}
