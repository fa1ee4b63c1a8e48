//! The order of life: check the machine, guard the folder, recover, pin the shards, register,
//! open the listeners; and the reverse. Contains no rule of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use klamm_model::{OFFSETS_TOPIC, ShardId};
use klamm_os::disk;
use klamm_os::net::Listener;
use klamm_os::{alloc, clock, exec, probe, random, signals};
use klamm_shard::Shards;
use klamm_shard::api::coord::lag::LagRules;
use klamm_shard::api::coord::{ConsumerConfig, GroupConfig};
use klamm_shard::api::metadata::{self, BrokerDefaults, Command, NewTopic, Registration, Reply};
use klamm_shard::api::replica::ProducerLimits;
use klamm_shard::api::segment::MetaProperties;
use klamm_shard::api::{CompactionOptions, GroupOptions, LagOptions};
use klamm_shard::data_folders::DataFolders;
use klamm_shard::node::{self, Node, NodeOptions};

use crate::config::{Config, ConsumerGroupSettings, Endpoint, GroupSettings, SocketLimits};
use crate::data_folders::GuardedFolders;
use crate::disk_room;
use crate::features;
use crate::http::{ADMIN_CONNECTIONS_MAX, AdminServer};
use crate::net::{
    ConnectionTable, FrontContext, FrontSetup, accept, listener_options, quota_table,
    serve_connections,
};
use crate::node_metrics::{self, Control};
use crate::ports::{check_listeners, open_admin, resolve};
use crate::startup_report::{OpenListener, StartFacts, StartProblem};

/// How long connections may take to end when the process stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Open files that are kept for anything but Kafka's connections; those of the admin face are
/// among them.
pub(crate) const FILES_RESERVED: u64 = 2048;

/// Runs a broker until SIGTERM or SIGINT.
///
/// # Errors
/// Why it cannot start, each with what to change.
pub fn run(config: Config) -> Result<(), Vec<StartProblem>> {
    run_node(config).map_err(|problem| vec![problem])
}

fn run_node(mut config: Config) -> Result<(), StartProblem> {
    let began = Instant::now();
    signals::block().map_err(|error| other("block signals", &error))?;
    alloc::keep_memory();
    let files = signals::raise_open_files();
    match &files {
        Ok(files) => bound_connections(&mut config.sockets, *files),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
    let admin_connections = files.map_or(ADMIN_CONNECTIONS_MAX, admin_connections_within);
    probe::check()?;
    let seed = random::bits().map_err(|error| other("draw randomness", &error))?;
    let guarded = GuardedFolders::look(&config.data_dirs, config.node_id)?;
    config.data_dirs = guarded.paths();
    check_listeners(&config)?;
    let admin = config.admin.as_ref().map(open_admin).transpose()?;
    let (meta, folders, locks) = guarded.take(seed)?;

    let options = node_options(&config, seed);
    let (booted, report) = node::recover(&options, &folders)
        .map_err(|error| disk_room::recovery_failed(&config.data_dirs, &error))?;
    disk_room::check(config.data_dir(), &booted, options.wal_file_bytes)?;
    for finding in &report.findings {
        match finding.costs_records() {
            true => tracing::error!("{finding}"),
            false => tracing::warn!("{finding}"),
        }
    }
    if report.batches_replayed > 0 {
        tracing::info!(
            batches = report.batches_replayed,
            bytes = report.bytes_replayed,
            "brought the write-ahead log of the last run into segments"
        );
    }
    let life = Life::start(Arc::new(config), meta, options, &folders, booted)?;
    let admin = admin
        .map(|listener| life.serve_admin(listener, admin_connections))
        .transpose()?;
    let admin_address = admin.as_ref().map(|server| server.address().to_string());
    for line in life.facts(admin_address, began).lines() {
        tracing::info!("{line}");
    }
    wait_for_end();
    life.stop();
    if let Some(server) = admin {
        server.stop();
    }
    let ended = life.node.join();
    drop(locks);
    tracing::info!("stopped");
    ended.map_err(|error| other("end every shard well", &error))
}

/// Says what a small limit of open files means, and keeps connections below it.
fn bound_connections(sockets: &mut SocketLimits, files: u64) {
    sockets.connections_max = connections_within(sockets.connections_max, files);
    sockets.connections_ceiling = connections_within(u32::MAX, files);
    if files < 2 * FILES_RESERVED {
        tracing::warn!(
            files,
            connections = sockets.connections_max,
            "the limit of open files is small: raise it (ulimit -n, or LimitNOFILE of the service)"
        );
    }
}

/// Connections that may be open under this limit of files, so that they alone cannot use up what
/// segments, write-ahead files and the broker itself need.
pub(crate) fn connections_within(configured: u32, files: u64) -> u32 {
    let left = files - reserved_of(files);
    configured.min(u32::try_from(left).unwrap_or(u32::MAX))
}

fn reserved_of(files: u64) -> u64 {
    FILES_RESERVED.min(files / 4 * 3)
}

/// Connections of the admin face under this limit of files: a small part of what is reserved.
fn admin_connections_within(files: u64) -> usize {
    usize::try_from(reserved_of(files) / 8).map_or(ADMIN_CONNECTIONS_MAX, |share| {
        share.clamp(1, ADMIN_CONNECTIONS_MAX)
    })
}

fn other(attempt: impl Into<String>, reason: &dyn std::fmt::Display) -> StartProblem {
    StartProblem::Other {
        attempt: attempt.into(),
        reason: reason.to_string(),
    }
}

pub(crate) fn node_options(config: &Config, seed: u128) -> NodeOptions {
    NodeOptions {
        folder: config.data_dir().to_owned(),
        node: config.node_id,
        shards: u16::try_from(config.shards.count).unwrap_or(u16::MAX),
        cores: config.shards.cores.clone(),
        spin: Duration::from_micros(config.shards.spin_us),
        tail_bytes: usize::try_from(config.shards.tail_bytes_max).unwrap_or(usize::MAX),
        wal_file_bytes: config.shards.wal_file_bytes,
        wal_bytes: config.shards.wal_bytes_max,
        disk_reserve: config.shards.disk_reserve_bytes,
        retention_check_interval: Duration::from_millis(config.retention_check_interval_ms),
        compaction: CompactionOptions {
            is_enabled: config.cleaner.is_enabled,
            buffer_bytes: config.cleaner.buffer_bytes,
            bytes_per_second: config.cleaner.bytes_per_second as f64,
            backoff: Duration::from_millis(config.cleaner.backoff_ms),
        },
        groups: GroupOptions {
            config: group_config(&config.groups),
            codec: config.groups.topic_codec,
            seed: seed as u64,
            lag: lag_options(&config.groups),
        },
        producers: ProducerLimits {
            expiration_ms: i64::try_from(config.producer_id_expiration_ms).unwrap_or(i64::MAX),
            ..ProducerLimits::default()
        },
        broker_file: config.topics.layer.clone(),
        defaults: BrokerDefaults {
            partitions: config.topics.partitions,
            replication_factor: config.topics.replication_factor,
            internal_topics: vec![offsets_topic(&config.groups)],
            groups: config.groups.layer.clone(),
        },
        seed,
    }
}

fn lag_options(groups: &GroupSettings) -> LagOptions {
    let pause = Duration::from_millis(groups.lag_interval_ms);
    LagOptions {
        rules: LagRules {
            stuck_after: Duration::from_millis(groups.stuck_ms),
            sample_every: pause,
        },
        pause,
    }
}

fn group_config(groups: &GroupSettings) -> GroupConfig {
    let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let count = |count: i32| usize::try_from(count).unwrap_or(0);
    GroupConfig {
        session_timeout_min: ms(groups.session_timeout_ms_min),
        session_timeout_max: ms(groups.session_timeout_ms_max),
        initial_rebalance_delay: ms(groups.initial_rebalance_delay_ms),
        members_max: count(groups.members_max),
        offset_metadata_bytes_max: count(groups.offset_metadata_bytes_max),
        offsets_retention: ms(groups.offsets_retention_minutes) * 60_000,
        offsets_check_interval: Duration::from_millis(groups.offsets_retention_check_ms),
        consumer: consumer_config(&groups.consumer),
        ..GroupConfig::default()
    }
}

fn consumer_config(consumer: &ConsumerGroupSettings) -> ConsumerConfig {
    let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    ConsumerConfig {
        session_timeout: ms(consumer.session_timeout.default),
        session_timeout_min: ms(consumer.session_timeout.min),
        session_timeout_max: ms(consumer.session_timeout.max),
        heartbeat_interval: ms(consumer.heartbeat_interval.default),
        heartbeat_interval_min: ms(consumer.heartbeat_interval.min),
        heartbeat_interval_max: ms(consumer.heartbeat_interval.max),
        assignment_interval: ms(consumer.assignment_interval.default),
        assignment_interval_min: ms(consumer.assignment_interval.min),
        assignment_interval_max: ms(consumer.assignment_interval.max),
        regex_refresh_interval: ms(consumer.regex_refresh_interval_ms),
        members_max: usize::try_from(consumer.members_max).unwrap_or(0),
        assignors: consumer.assignors.clone(),
        migration: consumer.migration,
    }
}

/// The topic that keeps groups, made when the first coordinator is asked for. It says nothing about
/// durability: what a group commits is kept as the broker keeps records.
fn offsets_topic(groups: &GroupSettings) -> NewTopic {
    let config = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    NewTopic {
        partitions: Some(groups.topic_partitions),
        // Whatever other topics have by default: with as many replicas as nodes, groups work.
        replication_factor: Some(1),
        configs: vec![
            config("cleanup.policy", "compact"),
            config("compression.type", "producer"),
            config("segment.bytes", &groups.topic_segment_bytes.to_string()),
        ],
        ..NewTopic::named(OFFSETS_TOPIC)
    }
}

/// What a start on shard 0 tells the main thread.
type Started = Result<Vec<SocketAddr>, StartProblem>;

/// A running broker, for the main thread.
struct Life {
    config: Arc<Config>,
    meta: MetaProperties,
    node: Node,
    control: Control,
    /// Where the Kafka listeners are, in the order of the configuration.
    bound: Vec<SocketAddr>,
    partitions: usize,
}

impl Life {
    fn start(
        config: Arc<Config>,
        meta: MetaProperties,
        options: NodeOptions,
        folders: &DataFolders,
        booted: node::Booted,
    ) -> Result<Self, StartProblem> {
        let seed = options.seed;
        let partitions = booted
            .shards
            .iter()
            .map(|shard| shard.partitions.len())
            .sum();
        let connections = Arc::new(ConnectionTable::default());
        let quotas = quota_table(&config);
        let ready = Arc::new(AtomicBool::new(false));
        let control = Control::new(
            &config,
            options.shards,
            options.broker_file.clone(),
            Arc::clone(&ready),
        );
        let (started, starts) = mpsc::sync_channel::<Started>(1);
        let front = {
            let (config, folders) = (Arc::clone(&config), folders.clone());
            move |shards: Shards| {
                let context = FrontContext::new(FrontSetup {
                    config: Arc::clone(&config),
                    directory: meta.directory,
                    folders: folders.clone(),
                    connections: Arc::clone(&connections),
                    quotas: Arc::clone(&quotas),
                    shard: shards.id(),
                    shards: shards.count(),
                    seed: (seed >> 32) as u64 ^ u64::from(shards.id().0) << 48,
                });
                node_metrics::enter(&context);
                let (config, meta, started) = (Arc::clone(&config), meta, started.clone());
                async move {
                    let serving = serve_connections(shards.clone(), std::rc::Rc::clone(&context));
                    exec::spawn_local(serving).detach();
                    if shards.id() == ShardId(0) {
                        let outcome = open(&shards, &context, &config, &meta).await;
                        drop(started.send(outcome));
                    }
                    shards.stopped().await;
                    context.stop(STOP_GRACE).await;
                }
            }
        };
        let node = node::start(&options, folders, booted, front)
            .map_err(|error| other("start the shards", &error))?;
        control.connect(node.errands());
        let bound = starts
            .recv()
            .map_err(|error| other("start shard 0", &error))??;
        ready.store(true, Ordering::Release);
        Ok(Self {
            config,
            meta,
            node,
            control,
            bound,
            partitions,
        })
    }

    fn serve_admin(
        &self,
        listener: std::net::TcpListener,
        connections_max: usize,
    ) -> Result<AdminServer, StartProblem> {
        AdminServer::start(listener, connections_max, self.control.clone())
            .map_err(|error| other("serve klamm.admin.listener", &error))
    }

    fn facts(&self, admin: Option<String>, began: Instant) -> StartFacts {
        let kernel = disk::read_to_string("/proc/sys/kernel/osrelease", 256).unwrap_or_default();
        let listeners = self
            .config
            .listeners
            .iter()
            .zip(&self.bound)
            .map(|(listener, bound)| {
                let advertised = &listener.advertised;
                let port = advertised.port.unwrap_or_else(|| bound.port());
                OpenListener {
                    name: listener.name.clone(),
                    bound: bound.to_string(),
                    advertised: Endpoint {
                        host: advertised.host.clone(),
                        port,
                    }
                    .to_string(),
                }
            });
        let shards = self.config.shards.count;
        let cores = if self.config.shards.cores.is_empty() {
            exec::choose_cores(shards).unwrap_or_default()
        } else {
            self.config.shards.cores.clone()
        };
        StartFacts {
            version: env!("CARGO_PKG_VERSION"),
            kernel: kernel.trim().to_owned(),
            node_id: self.config.node_id,
            cluster_id: self.meta.cluster.to_string(),
            shards,
            cores,
            listeners: listeners.collect(),
            admin,
            data_dirs: self.config.data_dirs.clone(),
            partitions: self.partitions,
            durability: self.config.durability,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Lets every shard end: connections first, then segments.
    fn stop(&self) {
        for shard in 0..u16::try_from(self.config.shards.count).unwrap_or(u16::MAX) {
            let told = self
                .node
                .run_on(ShardId(shard), Box::new(|shards| shards.stop()));
            if !told {
                tracing::error!(shard, "cannot tell a shard to stop");
            }
        }
    }
}

/// Opens the listeners and makes the node known; connections are taken from then on.
async fn open(
    shards: &Shards,
    context: &std::rc::Rc<FrontContext>,
    config: &Config,
    meta: &MetaProperties,
) -> Started {
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let address = resolve("listeners", &listener.bind)?;
        let opened =
            Listener::bind(address, listener_options(&config.sockets)).map_err(|error| {
                StartProblem::Listen {
                    key: "listeners",
                    error,
                }
            })?;
        let bound = opened
            .local_addr()
            .map_err(|error| other("look at a listener", &error))?;
        listeners.push((opened, bound));
    }
    let bound: Vec<SocketAddr> = listeners.iter().map(|(_, bound)| *bound).collect();
    register(shards, config, meta, &bound).await?;
    for (number, (listener, _)) in listeners.into_iter().enumerate() {
        let context = std::rc::Rc::clone(context);
        exec::spawn_local(accept(listener, number, shards.clone(), context)).detach();
    }
    Ok(bound)
}

/// Tells the controller who and where this node is.
async fn register(
    shards: &Shards,
    config: &Config,
    meta: &MetaProperties,
    bound: &[SocketAddr],
) -> Result<(), StartProblem> {
    let listeners =
        config
            .listeners
            .iter()
            .zip(bound)
            .map(|(listener, bound)| metadata::Listener {
                name: listener.name.clone(),
                host: listener.advertised.host.clone(),
                port: listener.advertised.port.unwrap_or_else(|| bound.port()),
            });
    let incarnation = random::bits().map_err(|error| other("draw randomness", &error))?;
    let registration = Registration {
        incarnation: incarnation.to_be_bytes(),
        listeners: listeners.collect(),
        rack: config.rack.clone(),
        features: features::supported(),
        ..Registration::new(config.node_id, meta.cluster)
    };
    match shards.control(Command::Register(registration)).await {
        Reply::Registered(Ok(())) => Ok(()),
        Reply::Registered(Err(error)) => Err(other("register this node", &error)),
        reply => Err(other(
            "register this node",
            &format!("unexpected answer {reply:?}"),
        )),
    }
}

/// Waits for the signal to end. SIGHUP changes nothing yet and is not an end.
fn wait_for_end() {
    loop {
        match signals::wait() {
            Ok(signals::Signal::Terminate | signals::Signal::Interrupt) => {
                tracing::info!(
                    "stopping: answering what is under way, then bringing segments up to date"
                );
                return;
            }
            Ok(signals::Signal::Hangup) => {}
            Err(error) => {
                tracing::error!(%error, "cannot wait for signals; stopping");
                return;
            }
        }
    }
}

/// When this process began, for the metrics.
pub(crate) fn started_ms() -> i64 {
    clock::wall_ms() - i64::try_from(clock::monotonic().as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_alone_cannot_use_up_the_open_files() {
        assert_eq!(connections_within(u32::MAX, 64), 16);
        assert_eq!(connections_within(u32::MAX, 20_000), 20_000 - 2048);
        assert_eq!(connections_within(100, 20_000), 100);
        for files in [16, 64, 256, 1024, 20_000] {
            let admin = admin_connections_within(files) as u64;
            assert!((1..=64).contains(&admin), "{admin} of {files}");
            assert!(admin * 8 <= files, "{admin} of {files} leave little");
        }
    }
}
