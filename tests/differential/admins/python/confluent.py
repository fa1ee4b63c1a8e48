"""confluent-kafka's admin client (librdkafka): each call once. Usage: confluent.py BROKER"""

import itertools
import sys
import time

import calls
from calls import make
from confluent_kafka import (
    OFFSET_END,
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    ElectionType,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)

TOPIC, OTHER, ABSENT, GROUP = "rdk-topic", "rdk-other", "rdk-absent", "rdk-group"
FIRST = 1_500_000_000_000

broker = sys.argv[1]
admin = AdminClient({"bootstrap.servers": broker})
LIMIT = {"request_timeout": 30}


def parts(offset=-1001):
    return [TopicPartition(TOPIC, index, offset) for index in range(3)]


def done(futures):
    """What came of each of several futures, by what they are for."""
    if not isinstance(futures, dict):
        return shown(futures.result())
    answers = {}
    for key, future in futures.items():
        name = key if isinstance(key, str) else str(key)
        try:
            answers[name] = shown(future.result())
        except Exception as error:  # noqa: BLE001
            answers[name] = {"error": type(error).__name__, "text": str(error)}
    return dict(sorted(answers.items()))


def shown(value):
    """Values of the C part have no fields that can be listed."""
    kind = type(value).__name__
    if kind == "TopicPartition":
        return [value.topic, value.partition, value.offset, value.metadata, str(value.error)]
    if kind == "Node":
        return [value.id, value.host, value.port, value.rack]
    if kind == "Uuid":
        return "an id"
    if kind in ("KafkaError", "KafkaException"):
        return str(value)
    if isinstance(value, dict):
        named = {key if isinstance(key, str) else str(shown(key)): shown(inner) for key, inner in value.items()}
        return dict(sorted(named.items()))
    if isinstance(value, (list, tuple, set)):
        return [shown(inner) for inner in value]
    if hasattr(value, "__dict__") and not hasattr(value, "name"):
        return shown(vars(value))
    if hasattr(value, "__dict__") and kind not in ("ConsumerGroupState", "AclOperation"):
        try:
            return shown(vars(value)) if not hasattr(value, "_name_") else value.name
        except TypeError:
            return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def fill():
    producer = Producer({"bootstrap.servers": broker})
    for partition in parts():
        for number in range(10):
            producer.produce(TOPIC, f"record {number}", partition=partition.partition, timestamp=FIRST + number)
    producer.flush(30)
    consumer = Consumer({"bootstrap.servers": broker, "group.id": GROUP, "enable.auto.commit": False})
    # Apache Kafka's coordinator says no until it has loaded.
    within(30, lambda: consumer.commit(offsets=parts(4), asynchronous=False))
    consumer.close()


def within(seconds, attempt):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except KafkaException:
            if time.monotonic() > deadline:
                raise


def call(name, function, *arguments, **named):
    make(name, lambda: done(function(*arguments, **{**LIMIT, **named})))


def topic_of(name, **configs):
    return ConfigResource(ResourceType.TOPIC, name, set_config=configs or None)


def change(name, kind, value):
    entry = ConfigEntry(name, value, incremental_operation=kind)
    return ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[entry])


NUMBERS = itertools.count()


def settle():
    """Until a topic is known that is made after everything before."""
    name = f"settled-rdk-{next(NUMBERS)}"
    admin.create_topics([NewTopic(name, 1, 1)])[name].result()
    deadline = time.monotonic() + 30
    while name not in admin.list_topics(timeout=30).topics:
        if time.monotonic() > deadline:
            sys.exit(f"no {name} after 30 seconds")


calls.settle = settle

call("describe_cluster", admin.describe_cluster, include_authorized_operations=True)
call("create_topics, checked only", admin.create_topics, [NewTopic(TOPIC, 3, 1)], validate_only=True)
call(
    "create_topics",
    admin.create_topics,
    [
        NewTopic(TOPIC, 3, 1, config={"retention.ms": "-1"}),
        NewTopic(OTHER, 2, replica_assignment=[[1], [1]]),
    ],
)
call("create_topics, again", admin.create_topics, [NewTopic(TOPIC, 3, 1)])
call("create_topics, wrong", admin.create_topics, [NewTopic("rdk wrong", 3, 1), NewTopic(ABSENT, 1, 4)])
fill()
make("list_topics", lambda: {name: [str(topic.error), {index: [part.leader, part.replicas, part.isrs, str(part.error)] for index, part in topic.partitions.items()}] for name, topic in admin.list_topics(TOPIC, timeout=30).topics.items()})
call("describe_topics", admin.describe_topics, TopicCollection([TOPIC, OTHER, ABSENT]), include_authorized_operations=True)
call("create_partitions, checked only", admin.create_partitions, [NewPartitions(OTHER, 4)], validate_only=True)
call("create_partitions", admin.create_partitions, [NewPartitions(OTHER, 3)])
call("create_partitions, fewer", admin.create_partitions, [NewPartitions(OTHER, 1), NewPartitions(ABSENT, 3)])
call("describe_configs", admin.describe_configs, [topic_of(TOPIC), topic_of(ABSENT)])
call("incremental_alter_configs", admin.incremental_alter_configs, [change("max.message.bytes", AlterConfigOpType.SET, "2000000")])
call("incremental_alter_configs, a list", admin.incremental_alter_configs, [change("cleanup.policy", AlterConfigOpType.APPEND, "compact")])
call("incremental_alter_configs, wrong", admin.incremental_alter_configs, [change("max.message.bytes", AlterConfigOpType.SET, "many")])
call("incremental_alter_configs, no list", admin.incremental_alter_configs, [change("retention.ms", AlterConfigOpType.APPEND, "1")])
call("alter_configs", admin.alter_configs, [topic_of(OTHER, **{"segment.bytes": "2097152"})])
call("describe_configs, after", admin.describe_configs, [topic_of(TOPIC), topic_of(OTHER)])
call("list_offsets, first", admin.list_offsets, {part: OffsetSpec.earliest() for part in parts()})
call("list_offsets, last", admin.list_offsets, {part: OffsetSpec.latest() for part in parts()})
call("list_offsets, newest", admin.list_offsets, {part: OffsetSpec.max_timestamp() for part in parts()})
call("list_offsets, by time", admin.list_offsets, {parts()[0]: OffsetSpec.for_timestamp(FIRST + 5)})
call("delete_records", admin.delete_records, [TopicPartition(TOPIC, 0, 3), TopicPartition(TOPIC, 1, OFFSET_END)])
call("delete_records, too far", admin.delete_records, [TopicPartition(TOPIC, 2, 30)])
call("elect_leaders", admin.elect_leaders, ElectionType.PREFERRED, [TopicPartition(TOPIC, 0)])
make("list_groups", lambda: sorted(group.id for group in admin.list_groups(timeout=30)))
call("list_consumer_groups", admin.list_consumer_groups)
call("list_consumer_groups, by state", admin.list_consumer_groups, states={ConsumerGroupState.STABLE})
call("list_consumer_groups, by type", admin.list_consumer_groups, types={ConsumerGroupType.CLASSIC})
call("describe_consumer_groups", admin.describe_consumer_groups, [GROUP, ABSENT], include_authorized_operations=True)
call("list_consumer_group_offsets", admin.list_consumer_group_offsets, [ConsumerGroupTopicPartitions(GROUP)])
call("list_consumer_group_offsets, some", admin.list_consumer_group_offsets, [ConsumerGroupTopicPartitions(GROUP, parts()[:1])])
call("alter_consumer_group_offsets", admin.alter_consumer_group_offsets, [ConsumerGroupTopicPartitions(GROUP, parts(6)[:1])])
call("list_consumer_group_offsets, after", admin.list_consumer_group_offsets, [ConsumerGroupTopicPartitions(GROUP)])
call("delete_consumer_groups", admin.delete_consumer_groups, [GROUP, ABSENT])
ANY = AclBindingFilter(ResourceType.TOPIC, TOPIC, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
ONE = AclBinding(ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL, "User:somebody", "*", AclOperation.READ, AclPermissionType.ALLOW)
call("describe_acls", admin.describe_acls, ANY)
call("create_acls", admin.create_acls, [ONE])
call("delete_acls", admin.delete_acls, [ANY])
call("describe_user_scram_credentials", admin.describe_user_scram_credentials)
call("delete_topics", admin.delete_topics, [TOPIC, OTHER, ABSENT])
