//! rust-rdkafka, in a project of its own because it builds librdkafka.
//! Usage: flights produce BROKER TOPIC CODEC | consume BROKER TOPIC
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["produce", broker, topic, codec] => produce(broker, topic, codec),
        ["consume", broker, topic] => consume(broker, topic),
        _ => Err("usage: flights produce BROKER TOPIC CODEC | consume BROKER TOPIC".into()),
    }
}

fn produce(broker: &str, topic: &str, codec: &str) -> Result<(), Box<dyn Error>> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("compression.type", codec)
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .create()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (key, value) = line.split_once('\t').ok_or("a line without a key")?;
        let mut record = BaseRecord::to(topic).payload(value);
        if !key.is_empty() {
            record = record.key(key);
        }
        while let Err((error, unsent)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::yield_now();
            record = unsent;
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}

fn consume(broker: &str, topic: &str) -> Result<(), Box<dyn Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "assigned-by-hand")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30))?;
    let found = metadata.topics().first().ok_or("no such topic")?;
    let mut open: BTreeSet<i32> = found.partitions().iter().map(|part| part.id()).collect();
    let mut list = TopicPartitionList::new();
    for index in &open {
        list.add_partition_offset(topic, *index, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut out = std::io::stdout().lock();
    while !open.is_empty() {
        match consumer
            .poll(Duration::from_secs(30))
            .ok_or("nothing came for 30 seconds")?
        {
            Ok(message) => {
                out.write_all(message.key().unwrap_or(b""))?;
                out.write_all(b"\t")?;
                out.write_all(message.payload().unwrap_or(b""))?;
                out.write_all(b"\n")?;
            }
            Err(KafkaError::PartitionEOF(index)) => {
                open.remove(&index);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
