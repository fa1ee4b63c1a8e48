//! A Kafka client: machines without sockets, clocks or threads, and two drivers for them.
//!
//! **Is**: producers, consumers of partitions that the caller assigns, members of consumer groups,
//! and administrative calls, for klamm and any other Kafka broker. **Is not**: a transactional
//! producer, a member of share or streams groups, TLS or SASL.
//!
//! # Where to begin
//! | You want to | Use |
//! |---|---|
//! | write a command or a test | [`blocking`]: it waits where it is called |
//! | produce or consume in an async program | [`asynchronous`]: any runtime, through `futures-io` |
//! | drive it yourself, or simulate it | [`sans_io`]: bytes and time in, effects out |
//! | ask for something that has no call here | [`blocking::Client::request`] with [`wire`] |
//!
//! # Produce
//! ```no_run
//! use klamm_client::blocking::{BlockingProducer, Client, ClientOptions, wall_time};
//! use klamm_client::model::{Compression, TopicName};
//! use klamm_client::producer::{ProducerOptions, ProducerRecord};
//!
//! let client = Client::connect("127.0.0.1:9092", ClientOptions::default())?;
//! let options = ProducerOptions {
//!     compressor: Compression::Zstd.into(),
//!     ..ProducerOptions::default() // acks=all, idempotent, linger 5 ms, as in Java
//! };
//! let mut producer = BlockingProducer::new(client, options)?;
//! let topic = TopicName::new("flights")?;
//! for number in 400..500 {
//!     let record = ProducerRecord::new(topic.clone(), wall_time())
//!         .key(format!("LH {number}"))
//!         .value("boarding")
//!         .header("gate", "A 7");
//!     producer.send(&record)?; // waits only while the buffer is full
//! }
//! producer.flush()?;
//! while let Some(delivery) = producer.next_delivery() {
//!     let kept = delivery.outcome?;
//!     println!("{} at {:?}", delivery.partition, kept.base_offset);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! What [`producer::ProducerOptions`] lists under Kafka's names does what it does in Java: records
//! gather for `linger.ms` or until `batch.size`; keys go to the partition that murmur2 gives
//! ([`partitioner`]); what fails in a way that may pass is sent again with growing pauses until
//! `delivery.timeout.ms`, once and in order with up to five requests in flight. A gap in the
//! sequences (a batch given up, a leader that lost what it had acknowledged) begins the producer's
//! next epoch. Every record ends in exactly one [`producer::Delivery`]. In one thing this differs
//! from Java's: a batch that may lie in the log, and whose producer the leader has forgotten since,
//! is given up with `UNKNOWN_PRODUCER_ID` instead of being sent a second time.
//!
//! # Consume
//! ```no_run
//! use std::time::Duration;
//!
//! use klamm_client::blocking::{BlockingConsumer, Client, ClientOptions};
//! use klamm_client::fetcher::{ConsumerOptions, Event, StartAt};
//! use klamm_client::metadata::PartitionName;
//! use klamm_client::model::TopicName;
//!
//! let mut client = Client::connect("127.0.0.1:9092", ClientOptions::default())?;
//! let topic = client.topic(&TopicName::new("flights")?)?;
//! let mut consumer = BlockingConsumer::new(client, ConsumerOptions::default());
//! for partition in &topic.partitions {
//!     let partition = PartitionName::new(topic.name.clone(), partition.index);
//!     consumer.seek(partition, StartAt::Earliest);
//! }
//! loop {
//!     for event in consumer.poll(Duration::from_millis(500), 500)? {
//!         match event {
//!             Event::Record(partition, record) => println!("{partition} {record:?}"),
//!             Event::End(partition, offset) => println!("{partition} is read up to {offset}"),
//!             Event::Reset { partition, to, .. } => println!("{partition} goes on at {to:?}"),
//!             Event::Failed(partition, error) => return Err(format!("{partition}: {error}").into()),
//!         }
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Checksums of all batches are checked, all codecs read, leaders followed. `read_committed`
//! ([`fetch::FetchOptions::isolation`]) hands out nothing of an aborted transaction and nothing
//! beyond the last stable offset.
//!
//! # Consume as a member of a group
//! ```no_run
//! use std::time::Duration;
//!
//! use klamm_client::blocking::BlockingGroupConsumer;
//! use klamm_client::fetcher::Event;
//! use klamm_client::group::{GroupEvent, GroupOptions, GroupReset};
//! use klamm_client::hub::HubOptions;
//! use klamm_client::model::TopicName;
//!
//! let options = GroupOptions {
//!     offset_reset: GroupReset::Earliest,
//!     ..GroupOptions::new("boards") // cooperative, commits every 5 s what was worked on
//! };
//! let topics = [TopicName::new("flights")?];
//! let hub = HubOptions::default();
//! let mut consumer = BlockingGroupConsumer::new("127.0.0.1:9092", hub, options, topics)?;
//! for _ in 0..1000 {
//!     // Asking for more says that everything handed out before is worked on.
//!     for event in consumer.poll(Duration::from_millis(500), 500) {
//!         match event {
//!             GroupEvent::Read(Event::Record(partition, record)) => {
//!                 println!("{partition} {record:?}");
//!             }
//!             GroupEvent::Read(_) => {}
//!             GroupEvent::Assigned(partitions) => println!("reads {partitions:?}"),
//!             // Still this member's until it asks again: a place to keep what it knows of them.
//!             GroupEvent::Revoked(partitions) => println!("gives up {partitions:?}"),
//!             GroupEvent::Lost { partitions, reason } => println!("{partitions:?}: {reason}"),
//!             GroupEvent::NoOffset(partition) => return Err(format!("{partition}").into()),
//!             GroupEvent::Ended(error) => return Err(error.into()),
//!         }
//!     }
//! }
//! assert!(consumer.close(Duration::from_secs(10)), "committed, and left");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! With `auto_commit: None` the program calls
//! [`commit`](blocking::BlockingGroupConsumer::commit) itself. Members of the classic protocol
//! divide the work by `cooperative-sticky`, and understand Java's members of the same group; with
//! [`MembershipProtocol::Consumer`](group::MembershipProtocol) the broker divides it (KIP-848).
//! What sessions, rounds and fencing take away is told by
//! [`GroupEvent::Lost`](group::GroupEvent::Lost); nothing of it is handed out afterwards, and
//! nothing of it is committed.
//!
//! # Administer
//! ```no_run
//! use klamm_client::admin::{Apply, ConfigChange, ConfigResource, NewTopic};
//! use klamm_client::blocking::{Client, ClientOptions, Target};
//! use klamm_client::model::TopicName;
//! use klamm_client::wire::describe_quorum;
//!
//! let mut client = Client::connect("127.0.0.1:9092", ClientOptions::default())?;
//! let topic = TopicName::new("flights")?;
//! client.create_topic(NewTopic::new(topic.clone()).partitions(3).config("retention.ms", "-1"))?;
//! let change = [ConfigChange::set("retention.ms", "86400000")];
//! client.alter_configs(ConfigResource::Topic, topic.as_str(), &change, Apply::Really)?;
//! // What has no call of its own: any message of the tables.
//! let request = describe_quorum::Request::default();
//! let code = client.request(Target::Any, &request, |view| view.error_code())?;
//! println!("{code}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Drive it yourself
//! A machine is handed what happened and asked what to do; nothing else is needed to run it, in a
//! test as in a program:
//! ```
//! use klamm_client::hub::HubOptions;
//! use klamm_client::model::{Instant, Timestamp, TopicName};
//! use klamm_client::producer::{ProducerOptions, ProducerRecord};
//! use klamm_client::sans_io::{Effect, SansIo, SansIoProducer, SendRefusal};
//!
//! let (bootstrap, options) = ("localhost:9092", ProducerOptions::default());
//! let mut producer = SansIoProducer::new(bootstrap, HubOptions::default(), options, 7)?;
//! let record = ProducerRecord::new(TopicName::new("flights")?, Timestamp(0)).value("LH 400");
//! // Nothing is known of the topic yet: the machine wants to ask.
//! let now = Instant(0);
//! assert_eq!(producer.send(now, &record), Err(SendRefusal::TopicPending));
//! let Some(Effect::Open { link, address }) = producer.next_effect() else {
//!     panic!("a connection comes first");
//! };
//! assert_eq!(address, "localhost:9092");
//! // The driver has connected: the first bytes ask for the broker's versions.
//! producer.on_opened(now, link);
//! assert!(matches!(producer.next_effect(), Some(Effect::Write { .. })));
//! assert!(producer.next_deadline(now).is_some(), "an answer comes in time");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Contract of a host
//! 1. What a machine wants written is written, all of it, in order; bytes that arrive go in in
//!    pieces of any size.
//! 2. An effect or error that closes a connection is carried out. Nothing that a broker sends can
//!    panic this room or reserve memory by its word alone.
//! 3. Time is an argument and does not run backwards.

#![forbid(unsafe_code)]

pub mod admin;
pub mod append;
pub mod asynchronous;
pub mod blocking;
pub mod connection;
mod error;
pub mod fetch;
pub mod fetcher;
pub mod group;
pub mod hub;
pub mod limits;
pub mod metadata;
pub mod offsets;
pub mod partitioner;
pub mod producer;
pub mod sans_io;
#[cfg(test)]
mod tests;

pub use error::BrokerError;
/// Names, offsets and error codes, shared with the broker.
pub use klamm_model as model;
/// Batches and records as the records room has them, for users of this room alone.
pub use klamm_records::batch::{BatchBuilder, BatchOptions, Record, RecordHeader};
pub use klamm_records::compress::Compressor;
/// The messages of the protocol, for [`blocking::Client::request`].
pub use klamm_wire as wire;
