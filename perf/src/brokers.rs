//! The two brokers as processes: started with comparable settings, pinned, in a group, stopped.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    Problem,
    arguments::{Class, Compare},
    group::Group,
};

/// How long a broker may take to start or to stop.
const LIFE_WAIT: Duration = Duration::from_secs(60);

/// How often it is looked at meanwhile.
const LOOK_DISTANCE: Duration = Duration::from_millis(50);

/// Space that must stay free on the disk, in KiB.
const DISK_FREE_KIB_MIN: u64 = 12 << 20;

/// Refuses to go on where the disk is nearly full.
///
/// # Errors
/// Less is free than a few windows may write.
pub fn check_disk(folder: &Path) -> Result<(), Problem> {
    let output = Command::new("df").arg("-Pk").arg(folder).output();
    let output = output.map_err(|error| Problem::at("df", error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let free: Option<u64> = last
        .split_whitespace()
        .nth(3)
        .and_then(|free| free.parse().ok());
    match free {
        Some(free) if free >= DISK_FREE_KIB_MIN => Ok(()),
        Some(free) => Err(Problem::at(
            folder.display(),
            format!("only {free} KiB are free"),
        )),
        None => Err(Problem::at("df", text)),
    }
}

/// Memory of klamm beside the page cache, in MiB; Kafka's is its heap and what follows.
const KLAMM_OWN_MIB: u64 = 1024;

/// What a Java machine takes beside its heap, in MiB.
const JVM_OWN_MIB: u64 = 384;

/// One of the two.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Ours.
    Klamm,
    /// Apache Kafka.
    Kafka,
}

/// A broker that runs; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    /// Which one.
    pub kind: Kind,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Its settings, for the evidence.
    pub settings: Vec<String>,
    // Dropped in this order: the process must be gone before its group.
    child: Running,
    group: Group,
}

#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Broker {
    /// Starts klamm, or Kafka with its defaults, in the class asked for, on an empty folder.
    ///
    /// # Errors
    /// It does not start, or not in time; its own words are in `log` inside the data folder.
    pub fn start(kind: Kind, compare: &Compare) -> Result<Self, Problem> {
        let (name, port, own_mib) = match kind {
            Kind::Klamm => ("klamm", 29_092, KLAMM_OWN_MIB),
            Kind::Kafka => ("kafka", 29_192, compare.kafka_heap_mib + JVM_OWN_MIB),
        };
        let folder = compare.data.join(name);
        fs::create_dir_all(&folder).map_err(|error| Problem::at(folder.display(), error))?;
        let folder = folder
            .canonicalize()
            .map_err(|error| Problem::at(folder.display(), error))?;
        let group = Group::new(name, (own_mib + compare.cache_mib) << 20)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (words, settings) = match kind {
            Kind::Klamm => klamm_words(compare, &folder, address),
            Kind::Kafka => kafka_words(compare, &folder, address)?,
        };
        let log_path = folder.join("log");
        let log =
            fs::File::create(&log_path).map_err(|error| Problem::at(log_path.display(), error))?;
        let error_log = log
            .try_clone()
            .map_err(|error| Problem::at(log_path.display(), error))?;
        let child = pinned_in(&group, compare.broker_core, &words)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error_log)
            .spawn()
            .map_err(|error| Problem::at(&words[0], error))?;
        let mut broker = Self {
            kind,
            address,
            settings,
            child: Running(child),
            group,
        };
        broker.await_listener(&log_path)?;
        Ok(broker)
    }

    fn await_listener(&mut self, log: &Path) -> Result<(), Problem> {
        let deadline = Instant::now() + LIFE_WAIT;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.0.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let words = fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<&str> = words.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(Problem::at(
                    format!("{:?} does not start", self.kind),
                    tail.join("\n"),
                ));
            }
            std::thread::sleep(LOOK_DISTANCE);
        }
        Ok(())
    }

    /// Its process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.0.id()
    }

    /// Processor time so far, in nanoseconds.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_ns(&self) -> Result<u64, Problem> {
        self.group.cpu_ns()
    }

    /// Memory that is its own, in KiB, and the most it ever was.
    #[must_use]
    pub fn resident_kib(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.process());
        let text = fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
    }
}

/// A shell that enters the group, then becomes the program on its core: no thread is ever outside.
fn pinned_in(group: &Group, core: usize, words: &[String]) -> Command {
    let mut script = String::new();
    for door in group.doors() {
        script.push_str(&format!("echo $$ > {} && ", door.display()));
    }
    // If this process is killed, the broker must not stay and fill the disk.
    script.push_str(&format!(
        "exec setpriv --pdeathsig KILL taskset -c {core} \"$@\""
    ));
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("sh").args(words);
    command
}

fn klamm_words(
    compare: &Compare,
    folder: &Path,
    address: SocketAddr,
) -> (Vec<String>, Vec<String>) {
    let mut settings = vec![
        format!("log.dirs={}", folder.join("data").display()),
        format!("listeners=PLAINTEXT://{address}"),
        "klamm.admin.listener=127.0.0.1:29094".to_owned(),
        match compare.class {
            Class::Written => "klamm.durability=written".to_owned(),
            Class::Flushed => "klamm.durability=flushed".to_owned(),
        },
        "log.segment.bytes=268435456".to_owned(),
    ];
    settings.extend(compare.klamm_set.iter().cloned());
    let mut words = vec![compare.klamm.display().to_string(), "serve".to_owned()];
    for setting in &settings {
        words.extend(["--set".to_owned(), setting.clone()]);
    }
    (words, settings)
}

fn kafka_libs(compare: &Compare) -> Result<PathBuf, Problem> {
    let home = || std::env::var_os("KAFKA_HOME").map(|home| PathBuf::from(home).join("libs"));
    let libs = compare.kafka_libs.clone().or_else(home);
    let libs = libs.filter(|libs| libs.is_dir()).ok_or_else(|| {
        let cure = "give --kafka-libs, set KAFKA_HOME, or run `klamm-perf fetch-kafka FOLDER`";
        Problem::at("Apache Kafka's jars", cure)
    })?;
    libs.canonicalize()
        .map_err(|error| Problem::at(libs.display(), error))
}

fn kafka_words(
    compare: &Compare,
    folder: &Path,
    address: SocketAddr,
) -> Result<(Vec<String>, Vec<String>), Problem> {
    let class_path = format!("{}/*", kafka_libs(compare)?.display());
    let controller = address.port() + 1;
    let mut settings = vec![
        "process.roles=broker,controller".to_owned(),
        "node.id=1".to_owned(),
        format!("listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://{address}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!("log.dirs={}", folder.join("data").display()),
        "offsets.topic.replication.factor=1".to_owned(),
        "transaction.state.log.replication.factor=1".to_owned(),
        "transaction.state.log.min.isr=1".to_owned(),
        "share.coordinator.state.topic.replication.factor=1".to_owned(),
        "share.coordinator.state.topic.min.isr=1".to_owned(),
        // Bounds the disk: more than the page cache holds, so that what is deleted is cold.
        "log.segment.bytes=268435456".to_owned(),
        "log.retention.bytes=536870912".to_owned(),
        "log.retention.check.interval.ms=5000".to_owned(),
        "log.segment.delete.delay.ms=1000".to_owned(),
    ];
    if compare.class == Class::Flushed {
        settings.push("log.flush.interval.messages=1".to_owned());
    }
    settings.extend(compare.kafka_set.iter().cloned());
    let file = folder.join("server.properties");
    fs::write(&file, settings.join("\n")).map_err(|error| Problem::at(file.display(), error))?;
    let file = file.display().to_string();
    let java = |more: &[&str]| -> Vec<String> {
        let heap = compare.kafka_heap_mib;
        let mut words = vec![
            "java".to_owned(),
            format!("-Xms{heap}m"),
            format!("-Xmx{heap}m"),
        ];
        words.extend(compare.kafka_jvm.split_whitespace().map(str::to_owned));
        words.extend(["-cp".to_owned(), class_path.clone()]);
        words.extend(more.iter().map(|&word| word.to_owned()));
        words
    };
    // Any 16 bytes in base64 name a cluster; these spell it out.
    let cluster = "a2xhbW0tcGVyZi1ydW4tMQ";
    let format = java(&[
        "kafka.tools.StorageTool",
        "format",
        "-t",
        cluster,
        "-c",
        &file,
    ]);
    let done = Command::new(&format[0])
        .args(&format[1..])
        .output()
        .map_err(|error| Problem::at("java", error))?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(Problem::at("kafka format", words));
    }
    let mut shown = settings;
    shown.push(format!(
        "# java -Xmx{}m {}",
        compare.kafka_heap_mib, compare.kafka_jvm
    ));
    Ok((java(&["kafka.Kafka", &file]), shown))
}

/// Lets Maven copy the jars that perf/pom.xml names.
///
/// # Errors
/// Maven is missing or fails.
pub fn fetch_kafka(into: &Path) -> Result<(), Problem> {
    let status = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/pom.xml"))
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", into.display()))
        .status()
        .map_err(|error| Problem::at("mvn", error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Problem::at("mvn", status))
    }
}
