//! Bits that flip after they were flushed (L3): found, named, never served, never cut in silence.

use klamm_sim::simulation::{Damage, RunOptions, RunStats, run};

const SEEDS: u64 = 150;

fn run_seeds(damage: Damage) -> RunStats {
    run_these(damage, 0..SEEDS)
}

fn run_these(damage: Damage, seeds: impl IntoIterator<Item = u64>) -> RunStats {
    let options = RunOptions {
        damage: Some(damage),
        ..RunOptions::default()
    };
    let mut total = RunStats::default();
    let mut broken = Vec::new();
    for seed in seeds {
        let outcome = run(seed, options);
        total.add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            broken.push(format!("seed {seed}, {damage:?}: {violation}"));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    total
}

#[test]
fn a_damaged_segment_is_refused_where_it_is_damaged_and_nowhere_else() {
    let total = run_seeds(Damage::Segment);
    assert!(total.damaged > 60, "{total:?}");
    assert!(total.damage_refused > 60, "{total:?}");
}

#[test]
fn a_batch_whose_base_offset_is_damaged_is_not_served_at_another() {
    let total = run_seeds(Damage::BaseOffset);
    assert!(total.damaged > 60, "{total:?}");
    assert!(total.damage_refused > 60, "{total:?}");
}

#[test]
fn damage_in_a_write_ahead_log_is_told_and_costs_one_batch() {
    let total = run_seeds(Damage::Wal);
    assert!(total.damaged > 60, "{total:?}");
    assert!(total.damage_told > 15, "{total:?}");
}

#[test]
fn a_write_ahead_file_whose_head_is_damaged_is_recognised_by_its_entries() {
    let total = run_seeds(Damage::WalHead);
    assert!(total.damaged > 60, "{total:?}");
    assert!(total.damage_told > 60, "{total:?}");
    assert_eq!(total.damage_refused, 0, "{total:?}");
}

#[test]
fn a_checkpoint_that_cannot_be_read_costs_no_record() {
    let total = run_seeds(Damage::Checkpoint);
    assert!(total.damaged > 120, "{total:?}");
    assert_eq!(total.damage_told, total.damaged, "{total:?}");
}

#[test]
fn indexes_that_are_wrong_cost_no_answer_and_are_made_anew() {
    let total = run_seeds(Damage::Index);
    assert!(total.damaged > 300, "{total:?}");
    assert!(total.damage_told > 100, "{total:?}");
}

#[test]
fn segments_that_lost_their_names_are_made_anew_from_the_write_ahead_log() {
    let total = run_these(Damage::Checkpoint, [1373, 2750]);
    assert_eq!(total.damage_told, 2, "{total:?}");
}

#[test]
fn worlds_without_a_checkpoint_that_once_broke_an_invariant_hold_it_now() {
    let once_broken = [1014, 1623, 1758, 1820, 4778, 6769, 7109];
    let total = run_these(Damage::Checkpoint, once_broken);
    assert_eq!(total.damage_told, 7, "{total:?}");
}

#[test]
fn worlds_with_a_rotten_base_offset_that_once_broke_an_invariant_hold_it_now() {
    let total = run_these(Damage::BaseOffset, [788, 3196]);
    assert_eq!(total.damaged, 2, "{total:?}");
}
