"""A member of a group with aiokafka, by the classic protocol."""

import asyncio

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

from member import Options, say, say_read, word_to_leave

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}


async def main():
    options = Options()
    told = word_to_leave()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=options.broker,
        client_id=options.name,
        group_id=options.group,
        group_instance_id=options.instance,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=options.session_ms,
        heartbeat_interval_ms=options.heartbeat_ms,
        max_poll_interval_ms=options.poll_ms,
        rebalance_timeout_ms=options.session_ms,
        metadata_max_age_ms=1000,
        retry_backoff_ms=100,
        partition_assignment_strategy=[ASSIGNORS[options.assignor]],
    )
    pending = {}

    async def commit():
        """Commits what is pending; it stays so until it is accepted or its partition is gone."""
        if not pending:
            return
        offsets = dict(pending)
        wanted = {
            TopicPartition(options.topic, partition): OffsetAndMetadata(offset, options.name)
            for partition, offset in offsets.items()
        }
        failure = None
        try:
            await asyncio.wait_for(consumer.commit(wanted), 5)
            for partition, offset in offsets.items():
                if pending.get(partition) == offset:
                    del pending[partition]
        except (KafkaError, asyncio.TimeoutError) as error:
            failure = type(error).__name__
        for partition, offset in offsets.items():
            say("commit", partition=partition, offset=offset, error=failure)

    def generation():
        return consumer._coordinator.generation

    # The listener is called while a commit may be under way.
    working = asyncio.Lock()
    held = set()

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_assigned(self, assigned):
            partitions = [one.partition for one in assigned]
            held.update(partitions)
            say("assigned", partitions=partitions, generation=generation())

        async def on_partitions_revoked(self, revoked):
            async with working:
                for one in revoked:
                    pending.pop(one.partition, None)
                held.clear()
                say("revoked", partitions=[one.partition for one in revoked])

    await consumer.start()
    consumer.subscribe([options.topic], listener=Listener())
    while not told.is_set():
        try:
            found = await consumer.getmany(timeout_ms=100, max_records=100)
        except KafkaError as error:
            say("trouble", text=repr(error))
            continue
        async with working:
            records = [
                (record.partition, record.offset)
                for batch in found.values()
                for record in batch
                if record.partition in held
            ]
            pending.update(say_read(records, generation()))
            await commit()
    await consumer.stop()
    say("left")


asyncio.run(main())
