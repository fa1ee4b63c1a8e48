//! UpdateFeatures (KIP-584, KIP-778): moves the finalised level of a feature within what this
//! program supports.

use std::fmt;

use klamm_model::{ErrorCode, NodeId};

use super::{Controller, Decision, Reply, SupportedFeature};
use crate::record::MetadataRecord;

/// The feature that says which of Kafka's metadata formats the cluster follows.
const METADATA_VERSION: &str = "metadata.version";

/// Every feature that Kafka has.
const KAFKAS: &[&str] = &[
    METADATA_VERSION,
    "kraft.version",
    "transaction.version",
    "group.version",
    "eligible.leader.replicas.version",
    "share.version",
    "streams.version",
];

/// Levels of `metadata.version` at which Kafka's metadata gained something that an older broker
/// would lose (`didMetadataChange` in its `MetadataVersion`). Kafka goes below none of them, and
/// whoever asks klamm gets the same answer.
const METADATA_CHANGED_AT: &[i16] = &[7, 8, 11, 13, 14, 15, 17, 23, 30];

/// What may be done to a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureUpgrade {
    /// It may rise.
    Upgrade,
    /// It may fall where that loses nothing.
    SafeDowngrade,
    /// It may fall although something is lost.
    UnsafeDowngrade,
    /// The request says something that is none of these.
    Unknown,
}

/// A level that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature.
    pub name: String,
    /// Its level; 0 takes the feature out of use.
    pub level: i16,
    /// What may be done to reach it.
    pub upgrade: FeatureUpgrade,
}

/// Why the levels stay as they are. The text is Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureError {
    /// Which update was refused; the others are as well.
    pub update: FeatureUpdate,
    text: String,
}

impl FeatureError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::InvalidUpdateVersion
    }
}

impl fmt::Display for FeatureError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for FeatureError {}

impl Controller {
    /// All updates, or none.
    pub(super) fn update_features(
        &self,
        node: NodeId,
        updates: Vec<FeatureUpdate>,
        supported: &[SupportedFeature],
        validate_only: bool,
    ) -> Decision {
        let mut records = Vec::new();
        for update in updates {
            if let Err(text) = self.check_feature(node, &update, supported) {
                let refused = FeatureError { update, text };
                return Decision {
                    records: Vec::new(),
                    reply: Reply::UpdateFeatures(Err(refused)),
                };
            }
            let current = self.image.features().get(&update.name).copied();
            if !validate_only && update.level != current.unwrap_or(0) {
                records.push(MetadataRecord::FeatureLevel {
                    name: update.name,
                    level: update.level,
                });
            }
        }
        Decision {
            records,
            reply: Reply::UpdateFeatures(Ok(())),
        }
    }

    fn check_feature(
        &self,
        node: NodeId,
        update: &FeatureUpdate,
        supported: &[SupportedFeature],
    ) -> Result<(), String> {
        let level = update.level;
        let name = &update.name;
        let plain = |reason: &str| {
            Err(format!(
                "Invalid update version {level} for feature {name}. {reason}"
            ))
        };
        let current = self.image.features().get(&update.name).copied();
        let current = current.unwrap_or(0);
        if update.upgrade == FeatureUpgrade::Unknown {
            return plain("The controller does not support the given upgrade type.");
        }
        if level < 0 {
            return plain("A feature version cannot be less than 0.");
        }
        if let Some(reason) = not_supported(node, update, supported) {
            return plain(&reason);
        }
        if level < current && update.upgrade == FeatureUpgrade::Upgrade {
            return plain(
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
            );
        }
        if level > current && update.upgrade != FeatureUpgrade::Upgrade {
            return plain("Can't downgrade to a newer version.");
        }
        let loses = METADATA_CHANGED_AT
            .iter()
            .any(|&changed| level < changed && changed <= current);
        if !KAFKAS.contains(&name.as_str()) {
            // Any program works at level 0 of what it does not have, but nothing has this name.
            return plain(&format!("Feature {name} not found."));
        }
        if update.name != METADATA_VERSION || !loses {
            return Ok(());
        }
        let reason = if update.upgrade == FeatureUpgrade::UnsafeDowngrade {
            "Unsafe metadata downgrade is not supported in this version."
        } else {
            "Refusing to perform the requested downgrade because it might delete metadata information."
        };
        Err(format!(
            "Unsupported metadata.version downgrade from {current} to {level}. {reason}"
        ))
    }
}

/// Why this program cannot work at the level, if it cannot.
fn not_supported(
    node: NodeId,
    update: &FeatureUpdate,
    supported: &[SupportedFeature],
) -> Option<String> {
    let known = supported.iter().find(|known| known.name == update.name);
    match known {
        Some(known) if (known.min..=known.max).contains(&update.level) => None,
        Some(known) => Some(format!(
            "Local controller {node} only supports versions {}-{}",
            known.min, known.max
        )),
        None if update.level == 0 => None,
        None => Some(format!(
            "Local controller {node} does not support this feature."
        )),
    }
}
