//! The real binary as a process on a folder of its own: started, asked for its ports, stopped,
//! killed and started again. With `KLAMM_TEST_BROKER=host:port` the tests judge a broker that runs
//! already, whoever made it; those that need the process itself are skipped then.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::log::Log;
use super::{Client, DEADLINE, wait_for};

/// Values for `--set` that every broker of these tests gets: ports that are free, and little disk.
const DEFAULTS: &[(&str, &str)] = &[
    ("listeners", "PLAINTEXT://127.0.0.1:0"),
    ("klamm.admin.listener", "127.0.0.1:0"),
    ("klamm.wal.bytes", "16777216"),
    ("klamm.wal.file.bytes", "4194304"),
    // The records of most tests are years old.
    ("log.retention.ms", "-1"),
];

/// True when the binary under test was built with optimisation; times are judged then only.
pub(crate) const fn is_release() -> bool {
    !cfg!(debug_assertions)
}

/// Keys and values that differ from a test's defaults; the later one wins. `None`: the key is not
/// mentioned, so that klamm's own default holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    keys: Vec<(String, Option<String>)>,
    variables: Vec<(String, String)>,
    open_files: Option<usize>,
}

impl Options {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub(crate) fn set(self, key: &str, value: impl ToString) -> Self {
        self.put(key, Some(value.to_string()))
    }

    /// Does not mention the key, even if these tests have a default of their own for it.
    #[must_use]
    pub(crate) fn unset(self, key: &str) -> Self {
        self.put(key, None)
    }

    fn put(mut self, key: &str, value: Option<String>) -> Self {
        self.keys.retain(|(other, _)| other != key);
        self.keys.push((key.to_owned(), value));
        self
    }

    /// A variable of the process's environment.
    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// The limit of open files that the process begins with and cannot raise.
    #[must_use]
    pub(crate) const fn open_files(mut self, limit: usize) -> Self {
        self.open_files = Some(limit);
        self
    }

    fn with_defaults(&self, folder: &Path) -> Vec<(String, String)> {
        let mut all = Self::default();
        for (key, value) in DEFAULTS {
            all = all.set(key, value);
        }
        all = all.set("log.dirs", folder.display());
        for (key, value) in &self.keys {
            all = all.put(key, value.clone());
        }
        // Where a value names a folder in the broker's own.
        let own = folder.display().to_string();
        let mentioned = all.keys.into_iter();
        mentioned
            .filter_map(|(key, value)| Some((key, value?.replace("{folder}", &own))))
            .collect()
    }
}

/// `klamm serve` as a process, whether it comes up or not.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) log: Log,
    begun: Instant,
}

impl Process {
    pub(crate) fn start(folder: &Path, options: &Options) -> Self {
        let mut command = match options.open_files {
            None => Command::new(env!("CARGO_BIN_EXE_klamm")),
            Some(limit) => {
                // The shell sets its own limit and becomes the broker.
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()]);
                shell.arg(env!("CARGO_BIN_EXE_klamm"));
                shell
            }
        };
        command.arg("serve");
        // Every ended connection, also beyond those that the default filter shows.
        command.args(["--log-filter", "info,klamm::net=debug"]);
        for (key, value) in options.with_defaults(folder) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.env_remove("RUST_LOG");
        command.envs(options.variables.iter().cloned());
        let begun = Instant::now();
        let mut child = command.spawn().expect("the binary under test starts");
        let log = Log::default();
        log.follow(child.stdout.take().expect("piped"));
        log.follow(child.stderr.take().expect("piped"));
        Self { child, log, begun }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Time since the process was started.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Sends a signal by its name to this process and no other.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &id])
            .status();
        assert!(sent.expect("a shell").success(), "SIG{name} to {id}");
    }

    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        self.child.wait().expect("our child");
    }

    /// Waits for the end; what it wrote is complete then.
    pub(crate) fn end(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                self.log.wait_for_end(Duration::from_secs(5));
                return status;
            }
            if Instant::now() > deadline {
                let stacks = self.stacks();
                self.kill();
                panic!(
                    "klamm did not end within {limit:?}; {stacks}\n{}",
                    self.log.text()
                );
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Where its threads are in the kernel, for the report of a process that hangs.
    fn stacks(&self) -> String {
        let tasks = format!("/proc/{}/task", self.id());
        let threads = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let of = |task: PathBuf| {
            let (name, place) = (read(task.join("comm")), read(task.join("wchan")));
            format!("{} in {}", name.trim(), place.trim())
        };
        threads
            .map(|thread| of(thread.path()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// A number of `/proc/<id>/status`, in its unit.
    pub(crate) fn status_number(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let text = std::fs::read_to_string(path).expect("the process runs");
        let line = text
            .lines()
            .find(|line| line.starts_with(field))
            .expect(field);
        let number = line.split_whitespace().nth(1).expect(field);
        number.parse().expect(field)
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_number("VmRSS:") * 1024
    }

    /// The most that was ever resident.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status_number("VmHWM:") * 1024
    }

    /// Addresses on which this process accepts TCP connections, as the kernel tells them.
    pub(crate) fn listens_on(&self) -> BTreeSet<SocketAddr> {
        let folder = PathBuf::from(format!("/proc/{}", self.id()));
        let descriptors = std::fs::read_dir(folder.join("fd")).expect("the process runs");
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let own: BTreeSet<String> = targets
            .filter_map(|target| {
                let inode = target.to_str()?.strip_prefix("socket:[")?;
                inode.strip_suffix(']').map(str::to_owned)
            })
            .collect();
        let mut found = BTreeSet::new();
        for table in ["net/tcp", "net/tcp6"] {
            let text = std::fs::read_to_string(folder.join(table)).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<_> = line.split_whitespace().collect();
                let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
                    panic!("{table} has a line {line:?}");
                };
                if state == TCP_LISTEN && own.contains(inode) {
                    found.insert(address_of_kernel(local).expect(local));
                }
            }
        }
        found
    }

    /// Processor time that it has used, by all threads.
    pub(crate) fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/task", self.id());
        let of = |task: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        let tasks = std::fs::read_dir(path).expect("the process runs");
        Duration::from_nanos(tasks.filter_map(of).sum())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Without a warning.
    Kill,
    /// As a supervisor asks it to.
    Stop,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Kill, Self::Stop];
}

/// A broker that serves.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Option<Process>,
    folder: Option<tempfile::TempDir>,
    options: Options,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    /// From the start of the process to its first answer.
    pub(crate) started_in: Duration,
}

impl Broker {
    /// A new broker with the defaults of these tests, or the one that runs already.
    pub(crate) fn start() -> Self {
        Self::start_with(Options::new())
    }

    /// A new broker with other values, or the one that runs already.
    pub(crate) fn start_with(options: Options) -> Self {
        if let Some(address) = external() {
            return Self {
                process: None,
                folder: None,
                options,
                address,
                admin: None,
                started_in: Duration::ZERO,
            };
        }
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        Self::start_on(folder, options)
    }

    fn start_on(folder: tempfile::TempDir, options: Options) -> Self {
        let process = Process::start(folder.path(), &options);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let started_in = Duration::ZERO;
        let folder = Some(folder);
        let mut broker = Self {
            process: Some(process),
            folder,
            options,
            address,
            admin: None,
            started_in,
        };
        broker.wait_until_it_serves();
        broker
    }

    /// A new broker whose process the test needs; `None`, said loudly, where there is none.
    pub(crate) fn own(test: &str, options: Options) -> Option<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        Self::own_on(test, folder, options)
    }

    /// [`own`](Self::own), on a folder that is there already.
    pub(crate) fn own_on(test: &str, folder: tempfile::TempDir, options: Options) -> Option<Self> {
        if external().is_some() {
            super::skipped(
                test,
                "KLAMM_TEST_BROKER names a broker whose process is not ours",
            );
            return None;
        }
        Some(Self::start_on(folder, options))
    }

    fn wait_until_it_serves(&mut self) {
        let process = self.process.as_ref().expect("started");
        let find = |prefix: &str| {
            let found = process
                .log
                .find(0, DEADLINE, |line| address_behind(line, prefix));
            found
                .unwrap_or_else(|| panic!("klamm does not say {prefix:?}:\n{}", process.log.text()))
        };
        self.address = find("Kafka clients connect to ");
        self.admin = Some(find("metrics at http://"));
        wait_for("readiness", || {
            (self.http("/readyz").0 == 200).then_some(())
        });
        Client::connect(self.address).api_versions();
        self.started_in = process.begun.elapsed();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().expect("our own broker").path()
    }

    /// The process, if it is ours.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    pub(crate) fn log_length(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.log.len())
    }

    /// Waits for a line at or behind `from` that holds all parts; nothing to check with a broker
    /// whose log we do not have.
    pub(crate) fn expect_log(&self, from: usize, parts: &[&str]) {
        let Some(process) = &self.process else { return };
        let found = process.log.find(from, Duration::from_secs(10), |line| {
            parts.iter().all(|part| line.contains(part)).then_some(())
        });
        assert!(
            found.is_some(),
            "no line with {parts:?} in the log:\n{}",
            process.log.text()
        );
    }

    /// A number of the metrics page: the sum over all its lines.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.http("/metrics");
        let lines = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| value.parse::<u64>().expect("a whole number"))
        });
        let values: Vec<u64> = lines.collect();
        assert!(!values.is_empty(), "no metric {name}:\n{text}");
        values.iter().sum()
    }

    /// Ends the process without a warning, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.as_mut().expect("our own broker").kill();
    }

    /// Ends the process as a supervisor does; gives how long that took.
    pub(crate) fn stop(&mut self) -> Duration {
        let process = self.process.as_mut().expect("our own broker");
        let begun = Instant::now();
        process.signal("TERM");
        let status = process.end(DEADLINE);
        assert!(
            status.success(),
            "{status} after SIGTERM:\n{}",
            process.log.text()
        );
        begun.elapsed()
    }

    /// Ends the process one way or the other; gives how long that took.
    pub(crate) fn end(&mut self, end: End) -> Duration {
        let begun = Instant::now();
        match end {
            End::Kill => self.kill(),
            End::Stop => {
                self.stop();
            }
        }
        begun.elapsed()
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        self.process.as_mut().expect("our own broker").end(DEADLINE)
    }

    /// Starts it again on the same folder.
    pub(crate) fn start_again(&mut self) {
        self.start_again_with(self.options.clone());
    }

    /// Starts it again on the same folder with other values.
    pub(crate) fn start_again_with(&mut self, options: Options) {
        let running = self.process.as_mut().is_some_and(Process::is_running);
        assert!(!running, "stop or kill it first");
        self.process = Some(Process::start(self.folder(), &options));
        self.options = options;
        self.wait_until_it_serves();
    }

    /// Starts it again and kills it before it may have come up.
    pub(crate) fn start_again_and_kill(&mut self, after: Duration) {
        let mut process = Process::start(self.folder(), &self.options);
        // The moment is meant to be arbitrary: nothing is waited for.
        let begun = Instant::now();
        while begun.elapsed() < after {
            std::thread::park_timeout(after.saturating_sub(begun.elapsed()));
        }
        process.kill();
    }

    /// Where the admin face of our own broker listens.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("our own broker")
    }

    /// Status and body of a GET on the admin listener; status 0 where nobody answers.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        let admin = self.admin();
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(admin)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: klamm\r\nConnection: close\r\n\r\n"
            )?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().unwrap_or_default();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    /// The broker still serves: it makes a topic, keeps a record and gives it back.
    pub(crate) fn is_healthy(&mut self) {
        if let Some(process) = self.process.as_mut() {
            assert!(
                process.is_running(),
                "klamm is gone:\n{}",
                process.log.text()
            );
            assert_eq!(self.http("/readyz").0, 200);
        }
        let mut client = self.client();
        let topic = client.create_topic("healthy", 1);
        let record = super::Record::new("key", "value");
        let batch = super::RawBatch::of(std::slice::from_ref(&record)).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
        let read = client.read_all(&topic, 0);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].record.value, record.value);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Some(process) = &self.process {
            eprintln!(
                "--- log of klamm, process {} ---\n{}",
                process.id(),
                process.log.text()
            );
        }
        if let Some(folder) = self.folder.take() {
            eprintln!("--- its data are kept in {} ---", folder.keep().display());
        }
    }
}

fn external() -> Option<SocketAddr> {
    let text = std::env::var("KLAMM_TEST_BROKER").ok()?;
    let found = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next());
    Some(found.unwrap_or_else(|| panic!("KLAMM_TEST_BROKER={text} is no host:port")))
}

/// The state of a listening socket in the kernel's tables.
const TCP_LISTEN: &str = "0A";

/// An address as the kernel's tables have it: words of 32 bits in the machine's order, then the
/// port, all in hexadecimal digits.
fn address_of_kernel(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in words.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(
        address,
        u16::from_str_radix(port, 16).ok()?,
    ))
}

/// The address that stands behind `prefix` in a line.
fn address_behind(line: &str, prefix: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(prefix)? + prefix.len()..];
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    rest[..end.unwrap_or(rest.len())].parse().ok()
}
