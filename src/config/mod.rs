//! Configuration in three steps: `keys` says what exists, `raw` what was written, `checked` what
//! holds. Problems carry their cure, and all of them are found in one start.

mod checked;
mod describe;
mod dynamic;
mod groups;
pub mod keys;
mod listeners;
mod nearest;
mod notices;
pub mod raw;
mod reader;
#[cfg(test)]
mod tests;

pub use checked::{
    CleanerSettings, Config, FetchLimits, HostFacts, QuotaWindows, ShardSettings, SocketLimits,
    TopicDefaults, cores_text,
};
pub use describe::{
    ConfigSource, ConfigSynonym, DescribedKey, describe_logger, describe_subscription,
};
pub use dynamic::{
    BrokerKeyChange, ConnectionLimits, Dynamic, DynamicRefused, check_dynamic, locks_everybody_out,
};
pub use groups::{ConsumerGroupSettings, GroupSettings};
pub use listeners::{Advertised, Endpoint, Listener, SecurityProtocol};
pub use notices::{Problem, Warning};
