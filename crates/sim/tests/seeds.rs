//! Worlds by the hundred. Each is one seed; a failure prints the command that runs it again.

use klamm_sim::simulation::{RunOptions, RunStats, run};

/// Runs worlds and fails with all that broke.
fn run_seeds(seeds: impl Iterator<Item = u64>) -> RunStats {
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for seed in seeds {
        let outcome = run(seed, RunOptions::default());
        total.add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            broken.push(format!(
                "cargo run -p klamm-sim -- --seed {seed} --trace  # {violation}"
            ));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    total
}

#[test]
fn every_invariant_holds_in_hundreds_of_worlds() {
    let total = run_seeds(0..600);
    // A simulation that reaches nothing proves nothing.
    for (what, count, least) in [
        ("lives", total.lives, 2000),
        ("power cuts", total.disk.power_cuts, 1500),
        ("boots during which the power went", total.boots_cut, 300),
        ("kills", total.kills, 200),
        ("clean stops", total.clean_stops, 500),
        ("acknowledgements", total.acknowledged, 20_000),
        (
            "acknowledgements that survive power cuts",
            total.acknowledged_durable,
            10_000,
        ),
        ("batches lawfully lost", total.lawfully_lost, 500),
        ("batches replayed", total.replayed, 10_000),
        ("reads from segments", total.cold_reads, 2_000),
        ("checkpoints", total.checkpoints, 1_000),
        ("compactions", total.metadata_compactions, 300),
        ("topics deleted", total.topics_deleted, 200),
        ("sectors lost", total.disk.sectors_lost, 2_000),
        ("sectors garbled", total.disk.sectors_garbled, 100),
        ("names lost", total.disk.names_lost, 500),
    ] {
        assert!(count >= least, "only {count} {what}, {least} expected");
    }
}

#[test]
fn worlds_that_once_broke_an_invariant_hold_it_now() {
    let once_broken = [
        0, 3, 4, 11, 12, 17, 18, 20, 36, 44, 59, 60, 61, 81, 113, 128, 140, 157, 195, 450, 642,
        703, 713, 719, 1084, 1141, 1302, 1964, 101_087, 102_744, 103_685,
    ];
    run_seeds(once_broken.into_iter());
}

#[test]
fn starts_of_logs_that_clients_move_stay_moved_in_hundreds_of_worlds() {
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for disk_fails in [false, true] {
        for seed in 0..300 {
            let options = RunOptions {
                trims: true,
                disk_fails,
                ..RunOptions::default()
            };
            let outcome = run(seed, options);
            total.add(&outcome.stats);
            if let Some(violation) = outcome.violation {
                let fails = if disk_fails { " --disk-fails" } else { "" };
                broken.push(format!(
                    "cargo run -p klamm-sim -- --seed {seed}{fails} --trims --trace  # {violation}"
                ));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    for (what, count, least) in [
        ("trims", total.trims, 2000),
        ("segments removed", total.segments_removed, 200),
        ("power cuts", total.disk.power_cuts, 1000),
        ("acknowledgements", total.acknowledged, 10_000),
        ("reads from segments", total.cold_reads, 1000),
    ] {
        assert!(count >= least, "only {count} {what}, {least} expected");
    }
}

#[test]
fn what_retention_takes_stays_gone_and_nothing_else_goes_in_hundreds_of_worlds() {
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for disk_fails in [false, true] {
        for seed in 0..300 {
            let options = RunOptions {
                retention: true,
                trims: seed % 3 == 0,
                disk_fails,
                ..RunOptions::default()
            };
            let outcome = run(seed, options);
            total.add(&outcome.stats);
            if let Some(violation) = outcome.violation {
                broken.push(format!("seed {seed}, {options:?}: {violation}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    for (what, count, least) in [
        ("segments removed", total.segments_removed, 800),
        ("power cuts", total.disk.power_cuts, 1000),
        ("acknowledgements", total.acknowledged, 10_000),
    ] {
        assert!(count >= least, "only {count} {what}, {least} expected");
    }
}

#[test]
fn compaction_keeps_each_keys_latest_record_in_hundreds_of_worlds() {
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for seed in 0..600 {
        let options = RunOptions {
            compaction: true,
            trims: seed % 5 == 1,
            retention: seed % 5 == 2,
            disk_fails: seed % 3 == 1,
            disk_full: seed % 12 == 0,
            ..RunOptions::default()
        };
        let outcome = run(seed, options);
        total.add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            broken.push(format!("seed {seed}, {options:?}: {violation}"));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    for (what, count, least) in [
        ("passes", total.compactions, 500),
        ("segments replaced", total.segments_compacted, 1000),
        ("records removed", total.records_compacted, 2000),
        ("power cuts", total.disk.power_cuts, 1000),
        ("acknowledgements", total.acknowledged, 10_000),
    ] {
        assert!(count >= least, "only {count} {what}, {least} expected");
    }
}

#[test]
fn the_same_seed_makes_the_same_world() {
    for seed in 0..40 {
        let options = RunOptions {
            keep_lines: true,
            ..RunOptions::default()
        };
        let (first, second) = (run(seed, options), run(seed, options));
        assert_eq!(first.trace.lines(), second.trace.lines(), "seed {seed}");
        assert_eq!(first.trace.hash(), second.trace.hash(), "seed {seed}");
        assert_eq!(first.stats, second.stats, "seed {seed}");
    }
    let other = run(1, RunOptions::default()).trace.hash();
    assert_ne!(run(0, RunOptions::default()).trace.hash(), other);
}
