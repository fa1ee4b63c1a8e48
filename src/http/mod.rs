//! The admin face over HTTP: `/metrics`, `/livez`, `/readyz`. Runs on a control thread of its own,
//! so that no request here can delay a shard; it only renders what boot's `ControlPlane` tells.

mod listener;
mod metrics;
mod metrics_table;
mod reference;
mod render;
mod server;

pub(crate) use listener::CONNECTIONS_MAX as ADMIN_CONNECTIONS_MAX;
pub use metrics::{ControllerMetrics, NodeFacts, NodeMetrics, ShardMetrics, TimeHistogram};
pub use reference::metrics_reference;
pub use server::{AdminServer, ControlPlane, ShardReplies};
