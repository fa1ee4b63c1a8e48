//! A listening socket of one shard. Owner of the accept queue.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd,
};

use super::{Socket, SocketOptions, new_socket};
use crate::real::{exec, ring::Watch, stats};

/// How a listener behaves.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Connections that the kernel may complete before we accept them (capped by
    /// `net.core.somaxconn`).
    pub backlog: u32,
    /// Given to each accepted connection.
    pub accepted: SocketOptions,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            accepted: SocketOptions::default(),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub enum BindError {
    /// Another process (or listener) has the port.
    InUse(SocketAddr),
    /// Ports below `net.ipv4.ip_unprivileged_port_start` need a privilege.
    Forbidden(SocketAddr),
    /// The address belongs to no interface of this host.
    NotOurs(SocketAddr),
    /// Anything else.
    Other(SocketAddr, io::Error),
}

impl BindError {
    /// What the kernel's refusal of this address means.
    pub fn new(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Forbidden(address),
            io::ErrorKind::AddrNotAvailable => Self::NotOurs(address),
            _ => Self::Other(address, error),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(address) => write!(
                f,
                "cannot listen on {address}: the port is in use (find its owner with `ss -ltnp`)"
            ),
            Self::Forbidden(address) => write!(
                f,
                "cannot listen on {address}: expected a port that needs no privilege \
                 (see sysctl net.ipv4.ip_unprivileged_port_start)"
            ),
            Self::NotOurs(address) => {
                write!(
                    f,
                    "cannot listen on {address}: no interface of this host has it"
                )
            }
            Self::Other(address, error) => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for BindError {}

/// Whether `address` could be listened on now. Nobody can connect meanwhile: the address is taken
/// and given back without listening.
///
/// # Errors
/// Why not.
pub fn try_address(address: SocketAddr) -> Result<(), BindError> {
    bound(address).map(drop)
}

/// A socket that has the address and does not listen yet. The address may be reused at once after
/// a restart (`SO_REUSEADDR`); one that somebody listens on is refused all the same.
fn bound(address: SocketAddr) -> Result<socket2::Socket, BindError> {
    let bound = || {
        let socket = new_socket(&address)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    bound().map_err(|error| BindError::new(address, error))
}

/// A listening TCP socket, watched by the shard that made it.
pub struct Listener {
    // Declared before the socket: the watch ends before the descriptor closes.
    watch: Watch,
    inner: TcpListener,
    accepted: SocketOptions,
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one, see [`Self::local_addr`]. The address may
    /// be reused at once after a restart (`SO_REUSEADDR`).
    pub fn bind(address: SocketAddr, options: ListenerOptions) -> Result<Self, BindError> {
        let explain = |error| BindError::new(address, error);
        let socket = bound(address)?;
        let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
        socket.listen(backlog).map_err(explain)?;
        let inner = TcpListener::from(socket);
        let watch = Watch::new(exec::ring(), inner.as_raw_fd());
        Ok(Self {
            watch,
            inner,
            accepted: options.accepted,
        })
    }

    /// The address with the port that the kernel chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Waits for a connection. After an error such as too many open files the listener is still
    /// good: wait a little and accept again. After [`Self::close`]: `ErrorKind::NotConnected`.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        loop {
            if self.watch.is_closed() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            match self.inner.accept() {
                Ok((inner, address)) => {
                    stats::with(|s| s.accepts.add(1));
                    let socket = Socket::new(inner);
                    // A peer that is gone already shows at the first read.
                    drop(socket.configure(&self.accepted));
                    return Ok((socket, address));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch.not_readable();
                    self.watch.readable().await;
                }
                // The peer left between the handshake and here: not ours to report.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the waiting accept and all later ones; the port is free once the listener is dropped.
    pub fn close(&self) {
        self.watch.close();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn an_address_is_tried_without_a_client_noticing() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = holder.local_addr().expect("is bound");
        assert!(matches!(try_address(address), Err(BindError::InUse(taken)) if taken == address));
        drop(holder);

        let tried = bound(address).expect("is free");
        let refused = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drop(tried);
        assert!(try_address(address).is_ok(), "nothing is left behind");
    }
}
