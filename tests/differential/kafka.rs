//! Apache Kafka as a process: its jars brought by Maven or by `KAFKA_HOME`, a folder formatted, one
//! node that is broker and controller, with the few settings that the brokers of these tests share.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::install;

/// The release that klamm is compared with.
const RELEASE: &str = "4.3.1";
/// How long a start may take on a machine with other work.
const START_LIMIT: Duration = Duration::from_secs(120);
/// What a request's thread, heap and class loading may cost beside the tests: a small heap, and no
/// second compiler, which would only warm up.
const JAVA: &[&str] = &[
    "-Xmx512m",
    "-Xms128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
];

/// A running Apache Kafka on a folder of its own.
pub(crate) struct Kafka {
    _process: Running,
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

/// The class path of Apache Kafka; an error is why there is none.
fn class_path() -> Result<String, String> {
    if let Some(home) = std::env::var_os("KAFKA_HOME") {
        let libs = PathBuf::from(home).join("libs");
        if libs.join(format!("kafka-clients-{RELEASE}.jar")).is_file() {
            return Ok(libs.join("*").display().to_string());
        }
    }
    install::java().map(|path| path.display().to_string())
}

impl Kafka {
    /// Starts it with these settings besides its addresses and folder.
    ///
    /// # Errors
    /// There is no Java, or there are no jars.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Result<Self, String> {
        let version = Command::new("java").arg("-version").output();
        version.map_err(|error| format!("no java: {error}"))?;
        let class_path = class_path()?;
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        // A port that was free may be taken before Kafka listens on it.
        for _ in 0..3 {
            if let Some((process, address)) = try_start(&class_path, folder.path(), settings) {
                return Ok(Self {
                    _process: process,
                    folder,
                    address,
                });
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("Apache Kafka does not start:\n{log}");
    }

    /// Where its logs lie.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn try_start(
    class_path: &str,
    folder: &Path,
    settings: &[(&str, &str)],
) -> Option<(Running, SocketAddr)> {
    let (broker, controller) = (free_port(), free_port());
    let data = folder.join("data");
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        format!("listeners=PLAINTEXT://{broker},CONTROLLER://{controller}"),
        format!("advertised.listeners=PLAINTEXT://{broker}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("controller.quorum.voters=1@{controller}"),
        format!("log.dirs={}", data.display()),
    ];
    lines.extend(settings.iter().map(|(key, value)| format!("{key}={value}")));
    let file = folder.join("server.properties");
    fs::write(&file, lines.join("\n")).expect("its settings");
    let log = || {
        File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
    };
    let java = |words: &[&str]| {
        let mut command = Command::new("java");
        command.args(JAVA).args(["-cp", class_path]).args(words);
        command.arg(&file).stdin(Stdio::null());
        command.stdout(log().expect("its log"));
        command.stderr(log().expect("its log"));
        command
    };
    if !data.join("meta.properties").exists() {
        // Any 16 bytes in base64 name a cluster.
        let cluster = "a2xhbW0tZGlmZmVyZW50aQ";
        let tool = "kafka.tools.StorageTool";
        let status = java(&[tool, "format", "-t", cluster, "-c"]).status();
        if !status.is_ok_and(|status| status.success()) {
            return None;
        }
    }
    let child = java(&["kafka.Kafka"]).spawn().expect("java is there");
    let mut running = Running(child);
    let deadline = Instant::now() + START_LIMIT;
    while Instant::now() < deadline {
        if TcpStream::connect(broker).is_ok() {
            return Some((running, broker));
        }
        if running.0.try_wait().is_ok_and(|status| status.is_some()) {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    None
}

/// The process, which ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a live socket")
}
