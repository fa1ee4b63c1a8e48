//! AlterConfigs: the whole configuration of resources at once. Keys that a request does not name
//! are removed, which is why IncrementalAlterConfigs took its place (KIP-339).

use std::borrow::Cow;

use klamm_shard::api::metadata::{ConfigMode, ConfigOperation};
use klamm_wire::{Gather, alter_configs};

use super::check_named;
use super::config_changes::{Asked, Refusal, change};
use crate::net::{Close, Context, Request};

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: alter_configs::RequestView<'_> = request.body()?;
    let named = view.resources().iter().map(|one| one.configs().len());
    check_named(&request, named)?;
    let asked = asked(&view);
    let mode = ConfigMode::Replace;
    let outcomes = change(&context, &asked, mode, view.validate_only()).await;
    request.answer(&response(&asked, outcomes))
}

fn asked<'r>(view: &alter_configs::RequestView<'r>) -> Vec<Asked<'r>> {
    let asked = view.resources().iter().map(|resource| {
        let operations = resource.configs().iter().map(|config| {
            let value = config.value().map(str::to_owned);
            (config.name().to_owned(), Ok(ConfigOperation::Set(value)))
        });
        Asked {
            kind: resource.resource_type(),
            name: resource.resource_name(),
            operations: operations.collect(),
        }
    });
    asked.collect()
}

fn response<'r>(
    asked: &[Asked<'r>],
    outcomes: Vec<Result<(), Refusal>>,
) -> alter_configs::Response<'r> {
    let responses = asked.iter().zip(outcomes).map(|(asked, outcome)| {
        let refusal = outcome.err();
        alter_configs::AlterConfigsResourceResponse {
            error_code: refusal.as_ref().map_or(0, |refusal| refusal.code.code()),
            error_message: refusal.map(|refusal| Cow::Owned(refusal.message)),
            resource_type: asked.kind,
            resource_name: Cow::Borrowed(asked.name),
        }
    });
    alter_configs::Response {
        responses: responses.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn every_version_sets_what_it_names_and_says_what_became_of_it() {
        for version in 0..=2 {
            let config = |value: Option<&'static str>| alter_configs::AlterableConfig {
                name: "retention.ms".into(),
                value: value.map(Into::into),
            };
            let request = alter_configs::Request {
                resources: vec![alter_configs::AlterConfigsResource {
                    resource_type: 2,
                    resource_name: "t".into(),
                    configs: vec![config(Some("5")), config(None)],
                }],
                validate_only: true,
            };
            let mut bytes = bytes::BytesMut::new();
            request.encode(version, &mut bytes).expect("expressible");
            let view = alter_configs::RequestView::parse(&bytes, version).expect("own bytes");
            let asked = asked(&view);
            assert_eq!((asked[0].kind, asked[0].name), (2, "t"));
            let set = |value: Option<&str>| Ok(ConfigOperation::Set(value.map(str::to_owned)));
            let named: Vec<_> = asked[0].operations.iter().map(|(_, one)| one).collect();
            assert_eq!(named, [&set(Some("5")), &set(None)]);

            let answer = response(&asked, vec![Err(Refusal::request("no"))]);
            let mut bytes = bytes::BytesMut::new();
            answer.encode(version, &mut bytes).expect("expressible");
            let view = alter_configs::ResponseView::parse(&bytes, version).expect("own bytes");
            let told = view.responses().iter().next().expect("one resource");
            assert_eq!((told.error_code(), told.error_message()), (42, Some("no")));
            assert_eq!((told.resource_type(), told.resource_name()), (2, "t"));
        }
    }
}
