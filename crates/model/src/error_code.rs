//! Kafka's error table (`org.apache.kafka.common.protocol.Errors`, release 4.3): number, name,
//! and whether a client may retry. Rooms below the front have error enums of their own; only the
//! front translates them into these.

/// Whether a client may repeat the request that was answered so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retriability {
    /// A later attempt may succeed unchanged.
    Retriable,
    /// The same request will fail again.
    Final,
}

macro_rules! error_codes {
    ($(($code:literal, $variant:ident, $name:literal, $retriability:ident),)*) => {
        /// One row of Kafka's error table. The number is what travels on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("Kafka's `", $name, "` (", stringify!($code), ").")]
                $variant = $code,
            )*
        }

        impl ErrorCode {
            /// Every row, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The row with this number, or `None` if Kafka 4.3 has none.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name, for example `NOT_LEADER_OR_FOLLOWER`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether a client may repeat the request.
            #[must_use]
            pub const fn retriability(self) -> Retriability {
                match self {
                    $(Self::$variant => Retriability::$retriability,)*
                }
            }
        }
    };
}

error_codes! {
    (-1, UnknownServerError, "UNKNOWN_SERVER_ERROR", Final),
    (0, None, "NONE", Final),
    (1, OffsetOutOfRange, "OFFSET_OUT_OF_RANGE", Final),
    (2, CorruptMessage, "CORRUPT_MESSAGE", Retriable),
    (3, UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PARTITION", Retriable),
    (4, InvalidFetchSize, "INVALID_FETCH_SIZE", Final),
    (5, LeaderNotAvailable, "LEADER_NOT_AVAILABLE", Retriable),
    (6, NotLeaderOrFollower, "NOT_LEADER_OR_FOLLOWER", Retriable),
    (7, RequestTimedOut, "REQUEST_TIMED_OUT", Retriable),
    (8, BrokerNotAvailable, "BROKER_NOT_AVAILABLE", Final),
    (9, ReplicaNotAvailable, "REPLICA_NOT_AVAILABLE", Retriable),
    (10, MessageTooLarge, "MESSAGE_TOO_LARGE", Final),
    (11, StaleControllerEpoch, "STALE_CONTROLLER_EPOCH", Final),
    (12, OffsetMetadataTooLarge, "OFFSET_METADATA_TOO_LARGE", Final),
    (13, NetworkException, "NETWORK_EXCEPTION", Retriable),
    (14, CoordinatorLoadInProgress, "COORDINATOR_LOAD_IN_PROGRESS", Retriable),
    (15, CoordinatorNotAvailable, "COORDINATOR_NOT_AVAILABLE", Retriable),
    (16, NotCoordinator, "NOT_COORDINATOR", Retriable),
    (17, InvalidTopicException, "INVALID_TOPIC_EXCEPTION", Final),
    (18, RecordListTooLarge, "RECORD_LIST_TOO_LARGE", Final),
    (19, NotEnoughReplicas, "NOT_ENOUGH_REPLICAS", Retriable),
    (20, NotEnoughReplicasAfterAppend, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retriable),
    (21, InvalidRequiredAcks, "INVALID_REQUIRED_ACKS", Final),
    (22, IllegalGeneration, "ILLEGAL_GENERATION", Final),
    (23, InconsistentGroupProtocol, "INCONSISTENT_GROUP_PROTOCOL", Final),
    (24, InvalidGroupId, "INVALID_GROUP_ID", Final),
    (25, UnknownMemberId, "UNKNOWN_MEMBER_ID", Final),
    (26, InvalidSessionTimeout, "INVALID_SESSION_TIMEOUT", Final),
    (27, RebalanceInProgress, "REBALANCE_IN_PROGRESS", Final),
    (28, InvalidCommitOffsetSize, "INVALID_COMMIT_OFFSET_SIZE", Final),
    (29, TopicAuthorizationFailed, "TOPIC_AUTHORIZATION_FAILED", Final),
    (30, GroupAuthorizationFailed, "GROUP_AUTHORIZATION_FAILED", Final),
    (31, ClusterAuthorizationFailed, "CLUSTER_AUTHORIZATION_FAILED", Final),
    (32, InvalidTimestamp, "INVALID_TIMESTAMP", Final),
    (33, UnsupportedSaslMechanism, "UNSUPPORTED_SASL_MECHANISM", Final),
    (34, IllegalSaslState, "ILLEGAL_SASL_STATE", Final),
    (35, UnsupportedVersion, "UNSUPPORTED_VERSION", Final),
    (36, TopicAlreadyExists, "TOPIC_ALREADY_EXISTS", Final),
    (37, InvalidPartitions, "INVALID_PARTITIONS", Final),
    (38, InvalidReplicationFactor, "INVALID_REPLICATION_FACTOR", Final),
    (39, InvalidReplicaAssignment, "INVALID_REPLICA_ASSIGNMENT", Final),
    (40, InvalidConfig, "INVALID_CONFIG", Final),
    (41, NotController, "NOT_CONTROLLER", Retriable),
    (42, InvalidRequest, "INVALID_REQUEST", Final),
    (43, UnsupportedForMessageFormat, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Final),
    (44, PolicyViolation, "POLICY_VIOLATION", Final),
    (45, OutOfOrderSequenceNumber, "OUT_OF_ORDER_SEQUENCE_NUMBER", Final),
    (46, DuplicateSequenceNumber, "DUPLICATE_SEQUENCE_NUMBER", Final),
    (47, InvalidProducerEpoch, "INVALID_PRODUCER_EPOCH", Final),
    (48, InvalidTxnState, "INVALID_TXN_STATE", Final),
    (49, InvalidProducerIdMapping, "INVALID_PRODUCER_ID_MAPPING", Final),
    (50, InvalidTransactionTimeout, "INVALID_TRANSACTION_TIMEOUT", Final),
    (51, ConcurrentTransactions, "CONCURRENT_TRANSACTIONS", Retriable),
    (52, TransactionCoordinatorFenced, "TRANSACTION_COORDINATOR_FENCED", Final),
    (53, TransactionalIdAuthorizationFailed, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Final),
    (54, SecurityDisabled, "SECURITY_DISABLED", Final),
    (55, OperationNotAttempted, "OPERATION_NOT_ATTEMPTED", Final),
    (56, KafkaStorageError, "KAFKA_STORAGE_ERROR", Retriable),
    (57, LogDirNotFound, "LOG_DIR_NOT_FOUND", Final),
    (58, SaslAuthenticationFailed, "SASL_AUTHENTICATION_FAILED", Final),
    (59, UnknownProducerId, "UNKNOWN_PRODUCER_ID", Final),
    (60, ReassignmentInProgress, "REASSIGNMENT_IN_PROGRESS", Final),
    (61, DelegationTokenAuthDisabled, "DELEGATION_TOKEN_AUTH_DISABLED", Final),
    (62, DelegationTokenNotFound, "DELEGATION_TOKEN_NOT_FOUND", Final),
    (63, DelegationTokenOwnerMismatch, "DELEGATION_TOKEN_OWNER_MISMATCH", Final),
    (64, DelegationTokenRequestNotAllowed, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", Final),
    (65, DelegationTokenAuthorizationFailed, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", Final),
    (66, DelegationTokenExpired, "DELEGATION_TOKEN_EXPIRED", Final),
    (67, InvalidPrincipalType, "INVALID_PRINCIPAL_TYPE", Final),
    (68, NonEmptyGroup, "NON_EMPTY_GROUP", Final),
    (69, GroupIdNotFound, "GROUP_ID_NOT_FOUND", Final),
    (70, FetchSessionIdNotFound, "FETCH_SESSION_ID_NOT_FOUND", Retriable),
    (71, InvalidFetchSessionEpoch, "INVALID_FETCH_SESSION_EPOCH", Retriable),
    (72, ListenerNotFound, "LISTENER_NOT_FOUND", Retriable),
    (73, TopicDeletionDisabled, "TOPIC_DELETION_DISABLED", Final),
    (74, FencedLeaderEpoch, "FENCED_LEADER_EPOCH", Retriable),
    (75, UnknownLeaderEpoch, "UNKNOWN_LEADER_EPOCH", Retriable),
    (76, UnsupportedCompressionType, "UNSUPPORTED_COMPRESSION_TYPE", Final),
    (77, StaleBrokerEpoch, "STALE_BROKER_EPOCH", Final),
    (78, OffsetNotAvailable, "OFFSET_NOT_AVAILABLE", Retriable),
    (79, MemberIdRequired, "MEMBER_ID_REQUIRED", Final),
    (80, PreferredLeaderNotAvailable, "PREFERRED_LEADER_NOT_AVAILABLE", Retriable),
    (81, GroupMaxSizeReached, "GROUP_MAX_SIZE_REACHED", Final),
    (82, FencedInstanceId, "FENCED_INSTANCE_ID", Final),
    (83, EligibleLeadersNotAvailable, "ELIGIBLE_LEADERS_NOT_AVAILABLE", Retriable),
    (84, ElectionNotNeeded, "ELECTION_NOT_NEEDED", Retriable),
    (85, NoReassignmentInProgress, "NO_REASSIGNMENT_IN_PROGRESS", Final),
    (86, GroupSubscribedToTopic, "GROUP_SUBSCRIBED_TO_TOPIC", Final),
    (87, InvalidRecord, "INVALID_RECORD", Final),
    (88, UnstableOffsetCommit, "UNSTABLE_OFFSET_COMMIT", Retriable),
    (89, ThrottlingQuotaExceeded, "THROTTLING_QUOTA_EXCEEDED", Retriable),
    (90, ProducerFenced, "PRODUCER_FENCED", Final),
    (91, ResourceNotFound, "RESOURCE_NOT_FOUND", Final),
    (92, DuplicateResource, "DUPLICATE_RESOURCE", Final),
    (93, UnacceptableCredential, "UNACCEPTABLE_CREDENTIAL", Final),
    (94, InconsistentVoterSet, "INCONSISTENT_VOTER_SET", Final),
    (95, InvalidUpdateVersion, "INVALID_UPDATE_VERSION", Final),
    (96, FeatureUpdateFailed, "FEATURE_UPDATE_FAILED", Final),
    (97, PrincipalDeserializationFailure, "PRINCIPAL_DESERIALIZATION_FAILURE", Final),
    (98, SnapshotNotFound, "SNAPSHOT_NOT_FOUND", Final),
    (99, PositionOutOfRange, "POSITION_OUT_OF_RANGE", Final),
    (100, UnknownTopicId, "UNKNOWN_TOPIC_ID", Retriable),
    (101, DuplicateBrokerRegistration, "DUPLICATE_BROKER_REGISTRATION", Final),
    (102, BrokerIdNotRegistered, "BROKER_ID_NOT_REGISTERED", Final),
    (103, InconsistentTopicId, "INCONSISTENT_TOPIC_ID", Retriable),
    (104, InconsistentClusterId, "INCONSISTENT_CLUSTER_ID", Final),
    (105, TransactionalIdNotFound, "TRANSACTIONAL_ID_NOT_FOUND", Final),
    (106, FetchSessionTopicIdError, "FETCH_SESSION_TOPIC_ID_ERROR", Retriable),
    (107, IneligibleReplica, "INELIGIBLE_REPLICA", Final),
    (108, NewLeaderElected, "NEW_LEADER_ELECTED", Final),
    (109, OffsetMovedToTieredStorage, "OFFSET_MOVED_TO_TIERED_STORAGE", Final),
    (110, FencedMemberEpoch, "FENCED_MEMBER_EPOCH", Final),
    (111, UnreleasedInstanceId, "UNRELEASED_INSTANCE_ID", Final),
    (112, UnsupportedAssignor, "UNSUPPORTED_ASSIGNOR", Final),
    (113, StaleMemberEpoch, "STALE_MEMBER_EPOCH", Final),
    (114, MismatchedEndpointType, "MISMATCHED_ENDPOINT_TYPE", Final),
    (115, UnsupportedEndpointType, "UNSUPPORTED_ENDPOINT_TYPE", Final),
    (116, UnknownControllerId, "UNKNOWN_CONTROLLER_ID", Final),
    (117, UnknownSubscriptionId, "UNKNOWN_SUBSCRIPTION_ID", Final),
    (118, TelemetryTooLarge, "TELEMETRY_TOO_LARGE", Final),
    (119, InvalidRegistration, "INVALID_REGISTRATION", Final),
    (120, TransactionAbortable, "TRANSACTION_ABORTABLE", Final),
    (121, InvalidRecordState, "INVALID_RECORD_STATE", Final),
    (122, ShareSessionNotFound, "SHARE_SESSION_NOT_FOUND", Retriable),
    (123, InvalidShareSessionEpoch, "INVALID_SHARE_SESSION_EPOCH", Retriable),
    (124, FencedStateEpoch, "FENCED_STATE_EPOCH", Final),
    (125, InvalidVoterKey, "INVALID_VOTER_KEY", Final),
    (126, DuplicateVoter, "DUPLICATE_VOTER", Final),
    (127, VoterNotFound, "VOTER_NOT_FOUND", Final),
    (128, InvalidRegularExpression, "INVALID_REGULAR_EXPRESSION", Final),
    (129, RebootstrapRequired, "REBOOTSTRAP_REQUIRED", Final),
    (130, StreamsInvalidTopology, "STREAMS_INVALID_TOPOLOGY", Final),
    (131, StreamsInvalidTopologyEpoch, "STREAMS_INVALID_TOPOLOGY_EPOCH", Final),
    (132, StreamsTopologyFenced, "STREAMS_TOPOLOGY_FENCED", Final),
    (133, ShareSessionLimitReached, "SHARE_SESSION_LIMIT_REACHED", Retriable),
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_round_trips_through_its_number() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(code));
        }
        assert_eq!(ErrorCode::from_code(i16::MAX), None);
    }

    #[test]
    fn codes_that_clients_depend_on_have_kafkas_numbers() {
        assert_eq!(ErrorCode::OutOfOrderSequenceNumber.code(), 45);
        assert_eq!(ErrorCode::UnknownTopicId.code(), 100);
        assert_eq!(ErrorCode::InvalidRecord.code(), 87);
        assert_eq!(
            ErrorCode::NotLeaderOrFollower.retriability(),
            Retriability::Retriable
        );
        assert_eq!(
            ErrorCode::MessageTooLarge.retriability(),
            Retriability::Final
        );
    }
}
