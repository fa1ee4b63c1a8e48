//! What connections the admin face keeps: few, and none for long. The clients of this listener are
//! not asked who they are, and it must not cost the clients of Kafka anything.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep};

/// Connections at a time. A newcomer beyond takes the place of the oldest, so that whoever holds
/// many keeps nobody from asking whether this node lives.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// How long a connection may go without being sent a byte: the time for a whole request to come,
/// for an answer to be taken, and between two requests.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Least time between two lines about connections that made room.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// First millisecond of the year 10,000.
const DATES_END_MS: i64 = 253_402_300_800_000;

/// Bounds the connections of an admin listener.
///
/// It also closes connections while HTTP cannot write the date: hyper puts one on every answer, and
/// panics over a year that has none in HTTP (RFC 9110, 5.6.7: four digits; its own limit: 1970).
/// Connections that are open when the clock goes back keep the date that they had; hyper renders a
/// new one only for a later time.
pub(super) struct AdminListener {
    listener: TcpListener,
    clock_ms: fn() -> i64,
    silence_max: Duration,
    places: Arc<Semaphore>,
    /// Rung to end a connection, the oldest first; some have ended by themselves.
    open: VecDeque<oneshot::Sender<()>>,
    crowded: Crowded,
}

/// How often the ceiling was met, and when that was said.
#[derive(Default)]
struct Crowded {
    unsaid: u64,
    said_at: Option<Instant>,
}

impl AdminListener {
    pub(super) fn new(
        listener: TcpListener,
        connections_max: usize,
        clock_ms: fn() -> i64,
    ) -> Self {
        Self {
            listener,
            clock_ms,
            silence_max: SILENCE_MAX,
            places: Arc::new(Semaphore::new(connections_max.clamp(1, CONNECTIONS_MAX))),
            open: VecDeque::new(),
            crowded: Crowded::default(),
        }
    }

    /// A place for a new connection; the oldest ends if there is none.
    async fn place(&mut self, peer: SocketAddr) -> Option<OwnedSemaphorePermit> {
        self.open.retain(|connection| !connection.is_closed());
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        self.crowded.note(peer);
        while let Some(oldest) = self.open.pop_front() {
            // One that ended meanwhile left its place, too.
            if oldest.send(()).is_ok() {
                break;
            }
        }
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}

impl Crowded {
    fn note(&mut self, peer: SocketAddr) {
        self.unsaid += 1;
        let now = Instant::now();
        if self.said_at.is_some_and(|at| now < at + LINE_EVERY) {
            return;
        }
        self.said_at = Some(now);
        let connections = std::mem::take(&mut self.unsaid);
        tracing::warn!(
            %peer, connections,
            "admin connections closed, the oldest first: more are opened than klamm.admin.listener keeps"
        );
    }
}

impl axum::serve::Listener for AdminListener {
    type Io = AdminConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
            let now = (self.clock_ms)();
            if !(0..DATES_END_MS).contains(&now) {
                tracing::warn!(
                    %peer, clock_ms = now,
                    "admin connection closed: the wall clock must stand between 1970 and 9999 for HTTP; set it"
                );
                continue;
            }
            let Some(place) = self.place(peer).await else {
                continue;
            };
            let (end, ended) = oneshot::channel();
            self.open.push_back(end);
            let connection = AdminConnection {
                stream,
                silence_max: self.silence_max,
                silent_until: Box::pin(tokio::time::sleep(self.silence_max)),
                ended,
                _place: place,
            };
            return (connection, peer);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when it was silent for too long, or when its place is wanted.
pub(super) struct AdminConnection {
    stream: TcpStream,
    silence_max: Duration,
    silent_until: Pin<Box<Sleep>>,
    ended: oneshot::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl AdminConnection {
    /// An error once the connection must end; otherwise the task is woken then.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if Pin::new(&mut self.ended).poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.silent_until.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn sent(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        if matches!(outcome, Ok(1..)) {
            let until = Instant::now() + self.silence_max;
            self.silent_until.as_mut().reset(until);
        }
        outcome
    }
}

impl AsyncRead for AdminConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for AdminConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let sent = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        Poll::Ready(self.sent(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces));
        Poll::Ready(self.sent(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn connection_is_closed_while_http_cannot_write_the_date() {
        static CLOCK_MS: AtomicI64 = AtomicI64::new(0);
        let bound = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = bound.local_addr().expect("is bound");
        bound.set_nonblocking(true).expect("is a socket");
        let runtime = runtime();
        let accepted = |clock_ms| {
            CLOCK_MS.store(clock_ms, Ordering::SeqCst);
            // Two call; where the first is refused, the clock is set right for the second.
            let mut first = std::net::TcpStream::connect(address).expect("connects");
            let asked = std::thread::spawn(move || {
                let mut byte = [0];
                let ended = first.read(&mut byte);
                CLOCK_MS.store(1, Ordering::SeqCst);
                let second = std::net::TcpStream::connect(address).expect("connects");
                (ended, second)
            });
            let bound = bound.try_clone().expect("clones");
            let (connection, peer) = runtime.block_on(async {
                let listener = TcpListener::from_std(bound).expect("registers");
                let clock_ms = || CLOCK_MS.load(Ordering::SeqCst);
                let mut listener = AdminListener::new(listener, CONNECTIONS_MAX, clock_ms);
                axum::serve::Listener::accept(&mut listener).await
            });
            drop(connection);
            let (ended, second) = asked.join().expect("does not panic");
            assert_eq!(ended.expect("the connection was closed"), 0);
            second.local_addr().expect("is connected") == peer
        };
        let year_ms = 365 * 86_400_000;
        assert!(accepted(-20 * year_ms), "before 1970 the first is refused");
        assert!(accepted(9_000 * year_ms), "and after 9999");
        assert!(!accepted(50 * year_ms), "otherwise it is served");
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .expect("a runtime")
    }

    /// Serves one page to at most two connections that may be silent this long, while `ask` runs.
    fn serve(silence_max: Duration, ask: impl FnOnce(SocketAddr) + Send + 'static) {
        runtime().block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            let address = listener.local_addr().expect("is bound");
            let mut listener = AdminListener::new(listener, 2, || 0);
            listener.silence_max = silence_max;
            let router = axum::Router::new().route("/", axum::routing::get(async || "here"));
            let (over, ended) = oneshot::channel();
            let asking = std::thread::spawn(move || {
                ask(address);
                over.send(()).expect("waited for");
            });
            tokio::select! {
                _ = axum::serve(listener, router) => unreachable!("serves for ever"),
                ended = ended => ended.expect("all was as asserted"),
            }
            asking.join().expect("all was as asserted");
        });
    }

    fn begin(address: SocketAddr, text: &str) -> std::net::TcpStream {
        let mut stream = std::net::TcpStream::connect(address).expect("connects");
        let deadline = Some(Duration::from_secs(30));
        stream.set_read_timeout(deadline).expect("a live socket");
        io::Write::write_all(&mut stream, text.as_bytes()).expect("sends");
        stream
    }

    /// What comes until the server closes.
    fn rest(mut stream: std::net::TcpStream) -> String {
        let mut text = String::new();
        match stream.read_to_string(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => text,
        }
    }

    #[test]
    fn whoever_asks_nothing_whole_is_closed_in_time() {
        serve(Duration::from_millis(50), |address| {
            for text in ["", "GET", "GET / HTTP/1.1\r\nhost: x\r\n"] {
                assert_eq!(rest(begin(address, text)), "");
            }
            let kept = rest(begin(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
            assert!(kept.ends_with("here"), "{kept}");
        });
    }

    #[test]
    fn newcomer_takes_the_place_of_the_oldest() {
        serve(Duration::from_secs(60), |address| {
            let whole = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let (oldest, second) = (begin(address, "GET"), begin(address, "GET"));
            assert!(rest(begin(address, whole)).ends_with("here"));
            assert_eq!(rest(oldest), "", "the oldest made room");
            // One place is free again, so the second is let alone.
            assert!(rest(begin(address, whole)).ends_with("here"));
            let mut second = second;
            io::Write::write_all(&mut second, &whole.as_bytes()[3..]).expect("is open");
            assert!(rest(second).ends_with("here"));
        });
    }
}
