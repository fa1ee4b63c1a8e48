//! What a client may rely on, asked of the real binary over its own sockets.
#![forbid(unsafe_code)]

#[path = "../harness/mod.rs"]
mod harness;

mod adopt;
mod api_versions;
mod broker_configs;
mod cli;
mod cli_admin;
mod cli_groups;
mod cli_log;
mod cli_records;
mod cli_top;
mod client;
mod client_async;
mod client_groups;
mod compaction;
mod compression;
mod config_changes;
mod connection;
mod consumer_groups;
mod describe;
mod durability;
mod fetch;
mod fetch_sessions;
mod full_disk;
mod group_answers;
mod group_configs;
mod group_lag;
mod group_offsets;
mod groups;
mod leader_epochs;
mod life;
mod log_dirs;
mod machine;
mod many_partitions;
mod metadata;
mod metrics;
mod moves;
mod offsets;
mod partitions;
mod produce;
mod quotas;
mod reassign;
mod restart;
mod retention;
mod topics;
mod trim;
