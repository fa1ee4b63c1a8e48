//! Where klamm answers otherwise than Apache Kafka 4.3 although it serves the request: one row each,
//! told in docs/reference/differences.md. What is not served at all is in `served.rs` and `config`.

/// One difference that stays until something is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What the request is about.
    pub(crate) subject: &'static str,
    /// What Apache Kafka does.
    pub(crate) kafka: &'static str,
    /// What klamm does, and why.
    pub(crate) klamm: &'static str,
}

/// Every difference, by subject.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        subject: "Configuration of loggers (BROKER_LOGGER)",
        kafka: "Names its loggers and changes their levels while it runs.",
        klamm: "Has five: `root`, and `klamm`, `klamm_engine`, `klamm_os` and `klamm_shard`, the packages that write to the log. `FATAL` hides everything. What `klamm serve --log-filter` says of smaller parts stays.",
    },
    Difference {
        subject: "Subscriptions to metrics of clients (CLIENT_METRICS)",
        kafka: "Keeps and describes them; serves them with a plugin that takes metrics, and without one advertises neither GetTelemetrySubscriptions nor PushTelemetry. Refuses patterns that Java cannot compile.",
        klamm: "Keeps and describes at most 1000, with names of at most 249 bytes; there are no plugins, so neither request is ever advertised, and patterns are kept as they are.",
    },
    Difference {
        subject: "Configuration of groups (GROUP)",
        kafka: "Keeps that of any number of groups, of names and values of any length.",
        klamm: "Keeps that of 10000 groups, with names of at most 512 bytes and values of at most 100; what is set of share groups and streams groups has no effect, because they are not served yet.",
    },
    Difference {
        subject: "Listeners, certificates and mechanisms of one broker",
        kafka: "Change while it runs (the keys that it calls per-broker, and those that begin with `listener.name.`).",
        klamm: "Are read at start: `INVALID_REQUEST`, `Cannot update these configs dynamically`; DescribeConfigs says read-only.",
    },
    Difference {
        subject: "Dynamic sizes of thread pools (`num.io.threads` and its like)",
        kafka: "Refuses less than half and more than twice the number of now.",
        klamm: "Takes any legal number, and does nothing by it: there are no such pools.",
    },
    Difference {
        subject: "Dynamic broker keys without effect",
        kafka: "Acts by them.",
        klamm: "Keeps and describes them, says so in the log when they are set, and in their documentation (DescribeConfigs, configs.md).",
    },
    Difference {
        subject: "Source of a topic's value that the file gives in hours or minutes (`log.retention.hours`)",
        kafka: "DescribeConfigs says `DEFAULT_CONFIG`, without synonyms.",
        klamm: "`STATIC_BROKER_CONFIG`, with the value in milliseconds under the name of the finest key; the defaults of coarser keys are not among the synonyms.",
    },
    Difference {
        subject: "Retention of the segment that is written to",
        kafka: "Begins a new segment where all records of the newest one have expired, and deletes that one too.",
        klamm: "Keeps it until the next append finds it full or older than `segment.ms`.",
    },
    Difference {
        subject: "A topic that OffsetDelete names twice",
        kafka: "Is answered twice.",
        klamm: "Is answered once, with all its partitions.",
    },
    Difference {
        subject: "Lengths below -1, and text that is not UTF-8",
        kafka: "A length below -1 is -1, that is null, in most requests; bytes that are no UTF-8 are replaced.",
        klamm: "Break the encoding: the connection is closed, and the log says why.",
    },
    Difference {
        subject: "A group of which nothing is left (OffsetDelete)",
        kafka: "Is empty, and can still be deleted, until the next round of expiry or a restart.",
        klamm: "Is gone with its last offset: `GROUP_ID_NOT_FOUND`.",
    },
    Difference {
        subject: "A move to another data folder (AlterReplicaLogDirs) that cannot be finished",
        kafka: "Ends when the process ends and begins anew with the next one; a folder without room takes its log directory offline.",
        klamm: "Is given up, with a line in the log that says why, where there is no room beside the reserve or a disk fails, and with the process, unless the copy was complete by then. Ask again.",
    },
    Difference {
        subject: "A data folder that is missing, fails or is full",
        kafka: "Goes on with the others, its partitions offline; at a start, partitions that lay in a folder that `log.dirs` does not name any more begin empty.",
        klamm: "Does not start without a folder in which partitions lie, and says how to give it up. One that fails ends the process; one that is full but for the reserve refuses the producers of all partitions with `KAFKA_STORAGE_ERROR` until there is room.",
    },
    Difference {
        subject: "Files that Apache Kafka keeps in each of `log.dirs`",
        kafka: "Has checkpoints of its logs in each.",
        klamm: "Has `meta.properties` in each, and all else in the one with the metadata, wherever that stands in the list; `cleaner-offset-checkpoint` among it.",
    },
    Difference {
        subject: "Batches that compaction removed",
        kafka: "Leaves a hole in the offsets.",
        klamm: "Leaves one batch without records for all of them (61 bytes), as both do for a producer's last batch: so a hole is always a loss, and is told. Consumers pass over it.",
    },
    Difference {
        subject: "What compaction looks at",
        kafka: "Every segment but the newest.",
        klamm: "Of these, the segments that a checkpoint vouches for: a partition that just began a segment is compacted some seconds later. A log in which damage is found is not compacted before the next start, as Kafka marks it uncleanable.",
    },
    Difference {
        subject: "`max.connections.per.ip.overrides`",
        kafka: "Takes host names too, and fails later where they cannot be resolved.",
        klamm: "Takes addresses; anything else is refused.",
    },
    Difference {
        subject: "`compression.lz4.level`",
        kafka: "Compresses at this level where `compression.type` is lz4.",
        klamm: "Keeps it without effect: its lz4 has one level.",
    },
    Difference {
        subject: "An operation that IncrementalAlterConfigs does not have, on a topic",
        kafka: "`UNKNOWN_SERVER_ERROR` for the whole request.",
        klamm: "`INVALID_REQUEST` for this resource, as both do for brokers.",
    },
    Difference {
        subject: "Endpoints of the quorum's voters (DescribeQuorum)",
        kafka: "Names the listeners of controllers.",
        klamm: "Names every listener of the node, because it is broker and controller at once and has no listener for controllers alone.",
    },
    Difference {
        subject: "An assignment that would copy a replica to another broker (AlterPartitionReassignments)",
        kafka: "Copies it.",
        klamm: "`INVALID_REPLICA_ASSIGNMENT`, because there is no replication yet.",
    },
    Difference {
        subject: "A partition that DescribeProducers names twice, or a resource that DescribeConfigs does",
        kafka: "Is answered twice.",
        klamm: "Is answered once: the list of its producers, or of its keys, may be long.",
    },
    Difference {
        subject: "When DeleteRecords is answered",
        kafka: "When the start of the log has moved in memory; it is written down once a minute.",
        klamm: "When the new start is durable.",
    },
    Difference {
        subject: "How much an administrative request may name",
        kafka: "As much as its memory lasts.",
        klamm: "200000 partitions, topics, keys or other things; a request of more ends its connection. Texts of an answer about a configuration are cut after 4096 bytes.",
    },
    Difference {
        subject: "Users in quotas",
        kafka: "Are who clients have shown to be.",
        klamm: "Everybody is `ANONYMOUS`, as in Kafka without authentication: only quotas of this user, and of the default one, hold anybody.",
    },
    Difference {
        subject: "Addresses in quotas (`ip`)",
        kafka: "May be host names.",
        klamm: "Are addresses; anything else is refused in the words that Kafka has for a name that cannot be resolved.",
    },
    Difference {
        subject: "Quotas that are no number, without end, or of bytes or connections and nearly zero",
        kafka: "Keeps them.",
        klamm: "`INVALID_REQUEST`.",
    },
    Difference {
        subject: "How many entities can have quotas",
        kafka: "Any number, of names of any length.",
        klamm: "20000, of names of at most 512 bytes; of a longer client id the first 512 count. Of clients whose use has to be counted there are as many at a time; further ones share one use.",
    },
    Difference {
        subject: "When bytes of a Produce count, and when a connection is muted",
        kafka: "When it is answered.",
        klamm: "When it begins, because requests of one connection overlap. Bytes of a Fetch are those of its records and a fixed number for each partition that it tells of.",
    },
    Difference {
        subject: "`request_percentage`",
        kafka: "Is a share of one of its request and network threads.",
        klamm: "Is a share of one core: the time that it works on requests and answers, without writing them to the socket. ApiVersions and DescribeQuorum do not tell the time to wait, which is kept all the same.",
    },
    Difference {
        subject: "`controller_mutation_rate` and topics that Metadata creates by need",
        kafka: "Count.",
        klamm: "Do not count.",
    },
    Difference {
        subject: "How many keys can be set while brokers run",
        kafka: "Any number.",
        klamm: "2000 of one broker, and as many of all; `POLICY_VIOLATION` beyond that.",
    },
    Difference {
        subject: "Keys, versions and features that ApiVersions names",
        kafka: "All that it has; of Produce from version 0, of CreateTopics, DeleteTopics and others not the oldest versions.",
        klamm: "What it serves, among it older versions of CreateTopics, DeleteTopics, OffsetCommit, OffsetFetch, OffsetForLeaderEpoch, DescribeConfigs and DescribeLogDirs, and of the features `metadata.version` and `group.version` alone: the others stand for share groups, streams groups, transactions and replicas.",
    },
    Difference {
        subject: "klamm's own keys of configuration",
        kafka: "Has none.",
        klamm: "DescribeConfigs names them as well, CreateTopics where they are set.",
    },
    Difference {
        subject: "An isolation level that is neither 0 nor 1 (Fetch, ListOffsets)",
        kafka: "`UNKNOWN_SERVER_ERROR`, or no error where nothing is read.",
        klamm: "Ends the connection.",
    },
    Difference {
        subject: "Fetch and ListOffsets in the name of a replica",
        kafka: "Answers whoever asks.",
        klamm: "Ends the connection: there is no replication yet, and a client has no business there.",
    },
    Difference {
        subject: "A Fetch of fewer than no bytes",
        kafka: "`UNKNOWN_SERVER_ERROR`.",
        klamm: "Takes a negative limit for 0, which gives the first batch.",
    },
    Difference {
        subject: "A fetch session of nothing, or of a topic whose name no topic can have",
        kafka: "Keeps one.",
        klamm: "Answers without a session.",
    },
    Difference {
        subject: "A topic or partition that Fetch, ListOffsets or DeleteRecords names twice",
        kafka: "Is answered once.",
        klamm: "Is answered as often as it is named.",
    },
    Difference {
        subject: "A batch in Produce that breaks its encoding",
        kafka: "Everything in the request is refused with its code, before anything is looked up.",
        klamm: "It is refused alone; what is not there is said first.",
    },
    Difference {
        subject: "Start of the log beside a batch that was refused (Produce)",
        kafka: "`log_start_offset` is told where the batch had reached the log.",
        klamm: "-1.",
    },
    Difference {
        subject: "Batches that no client makes, and two batches for one partition in one Produce",
        kafka: "`UNKNOWN_SERVER_ERROR` for an unknown or wrong codec, `INVALID_RECORD` for a batch that is cut, `INVALID_PRODUCER_EPOCH` for a producer id without an epoch. Takes a batch that calls itself stamped by the log, and what stands behind the last batch. Keeps one of two batches and tells nobody.",
        klamm: "`UNSUPPORTED_COMPRESSION_TYPE` or `CORRUPT_MESSAGE`; `CORRUPT_MESSAGE`; `INVALID_RECORD`; `INVALID_TIMESTAMP` and `INVALID_RECORD`. Two batches for one partition are both refused with `INVALID_REQUEST`.",
    },
    Difference {
        subject: "Sentences beside error codes (`error_message`)",
        kafka: "Has none in many places, and one beside success in UpdateFeatures.",
        klamm: "Says why wherever there is room for it, and nothing beside success.",
    },
    Difference {
        subject: "Time of a batch that was sent again (Produce)",
        kafka: "`log_append_time_ms` is the batch's largest timestamp.",
        klamm: "-1, as the first time, unless the log stamps its batches.",
    },
    Difference {
        subject: "More partitions for `__consumer_offsets` (CreatePartitions)",
        kafka: "Makes them. When the brokers have started again, groups are looked for elsewhere, and their offsets are not found.",
        klamm: "Refuses with `INVALID_PARTITIONS`.",
    },
    Difference {
        subject: "Answers about groups of more than 100 MiB (DescribeGroups, ConsumerGroupDescribe, OffsetFetch, ListGroups)",
        kafka: "Are as large as what is asked for.",
        klamm: "End before the first group for which there is no room: it and those behind it get `COORDINATOR_LOAD_IN_PROGRESS`, with which clients ask again for these alone, and `MESSAGE_TOO_LARGE` where the first is too large by itself. A list that is too large is none, but `MESSAGE_TOO_LARGE`.",
    },
    Difference {
        subject: "Groups without members and offsets",
        kafka: "Stay for a while: also one that a refused JoinGroup named, and one whose last offset was deleted.",
        klamm: "Are not there, as after a restart of Apache Kafka; one that had members stays until its offsets have expired.",
    },
    Difference {
        subject: "Epochs of groups of the consumer protocol (KIP-848)",
        kafka: "A group begins with epoch 1, and its first member gets 2.",
        klamm: "A group begins with 0, and its first member gets 1.",
    },
    Difference {
        subject: "`heartbeat_interval_ms` (ConsumerGroupHeartbeat)",
        kafka: "Is the group's, always.",
        klamm: "Is that or less: 400 ms, or two milliseconds for each member of groups of the consumer protocol that the core serves where they are more than 200, so that new partitions, and what leaves, are taken over within a fraction of a second. Members that wait for others to let go, or that have to, come after 100 ms, and then less and less often. Clients that are not known to wait longer than that for an answer, librdkafka among them, are not asked to come within a second (ADR 0041). `group.consumer.heartbeat.interval.ms` is the longest; `consumer.heartbeat.interval.ms` of a group counts as it is set, but for those who wait. Configuration is described as it is set.",
    },
    Difference {
        subject: "Which partitions a member of the consumer protocol gets",
        kafka: "Follows the order of a hash table where members are equal.",
        klamm: "Follows the ids of the members. How many each gets, and that it keeps what it has, is the same.",
    },
    Difference {
        subject: "Regular expressions of topics (`subscribed_topic_regex`)",
        kafka: "RE2/J's; what they find is known some moments later, and new topics after `group.consumer.regex.refresh.interval.ms` at the latest.",
        klamm: "Those of Rust's `regex`, which takes time that grows with the text alone, too; a group has at most 20 different ones, of at most 4096 bytes each (`INVALID_REGULAR_EXPRESSION`). A member that names no topics besides gets what is found at once, where that is quick. New topics are found when the members come next, before any refresh.",
    },
    Difference {
        subject: "SyncGroup of a classic member in a group of the consumer protocol",
        kafka: "`REBALANCE_IN_PROGRESS` where the group has a newer epoch.",
        klamm: "The same where its work was divided anew: an epoch that moves no work costs no join.",
    },
    Difference {
        subject: "A group whose name is of spaces alone (ConsumerGroupHeartbeat), and OffsetFetch with an epoch and without a member",
        kafka: "`INVALID_REQUEST`; `UNKNOWN_SERVER_ERROR`.",
        klamm: "Is a group like any other; `UNKNOWN_MEMBER_ID`.",
    },
    Difference {
        subject: "Transactional ids",
        kafka: "Finds a coordinator, or says why not.",
        klamm: "`UNSUPPORTED_VERSION` from InitProducerId, and from FindCoordinator, which says so of share groups too: neither is served yet.",
    },
    Difference {
        subject: "`min.insync.replicas` of all brokers",
        kafka: "The feature `eligible.leader.replicas.version` sets it at the cluster's start, and it cannot be taken away (`INVALID_CONFIG`).",
        klamm: "Is not set; its default is the same.",
    },
    Difference {
        subject: "Default of `node.id`",
        kafka: "None: it must be set.",
        klamm: "1, and a synonym in DescribeConfigs.",
    },
    Difference {
        subject: "A resource type that does not exist (DescribeConfigs)",
        kafka: "`INVALID_REQUEST` for every resource of the request.",
        klamm: "`INVALID_REQUEST` for that resource.",
    },
    Difference {
        subject: "An empty name in DescribeTopicPartitions",
        kafka: "`UNKNOWN_SERVER_ERROR`.",
        klamm: "`INVALID_TOPIC_EXCEPTION`, as for any other illegal name.",
    },
    Difference {
        subject: "Topics by id in Metadata before version 12, beside names, or with neither",
        kafka: "Without brokers and cluster before version 12; names beside ids are passed over; `UNKNOWN_SERVER_ERROR` without both.",
        klamm: "`INVALID_REQUEST` with brokers and cluster; all that is named is answered; `UNKNOWN_TOPIC_ID`.",
    },
    Difference {
        subject: "An election of a kind that does not exist, of no partitions",
        kafka: "No error.",
        klamm: "`INVALID_REQUEST`, as for any partitions.",
    },
    Difference {
        subject: "A topic that DeleteTopics names by name and by id",
        kafka: "The error tells the topic's id.",
        klamm: "The error tells the name alone.",
    },
    Difference {
        subject: "More than 10000 new partitions at once",
        kafka: "`UNKNOWN_SERVER_ERROR` from CreatePartitions.",
        klamm: "Are made.",
    },
    Difference {
        subject: "Offset of the largest timestamp behind DeleteRecords",
        kafka: "May be one that was deleted.",
        klamm: "None where that record is deleted.",
    },
    Difference {
        subject: "Replicas to throttle (`leader.replication.throttled.replicas` and its like)",
        kafka: "Takes `partition:broker` pairs or `*`.",
        klamm: "Takes any list, without effect: there is no replication yet.",
    },
    Difference {
        subject: "A Fetch of a topic whose id is zero",
        kafka: "`UNKNOWN_SERVER_ERROR` for the whole request.",
        klamm: "`UNKNOWN_TOPIC_ID` for its partitions.",
    },
    Difference {
        subject: "An entity that AlterClientQuotas names twice",
        kafka: "Is answered once.",
        klamm: "Is answered as often as it is named.",
    },
    Difference {
        subject: "Requests that Apache Kafka never answers",
        kafka: "A Produce with null for records, an AlterConfigs that names a resource twice: the client waits for its timeout.",
        klamm: "`INVALID_RECORD`; `INVALID_REQUEST`.",
    },
];
