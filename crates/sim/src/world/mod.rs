//! The fake world: a disk that loses what was not flushed, and a node whose work is done in any
//! lawful order.

mod compacting;
pub mod disk;
pub mod failing;
pub mod node;
pub mod storage;
mod work;
