//! Which library a client speaks Kafka with, as far as an answer depends on that. Kept by the
//! connection, from its ApiVersions on (KIP-511).

use klamm_shard::api::coord::HeartbeatPatience;

/// A library, known by the name that it gives itself (`ClientSoftwareName`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientSoftware {
    /// Apache Kafka's own, `apache-kafka-java`.
    Java,
    /// franz-go, `kgo`.
    FranzGo,
    /// This project's, `klamm-client`, and its load generator, `klamm-bench`.
    Klamm,
    /// Another, or one that gave no name.
    #[default]
    Other,
}

impl ClientSoftware {
    /// The library of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "apache-kafka-java" => Self::Java,
            "kgo" => Self::FranzGo,
            "klamm-client" | "klamm-bench" => Self::Klamm,
            _ => Self::Other,
        }
    }

    /// How long it waits for the answer to a heartbeat: Java as `request.timeout.ms` says, franz-go
    /// as `RequestTimeoutOverhead`, this project's as its `request_timeout`, whatever the interval.
    #[must_use]
    pub const fn heartbeat_patience(self) -> HeartbeatPatience {
        match self {
            Self::Java | Self::FranzGo | Self::Klamm => HeartbeatPatience::Apart,
            Self::Other => HeartbeatPatience::UntilNext,
        }
    }
}
