"""A member of a group with kafka-python, by the classic protocol."""

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaError

from member import Options, say, say_read, word_to_leave

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}


def main():
    options = Options()
    told = word_to_leave()
    consumer = KafkaConsumer(
        bootstrap_servers=options.broker,
        client_id=options.name,
        group_id=options.group,
        group_instance_id=options.instance,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=options.session_ms,
        heartbeat_interval_ms=options.heartbeat_ms,
        max_poll_interval_ms=options.poll_ms,
        max_poll_records=100,
        reconnect_backoff_max_ms=500,
        metadata_max_age_ms=1000,
        partition_assignment_strategy=[ASSIGNORS[options.assignor]],
    )
    pending = {}

    def commit():
        """Commits what is pending; it stays so until it is accepted or its partition is gone."""
        if not pending:
            return
        offsets = dict(pending)
        wanted = {
            TopicPartition(options.topic, partition): OffsetAndMetadata(offset, options.name, -1)
            for partition, offset in offsets.items()
        }
        failure = None
        try:
            consumer.commit(wanted, timeout_ms=5000)
            pending.clear()
        except KafkaError as error:
            failure = type(error).__name__
        for partition, offset in offsets.items():
            say("commit", partition=partition, offset=offset, error=failure)

    def generation():
        return consumer._coordinator._generation.generation_id

    def begin_where_committed():
        """kafka-python 3.0.12 keeps its positions where it missed a round that gave its partitions
        to others and the next one gives them back: it would read and commit again from there."""
        for partition in consumer.assignment():
            offset = consumer.committed(partition)
            if offset is None:
                consumer.seek_to_beginning(partition)
            else:
                consumer.seek(partition, offset)

    class Listener(ConsumerRebalanceListener):
        is_new = False

        def on_partitions_assigned(self, assigned):
            self.is_new = True
            partitions = [one.partition for one in assigned]
            say("assigned", partitions=partitions, generation=generation())

        def on_partitions_revoked(self, revoked):
            commit()
            self.gone("revoked", revoked)

        def on_partitions_lost(self, lost):
            self.gone("lost", lost)

        def gone(self, event, partitions):
            for one in partitions:
                pending.pop(one.partition, None)
            say(event, partitions=[one.partition for one in partitions])

    listener = Listener()
    consumer.subscribe([options.topic], listener=listener)
    while not told.is_set():
        try:
            found = consumer.poll(timeout_ms=100)
            if listener.is_new:
                # What came with it may be from a position that does not hold.
                begin_where_committed()
                listener.is_new = False
                continue
        except (KafkaError, AssertionError) as error:
            say("trouble", text=repr(error))
            continue
        records = [
            (record.partition, record.offset) for batch in found.values() for record in batch
        ]
        pending.update(say_read(records, generation()))
        commit()
    consumer.close()
    say("left")


main()
