//! What lies under the data folder, from the file system down to the disk.

use klamm_model::Durability;
use klamm_os::disk::BLOCK_BYTES;
use klamm_os::survey::{DirectAccess, Disk, Mount, WriteCache};
use klamm_shard::api::reserve_of;

use super::{Finding, Knob, State, Subject, bytes_text, knob};

/// Whether an acknowledgement promises to survive the loss of power.
fn flushes(subject: Subject<'_>) -> bool {
    subject.config.durability == Durability::Flushed
}

/// What a mount is called in a text.
fn shown(mount: &Mount) -> String {
    format!("{} at {}", mount.kind, mount.point)
}

pub(super) fn file_system(subject: Subject<'_>) -> Finding {
    const FILE_SYSTEM: Knob = knob("file system", "file-system");
    let expected = "ext4 or XFS";
    let mount = match &subject.survey.folder.mount {
        Err(unread) => return Finding::unread(FILE_SYSTEM, expected, unread),
        Ok(mount) => mount,
    };
    let finding = Finding::good(FILE_SYSTEM, shown(mount), expected);
    match mount.kind.as_str() {
        "ext4" | "xfs" => finding,
        "tmpfs" | "ramfs" if flushes(subject) => finding.but(
            State::Problem,
            "this is memory: klamm.durability=flushed promises that records survive the loss of \
             power, and here they cannot",
            ELSEWHERE,
        ),
        "tmpfs" | "ramfs" => finding.but(
            State::Advice,
            "this is memory: all records are lost when the machine starts again",
            ELSEWHERE,
        ),
        "overlay" => finding.but(
            State::Advice,
            "this is the container's own layer, which is slower than a volume, and deleted with the \
             container",
            "docker run -v klamm-data:/var/lib/klamm … klamm serve --set log.dirs=/var/lib/klamm",
        ),
        "btrfs" | "bcachefs" => finding.but(
            State::Advice,
            "it copies on write: the write-ahead files, which are reserved once and written over \
             again and again, scatter over the disk",
            format!(
                "chattr +C {}   # before the first start; then new files are written in place",
                subject.folder.display()
            ),
        ),
        "zfs" => finding.but(
            State::Advice,
            "it copies on write: the write-ahead files, which are reserved once and written over \
             again and again, are neither reserved nor in place there",
            ELSEWHERE,
        ),
        kind if kind.starts_with("fuse") || ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph"].contains(&kind) => {
            finding.but(
                State::Advice,
                "whether a flush reaches a disk is up to somebody else here, and each waits for the \
                 network; the broker was never run on it",
                ELSEWHERE,
            )
        }
        _ => finding.but(State::Advice, "the broker was never run on it", ELSEWHERE),
    }
}

pub(super) fn mount_options(subject: Subject<'_>) -> Finding {
    const MOUNT_OPTIONS: Knob = knob("mount options", "mount-options");
    let expected = "writable, with barriers, with noatime or relatime";
    let mount = match &subject.survey.folder.mount {
        Err(unread) => return Finding::unread(MOUNT_OPTIONS, expected, unread),
        Ok(mount) => mount,
    };
    let has = |option: &str| mount.options.iter().any(|found| found == option);
    let remount = |option: &str| format!("sudo mount -o remount,{option} {}", mount.point);
    let mut options = mount.options.clone();
    options.sort();
    options.dedup();
    let finding = Finding::good(MOUNT_OPTIONS, options.join(","), expected);
    if has("ro") {
        let why = "nothing can be written";
        return finding.but(State::Problem, why, remount("rw"));
    }
    if has("nobarrier") || has("barrier=0") {
        let state = if flushes(subject) {
            State::Problem
        } else {
            State::Advice
        };
        let why = "without barriers a flush does not reach the disk's own cache, so flushed records \
                   can be lost with the power, and the file system with them";
        return finding.but(state, why, remount("barrier=1"));
    }
    if has("data=journal") {
        let why = "the file system writes all data twice, and takes direct writes through the page \
                   cache";
        let fix = format!(
            "sudo umount {0} && sudo mount -o data=ordered {0}   # and in /etc/fstab",
            mount.point
        );
        return finding.but(State::Advice, why, fix);
    }
    if has("sync") {
        let why = "every write waits for the disk, not only those that are acknowledged";
        return finding.but(State::Advice, why, remount("async"));
    }
    if !has("noatime") && !has("relatime") && !is_memory(mount) {
        let why = "every read of a segment writes the time of it";
        return finding.but(State::Advice, why, remount("noatime"));
    }
    finding
}

fn is_memory(mount: &Mount) -> bool {
    ["tmpfs", "ramfs"].contains(&mount.kind.as_str())
}

pub(super) fn direct(subject: Subject<'_>) -> Finding {
    const DIRECT: Knob = knob("direct I/O", "direct-io");
    let folder = &subject.survey.folder;
    let expected = format!("works, aligned to at most {BLOCK_BYTES} bytes");
    let finding = |found: String| Finding::good(DIRECT, found, expected.clone());
    match &folder.direct {
        DirectAccess::Works(None) => finding("works; the alignment is not told".to_owned()),
        DirectAccess::Works(Some(bytes)) if *bytes <= BLOCK_BYTES => {
            finding(format!("works, aligned to {bytes} bytes"))
        }
        DirectAccess::Works(Some(bytes)) => finding(format!("works, aligned to {bytes} bytes")).but(
            State::Problem,
            "segments are written in blocks that are smaller; such writes fail, and a failed write \
             ends the process",
            "log.dirs=/var/lib/klamm   # a folder on a disk with ext4 or XFS and blocks of 4 KiB",
        ),
        DirectAccess::Refused => finding("refused".to_owned()).but(
            State::Advice,
            "segments are written and cold records read through the page cache then, where they push \
             out what consumers are about to read",
            ELSEWHERE,
        ),
        DirectAccess::Untried(why) => {
            Finding::unknown(DIRECT, expected, format!("a nameless file could not be made: {why}"))
        }
        DirectAccess::Unwritable(_) | DirectAccess::NoFolder => {
            Finding::unknown(DIRECT, expected, "no file can be made there")
        }
    }
}

/// A folder that may be set instead.
const ELSEWHERE: &str = "log.dirs=/var/lib/klamm   # a folder on a disk with ext4 or XFS";

pub(super) fn folder(subject: Subject<'_>) -> Finding {
    const FOLDER: Knob = knob("data folder", "file-system");
    let expected = "a folder that this user can write, or can make";
    let folder = &subject.survey.folder;
    let (wanted, present) = (subject.folder.display(), folder.present.display());
    let why = match &folder.direct {
        DirectAccess::Works(_) | DirectAccess::Refused if folder.is_there => {
            return Finding::good(FOLDER, format!("{present} can be written"), expected);
        }
        DirectAccess::Works(_) | DirectAccess::Refused => {
            let found = format!("{wanted} is not there; {present} can be written");
            return Finding::good(FOLDER, found, expected);
        }
        DirectAccess::Untried(why) => return Finding::unknown(FOLDER, expected, why),
        DirectAccess::NoFolder => {
            let found = format!("{present} is no folder");
            let why = "the broker keeps all its files below it";
            return Finding::good(FOLDER, found, expected).but(State::Problem, why, ELSEWHERE);
        }
        DirectAccess::Unwritable(why) => why,
    };
    let fix = if folder.is_there {
        format!("sudo chown -R $(id -u) {wanted}")
    } else {
        format!("sudo install -d -m 700 -o $(id -u) {wanted}")
    };
    let found = format!("{present} cannot be written: {why}");
    let why = "the broker has to make files there";
    Finding::good(FOLDER, found, expected).but(State::Problem, why, fix)
}

pub(super) fn space(subject: Subject<'_>) -> Finding {
    const SPACE: Knob = knob("free space", "free-space");
    let shards = &subject.config.shards;
    let present = subject.wal_bytes_present;
    let (first, all) = match subject.has_log() {
        true => (
            shards.wal_file_bytes.saturating_mul(shards.count as u64),
            subject.log_bytes_max(),
        ),
        false => (0, 0),
    };
    let first = first.saturating_sub(present);
    let all = all.saturating_sub(present);
    let expected = |reserve| {
        format!(
            "{} that producers may not fill, and {} to grow the write-ahead logs, beside what the \
             segments need",
            bytes_text(reserve),
            bytes_text(all)
        )
    };
    let configured = shards.disk_reserve_bytes;
    let space = match &subject.survey.folder.space {
        Err(unread) => {
            let expected = expected(reserve_of(configured, u64::MAX));
            return Finding::unread(SPACE, expected, unread);
        }
        Ok(space) => space,
    };
    let reserve = reserve_of(configured, space.total);
    let found = format!("{} of {}", bytes_text(space.free), bytes_text(space.total));
    let finding = Finding::good(SPACE, found, expected(reserve));
    let folder = subject.folder.display();
    let look = format!("df -h {folder}; du -h --max-depth=1 {folder} | sort -h");
    if space.free < reserve.saturating_add(first) {
        let why = "producers are refused: they may not fill what klamm.disk.reserve.bytes keeps for \
                   metadata, checkpoints and deletion, and beside it there is no room for a first \
                   write-ahead file of each shard";
        return finding.but(State::Problem, why, look);
    }
    if space.free < reserve.saturating_add(all) {
        let why = "the write-ahead logs may become that large under load; with less room they use \
                   the same files again sooner, and producers wait for that";
        return finding.but(State::Advice, why, look);
    }
    finding
}

/// What all disks say, each with its name.
fn by_disk<'a>(disks: &'a [Disk], word: impl Fn(&'a Disk) -> &'a str) -> String {
    let words = disks
        .iter()
        .map(|disk| format!("{} on {}", word(disk), disk.name));
    words.collect::<Vec<_>>().join(", ")
}

/// Why nothing is known of a disk.
fn no_disk(subject: Subject<'_>) -> String {
    match &subject.survey.folder.mount {
        Ok(mount) => format!("{} has no disk that the kernel shows", shown(mount)),
        Err(unread) => unread.to_string(),
    }
}

pub(super) fn scheduler(subject: Subject<'_>) -> Finding {
    const SCHEDULER: Knob = knob("disk scheduler", "disk-scheduler");
    let expected = "none, mq-deadline or kyber";
    let disks = &subject.survey.folder.disks;
    if disks.is_empty() {
        return Finding::unknown(SCHEDULER, expected, no_disk(subject));
    }
    if let Some(unread) = disks.iter().find_map(|disk| disk.scheduler.as_ref().err()) {
        return Finding::unread(SCHEDULER, expected, unread);
    }
    let word = |disk: &Disk| disk.scheduler.clone().unwrap_or_default();
    let found: Vec<_> = disks
        .iter()
        .map(|disk| format!("{} on {}", word(disk), disk.name))
        .collect();
    let finding = Finding::good(SCHEDULER, found.join(", "), expected);
    let Some(slow) = disks.iter().find(|disk| word(disk) == "bfq") else {
        return finding;
    };
    finding.but(
        State::Advice,
        "bfq shares a disk fairly between programs, which makes a flush wait for its turn",
        format!(
            "echo none | sudo tee /sys/block/{}/queue/scheduler",
            slow.name
        ),
    )
}

pub(super) fn write_cache(subject: Subject<'_>) -> Finding {
    const WRITE_CACHE: Knob = knob("disk write cache", "disk-write-cache");
    let expected = "none, or one that survives the loss of power";
    let disks = &subject.survey.folder.disks;
    if disks.is_empty() {
        return Finding::unknown(WRITE_CACHE, expected, no_disk(subject));
    }
    if let Some(unread) = disks.iter().find_map(|disk| disk.cache.as_ref().err()) {
        return Finding::unread(WRITE_CACHE, expected, unread);
    }
    let volatile = |disk: &&Disk| disk.cache == Ok(WriteCache::Volatile);
    let word = |disk: &Disk| {
        if volatile(&disk) {
            "write back"
        } else {
            "write through"
        }
    };
    let finding = Finding::good(WRITE_CACHE, by_disk(disks, word), expected);
    match disks.iter().find(volatile) {
        Some(disk) if flushes(subject) => finding.but(
            State::Advice,
            "each flush goes through to the disk, and its cost is most of the time that an \
             acknowledgement takes; what was flushed is safe only if the disk does what it is told",
            format!(
                "echo 'write through' | sudo tee /sys/block/{}/queue/write_cache   # only if this \
                 cache is known to survive the loss of power",
                disk.name
            ),
        ),
        _ => finding,
    }
}
