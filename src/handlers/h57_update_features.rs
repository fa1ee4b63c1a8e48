//! UpdateFeatures: moves the finalised levels of features (KIP-584, KIP-778, KIP-1022).

use std::borrow::Cow;
use std::collections::BTreeMap;

use klamm_model::ErrorCode;
use klamm_shard::api::metadata::{Command, FeatureError, FeatureUpdate, FeatureUpgrade, Reply};
use klamm_wire::{Gather, update_features};

use super::{borrowed, check_named};
use crate::features;
use crate::net::{Close, Context, Request};

/// Last version with an answer for each feature.
const LAST_WITH_RESULTS: i16 = 1;

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: update_features::RequestView<'_> = request.body()?;
    check_named(&request, [view.feature_updates().len()].into_iter())?;
    let command = Command::UpdateFeatures {
        node: context.front.node(),
        updates: updates(&view),
        supported: features::supported(),
        validate_only: view.validate_only(),
    };
    let Reply::UpdateFeatures(outcome) = context.shards.control(command).await else {
        unreachable!("UpdateFeatures is answered by its own reply")
    };
    request.answer(&response(&view, request.version, outcome))
}

/// The levels asked for; of a feature that is named twice, the last one, as in Kafka. Version 0
/// speaks of no upgrade type but the default, and Kafka heeds nothing else of it.
fn updates(view: &update_features::RequestView<'_>) -> Vec<FeatureUpdate> {
    let mut updates: Vec<FeatureUpdate> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for update in view.feature_updates() {
        let wanted = FeatureUpdate {
            name: update.feature().to_owned(),
            level: update.max_version_level(),
            upgrade: match update.upgrade_type() {
                1 => FeatureUpgrade::Upgrade,
                2 => FeatureUpgrade::SafeDowngrade,
                3 => FeatureUpgrade::UnsafeDowngrade,
                _ => FeatureUpgrade::Unknown,
            },
        };
        let place = *places.entry(update.feature()).or_insert(updates.len());
        match updates.get_mut(place) {
            Some(known) => *known = wanted,
            None => updates.push(wanted),
        }
    }
    updates
}

fn response<'a>(
    view: &update_features::RequestView<'a>,
    version: i16,
    outcome: Result<(), FeatureError>,
) -> update_features::Response<'a> {
    match outcome {
        Err(error) => {
            let text = format!(
                "The update failed for all features since the following feature had an error: {error}"
            );
            update_features::Response {
                error_code: error.code().code(),
                error_message: Some(Cow::Owned(text)),
                ..Default::default()
            }
        }
        Ok(()) => {
            let updates = view.feature_updates().iter();
            let updates = updates.filter(|_| version <= LAST_WITH_RESULTS);
            let results = updates.map(|update| update_features::UpdatableFeatureResult {
                feature: borrowed(update.feature()),
                error_code: ErrorCode::None.code(),
                error_message: None,
            });
            update_features::Response {
                error_message: None,
                results: results.collect(),
                ..Default::default()
            }
        }
    }
}
