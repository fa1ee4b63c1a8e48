//! The features that this broker knows (KIP-584), with the levels it works with. Clients switch
//! behaviour by them, so only what is served is named: no transactions, share groups or
//! streams groups yet.

use klamm_shard::api::metadata::SupportedFeature;

/// Whether groups of the consumer protocol are served (KIP-848).
pub(crate) const GROUP_VERSION: &str = "group.version";

/// Feature name, lowest and highest level. `metadata.version` 7 is Kafka 3.3, 30 is Kafka 4.3.
const SUPPORTED: &[(&str, i16, i16)] = &[(GROUP_VERSION, 0, 1), ("metadata.version", 7, 30)];

/// What this broker supports.
#[must_use]
pub(crate) fn supported() -> Vec<SupportedFeature> {
    SUPPORTED
        .iter()
        .map(|&(name, min, max)| SupportedFeature {
            name: name.to_owned(),
            min,
            max,
        })
        .collect()
}
