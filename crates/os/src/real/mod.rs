//! The Linux twin of this crate: glommio for tasks, a private io_uring for descriptors.

pub mod alloc;
pub mod clock;
pub mod disk;
mod doorbell;
pub mod exec;
pub mod mailbox;
pub mod mesh;
pub mod net;
pub mod probe;
pub mod random;
mod ring;
mod schedule;
mod side;
pub mod signals;
mod spsc;
pub mod stats;
pub mod survey;
mod sys;
