//! The only room that touches the kernel: executors, sockets, files, clock, cross-core mesh.
//! It knows no domain word. State: one ring, one executor and one set of counters per shard thread.
//!
//! Every module is re-exported from `real`, which runs on Linux: glommio makes and pins the thread
//! of a shard; the tasks and timers in it are ours, as is its io_uring (readiness of sockets,
//! flushes, direct I/O).
//! Nothing public names a type of either, so that a simulated twin can take its place.
//!
//! The contract of the rooms above:
//! 1. call [`signals::block`] and [`alloc::keep_memory`] before any thread exists, and
//!    [`probe::check`] before [`exec::run_shards`];
//! 2. everything async runs inside a shard; `Stream`, `AppendFile`, `BlockFile` and `Endpoint`
//!    belong to the shard that made them; `Socket`, `Mesh`, `Mailbox` and `MailSender` may travel;
//! 3. a shard future may be dropped at any await, but what was handed to the disk is never
//!    cancelled by that.

mod real;

pub use real::{
    alloc, clock, disk, exec, mailbox, mesh, net, probe, random, signals, stats, survey,
};
