//! Looks at the host before anything starts: can io_uring serve us, and how much of the machine
//! is ours. Answers are typed, and say exactly what to change.

use std::{fmt, fs, io};

use io_uring::{IoUring, opcode};

use super::survey::Tree;

/// Bytes of locked memory that a shard's rings may need on kernels before 5.12, and what the
/// executor insists on.
pub const MEMLOCK_NEEDED: u64 = 512 * 1024;

/// Oldest kernel with all that we rely on (multishot polls).
pub const KERNEL_NEEDED: &str = "5.13";

/// Why io_uring cannot serve us.
#[derive(Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// `kernel.io_uring_disabled` forbids it (1: without privilege, 2: to all).
    DisabledBySysctl(u8),
    /// A security filter (seccomp, as containers set it, or an LSM) forbids it.
    Filtered,
    /// The kernel has no io_uring at all.
    Missing,
    /// RLIMIT_MEMLOCK is too low.
    MemoryLock {
        /// The limit found, in bytes.
        limit: u64,
        /// What is needed, in bytes.
        needed: u64,
    },
    /// The kernel is too old for these operations.
    TooOld {
        /// Release of the running kernel.
        release: String,
        /// Names of what it lacks.
        missing: Vec<&'static str>,
    },
    /// Something else, as the kernel said it.
    Other(String),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DisabledBySysctl(level) => write!(
                f,
                "io_uring is disabled (kernel.io_uring_disabled = {level}): run \
                 `sysctl -w kernel.io_uring_disabled=0`, and write the same to /etc/sysctl.d/"
            ),
            Self::Filtered => write!(
                f,
                "io_uring is forbidden by a security filter: in Docker or Podman run with \
                 `--security-opt seccomp=unconfined`, or with a profile that allows \
                 io_uring_setup, io_uring_enter and io_uring_register; in Kubernetes set \
                 securityContext.seccompProfile accordingly"
            ),
            Self::Missing => write!(
                f,
                "this kernel has no io_uring: use Linux {KERNEL_NEEDED} or later, built with \
                 CONFIG_IO_URING"
            ),
            Self::MemoryLock { limit, needed } => write!(
                f,
                "expected at least {needed} bytes of lockable memory, found {limit}: run \
                 `ulimit -l {}`, set LimitMEMLOCK={needed} in the systemd unit, or \
                 `--ulimit memlock={needed}` in Docker",
                needed / 1024
            ),
            Self::TooOld { release, missing } => write!(
                f,
                "expected Linux {KERNEL_NEEDED} or later, found {release}, which lacks {}",
                missing.join(", ")
            ),
            Self::Other(reason) => write!(f, "io_uring does not work: {reason}"),
        }
    }
}

impl std::error::Error for ProbeError {}

/// What the kernel offers beyond the needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFacts {
    /// Release of the running kernel.
    pub kernel: String,
    /// Whether completions can be deferred until we reap them (6.1).
    pub deferred_completions: bool,
}

/// What we and the executor ask of the kernel.
const NEEDED: &[(u8, &str)] = &[
    (opcode::Nop::CODE, "NOP"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::PollRemove::CODE, "POLL_REMOVE"),
    (opcode::Timeout::CODE, "TIMEOUT"),
    (opcode::TimeoutRemove::CODE, "TIMEOUT_REMOVE"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::LinkTimeout::CODE, "LINK_TIMEOUT"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Readv::CODE, "READV"),
    (opcode::Writev::CODE, "WRITEV"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::RecvMsg::CODE, "RECVMSG"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Statx::CODE, "STATX"),
];

/// Makes a small ring, asks what it can do, and throws it away.
pub fn check() -> Result<RingFacts, ProbeError> {
    let kernel = kernel_release();
    let limit = memory_lock_limit().map_err(|error| ProbeError::Other(error.to_string()))?;
    if limit < MEMLOCK_NEEDED {
        return Err(ProbeError::MemoryLock {
            limit,
            needed: MEMLOCK_NEEDED,
        });
    }
    let ring = IoUring::new(4).map_err(|error| explain(&error, disabled_level(), limit))?;
    let mut probe = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| explain(&error, disabled_level(), limit))?;
    let mut missing: Vec<&'static str> = NEEDED
        .iter()
        .filter(|(code, _)| !probe.is_supported(*code))
        .map(|(_, name)| *name)
        .collect();
    // Multishot polls have no operation of their own; resource tags came with the same release.
    if !ring.params().is_feature_resource_tagging() {
        missing.push("multishot POLL_ADD");
    }
    if !missing.is_empty() {
        return Err(ProbeError::TooOld {
            release: kernel,
            missing,
        });
    }
    let deferred = IoUring::<io_uring::squeue::Entry>::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(4)
        .is_ok();
    Ok(RingFacts {
        kernel,
        deferred_completions: deferred,
    })
}

fn explain(error: &io::Error, disabled: u8, limit: u64) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::EPERM) if disabled > 0 => ProbeError::DisabledBySysctl(disabled),
        Some(libc::EPERM | libc::EACCES) => ProbeError::Filtered,
        // Docker's profile answers ENOSYS on some versions although the kernel has it.
        Some(libc::ENOSYS) if fs::exists("/proc/sys/kernel/io_uring_disabled").unwrap_or(false) => {
            ProbeError::Filtered
        }
        Some(libc::ENOSYS) => ProbeError::Missing,
        Some(libc::ENOMEM) => ProbeError::MemoryLock {
            limit,
            needed: limit.saturating_mul(4).max(8 << 20),
        },
        Some(libc::EINVAL) => ProbeError::TooOld {
            release: kernel_release(),
            missing: vec!["IORING_REGISTER_PROBE"],
        },
        _ => ProbeError::Other(error.to_string()),
    }
}

fn disabled_level() -> u8 {
    read_number("/proc/sys/kernel/io_uring_disabled")
        .and_then(|n| n.try_into().ok())
        .unwrap_or(0)
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
        |_| "an unknown release".to_owned(),
        |text| text.trim().to_owned(),
    )
}

fn memory_lock_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which is written.
    super::sys::check(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) })?;
    Ok(limit.rlim_cur)
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// How much of the machine is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Cores that this process may run on, by number.
    pub cores: Vec<usize>,
    /// Bytes of a memory page.
    pub page_bytes: usize,
    /// Bytes of memory in the machine.
    pub memory_bytes: u64,
    /// Bytes of memory that the control group allows, if it sets a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Cores' worth of time that the control group allows, if it sets a limit, in thousandths.
    pub core_limit_thousandths: Option<u64>,
}

/// Reads the facts of the host.
pub fn host() -> HostFacts {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    // SAFETY: sysconf takes a constant and has no other effect.
    let (page, pages) = unsafe {
        (
            libc::sysconf(libc::_SC_PAGESIZE),
            libc::sysconf(libc::_SC_PHYS_PAGES),
        )
    };
    let page_bytes = usize::try_from(page).unwrap_or(4096);
    let memory_bytes = u64::try_from(pages)
        .unwrap_or(0)
        .saturating_mul(page_bytes as u64);
    let tree = &Tree::default();
    let group = control_group(tree);
    let memory_limit_bytes = group
        .as_ref()
        .and_then(|group| smallest(tree, group, "memory.max", |text| text.trim().parse().ok()))
        .or_else(|| read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .filter(|limit| *limit < memory_bytes);
    let core_limit_thousandths = group
        .as_ref()
        .and_then(|group| smallest(tree, group, "cpu.max", core_limit));
    HostFacts {
        cores: cores.into_iter().map(|core| core.id).collect(),
        page_bytes,
        memory_bytes,
        memory_limit_bytes,
        core_limit_thousandths,
    }
}

/// Folder of our version 2 control group.
pub(super) fn control_group(tree: &Tree) -> Option<String> {
    let groups = tree.text("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(group.trim_end_matches('/').to_owned())
}

/// The smallest limit of a control group and its parents: each binds.
fn smallest(tree: &Tree, group: &str, file: &str, parse: fn(&str) -> Option<u64>) -> Option<u64> {
    let mut group = group;
    let mut found: Option<u64> = None;
    loop {
        let text = tree.text(&format!("/sys/fs/cgroup{group}/{file}"));
        let text = text.unwrap_or_default();
        if let Some(limit) = parse(&text) {
            found = Some(found.map_or(limit, |other| other.min(limit)));
        }
        match group.rfind('/') {
            Some(slash) => group = &group[..slash],
            None => return found,
        }
    }
}

/// Parses `cpu.max`: "quota period" in microseconds, or "max period".
fn core_limit(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.saturating_mul(1000).checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_serve_us() {
        let facts = check().unwrap();
        assert!(!facts.kernel.is_empty());
        let host = host();
        assert!(!host.cores.is_empty());
        assert!(host.page_bytes >= 4096 && host.memory_bytes > 1 << 28);
    }

    #[test]
    fn refusals_say_what_to_change() {
        let error = |number| io::Error::from_raw_os_error(number);
        let text = |number, disabled| explain(&error(number), disabled, 65_536).to_string();
        assert!(text(libc::EPERM, 2).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(text(libc::EPERM, 0).contains("--security-opt seccomp="));
        assert!(text(libc::ENOMEM, 0).contains("ulimit -l 8192"));
        let short = ProbeError::MemoryLock {
            limit: 65_536,
            needed: MEMLOCK_NEEDED,
        };
        assert!(short.to_string().contains("ulimit -l 512"));
    }

    #[test]
    fn core_limit_is_quota_over_period() {
        assert_eq!(core_limit("150000 100000\n"), Some(1500));
        assert_eq!(core_limit("max 100000"), None);
        assert_eq!(core_limit("5 0"), None);
    }
}
