//! The ports of a start: resolved, and tried before a folder is touched. A port that a dead broker
//! still holds is waited for.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use klamm_os::net::{BindError, try_address};

use crate::config::{Config, Endpoint};
use crate::startup_report::StartProblem;

const LISTENERS: &str = "listeners";
const ADMIN: &str = "klamm.admin.listener";

/// How long a port that is in use is tried again: the kernel closes what the rings of a process
/// that was killed were watching a moment after its end has been reported.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two trials.
const PAUSE: Duration = Duration::from_millis(20);

/// The address of an endpoint that this key names.
///
/// # Errors
/// The host's name cannot be resolved.
pub(crate) fn resolve(key: &'static str, endpoint: &Endpoint) -> Result<SocketAddr, StartProblem> {
    let host = endpoint.host.clone();
    match (host.as_str(), endpoint.port).to_socket_addrs() {
        Ok(mut addresses) => addresses.next().ok_or_else(|| StartProblem::Resolve {
            key,
            host: host.clone(),
            error: ErrorKind::NotFound.into(),
        }),
        Err(error) => Err(StartProblem::Resolve { key, host, error }),
    }
}

/// Tries every fixed port without listening on it: the listeners open after recovery, so that no
/// client waits on a broker that cannot answer yet.
///
/// # Errors
/// The first one that cannot be listened on.
pub(crate) fn check_listeners(config: &Config) -> Result<(), StartProblem> {
    for listener in config.listeners.iter().filter(|one| one.bind.port != 0) {
        let address = resolve(LISTENERS, &listener.bind)?;
        patiently(LISTENERS, || try_address(address))?;
    }
    Ok(())
}

/// Opens the listener of the admin face.
///
/// # Errors
/// Why it cannot.
pub(crate) fn open_admin(endpoint: &Endpoint) -> Result<TcpListener, StartProblem> {
    let address = resolve(ADMIN, endpoint)?;
    patiently(ADMIN, || {
        TcpListener::bind(address).map_err(|error| BindError::new(address, error))
    })
}

fn patiently<T>(
    key: &'static str,
    mut attempt: impl FnMut() -> Result<T, BindError>,
) -> Result<T, StartProblem> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match attempt() {
            Ok(opened) => return Ok(opened),
            Err(BindError::InUse(address)) if began.elapsed() < PATIENCE => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!(
                        %address,
                        seconds = PATIENCE.as_secs(),
                        "the port is in use, perhaps by a broker that just died: trying again"
                    );
                }
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(StartProblem::Listen { key, error }),
        }
    }
}
