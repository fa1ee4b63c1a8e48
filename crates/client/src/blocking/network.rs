//! Sockets of one client: a reading thread for each, one bounded queue of what arrives, and the
//! machines of the connections. Owns the only clock of this room.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{ClientError, ClientOptions};
use crate::connection::{Connection, CorrelationId, Response, SendError};

/// Chunks that wait for the client; above it the reading threads wait.
const ARRIVALS_MAX: usize = 64;

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 * 1024;

/// Names a socket; never used again after it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId(u64);

enum Arrival {
    Bytes(Vec<u8>),
    Closed(String),
}

/// Something that happened on a socket.
#[derive(Debug)]
pub(crate) enum Event {
    /// A response came.
    Response(SocketId, Response),
    /// The socket is gone, and with it these requests.
    Closed {
        socket: SocketId,
        address: String,
        reason: String,
        lost: Vec<CorrelationId>,
    },
}

struct Socket {
    stream: TcpStream,
    address: String,
    machine: Connection,
}

/// A request was not sent.
#[derive(Debug)]
pub(crate) enum SendFailure {
    /// The socket is closed.
    Closed,
    /// The machine did not take it.
    Refused(SendError),
}

/// All sockets of one client.
pub(crate) struct Network {
    options: ClientOptions,
    started: Instant,
    next_socket: u64,
    sockets: BTreeMap<SocketId, Socket>,
    sender: SyncSender<(SocketId, Arrival)>,
    arrivals: Receiver<(SocketId, Arrival)>,
    events: VecDeque<Event>,
}

impl Network {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        let (sender, arrivals) = sync_channel(ARRIVALS_MAX);
        Self {
            options: options.clone(),
            started: Instant::now(),
            next_socket: 0,
            sockets: BTreeMap::new(),
            sender,
            arrivals,
            events: VecDeque::new(),
        }
    }

    /// The time as the machines count it.
    pub(crate) fn now(&self) -> klamm_model::Instant {
        klamm_model::Instant(0).plus(self.started.elapsed())
    }

    /// Connects and negotiates versions.
    pub(crate) fn dial(&mut self, address: &str) -> Result<SocketId, ClientError> {
        let stream = self
            .connect(address)
            .map_err(|error| ClientError::Connect {
                address: address.to_owned(),
                error,
            })?;
        let socket = SocketId(self.next_socket);
        self.next_socket += 1;
        let reader = stream.try_clone();
        let sender = self.sender.clone();
        let spawned = reader.and_then(|reader| {
            thread::Builder::new()
                .name(format!("read {address}"))
                .spawn(move || read_until_closed(socket, reader, &sender))
        });
        spawned.map_err(|error| ClientError::Connect {
            address: address.to_owned(),
            error,
        })?;
        let machine = Connection::new(&self.options.connection);
        let address = address.to_owned();
        self.sockets.insert(
            socket,
            Socket {
                stream,
                address,
                machine,
            },
        );
        self.write_out(socket);
        self.negotiate(socket)?;
        Ok(socket)
    }

    fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for resolved in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&resolved, self.options.connect_timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(self.options.request_timeout))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn negotiate(&mut self, socket: SocketId) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.options.request_timeout;
        loop {
            match self.sockets.get(&socket) {
                Some(found) if found.machine.is_ready() => return Ok(()),
                Some(_) => {}
                None => return Err(self.why_closed(socket)),
            }
            if !self.pump(deadline) {
                self.close(socket, "no answer to ApiVersions");
                return Err(self.why_closed(socket));
            }
        }
    }

    /// Takes the event that tells why a socket closed.
    pub(crate) fn why_closed(&mut self, wanted: SocketId) -> ClientError {
        let at = self
            .events
            .iter()
            .position(|event| matches!(event, Event::Closed { socket, .. } if *socket == wanted));
        match at.and_then(|at| self.events.remove(at)) {
            Some(Event::Closed {
                address, reason, ..
            }) => ClientError::Closed { address, reason },
            _ => ClientError::Closed {
                address: "a broker".to_owned(),
                reason: "closed before".to_owned(),
            },
        }
    }

    /// True while the socket is open, as far as is known.
    pub(crate) fn is_open(&mut self, socket: SocketId) -> bool {
        while self.pump(Instant::now()) {}
        self.sockets.contains_key(&socket)
    }

    pub(crate) fn machine(&self, socket: SocketId) -> Option<&Connection> {
        self.sockets.get(&socket).map(|socket| &socket.machine)
    }

    pub(crate) fn address(&self, socket: SocketId) -> &str {
        let found = self.sockets.get(&socket);
        found.map_or("a closed connection", |socket| &socket.address)
    }

    /// Lets `send` put a request into the connection's machine, and writes it. After
    /// [`SendFailure::Closed`] an event tells what else is lost.
    pub(crate) fn send(
        &mut self,
        socket: SocketId,
        send: impl FnOnce(&mut Connection) -> Result<CorrelationId, SendError>,
    ) -> Result<CorrelationId, SendFailure> {
        let found = self.sockets.get_mut(&socket).ok_or(SendFailure::Closed)?;
        let correlation_id = send(&mut found.machine).map_err(SendFailure::Refused)?;
        if self.write_out(socket) {
            Ok(correlation_id)
        } else {
            Err(SendFailure::Closed)
        }
    }

    /// Writes what the machine has; false if that closed the socket.
    fn write_out(&mut self, socket: SocketId) -> bool {
        let Some(found) = self.sockets.get_mut(&socket) else {
            return false;
        };
        while let Some(output) = found.machine.take_output() {
            if let Err(error) = found.stream.write_all(&output) {
                self.close(socket, &format!("cannot write: {error}"));
                return false;
            }
        }
        true
    }

    /// Closes a socket; the event tells which requests are lost.
    pub(crate) fn close(&mut self, socket: SocketId, reason: &str) {
        if let Some(found) = self.sockets.remove(&socket) {
            // The peer may have closed already; the reading thread ends in either case.
            let _ = found.stream.shutdown(Shutdown::Both);
            self.events.push_back(Event::Closed {
                socket,
                address: found.address,
                reason: reason.to_owned(),
                lost: found.machine.abandon(),
            });
        }
    }

    /// The next event, or `None` at the deadline.
    pub(crate) fn next_event(&mut self, wait: Duration) -> Option<Event> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if !self.pump(deadline) {
                return None;
            }
        }
    }

    /// Takes events that satisfy `wanted` out of the queue, waiting at most until the deadline;
    /// others stay for [`next_event`](Self::next_event).
    pub(crate) fn wait_for(
        &mut self,
        wait: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Option<Event> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(at) = self.events.iter().position(&wanted) {
                return self.events.remove(at);
            }
            if !self.pump(deadline) {
                return None;
            }
        }
    }

    /// Takes one arrival; false at the deadline.
    fn pump(&mut self, deadline: Instant) -> bool {
        let wait = deadline.saturating_duration_since(Instant::now());
        let (socket, arrival) = match self.arrivals.recv_timeout(wait) {
            Ok(arrival) => arrival,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        };
        match arrival {
            Arrival::Closed(reason) => self.close(socket, &reason),
            Arrival::Bytes(bytes) => self.on_bytes(socket, &bytes),
        }
        true
    }

    fn on_bytes(&mut self, socket: SocketId, bytes: &[u8]) {
        let Some(found) = self.sockets.get_mut(&socket) else {
            return;
        };
        let taken = found.machine.on_input(bytes);
        while let Some(response) = found.machine.next_response() {
            self.events.push_back(Event::Response(socket, response));
        }
        match taken {
            // The negotiation may have one more question.
            Ok(()) => {
                self.write_out(socket);
            }
            Err(error) => self.close(socket, &error.to_string()),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for socket in self.sockets.values() {
            let _ = socket.stream.shutdown(Shutdown::Both);
        }
    }
}

fn read_until_closed(
    socket: SocketId,
    mut stream: TcpStream,
    sender: &SyncSender<(SocketId, Arrival)>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let arrival = match stream.read(&mut chunk) {
            Ok(0) => Arrival::Closed("closed by the broker".to_owned()),
            Ok(count) => Arrival::Bytes(chunk[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Arrival::Closed(error.to_string()),
        };
        let last = matches!(arrival, Arrival::Closed(_));
        // The client may be gone; then nobody wants to know.
        if sender.send((socket, arrival)).is_err() || last {
            return;
        }
    }
}
