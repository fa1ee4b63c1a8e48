//! Creates a topic, writes one batch per codec, reads all of it back, and deletes the topic:
//! `cargo run -p klamm-client --example round_trip -- 127.0.0.1:9092`.

use klamm_client::admin::{ConfigResource, NewTopic};
use klamm_client::blocking::{Client, ClientOptions};
use klamm_client::fetch::FetchOptions;
use klamm_client::metadata::PartitionName;
use klamm_client::offsets::OffsetSpec;
use klamm_model::{
    Acks, Compression, IsolationLevel, Offset, PartitionIndex, Timestamp, TopicName,
};
use klamm_records::batch::{BatchBuilder, BatchOptions};

const RECORDS_PER_BATCH: i64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = std::env::args().nth(1);
    let bootstrap = bootstrap.as_deref().unwrap_or("127.0.0.1:9092");
    let mut client = Client::connect(bootstrap, ClientOptions::default())?;
    println!("cluster {:?}", client.cluster().id);
    let topic = TopicName::new("klamm-round-trip")?;
    let created = client.create_topic(NewTopic::new(topic.clone()).partitions(2))?;
    println!("created {created:?}");
    let partition = PartitionName::new(topic.clone(), PartitionIndex(1));
    for codec in Compression::ALL {
        let options = BatchOptions {
            compressor: codec.into(),
            ..BatchOptions::default()
        };
        let mut batch = BatchBuilder::new(options);
        for number in 0..RECORDS_PER_BATCH {
            let value = format!("{} {number}", codec.word());
            batch.append(Timestamp(number), None, Some(value.as_bytes()), &[]);
        }
        let appended = client.produce(&partition, batch.build()?.into(), Acks::All)?;
        println!("{} at {:?}", codec.word(), appended.base_offset);
    }
    let ends = client.list_offsets(
        &[(partition.clone(), OffsetSpec::Latest)],
        IsolationLevel::ReadUncommitted,
    )?;
    println!("end {:?}", ends[&partition].offset);
    let mut position = Offset::ZERO;
    let mut values = Vec::new();
    while Some(position) < ends[&partition].offset {
        let fetched = client.fetch(&partition, position, &FetchOptions::default())?;
        position = fetched.next;
        values.extend(fetched.records.into_iter().filter_map(|it| it.value));
    }
    let mut expected = Compression::ALL.iter().flat_map(|codec| {
        (0..RECORDS_PER_BATCH).map(|number| format!("{} {number}", codec.word()))
    });
    assert!(
        values
            .iter()
            .all(|value| Some(&value[..]) == expected.next().as_deref().map(str::as_bytes))
    );
    assert_eq!(expected.next(), None, "every record comes back");
    let configs = client.describe_configs(ConfigResource::Topic, topic.as_str())?;
    println!("{} config keys", configs.len());
    client.delete_topic(&topic)?;
    println!("read {} records back", values.len());
    Ok(())
}
