"""A member of a group with confluent-kafka, which is librdkafka, by either protocol."""

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from member import Options, say, say_read, word_to_leave


def main():
    options = Options()
    told = word_to_leave()
    config = {
        "bootstrap.servers": options.broker,
        "client.id": options.name,
        "group.id": options.group,
        "group.protocol": options.protocol,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "max.poll.interval.ms": options.poll_ms,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "topic.metadata.refresh.interval.ms": 1000,
    }
    if options.protocol == "classic":
        config["session.timeout.ms"] = options.session_ms
        config["heartbeat.interval.ms"] = options.heartbeat_ms
        config["partition.assignment.strategy"] = options.assignor
    if options.instance:
        config["group.instance.id"] = options.instance
    consumer = Consumer(config)
    pending = {}

    def commit():
        """Commits what is pending; it stays so until it is accepted or its partition is gone."""
        if not pending:
            return
        offsets = dict(pending)
        wanted = [
            TopicPartition(options.topic, partition, offset, options.name)
            for partition, offset in offsets.items()
        ]
        try:
            answers = consumer.commit(offsets=wanted, asynchronous=False)
            for answer in answers:
                error = str(answer.error) if answer.error else None
                if error is None:
                    pending.pop(answer.partition, None)
                offset = offsets[answer.partition]
                say("commit", partition=answer.partition, offset=offset, error=error)
        except KafkaException as error:
            for partition, offset in offsets.items():
                say("commit", partition=partition, offset=offset, error=error.args[0].name())

    def assigned(_consumer, partitions):
        say("assigned", partitions=[one.partition for one in partitions])

    def revoked(_consumer, partitions):
        commit()
        gone = [one.partition for one in partitions]
        for partition in gone:
            pending.pop(partition, None)
        say("revoked", partitions=gone)

    def lost(_consumer, partitions):
        gone = [one.partition for one in partitions]
        for partition in gone:
            pending.pop(partition, None)
        say("lost", partitions=gone)

    consumer.subscribe([options.topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
    while not told.is_set():
        records = []
        for message in consumer.consume(100, 0.1):
            if message.error() is None:
                records.append((message.partition(), message.offset()))
            elif message.error().code() != KafkaError._PARTITION_EOF:
                say("trouble", text=str(message.error()))
        pending.update(say_read(records, None))
        commit()
    consumer.close()
    say("left")


main()
