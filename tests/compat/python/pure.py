"""kafka-python. Usage: pure.py produce BROKER TOPIC CODEC | consume BROKER TOPIC
    | subscribe BROKER TOPIC GROUP COUNT
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition


def produce(broker, topic, codec):
    producer = KafkaProducer(
        bootstrap_servers=broker,
        compression_type=None if codec == "none" else codec,
        linger_ms=20,
    )
    futures = []
    for line in sys.stdin.buffer:
        key, value = line.rstrip(b"\n").split(b"\t", 1)
        futures.append(producer.send(topic, value, key=key or None))
    # It keeps everything in memory until here, and is slow.
    producer.flush(600)
    for future in futures:
        future.get(30)
    producer.close()


def consume(broker, topic):
    consumer = KafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    partitions = [TopicPartition(topic, index) for index in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        batch = consumer.poll(timeout_ms=30000)
        if not batch:
            sys.exit("nothing came for 30 seconds")
        for records in batch.values():
            for record in records:
                sys.stdout.buffer.write((record.key or b"") + b"\t" + record.value + b"\n")
    consumer.close()


def subscribe(broker, topic, group, count):
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=broker,
        group_id=group,
        auto_offset_reset="earliest",
        consumer_timeout_ms=60000,
    )
    left = int(count)
    for record in consumer:
        sys.stdout.buffer.write((record.key or b"") + b"\t" + record.value + b"\n")
        left -= 1
        if left == 0:
            break
    consumer.close()


{"produce": produce, "consume": consume, "subscribe": subscribe}[sys.argv[1]](*sys.argv[2:])
