//! Worlds with groups (G2, G3, G4, G6): consumers of both protocols join, commit, die and come back
//! while the node crashes, its disk fails or fills up, its log is compacted and its cores are others
//! in every life.

use klamm_sim::simulation::{RunOptions, RunStats, run};

#[test]
fn committed_offsets_stay_and_groups_are_what_their_log_says_in_hundreds_of_worlds() {
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for seed in 0..300 {
        let options = RunOptions {
            groups: true,
            compaction: seed % 3 == 1,
            disk_fails: seed % 4 == 1,
            disk_full: seed % 4 == 3,
            ..RunOptions::default()
        };
        let outcome = run(seed, options);
        total.add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            broken.push(format!("seed {seed}, {options:?}: {violation}"));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    // A simulation that reaches nothing proves nothing.
    for (what, count, least) in [
        ("committed offsets", total.offsets_committed, 2_000),
        ("committed offsets seen", total.offsets_seen, 5_000),
        ("loads that are judged", total.coordinators_loaded, 1_000),
        (
            "states held against the log",
            total.coordinators_replayed,
            500,
        ),
        ("passes of compaction", total.compactions, 200),
        ("power cuts", total.disk.power_cuts, 500),
        ("topics deleted", total.topics_deleted, 50),
    ] {
        assert!(count >= least, "only {count} {what}, {least} expected");
    }
}
