//! A Kafka client as machines without sockets, clocks or threads, and one driver on std.
//!
//! **Is**: [`connection`] (bytes in and out, correlation, version negotiation), [`metadata`] (the
//! cluster as the client knows it), [`producer`] with its [`partitioner`], [`fetcher`], shapes of
//! requests and answers ([`append`], [`fetch`], [`offsets`], [`admin`]), and [`blocking`], which
//! drives them all for the command line, tests and tools.
//!
//! **Is not**: an async client, and no group member: consumers here read what they are assigned.
//!
//! # Contract of a host
//! 1. Bytes from the socket go to [`connection::Connection::on_input`] in pieces of any size;
//!    bytes to the socket come from `take_output`, all of them, in order.
//! 2. An error of `on_input` closes the socket. Nothing that a broker sends can panic this room or
//!    reserve memory by its word alone.
//! 3. Time is an argument wherever it matters.
//!
//! # Example
//! ```no_run
//! use klamm_client::admin::NewTopic;
//! use klamm_client::blocking::{Client, ClientOptions};
//! use klamm_client::fetch::FetchOptions;
//! use klamm_client::metadata::PartitionName;
//! use klamm_client::{BatchBuilder, BatchOptions};
//! use klamm_model::{Acks, Offset, PartitionIndex, Timestamp, TopicName};
//!
//! let mut client = Client::connect("127.0.0.1:9092", ClientOptions::default())?;
//! let topic = TopicName::new("flights")?;
//! client.create_topic(NewTopic::new(topic.clone()).partitions(3))?;
//!
//! let mut batch = BatchBuilder::new(BatchOptions::default());
//! batch.append(Timestamp(0), Some(b"key"), Some(b"value"), &[]);
//! let partition = PartitionName::new(topic, PartitionIndex(0));
//! client.produce(&partition, batch.build()?.into(), Acks::All)?;
//!
//! let fetched = client.fetch(&partition, Offset::ZERO, &FetchOptions::default())?;
//! assert_eq!(fetched.records[0].value.as_deref(), Some(&b"value"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod admin;
pub mod append;
pub mod blocking;
pub mod connection;
mod error;
pub mod fetch;
pub mod fetcher;
pub mod limits;
pub mod metadata;
pub mod offsets;
pub mod partitioner;
pub mod producer;
#[cfg(test)]
mod tests;

pub use error::BrokerError;
/// Batches and records as the records room has them, for users of this room alone.
pub use klamm_records::batch::{BatchBuilder, BatchOptions, Record, RecordHeader};
pub use klamm_records::compress::Compressor;
