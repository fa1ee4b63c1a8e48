//! Makes load for any Kafka broker, at the smallest cost in client CPU: one thread, one epoll,
//! raw frames whose record batches were encoded once with valid checksums. Measures latency from
//! the intended send time, and proves afterwards that the broker holds what it acknowledged.
//!
//! **Is not**: a judge. It reports what it saw; `klamm-perf` runs it against brokers in turn,
//! accounts for their CPU and compares.
//!
//! The walk of a run: [`arguments`] become a checked [`workload`]; [`control`] creates the
//! [`topics`]; [`pool`] builds the frames; [`drive`] moves them over [`link`]s, asking [`produce`],
//! [`tail`], [`fetch`] or [`admin`] what to send and obeying [`steering`]; [`verify`] proves;
//! [`report`] prints.
//! Of groups: [`groups`] lets things happen to the [`crew`], which keeps the timers and connections
//! of each [`member`]; [`holdings`] notes who reads which partition, and how long nobody did.

#![forbid(unsafe_code)]

pub mod admin;
pub mod arguments;
pub mod batches;
pub mod catalog;
pub mod clock;
pub mod control;
pub mod crew;
pub mod drive;
pub mod fetch;
pub mod frame;
pub mod groups;
pub mod holdings;
pub mod latency;
pub mod link;
pub mod member;
mod member_classic;
mod member_consumer;
pub mod order;
pub mod payload;
pub mod plot;
pub mod pool;
pub mod problem;
pub mod produce;
pub mod progress;
pub mod report;
mod run;
pub mod schedule;
pub mod seal;
pub mod stamp;
pub mod steering;
pub mod storm;
pub mod tail;
pub mod topics;
pub mod verify;
pub mod workload;
pub mod written;

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod tests;

pub use run::run;
