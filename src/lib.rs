//! The front of the klamm broker: connections, translation, configuration, process life.
#![forbid(unsafe_code)]

pub mod boot;
pub mod cli;
pub mod config;
mod data_folders;
mod differences;
mod disk_room;
pub mod dispatch;
pub mod doctor;
mod features;
pub mod fetch_sessions;
pub mod handlers;
pub mod http;
pub mod loggers;
pub mod logging;
pub mod net;
mod node_groups;
mod node_metrics;
mod ports;
mod quotas;
pub mod rehearsal;
pub mod served;
pub mod startup_report;
mod words;
