//! Hosts that were made up, each differing from a good one in what the case is about.

use std::collections::BTreeSet;

use klamm_os::disk::Space;
use klamm_os::probe::{HostFacts, ProbeError, RingFacts};
use klamm_os::survey::{
    Core, Cores, DirectAccess, Disk, Folder, Interrupt, Limit, Limits, Memory, Mount, Network,
    Survey, Swap, Unread, WriteCache, Writeback,
};

use super::*;
use crate::config::raw::RawConfig;

pub(super) const GIB: u64 = 1 << 30;

fn absent<T>(place: &str) -> Result<T, Unread> {
    let place = place.to_owned();
    Err(Unread::Absent { place })
}

fn core(number: usize) -> Core {
    Core {
        number,
        siblings: Ok(vec![number]),
        governor: Ok("performance".to_owned()),
    }
}

fn interrupt(number: u32, taken: u64, goes_to: usize) -> Interrupt {
    Interrupt {
        number,
        device: format!("queue-{number}"),
        taken: vec![(goes_to, taken)],
        goes_to: Ok(vec![goes_to]),
    }
}

/// Four cores of which two are kept free, ext4 on a disk whose cache survives, and no swap.
pub(super) fn host() -> Survey {
    Survey {
        ring: Ok(RingFacts {
            kernel: "6.12.1".to_owned(),
            deferred_completions: true,
        }),
        host: HostFacts {
            cores: vec![0, 1, 2, 3],
            page_bytes: 4096,
            memory_bytes: 16 * GIB,
            memory_limit_bytes: None,
            core_limit_thousandths: None,
        },
        throttled: Ok(0),
        cores: Cores {
            online: Ok(vec![0, 1, 2, 3]),
            isolated: Ok(vec![2, 3]),
            each: (0..4).map(core).collect(),
            nodes: Ok(vec![vec![0, 1, 2, 3]]),
        },
        interrupts: Ok(vec![interrupt(30, 1000, 0)]),
        memory: Memory {
            huge_pages: Ok("madvise".to_owned()),
            swaps: Ok(Vec::new()),
            swappiness: Ok(60),
            writeback: Ok(Writeback::Ratio(20)),
            maps_max: Ok(65_530),
        },
        limits: Limits {
            memory_lock: Ok(Limit::To(8 << 20)),
            open_files: Ok(Limit::To(524_288)),
        },
        network: Network {
            backlog_max: Ok(4096),
            receive_bytes_max: Ok(212_992),
            send_bytes_max: Ok(212_992),
            receive_bytes_tuned_max: Ok(6 << 20),
            send_bytes_tuned_max: Ok(4 << 20),
        },
        clock: Ok("tsc".to_owned()),
        folder: Folder {
            present: "/data/klamm".into(),
            is_there: true,
            mount: Ok(Mount {
                point: "/data".to_owned(),
                device: "8:0".to_owned(),
                kind: "ext4".to_owned(),
                options: vec!["rw".to_owned(), "noatime".to_owned()],
            }),
            disks: vec![Disk {
                name: "sda".to_owned(),
                scheduler: Ok("none".to_owned()),
                cache: Ok(WriteCache::Safe),
            }],
            space: Ok(Space {
                free: 100 * GIB,
                total: 200 * GIB,
            }),
            direct: DirectAccess::Works(Some(512)),
        },
    }
}

/// The configuration of a broker on that host, two shards on the cores that are kept free.
pub(super) fn config(survey: &Survey, set: &[&str]) -> Config {
    let mut raw = RawConfig::default();
    let always = ["log.dirs=/data/klamm", "klamm.cores=2,3"];
    for text in always.iter().chain(set).filter(|text| !text.ends_with('=')) {
        raw.set(text).expect("a key and a value");
    }
    let facts = crate::config::HostFacts {
        cores: survey.host.cores.clone(),
        core_limit: None,
        memory_bytes: survey.host.memory_bytes,
        hostname: None,
    };
    Config::from_raw(&raw, &facts).expect("legal").0
}

fn findings(survey: &Survey, set: &[&str]) -> Vec<Finding> {
    examine(Subject {
        survey,
        config: &config(survey, set),
        folder: Path::new("/data/klamm"),
        wal_bytes_present: 0,
    })
}

/// A host that differs by `change` gets this state for this knob, with these words in what is said,
/// and the same as a good one for all other knobs but `also`.
pub(super) fn check(
    knob: &str,
    change: impl FnOnce(&mut Survey),
    set: &[&str],
    state: State,
    words: &[&str],
) {
    let mut survey = host();
    change(&mut survey);
    let found = findings(&survey, set);
    let finding = found.iter().find(|finding| finding.knob.name == knob);
    let finding = finding.unwrap_or_else(|| panic!("no finding of {knob}"));
    let said = format!(
        "{} | {} | {} | {}",
        finding.found,
        finding.expected,
        finding.why.as_deref().unwrap_or_default(),
        finding.fix.as_deref().unwrap_or_default()
    );
    assert_eq!(finding.state, state, "{knob}: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{knob}: {word:?} is missing in {said:?}"
        );
    }
    let cured = matches!(state, State::Advice | State::Problem);
    assert_eq!(finding.fix.is_some(), cured, "{knob}: {said}");
    assert_eq!(
        finding.why.is_some(),
        state != State::Good,
        "{knob}: {said}"
    );
}

#[test]
fn good_host_gets_nothing_but_good() {
    for finding in findings(&host(), &[]) {
        assert_eq!(finding.state, State::Good, "{finding:?}");
    }
}

#[test]
fn every_knob_has_a_name_of_its_own_and_a_section_in_tuning_md() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning.md");
    let page = std::fs::read_to_string(path).expect("tuning.md");
    let anchor = |heading: &str| {
        heading
            .trim()
            .to_lowercase()
            .replace(' ', "-")
            .replace(['/', '`'], "")
    };
    let sections: BTreeSet<String> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix("## ")
                .or_else(|| line.strip_prefix("### "))
        })
        .map(anchor)
        .collect();
    let found = findings(&host(), &[]);
    let names: BTreeSet<_> = found.iter().map(|finding| finding.knob.name).collect();
    assert_eq!(names.len(), found.len());
    for finding in &found {
        assert!(
            sections.contains(finding.knob.section),
            "{:?}",
            finding.knob
        );
    }
}

#[test]
fn kernel_that_cannot_run_a_shard_is_a_problem() {
    use State::{Advice, Problem, Unknown};
    let ring = |error: fn() -> ProbeError| move |survey: &mut Survey| survey.ring = Err(error());
    let disabled = ring(|| ProbeError::DisabledBySysctl(2));
    check(
        "io_uring",
        disabled,
        &[],
        Problem,
        &["sysctl -w kernel.io_uring_disabled=0"],
    );
    check(
        "io_uring",
        ring(|| ProbeError::Filtered),
        &[],
        Problem,
        &["seccomp"],
    );
    check(
        "io_uring",
        ring(|| ProbeError::Missing),
        &[],
        Problem,
        &["linux-image"],
    );
    let old = || ProbeError::TooOld {
        release: "5.4".to_owned(),
        missing: vec!["CONNECT"],
    };
    check("io_uring", ring(old), &[], Problem, &["5.4"]);
    check("kernel", ring(old), &[], Problem, &["Linux 5.4", "CONNECT"]);
    let locked = || ProbeError::MemoryLock {
        limit: 65_536,
        needed: 524_288,
    };
    check("io_uring", ring(locked), &[], Unknown, &["65536"]);
    let limit = |survey: &mut Survey| survey.limits.memory_lock = Ok(Limit::To(65_536));
    check(
        "memlock",
        limit,
        &[],
        Problem,
        &["64 KiB", "512 KiB", "ulimit -l 512", "LimitMEMLOCK"],
    );
    let early = |survey: &mut Survey| {
        survey.ring = Ok(RingFacts {
            kernel: "5.15".to_owned(),
            deferred_completions: false,
        });
    };
    check("kernel", early, &[], Advice, &["5.15", "6.1"]);
    let slow = |survey: &mut Survey| survey.clock = Ok("hpet".to_owned());
    check("clock source", slow, &[], Advice, &["hpet", "echo tsc"]);
    let silent = |survey: &mut Survey| survey.clock = absent("/sys/clock");
    check(
        "clock source",
        silent,
        &[],
        Unknown,
        &["there is no /sys/clock"],
    );
}

#[test]
fn shards_that_share_cores_are_told_how_many_fit() {
    use State::{Advice, Good, Unknown};
    let as_is = |_: &mut Survey| {};
    let one = |survey: &mut Survey| survey.host.cores = vec![2, 3];
    check(
        "shards",
        as_is,
        &[],
        Good,
        &["2 shards on cores 2-3", "may use 0-3"],
    );
    check(
        "shards",
        as_is,
        &["klamm.shards=3"],
        Advice,
        &["klamm.shards=2"],
    );
    let unpinned = ["klamm.cores=", "klamm.shards=8"];
    let survey = &host();
    let facts = crate::config::HostFacts {
        cores: vec![0, 1, 2, 3],
        core_limit: None,
        memory_bytes: 16 * GIB,
        hostname: None,
    };
    let mut raw = RawConfig::default();
    raw.set(unpinned[1]).expect("legal");
    let (config, _) = Config::from_raw(&raw, &facts).expect("legal");
    let found = examine(Subject {
        survey,
        config: &config,
        folder: Path::new("/data/klamm"),
        wal_bytes_present: 0,
    });
    let state = |name: &str| {
        let finding = found.iter().find(|finding| finding.knob.name == name);
        finding.expect("found").state
    };
    assert_eq!(state("shards"), Advice);
    for name in ["isolation", "SMT siblings", "interrupts"] {
        assert_eq!(state(name), Unknown, "{name}");
    }
    check("shards", one, &[], Good, &["may use 2-3"]);
}

#[test]
fn what_else_runs_on_the_cores_of_shards_is_advised_away_where_it_can_go() {
    use State::{Advice, Good, Unknown};
    let nothing = |survey: &mut Survey| survey.cores.isolated = Ok(Vec::new());
    check(
        "isolation",
        nothing,
        &[],
        Advice,
        &[
            "cores 2-3",
            "cores 0-1 could",
            "isolcpus=domain,managed_irq,2-3",
        ],
    );
    let elsewhere = |survey: &mut Survey| survey.cores.isolated = Ok(vec![1]);
    check(
        "isolation",
        elsewhere,
        &[],
        Advice,
        &["taskset -c 0-3 klamm serve --set klamm.cores=1"],
    );
    let full = |survey: &mut Survey| {
        survey.cores.isolated = Ok(Vec::new());
        survey.cores.online = Ok(vec![2, 3]);
    };
    check("isolation", full, &[], Good, &["every core"]);
    let silent = |survey: &mut Survey| survey.cores.isolated = absent("/sys/isolated");
    check("isolation", silent, &[], Unknown, &["/sys/isolated"]);

    let busy = |survey: &mut Survey| {
        survey.interrupts = Ok(vec![
            interrupt(30, 1000, 0),
            interrupt(31, 5000, 2),
            interrupt(32, 9, 3),
        ]);
    };
    check(
        "interrupts",
        busy,
        &[],
        Advice,
        &["31 (queue-31) on core 2", "in 31;", "echo 0-1"],
    );
    let idle = |survey: &mut Survey| survey.interrupts = Ok(vec![interrupt(31, 0, 2)]);
    check("interrupts", idle, &[], Good, &[]);
    let full = |survey: &mut Survey| {
        survey.interrupts = Ok(vec![interrupt(31, 5000, 2)]);
        survey.cores.online = Ok(vec![2, 3]);
    };
    check("interrupts", full, &[], Good, &["nowhere else"]);

    let spinning = ["klamm.spin.us=50"];
    check("spin", |_| {}, &spinning, Good, &["klamm.spin.us=50"]);
    let full = |survey: &mut Survey| survey.cores.online = Ok(vec![2, 3]);
    check("spin", full, &spinning, Advice, &["klamm.spin.us=0"]);
}

#[test]
fn cores_that_are_slow_shared_or_far_apart_are_named() {
    use State::{Advice, Good, Unknown};
    let siblings = |survey: &mut Survey| {
        for core in &mut survey.cores.each[2..] {
            core.siblings = Ok(vec![2, 3]);
        }
    };
    check(
        "SMT siblings",
        siblings,
        &[],
        Advice,
        &["cores 3 are siblings", "klamm.cores=2"],
    );
    let free = |survey: &mut Survey| survey.cores.each[2].siblings = Ok(vec![0, 2]);
    check("SMT siblings", free, &[], Good, &[]);
    let saving = |survey: &mut Survey| survey.cores.each[3].governor = Ok("powersave".to_owned());
    check(
        "frequency governor",
        saving,
        &[],
        Advice,
        &["powersave on cores 3", "cpupower -c 3"],
    );
    let other = |survey: &mut Survey| survey.cores.each[0].governor = Ok("powersave".to_owned());
    check("frequency governor", other, &[], Good, &[]);
    let silent = |survey: &mut Survey| survey.cores.each[2].governor = absent("/sys/governor");
    check(
        "frequency governor",
        silent,
        &[],
        Unknown,
        &["virtual machine"],
    );
    let apart = |survey: &mut Survey| survey.cores.nodes = Ok(vec![vec![0, 1, 2], vec![3]]);
    check(
        "memory nodes",
        apart,
        &[],
        Advice,
        &["2 of 2 nodes", "klamm.cores="],
    );
    let near = |survey: &mut Survey| survey.cores.nodes = Ok(vec![vec![0, 1], vec![2, 3]]);
    check("memory nodes", near, &[], Good, &["1 of 2"]);
    let quota = |limit| {
        move |survey: &mut Survey| {
            survey.host.core_limit_thousandths = Some(limit);
            survey.throttled = Ok(7);
        }
    };
    check(
        "processor quota",
        quota(1500),
        &[],
        Advice,
        &["1.500 cores", "7 times", "klamm.shards=1", "--cpus 2"],
    );
    check("processor quota", quota(2000), &[], Good, &["2.000 cores"]);
}

#[test]
fn memory_that_the_kernel_takes_away_is_told() {
    use State::{Advice, Good, Problem, Unknown};
    let written = ["klamm.durability=written"];
    let small = |survey: &mut Survey| survey.host.memory_limit_bytes = Some(900 << 20);
    check(
        "memory limit",
        small,
        &[],
        Advice,
        &["allows 900 MiB", "klamm.tail.bytes=117964800"],
    );
    let never = |survey: &mut Survey| survey.memory.huge_pages = Ok("never".to_owned());
    check("huge pages", never, &[], Advice, &["echo madvise"]);
    let always = |survey: &mut Survey| survey.memory.huge_pages = Ok("always".to_owned());
    check("huge pages", always, &[], Good, &["always"]);
    let swap = |swappiness| {
        move |survey: &mut Survey| {
            survey.memory.swaps = Ok(vec![Swap {
                name: "/swapfile".to_owned(),
                used_bytes: 3 << 20,
            }]);
            survey.memory.swappiness = swappiness;
        }
    };
    check(
        "swap",
        swap(Ok(60)),
        &[],
        Advice,
        &["/swapfile with 3 MiB", "vm.swappiness=1"],
    );
    check("swap", swap(Ok(1)), &[], Good, &["vm.swappiness=1"]);
    check(
        "swap",
        swap(absent("/proc/swappiness")),
        &[],
        Unknown,
        &["/proc/swappiness"],
    );
    let low = |survey: &mut Survey| survey.memory.writeback = Ok(Writeback::Bytes(256 << 20));
    check("dirty pages", low, &[], Good, &["flushed"]);
    check(
        "dirty pages",
        low,
        &written,
        Advice,
        &["vm.dirty_bytes=1610612736"],
    );
    check(
        "dirty pages",
        |_| {},
        &written,
        Good,
        &["vm.dirty_ratio=20, about 3.1 GiB"],
    );
    let few = |survey: &mut Survey| survey.memory.maps_max = Ok(4100);
    check(
        "mappings",
        few,
        &[],
        Problem,
        &["there may be 24", "vm.max_map_count=8240"],
    );
}

#[test]
fn connections_that_the_kernel_would_cut_are_told() {
    use State::{Advice, Good, Unknown};
    let files = |limit| move |survey: &mut Survey| survey.limits.open_files = Ok(limit);
    check(
        "open files",
        files(Limit::To(1024)),
        &[],
        Advice,
        &["1024, which leaves 256 connections", "ulimit -Hn 4096"],
    );
    check(
        "open files",
        files(Limit::To(5000)),
        &[],
        Good,
        &["2952 connections"],
    );
    check(
        "open files",
        files(Limit::To(5000)),
        &["max.connections=4000"],
        Advice,
        &["LimitNOFILE=6048"],
    );
    check(
        "open files",
        files(Limit::Unlimited),
        &["max.connections=4000"],
        Good,
        &[],
    );
    let short = |survey: &mut Survey| survey.network.backlog_max = Ok(128);
    check(
        "listen backlog",
        short,
        &["socket.listen.backlog.size=50"],
        Good,
        &["net.core.somaxconn=128"],
    );
    check(
        "listen backlog",
        short,
        &[],
        Advice,
        &["net.core.somaxconn=4096"],
    );
    check(
        "socket buffers",
        |_| {},
        &[],
        Good,
        &["tuned, up to 4 MiB", "tuned, up to 6 MiB"],
    );
    let large = ["socket.send.buffer.bytes=1048576"];
    check(
        "socket buffers",
        |_| {},
        &large,
        Advice,
        &["net.core.wmem_max=1048576"],
    );
    check(
        "socket buffers",
        |_| {},
        &["socket.send.buffer.bytes=102400"],
        Good,
        &["102400"],
    );
    let silent = |survey: &mut Survey| survey.network.send_bytes_max = absent("/proc/wmem");
    check("socket buffers", silent, &large, Unknown, &["/proc/wmem"]);
}

#[test]
fn bytes_are_said_in_the_largest_unit_that_fits() {
    let cases = [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (3 * GIB + GIB / 4, "3.2 GiB"),
        (u64::MAX, "16777215.9 TiB"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(bytes_text(bytes), expected);
    }
}
