//! Disks that fill up (L10): producers are refused first and served again when there is room, the
//! metadata can be changed meanwhile, nothing acknowledged is lost, and no life ends for it.

use klamm_sim::simulation::{RunOptions, RunStats, run};

#[test]
fn a_full_disk_refuses_producers_and_nobody_else_and_ends_no_life() {
    let options = RunOptions {
        disk_full: true,
        ..RunOptions::default()
    };
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for seed in 0..400 {
        let outcome = run(seed, options);
        total.add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            broken.push(format!(
                "cargo run -p klamm-sim -- --seed {seed} --disk-full --trace  # {violation}"
            ));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    // A simulation that reaches nothing proves nothing.
    for (what, count, least) in [
        ("refused batches", total.refused_for_space, 2_000),
        (
            "commands decided while producers were refused",
            total.decided_while_full,
            200,
        ),
        (
            "writes that found no room",
            total.disk.writes_without_room,
            1_000,
        ),
        ("boots that found no room", total.boots_full, 20),
        (
            "acknowledgements that survive power cuts",
            total.acknowledged_durable,
            2_000,
        ),
    ] {
        assert!(count >= least, "only {count} {what}, {least} expected");
    }
}
