//! Connections: accepting them, reading frames, answering in order, and ending well. Owner of
//! everything that lives as long as a connection.

mod answers;
mod buffers;
mod close;
mod conn;
mod front;
mod latency;
mod listener;
mod meter;
mod pool;
mod quiet;
mod request;
mod software;
mod table;

pub use answers::Answer;
pub use close::Close;
pub use conn::serve_connections;
pub use front::{FrontContext, FrontCounters, FrontSetup};
pub(crate) use front::{first_of, quota_table};
pub(crate) use latency::ApiTimesTaken;
pub use listener::{accept, listener_options};
pub(crate) use request::Mutations;
pub use request::{Caller, Context, Request};
pub use software::ClientSoftware;
pub use table::{ConnectionTable, Refused};
