//! The drivers: each carries one kind of effect out and brings its completion back. None decides.

pub(crate) mod files;
pub(crate) mod reader;
pub(crate) mod segments;
pub(crate) mod wal;
