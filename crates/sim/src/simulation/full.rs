//! Worlds whose disk has a size, and in which other programs take and give back room: producers are
//! refused first, everything else goes on, and the node never ends for it (L10).

use super::Simulation;
use crate::check::{Violation, ensure};
use crate::random::Random;
use crate::world::node::LifeOptions;

/// A disk that fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct FullDisk {
    /// Other programs leave what is reserved, and what the write-ahead logs owe to segments.
    pub(super) is_polite: bool,
    size: usize,
    reserve: usize,
    wal_file_bytes: u64,
}

/// A disk on which nothing in these worlds finds an end.
const ENOUGH: usize = 1 << 30;

impl FullDisk {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            is_polite: random.chance(60),
            size: random.between(200, 500) * 1024,
            reserve: random.between(48, 64) * 1024,
            wal_file_bytes: 4096 + 1024 * random.between(3, 8) as u64,
        }
    }

    /// A larger one: groups take more of it at once.
    pub(super) const fn for_groups(self) -> Self {
        Self {
            size: self.size * 8,
            reserve: self.reserve * 8,
            wal_file_bytes: self.wal_file_bytes * 4,
            ..self
        }
    }

    /// What is not drawn anew for every life: administrators rarely change it.
    pub(super) const fn shape(&self, life: &mut LifeOptions) {
        life.disk_reserve = self.reserve as u64;
        life.wal_file_bytes = self.wal_file_bytes;
    }
}

impl Simulation {
    pub(super) fn size_disk(&mut self) {
        if let Some(full) = self.full {
            self.disk.resize(full.size);
        }
    }

    /// Other programs take room or give it back.
    pub(super) fn others_use_disk(&mut self) {
        let Some(full) = self.full else { return };
        if !self.failing.chance(2) {
            return;
        }
        if self.failing.chance(50) {
            self.disk.commit_names();
        }
        let (Some(node), room) = (&mut self.node, self.disk.room()) else {
            return;
        };
        self.disk.take(0);
        let most = room.free().unwrap_or(0);
        let least = if full.is_polite {
            full.reserve + node.owed_bytes() as usize
        } else {
            0
        };
        let taken = match self.failing.below(4) {
            0 => 0,
            1 => most / 2,
            _ => most.saturating_sub(least + self.failing.below(12 << 10)),
        };
        let taken = taken.min(most.saturating_sub(least));
        self.disk.take(taken);
        if full.is_polite {
            node.look(&self.disk);
        }
        self.trace
            .event(format_args!("others take {taken} of {most}"));
    }

    /// There is plenty of room from now on.
    pub(super) fn enlarge_disk(&mut self) {
        if self.full.is_some() {
            self.disk.take(0);
            self.disk.resize(ENOUGH);
        }
    }

    /// Others that took the last room give it back.
    pub(super) fn others_give_way(&mut self) {
        if self.full.is_some_and(|full| !full.is_polite) {
            self.disk.take(0);
        }
    }

    /// What a power cut brought back has its room again, and others have less.
    pub(super) fn yield_to_power_cut(&mut self, free_before: Option<usize>) {
        let (Some(before), Some(after)) = (free_before, self.disk.room().free()) else {
            return;
        };
        let taken = self.disk.taken();
        self.disk
            .take(taken.saturating_sub(before.saturating_sub(after)));
    }

    /// Producers leave the reserve, and what the logs owe to segments, but for a part that the
    /// broker has used itself.
    pub(super) fn check_reserve(&self) -> Result<(), Violation> {
        let (Some(full), Some(node)) = (self.full, &self.node) else {
            return Ok(());
        };
        let owed = node.owed_bytes() as usize;
        let free = self.disk.room().free().unwrap_or(usize::MAX);
        ensure!(
            "producers_leave_the_reserve",
            !full.is_polite || free >= owed + full.reserve / 4,
            "{free} bytes are free, {owed} are owed to segments, {} are reserved",
            full.reserve
        );
        Ok(())
    }

    /// While producers are refused, the metadata can be changed all the same.
    pub(super) fn check_metadata_goes_on(&mut self) -> Result<(), Violation> {
        let is_polite = self.full.is_some_and(|full| full.is_polite);
        let refuses = self.node().refuses_for_space();
        if !(is_polite && refuses) || self.disk.has_failed() {
            return Ok(());
        }
        let decided = |simulation: &mut Self| simulation.admin_call.is_none();
        let what = "a command is decided while producers are refused";
        self.wait_until(what, |simulation| {
            simulation.registered && decided(simulation)
        })?;
        for _ in 0..self.failing.between(1, 12) {
            self.ask_errand(false);
            self.wait_until(what, decided)?;
            self.stats.decided_while_full += u64::from(self.node().refuses_for_space());
        }
        Ok(())
    }
}
