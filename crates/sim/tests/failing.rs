//! Disks that refuse a write or flush (L6): the first error ends the life, nothing that was
//! acknowledged is lost, and the next life believes nothing that the failed flush would have kept.

use klamm_sim::simulation::{RunOptions, RunStats, run};

#[test]
fn a_life_ends_at_the_first_error_of_its_disk_and_the_next_one_finds_what_was_flushed() {
    let options = RunOptions {
        disk_fails: true,
        ..RunOptions::default()
    };
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for seed in 0..400 {
        let outcome = run(seed, options);
        total.add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            broken.push(format!(
                "cargo run -p klamm-sim -- --seed {seed} --disk-fails --trace  # {violation}"
            ));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    // A simulation that reaches nothing proves nothing.
    for (what, count, least) in [
        ("lives that the disk ended", total.lives_failed, 300),
        ("boots that the disk ended", total.boots_failed, 100),
        ("failed writes", total.disk.writes_failed, 150),
        ("failed flushes", total.disk.flushes_failed, 250),
        (
            "sectors that a failed flush left in the cache only",
            total.disk.sectors_forsaken,
            300,
        ),
        (
            "acknowledgements that survive power cuts",
            total.acknowledged_durable,
            2_000,
        ),
    ] {
        assert!(count >= least, "only {count} {what}, {least} expected");
    }
}
