//! How long a comparison takes, told before it begins. An estimate: warm-ups end when they end.

use std::fmt::Write as _;

use crate::{
    arguments::Compare,
    compare::{GROUPS_WARM_UP, NATIVE_WARM_UP},
    row::{Scenario, Windows},
};

/// Bytes a second that filling a log is taken to reach.
const FILL_RATE: f64 = 250e6;

/// Seconds that starting and proving a run takes beside its load.
const OVERHEAD: f64 = 2.0;

/// Seconds until both brokers are up.
const START: f64 = 8.0;

/// Seconds that each broker is loaded once more for a count, and the number of counts.
const COUNTS: f64 = 3.0;

/// Seconds that creating and deleting a thousand topics takes the slower broker.
const THOUSAND_TOPICS: f64 = 5.0;

/// Seconds that groups take to come to rest, by the slower broker.
const GROUPS: f64 = 10.0;

/// Seconds that a scenario takes, all windows together.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of a scenario fit a double"
)]
pub fn seconds(compare: &Compare, scenario: &Scenario, workload: &toml::Table) -> f64 {
    let number = |name: &str, default: f64| {
        let value = workload.get(name);
        let found = value.and_then(|value| {
            value
                .as_float()
                .or_else(|| value.as_integer().map(|n| n as f64))
        });
        found.unwrap_or(default)
    };
    let brokers = if compare.klamm_only { 1.0 } else { 2.0 };
    let kafka = !compare.klamm_only && !compare.shards;
    let fill = number("fill-bytes", 0.0) / FILL_RATE;
    let one = match scenario.judge.kind {
        Windows::Once if scenario.mode == "create-topics" => {
            let topics = number("requests-max", 1.0) * number("topics-per-request", 1.0);
            topics / 1000.0 * THOUSAND_TOPICS
        }
        // Members join, and rest; what happens then takes as long again at most.
        Windows::Once if scenario.mode == "groups" => 2.0 * number("warm-up-seconds", 5.0) + GROUPS,
        // Filling, the quiet load, then the load beside the readers.
        Windows::Once => {
            let seconds = number("seconds", 10.0);
            fill + 2.0 * number("warm-up-seconds", 5.0) + seconds.min(60.0) + seconds / 2.0
        }
        Windows::Load | Windows::Latency | Windows::Idle => {
            compare.settle_seconds + compare.seconds
        }
    } + OVERHEAD;
    let native = 2.0 * NATIVE_WARM_UP;
    let warm_up = match scenario.judge.kind {
        Windows::Load | Windows::Latency if kafka => {
            native + f64::midpoint(compare.warm_up_seconds_min, compare.warm_up_seconds_max)
        }
        Windows::Load | Windows::Latency => native * brokers,
        Windows::Once if scenario.mode == "create-topics" => one * brokers,
        Windows::Once if scenario.mode == "groups" => one * brokers * GROUPS_WARM_UP as f64,
        Windows::Once | Windows::Idle => 0.0,
    };
    let filled = if scenario.judge.kind == Windows::Once {
        0.0
    } else {
        fill * brokers
    };
    let counted = if scenario.judge.kind == Windows::Load && compare.count_seconds > 0 {
        COUNTS * (compare.settle_seconds + compare.count_seconds as f64 + OVERHEAD)
    } else {
        0.0
    };
    let partitions = number("partitions", 1.0) * number("topics", 1.0);
    let creation = partitions / 1000.0 * THOUSAND_TOPICS;
    // Three thread counts and two more collectors.
    let tuned = if compare.tune_kafka && kafka {
        5.0 * (START + creation + compare.tune_seconds + one)
    } else {
        0.0
    };
    tuned + START + creation + filled + warm_up + brokers * compare.pairs as f64 * one + counted
}

/// The estimates of scenarios as a table with its sum.
#[must_use]
pub fn words(rows: &[(String, f64)]) -> String {
    let mut text = String::new();
    let mut say = |name: &str, seconds: f64| {
        let minutes = seconds / 60.0;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<44} about {minutes:.1} min");
    };
    for (name, seconds) in rows {
        say(name, *seconds);
    }
    say("together", rows.iter().map(|(_, seconds)| seconds).sum());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command};
    use clap::Parser;

    fn compare(more: &[&str]) -> Compare {
        let line = ["klamm-perf", "compare", "a"].iter().chain(more);
        match Arguments::try_parse_from(line).expect("valid").command {
            Command::Compare(compare) => *compare,
            _ => panic!("a comparison"),
        }
    }

    fn estimate(name: &str, more: &[&str]) -> f64 {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/scenarios");
        let file = std::path::PathBuf::from(format!("{folder}/{name}.toml"));
        let (scenario, workload) = crate::compare::read_scenario(&file).expect("a scenario");
        seconds(&compare(more), &scenario, &workload)
    }

    #[test]
    fn more_work_takes_longer() {
        let plain = estimate("w3-unbatched-64", &[]);
        assert!(
            plain > 2.0 * 7.0 * 20.0,
            "seven pairs of twenty seconds: {plain}"
        );
        assert!(estimate("w3-unbatched-64", &["--tune-kafka"]) > plain + 150.0);
        assert!(estimate("w3-unbatched-64", &["--klamm-only"]) < plain / 1.5);
        assert!(estimate("w5-catch-up-1", &["--pairs", "1"]) > 2.0 * 130.0);
    }

    #[test]
    fn estimates_are_summed() {
        let text = words(&[("a".to_owned(), 60.0), ("b".to_owned(), 30.0)]);
        assert!(
            text.lines()
                .last()
                .expect("a sum")
                .ends_with("about 1.5 min"),
            "{text}"
        );
    }
}
