//! The checked configuration: typed, complete, and the only form that the rest of klamm reads.
//! Nothing asks for a key by its name after boot, except to describe it to a client.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use klamm_model::{Durability, NodeId};

use super::groups::{GroupSettings, read_groups};
use super::keys::broker_keys;
use super::listeners::{Endpoint, Listener, read_admin, read_inter_broker, read_listeners};
use super::notices::{Problem, Warning};
use super::raw::RawConfig;
use super::reader::Reader;

const MIB: u64 = 1024 * 1024;

/// What a configuration's derived defaults depend on: facts of this machine, given by boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Cores that this process may run on (its affinity mask), ascending.
    pub cores: Vec<usize>,
    /// Cores' worth of time that the control group allows, rounded up, if it sets a limit.
    pub core_limit: Option<usize>,
    /// Memory that this process may use, in bytes (the smaller of the machine's and the cgroup's).
    pub memory_bytes: u64,
    /// The machine's name, for clients of a listener on all addresses.
    pub hostname: Option<String>,
}

/// Socket options and limits of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// `socket.listen.backlog.size`.
    pub backlog: u32,
    /// `socket.send.buffer.bytes`; `None` keeps the kernel's choice.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` keeps the kernel's choice.
    pub receive_buffer_bytes: Option<usize>,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: u32,
    /// `queued.max.request.bytes` of the node, or klamm's choice.
    pub requests_in_flight_bytes_max: u64,
    /// `max.connections` of the node.
    pub connections_max: u32,
    /// What `max.connections` may be raised to while the broker runs: boot knows how many files
    /// may be open.
    pub connections_ceiling: u32,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: u32,
    /// `max.connections.per.ip.overrides`.
    pub connections_per_ip_overrides: BTreeMap<IpAddr, u32>,
    /// `connections.max.idle.ms`; `None` never closes an idle connection.
    pub idle_ms_max: Option<u64>,
}

/// Limits of Fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// `fetch.max.bytes`.
    pub response_bytes_max: u32,
    /// `max.incremental.fetch.session.cache.slots` of the node.
    pub session_slots: u32,
}

/// Over what time the use of a quota is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaWindows {
    /// How many samples.
    pub samples: u32,
    /// How long each is.
    pub seconds: u32,
}

/// What holds for topics that say nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// Written values of broker keys that are synonyms of topic keys, with `log.retention.hours`
    /// and its like folded into milliseconds: the broker layer of `TopicConfig::from_layers`.
    pub layer: BTreeMap<String, String>,
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub delete_enable: bool,
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: u64,
}

/// What each shard gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSettings {
    /// Number of shards, at least 1.
    pub count: usize,
    /// Core of each shard, in order; empty unless `klamm.cores` names as many.
    pub cores: Vec<usize>,
    /// `klamm.wal.bytes`.
    pub wal_bytes_max: u64,
    /// `klamm.wal.file.bytes`.
    pub wal_file_bytes: u64,
    /// `klamm.disk.reserve.bytes`, of the whole node; absent, a part of the file system.
    pub disk_reserve_bytes: Option<u64>,
    /// `klamm.tail.bytes`.
    pub tail_bytes_max: u64,
    /// `klamm.spin.us`.
    pub spin_us: u64,
}

/// Compaction as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`.
    pub is_enabled: bool,
    /// `log.cleaner.dedupe.buffer.size`.
    pub buffer_bytes: u64,
    /// `log.cleaner.io.max.bytes.per.second`, in whole bytes.
    pub bytes_per_second: u64,
    /// `log.cleaner.backoff.ms`.
    pub backoff_ms: u64,
}

/// A configuration in which everything is legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `node.id`.
    pub node_id: NodeId,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Listeners to open, in the order in which they were written; at least one.
    pub listeners: Vec<Listener>,
    /// Name of the listener that other brokers use.
    pub inter_broker_listener: String,
    /// `klamm.admin.listener`; `None` if it is turned off.
    pub admin: Option<Endpoint>,
    /// The data folders; a start puts the one that keeps the metadata first.
    pub data_dirs: Vec<PathBuf>,
    /// Durability of topics that say nothing else.
    pub durability: Durability,
    /// Sockets and connections.
    pub sockets: SocketLimits,
    /// Fetch.
    pub fetch: FetchLimits,
    /// `quota.window.num` and `quota.window.size.seconds`.
    pub quota_windows: QuotaWindows,
    /// The same of `controller.quota`.
    pub controller_quota_windows: QuotaWindows,
    /// Topics.
    pub topics: TopicDefaults,
    /// `max.request.partition.size.limit`.
    pub described_partitions_max: i32,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: u64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: u64,
    /// Compaction.
    pub cleaner: CleanerSettings,
    /// Groups.
    pub groups: GroupSettings,
    /// Shards.
    pub shards: ShardSettings,
    /// Legal written values by key, secrets blanked, for DescribeConfigs.
    pub(super) written: BTreeMap<String, String>,
    /// Values of keys whose default depends on the machine, for DescribeConfigs.
    pub(super) derived: BTreeMap<&'static str, String>,
}

fn read_cleaner(reader: &mut Reader<'_>) -> CleanerSettings {
    let buffer_bytes: i64 = reader.number("log.cleaner.dedupe.buffer.size");
    let bytes_per_second: f64 = reader.number("log.cleaner.io.max.bytes.per.second");
    CleanerSettings {
        is_enabled: reader.flag("log.cleaner.enable"),
        buffer_bytes: u64::try_from(buffer_bytes).unwrap_or(0),
        bytes_per_second: bytes_per_second as u64,
        backoff_ms: reader.number("log.cleaner.backoff.ms"),
    }
}

impl Config {
    /// The data folder with the metadata and the write-ahead logs.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        match self.data_dirs.first() {
            Some(first) => first,
            None => Path::new(""),
        }
    }

    /// Checks written values and fills in what was not written.
    ///
    /// # Errors
    /// Every problem found, not only the first.
    pub fn from_raw(
        raw: &RawConfig,
        host: &HostFacts,
    ) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        let mut collected = Reader::new(raw);
        let reader = &mut collected;
        refuse_what_would_be_a_false_promise(reader);
        let listeners = read_listeners(reader, host);
        let node_id = read_node_id(reader);
        read_roles_and_quorum(reader, node_id);
        let topics = read_topic_defaults(reader);
        let shards = read_shards(reader, host);
        let mut config = Self {
            node_id: NodeId(node_id),
            rack: reader.text("broker.rack"),
            inter_broker_listener: read_inter_broker(reader, &listeners),
            listeners,
            admin: read_admin(reader),
            data_dirs: read_data_dirs(reader),
            durability: reader
                .text("klamm.durability")
                .and_then(|word| word.parse().ok())
                .unwrap_or_default(),
            sockets: read_sockets(reader, host),
            fetch: FetchLimits {
                response_bytes_max: reader.number("fetch.max.bytes"),
                session_slots: reader.number("max.incremental.fetch.session.cache.slots"),
            },
            quota_windows: QuotaWindows {
                samples: reader.number("quota.window.num"),
                seconds: reader.number("quota.window.size.seconds"),
            },
            controller_quota_windows: QuotaWindows {
                samples: reader.number("controller.quota.window.num"),
                seconds: reader.number("controller.quota.window.size.seconds"),
            },
            topics,
            described_partitions_max: reader.number("max.request.partition.size.limit"),
            producer_id_expiration_ms: reader.number("producer.id.expiration.ms"),
            retention_check_interval_ms: reader.number("log.retention.check.interval.ms"),
            cleaner: read_cleaner(reader),
            groups: read_groups(reader),
            shards,
            written: BTreeMap::new(),
            derived: BTreeMap::new(),
        };
        for key in broker_keys() {
            if let Some(text) = reader.written(key.name) {
                // A secret is not kept, so that no trace of this struct can show it.
                let text = if key.is_sensitive() { "" } else { text };
                config.written.insert(key.name.to_owned(), text.to_owned());
            }
        }
        config.derived = BTreeMap::from([
            ("klamm.shards", config.shards.count.to_string()),
            ("klamm.tail.bytes", config.shards.tail_bytes_max.to_string()),
            ("log.dirs", folders_text(&config.data_dirs)),
            ("process.roles", "broker,controller".to_owned()),
        ]);
        let (problems, warnings) = collected.finish();
        if problems.is_empty() {
            Ok((config, warnings))
        } else {
            Err(problems)
        }
    }
}

/// Keys that promise protection or a service which klamm does not have: a broker that accepted
/// them and did nothing would be worse than one that does not start.
fn refuse_what_would_be_a_false_promise(reader: &mut Reader<'_>) {
    for key in [
        "authorizer.class.name",
        "create.topic.policy.class.name",
        "alter.config.policy.class.name",
        "client.quota.callback.class",
    ] {
        if let Some(class) = reader.text(key) {
            reader.refuse(
                key,
                format!("{class} would protect this broker, but klamm runs no Java classes"),
                "take the key out, and keep the listeners where only trusted clients reach them"
                    .to_owned(),
            );
        }
    }
    if reader.flag("remote.log.storage.system.enable") {
        reader.refuse(
            "remote.log.storage.system.enable",
            "tiered storage is not served yet".to_owned(),
            "set it to false".to_owned(),
        );
    }
}

fn read_node_id(reader: &mut Reader<'_>) -> i32 {
    let older: i32 = reader.number("broker.id");
    if !reader.is_written("node.id") && older >= 0 {
        return older;
    }
    let node_id = reader.number("node.id");
    if older >= 0 && older != node_id {
        reader.refuse(
            "broker.id",
            format!("broker.id is {older}, but node.id is {node_id}"),
            "keep node.id only".to_owned(),
        );
    }
    node_id
}

/// One node that is broker and controller at once is what klamm serves today.
fn read_roles_and_quorum(reader: &mut Reader<'_>, node_id: i32) {
    let roles = reader.list("process.roles");
    if !roles.is_empty()
        && !["broker", "controller"]
            .iter()
            .all(|role| roles.iter().any(|r| r == role))
    {
        reader.refuse(
            "process.roles",
            format!("a node that is only {} is not served yet", roles.join(",")),
            "set process.roles=broker,controller".to_owned(),
        );
    }
    let voters = reader.list("controller.quorum.voters");
    let own = format!("{node_id}@");
    if voters.len() > 1 || voters.iter().any(|voter| !voter.starts_with(&own)) {
        reader.refuse(
            "controller.quorum.voters",
            format!(
                "{} asks for other nodes; klamm serves a quorum of this one node ({node_id}) yet",
                voters.join(",")
            ),
            format!("take the key out, or name only {node_id}@host:port"),
        );
    }
    let servers = reader.list("controller.quorum.bootstrap.servers");
    if servers.len() > 1 {
        reader.refuse(
            "controller.quorum.bootstrap.servers",
            format!(
                "{} names several nodes; klamm serves a quorum of this one node yet",
                servers.join(",")
            ),
            "take the key out, or name this node only".to_owned(),
        );
    }
}

/// Folders as a list of the configuration.
fn folders_text(folders: &[PathBuf]) -> String {
    let shown: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    shown.join(",")
}

fn read_data_dirs(reader: &mut Reader<'_>) -> Vec<PathBuf> {
    let key = if reader.is_written("log.dirs") {
        "log.dirs"
    } else {
        "log.dir"
    };
    let folders: Vec<PathBuf> = reader.list(key).into_iter().map(PathBuf::from).collect();
    if folders.is_empty() {
        reader.refuse(
            key,
            "no folder is named".to_owned(),
            "name the folder that keeps the data, or several, separated by commas".to_owned(),
        );
    }
    let whole = |folder: &PathBuf| {
        let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        whole.components().collect::<PathBuf>()
    };
    for (place, inner) in folders.iter().enumerate() {
        let outer = folders.iter().enumerate().find(|&(other, outer)| {
            let (inside, outside) = (whole(inner), whole(outer));
            // Of two that are the same the later one is named.
            other != place && inside.starts_with(&outside) && (inside != outside || other < place)
        });
        if let Some((_, outer)) = outer {
            let what = match whole(inner) == whole(outer) {
                true => format!("{} is named twice", inner.display()),
                false => format!("{} lies in {}", inner.display(), outer.display()),
            };
            let change = "name every folder once, and none that lies in another".to_owned();
            reader.refuse(key, what, change);
        }
    }
    folders
}

fn read_sockets(reader: &mut Reader<'_>, host: &HostFacts) -> SocketLimits {
    let buffer = |bytes: i32| usize::try_from(bytes).ok();
    SocketLimits {
        backlog: reader.number("socket.listen.backlog.size"),
        send_buffer_bytes: buffer(reader.number("socket.send.buffer.bytes")),
        receive_buffer_bytes: buffer(reader.number("socket.receive.buffer.bytes")),
        request_bytes_max: reader.number("socket.request.max.bytes"),
        requests_in_flight_bytes_max: match reader.number::<i64>("queued.max.request.bytes") {
            bytes @ 1.. => bytes.unsigned_abs(),
            _ => (host.memory_bytes / 4).clamp(MIB, 512 * MIB),
        },
        connections_max: reader.number("max.connections"),
        connections_ceiling: u32::MAX,
        connections_per_ip_max: reader.number("max.connections.per.ip"),
        connections_per_ip_overrides: read_overrides(reader),
        idle_ms_max: u64::try_from(reader.number::<i64>("connections.max.idle.ms")).ok(),
    }
}

/// Reads `address:count`.
pub(super) fn parse_override(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, count) = entry.rsplit_once(':')?;
    let address = address.trim_matches(['[', ']']).parse().ok()?;
    Some((address, count.trim().parse().ok()?))
}

fn read_overrides(reader: &mut Reader<'_>) -> BTreeMap<IpAddr, u32> {
    let key = "max.connections.per.ip.overrides";
    let mut overrides = BTreeMap::new();
    for entry in reader.list(key) {
        match parse_override(&entry) {
            Some((address, count)) => {
                overrides.insert(address, count);
            }
            None => reader.refuse(
                key,
                format!("{entry} is not of the form address:count"),
                "write it like 10.0.0.7:200, with an address, not a name".to_owned(),
            ),
        }
    }
    overrides
}

/// Coarse keys that stand in for a key in milliseconds: (fine, coarse, milliseconds per unit), the
/// finer coarse one first.
const FOLDED: [(&str, &str, i64); 5] = [
    ("log.retention.ms", "log.retention.minutes", 60_000),
    ("log.retention.ms", "log.retention.hours", 3_600_000),
    ("log.roll.ms", "log.roll.hours", 3_600_000),
    ("log.roll.jitter.ms", "log.roll.jitter.hours", 3_600_000),
    (
        "log.flush.interval.ms",
        "log.flush.scheduler.interval.ms",
        1,
    ),
];

fn read_topic_defaults(reader: &mut Reader<'_>) -> TopicDefaults {
    let mut layer = BTreeMap::new();
    for key in broker_keys().filter(|key| key.topic_synonym().is_some()) {
        if let Some(text) = reader.written(key.name) {
            layer.insert(key.name.to_owned(), text.to_owned());
        }
    }
    for (fine, coarse, unit_ms) in FOLDED {
        if !reader.is_written(coarse) || layer.contains_key(fine) {
            continue;
        }
        let count: i64 = reader.number(coarse);
        // A negative count means for ever, whatever the unit.
        let folded = if count < 0 {
            -1
        } else {
            count.saturating_mul(unit_ms)
        };
        layer.insert(fine.to_owned(), folded.to_string());
    }
    for (name, text) in &layer {
        // The broker key's range may be wider than the topic key's.
        let topic = super::keys::broker_key(name).and_then(|key| key.topic_synonym());
        if let Some(Err(error)) = topic.map(|topic| topic.check(text)) {
            reader.refuse(
                name,
                error.to_string(),
                "give it a value in that range".to_owned(),
            );
        }
    }
    if layer
        .get("log.retention.ms")
        .is_some_and(|text| text == "0")
    {
        reader.refuse(
            "log.retention.ms",
            "a retention of 0 would delete records at once".to_owned(),
            "use -1 to keep all, or at least 1".to_owned(),
        );
    }
    let replication_factor: i16 = reader.number("default.replication.factor");
    if replication_factor != 1 && replication_factor != -1 {
        reader.refuse(
            "default.replication.factor",
            format!("{replication_factor} replicas need as many nodes; klamm serves one node yet"),
            "set it to 1".to_owned(),
        );
    }
    TopicDefaults {
        layer,
        partitions: reader.number("num.partitions"),
        replication_factor: replication_factor.max(1),
        auto_create: reader.flag("auto.create.topics.enable"),
        delete_enable: reader.flag("delete.topic.enable"),
        retention_check_ms: reader.number("log.retention.check.interval.ms"),
    }
}

fn read_shards(reader: &mut Reader<'_>, host: &HostFacts) -> ShardSettings {
    let named = read_cores(reader, host);
    let limit = host.core_limit.unwrap_or(usize::MAX);
    let usable = named
        .as_ref()
        .map_or_else(|| host.cores.len().min(limit), Vec::len)
        .max(1);
    let wanted = reader.number_if_any("klamm.shards").unwrap_or(usable);
    if wanted > SHARDS_MAX {
        reader.refuse(
            "klamm.shards",
            format!("{wanted} shards are more than the {SHARDS_MAX} that klamm knows to address"),
            format!("set it to at most {usable}, the number of cores"),
        );
    }
    let count = wanted.clamp(1, SHARDS_MAX);
    if count > usable {
        reader.warn(Warning::SharedCores {
            shards: count,
            cores: usable,
        });
    }
    let wal_bytes_max: u64 = reader.number("klamm.wal.bytes");
    let wal_file_bytes: u64 = reader.number("klamm.wal.file.bytes");
    if wal_bytes_max < wal_file_bytes.saturating_mul(2) {
        reader.refuse(
            "klamm.wal.bytes",
            format!(
                "{wal_bytes_max} bytes hold fewer than two files of klamm.wal.file.bytes={wal_file_bytes}"
            ),
            format!("set it to at least {}", wal_file_bytes.saturating_mul(2)),
        );
    }
    let share = host.memory_bytes / 4 / count as u64;
    ShardSettings {
        count,
        cores: named.map_or_else(Vec::new, |cores| {
            cores.into_iter().cycle().take(count).collect()
        }),
        wal_bytes_max,
        wal_file_bytes,
        disk_reserve_bytes: reader.number_if_any("klamm.disk.reserve.bytes"),
        tail_bytes_max: reader
            .number_if_any("klamm.tail.bytes")
            .unwrap_or_else(|| share.clamp(MIB, 256 * MIB)),
        spin_us: reader.number("klamm.spin.us"),
    }
}

/// Ceiling of shards: far above any machine, far below what would exhaust memory at start.
const SHARDS_MAX: usize = 1024;

/// The cores that `klamm.cores` names, if it does.
fn read_cores(reader: &mut Reader<'_>, host: &HostFacts) -> Option<Vec<usize>> {
    let key = "klamm.cores";
    let text = reader.text(key)?;
    let Some(named) = parse_cores(&text) else {
        reader.refuse(
            key,
            format!("{text} is not a list of cores"),
            "write it like 0-3,6".to_owned(),
        );
        return None;
    };
    if let Some(missing) = named.iter().find(|core| !host.cores.contains(core)) {
        reader.refuse(
            key,
            format!(
                "core {missing} is not among those that this process may use ({})",
                cores_text(&host.cores)
            ),
            "name only cores of that list, or widen it (taskset, cpuset, container limits)"
                .to_owned(),
        );
        return None;
    }
    Some(named)
}

/// Reads `0-3,6`; `None` if it is no such list. Doubles are dropped, the order is kept; never empty.
fn parse_cores(text: &str) -> Option<Vec<usize>> {
    const CORE_MAX: usize = 65_535;
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part
            .trim()
            .split_once('-')
            .unwrap_or_else(|| (part.trim(), part.trim()));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > CORE_MAX {
            return None;
        }
        for core in first..=last {
            if !cores.contains(&core) {
                cores.push(core);
            }
        }
    }
    Some(cores)
}

/// Writes a list of cores as `0-3,6`.
#[must_use]
pub fn cores_text(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if core == *last + 1 => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let words = parts.into_iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    words.collect::<Vec<_>>().join(",")
}
