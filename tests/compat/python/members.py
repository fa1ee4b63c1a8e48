"""One member of a group of the consumer protocol, with confluent-kafka, until it is killed or told
to stop. Usage: members.py BROKER TOPIC-OR-^PATTERN GROUP

It writes a line for each thing that happens: "assigned N" with how many partitions it holds now,
and "read KEY" for each record, which is committed at once. A line on its input ends it.
"""

import sys
import threading

from confluent_kafka import Consumer, KafkaException


def say(*words):
    print(*words, flush=True)


def main(broker, topic, group):
    consumer = Consumer({
        "bootstrap.servers": broker,
        "group.id": group,
        "group.protocol": "consumer",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "topic.metadata.refresh.interval.ms": 500,
        "reconnect.backoff.max.ms": 200,
    })
    held = set()
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()

    def assigned(_consumer, partitions):
        held.update((one.topic, one.partition) for one in partitions)
        say("assigned", len(held))

    def revoked(_consumer, partitions):
        held.difference_update((one.topic, one.partition) for one in partitions)
        say("assigned", len(held))

    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    while not stopped.is_set():
        message = consumer.poll(0.1)
        if message is None or message.error() is not None:
            continue
        say("read", message.key().decode())
        while not stopped.is_set():
            try:
                consumer.commit(message=message, asynchronous=False)
                break
            except KafkaException as error:
                if not error.args[0].retriable():
                    break
    consumer.close()
    say("left")


main(*sys.argv[1:])
