//! The front of the klamm broker: connections, translation, configuration, process life.
#![forbid(unsafe_code)]

pub mod config;
