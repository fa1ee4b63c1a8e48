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
        klamm: "Has four: `root`, and `klamm`, `klamm_os` and `klamm_shard`, the packages that write to the log. `FATAL` hides everything. What `klamm serve --log-filter` says of smaller parts stays.",
    },
    Difference {
        subject: "Configuration of groups and of client metrics (GROUP, CLIENT_METRICS)",
        kafka: "Keeps and describes it.",
        klamm: "`INVALID_REQUEST` with a sentence, because nothing would come of it; ListConfigResources names none.",
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
        klamm: "`STATIC_BROKER_CONFIG`, with the value in milliseconds under the name of the finest key.",
    },
    Difference {
        subject: "Retention of the segment that is written to",
        kafka: "Begins a new segment where all records of the newest one have expired, and deletes that one too.",
        klamm: "Keeps it until the next append finds it full or older than `segment.ms`.",
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
        subject: "Quotas that are no number, or without end",
        kafka: "Keeps them.",
        klamm: "`INVALID_REQUEST`.",
    },
    Difference {
        subject: "How many entities can have quotas",
        kafka: "Any number, of names of any length.",
        klamm: "20000, of names of at most 512 bytes. Of clients whose use has to be counted there are as many at a time; further ones share one use.",
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
];
