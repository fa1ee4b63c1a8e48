//! Makes load for any Kafka broker, at the smallest cost in client CPU: one thread, one epoll,
//! raw frames whose record batches were encoded once with valid checksums. Measures latency from
//! the intended send time, and proves afterwards that the broker holds what it acknowledged.
//!
//! **Is not**: a judge. It reports what it saw; `klamm-perf` runs it against brokers in turn,
//! accounts for their CPU and compares.
//!
//! The walk of a run: [`arguments`] become a checked [`workload`]; [`control`] creates the topic;
//! [`payload`] builds the frames; [`drive`] moves them over [`link`]s, asking [`produce`] or
//! [`fetch`] what to send; [`verify`] compares counts; [`report`] prints.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod control;
pub mod drive;
pub mod fetch;
pub mod link;
pub mod payload;
pub mod problem;
pub mod produce;
pub mod progress;
pub mod report;
mod run;
pub mod schedule;
pub mod verify;
pub mod workload;

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod tests;

pub use run::run;
