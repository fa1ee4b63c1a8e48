//! AlterClientQuotas: maps the request to one command for the controller, and its reply back
//! (KIP-546). What is wrong with an entity itself is said here, in Kafka's words.

use std::borrow::Cow;
use std::net::IpAddr;

use klamm_model::ErrorCode;
use klamm_shard::api::metadata::{
    Command, QuotaChange, QuotaEntity, QuotaKind, QuotaName, QuotaOperation, Reply,
};
use klamm_wire::{Gather, alter_client_quotas};

use super::check_named;
use super::config_changes::Refusal;
use crate::net::{Close, Context, Request};

type Entry<'r> = alter_client_quotas::RequestEntryDataView<'r>;
type Answer = alter_client_quotas::ResponseEntryData<'static>;

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: alter_client_quotas::RequestView<'_> = request.body()?;
    let named = view.entries().iter();
    check_named(
        &request,
        named.map(|entry| entry.entity().len() + entry.ops().len()),
    )?;
    let (mut changes, mut entries) = (Vec::new(), Vec::new());
    for entry in view.entries() {
        match entity_of(entry) {
            Ok(entity) => changes.push(change(entity, entry)),
            Err(refusal) => entries.push(refused(entry, refusal)),
        }
    }
    if !changes.is_empty() {
        let command = Command::AlterClientQuotas {
            changes,
            validate_only: view.validate_only(),
        };
        let Reply::AlterClientQuotas(outcomes) = context.shards.control(command).await else {
            unreachable!("AlterClientQuotas is answered by its own reply")
        };
        entries.extend(outcomes.into_iter().map(|(entity, outcome)| {
            let refusal = outcome.err().map(|error| Refusal {
                code: error.code(),
                message: error.to_string(),
            });
            answer(parts_of(&entity), refusal)
        }));
    }
    request.answer(&alter_client_quotas::Response {
        entries,
        ..Default::default()
    })
}

/// Whom an entry names.
fn entity_of(entry: Entry<'_>) -> Result<QuotaEntity, Refusal> {
    let mut parts: [Option<QuotaName>; 3] = [None, None, None];
    for part in entry.entity() {
        let word = part.entity_type();
        let Some(kind) = QuotaKind::from_word(word) else {
            return Err(Refusal::request(format!(
                "Unhandled client quota entity type: {word}"
            )));
        };
        let name = match part.entity_name() {
            None => QuotaName::Default,
            Some("") => return Err(Refusal::request(format!("Empty {word} not supported"))),
            Some(name) if kind == QuotaKind::Ip && name.parse::<IpAddr>().is_err() => {
                return Err(Refusal::request(format!(
                    "{name} is not a valid IP or resolvable host."
                )));
            }
            Some(name) => QuotaName::named(name),
        };
        let place = &mut parts[kind as usize];
        if place.replace(name).is_some() {
            return Err(Refusal::request(format!(
                "Invalid client quota entity, duplicate entity entry {word}"
            )));
        }
    }
    let [user, client, ip] = parts;
    let is_empty = user.is_none() && client.is_none() && ip.is_none();
    QuotaEntity::of(user, client, ip).ok_or_else(|| {
        Refusal::request(if is_empty {
            "Invalid empty client quota entity"
        } else {
            "Invalid quota entity combination, IP entity shouldnot be combined with User or \
             ClientId"
        })
    })
}

fn change(entity: QuotaEntity, entry: Entry<'_>) -> QuotaChange {
    let operations = entry.ops().iter().map(|operation| QuotaOperation {
        key: operation.key().to_owned(),
        value: (!operation.remove()).then(|| operation.value()),
    });
    QuotaChange {
        entity,
        operations: operations.collect(),
    }
}

type Part = alter_client_quotas::ResponseEntityData<'static>;

fn parts_of(entity: &QuotaEntity) -> Vec<Part> {
    let parts = entity.parts().map(|(kind, name)| Part {
        entity_type: Cow::Borrowed(kind.word()),
        entity_name: match name {
            QuotaName::Default => None,
            QuotaName::Named(name) => Some(Cow::Owned(name.clone())),
        },
    });
    parts.collect()
}

/// An entity that is none is repeated as it came.
fn refused(entry: Entry<'_>, refusal: Refusal) -> Answer {
    let parts = entry.entity().iter().map(|part| Part {
        entity_type: Cow::Owned(part.entity_type().to_owned()),
        entity_name: part.entity_name().map(|name| Cow::Owned(name.to_owned())),
    });
    answer(parts.collect(), Some(refusal))
}

fn answer(entity: Vec<Part>, refusal: Option<Refusal>) -> Answer {
    let refusal = refusal.map(Refusal::shortened);
    let code = refusal.as_ref().map_or(ErrorCode::None, |one| one.code);
    Answer {
        error_code: code.code(),
        error_message: refusal.map(|one| Cow::Owned(one.message)),
        entity,
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    fn read(
        version: i16,
        parts: &[(&'static str, Option<&'static str>)],
    ) -> Result<QuotaEntity, String> {
        let entity = parts
            .iter()
            .map(|&(kind, name)| alter_client_quotas::RequestEntityData {
                entity_type: kind.into(),
                entity_name: name.map(Cow::Borrowed),
            });
        let request = alter_client_quotas::Request {
            entries: vec![alter_client_quotas::RequestEntryData {
                entity: entity.collect(),
                ops: Vec::new(),
            }],
            validate_only: false,
        };
        let mut bytes = bytes::BytesMut::new();
        request.encode(version, &mut bytes).expect("expressible");
        let view = alter_client_quotas::RequestView::parse(&bytes, version).expect("own bytes");
        let entry = view.entries().iter().next().expect("one entry");
        entity_of(entry).map_err(|refusal| refusal.message)
    }

    #[test]
    fn entities_are_read_and_refused_as_in_kafka() {
        for version in 0..=1 {
            let both = read(version, &[("client-id", None), ("user", Some("u"))]);
            let expected = QuotaEntity::UserClient(QuotaName::named("u"), QuotaName::Default);
            assert_eq!(both, Ok(expected));
            type Case<'a> = (&'a [(&'static str, Option<&'static str>)], &'a str);
            let refusals: [Case<'_>; 6] = [
                (
                    &[("ip", Some("nowhere"))],
                    "nowhere is not a valid IP or resolvable host.",
                ),
                (&[], "Invalid empty client quota entity"),
                (&[("user", Some(""))], "Empty user not supported"),
                (&[("foo", None)], "Unhandled client quota entity type: foo"),
                (
                    &[("user", None), ("ip", None)],
                    "Invalid quota entity combination, IP entity shouldnot be combined with User \
                     or ClientId",
                ),
                (
                    &[("user", None), ("user", Some("a"))],
                    "Invalid client quota entity, duplicate entity entry user",
                ),
            ];
            for (parts, text) in refusals {
                assert_eq!(read(version, parts), Err(text.to_owned()));
            }
        }
    }
}
