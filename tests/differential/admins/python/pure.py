"""kafka-python's admin client: each call once. Usage: pure.py BROKER"""

import itertools
import sys
import time

import calls
from calls import make
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    MemberToRemove,
    OffsetSpec,
    OffsetTimestamp,
    ResourcePattern,
    ResourceType,
)
from kafka.structs import OffsetAndMetadata

TOPIC, OTHER, ABSENT, GROUP = "pure-topic", "pure-other", "pure-absent", "pure-group"
FIRST = 1_500_000_000_000

broker = sys.argv[1]
admin = KafkaAdminClient(bootstrap_servers=broker)
partitions = [TopicPartition(TOPIC, index) for index in range(3)]


NUMBERS = itertools.count()


def settle():
    """Until a topic is known that is made after everything before."""
    name = f"settled-pure-{next(NUMBERS)}"
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}})
    deadline = time.monotonic() + 30
    while name not in admin.list_topics():
        if time.monotonic() > deadline:
            sys.exit(f"no {name} after 30 seconds")


calls.settle = settle


def topic_of(name, **configs):
    return ConfigResource(ConfigResourceType.TOPIC, name, configs=configs or None)


def fill():
    """Ten records in each partition, and a group that has read four of each."""
    producer = KafkaProducer(bootstrap_servers=broker)
    for partition in partitions:
        for number in range(10):
            value = f"record {number}".encode()
            producer.send(TOPIC, value, partition=partition.partition, timestamp_ms=FIRST + number)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=broker, group_id=GROUP, enable_auto_commit=False)
    consumer.assign(partitions)
    consumer.commit({partition: OffsetAndMetadata(4, "noted", -1) for partition in partitions})
    consumer.close()


make("describe_cluster", admin.describe_cluster)
make("create_topics, checked only", admin.create_topics, {TOPIC: {"num_partitions": 3}}, validate_only=True)
make(
    "create_topics",
    admin.create_topics,
    {
        TOPIC: {"num_partitions": 3, "replication_factor": 1, "configs": {"retention.ms": "-1"}},
        OTHER: {"assignments": {0: [1], 1: [1]}},
    },
)
make("wait_for_topics", admin.wait_for_topics, [TOPIC, OTHER])
make("create_topics, again", admin.create_topics, {TOPIC: {"num_partitions": 3}})
make("create_topics, wrong", admin.create_topics, {"pure wrong": {"num_partitions": 3}}, raise_errors=False)
make("create_topics, no such setting", admin.create_topics, {ABSENT: {"configs": {"no.such": "1"}}})
fill()
make("list_topics", lambda: sorted(name for name in admin.list_topics() if name.startswith("pure")))
make("describe_topics", admin.describe_topics, [TOPIC, OTHER, ABSENT])
make("describe_topic_partitions", admin.describe_topic_partitions, [TOPIC, OTHER])
make("describe_topic_partitions, by a page", admin.describe_topic_partitions, [TOPIC, OTHER], 2)
make("create_partitions, checked only", admin.create_partitions, {OTHER: 4}, validate_only=True)
make("create_partitions", admin.create_partitions, {OTHER: 3})
make("create_partitions, fewer", admin.create_partitions, {OTHER: 1})
make("describe_configs, modified", admin.describe_configs, [topic_of(TOPIC)], include_synonyms=True)
make("describe_configs, all", admin.describe_configs, [topic_of(TOPIC)], config_filter="all")
make("describe_configs, dynamic", admin.describe_configs, [topic_of(TOPIC)], config_filter="dynamic")
make("describe_configs, absent", admin.describe_configs, [topic_of(ABSENT)])
make("alter_configs", admin.alter_configs, [topic_of(TOPIC, **{"max.message.bytes": "2000000"})])
make(
    "alter_configs, a list",
    admin.alter_configs,
    [topic_of(TOPIC, **{"cleanup.policy": ("APPEND", "compact")})],
)
make("alter_configs, wrong", admin.alter_configs, [topic_of(TOPIC, **{"max.message.bytes": "many"})])
make("alter_configs, unknown", admin.alter_configs, [topic_of(TOPIC, **{"no.such": "1"})])
make("alter_configs, all of them", admin.alter_configs, [topic_of(OTHER, **{"segment.bytes": "2097152"})], incremental=False)
make("describe_configs, after", admin.describe_configs, [topic_of(TOPIC), topic_of(OTHER)])
make("reset_configs", admin.reset_configs, [topic_of(TOPIC, **{"max.message.bytes": None})])
make("describe_configs, reset", admin.describe_configs, [topic_of(TOPIC)])
make("list_config_resources", admin.list_config_resources, ["TOPIC", "BROKER"])
make("list_partition_offsets, first", admin.list_partition_offsets, dict.fromkeys(partitions, OffsetSpec.EARLIEST))
make("list_partition_offsets, last", admin.list_partition_offsets, dict.fromkeys(partitions, OffsetSpec.LATEST))
make("list_partition_offsets, newest", admin.list_partition_offsets, dict.fromkeys(partitions, OffsetSpec.MAX_TIMESTAMP))
make("list_partition_offsets, by time", admin.list_partition_offsets, {partitions[0]: OffsetTimestamp(FIRST + 5)})
make("delete_records", admin.delete_records, {partitions[0]: 3, partitions[1]: -1})
make("delete_records, too far", admin.delete_records, {partitions[2]: 30})
make("describe_log_dirs", admin.describe_log_dirs, {TOPIC: [0, 1, 2]})
make("alter_replica_log_dirs", admin.alter_replica_log_dirs, {(TOPIC, 0, 1): "/nowhere"})
make("describe_producers", admin.describe_producers, [TopicPartition(OTHER, 0)])
make("elect_leaders", admin.elect_leaders, 0, {TOPIC: [0]})
make("elect_leaders, no errors raised", admin.elect_leaders, 0, {TOPIC: [0], ABSENT: [0]}, raise_errors=False)
make("alter_partition_reassignments", admin.alter_partition_reassignments, {partitions[0]: [1]})
make("alter_partition_reassignments, cancelled", admin.alter_partition_reassignments, {partitions[0]: None})
make("alter_partition_reassignments, nowhere", admin.alter_partition_reassignments, {partitions[0]: [7]})
make("list_partition_reassignments", admin.list_partition_reassignments)
make("describe_features", lambda: sorted(admin.describe_features()))
make("update_features", admin.update_features, {"metadata.version": 1}, validate_only=True)
make("describe_metadata_quorum", admin.describe_metadata_quorum)
make("list_groups", admin.list_groups)
make("list_groups, by state", admin.list_groups, states_filter=["Stable"])
make("describe_groups", admin.describe_groups, [GROUP])
make("describe_groups, absent", admin.describe_groups, [ABSENT])
make("list_group_offsets", admin.list_group_offsets, {GROUP: None})
make("list_group_offsets, some", admin.list_group_offsets, {GROUP: partitions[:1], ABSENT: None})
make("alter_group_offsets", admin.alter_group_offsets, GROUP, {partitions[0]: OffsetAndMetadata(6, "", -1)})
make("alter_group_offsets, absent", admin.alter_group_offsets, GROUP, {TopicPartition(ABSENT, 0): OffsetAndMetadata(6, "", -1)})
make("reset_group_offsets", admin.reset_group_offsets, GROUP, {partitions[1]: OffsetSpec.LATEST})
make("delete_group_offsets", admin.delete_group_offsets, GROUP, [partitions[2]])
make("remove_group_members", admin.remove_group_members, GROUP, [MemberToRemove(group_instance_id="nobody")])
make("list_group_offsets, after", admin.list_group_offsets, {GROUP: None})
make("delete_groups", admin.delete_groups, [GROUP, ABSENT])
make("describe_acls", admin.describe_acls, ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, ResourcePattern(ResourceType.TOPIC, TOPIC)))
make("create_acls", admin.create_acls, [ACL("User:somebody", "*", ACLOperation.READ, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, TOPIC))])
make("describe_user_scram_credentials", admin.describe_user_scram_credentials)
make("list_transactions", admin.list_transactions)
make("describe_transactions", admin.describe_transactions, ["nothing"])
make("delete_topics", admin.delete_topics, [TOPIC, OTHER])
make("delete_topics, absent", admin.delete_topics, [ABSENT])
admin.close()
