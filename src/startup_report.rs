//! What the process says when it starts, or cannot. Pure: facts in, lines out; boot gathers the
//! facts, the command prints the lines.

use std::fmt;
use std::path::{Path, PathBuf};

use klamm_os::net::BindError;
use klamm_os::probe::ProbeError;
use klamm_shard::api::BASE_CHECKPOINT;

use crate::config::{Problem, cores_text};
use crate::words::counted;
use klamm_model::{Durability, NodeId};

/// An opened Kafka listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenListener {
    /// Its name.
    pub name: String,
    /// The address with the port that it got.
    pub bound: String,
    /// What clients are told, as host:port.
    pub advertised: String,
}

/// What a start that went well has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFacts {
    /// Version of this program.
    pub version: &'static str,
    /// Release of the running kernel.
    pub kernel: String,
    /// This node.
    pub node_id: NodeId,
    /// The cluster's id, as clients see it.
    pub cluster_id: String,
    /// Number of shards.
    pub shards: usize,
    /// Cores that they are pinned to; empty if they are not.
    pub cores: Vec<usize>,
    /// Kafka listeners.
    pub listeners: Vec<OpenListener>,
    /// Address of the admin listener, if it is on.
    pub admin: Option<String>,
    /// The data folders.
    pub data_dirs: Vec<PathBuf>,
    /// Partitions that were found there.
    pub partitions: usize,
    /// Durability of topics that say nothing else.
    pub durability: Durability,
    /// Time from start to readiness, in milliseconds.
    pub took_ms: u64,
}

impl StartFacts {
    /// The lines to print, most important first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let pinned = if self.cores.is_empty() {
            "not pinned to cores".to_owned()
        } else {
            format!("pinned to cores {}", cores_text(&self.cores))
        };
        let mut lines = vec![
            format!(
                "klamm {} on Linux {}: node {} of cluster {}",
                self.version, self.kernel, self.node_id, self.cluster_id
            ),
            format!("{} {pinned}", counted(self.shards as u64, "shard")),
            format!(
                "data in {} ({})",
                listed(&self.data_dirs),
                counted(self.partitions as u64, "partition")
            ),
            match self.durability {
                Durability::Flushed => {
                    "an acknowledgement survives power loss (klamm.durability=flushed)".to_owned()
                }
                Durability::Written => "an acknowledgement survives the death of the process, not \
                     power loss (klamm.durability=written)"
                    .to_owned(),
            },
        ];
        lines.extend(self.listeners.iter().map(|listener| {
            let OpenListener {
                name,
                bound,
                advertised,
            } = listener;
            if bound == advertised {
                format!("Kafka clients connect to {bound} ({name})")
            } else {
                format!("Kafka clients connect to {advertised}; {name} listens on {bound}")
            }
        }));
        if let Some(admin) = &self.admin {
            lines.push(format!(
                "metrics at http://{admin}/metrics, health at /livez and /readyz"
            ));
        }
        lines.push(format!("ready after {} ms", self.took_ms));
        lines
    }
}

/// Why the process does not start.
#[derive(Debug)]
pub enum StartProblem {
    /// A value of the configuration.
    Config(Problem),
    /// io_uring is forbidden, absent, too old, or short of lockable memory.
    Kernel(ProbeError),
    /// A listener's address cannot be opened.
    Listen {
        /// The key that names the address.
        key: &'static str,
        /// What the kernel said.
        error: BindError,
    },
    /// A listener's host name has no address.
    Resolve {
        /// The key that names the host.
        key: &'static str,
        /// The name.
        host: String,
        /// What the resolver said.
        error: std::io::Error,
    },
    /// The data folder cannot be made, entered or written.
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The data folder's file system has no room for what a start must write.
    DiskFull {
        /// The folder.
        path: PathBuf,
        /// Bytes that may still be written there.
        free: u64,
        /// Bytes that suffice.
        wanted: u64,
        /// What found no room.
        reason: String,
    },
    /// Another process uses the data folder.
    DataDirInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder belongs to something else: another node, another layout, other software.
    DataDirForeign {
        /// The folder.
        path: PathBuf,
        /// What was found and what was expected.
        found: String,
    },
    /// Two data folders are the same, or one lies in the other.
    DataDirsOverlap {
        /// The one inside.
        inner: PathBuf,
        /// The other.
        outer: PathBuf,
    },
    /// A data folder in which partitions lie is not there.
    DataDirMissing {
        /// Where it was when it was used.
        path: PathBuf,
        /// Its `directory.id`.
        directory: String,
        /// A folder at this path is named, and is another.
        is_named: bool,
        /// The file that says that it is in use.
        list: PathBuf,
    },
    /// The data folder is Apache Kafka's, or is being taken over from it.
    DataDirOfKafka {
        /// The folder.
        path: PathBuf,
        /// A takeover was begun and not finished.
        is_underway: bool,
    },
    /// `meta.properties` says nothing that can be read.
    MetaProperties {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// Anything else: what was tried, and what came of it.
    Other {
        /// What was tried, for example `start shard 0`.
        attempt: String,
        /// What came of it.
        reason: String,
    },
}

impl From<Problem> for StartProblem {
    fn from(problem: Problem) -> Self {
        Self::Config(problem)
    }
}

impl From<ProbeError> for StartProblem {
    fn from(error: ProbeError) -> Self {
        Self::Kernel(error)
    }
}

impl fmt::Display for StartProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problem) => problem.fmt(formatter),
            Self::Kernel(error) => error.fmt(formatter),
            Self::Listen { key, error } => write_listen(formatter, key, error),
            Self::Resolve { key, host, error } => write!(
                formatter,
                "{key}: {host} has no address ({error})\n    to change: name an address, or a host \
                 that this machine can resolve (getent hosts {host})"
            ),
            Self::DataDir { path, error } => formatter.write_str(&unusable(path, error)),
            Self::DiskFull {
                path,
                free,
                wanted,
                reason,
            } => write!(
                formatter,
                "the disk of data folder {shown} is full: {reason}\n    to change: make room \
                 there, {wanted} free bytes suffice ({free} are free), and start again; nothing is \
                 lost meanwhile (df -h {shown})",
                shown = path.display()
            ),
            Self::DataDirInUse { path } => write!(
                formatter,
                "data folder {shown} is in use by another process\n    to change: stop that process \
                 (fuser {shown}/* shows it), or set log.dirs to another folder",
                shown = path.display()
            ),
            Self::DataDirForeign { path, found } => write!(
                formatter,
                "data folder {} is not this node's: {found}\n    to change: set log.dirs to this \
                 node's folder, or to an empty one",
                path.display()
            ),
            Self::DataDirsOverlap { inner, outer } => write!(
                formatter,
                "data folders {inner} and {outer} are the same, or one lies in the other\n    to \
                 change: name every folder once in log.dirs, and none that lies in another",
                inner = inner.display(),
                outer = outer.display()
            ),
            Self::DataDirMissing {
                path,
                directory,
                is_named,
                list,
            } => formatter.write_str(&missing(path, directory, *is_named, list)),
            Self::DataDirOfKafka { path, is_underway } => {
                formatter.write_str(&kafkas_folder(path, *is_underway))
            }
            Self::MetaProperties { path, found } => write!(
                formatter,
                "{} is damaged: {found}\n    to change: bring the file back from a copy; it has \
                 the lines version=1, cluster.id=, node.id= and directory.id=, and the rest of the \
                 folder is as it was. Or set log.dirs to an empty folder, which begins a new cluster",
                path.display()
            ),
            Self::Other { attempt, reason } => write!(formatter, "cannot {attempt}: {reason}"),
        }
    }
}

fn write_listen(formatter: &mut fmt::Formatter<'_>, key: &str, error: &BindError) -> fmt::Result {
    write!(formatter, "{error}\n    to change: ")?;
    match error {
        BindError::InUse(address) => write!(
            formatter,
            "stop what uses port {port} (ss -ltnp 'sport = :{port}' shows it), or set {key} to \
             another port; port 0 takes a free one",
            port = address.port()
        ),
        BindError::Forbidden(address) => write!(
            formatter,
            "set {key} to a port of 1024 or above, or permit this one with \
             sysctl -w net.ipv4.ip_unprivileged_port_start={}",
            address.port()
        ),
        BindError::NotOurs(_) => write!(
            formatter,
            "set {key} to an address of this machine (ip address lists them); an address that \
             only clients see belongs into advertised.listeners"
        ),
        BindError::Other(..) => write!(formatter, "set {key} to an address that can be opened"),
    }
}

/// The whole text of a failed start.
#[must_use]
pub fn failed_start(problems: &[StartProblem]) -> String {
    let mut text = String::from("klamm does not start:");
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

/// What is said of a data folder that cannot be made, entered or written.
fn unusable(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    let change = match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!(
            "give it to the user that runs klamm (chown -R $(id -u) {shown}), or set log.dirs to a folder of that user's"
        ),
        std::io::ErrorKind::ReadOnlyFilesystem => {
            "mount its file system writable, or set log.dirs to a folder elsewhere".to_owned()
        }
        std::io::ErrorKind::StorageFull => {
            "free space there, or set log.dirs to a folder elsewhere".to_owned()
        }
        _ => "set log.dirs to a folder that this user can write".to_owned(),
    };
    format!("data folder {shown} cannot be used: {error}\n    to change: {change}")
}

/// Paths one behind the other.
fn listed(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

/// What is said of a start without a folder in which partitions lie.
fn missing(path: &Path, directory: &str, is_named: bool, list: &Path) -> String {
    let shown = path.display();
    let (found, change) = match is_named {
        true => (
            "what is at this path now is another folder",
            "mount its disk there again",
        ),
        false => (
            "log.dirs does not name it",
            "name it in log.dirs, by whatever path it has now",
        ),
    };
    format!(
        "partitions of this node lie in data folder {shown} (directory.id={directory}), and {found}: \
         they would come up empty\n    to change: {change}. If that disk is lost for ever, write the word \
         lost before its line in {}: then the records that lay there are given up",
        list.display()
    )
}

/// What is said of a folder that Apache Kafka wrote.
fn kafkas_folder(path: &Path, is_underway: bool) -> String {
    let path = path.display();
    if is_underway {
        return format!(
            "data folder {path} is being taken over from Apache Kafka, which has not ended well\n    \
             to change: run the same klamm adopt again"
        );
    }
    format!(
        "data folder {path} is Apache Kafka's; nothing in it was changed\n    to change: take it \
         over with klamm adopt {path} --into <new folder>, or set log.dirs to an empty folder, \
         which begins a new cluster. If it is klamm's, {BASE_CHECKPOINT} is missing: bring that \
         back from a copy"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn facts() -> StartFacts {
        StartFacts {
            version: "1.2.3",
            kernel: "6.18".to_owned(),
            node_id: NodeId(1),
            cluster_id: "abc".to_owned(),
            shards: 2,
            cores: vec![0, 1],
            listeners: vec![OpenListener {
                name: "PLAINTEXT".to_owned(),
                bound: "127.0.0.1:40001".to_owned(),
                advertised: "localhost:40001".to_owned(),
            }],
            admin: Some("127.0.0.1:40002".to_owned()),
            data_dirs: vec!["./klamm-data".into()],
            partitions: 1,
            durability: Durability::Flushed,
            took_ms: 12,
        }
    }

    #[test]
    fn a_start_says_where_it_listens_where_data_lies_and_what_survives() {
        assert_eq!(
            facts().lines(),
            [
                "klamm 1.2.3 on Linux 6.18: node 1 of cluster abc",
                "2 shards pinned to cores 0-1",
                "data in ./klamm-data (1 partition)",
                "an acknowledgement survives power loss (klamm.durability=flushed)",
                "Kafka clients connect to localhost:40001; PLAINTEXT listens on 127.0.0.1:40001",
                "metrics at http://127.0.0.1:40002/metrics, health at /livez and /readyz",
                "ready after 12 ms",
            ]
        );
    }

    #[test]
    fn a_start_without_admin_listener_or_pinning_says_neither() {
        let facts = StartFacts {
            admin: None,
            cores: Vec::new(),
            durability: Durability::Written,
            ..facts()
        };
        let text = facts.lines().join("\n");
        assert!(!text.contains("http:"), "{text}");
        assert!(text.contains("not pinned"), "{text}");
        assert!(text.contains("not power loss"), "{text}");
    }

    #[test]
    fn every_problem_says_what_to_change() {
        let address = "127.0.0.1:80".parse().expect("address");
        let check = |problem: StartProblem, parts: &[&str]| {
            let text = problem.to_string();
            for part in parts {
                assert!(text.contains(part), "{part:?} is missing in {text:?}");
            }
        };
        let listen = |error| StartProblem::Listen {
            key: "listeners",
            error,
        };
        check(
            listen(BindError::InUse(address)),
            &[
                "127.0.0.1:80",
                "in use",
                "ss -ltnp",
                "set listeners",
                "port 0",
            ],
        );
        check(
            listen(BindError::Forbidden(address)),
            &["1024", "ip_unprivileged_port_start=80"],
        );
        check(
            listen(BindError::NotOurs(address)),
            &["advertised.listeners"],
        );
        let data_dir = |kind: io::ErrorKind| StartProblem::DataDir {
            path: "/data".into(),
            error: kind.into(),
        };
        check(
            data_dir(io::ErrorKind::PermissionDenied),
            &["/data", "chown", "log.dirs"],
        );
        check(data_dir(io::ErrorKind::ReadOnlyFilesystem), &["mount"]);
        check(
            StartProblem::DataDirInUse {
                path: "/data".into(),
            },
            &["/data", "another process", "log.dirs"],
        );
        check(
            StartProblem::MetaProperties {
                path: "/data/meta.properties".into(),
                found: "line 3: expected a node id".to_owned(),
            },
            &[
                "/data/meta.properties is damaged",
                "line 3",
                "node.id=",
                "log.dirs",
            ],
        );
        check(
            StartProblem::Kernel(ProbeError::DisabledBySysctl(2)),
            &["sysctl -w kernel.io_uring_disabled=0"],
        );
        check(
            StartProblem::Kernel(ProbeError::Filtered),
            &["seccomp", "io_uring_setup"],
        );
        check(
            StartProblem::Kernel(ProbeError::MemoryLock {
                limit: 65_536,
                needed: 524_288,
            }),
            &["65536", "ulimit -l 512", "LimitMEMLOCK"],
        );
    }

    #[test]
    fn a_failed_start_names_all_problems() {
        let text = failed_start(&[
            StartProblem::DataDirInUse { path: "/a".into() },
            StartProblem::DataDirInUse { path: "/b".into() },
        ]);
        assert!(
            text.starts_with("klamm does not start:\n  data folder /a"),
            "{text}"
        );
        assert!(text.contains("\n  data folder /b"), "{text}");
    }
}
