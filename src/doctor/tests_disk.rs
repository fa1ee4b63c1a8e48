//! Disks and file systems that were made up, each differing from a good one in what the case is about.

use klamm_os::disk::Space;
use klamm_os::survey::{DirectAccess, Mount, Survey, WriteCache};

use super::tests::{GIB, check, config, host};
use super::*;

/// A host whose data folder lies on a file system of this kind, with these options.
fn mounted(kind: &'static str, options: &'static str) -> impl Fn(&mut Survey) {
    move |survey| {
        survey.folder.mount = Ok(Mount {
            point: "/data".to_owned(),
            device: "8:0".to_owned(),
            kind: kind.to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
        });
    }
}

#[test]
fn file_systems_that_break_a_promise_are_problems_and_others_advice() {
    use State::{Advice, Good, Problem};
    let written = ["klamm.durability=written"];
    check(
        "file system",
        mounted("xfs", "rw"),
        &[],
        Good,
        &["xfs at /data"],
    );
    check(
        "file system",
        mounted("tmpfs", "rw"),
        &[],
        Problem,
        &["memory", "log.dirs="],
    );
    check(
        "file system",
        mounted("tmpfs", "rw"),
        &written,
        Advice,
        &["memory"],
    );
    for (kind, word) in [
        ("overlay", "docker run -v"),
        ("btrfs", "chattr +C /data/klamm"),
        ("zfs", "copies on write"),
        ("nfs4", "network"),
        ("fuse.sshfs", "network"),
        ("minix", "never run"),
    ] {
        check("file system", mounted(kind, "rw"), &[], Advice, &[word]);
    }
    check(
        "mount options",
        mounted("ext4", "rw,relatime"),
        &[],
        Good,
        &["relatime,rw"],
    );
    check(
        "mount options",
        mounted("ext4", "ro,noatime"),
        &[],
        Problem,
        &["remount,rw /data"],
    );
    check(
        "mount options",
        mounted("ext4", "rw,noatime,nobarrier"),
        &[],
        Problem,
        &["remount,barrier=1"],
    );
    check(
        "mount options",
        mounted("ext4", "rw,noatime,barrier=0"),
        &written,
        Advice,
        &["barriers"],
    );
    check(
        "mount options",
        mounted("ext4", "rw,noatime,data=journal"),
        &[],
        Advice,
        &["data=ordered"],
    );
    check(
        "mount options",
        mounted("ext4", "rw,noatime,sync"),
        &[],
        Advice,
        &["async"],
    );
    check(
        "mount options",
        mounted("ext4", "rw"),
        &[],
        Advice,
        &["remount,noatime"],
    );
    check("mount options", mounted("tmpfs", "rw"), &written, Good, &[]);
}

#[test]
fn disks_are_judged_by_what_a_flush_costs_and_what_fits() {
    use State::{Advice, Good, Problem, Unknown};
    let direct =
        |access: DirectAccess| move |survey: &mut Survey| survey.folder.direct = access.clone();
    check(
        "direct I/O",
        direct(DirectAccess::Refused),
        &[],
        Advice,
        &["page cache"],
    );
    check(
        "direct I/O",
        direct(DirectAccess::Works(Some(16_384))),
        &[],
        Problem,
        &["16384"],
    );
    check(
        "direct I/O",
        direct(DirectAccess::Works(None)),
        &[],
        Good,
        &[],
    );
    let untried = DirectAccess::Untried("not supported".to_owned());
    check(
        "direct I/O",
        direct(untried),
        &[],
        Unknown,
        &["not supported"],
    );
    let free = |free| {
        move |survey: &mut Survey| {
            survey.folder.space = Ok(Space {
                free,
                total: 10 * GIB,
            })
        }
    };
    check(
        "free space",
        free(60 << 20),
        &[],
        Problem,
        &["60 MiB of 10 GiB", "df -h /data/klamm"],
    );
    check("free space", free(700 << 20), &[], Advice, &["768 MiB"]);
    check("free space", free(GIB), &[], Good, &["1 GiB"]);
    let scheduler = |word: &'static str| {
        move |survey: &mut Survey| {
            survey.folder.disks[0].scheduler = Ok(word.to_owned());
        }
    };
    check(
        "disk scheduler",
        scheduler("bfq"),
        &[],
        Advice,
        &["bfq on sda", "/sys/block/sda/queue/scheduler"],
    );
    check(
        "disk scheduler",
        scheduler("mq-deadline"),
        &[],
        Good,
        &["mq-deadline on sda"],
    );
    let volatile = |survey: &mut Survey| survey.folder.disks[0].cache = Ok(WriteCache::Volatile);
    check(
        "disk write cache",
        volatile,
        &[],
        Advice,
        &["write back on sda", "only if"],
    );
    check(
        "disk write cache",
        volatile,
        &["klamm.durability=written"],
        Good,
        &[],
    );
    let none = |survey: &mut Survey| survey.folder.disks.clear();
    check("disk scheduler", none, &[], Unknown, &["ext4 at /data"]);
    check("disk write cache", none, &[], Unknown, &["ext4 at /data"]);
}

#[test]
fn folder_that_cannot_be_written_is_a_problem_with_a_cure_that_touches_nothing_else() {
    use State::{Good, Problem, Unknown};
    let folder = |is_there: bool, access: DirectAccess| {
        move |survey: &mut Survey| {
            survey.folder.is_there = is_there;
            survey.folder.present = if is_there { "/data/klamm" } else { "/data" }.into();
            survey.folder.direct = access;
        }
    };
    let works = DirectAccess::Works(None);
    let missing = folder(false, works);
    let words = ["/data/klamm is not there; /data can be written"];
    check("data folder", missing, &[], Good, &words);
    let refused = || DirectAccess::Unwritable("permission denied".to_owned());
    let cure = ["chown -R $(id -u) /data/klamm", "permission denied"];
    check("data folder", folder(true, refused()), &[], Problem, &cure);
    let cure = ["install -d -m 700 -o $(id -u) /data/klamm", "/data cannot"];
    check("data folder", folder(false, refused()), &[], Problem, &cure);
    check("direct I/O", folder(false, refused()), &[], Unknown, &[]);
    let file = folder(true, DirectAccess::NoFolder);
    check(
        "data folder",
        file,
        &[],
        Problem,
        &["no folder", "log.dirs="],
    );
    let untried = folder(true, DirectAccess::Untried("not supported".to_owned()));
    check("data folder", untried, &[], Unknown, &["not supported"]);
}

#[test]
fn write_ahead_files_that_are_there_need_no_more_room() {
    let mut survey = host();
    survey.folder.space = Ok(Space {
        free: GIB,
        total: 10 * GIB,
    });
    let config = config(&survey, &["klamm.wal.bytes=2147483648"]);
    let state = |wal_bytes_present| {
        let subject = Subject {
            survey: &survey,
            config: &config,
            folder: config.data_dir(),
            wal_bytes_present,
        };
        disk::space(subject).state
    };
    assert_eq!(state(0), State::Advice);
    assert_eq!(state(4 * GIB), State::Good);
}

#[test]
fn every_data_folder_is_told_by_its_name_and_only_the_first_needs_room_for_the_log() {
    let mut survey = host();
    survey.folder.space = Ok(Space {
        free: GIB,
        total: 10 * GIB,
    });
    let set = ["log.dirs=/data/klamm,/more", "klamm.wal.bytes=2147483648"];
    let config = config(&survey, &set);
    let of = |folder| {
        examine_folder(Subject {
            survey: &survey,
            config: &config,
            folder: Path::new(folder),
            wal_bytes_present: 0,
        })
    };
    let (first, other) = (of("/data/klamm"), of("/more"));
    let space = |found: &[Finding]| {
        found
            .iter()
            .find(|one| one.knob.name == "free space")
            .cloned()
    };
    let (first, other) = (space(&first).expect("told"), space(&other).expect("told"));
    assert_eq!((first.state, other.state), (State::Advice, State::Good));
    assert!(other.found.starts_with("/more: "), "{}", other.found);
}
