//! Hosts that were made up, as trees of files.

use std::fs;
use std::os::unix::fs::symlink;

use super::cores::interrupts;
use super::*;

/// A tree with these files.
fn made_up(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let root = tempfile::tempdir().unwrap();
    for (place, text) in files {
        let path = root.path().join(place.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tree = Tree::below(root.path());
    (root, tree)
}

fn is_absent<T: std::fmt::Debug>(reading: &Reading<T>) -> bool {
    matches!(reading, Err(Unread::Absent { .. }))
}

#[test]
fn interrupts_of_devices_are_counted_for_each_core_and_say_where_they_go() {
    let table = "           CPU0       CPU2\n \
        24:          1         40 PCI-MSIX-0000:00:02.0   1-edge      nvme0q1\n \
        25:          0          0\n\
        LOC:   11562263    8239754   Local timer interrupts\n\
        ERR:          0\n";
    let (_root, tree) = made_up(&[
        ("/proc/interrupts", table),
        ("/proc/irq/24/effective_affinity_list", "2\n"),
        ("/proc/irq/24/smp_affinity_list", "0-2\n"),
        ("/proc/irq/25/effective_affinity_list", "\n"),
        ("/proc/irq/25/smp_affinity_list", "0-2\n"),
    ]);
    let found = interrupts(&tree).unwrap();
    let interrupt = |number, device: &str, taken: [u64; 2], goes_to: &[usize]| Interrupt {
        number,
        device: device.to_owned(),
        taken: [0, 2].into_iter().zip(taken).collect(),
        goes_to: Ok(goes_to.to_vec()),
    };
    assert_eq!(
        found,
        [
            interrupt(24, "nvme0q1", [1, 40], &[2]),
            interrupt(25, "unknown", [0, 0], &[0, 1, 2]),
        ]
    );
}

#[test]
fn cores_are_read_with_siblings_governors_and_nodes() {
    let cpu = "/sys/devices/system/cpu";
    let node = "/sys/devices/system/node";
    let (_root, tree) = made_up(&[
        (&format!("{cpu}/online"), "0-3\n"),
        (&format!("{cpu}/isolated"), "\n"),
        (
            &format!("{cpu}/cpu1/topology/thread_siblings_list"),
            "1,3\n",
        ),
        (
            &format!("{cpu}/cpu1/cpufreq/scaling_governor"),
            "powersave\n",
        ),
        (&format!("{node}/node0/cpulist"), "0-1\n"),
        (&format!("{node}/node10/cpulist"), "2-3\n"),
        (&format!("{node}/online"), "0,10\n"),
    ]);
    let cores = Cores::read(&tree, &[0, 1]);
    assert_eq!(cores.online, Ok(vec![0, 1, 2, 3]));
    assert_eq!(cores.isolated, Ok(vec![]));
    assert_eq!(cores.nodes, Ok(vec![vec![0, 1], vec![2, 3]]));
    assert!(is_absent(&cores.each[0].siblings) && is_absent(&cores.each[0].governor));
    assert_eq!(cores.each[1].siblings, Ok(vec![1, 3]));
    assert_eq!(cores.each[1].governor, Ok("powersave".to_owned()));
}

#[test]
fn memory_limits_and_network_are_read() {
    let (_root, tree) = made_up(&[
        (
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "always [madvise] never\n",
        ),
        (
            "/proc/swaps",
            "Filename Type Size Used Priority\n/dev/sdb partition 8 4 -2\n",
        ),
        ("/proc/sys/vm/swappiness", "60\n"),
        ("/proc/sys/vm/dirty_bytes", "0\n"),
        ("/proc/sys/vm/dirty_ratio", "20\n"),
        ("/proc/sys/vm/max_map_count", "65530\n"),
        (
            "/proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max open files            1024                 524288               files     \n\
             Max locked memory         unlimited            unlimited            bytes     \n",
        ),
        ("/proc/sys/net/core/somaxconn", "4096\n"),
        ("/proc/sys/net/core/wmem_max", "many\n"),
        ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
        ("/proc/sys/net/ipv4/tcp_wmem", "4096\n"),
    ]);
    let memory = Memory::read(&tree);
    assert_eq!(memory.huge_pages.as_deref(), Ok("madvise"));
    let swap = Swap {
        name: "/dev/sdb".to_owned(),
        used_bytes: 4096,
    };
    assert_eq!(memory.swaps, Ok(vec![swap]));
    assert_eq!(memory.writeback, Ok(Writeback::Ratio(20)));
    assert_eq!((memory.swappiness, memory.maps_max), (Ok(60), Ok(65_530)));
    let limits = Limits::read(&tree);
    assert_eq!(limits.memory_lock, Ok(Limit::Unlimited));
    assert_eq!(limits.open_files, Ok(Limit::To(524_288)));
    let network = Network::read(&tree);
    assert_eq!(network.backlog_max, Ok(4096));
    assert!(is_absent(&network.receive_bytes_max));
    assert!(matches!(network.send_bytes_max, Err(Unread::Failed { .. })));
    assert_eq!(network.receive_bytes_tuned_max, Ok(6_291_456));
    assert!(matches!(
        network.send_bytes_tuned_max,
        Err(Unread::Failed { .. })
    ));
}

#[test]
fn bytes_of_dirty_pages_beat_the_ratio() {
    let (_root, tree) = made_up(&[
        ("/proc/sys/vm/dirty_bytes", "1048576\n"),
        ("/proc/sys/vm/dirty_ratio", "0\n"),
    ]);
    assert_eq!(Memory::read(&tree).writeback, Ok(Writeback::Bytes(1 << 20)));
}

#[test]
fn times_without_processor_are_those_of_our_control_group() {
    let (_root, tree) = made_up(&[
        ("/proc/self/cgroup", "0::/klamm.service\n"),
        (
            "/sys/fs/cgroup/klamm.service/cpu.stat",
            "usage_usec 7\nnr_throttled 12\n",
        ),
    ]);
    assert_eq!(throttled(&tree), Ok(12));
    let (_root, tree) = made_up(&[("/proc/self/cgroup", "4:memory:/\n")]);
    assert!(is_absent(&throttled(&tree)));
}

#[test]
fn disks_are_found_below_partitions_and_joined_devices() {
    let devices = "/sys/devices";
    let queue = |disk: &str, file: &str| format!("{devices}/{disk}/queue/{file}");
    let (root, tree) = made_up(&[
        (&format!("{devices}/sda/sda1/partition"), "1\n"),
        (&queue("sda", "scheduler"), "[none] mq-deadline\n"),
        (&queue("sda", "write_cache"), "write back\n"),
        (&queue("sdb", "write_cache"), "write through\n"),
        (&queue("dm-0", "scheduler"), "none\n"),
    ]);
    let at = |place: &str| root.path().join(place.trim_start_matches('/'));
    let slaves = at(&format!("{devices}/dm-0/slaves"));
    fs::create_dir_all(&slaves).unwrap();
    symlink(at(&format!("{devices}/sda/sda1")), slaves.join("sda1")).unwrap();
    symlink(at(&format!("{devices}/sdb")), slaves.join("sdb")).unwrap();
    let block = at("/sys/dev/block");
    fs::create_dir_all(&block).unwrap();
    symlink(at(&format!("{devices}/dm-0")), block.join("253:0")).unwrap();
    let folder = root.path().canonicalize().unwrap();
    let mounts = format!(
        "1 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
         2 1 253:0 / {point} rw,noatime - xfs /dev/dm-0 rw\n\
         3 2 0:9 / {point}/below rw - tmpfs none rw\n",
        point = folder.display()
    );
    fs::create_dir_all(at("/proc/self")).unwrap();
    fs::write(at("/proc/self/mountinfo"), mounts).unwrap();
    let found = Folder::read(&tree, &folder.join("data"));
    assert_eq!((&found.present, found.is_there), (&folder, false));
    let mount = found.mount.unwrap();
    assert_eq!(
        (mount.kind.as_str(), mount.device.as_str()),
        ("xfs", "253:0")
    );
    let [sda, sdb] = &found.disks[..] else {
        panic!("{:?}", found.disks);
    };
    assert_eq!((sda.name.as_str(), sdb.name.as_str()), ("sda", "sdb"));
    assert_eq!(sda.scheduler.as_deref(), Ok("none"));
    assert_eq!(
        (&sda.cache, &sdb.cache),
        (&Ok(WriteCache::Volatile), &Ok(WriteCache::Safe))
    );
    let unread = sdb.scheduler.as_ref().unwrap_err().to_string();
    assert_eq!(unread, "there is no /sys/block/sdb/queue/scheduler");
}

#[test]
fn this_host_can_be_surveyed() {
    let folder = tempfile::tempdir().unwrap();
    let survey = Survey::of(&Tree::default(), folder.path());
    assert!(survey.ring.is_ok() && survey.folder.mount.is_ok() && survey.folder.space.is_ok());
    assert!(survey.cores.online.is_ok() && survey.memory.writeback.is_ok());
    assert!(survey.limits.memory_lock.is_ok() && survey.limits.open_files.is_ok());
}
