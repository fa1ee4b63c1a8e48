//! Starting and stopping the cores of a node: boot the folder, pin the shards, give each its share.

use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klamm_engine::boot::{self, BootOptions, QuorumBoot, RecoveredPartition, ShardBoot};
use klamm_engine::compaction::CompactionOptions;
use klamm_engine::memory::WalMemory;
use klamm_engine::metadata::{BrokerDefaults, ConfigMap};
use klamm_engine::replica::ProducerLimits;
use klamm_engine::space::DiskSpace;
use klamm_engine::{Engine, EngineOptions, GroupOptions, Scale, WalOptions};
use klamm_model::{NodeId, ShardId};
use klamm_os::clock;
use klamm_os::exec::{self, ShardContext, ShardError, ShardPlan};
use klamm_os::mailbox::{MailSender, Mailbox, mailbox};
use klamm_os::mesh::Mesh;
use klamm_records::wal::Incarnation;

use crate::data_folders::{DataFolders, FileSystems};
use crate::drivers::compactor::SharedCleaned;
use crate::drivers::files::Folders;
use crate::drivers::space::{DiskWatch, SharedDisk};
use crate::drivers::wal::{SharedWalFiles, WalFiles};
use crate::letters::Letter;
use crate::shards::{Core, Shards};
use crate::storage::DataFolder;
use crate::turn::Turns;

pub use klamm_engine::boot::{BootError, Booted};

/// Letters that wait between two cores before the sender keeps them itself.
const LETTERS_MAX: usize = 4096;

/// Errands that wait for a core.
const ERRANDS_MAX: usize = 1024;

/// How long segments are brought up to date at a stop. Whoever stops services rarely gives them more
/// than 90 seconds.
const SETTLE_MAX: Duration = Duration::from_secs(20);

/// How often a stop looks whether it is done.
const SETTLE_PAUSE: Duration = Duration::from_millis(1);

/// What a node is told.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The data folder with the metadata and the write-ahead logs.
    pub folder: PathBuf,
    /// This node.
    pub node: NodeId,
    /// Number of cores to run.
    pub shards: u16,
    /// Which cores, in order; empty lets the machine decide.
    pub cores: Vec<usize>,
    /// How long an idle core looks for work before it sleeps.
    pub spin: Duration,
    /// Bytes of memory per core for the newest batches.
    pub tail_bytes: usize,
    /// Bytes of one write-ahead file.
    pub wal_file_bytes: u64,
    /// Bytes of write-ahead log per core that a restart may have to read.
    pub wal_bytes: u64,
    /// Bytes of the disk that are kept for the broker itself; absent, a part of the file system.
    pub disk_reserve: Option<u64>,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// Compaction.
    pub compaction: CompactionOptions,
    /// Group coordinators.
    pub groups: GroupOptions,
    /// `producer.id.expiration.ms` and the ceiling on producers.
    pub producers: ProducerLimits,
    /// The broker's file as far as it sets defaults for topics.
    pub broker_file: ConfigMap,
    /// Shape of topics that ask for none.
    pub defaults: BrokerDefaults,
    /// Fresh randomness.
    pub seed: u128,
}

/// What boot found, for the start-up report.
#[derive(Debug)]
pub struct BootReport {
    /// What the administrator should know.
    pub findings: Vec<boot::Finding>,
    /// Batches that were brought from write-ahead files into segments.
    pub batches_replayed: u64,
    /// Bytes of them.
    pub bytes_replayed: u64,
}

/// Something to run on a core, from another thread.
pub type Errand = Box<dyn FnOnce(&Shards) + Send>;

/// A running node, for the thread that started it.
pub struct Node {
    shards: exec::Shards<()>,
    errands: Vec<MailSender<Errand>>,
}

/// One core's share of what boot found, taken once.
struct Share {
    folders: Folders,
    pressed: Arc<[AtomicBool]>,
    disk: SharedDisk,
    cleaned: SharedCleaned,
    boot: ShardBoot,
    quorum: Option<(QuorumBoot, RecoveredPartition)>,
    errands: Mailbox<Errand>,
}

/// Recovers the data folders. Blocks.
///
/// # Errors
/// See [`BootError`].
pub fn recover(
    options: &NodeOptions,
    folders: &DataFolders,
) -> Result<(Booted, BootReport), BootError> {
    let mut storage = DataFolder::of(folders.clone())?;
    let mut booted = boot::boot(
        &mut storage,
        &BootOptions {
            gives_up_lost: folders.is_any_lost(),
            node: options.node,
            shards: options.shards,
            wal_file_bytes: options.wal_file_bytes,
            producers: options.producers,
            broker_file: options.broker_file.clone(),
            now: Core::now(),
            scale: Scale::default(),
        },
    )?;
    folders.settle()?;
    let report = BootReport {
        findings: std::mem::take(&mut booted.findings),
        batches_replayed: booted.batches_replayed,
        bytes_replayed: booted.bytes_replayed,
    };
    Ok((booted, report))
}

/// Starts the cores; `front` runs on each of them until it ends, and the node with it. When it
/// ends, the core brings its segments up to date and stops.
///
/// # Errors
/// A core could not start.
pub fn start<F, Fut>(
    options: &NodeOptions,
    folders: &DataFolders,
    booted: Booted,
    front: F,
) -> Result<Node, ShardError>
where
    F: Fn(Shards) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let mut plan = ShardPlan::new(usize::from(options.shards));
    plan.cores = options.cores.clone();
    plan.spin = options.spin;
    let mesh = Mesh::new(usize::from(options.shards), LETTERS_MAX);
    let mut quorum = Some((booted.quorum, booted.quorum_log));
    let pressed: Arc<[AtomicBool]> = (0..options.shards)
        .map(|_| AtomicBool::new(false))
        .collect();
    let disk = SharedDisk::new(folders.roots(), options.disk_reserve, options.shards);
    let folders = Folders::new(folders.clone());
    let cleaned = SharedCleaned::new(&options.folder, booted.cleaned);
    let mut errands = Vec::new();
    let mut shares = Vec::new();
    for boot in booted.shards {
        let (sender, receiver) = mailbox(ERRANDS_MAX);
        errands.push(sender);
        shares.push(Some(Share {
            folders: folders.clone(),
            pressed: Arc::clone(&pressed),
            disk: disk.clone(),
            cleaned: cleaned.clone(),
            boot,
            quorum: quorum.take(),
            errands: receiver,
        }));
    }
    let shares = Arc::new(Mutex::new(shares));
    let options = options.clone();
    let shards = exec::run_shards(plan, move |context: ShardContext| {
        let (options, mesh, front, shares) = (
            options.clone(),
            mesh.clone(),
            front.clone(),
            Arc::clone(&shares),
        );
        async move {
            let share = {
                let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
                shares.get_mut(context.index).and_then(Option::take)
            };
            let share = share.expect("each core takes its share once");
            run_core(&options, context, &mesh, share, front).await;
        }
    })?;
    Ok(Node { shards, errands })
}

async fn run_core<F, Fut>(
    options: &NodeOptions,
    context: ShardContext,
    mesh: &Mesh<Letter>,
    share: Share,
    front: F,
) where
    F: Fn(Shards) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let id = ShardId(context.index as u16);
    let files = SharedWalFiles::new(open_wal(options, id, &share.boot));
    let file_systems = open_file_systems(share.folders.data());
    let disk = DiskWatch::new(share.disk, id);
    // Before anything is appended.
    let seen = disk.look().await;
    let memory = Box::new(files.clone());
    let engine = make_engine(options, id, seen, share.boot, share.quorum, memory);
    let endpoint = mesh
        .endpoint(context.index)
        .expect("each core takes its endpoint once");
    let core = Core::new(id, options.shards, engine, endpoint, share.pressed, disk);
    let core = Rc::new(core);
    let shards = Shards {
        core: Rc::clone(&core),
    };
    let turns = Turns::new(
        Rc::clone(&core),
        share.folders,
        file_systems,
        files,
        share.cleaned,
    );
    exec::spawn_local(Rc::clone(&turns).run()).detach();
    exec::spawn_local(run_errands(shards.clone(), share.errands)).detach();
    exec::spawn_local(shards.clone().watch_lags()).detach();
    core.work.notify();
    front(shards).await;
    if settle(&core).await {
        // Twice: the first time only looks.
        while !turns.trim_segments().await {}
    }
}

/// The write-ahead files of a core. Without them there is no core: the process ends.
fn open_wal(options: &NodeOptions, id: ShardId, boot: &ShardBoot) -> WalFiles {
    let folder = options
        .folder
        .join(format!("{}/wal-{id}", boot::OWN_FOLDER));
    let files = klamm_os::disk::create_dir_all(&folder)
        .and_then(|()| WalFiles::new(folder.clone(), &boot.wal_recyclable, options.wal_file_bytes));
    files.unwrap_or_else(|error| {
        tracing::error!(folder = %folder.display(), %error, "cannot open the write-ahead log");
        std::process::exit(74)
    })
}

/// The file systems of the data folders, for flushes of all of them. The process ends without.
fn open_file_systems(folders: &DataFolders) -> FileSystems {
    FileSystems::of(folders).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot open a data folder");
        std::process::exit(74)
    })
}

/// The engine of a core with its share of the partitions, and the quorum where that is hosted.
/// The process ends if the metadata cannot be read.
pub(crate) fn make_engine(
    options: &NodeOptions,
    id: ShardId,
    seen: Option<DiskSpace>,
    boot: ShardBoot,
    quorum: Option<(QuorumBoot, RecoveredPartition)>,
    memory: Box<dyn WalMemory>,
) -> Engine {
    let recyclable = boot.wal_recyclable.iter().map(|(number, _)| *number);
    let mut engine = Engine::new(
        EngineOptions {
            shard: id,
            shards: options.shards,
            node: options.node,
            tail_bytes: options.tail_bytes,
            wal: WalOptions {
                incarnation: Incarnation((options.seed >> 64) as u64 ^ u64::from(id.0)),
                start: boot.wal_start,
                file_bytes: options.wal_file_bytes,
                bytes_max: options.wal_bytes,
                recyclable: recyclable.collect(),
                next_file: boot.wal_next_file,
            },
            producers: options.producers,
            broker_file: options.broker_file.clone(),
            disk_reserve: options.disk_reserve,
            retention_check_interval: options.retention_check_interval,
            compaction: options.compaction,
            groups: GroupOptions {
                seed: options.groups.seed ^ u64::from(id.0) << 32,
                ..options.groups.clone()
            },
            scale: Scale::default(),
        },
        boot.partitions,
        memory,
    );
    engine.on_free_space(seen);
    if let Some((quorum, log)) = quorum {
        let defaults = options.defaults.clone();
        let hosted = engine.host_quorum(Core::now(), quorum, log, defaults, options.seed);
        if let Err(error) = hosted {
            tracing::error!(%error, "the metadata log cannot be used");
            std::process::exit(74)
        }
    }
    engine
}

async fn run_errands(shards: Shards, errands: Mailbox<Errand>) {
    while let Some(errand) = errands.receive().await {
        errand(&shards);
    }
}

/// Brings the segments up to date, so that the next start has nothing to read. The log holds
/// everything all the same: a disk that takes too long for it is left alone once that is flushed.
async fn settle(core: &Core) -> bool {
    let end = clock::monotonic() + SETTLE_MAX;
    while !core.engine.borrow().is_settled() {
        if clock::monotonic() >= end {
            leave_to_next_start(core).await;
            return false;
        }
        core.engine.borrow_mut().request_checkpoint();
        core.work.notify();
        exec::sleep(SETTLE_PAUSE).await;
    }
    true
}

async fn leave_to_next_start(core: &Core) {
    core.engine.borrow_mut().request_flush();
    core.work.notify();
    while !core.engine.borrow().is_flushed() {
        exec::sleep(SETTLE_PAUSE).await;
    }
    let bytes = core.engine.borrow().replay_bytes();
    tracing::warn!(shard = %core.id, bytes, "segments are not up to date after {} s: the next start reads this much of the write-ahead log; nothing is lost", SETTLE_MAX.as_secs());
}

impl Node {
    /// Runs something on one core.
    ///
    /// False if the core is too busy to take it, or has stopped.
    pub fn run_on(&self, shard: ShardId, errand: Errand) -> bool {
        self.errands
            .get(usize::from(shard.0))
            .is_some_and(|sender| sender.send(errand).is_ok())
    }

    /// Senders of errands to each core, for other threads.
    #[must_use]
    pub fn errands(&self) -> Vec<MailSender<Errand>> {
        self.errands.clone()
    }

    /// Waits until every core has ended; the first failure, if any.
    ///
    /// # Errors
    /// A core panicked.
    pub fn join(self) -> Result<(), ShardError> {
        drop(self.errands);
        self.shards
            .join()
            .into_iter()
            .collect::<Result<Vec<()>, _>>()
            .map(drop)
    }
}
