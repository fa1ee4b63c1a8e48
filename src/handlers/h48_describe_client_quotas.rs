//! DescribeClientQuotas: what clients are held to, of the entities that a filter lets through
//! (KIP-546). Checks and texts are Kafka's.

use klamm_model::ErrorCode;
use klamm_shard::api::metadata::{ClientQuotas, QuotaEntity, QuotaKind, QuotaLimits, QuotaName};
use klamm_wire::{Gather, describe_client_quotas};

use super::borrowed;
use super::config_changes::Refusal;
use crate::net::{Close, Context, Request};

/// Kafka's numbers of what a component of a filter asks for.
mod matching {
    pub(super) const EXACT: i8 = 0;
    pub(super) const DEFAULT: i8 = 1;
    pub(super) const SPECIFIED: i8 = 2;
}

/// What an entity must be like in one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted<'r> {
    Named(&'r str),
    Default,
    Any,
}

impl Wanted<'_> {
    fn admits(self, name: &QuotaName) -> bool {
        match (self, name) {
            (Self::Any, _) | (Self::Default, QuotaName::Default) => true,
            (Self::Named(wanted), QuotaName::Named(name)) => wanted == name,
            _ => false,
        }
    }
}

/// A filter of legal components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter<'r> {
    /// Each kind at most once.
    parts: Vec<(QuotaKind, Wanted<'r>)>,
    /// Entities have no other parts than these.
    strict: bool,
}

impl<'r> Filter<'r> {
    fn read(view: &describe_client_quotas::RequestView<'r>) -> Result<Self, Refusal> {
        let mut filter = Self {
            parts: Vec::new(),
            strict: view.strict(),
        };
        for component in view.components() {
            let word = component.entity_type();
            if word.is_empty() {
                return Err(Refusal::request("Invalid empty entity type."));
            }
            if filter.parts.iter().any(|(kind, _)| kind.word() == word) {
                return Err(Refusal::request(format!(
                    "Entity type {word} cannot appear more than once in the filter."
                )));
            }
            let Some(kind) = QuotaKind::from_word(word) else {
                return Err(Refusal {
                    code: ErrorCode::UnsupportedVersion,
                    message: format!("Unsupported entity type {word}"),
                });
            };
            let wanted = wanted(component.match_type(), component.r#match())?;
            filter.parts.push((kind, wanted));
        }
        let of_ip = filter.parts.iter().any(|(kind, _)| *kind == QuotaKind::Ip);
        if of_ip && filter.parts.len() > 1 {
            return Err(Refusal::request(
                "Invalid entity filter component combination. IP filter component should not be \
                 used with user or clientId filter component.",
            ));
        }
        Ok(filter)
    }

    fn admits(&self, entity: &QuotaEntity) -> bool {
        let holds = |(kind, wanted): &(QuotaKind, Wanted<'_>)| {
            let mut parts = entity.parts();
            parts.any(|(found, name)| found == *kind && wanted.admits(name))
        };
        self.parts.iter().all(holds) && (!self.strict || entity.parts().count() == self.parts.len())
    }
}

fn wanted(number: i8, name: Option<&str>) -> Result<Wanted<'_>, Refusal> {
    let also = |what: &str| {
        Refusal::request(format!(
            "Request specified {what}, but also specified a match string."
        ))
    };
    match (number, name) {
        (matching::EXACT, Some(name)) => Ok(Wanted::Named(name)),
        (matching::EXACT, None) => Err(Refusal::request(
            "Request specified MATCH_TYPE_EXACT, but set match string to null.",
        )),
        (matching::DEFAULT, None) => Ok(Wanted::Default),
        (matching::DEFAULT, Some(_)) => Err(also("MATCH_TYPE_DEFAULT")),
        (matching::SPECIFIED, None) => Ok(Wanted::Any),
        (matching::SPECIFIED, Some(_)) => Err(also("MATCH_TYPE_SPECIFIED")),
        (other, _) => Err(Refusal::request(format!("Unknown match type {other}"))),
    }
}

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: describe_client_quotas::RequestView<'_> = request.body()?;
    let image = context.shards.image();
    match Filter::read(&view) {
        Ok(filter) => request.answer(&response(image.client_quotas(), &filter)),
        Err(refusal) => {
            let refusal = refusal.shortened();
            request.answer(&describe_client_quotas::Response {
                error_code: refusal.code.code(),
                error_message: Some(refusal.message.into()),
                entries: None,
                ..Default::default()
            })
        }
    }
}

fn response<'i>(
    quotas: &'i ClientQuotas,
    filter: &Filter<'_>,
) -> describe_client_quotas::Response<'i> {
    // Without parts a strict filter names entities without parts, and there are none.
    let entities = quotas
        .entities()
        .filter(|(entity, _)| filter.admits(entity));
    describe_client_quotas::Response {
        entries: Some(
            entities
                .map(|(entity, limits)| entry(entity, limits))
                .collect(),
        ),
        ..Default::default()
    }
}

fn entry<'i>(
    entity: &'i QuotaEntity,
    limits: &QuotaLimits,
) -> describe_client_quotas::EntryData<'i> {
    let parts = entity
        .parts()
        .map(|(kind, name)| describe_client_quotas::EntityData {
            entity_type: borrowed(kind.word()),
            entity_name: match name {
                QuotaName::Default => None,
                QuotaName::Named(name) => Some(borrowed(name)),
            },
        });
    let values = limits
        .iter()
        .map(|(key, value)| describe_client_quotas::ValueData {
            key: borrowed(key.name()),
            value: value.get(),
        });
    describe_client_quotas::EntryData {
        entity: parts.collect(),
        values: values.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(user: Option<&str>, client: Option<&str>) -> QuotaEntity {
        let name = |word: &str| match word {
            "*" => QuotaName::Default,
            word => QuotaName::named(word),
        };
        QuotaEntity::of(user.map(name), client.map(name), None).expect("a combination")
    }

    #[test]
    fn a_filter_lets_through_what_kafkas_does() {
        let (user, client) = (QuotaKind::User, QuotaKind::ClientId);
        let entities = [
            entity(Some("a"), None),
            entity(Some("*"), None),
            entity(Some("a"), Some("c")),
            entity(None, Some("c")),
        ];
        type Case<'a> = (&'a [(QuotaKind, Wanted<'a>)], bool, &'a [usize]);
        let cases: [Case<'_>; 8] = [
            (&[], false, &[0, 1, 2, 3]),
            (&[], true, &[]),
            (&[(user, Wanted::Any)], false, &[0, 1, 2]),
            (&[(user, Wanted::Any)], true, &[0, 1]),
            (&[(user, Wanted::Named("a"))], false, &[0, 2]),
            (&[(user, Wanted::Default)], false, &[1]),
            (&[(user, Wanted::Any), (client, Wanted::Any)], true, &[2]),
            (&[(client, Wanted::Named("c"))], true, &[3]),
        ];
        for (parts, strict, expected) in cases {
            let filter = Filter {
                parts: parts.to_vec(),
                strict,
            };
            let found: Vec<usize> = (0..4).filter(|&n| filter.admits(&entities[n])).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    }
}
