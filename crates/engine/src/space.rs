//! How much of the disk producers may still take: what is free beyond the reserve, less what the
//! write-ahead logs owe to segments, shared among the cores. Between two looks at the file system
//! every batch is charged against what the last one granted, so that no producer is faster.

use std::time::Duration;

use klamm_model::Instant;

/// What is kept for the broker itself at most, unless the configuration says otherwise.
const RESERVE_MAX: u64 = 256 << 20;

/// And which part of the file system at most.
const RESERVE_PART: u64 = 16;

/// Room that no machine fills between two looks, as a multiple of the reserve.
const PLENTY_RESERVES: u64 = 16;

/// With less room than that, no more than this is taken between two looks, or the core's part of
/// the reserve if that is more.
const LOOK_BYTES: u64 = 8 << 20;

/// A look that is older than this is not relied on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often producers who are refused make the core look.
const KNOCK_EVERY: Duration = Duration::from_millis(100);

/// Bytes of a file system of `total` bytes that are kept for the broker itself: what is configured, or
/// little of a small one.
#[must_use]
pub fn reserve_of(configured: Option<u64>, total: u64) -> u64 {
    configured.unwrap_or_else(|| RESERVE_MAX.min(total / RESERVE_PART))
}

/// What the host saw of the file system that holds the data folder, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// What the process may still write.
    pub free: u64,
    /// Size of the file system.
    pub total: u64,
    /// What the other cores owed to segments before `free` was asked for
    /// ([`Engine::owed_bytes`](crate::Engine::owed_bytes)).
    pub owed_elsewhere: u64,
}

/// Which of several file systems has the least room beyond its reserve: a core sees that one only,
/// so that producers are refused before any of them is full. None of none.
#[must_use]
pub fn tightest(seen: &[DiskSpace], configured: Option<u64>) -> Option<usize> {
    let room = |space: &DiskSpace| {
        let reserve = reserve_of(configured, space.total);
        i128::from(space.free) - i128::from(reserve)
    };
    let places = seen.iter().enumerate();
    let least = places.min_by_key(|(_, space)| room(space));
    least.map(|(place, _)| place)
}

/// How a core stands with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceState {
    /// Producers are refused until there is more room.
    pub refuses: bool,
    /// Free bytes at the last look.
    pub free: u64,
    /// Bytes of them that are kept for the broker itself.
    pub reserve: u64,
    /// There is so little room that none is to be taken before it is needed.
    pub is_scarce: bool,
}

/// What one core knows of the disk.
#[derive(Debug)]
pub(crate) struct SpaceWatch {
    shards: u64,
    /// `klamm.disk.reserve.bytes`.
    configured: Option<u64>,
    state: SpaceState,
    /// What this core might take after the last look.
    granted: u64,
    /// And what groups might take, who may have half of the reserve besides.
    granted_to_groups: u64,
    /// What it took since it asked for that.
    charged: u64,
    /// What it had taken when it asked the last time.
    charged_when_asked: u64,
    /// When more than this was taken, it looks again.
    look_after: u64,
    /// Bytes that lie in the write-ahead log and in no segment yet.
    owed: u64,
    owed_when_asked: u64,
    /// When it asked the last time.
    asked_at: Option<Instant>,
    is_looking: bool,
    /// A producer was refused since it asked, or the host wants to know.
    is_knocked: bool,
    /// The most that anybody wanted who was refused.
    wanted: u64,
}

impl SpaceWatch {
    /// Nothing is known, and everything is granted.
    pub(crate) const fn new(shards: u16, configured: Option<u64>) -> Self {
        Self {
            shards: if shards == 0 { 1 } else { shards as u64 },
            configured,
            state: SpaceState {
                refuses: false,
                free: 0,
                reserve: 0,
                is_scarce: false,
            },
            granted: u64::MAX,
            granted_to_groups: u64::MAX,
            charged: 0,
            charged_when_asked: 0,
            look_after: u64::MAX,
            owed: 0,
            owed_when_asked: 0,
            asked_at: None,
            is_looking: false,
            is_knocked: false,
            wanted: 0,
        }
    }

    pub(crate) const fn state(&self) -> SpaceState {
        self.state
    }

    pub(crate) const fn owed(&self) -> u64 {
        self.owed
    }

    /// True if this much may be taken without the reserve.
    pub(crate) const fn affords(&self, bytes: u64) -> bool {
        self.granted.saturating_sub(self.charged) >= bytes
    }

    /// True if what a group coordinator writes may be taken: without the half of the reserve that
    /// is for the metadata, for segments and for deletion alone.
    pub(crate) fn admits_groups(&mut self, bytes: u64) -> bool {
        if self.granted_to_groups.saturating_sub(self.charged) >= bytes {
            return true;
        }
        // There is less for producers still.
        self.refuse(bytes);
        false
    }

    /// True if a producer's batch may be taken. Once one is refused, all are, until a look finds
    /// room for it and some more.
    pub(crate) fn admits(&mut self, bytes: u64) -> bool {
        if !self.state.refuses && self.affords(bytes) {
            return true;
        }
        self.refuse(bytes);
        false
    }

    /// Somebody who wanted this much is refused, and all after him.
    pub(crate) fn refuse(&mut self, bytes: u64) {
        self.state.refuses = true;
        self.is_knocked = true;
        self.wanted = self.wanted.max(bytes);
    }

    /// This much is taken of the disk.
    pub(crate) const fn charge(&mut self, bytes: u64) {
        self.charged = self.charged.saturating_add(bytes);
    }

    /// This much will be taken by segments, and lies in the write-ahead log until then.
    pub(crate) const fn owe(&mut self, bytes: u64) {
        self.charge(bytes);
        self.owed += bytes;
    }

    /// This much of what was owed is in segments, or will never be.
    pub(crate) const fn settle(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_sub(bytes);
    }

    /// The housekeeping wants to know whether there is room again.
    pub(crate) const fn knock(&mut self) {
        self.is_knocked |= self.state.refuses;
    }

    /// True if the host is to look now. It does if the answer is yes.
    pub(crate) fn begins_look(&mut self, now: Instant) -> bool {
        let is_used = self.charged > 0 || self.is_knocked;
        if self.is_looking || !is_used || !self.is_due(now) {
            return false;
        }
        self.is_looking = true;
        self.is_knocked = false;
        self.asked_at = Some(now);
        self.charged_when_asked = self.charged;
        self.owed_when_asked = self.owed;
        true
    }

    fn is_due(&self, now: Instant) -> bool {
        let Some(asked_at) = self.asked_at else {
            return true;
        };
        let age = now.since(asked_at);
        if self.state.refuses {
            return age >= KNOCK_EVERY;
        }
        age >= LOOK_EVERY || self.charged >= self.look_after
    }

    /// What the host saw, asked or not; nothing if it could not look, and then nobody is refused.
    pub(crate) fn on_look(&mut self, seen: Option<DiskSpace>) {
        if !std::mem::replace(&mut self.is_looking, false) {
            self.charged_when_asked = self.charged;
            self.owed_when_asked = self.owed;
        }
        self.charged -= self.charged_when_asked;
        self.charged_when_asked = 0;
        let Some(seen) = seen else {
            self.granted = u64::MAX;
            self.granted_to_groups = u64::MAX;
            self.look_after = u64::MAX;
            self.state = SpaceState::default();
            self.wanted = 0;
            return;
        };
        let reserve = reserve_of(self.configured, seen.total);
        let owed = seen.owed_elsewhere.saturating_add(self.owed_when_asked);
        let unowed = seen.free.saturating_sub(owed);
        let room = unowed.saturating_sub(reserve);
        let own_reserve = reserve / self.shards;
        self.granted = room / self.shards;
        self.granted_to_groups = unowed.saturating_sub(reserve / 2) / self.shards;
        self.state.is_scarce = room < reserve.saturating_mul(PLENTY_RESERVES);
        let at_once = if self.state.is_scarce {
            self.granted.min(own_reserve.max(LOOK_BYTES))
        } else {
            self.granted
        };
        self.look_after = at_once / 2;
        self.state.free = seen.free;
        self.state.reserve = reserve;
        // Some more, so that it does not begin and end with every batch.
        if self.affords(self.wanted.max(own_reserve / 8)) {
            self.state.refuses = false;
            self.wanted = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    const fn at(millis: u64) -> Instant {
        Instant(1 + millis * 1_000_000)
    }

    const fn seen(free: u64, owed_elsewhere: u64) -> Option<DiskSpace> {
        Some(DiskSpace {
            free,
            total: 1600 * MIB,
            owed_elsewhere,
        })
    }

    /// A watch of one of four cores on a file system of which 100 MiB are kept.
    fn watch(free: u64) -> SpaceWatch {
        let mut watch = SpaceWatch::new(4, None);
        watch.on_look(seen(free, 0));
        watch
    }

    #[test]
    fn the_reserve_is_a_sixteenth_of_a_small_disk_and_256_mib_of_a_large_one() {
        assert_eq!(reserve_of(None, 96 * MIB), 6 * MIB);
        assert_eq!(reserve_of(None, 4096 * MIB), 256 * MIB);
        assert_eq!(reserve_of(None, u64::MAX), 256 * MIB);
        assert_eq!(reserve_of(Some(7), u64::MAX), 7, "unless it is configured");
    }

    #[test]
    fn of_several_disks_the_one_with_the_least_room_beyond_its_reserve_counts() {
        let disk = |free, total| DiskSpace {
            free,
            total,
            owed_elsewhere: 0,
        };
        let disks = [disk(300 * MIB, 100_000 * MIB), disk(90 * MIB, 160 * MIB)];
        assert_eq!(tightest(&disks, None), Some(0), "44 MiB, and 80 MiB");
        assert_eq!(tightest(&disks, Some(0)), Some(1));
        let over = [disk(20 * MIB, 1600 * MIB), disk(0, 160 * MIB)];
        assert_eq!(tightest(&over, None), Some(0), "80 MiB short, and 10 MiB");
        assert_eq!(tightest(&[], None), None);
    }

    #[test]
    fn cores_share_what_is_free_beyond_the_reserve_and_not_owed_to_segments() {
        let mut watch = watch(500 * MIB);
        assert!(watch.admits(100 * MIB));
        watch.owe(40 * MIB);
        assert!(watch.begins_look(at(0)));
        // What is taken while the host looks may be in what it saw, or not.
        watch.owe(2 * MIB);
        watch.on_look(seen(500 * MIB, 160 * MIB));
        assert!(watch.affords(48 * MIB), "(500 - 100 - 160 - 40) / 4 - 2");
        assert!(!watch.affords(48 * MIB + 1));
    }

    #[test]
    fn nobody_takes_more_between_two_looks_than_the_last_one_granted() {
        let mut watch = watch(180 * MIB);
        let mut taken = 0;
        while watch.admits(MIB) {
            watch.owe(MIB);
            taken += 1;
        }
        assert_eq!(taken, 20);
        assert!(watch.state().refuses);
        assert!(!watch.admits(1), "who wants less is not preferred");
    }

    #[test]
    fn it_looks_again_when_half_of_its_part_is_taken_or_the_look_is_old_and_not_otherwise() {
        let mut watch = watch(100 * MIB + 4 * 6 * MIB);
        assert!(!watch.begins_look(at(0)), "nothing was taken");
        watch.owe(1);
        assert!(watch.begins_look(at(0)));
        watch.on_look(seen(100 * MIB + 4 * 6 * MIB, 0));
        assert!(!watch.begins_look(at(5000)), "nothing was taken");
        watch.owe(1);
        assert!(watch.begins_look(at(5000)));
        assert!(!watch.begins_look(at(9000)), "one at a time");
        watch.on_look(seen(100 * MIB + 4 * 6 * MIB, 0));
        watch.owe(MIB);
        assert!(!watch.begins_look(at(5500)));
        watch.owe(2 * MIB);
        assert!(watch.begins_look(at(5500)), "half of six are taken");
    }

    #[test]
    fn with_little_room_it_looks_before_all_cores_together_can_take_the_reserve() {
        let mut watch = watch(1500 * MIB);
        watch.owe(1);
        assert!(watch.begins_look(at(0)));
        watch.on_look(seen(1500 * MIB, 0));
        watch.owe(13 * MIB);
        assert!(
            watch.begins_look(at(0)),
            "a quarter of the reserve is 25 MiB"
        );
    }

    #[test]
    fn producers_are_served_again_when_there_is_room_for_what_was_wanted() {
        let mut watch = watch(100 * MIB);
        assert!(!watch.admits(10 * MIB));
        assert!(watch.begins_look(at(0)));
        watch.on_look(seen(100 * MIB + 4 * 9 * MIB, 0));
        assert!(!watch.admits(1), "there is no room for ten yet");
        assert!(!watch.begins_look(at(50)), "it just looked");
        assert!(watch.begins_look(at(100)));
        watch.on_look(seen(100 * MIB + 4 * 10 * MIB, 0));
        assert!(!watch.state().refuses);
        assert!(watch.admits(10 * MIB));
    }

    #[test]
    fn an_idle_core_that_refuses_looks_because_the_housekeeping_asks() {
        let mut watch = watch(100 * MIB);
        assert!(!watch.admits(1));
        assert!(watch.begins_look(at(0)));
        watch.on_look(seen(0, 0));
        assert!(!watch.begins_look(at(2000)), "nobody asks");
        watch.knock();
        assert!(watch.begins_look(at(2000)));
    }

    #[test]
    fn groups_go_on_where_producers_are_refused_but_leave_half_of_the_reserve() {
        let mut watch = watch(90 * MIB);
        assert!(!watch.admits(1));
        assert!(watch.admits_groups(10 * MIB), "(90 - 50) / 4");
        assert!(!watch.admits_groups(10 * MIB + 1));
        watch.owe(4 * MIB);
        assert!(watch.admits_groups(6 * MIB));
        assert!(!watch.admits_groups(6 * MIB + 1), "between looks as well");
        assert!(watch.begins_look(at(0)), "who is refused has it look again");
        watch.on_look(seen(50 * MIB, 0));
        assert!(!watch.admits_groups(1));
        watch.on_look(seen(90 * MIB, 40 * MIB));
        assert!(
            !watch.admits_groups(1),
            "what is owed to segments is not there"
        );
    }

    #[test]
    fn who_cannot_look_refuses_nobody() {
        let mut watch = watch(0);
        assert!(!watch.admits(1));
        watch.on_look(None);
        assert!(watch.admits(u64::MAX) && watch.admits_groups(u64::MAX));
    }
}
