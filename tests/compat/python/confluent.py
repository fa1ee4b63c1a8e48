"""confluent-kafka. Usage: confluent.py produce BROKER TOPIC CODEC | consume BROKER TOPIC
    | subscribe BROKER TOPIC GROUP COUNT [PROTOCOL]
"""

import sys

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition


def produce(broker, topic, codec):
    producer = Producer({
        "bootstrap.servers": broker,
        "compression.type": codec,
        "enable.idempotence": True,
        "linger.ms": 20,
    })
    failures = []

    def on_delivery(error, _message):
        if error is not None:
            failures.append(error)

    for line in sys.stdin.buffer:
        key, value = line.rstrip(b"\n").split(b"\t", 1)
        while True:
            try:
                producer.produce(topic, value, key or None, on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(60)
    if left or failures:
        sys.exit(f"{left} not delivered, {len(failures)} failed: {failures[:1]}")


def consume(broker, topic):
    consumer = Consumer({
        "bootstrap.servers": broker,
        "group.id": "assigned-by-hand",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    })
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, index, 0) for index in partitions])
    ended = set()
    while len(ended) < len(partitions):
        message = consumer.poll(30)
        if message is None:
            sys.exit("nothing came for 30 seconds")
        if message.error() is None:
            sys.stdout.buffer.write((message.key() or b"") + b"\t" + message.value() + b"\n")
        elif message.error().code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            sys.exit(str(message.error()))
    consumer.close()


def subscribe(broker, topic, group, count, protocol="classic"):
    consumer = Consumer({
        "bootstrap.servers": broker,
        "group.id": group,
        "group.protocol": protocol,
        "auto.offset.reset": "earliest",
    })
    consumer.subscribe([topic])
    for _ in range(int(count)):
        message = consumer.poll(60)
        if message is None:
            sys.exit("nothing came for 60 seconds")
        if message.error() is not None:
            sys.exit(str(message.error()))
        sys.stdout.buffer.write((message.key() or b"") + b"\t" + message.value() + b"\n")
    consumer.close()


{"produce": produce, "consume": consume, "subscribe": subscribe}[sys.argv[1]](*sys.argv[2:])
