//! The fake world: a disk that loses what was not flushed, and a node whose work is done in any
//! lawful order.

mod cold;
mod compacting;
pub mod disk;
pub mod failing;
mod holding;
pub mod node;
mod segments;
pub mod storage;
mod work;
