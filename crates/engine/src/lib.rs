//! All state of one core: local partitions, the tail, parked calls, the quorum's host. Synchronous
//! and pure: events in, effects out, `now` is an argument.
//!
//! # The host's duties
//!
//! 1. Once, before any core runs: [`boot::boot`] on the data folder. Then one [`Engine`] per core
//!    with its share, and [`Engine::host_quorum`] on core 0.
//! 2. Bring calls to [`Engine::call`]; at the end of each turn [`Engine::end_turn`], then carry out
//!    what [`Engine::swap_effects`] gives, in order, until there is nothing.
//! 3. `WalBegin` and `WalWrite` are done before the turn goes on; then [`Engine::on_wal_written`].
//!    Where the memory of [`memory::WalMemory`] is the file, there is nothing left to write.
//!    While [`Engine::wal_flush_wanted`] says so, flush what was written and report the position
//!    that was written *before the flush began* to [`Engine::on_wal_flushed`].
//! 4. Everything else may take its time and is answered by its own `on_*`.
//! 5. A failed write or flush ends the process. Nothing is retried, nothing more is acknowledged.
//!    A write that finds no room is none of these: nothing was promised that rests on it, and it is
//!    tried again until there is room.
//! 6. Before the first call, and whenever [`Effect::LookAtSpace`](effects::Effect::LookAtSpace) asks
//!    for it, [`Engine::on_free_space`].
#![forbid(unsafe_code)]

pub mod api;
mod append;
pub mod boot;
mod boot_adopt;
mod boot_epochs;
mod boot_heads;
mod boot_index;
mod boot_lost;
mod boot_partition;
mod boot_swap;
mod boot_wal;
mod checkpoint;
pub mod compaction;
pub mod compaction_work;
mod describe;
pub mod effects;
pub mod engine;
mod groups;
mod groups_append;
mod groups_gone;
mod groups_lag;
mod groups_load;
mod groups_metadata;
mod groups_open;
mod holds;
pub mod kafka_folder;
pub mod kafka_log;
mod log_facts;
pub mod memory;
mod partition;
pub mod placement;
mod producers;
mod quarantine;
mod quorum;
mod quorum_log;
mod read;
mod recompress;
mod reconcile;
mod reindex;
pub mod repair;
mod retention;
mod scale;
mod segments;
pub mod space;
pub mod storage;
mod tail;
mod traffic;
mod trim;
mod waiters;
mod wal;

pub use engine::{Engine, EngineOptions};
pub use groups::{GroupGauges, GroupOptions, Loaded};
pub use groups_lag::{GroupReport, LagFrom, LagOptions, LagSlice};
pub use scale::Scale;
pub use traffic::{PartitionGauges, Traffic};
pub use wal::WalOptions;

pub use klamm_coord as coord;
pub use klamm_metadata as metadata;
pub use klamm_records::batch;
pub use klamm_replica as replica;
