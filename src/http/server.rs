//! The control thread: an HTTP server on a single-threaded runtime. Owns its listener; asks the
//! shards through `ControlPlane` and waits for their answers with a deadline.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use klamm_os::clock;
use tokio::sync::{mpsc, oneshot};

use super::listener::AdminListener;
use super::metrics::{NodeFacts, NodeMetrics, PartitionMetrics, ShardMetrics};
use super::metrics_partitions::{PARTITIONS_MAX, TopicPattern, render_partitions};
use super::render::{CONTENT_TYPE, render};
use super::window::Past;

/// How long shards may take to answer a collection.
const COLLECTION_DEADLINE: Duration = Duration::from_secs(1);

/// How long open requests may take to end once the server is told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// What the admin face asks of the process. Called on the control thread; must not block.
pub trait ControlPlane: Send + Sync + 'static {
    /// Whether clients can be served now.
    ///
    /// # Errors
    /// What is still missing, for people.
    fn ready(&self) -> Result<(), String>;

    /// What is known without asking the shards.
    fn node(&self) -> NodeFacts;

    /// Asks every shard for its numbers; each answers through a clone of `replies` from its own
    /// thread. A shard that cannot be asked is left out.
    fn ask_shards(&self, replies: ShardReplies);

    /// Asks every shard in the same way for the partitions of some topics.
    fn ask_partitions(&self, topics: TopicPattern, replies: PartitionReplies);
}

/// Where shards put their answers. Clones belong to one collection; dropping all of them ends it.
#[derive(Debug)]
pub struct Replies<T>(mpsc::Sender<T>);

/// Of their own numbers.
pub type ShardReplies = Replies<ShardMetrics>;

/// Of their partitions.
pub type PartitionReplies = Replies<Vec<PartitionMetrics>>;

impl<T> Clone for Replies<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Replies<T> {
    /// Hands over one shard's answer; never blocks. An answer after the deadline is dropped.
    pub fn answer(&self, metrics: T) {
        // Full or closed means that nobody waits for it any more.
        drop(self.0.try_send(metrics));
    }
}

/// The running admin server.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminServer {
    /// Serves on `listener` from a new thread, to at most `connections_max` connections at a time.
    ///
    /// # Errors
    /// The runtime or the thread could not be made.
    pub fn start(
        listener: TcpListener,
        connections_max: usize,
        control: impl ControlPlane,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("klamm-admin".to_owned())
            .spawn(move || {
                let serving = serve(listener, connections_max, router(control), stopped);
                if let Err(error) = runtime.block_on(serving) {
                    tracing::error!(%error, %address, "admin listener failed");
                }
            })?;
        Ok(Self {
            address,
            stop,
            thread,
        })
    }

    /// The address with the port that it got.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets open requests end for a moment, and joins the thread.
    pub fn stop(self) {
        // The receiver is gone only if the server already ended.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("admin thread panicked");
        }
    }
}

async fn serve(
    listener: TcpListener,
    connections_max: usize,
    router: Router,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let listener = AdminListener::new(listener, connections_max, clock::wall_ms);
    let (ending, ended) = oneshot::channel::<()>();
    let graceful = axum::serve(listener, router).with_graceful_shutdown(async move {
        // An error means that the owner is gone, which also ends the server.
        drop(stopped.await);
        drop(ending);
    });
    let deadline = async move {
        drop(ended.await);
        tokio::time::sleep(STOP_DEADLINE).await;
    };
    tokio::select! {
        served = graceful => served,
        () = deadline => Ok(()),
    }
}

/// What requests share: the control plane, and the collections before. The lock is held for a
/// moment, on this thread only.
struct Served<C> {
    control: C,
    past: Mutex<Past>,
}

fn router<C: ControlPlane>(control: C) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz::<C>))
        .route("/metrics", get(metrics::<C>))
        .route("/metrics/partitions", get(partitions::<C>))
        .with_state(Arc::new(Served {
            control,
            past: Mutex::default(),
        }))
}

/// The process runs; whether it serves clients is readiness' question.
async fn livez() -> &'static str {
    "alive\n"
}

async fn readyz<C: ControlPlane>(State(served): State<Arc<Served<C>>>) -> Response {
    match served.control.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response(),
    }
}

async fn metrics<C: ControlPlane>(State(served): State<Arc<Served<C>>>) -> Response {
    let now = collect(&served.control).await;
    let past = served.past.lock();
    let observed = past
        .unwrap_or_else(PoisonError::into_inner)
        .observe(clock::monotonic(), now);
    page(render(observed))
}

async fn partitions<C: ControlPlane>(
    State(served): State<Arc<Served<C>>>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let topics = match query.split_once('=') {
        None if query.is_empty() => TopicPattern::all(),
        // Names of topics need no escapes, and the star has one at most.
        Some(("topic", pattern)) => TopicPattern::new(&pattern.replace("%2A", "*")),
        _ => {
            let text = "expected nothing, or ?topic=NAME, or ?topic=BEGINNING*\n";
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let shards = served.control.node().shards;
    let ask = |replies| served.control.ask_partitions(topics, replies);
    let found = gather(shards, ask).await;
    let found: Vec<PartitionMetrics> = found.into_iter().flatten().collect();
    if found.len() > PARTITIONS_MAX {
        let text = format!(
            "{} partitions match, and at most {PARTITIONS_MAX} are shown at once; choose topics with ?topic=NAME or ?topic=BEGINNING*\n",
            found.len()
        );
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    page(render_partitions(found))
}

fn page(rendered: Result<String, std::fmt::Error>) -> Response {
    match rendered {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Asks all shards and keeps what they answer before the deadline.
async fn gather<T>(shards: usize, ask: impl FnOnce(Replies<T>)) -> Vec<T> {
    let (sender, mut receiver) = mpsc::channel(shards.max(1));
    ask(Replies(sender));
    let mut answers = Vec::new();
    let gather = async {
        while answers.len() < shards {
            let Some(answer) = receiver.recv().await else {
                break;
            };
            answers.push(answer);
        }
    };
    // Too late means fewer shards, which `klamm_shards_answering` shows.
    drop(tokio::time::timeout(COLLECTION_DEADLINE, gather).await);
    answers
}

async fn collect(control: &impl ControlPlane) -> NodeMetrics {
    let node = control.node();
    let mut shards = gather(node.shards, |replies| control.ask_shards(replies)).await;
    shards.sort_by_key(|metrics: &ShardMetrics| metrics.shard);
    NodeMetrics { node, shards }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Two shards; the second keeps its replies unanswered while `stuck`.
    #[derive(Default)]
    struct Fake {
        ready: AtomicBool,
        stuck: AtomicBool,
        kept: Mutex<Vec<ShardReplies>>,
    }

    impl ControlPlane for Arc<Fake> {
        fn ready(&self) -> Result<(), String> {
            if self.ready.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err("listeners are not open".to_owned())
            }
        }

        fn node(&self) -> NodeFacts {
            NodeFacts {
                shards: 2,
                ..NodeFacts::default()
            }
        }

        fn ask_shards(&self, replies: ShardReplies) {
            for shard in 0..2 {
                if shard == 1 && self.stuck.load(Ordering::SeqCst) {
                    let mut kept = self.kept.lock().expect("no panic");
                    kept.push(replies.clone());
                    continue;
                }
                let replies = replies.clone();
                let thread = std::thread::spawn(move || {
                    replies.answer(ShardMetrics {
                        shard,
                        turns: 5,
                        ..ShardMetrics::default()
                    });
                });
                thread.join().expect("answers");
            }
        }

        fn ask_partitions(&self, topics: TopicPattern, replies: PartitionReplies) {
            for (shard, topic) in [(0, "orders"), (1, "orders"), (1, "bills")] {
                let partition = PartitionMetrics {
                    topic: topic.to_owned(),
                    index: i32::from(shard),
                    shard,
                    ..PartitionMetrics::default()
                };
                let admitted = topics.admits(topic).then_some(partition);
                if shard == 0 || topic == "bills" {
                    replies.answer(admitted.into_iter().collect());
                }
            }
        }
    }

    fn get(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).expect("connects");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("reads");
        let (head, body) = answer.split_once("\r\n\r\n").expect("has a head");
        let status = head.lines().next().expect("has a status");
        (status.to_owned(), body.to_owned())
    }

    fn start() -> (Arc<Fake>, AdminServer) {
        let fake = Arc::new(Fake::default());
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let server = AdminServer::start(listener, 4, Arc::clone(&fake)).expect("starts");
        (fake, server)
    }

    #[test]
    fn readiness_follows_the_process_and_says_what_is_missing() {
        let (fake, server) = start();
        let address = server.address();
        assert_eq!(
            get(address, "/livez"),
            ("HTTP/1.1 200 OK".to_owned(), "alive\n".to_owned())
        );
        assert_eq!(
            get(address, "/readyz"),
            (
                "HTTP/1.1 503 Service Unavailable".to_owned(),
                "not ready: listeners are not open\n".to_owned()
            )
        );
        fake.ready.store(true, Ordering::SeqCst);
        assert_eq!(get(address, "/readyz").0, "HTTP/1.1 200 OK");
        assert_eq!(get(address, "/nothing").0, "HTTP/1.1 404 Not Found");
        server.stop();
        assert!(TcpStream::connect(address).is_err(), "still accepts");
    }

    #[test]
    fn metrics_come_from_every_shard_and_a_stuck_one_is_left_out() {
        let (fake, server) = start();
        let (status, body) = get(server.address(), "/metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(
            body.contains("klamm_shard_turns_total{shard=\"1\"} 5"),
            "{body}"
        );
        fake.stuck.store(true, Ordering::SeqCst);
        let (_, body) = get(server.address(), "/metrics");
        assert!(body.contains("klamm_shards_answering 1\n"), "{body}");
        server.stop();
    }

    #[test]
    fn the_page_of_partitions_chooses_topics() {
        let (_, server) = start();
        let page = |path: &str| get(server.address(), path);
        let (status, body) = page("/metrics/partitions");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(body.contains("topic=\"bills\"") && body.contains("topic=\"orders\""));
        let (_, body) = page("/metrics/partitions?topic=ord*");
        assert!(!body.contains("topic=\"bills\"") && body.contains("topic=\"orders\""));
        let (status, body) = page("/metrics/partitions?group=a");
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
        assert!(body.contains("?topic=NAME"), "{body}");
        server.stop();
    }

    #[test]
    fn an_answer_after_the_deadline_is_dropped() {
        let (sender, receiver) = mpsc::channel(1);
        let replies = Replies(sender);
        drop(receiver);
        replies.answer(ShardMetrics::default());
    }
}
