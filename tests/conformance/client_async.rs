//! The client's async driver on tokio against the real binary.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use klamm_client::admin::NewTopic;
use klamm_client::asynchronous::futures_io::{AsyncRead, AsyncWrite};
use klamm_client::asynchronous::{
    AsyncConsumer, AsyncGroupConsumer, AsyncProducer, ProduceError, Runtime, wall_time,
};
use klamm_client::blocking::{Client, ClientOptions};
use klamm_client::fetcher::{ConsumerOptions, Event, StartAt};
use klamm_client::group::{GroupEvent, GroupOptions, GroupReset};
use klamm_client::hub::HubOptions;
use klamm_client::metadata::PartitionName;
use klamm_client::producer::{ProducerOptions, ProducerRecord};
use klamm_model::{Acks, Compression, ErrorCode, PartitionIndex, TopicName};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::harness::{Broker, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the driver needs of tokio.
struct Tokio;

/// A socket of tokio under the traits of `futures-io`.
struct Socket(TcpStream);

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Runtime for Tokio {
    type Stream = Socket;
    type Connecting = Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>;
    type Sleep = Pin<Box<tokio::time::Sleep>>;

    fn connect(&self, address: &str) -> Self::Connecting {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Socket(stream))
        })
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Runs a test to its end, in time.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let done = tokio::time::timeout(PATIENCE, future).await;
        done.expect("in time")
    })
}

fn topic(broker: &Broker, partitions: i32) -> TopicName {
    let address = broker.address().to_string();
    let mut client =
        Client::connect(&address, ClientOptions::default()).expect("the broker listens");
    let name = TopicName::new(&unique("async")).expect("legal");
    let made = client.create_topic(NewTopic::new(name.clone()).partitions(partitions));
    made.expect("made");
    name
}

fn producer(broker: &Broker, options: ProducerOptions) -> AsyncProducer<Tokio> {
    let address = broker.address().to_string();
    let made = AsyncProducer::new(Tokio, &address, HubOptions::default(), options);
    made.expect("sound options")
}

fn consumer(broker: &Broker) -> AsyncConsumer<Tokio> {
    let address = broker.address().to_string();
    AsyncConsumer::new(
        Tokio,
        &address,
        HubOptions::default(),
        ConsumerOptions::default(),
    )
}

fn record(topic: &TopicName, number: usize) -> ProducerRecord {
    ProducerRecord::new(topic.clone(), wall_time()).value(number.to_string())
}

#[test]
fn records_go_and_come_back_in_every_codec_while_a_consumer_waits() {
    let broker = Broker::start();
    let name = topic(&broker, 1);
    let partition = PartitionName::new(name.clone(), PartitionIndex(0));
    run(async {
        let mut consumer = consumer(&broker);
        consumer.seek(partition.clone(), StartAt::Earliest);
        let read = async {
            let mut values = Vec::new();
            while values.len() < 500 {
                if let Event::Record(_, record) = consumer.next_event().await {
                    let value = record.value.expect("a value");
                    values.push(String::from_utf8_lossy(&value).into_owned());
                }
            }
            values
        };
        let write = async {
            let mut sent = 0;
            for codec in Compression::ALL {
                let options = ProducerOptions {
                    compressor: codec.into(),
                    ..ProducerOptions::default()
                };
                let mut producer = producer(&broker, options);
                for _ in 0..100 {
                    let record = record(&name, sent);
                    producer.send(&record).await.expect("room");
                    sent += 1;
                }
                producer.flush().await;
                let mut delivered = 0;
                while let Some(delivery) = producer.next_delivery() {
                    delivery.outcome.expect("delivered");
                    delivered += delivery.tickets.len();
                }
                assert_eq!(delivered, 100, "{codec:?}");
            }
        };
        let (values, ()) = tokio::join!(read, write);
        let expected: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        assert_eq!(values, expected);
        assert_eq!(consumer.position(&partition).map(|it| it.0), Some(500));
    });
}

#[test]
fn a_wait_that_is_dropped_loses_nothing() {
    let broker = Broker::start();
    let name = topic(&broker, 1);
    let partition = PartitionName::new(name.clone(), PartitionIndex(0));
    run(async {
        let mut producer = producer(&broker, ProducerOptions::default());
        let mut consumer = consumer(&broker);
        consumer.seek(partition, StartAt::Earliest);
        let mut next = 0;
        for number in 0..50 {
            producer.send(&record(&name, number)).await.expect("room");
            let short = Duration::from_millis(3);
            // Dropped in the middle of whatever it does.
            let _ = tokio::time::timeout(short, producer.flush()).await;
            while let Ok(event) = tokio::time::timeout(short, consumer.next_event()).await {
                if let Event::Record(_, record) = event {
                    assert_eq!(record.value.as_deref(), Some(next.to_string().as_bytes()));
                    next += 1;
                }
            }
        }
        producer.flush().await;
        while next < 50 {
            if let Event::Record(_, record) = consumer.next_event().await {
                assert_eq!(record.value.as_deref(), Some(next.to_string().as_bytes()));
                next += 1;
            }
        }
    });
}

#[test]
fn a_broker_that_comes_back_gets_the_rest_once() {
    let Some(mut broker) = Broker::own("a_broker_that_comes_back", crate::harness::Options::new())
    else {
        return;
    };
    let name = topic(&broker, 1);
    let partition = PartitionName::new(name.clone(), PartitionIndex(0));
    run(async {
        let mut producer = producer(&broker, ProducerOptions::default());
        for number in 0..100 {
            producer.send(&record(&name, number)).await.expect("room");
        }
        producer.flush().await;
        broker.kill();
        for number in 100..200 {
            producer.send(&record(&name, number)).await.expect("room");
        }
        producer.pump(Duration::from_millis(300)).await;
        let listeners = format!("PLAINTEXT://{}", broker.address());
        let again = crate::harness::Options::new().set("listeners", listeners);
        broker.start_again_with(again);
        producer.flush().await;
        let mut delivered = 0;
        while let Some(delivery) = producer.next_delivery() {
            delivery.outcome.expect("delivered");
            delivered += delivery.tickets.len();
        }
        assert_eq!(delivered, 200);
        let mut consumer = consumer(&broker);
        consumer.seek(partition, StartAt::Earliest);
        let mut next = 0;
        while next < 200 {
            if let Event::Record(_, record) = consumer.next_event().await {
                assert_eq!(record.value.as_deref(), Some(next.to_string().as_bytes()));
                next += 1;
            }
        }
        let end = consumer.next_event().await;
        assert!(matches!(end, Event::End(_, at) if at.0 == 200), "{end:?}");
    });
}

#[test]
fn what_cannot_be_sent_is_told_in_time() {
    let broker = Broker::start();
    let missing = TopicName::new(&unique("missing")).expect("legal");
    run(async {
        let options = ProducerOptions {
            acks: Acks::Leader,
            idempotent: false,
            ..ProducerOptions::default()
        };
        let mut producer = producer(&broker, options);
        let refused = producer.send(&record(&missing, 0)).await;
        assert!(
            matches!(&refused, Err(ProduceError::Topic(error))
                if error.code == ErrorCode::UnknownTopicOrPartition),
            "{refused:?}"
        );
        let options = ProducerOptions {
            block_max: Duration::from_millis(300),
            ..ProducerOptions::default()
        };
        let nowhere = AsyncProducer::new(Tokio, "127.0.0.1:1", HubOptions::default(), options);
        let refused = nowhere
            .expect("sound options")
            .send(&record(&missing, 0))
            .await;
        assert!(
            matches!(
                &refused,
                Err(ProduceError::Blocked {
                    last_failure: Some(_),
                    ..
                })
            ),
            "{refused:?}"
        );
    });
}

#[test]
fn async_members_read_commit_and_share_a_group() {
    let broker = Broker::start_with(crate::groups::options());
    let name = topic(&broker, 2);
    let group = unique("async");
    let member = || {
        let options = GroupOptions {
            offset_reset: GroupReset::Earliest,
            heartbeat_interval: Duration::from_millis(200),
            auto_commit: None,
            ..GroupOptions::new(&group)
        };
        let address = broker.address().to_string();
        AsyncGroupConsumer::new(
            Tokio,
            &address,
            HubOptions::default(),
            options,
            [name.clone()],
        )
    };
    run(async {
        let mut producer = producer(&broker, ProducerOptions::default());
        for number in 0..20 {
            let record = ProducerRecord::new(name.clone(), wall_time());
            let record = record.partition(PartitionIndex(number % 2)).value("v");
            producer.send(&record).await.expect("room");
        }
        producer.flush().await;
        let mut first = member();
        let mut read = 0;
        while read < 20 {
            match first.next_event().await {
                GroupEvent::Read(Event::Record(..)) => read += 1,
                GroupEvent::Ended(error) => panic!("{error}"),
                _ => {}
            }
        }
        first.commit().await.expect("kept");
        let mut second = member();
        while first.assignment().count() != 1 || second.assignment().count() != 1 {
            let turn = Duration::from_millis(50);
            let look = tokio::time::timeout(turn, first.next_event()).await;
            assert!(!matches!(look, Ok(GroupEvent::Lost { .. })), "{look:?}");
            let look = tokio::time::timeout(turn, second.next_event()).await;
            // What was committed is not read again.
            let record = matches!(look, Ok(GroupEvent::Read(Event::Record(..))));
            assert!(!record, "{look:?}");
        }
        assert!(first.close(PATIENCE).await);
        assert!(second.close(PATIENCE).await);
    });
    let address = broker.address().to_string();
    let mut client = Client::connect(&address, ClientOptions::default()).expect("it listens");
    let kept = client.list_group_offsets(&group, None).expect("an answer");
    let kept: i64 = kept.into_values().map(|kept| kept.offset.0).sum();
    assert_eq!(kept, 20);
}
