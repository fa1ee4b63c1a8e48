//! Partitions whose files nobody may touch for a while, as if they were moved: asked for again and
//! again, and proved.

use klamm_model::TopicPartition;

use super::node::SimNode;
use super::work::Work;

/// A partition of so many portions has its files held ...
const SPILLS_TO_A_HOLD: usize = 7;

/// ... for fewer steps than this.
const HELD_STEPS_MAX: usize = 9;

/// What was held in this life.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// Partitions whose files were held.
    held: usize,
    /// Portions that were handed out.
    spills: usize,
}

impl SimNode {
    /// The engine says that nobody touches the files of a partition, or that it is gone.
    pub(super) fn hold(&mut self, partition: TopicPartition, is_here: bool) -> Option<Work> {
        if !is_here {
            // Nothing is held of what is gone.
            return None;
        }
        // The engine believes that what is reported is done.
        let plant = self.options.plant;
        let mut works = self.works.iter().map(|(_, work)| work);
        let user = works
            .find(|work| work.touches(partition) && !work.is_reported_early(plant))
            .map(Work::kind);
        assert_eq!(user, None, "{partition} is held while its files are used");
        self.holding.held += 1;
        let steps = 1 + self.holding.held % HELD_STEPS_MAX;
        Some(Work::Hold { partition, steps })
    }

    /// Asks for the files of the partition that a portion is of, once in a while.
    pub(super) fn hold_some(&mut self, shard: u16, work: &Work) {
        let mut holds = self.works.iter().filter_map(|(_, work)| match work {
            Work::Hold { partition, .. } => Some(*partition),
            _ => None,
        });
        let broken = holds.find(|&partition| work.touches(partition));
        assert_eq!(broken, None, "a {} where files are held", work.kind());
        let Work::Spill { spill, .. } = work else {
            return;
        };
        self.holding.spills += 1;
        if self.holding.spills.is_multiple_of(SPILLS_TO_A_HOLD) {
            let core = &mut self.cores[usize::from(shard)];
            core.engine.hold_files(spill.partition);
            core.work = true;
        }
    }
}
