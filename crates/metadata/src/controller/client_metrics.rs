//! Subscriptions to metrics of clients (KIP-714): what their keys may say. Texts are Kafka's.

use super::ConfigError;
use crate::image::ConfigMap;

/// How often clients push, in milliseconds.
const INTERVAL: &str = "interval.ms";
/// Which metrics.
const METRICS: &str = "metrics";
/// Of which clients.
const MATCH: &str = "match";

/// The keys of a subscription with their defaults, by name.
pub const CLIENT_METRICS_KEYS: [(&str, &str); 3] =
    [(INTERVAL, "300000"), (MATCH, ""), (METRICS, "")];

/// What clients can be chosen by.
const CHOSEN_BY: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

pub(super) fn check(name: &str, after: &ConfigMap) -> Result<(), ConfigError> {
    if name.is_empty() {
        let text = "Subscription name can't be empty";
        return Err(ConfigError::Request(text.to_owned()));
    }
    for (key, value) in after {
        match key.as_str() {
            INTERVAL => check_interval(value)?,
            MATCH => check_match(value)?,
            METRICS => {}
            _ => {
                let text = format!("Unknown client metrics configuration: {key}");
                return Err(ConfigError::Request(text));
            }
        }
    }
    Ok(())
}

fn check_interval(value: &str) -> Result<(), ConfigError> {
    let number: i32 = value.trim().parse().map_err(|_| {
        ConfigError::Invalid(format!(
            "Invalid value {value} for configuration {INTERVAL}: Not a number of type INT"
        ))
    })?;
    if (100..=3_600_000).contains(&number) {
        return Ok(());
    }
    Err(ConfigError::Request(format!(
        "Invalid value {number} for {INTERVAL}, interval must be between 100 and 3600000 (1 hour)"
    )))
}

/// Each word is `key=pattern`. Patterns are kept as they are: nobody is matched against them.
fn check_match(value: &str) -> Result<(), ConfigError> {
    let words = value.split(',').map(str::trim);
    let mut words = words.filter(|word| !word.is_empty());
    let is_illegal = |word: &&str| {
        let known = word.split_once('=');
        !known.is_some_and(|(key, _)| CHOSEN_BY.contains(&key.trim()))
    };
    match words.find(is_illegal) {
        None => Ok(()),
        Some(word) => Err(ConfigError::Invalid(format!(
            "Illegal client matching pattern: {word}"
        ))),
    }
}
