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
    tuning::Choice,
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

/// Connections that wait to be accepted: ten thousand at once overflow the default of 50.
const BACKLOG: &str = "socket.listen.backlog.size=4096";

/// Groups begin at once, and members of either protocol may be silent for six seconds, so that
/// crashes are noticed while a row is measured.
const GROUPS: [&str; 3] = [
    "group.initial.rebalance.delay.ms=0",
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
];

/// Memory maps of a partition of Kafka: its two indexes.
const MAPS_PER_PARTITION: f64 = 2.0;

/// Maps that Kafka's Java machine needs beside those.
const MAPS_BESIDE: f64 = 5000.0;

/// Refuses so many partitions of Kafka where the kernel would not let it map their indexes: it
/// would die, and say that it was out of memory.
///
/// # Errors
/// `vm.max_map_count` is too small.
pub fn check_maps(partitions: f64) -> Result<(), Problem> {
    let path = "/proc/sys/vm/max_map_count";
    let text = fs::read_to_string(path).map_err(|error| Problem::at(path, error))?;
    let most: f64 = text.trim().parse().unwrap_or(f64::INFINITY);
    let wanted = partitions * MAPS_PER_PARTITION + MAPS_BESIDE;
    if wanted <= most {
        return Ok(());
    }
    let cure = format!(
        "Kafka maps two files a partition, the kernel allows {most} maps: sysctl -w \
         vm.max_map_count={wanted}"
    );
    Err(Problem(cure))
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
    /// Ours with one shard, beside which [`Kind::Klamm`] has two.
    OneShard,
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
    /// Starts klamm, or Kafka with the threads and the collector of `choice`, in the class asked
    /// for, on an empty folder.
    ///
    /// # Errors
    /// It does not start, or not in time; its own words are in `log` inside the data folder.
    pub fn start(kind: Kind, compare: &Compare, choice: &Choice) -> Result<Self, Problem> {
        let (name, port, own_mib) = match kind {
            Kind::Klamm => ("klamm", 29_092, KLAMM_OWN_MIB),
            Kind::OneShard => ("one-shard", 29_392, KLAMM_OWN_MIB),
            Kind::Kafka => ("kafka", 29_192, compare.kafka_heap_mib + JVM_OWN_MIB),
        };
        let folder = compare.data.join(name);
        // What an earlier run left belongs to nobody.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| Problem::at(folder.display(), error))?;
        let folder = folder
            .canonicalize()
            .map_err(|error| Problem::at(folder.display(), error))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpStream::connect(address).is_ok() {
            // Else whoever that is would be measured instead.
            return Err(Problem::at(address, "somebody serves here already"));
        }
        let group = Group::new(name, (own_mib + compare.cache_mib) << 20)?;
        let (words, settings) = match kind {
            Kind::Klamm | Kind::OneShard => klamm_words(kind, compare, &folder, address),
            Kind::Kafka => kafka_words(compare, choice, &folder, address)?,
        };
        let mut cores = compare.broker_core.to_string();
        if compare.shards && kind == Kind::Klamm {
            cores = format!("{cores},{}", compare.client_core);
        }
        let log_path = folder.join("log");
        let log =
            fs::File::create(&log_path).map_err(|error| Problem::at(log_path.display(), error))?;
        let error_log = log
            .try_clone()
            .map_err(|error| Problem::at(log_path.display(), error))?;
        let child = pinned_in(&group, &cores, &words)
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

    /// Memory that it needs for what it keeps, in KiB, files in the page cache apart: klamm's
    /// anonymous pages; of Kafka what a full collection leaves in its heap, which is less than it
    /// takes.
    ///
    /// # Errors
    /// It has ended, or `jcmd` is missing.
    pub fn own_kib(&self) -> Result<u64, Problem> {
        let process = self.process().to_string();
        if self.kind != Kind::Kafka {
            let path = format!("/proc/{process}/status");
            let text = fs::read_to_string(&path).map_err(|error| Problem::at(&path, error))?;
            let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            let found = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            return found.ok_or_else(|| Problem::at(&path, "not understood"));
        }
        let ask = |what: &str| {
            let output = Command::new("jcmd").args([&process, what]).output();
            let output = output.map_err(|error| Problem::at("jcmd", error))?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        ask("GC.run")?;
        let text = ask("GC.heap_info")?;
        heap_used_kib(&text).ok_or_else(|| Problem::at("jcmd GC.heap_info", text))
    }
}

/// Used memory in the lines of `GC.heap_info` that are about the heap.
fn heap_used_kib(text: &str) -> Option<u64> {
    let of_heap = text.lines().take_while(|line| !line.contains("Metaspace"));
    let used = of_heap.filter_map(|line| {
        let mut words = line.split([' ', ',']).skip_while(|word| *word != "used");
        let number = words.nth(1)?;
        let digits = number.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match &number[digits.len()..] {
            "K" => 1,
            "M" => 1 << 10,
            "G" => 1 << 20,
            _ => return None,
        };
        Some(digits.parse::<u64>().ok()? * unit)
    });
    let used: Vec<u64> = used.collect();
    (!used.is_empty()).then(|| used.iter().sum())
}

/// A shell that enters the group, then becomes the program on its cores: no thread is ever outside.
fn pinned_in(group: &Group, cores: &str, words: &[String]) -> Command {
    // Thousands of connections and partitions need more descriptors than a shell hands out.
    let mut script =
        "ulimit -n $(cat /proc/sys/fs/nr_open) 2>/dev/null || ulimit -n $(ulimit -Hn); ".to_owned();
    for door in group.doors() {
        script.push_str(&format!("echo $$ > {} && ", door.display()));
    }
    // If this process is killed, the broker must not stay and fill the disk.
    script.push_str(&format!(
        "exec setpriv --pdeathsig KILL taskset -c {cores} \"$@\""
    ));
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("sh").args(words);
    command
}

fn klamm_words(
    kind: Kind,
    compare: &Compare,
    folder: &Path,
    address: SocketAddr,
) -> (Vec<String>, Vec<String>) {
    let mut settings = vec![
        format!("log.dirs={}", folder.join("data").display()),
        format!("listeners=PLAINTEXT://{address}"),
        format!("klamm.admin.listener=127.0.0.1:{}", address.port() + 2),
        BACKLOG.to_owned(),
        match compare.class {
            Class::Written => "klamm.durability=written".to_owned(),
            Class::Flushed => "klamm.durability=flushed".to_owned(),
        },
        "log.segment.bytes=268435456".to_owned(),
        "log.retention.check.interval.ms=5000".to_owned(),
    ];
    if compare.shards {
        let shards = if kind == Kind::OneShard { 1 } else { 2 };
        settings.push(format!("klamm.shards={shards}"));
    }
    settings.extend(GROUPS.map(str::to_owned));
    settings.extend(compare.klamm_set.iter().cloned());
    let mut words = vec![compare.klamm.display().to_string(), "serve".to_owned()];
    for setting in &settings {
        words.extend(["--set".to_owned(), setting.clone()]);
    }
    (words, settings)
}

/// Folder of Apache Kafka's jars.
///
/// # Errors
/// It is not known.
pub fn kafka_libs(compare: &Compare) -> Result<PathBuf, Problem> {
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
    choice: &Choice,
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
        BACKLOG.to_owned(),
        // Bounds the disk: more than the page cache holds, so that what is deleted is cold.
        "log.segment.bytes=268435456".to_owned(),
        "log.retention.bytes=536870912".to_owned(),
        "log.retention.check.interval.ms=5000".to_owned(),
        "log.segment.delete.delay.ms=1000".to_owned(),
    ];
    if compare.class == Class::Flushed {
        settings.push("log.flush.interval.messages=1".to_owned());
    }
    settings.extend(choice.settings());
    settings.extend(GROUPS.map(str::to_owned));
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
        words.extend(choice.collector.split_whitespace().map(str::to_owned));
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
        compare.kafka_heap_mib, choice.collector
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heaps_of_all_collectors_are_understood() {
        let g1 = "1234:\n garbage-first heap   total 1048576K, used 20480K [0x0, 0x1)\n  \
                  region size 1024K, 3 young (3072K), 0 survivors (0K)\n \
                  Metaspace       used 40000K, committed 40704K, reserved 1\n";
        assert_eq!(heap_used_kib(g1), Some(20_480));
        let parallel = " PSYoungGen      total 305664K, used 15729K [0x0)\n  \
                        eden space 262144K, 6% used [0x0)\n \
                        ParOldGen       total 699392K, used 1000K [0x0)\n \
                        Metaspace       used 1K\n";
        assert_eq!(heap_used_kib(parallel), Some(16_729));
        let z =
            " ZHeap           used 120M, capacity 2048M, max capacity 2048M\n Metaspace used 1K";
        assert_eq!(heap_used_kib(z), Some(120 << 10));
        assert_eq!(heap_used_kib("no such process"), None);
    }
}
