//! The scenarios that come with the program, so that it needs no folder beside it.

use std::fmt::Write as _;

use crate::written::Scenario;

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each scenario.
        pub const SCENARIOS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),*];
    };
}

scenarios![
    "1-topic-1-partition-1kb",
    "1-topic-100-partitions-1kb-4p-4c-1000k",
    "1-topic-100-partitions-1kb-4p-4c-200k",
    "1-topic-100-partitions-1kb-4p-4c-200k-backlog",
    "1-topic-100-partitions-1kb-4p-4c-500k",
    "1-topic-10000-partitions-1kb-4p-4c-200k",
    "1-topic-16-partition-100b",
    "1-topic-16-partitions-1kb",
    "100-topics-1-partitions-1kb",
    "max-rate-1-topic-16-partitions-1kb",
    "w1-keyed",
    "w1-one-batch",
    "w1-small-batched",
    "w12-gzip",
    "w12-lz4",
    "w12-snappy",
    "w12-zstd",
    "w14-create-many",
    "w14-create-one",
    "w14-metadata-all",
    "w14-metadata-all-10k",
    "w14-metadata-one",
    "w14-metadata-one-10k",
    "w2-huge-records",
    "w2-large",
    "w3-unbatched-1",
    "w3-unbatched-1000",
    "w3-unbatched-64",
    "w3-unbatched-pipelined",
    "w4-fetch-16kib",
    "w4-fetch-1mib",
    "w4-tail-16kib-1",
    "w4-tail-16kib-32",
    "w4-tail-16kib-8",
    "w4-tail-1mib-1",
    "w4-tail-1mib-32",
    "w4-tail-1mib-8",
    "w4-tail-256kib-1",
    "w4-tail-256kib-32",
    "w4-tail-256kib-8",
    "w5-catch-up-1",
    "w5-catch-up-4",
    "w5b-catch-up-1",
    "w5b-catch-up-4",
    "w6-latency-10k",
    "w6-latency-1k",
    "w6-latency-50k",
    "w6-latency-keyed",
    "w7-closed-10k",
    "w7-closed-1k",
    "w7-closed-50k",
    "w7-partitions-10k",
    "w7-partitions-1k",
    "w7-partitions-50k",
    "w8-idle",
    "w8-reconnect",
    "w8-trickle",
    "w9-classic-crash",
    "w9-classic-join",
    "w9-classic-leave",
    "w9-consumer-crash",
    "w9-consumer-join",
    "w9-consumer-leave",
    "w9-consumer-partitions",
];

/// The text of the scenario with this name.
#[must_use]
pub fn text_of(name: &str) -> Option<&'static str> {
    let mut found = SCENARIOS.iter().filter(|(other, _)| *other == name);
    found.next().map(|(_, text)| *text)
}

/// All scenarios for people.
#[must_use]
pub fn table() -> String {
    let mut text = String::new();
    for (name, scenario) in SCENARIOS {
        let about = match Scenario::parse(name, scenario) {
            Ok(scenario) => format!("{:<4} {}", scenario.name, scenario.about),
            Err(problem) => problem.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<40} {about}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_makes_a_workload() {
        for (name, text) in SCENARIOS {
            let scenario = Scenario::parse(name, text).expect(name);
            scenario.workload.check(scenario.mode).expect(name);
        }
    }

    #[test]
    fn catalog_holds_the_files_of_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let entries = std::fs::read_dir(folder).expect("the folder");
        let mut files: Vec<String> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| path.file_stem().expect("a name").display().to_string())
            .collect();
        files.sort();
        let listed: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, listed, "the list is in the order of names");
    }
}
