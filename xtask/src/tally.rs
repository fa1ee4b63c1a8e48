//! One line for a whole test run: `N passed, N failed, N skipped`, summed over all test binaries.
//! A test that cannot run here prints `SKIPPED: <test>: <reason>`; libtest counts it as passed,
//! this sum does not.

use std::fs;
use std::path::Path;

/// The words that open the report of a loud skip.
const SKIPPED: &str = "SKIPPED: ";

/// The sum over a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    fn of(log: &str, status: i32) -> Self {
        let mut sum = Self::default();
        let mut loud = 0;
        for line in log.lines() {
            if let Some(counts) = line.strip_prefix("test result: ") {
                sum.passed += count_before(counts, "passed");
                sum.failed += count_before(counts, "failed");
                sum.skipped += count_before(counts, "ignored");
            } else if is_loud_skip(line) {
                loud += 1;
            }
        }
        sum.passed = sum.passed.saturating_sub(loud);
        sum.skipped += loud;
        if status != 0 && sum.failed == 0 {
            // Something died without a report: a build that failed, an abort, a signal.
            sum.failed = 1;
        }
        sum
    }
}

/// The number in front of `word`, as in `12 passed; 0 failed; 1 ignored`.
fn count_before(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts
        .split([' ', ';', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}

/// True for `SKIPPED: <test>: <reason>`, also where libtest's own line stands before it.
fn is_loud_skip(line: &str) -> bool {
    line.find(SKIPPED).is_some_and(|at| {
        let rest = &line[at + SKIPPED.len()..];
        rest.split_once(": ").is_some_and(|(test, reason)| {
            !test.is_empty() && !test.contains(' ') && !reason.trim().is_empty()
        })
    })
}

/// Prints the sum of the log; true when nothing failed.
pub(crate) fn run(log: &Path, status: i32) -> Result<bool, String> {
    let bytes = fs::read(log).map_err(|error| format!("cannot read {}: {error}", log.display()))?;
    let sum = Tally::of(&String::from_utf8_lossy(&bytes), status);
    println!(
        "{} passed, {} failed, {} skipped",
        sum.passed, sum.failed, sum.skipped
    );
    Ok(sum.failed == 0 && status == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BINARIES: &str = "\
running 2 tests
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s
SKIPPED: bound_to_loopback: no network namespace here
test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
";

    #[test]
    fn all_binaries_are_summed_and_a_loud_skip_is_no_pass() {
        let sum = Tally::of(TWO_BINARIES, 101);
        assert_eq!(
            sum,
            Tally {
                passed: 14,
                failed: 2,
                skipped: 2
            }
        );
    }

    #[test]
    fn a_run_that_dies_without_a_report_counts_as_failed() {
        assert_eq!(Tally::of("error: could not compile", 101).failed, 1);
        assert_eq!(Tally::of("", 0), Tally::default());
    }

    #[test]
    fn a_skip_is_found_behind_the_words_of_libtest() {
        assert!(is_loud_skip(
            "test disk::full ... SKIPPED: disk::full: no loop device"
        ));
        assert!(!is_loud_skip("SKIPPED: "));
        assert!(!is_loud_skip(
            "a test prints SKIPPED: with words but no reason"
        ));
    }
}
