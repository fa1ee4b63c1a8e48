//! Raft for the metadata quorum: terms, votes, log positions, membership and snapshots as values.
