//! The control thread: an HTTP server on a single-threaded runtime. Owns its listener; asks the
//! shards through `ControlPlane` and waits for their answers with a deadline.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use klamm_os::clock;
use tokio::sync::{mpsc, oneshot};

use super::groups::{
    Found, GroupPage, HistoryPage, ListPart, ListedAfter, list_page, listed_after, one_of, refusal,
    unescaped,
};
use super::listener::AdminListener;
use super::metrics::{NodeFacts, NodeMetrics, PartitionMetrics, ShardMetrics};
use super::metrics_groups::{
    GROUP_NAME_BYTES_MAX, GROUP_PARTITIONS_MAX, GroupMetrics, GroupPattern, OneGroupMetrics,
    name_bytes, render_groups,
};
use super::metrics_partitions::{PARTITIONS_MAX, TopicPattern, render_partitions};
use super::render::{CONTENT_TYPE, render};
use super::window::Past;

/// How long shards may take to answer a collection.
const COLLECTION_DEADLINE: Duration = Duration::from_secs(1);

/// How long shards may take to look at one group, which may have to read from disk for it.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

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

    /// Asks every shard in the same way for its groups behind a name.
    fn ask_groups(&self, listed: ListedAfter, replies: ListReplies);

    /// Asks every shard in the same way for one group.
    fn ask_group(&self, group: String, replies: Replies<Found<GroupPage>>);

    /// Asks every shard in the same way what happened to one group.
    fn ask_history(&self, group: String, replies: Replies<Found<HistoryPage>>);

    /// Asks every shard in the same way for the numbers of some groups.
    fn ask_group_metrics(&self, groups: GroupPattern, replies: Replies<GroupMetrics>);
}

/// Where shards put their answers. Clones belong to one collection; dropping all of them ends it.
#[derive(Debug)]
pub struct Replies<T>(mpsc::Sender<T>);

/// Of their own numbers.
pub type ShardReplies = Replies<ShardMetrics>;

/// Of their partitions.
pub type PartitionReplies = Replies<Vec<PartitionMetrics>>;

/// Of their groups.
pub type ListReplies = Replies<ListPart>;

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
        .route("/metrics/groups", get(group_metrics::<C>))
        .route("/groups", get(groups::<C>))
        // The empty name is one, too.
        .route("/groups/", get(nameless_group::<C>))
        .route("/groups/{group}", get(group::<C>))
        .route("/groups//history", get(nameless_history::<C>))
        .route("/groups/{group}/history", get(history::<C>))
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
    let found = gather(shards, COLLECTION_DEADLINE, ask).await;
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

async fn group_metrics<C: ControlPlane>(
    State(served): State<Arc<Served<C>>>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let pattern = match query.split_once('=') {
        None if query.is_empty() => Ok(GroupPattern::all()),
        Some(("group", pattern)) => unescaped(pattern).map(|pattern| GroupPattern::new(&pattern)),
        _ => Err("expected nothing, or ?group=NAME, or ?group=BEGINNING*".to_owned()),
    };
    let pattern = match pattern {
        Ok(pattern) => pattern,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason + "\n").into_response(),
    };
    let shards = served.control.node().shards;
    let ask = |replies| served.control.ask_group_metrics(pattern, replies);
    let found = gather(shards, COLLECTION_DEADLINE, ask).await;
    let is_too_much = found.iter().any(|part| part.is_too_much);
    let groups: Vec<OneGroupMetrics> = found.into_iter().flat_map(|part| part.groups).collect();
    let sizes = groups.iter().map(|group| {
        let partitions = group.partitions.len();
        (partitions, name_bytes(&group.group, partitions))
    });
    let (partitions, bytes) = sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if is_too_much || partitions > GROUP_PARTITIONS_MAX || bytes > GROUP_NAME_BYTES_MAX {
        let text = format!(
            "more partitions of groups match than the {GROUP_PARTITIONS_MAX} that are shown at once, or names of groups are too long; choose groups with ?group=NAME or ?group=BEGINNING*\n"
        );
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    page(render_groups(groups))
}

async fn groups<C: ControlPlane>(
    State(served): State<Arc<Served<C>>>,
    RawQuery(query): RawQuery,
) -> Response {
    let listed = match listed_after(&query.unwrap_or_default()) {
        Ok(listed) => listed,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let limit = listed.limit;
    let shards = served.control.node().shards;
    let ask = |replies| served.control.ask_groups(listed, replies);
    let parts = gather(shards, COLLECTION_DEADLINE, ask).await;
    if parts.len() < shards {
        let reason = "not all shards answered in time; ask again";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    list_page(parts, limit)
}

async fn group<C: ControlPlane>(
    served: State<Arc<Served<C>>>,
    Path(group): Path<String>,
) -> Response {
    one_group(served, group).await
}

async fn nameless_group<C: ControlPlane>(served: State<Arc<Served<C>>>) -> Response {
    one_group(served, String::new()).await
}

async fn one_group<C: ControlPlane>(
    State(served): State<Arc<Served<C>>>,
    group: String,
) -> Response {
    let shards = served.control.node().shards;
    let ask = |replies| served.control.ask_group(group, replies);
    let found = gather(shards, LOOK_DEADLINE, ask).await;
    one_of(shards, found, "there is no such group")
}

async fn history<C: ControlPlane>(
    served: State<Arc<Served<C>>>,
    Path(group): Path<String>,
) -> Response {
    history_of(served, group).await
}

async fn nameless_history<C: ControlPlane>(served: State<Arc<Served<C>>>) -> Response {
    history_of(served, String::new()).await
}

async fn history_of<C: ControlPlane>(
    State(served): State<Arc<Served<C>>>,
    group: String,
) -> Response {
    let shards = served.control.node().shards;
    let ask = |replies| served.control.ask_history(group, replies);
    let found = gather(shards, COLLECTION_DEADLINE, ask).await;
    one_of(shards, found, "nothing is remembered of such a group")
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
async fn gather<T>(shards: usize, deadline: Duration, ask: impl FnOnce(Replies<T>)) -> Vec<T> {
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
    drop(tokio::time::timeout(deadline, gather).await);
    answers
}

async fn collect(control: &impl ControlPlane) -> NodeMetrics {
    let node = control.node();
    let ask = |replies| control.ask_shards(replies);
    let mut shards = gather(node.shards, COLLECTION_DEADLINE, ask).await;
    shards.sort_by_key(|metrics: &ShardMetrics| metrics.shard);
    NodeMetrics { node, shards }
}

#[cfg(test)]
mod tests {
    use super::super::groups::GroupLine;
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

        fn ask_groups(&self, listed: ListedAfter, replies: ListReplies) {
            let line = |name: &str| GroupLine {
                group: name.to_owned(),
                ..GroupLine::default()
            };
            let names = ["a", "b\"c"].into_iter();
            let behind = names.filter(|name| listed.after.as_deref().is_none_or(|one| *name > one));
            replies.answer(ListPart {
                groups: behind.map(line).collect(),
                ..ListPart::default()
            });
            if !self.stuck.load(Ordering::SeqCst) {
                replies.answer(ListPart::default());
            }
        }

        fn ask_group(&self, group: String, replies: Replies<Found<GroupPage>>) {
            replies.answer(Found::NotHere);
            let line = GroupLine {
                group,
                ..GroupLine::default()
            };
            replies.answer(Found::Here(GroupPage {
                line,
                ..GroupPage::default()
            }));
        }

        fn ask_history(&self, _: String, replies: Replies<Found<HistoryPage>>) {
            replies.answer(Found::NotHere);
            replies.answer(Found::NotHere);
        }

        fn ask_group_metrics(&self, groups: GroupPattern, replies: Replies<GroupMetrics>) {
            let group = |name: &str| OneGroupMetrics {
                group: name.to_owned(),
                ..OneGroupMetrics::default()
            };
            let names = ["a", "b c"].into_iter().filter(|name| groups.admits(name));
            replies.answer(GroupMetrics {
                groups: names.map(group).collect(),
                is_too_much: self.stuck.load(Ordering::SeqCst),
            });
            replies.answer(GroupMetrics::default());
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
    fn groups_are_found_by_any_name_and_the_list_goes_on_behind_one() {
        let (fake, server) = start();
        let page = |path: &str| get(server.address(), path);
        let (status, body) = page("/groups");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(
            body.contains(r#""group":"a""#) && body.contains(r#""group":"b\"c""#),
            "{body}"
        );
        let (_, body) = page("/groups?after=a");
        assert!(!body.contains(r#""group":"a""#), "{body}");
        assert_eq!(page("/groups?limit=no").0, "HTTP/1.1 400 Bad Request");
        for (path, name) in [
            ("/groups/plain", "plain"),
            ("/groups/a%2Fhistory", "a/history"),
            ("/groups/%22%0A%C3%BC", "\\\"\\n\u{fc}"),
            ("/groups/", ""),
        ] {
            let (status, body) = page(path);
            assert_eq!(status, "HTTP/1.1 200 OK", "{path}");
            let name = name.replace("\\\\", "\\");
            assert!(
                body.contains(&format!("\"group\":\"{name}\"")),
                "{path}: {body}"
            );
        }
        assert_eq!(page("/groups/%ff").0, "HTTP/1.1 400 Bad Request");
        for path in ["/groups/a/history", "/groups//history"] {
            assert_eq!(page(path).0, "HTTP/1.1 404 Not Found", "{path}");
        }
        fake.stuck.store(true, Ordering::SeqCst);
        let (status, body) = page("/groups");
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable", "{body}");
        server.stop();
    }

    #[test]
    fn the_page_of_groups_chooses_groups_and_refuses_more_than_it_shows() {
        let (fake, server) = start();
        let page = |path: &str| get(server.address(), path);
        let (_, body) = page("/metrics/groups?group=b+*");
        assert!(body.contains("{consumergroup=\"b c\"}"), "{body}");
        assert!(!body.contains("{consumergroup=\"a\"}"), "{body}");
        assert_eq!(
            page("/metrics/groups?topic=a").0,
            "HTTP/1.1 400 Bad Request"
        );
        fake.stuck.store(true, Ordering::SeqCst);
        let (status, body) = page("/metrics/groups");
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
        assert!(body.contains("?group=NAME"), "{body}");
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
