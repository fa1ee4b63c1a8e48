//! ApiVersions: what this broker serves and which features the cluster has finalised.

use klamm_model::ErrorCode;
use klamm_shard::api::metadata::Image;
use klamm_wire::{ApiKey, Gather, api_versions};

use super::borrowed;
use crate::features;
use crate::net::{ClientSoftware, Close, Context, Request};
use crate::served::{SERVED, Served, served};

/// First version with the client's name and with features (KIP-511, KIP-584).
const FIRST_WITH_SOFTWARE: i16 = 3;
/// First version that may say that a feature's lowest level is 0 (KAFKA-17011).
const FIRST_WITH_LEVEL_ZERO: i16 = 4;

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub fn handle(context: &Context, request: &Request) -> Result<Gather, Close> {
    let view: api_versions::RequestView<'_> = request.body()?;
    let legal = request.version < FIRST_WITH_SOFTWARE
        || (is_software_text(view.client_software_name())
            && is_software_text(view.client_software_version()));
    if !legal {
        let error_code = ErrorCode::InvalidRequest.code();
        return request.answer(&api_versions::Response {
            error_code,
            ..Default::default()
        });
    }
    if request.version >= FIRST_WITH_SOFTWARE {
        let software = ClientSoftware::named(view.client_software_name());
        context.caller.introduce(software);
    }
    request.answer(&response(&context.shards.image(), request.version))
}

/// Answers a version that this broker does not know: in version 0, with the window of this key, so
/// that the client can ask again (KIP-511).
///
/// # Errors
/// None that a correct program causes.
pub fn unsupported(request: &Request) -> Result<Gather, Close> {
    let response = api_versions::Response {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: served(ApiKey::ApiVersions)
            .map(row_of)
            .into_iter()
            .collect(),
        ..Default::default()
    };
    request.answer_as(&response, 0)
}

fn row_of(served: &Served) -> api_versions::ApiVersion {
    api_versions::ApiVersion {
        api_key: served.key.number(),
        min_version: served.min,
        max_version: served.max,
    }
}

fn response(image: &Image, version: i16) -> api_versions::Response<'_> {
    let lowest = if version < FIRST_WITH_LEVEL_ZERO {
        1
    } else {
        0
    };
    let supported =
        features::supported()
            .into_iter()
            .map(|feature| api_versions::SupportedFeatureKey {
                name: feature.name.into(),
                min_version: feature.min.max(lowest),
                max_version: feature.max,
            });
    let finalized = image
        .features()
        .iter()
        .filter(|(_, level)| **level > 0)
        .map(|(name, level)| api_versions::FinalizedFeatureKey {
            name: borrowed(name),
            max_version_level: *level,
            min_version_level: *level,
        });
    api_versions::Response {
        api_keys: SERVED.iter().map(row_of).collect(),
        supported_features: supported.collect(),
        finalized_features_epoch: image.version().0,
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}

/// Kafka's rule for names and versions of client software:
/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn every_version_lists_every_served_key() {
        let image = Image::default();
        for version in 0..=4 {
            let mut bytes = bytes::BytesMut::new();
            response(&image, version)
                .encode(version, &mut bytes)
                .expect("expressible");
            let view = api_versions::ResponseView::parse(&bytes, version).expect("own bytes");
            let keys: Vec<_> = view.api_keys().iter().map(|row| row.api_key()).collect();
            let expected: Vec<_> = SERVED.iter().map(|row| row.key.number()).collect();
            assert_eq!(keys, expected, "version {version}");
        }
    }

    #[test]
    fn software_names_follow_kafkas_rule() {
        for good in ["a", "apache-kafka-java", "4.3.1", "A1"] {
            assert!(is_software_text(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "ä", ".", "a_b", "a\n"] {
            assert!(!is_software_text(bad), "{bad}");
        }
    }
}
