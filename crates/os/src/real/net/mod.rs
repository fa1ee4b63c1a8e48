//! TCP: a listener, a plain socket that may travel between shards, and the stream that a shard
//! makes of it.

mod listener;
mod stream;

use std::{io, net::SocketAddr, os::fd::AsRawFd};

use super::{exec, ring::Watch, sys};

pub use listener::{BindError, Listener, ListenerOptions, try_address};
pub use stream::Stream;

/// How a connection behaves; `None` and `false` leave the kernel's choice.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Send small messages at once (`TCP_NODELAY`).
    pub no_delay: bool,
    /// Let the kernel find dead peers: seconds of silence before the first probe.
    pub keep_alive_seconds: Option<u32>,
    /// Bytes of the kernel's send buffer (`SO_SNDBUF`).
    pub send_buffer_bytes: Option<usize>,
    /// Bytes of the kernel's receive buffer (`SO_RCVBUF`).
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            keep_alive_seconds: Some(60),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }
}

/// A connected TCP socket, owned; belongs to no shard yet and may be sent to any.
#[derive(Debug)]
pub struct Socket {
    inner: std::net::TcpStream,
}

impl Socket {
    /// Takes over a connected standard socket.
    pub fn new(inner: std::net::TcpStream) -> Self {
        Self { inner }
    }

    /// Applies all options that are set.
    pub fn configure(&self, options: &SocketOptions) -> io::Result<()> {
        let fd = self.inner.as_raw_fd();
        if options.no_delay {
            self.inner.set_nodelay(true)?;
        }
        if let Some(seconds) = options.keep_alive_seconds {
            sys::set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
            let idle = libc::c_int::try_from(seconds.max(1)).unwrap_or(libc::c_int::MAX);
            // Kernel limits: idle and interval 32767 s; three probes.
            let idle = idle.min(32_767);
            sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle)?;
            sys::set_option(
                fd,
                libc::IPPROTO_TCP,
                libc::TCP_KEEPINTVL,
                (idle / 4).max(1),
            )?;
            sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)?;
        }
        if let Some(bytes) = options.send_buffer_bytes {
            self.set_buffer(libc::SO_SNDBUF, bytes)?;
        }
        if let Some(bytes) = options.receive_buffer_bytes {
            self.set_buffer(libc::SO_RCVBUF, bytes)?;
        }
        Ok(())
    }

    fn set_buffer(&self, name: libc::c_int, bytes: usize) -> io::Result<()> {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        sys::set_option(self.inner.as_raw_fd(), libc::SOL_SOCKET, name, bytes)
    }

    /// Address of the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }

    /// Address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A TCP socket for this family of addresses that never blocks.
fn new_socket(address: &SocketAddr) -> io::Result<socket2::Socket> {
    let kind = socket2::Type::STREAM;
    let domain = socket2::Domain::for_address(*address);
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Connects to `address` from this shard. There is no time limit but the kernel's (about two
/// minutes): race it against [`exec::sleep`] and drop it.
pub async fn connect(address: SocketAddr, options: &SocketOptions) -> io::Result<Stream> {
    let raw = new_socket(&address)?;
    let connected = match raw.connect(&address.into()) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => false,
        Err(error) => return Err(error),
    };
    let socket = Socket::new(std::net::TcpStream::from(raw));
    if !connected {
        let watch = Watch::new(exec::ring(), socket.inner.as_raw_fd());
        watch.not_writable();
        watch.writable().await;
        // A refused connection is an event too; the reason waits at the socket.
        if let Some(error) = socket.inner.take_error()? {
            return Err(error);
        }
        socket.inner.peer_addr()?;
    }
    socket.configure(options)?;
    Ok(Stream::from_socket(socket))
}
