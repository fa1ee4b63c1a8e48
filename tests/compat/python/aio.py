"""aiokafka. Usage: aio.py produce BROKER TOPIC CODEC | consume BROKER TOPIC
    | subscribe BROKER TOPIC GROUP COUNT
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition


async def produce(broker, topic, codec):
    producer = AIOKafkaProducer(
        bootstrap_servers=broker,
        compression_type=None if codec == "none" else codec,
        enable_idempotence=True,
        linger_ms=20,
    )
    await producer.start()
    try:
        sent = []
        for line in sys.stdin.buffer:
            key, value = line.rstrip(b"\n").split(b"\t", 1)
            sent.append(await producer.send(topic, value, key=key or None))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def consume(broker, topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    await consumer.start()
    try:
        indexes = await asyncio.wait_for(known_partitions(consumer, topic), 30)
        partitions = [TopicPartition(topic, index) for index in indexes]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        left = sum(ends.values())
        while left > 0:
            batch = await consumer.getmany(timeout_ms=30000)
            if not batch:
                sys.exit("nothing came for 30 seconds")
            for records in batch.values():
                for record in records:
                    sys.stdout.buffer.write((record.key or b"") + b"\t" + record.value + b"\n")
                left -= len(records)
    finally:
        await consumer.stop()


async def known_partitions(consumer, topic):
    await consumer._client.force_metadata_update()
    while not (found := consumer.partitions_for_topic(topic)):
        consumer._client.add_topic(topic)
        await consumer._client.force_metadata_update()
    return found


async def subscribe(broker, topic, group, count):
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=broker, group_id=group, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        left = int(count)
        while left > 0:
            batch = await consumer.getmany(timeout_ms=60000, max_records=left)
            if not batch:
                sys.exit("nothing came for 60 seconds")
            for records in batch.values():
                for record in records:
                    sys.stdout.buffer.write((record.key or b"") + b"\t" + record.value + b"\n")
                left -= len(records)
    finally:
        await consumer.stop()


commands = {"produce": produce, "consume": consume, "subscribe": subscribe}
asyncio.run(commands[sys.argv[1]](*sys.argv[2:]))
