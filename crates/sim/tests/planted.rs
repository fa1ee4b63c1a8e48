//! Faults that are planted must be found, each within some number of worlds: the measure of the
//! simulation itself.

use klamm_sim::faults::Plant;
use klamm_sim::simulation::{RunOptions, run};

/// Within 100 worlds with this fault, one of these invariants breaks.
fn is_found(plant: Plant, invariants: &[&str]) {
    let options = RunOptions {
        plant: Some(plant),
        disk_fails: plant == Plant::GoesOnAfterFailedFlush,
        disk_full: matches!(plant, Plant::WantOfRoomIgnored | Plant::FreeSpaceOverstated),
        compaction: matches!(
            plant,
            Plant::CompactionForgetsRecord | Plant::SwapNotFlushed | Plant::CompactedNotFlushed
        ),
        ..RunOptions::default()
    };
    let mut violations = (0..100).filter_map(|seed| run(seed, options).violation);
    let found = violations.any(|violation| invariants.contains(&violation.invariant));
    assert!(found, "{} was not found", plant.name());
}

const LOST: &str = "acked_is_never_lost";
const READS: &str = "reads_return_exactly_what_was_appended";
const RECOVERED: &str = "recovered_log_is_the_flushed_prefix_plus_a_valid_tail";

#[test]
fn a_skipped_flush_is_found() {
    is_found(Plant::FlushSkipped, &[LOST]);
}

#[test]
fn an_acknowledgement_before_its_flush_is_found() {
    is_found(Plant::FlushReportedEarly, &[LOST]);
}

#[test]
fn going_on_after_a_failed_flush_is_found() {
    is_found(
        Plant::GoesOnAfterFailedFlush,
        &[
            LOST,
            "a_node_starts_on_whatever_a_crash_left",
            "metadata_replay_equals_state",
        ],
    );
}

#[test]
fn a_write_without_room_that_is_taken_for_done_is_found() {
    is_found(
        Plant::WantOfRoomIgnored,
        &[
            LOST,
            READS,
            RECOVERED,
            "a_node_starts_on_whatever_a_crash_left",
        ],
    );
}

#[test]
fn producers_that_fill_the_reserve_are_found() {
    is_found(
        Plant::FreeSpaceOverstated,
        &[
            "producers_leave_the_reserve",
            "a_start_finds_the_room_that_is_kept_for_it",
        ],
    );
}

#[test]
fn a_torn_tail_that_is_taken_for_whole_is_found() {
    is_found(Plant::TornTailAccepted, &[READS, RECOVERED]);
}

#[test]
fn a_wrong_segment_boundary_is_found() {
    is_found(Plant::SegmentBoundaryMoved, &[RECOVERED]);
}

#[test]
fn an_index_that_is_off_by_one_is_found() {
    is_found(Plant::IndexOffByOne, &["indexes_equal_their_rebuild"]);
}

#[test]
fn a_spill_that_is_reported_before_it_is_done_is_found() {
    is_found(Plant::SpillReportedEarly, &[READS, RECOVERED]);
}

#[test]
fn a_missing_flush_of_a_folder_is_found() {
    is_found(
        Plant::FolderFlushSkipped,
        &[RECOVERED, "a_node_starts_on_whatever_a_crash_left"],
    );
}

#[test]
fn a_checkpoint_that_is_reported_before_it_is_saved_is_found() {
    is_found(
        Plant::CheckpointReportedEarly,
        &[LOST, "a_clean_stop_leaves_nothing_to_replay"],
    );
}

#[test]
fn a_batch_that_is_left_out_of_a_read_is_found() {
    is_found(Plant::ColdReadSkipsBatch, &[READS]);
}

#[test]
fn a_list_of_leader_epochs_that_stays_old_is_found() {
    is_found(
        Plant::LeaderEpochsForgotten,
        &["leader_epochs_only_grow_and_stand_in_the_log"],
    );
}

#[test]
fn a_small_file_that_is_put_in_place_before_it_is_durable_is_found() {
    is_found(
        Plant::SmallFileFlushSkipped,
        &[
            LOST,
            RECOVERED,
            "a_node_starts_on_whatever_a_crash_left",
            "leader_epochs_only_grow_and_stand_in_the_log",
        ],
    );
}

const COMPACTED: &str = "of_each_key_the_latest_record_stays";

#[test]
fn a_record_that_compaction_should_have_kept_is_found() {
    is_found(Plant::CompactionForgetsRecord, &[COMPACTED]);
}

#[test]
fn a_compacted_segment_that_was_not_flushed_is_found() {
    let starts = "a_node_starts_on_whatever_a_crash_left";
    is_found(Plant::CompactedNotFlushed, &[COMPACTED, starts]);
}

#[test]
fn a_swap_that_was_not_made_durable_is_found() {
    let starts = "a_node_starts_on_whatever_a_crash_left";
    is_found(Plant::SwapNotFlushed, &[COMPACTED, starts]);
}
