//! The counted budgets of `perf/budgets.toml`: what a path may cost in calls, allocations,
//! instructions and copies, with what it cost when last counted. Clocks are noisy, counts are not.

use serde::Deserialize;

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// Its rows.
    pub budget: Vec<Budget>,
}

/// One path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Budget {
    /// What is done once.
    pub path: String,
    /// What is counted.
    pub counts: Counts,
    /// What it may be at most today; a change that needs more says why.
    pub most: f64,
    /// Where it should come to.
    pub goal: f64,
    /// What it was, with the run that says so.
    pub found: f64,
    /// Folder in perf/runs, or the test, that holds the count.
    pub evidence: String,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// Entries into the kernel.
    Syscalls,
    /// Calls of the allocator.
    Allocations,
    /// Instructions of our own code, the kernel's apart.
    Instructions,
    /// Operations handed to the ring.
    RingEntries,
    /// Times that a sleeping shard is woken.
    Wakes,
    /// Bytes that the broker copies in its own memory.
    CopiedBytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_consistent_and_their_evidence_exists() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let text = std::fs::read_to_string(format!("{folder}/budgets.toml")).expect("the file");
        let budgets: Budgets = toml::from_str(&text).expect("rows");
        assert!(!budgets.budget.is_empty());
        for row in &budgets.budget {
            assert!(
                row.goal <= row.most,
                "{}: the goal lies below the ceiling",
                row.path
            );
            assert!(
                row.found <= row.most,
                "{}: found {} of {}",
                row.path,
                row.found,
                row.most
            );
            let evidence = format!("{folder}/../{}", row.evidence);
            assert!(
                std::path::Path::new(&evidence).exists(),
                "{}: {evidence}",
                row.path
            );
        }
    }
}
