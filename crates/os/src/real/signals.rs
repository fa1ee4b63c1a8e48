//! Signals for the main thread, and the limit of open files. Block first, before any thread
//! exists: threads inherit the mask, so only [`wait`] sees the signals.

use std::{io, mem::MaybeUninit};

use super::sys;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop in order.
    Terminate,
    /// SIGINT, control-C: stop in order.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Hangup,
}

fn watched() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; the numbers are valid signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), number);
        }
        set.assume_init()
    }
}

/// Keeps the three signals from interrupting this thread and those that it starts.
pub fn block() -> io::Result<()> {
    let set = watched();
    // SAFETY: `set` is initialised; no old mask is asked for.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Waits for the next of the three signals; all threads must have them blocked.
pub fn wait() -> io::Result<Signal> {
    let set = watched();
    let mut number = 0;
    // SAFETY: both pointers are to live, initialised values.
    let error = unsafe { libc::sigwait(&set, &mut number) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    match number {
        libc::SIGTERM => Ok(Signal::Terminate),
        libc::SIGINT => Ok(Signal::Interrupt),
        libc::SIGHUP => Ok(Signal::Hangup),
        other => Err(io::Error::other(format!(
            "expected a watched signal, found {other}"
        ))),
    }
}

/// Raises the limit of open files (RLIMIT_NOFILE) to what the administrator allows; returns it.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which is written.
    sys::check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is to a live rlimit, which is read.
        sys::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_wait_for_the_waiter() {
        block().unwrap();
        for (number, signal) in [
            (libc::SIGHUP, Signal::Hangup),
            (libc::SIGTERM, Signal::Terminate),
            (libc::SIGINT, Signal::Interrupt),
        ] {
            // SAFETY: sends to this thread only, which has the signal blocked.
            assert_eq!(unsafe { libc::raise(number) }, 0);
            assert_eq!(wait().unwrap(), signal);
        }
    }

    #[test]
    fn open_files_are_raised_to_what_is_allowed() {
        let raised = raise_open_files().unwrap();
        assert_eq!(raise_open_files().unwrap(), raised);
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        let soft = line.split_whitespace().nth(3).unwrap();
        assert!(soft == raised.to_string() || soft == "unlimited", "{line}");
    }
}
