//! The front of the klamm broker: connections, translation, configuration, process life.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod http;
pub mod logging;
pub mod startup_report;
