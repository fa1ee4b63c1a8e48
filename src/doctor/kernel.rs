//! What the kernel must offer before a shard can run at all, and what tells the time.

use klamm_os::probe::{KERNEL_NEEDED, MEMLOCK_NEEDED, ProbeError};
use klamm_os::survey::Limit;

use super::{Finding, Knob, State, Subject, bytes_text, knob, sysctl};

const IO_URING: Knob = knob("io_uring", "io_uring");

pub(super) fn io_uring(subject: Subject<'_>) -> Finding {
    let finding = |found: &str| Finding::good(IO_URING, found, "allowed, with all operations");
    let error = match &subject.survey.ring {
        Ok(_) => return finding("allowed, with all operations"),
        Err(error) => error,
    };
    let (found, fix) = match error {
        ProbeError::DisabledBySysctl(_) => (
            "forbidden by kernel.io_uring_disabled",
            sysctl("kernel.io_uring_disabled", 0),
        ),
        ProbeError::Filtered => (
            "forbidden by a security filter",
            "docker run --security-opt seccomp=unconfined …".to_owned(),
        ),
        ProbeError::Missing => ("not in this kernel", upgrade()),
        ProbeError::TooOld { .. } => ("without operations that are needed", upgrade()),
        ProbeError::MemoryLock { .. } => {
            let expected = "allowed, with all operations";
            let why = format!("it was not tried: {error}");
            return Finding::unknown(IO_URING, expected, why);
        }
        ProbeError::Other(_) => ("does not work", "dmesg | tail".to_owned()),
    };
    finding(found).but(State::Problem, error.to_string(), fix)
}

fn upgrade() -> String {
    "sudo apt-get install linux-image-$(dpkg --print-architecture)   # Debian; then restart"
        .to_owned()
}

pub(super) fn release(subject: Subject<'_>) -> Finding {
    const KERNEL: Knob = knob("kernel", "kernel");
    let expected = "Linux 6.1 or later";
    let finding = |release: &str| Finding::good(KERNEL, format!("Linux {release}"), expected);
    match &subject.survey.ring {
        Ok(facts) if facts.deferred_completions => finding(&facts.kernel),
        Ok(facts) => finding(&facts.kernel).but(
            State::Advice,
            "completions cannot be deferred until the shard asks for them (6.1), so the kernel \
             interrupts it for each",
            upgrade(),
        ),
        Err(ProbeError::TooOld { release, missing }) => finding(release).but(
            State::Problem,
            format!(
                "Linux {KERNEL_NEEDED} is the oldest that works; this one lacks {}",
                missing.join(", ")
            ),
            upgrade(),
        ),
        Err(_) => Finding::unknown(KERNEL, expected, "io_uring has to work first"),
    }
}

pub(super) fn memory_lock(subject: Subject<'_>) -> Finding {
    const MEMLOCK: Knob = knob("memlock", "memlock");
    let expected = format!("at least {}", bytes_text(MEMLOCK_NEEDED));
    match &subject.survey.limits.memory_lock {
        Err(unread) => Finding::unread(MEMLOCK, expected, unread),
        Ok(Limit::Unlimited) => Finding::good(MEMLOCK, "no limit", expected),
        Ok(Limit::To(bytes)) => {
            let finding = Finding::good(MEMLOCK, bytes_text(*bytes), expected);
            if *bytes >= MEMLOCK_NEEDED {
                return finding;
            }
            finding.but(
                State::Problem,
                "the rings of a shard are locked memory; serve refuses to start below that",
                format!(
                    "ulimit -l {}   # LimitMEMLOCK={MEMLOCK_NEEDED} in the systemd unit, --ulimit \
                     memlock={MEMLOCK_NEEDED} in Docker",
                    MEMLOCK_NEEDED / 1024
                ),
            )
        }
    }
}

/// Clocks that a program reads without a system call.
const READ_WITHOUT_CALL: [&str; 6] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
    "riscv_clocksource",
    "stp",
];

pub(super) fn clock(subject: Subject<'_>) -> Finding {
    const CLOCK: Knob = knob("clock source", "clock-source");
    let expected = "tsc, or another that is read without a system call";
    match &subject.survey.clock {
        Err(unread) => Finding::unread(CLOCK, expected, unread),
        Ok(clock) if READ_WITHOUT_CALL.contains(&clock.as_str()) => {
            Finding::good(CLOCK, clock, expected)
        }
        Ok(clock) => Finding::good(CLOCK, clock, expected).but(
            State::Advice,
            "a shard reads the clock several times in each turn, and with this one every reading is \
             a system call; the kernel's log says why it left tsc",
            "dmesg | grep -i -e clocksource -e tsc; echo tsc | sudo tee \
             /sys/devices/system/clocksource/clocksource0/current_clocksource",
        ),
    }
}
