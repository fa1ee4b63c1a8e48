//! One connection that never blocks: frames out by gathered writes, answers in through one buffer.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read, Write},
    net::SocketAddr,
    time::Instant,
};

use klamm_wire::{ApiKey, FrameLimits, parse_response_header};
use mio::{Interest, Registry, Token, net::TcpStream};

use crate::{control::RESPONSE_BYTES_MAX, frame::Frame, problem::Problem};

/// Slices handed to one write.
const SLICES_MAX: usize = 128;

/// First size of the receive buffer; it doubles while a response does not fit.
const INBOX_BYTES: usize = 16 << 10;

/// A request whose bytes are not all written.
#[derive(Debug)]
struct Outgoing {
    frame: Frame,
    written: usize,
}

/// A request whose answer has not come.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    correlation_id: i32,
    /// What the load calls it.
    pub tag: usize,
    /// When it should have been sent.
    pub intended: Instant,
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    socket: TcpStream,
    outgoing: VecDeque<Outgoing>,
    in_flight: VecDeque<InFlight>,
    inbox: Vec<u8>,
    unread: std::ops::Range<usize>,
    correlation_id: i32,
}

impl Link {
    /// Connects, then registers with the poll as `token`.
    ///
    /// # Errors
    /// The broker does not accept.
    pub fn connect(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let socket = std::net::TcpStream::connect(address)?;
        Self::over(socket, registry, token)
    }

    /// The same, once the broker has answered a first request, as clients begin with ApiVersions:
    /// some answers depend on who asks (KIP-511).
    ///
    /// # Errors
    /// The broker does not accept, or does not answer.
    pub fn connect_greeting(
        address: SocketAddr,
        greeting: &[u8],
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut socket = std::net::TcpStream::connect(address)?;
        socket.write_all(greeting)?;
        let mut prefix = [0; 4];
        socket.read_exact(&mut prefix)?;
        let size = FrameLimits::of_responses(RESPONSE_BYTES_MAX).check(prefix);
        let size = size.map_err(|error| io::Error::other(error.to_string()))?;
        socket.read_exact(&mut vec![0; size])?;
        Self::over(socket, registry, token)
    }

    fn over(socket: std::net::TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            socket,
            outgoing: VecDeque::new(),
            in_flight: VecDeque::new(),
            inbox: vec![0; INBOX_BYTES],
            unread: 0..0,
            correlation_id: 0,
        })
    }

    /// Requests without an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Queues `frame`; [`Self::flush`] sends it.
    pub fn queue(&mut self, mut frame: Frame, tag: usize, intended: Instant) {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let correlation_id = self.correlation_id;
        frame.correlate(correlation_id);
        self.outgoing.push_back(Outgoing { frame, written: 0 });
        self.in_flight.push_back(InFlight {
            correlation_id,
            tag,
            intended,
        });
    }

    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let pieces = self
                .outgoing
                .iter()
                .flat_map(|request| request.frame.pieces(request.written));
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(pieces) {
                *slice = piece;
                used += 1;
            }
            match self.socket.write_vectored(&slices[..used]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(request) = self.outgoing.front_mut() {
            let left = request.frame.size() - request.written;
            if written < left {
                request.written += written;
                return;
            }
            written -= left;
            self.outgoing.pop_front();
        }
        assert_eq!(written, 0, "no more is written than was queued");
    }

    /// Reads what has arrived.
    ///
    /// # Errors
    /// The connection is broken or closed.
    pub fn receive(&mut self) -> io::Result<()> {
        loop {
            self.make_room();
            let room = self.inbox.len() - self.unread.end;
            match self.socket.read(&mut self.inbox[self.unread.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(size) => {
                    self.unread.end += size;
                    // A short read has emptied the socket (epoll(7)); what comes later wakes us.
                    if size < room {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn make_room(&mut self) {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end == self.inbox.len() {
            if self.unread.start > 0 {
                self.inbox.copy_within(self.unread.clone(), 0);
                self.unread = 0..self.unread.len();
            } else {
                self.inbox.resize(self.inbox.len() * 2, 0);
            }
        }
    }

    /// The next whole answer, the request that it belongs to, and its body.
    ///
    /// # Errors
    /// A frame that breaks the protocol, or answers another request than the oldest.
    pub fn answer(
        &mut self,
        key: ApiKey,
        version: i16,
    ) -> Result<Option<(InFlight, &[u8])>, Problem> {
        let unread = &self.inbox[self.unread.clone()];
        let Some(&prefix) = unread.first_chunk::<4>() else {
            return Ok(None);
        };
        let size = FrameLimits::of_responses(RESPONSE_BYTES_MAX)
            .check(prefix)
            .map_err(|error| Problem::Protocol(error.to_string()))?;
        let Some(frame) = unread.get(4..4 + size) else {
            return Ok(None);
        };
        let (found, body) = parse_response_header(frame, key, version)?;
        let asked = self.in_flight.pop_front();
        let asked = asked
            .filter(|asked| asked.correlation_id == found)
            .ok_or_else(|| {
                Problem::Protocol(format!("answer {found} is not that of the oldest request"))
            })?;
        self.unread.start += 4 + size;
        Ok(Some((asked, body)))
    }
}
