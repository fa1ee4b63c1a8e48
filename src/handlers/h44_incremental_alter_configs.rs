//! IncrementalAlterConfigs: some keys of some resources, the others stay (KIP-339).

use std::borrow::Cow;

use klamm_shard::api::metadata::{ConfigMode, ConfigOperation};
use klamm_wire::{Gather, incremental_alter_configs};

use super::check_named;
use super::config_changes::{Asked, Refusal, change};
use crate::net::{Close, Context, Request};

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: incremental_alter_configs::RequestView<'_> = request.body()?;
    let named = view.resources().iter().map(|one| one.configs().len());
    check_named(&request, named)?;
    let asked = asked(&view);
    let mode = ConfigMode::Incremental;
    let outcomes = change(&context, &asked, mode, view.validate_only()).await;
    request.answer(&response(&asked, outcomes))
}

/// `AlterConfigOp.OpType` of Kafka.
fn operation(number: i8, value: Option<String>) -> Result<ConfigOperation, i8> {
    match number {
        0 => Ok(ConfigOperation::Set(value)),
        1 => Ok(ConfigOperation::Delete),
        2 => Ok(ConfigOperation::Append(value)),
        3 => Ok(ConfigOperation::Subtract(value)),
        other => Err(other),
    }
}

fn asked<'r>(view: &incremental_alter_configs::RequestView<'r>) -> Vec<Asked<'r>> {
    let asked = view.resources().iter().map(|resource| {
        let operations = resource.configs().iter().map(|config| {
            let value = config.value().map(str::to_owned);
            let operation = operation(config.config_operation(), value);
            (config.name().to_owned(), operation)
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
) -> incremental_alter_configs::Response<'r> {
    let responses = asked.iter().zip(outcomes).map(|(asked, outcome)| {
        let refusal = outcome.err();
        incremental_alter_configs::AlterConfigsResourceResponse {
            error_code: refusal.as_ref().map_or(0, |refusal| refusal.code.code()),
            error_message: refusal.map(|refusal| Cow::Owned(refusal.message)),
            resource_type: asked.kind,
            resource_name: Cow::Borrowed(asked.name),
        }
    });
    incremental_alter_configs::Response {
        responses: responses.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn both_versions_know_the_four_operations_and_say_what_became_of_them() {
        for version in 0..=1 {
            let numbers = [0, 1, 2, 3, 4, -1];
            let configs = numbers.map(|number| incremental_alter_configs::AlterableConfig {
                name: format!("key{number}").into(),
                config_operation: number,
                value: Some("5".into()),
            });
            let request = incremental_alter_configs::Request {
                resources: vec![incremental_alter_configs::AlterConfigsResource {
                    resource_type: 4,
                    resource_name: "1".into(),
                    configs: configs.into(),
                }],
                validate_only: false,
            };
            let mut bytes = bytes::BytesMut::new();
            request.encode(version, &mut bytes).expect("expressible");
            let view =
                incremental_alter_configs::RequestView::parse(&bytes, version).expect("own bytes");
            let asked = asked(&view);
            let five = || Some("5".to_owned());
            let expected = [
                Ok(ConfigOperation::Set(five())),
                Ok(ConfigOperation::Delete),
                Ok(ConfigOperation::Append(five())),
                Ok(ConfigOperation::Subtract(five())),
                Err(4),
                Err(-1),
            ];
            let found: Vec<_> = asked[0].operations.iter().map(|(_, one)| one).collect();
            assert_eq!(found, expected.iter().collect::<Vec<_>>());

            let answer = response(&asked, vec![Ok(())]);
            let mut bytes = bytes::BytesMut::new();
            answer.encode(version, &mut bytes).expect("expressible");
            let view =
                incremental_alter_configs::ResponseView::parse(&bytes, version).expect("own bytes");
            let told = view.responses().iter().next().expect("one resource");
            assert_eq!((told.error_code(), told.error_message()), (0, None));
            assert_eq!((told.resource_type(), told.resource_name()), (4, "1"));
        }
    }
}
