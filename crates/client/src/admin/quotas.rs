//! Quotas of clients: describe them, and change single limits of one entity (KIP-546).

use klamm_wire::{alter_client_quotas, describe_client_quotas};

use super::Apply;
use crate::error::{BrokerError, check};

/// What kind of thing a quota is for. An entity has one of these, or a user and a client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// A user.
    User,
    /// The name that a client gives itself.
    ClientId,
    /// An address that connections come from.
    Ip,
}

impl QuotaKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::User, Self::ClientId, Self::Ip];

    /// Kafka's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ClientId => "client-id",
            Self::Ip => "ip",
        }
    }
}

/// Whom a quota is for: the kinds as Kafka says them, each with a name, or none for everybody who
/// has no quota of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaEntity(pub Vec<(String, Option<String>)>);

impl QuotaEntity {
    /// An entity of these parts.
    pub fn of(parts: impl IntoIterator<Item = (QuotaKind, Option<String>)>) -> Self {
        let parts = parts.into_iter();
        Self(
            parts
                .map(|(kind, name)| (kind.word().to_owned(), name))
                .collect(),
        )
    }

    /// Names it in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let parts = self.0.iter().map(|(kind, name)| match name {
            Some(name) => format!("{kind} {name}"),
            None => format!("default {kind}"),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// The limits of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientQuota {
    /// Whom they are for.
    pub entity: QuotaEntity,
    /// Key and height, in the order of the keys.
    pub limits: Vec<(String, f64)>,
}

/// Which names of a kind are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaMatch {
    /// This one.
    Named(String),
    /// Everybody who has none of their own.
    Default,
    /// Every one, the default included.
    Any,
}

/// A DescribeClientQuotas request for the entities in which all these kinds match: exactly these
/// kinds where it is strict, and others beside them where it is not.
#[must_use]
pub fn describe_client_quotas(
    filter: &[(QuotaKind, QuotaMatch)],
    strict: bool,
) -> describe_client_quotas::Request<'static> {
    let components = filter.iter().map(|(kind, wanted)| {
        let (number, name) = match wanted {
            QuotaMatch::Named(name) => (0, Some(name.clone().into())),
            QuotaMatch::Default => (1, None),
            QuotaMatch::Any => (2, None),
        };
        describe_client_quotas::ComponentData {
            entity_type: kind.word().into(),
            match_type: number,
            r#match: name,
        }
    });
    describe_client_quotas::Request {
        components: components.collect(),
        strict,
    }
}

/// Reads a DescribeClientQuotas answer; entities in order.
///
/// # Errors
/// What the broker said.
pub fn described_client_quotas(
    view: &describe_client_quotas::ResponseView<'_>,
) -> Result<Vec<ClientQuota>, BrokerError> {
    BrokerError::check(view.error_code(), view.error_message(), || {
        "quotas".to_owned()
    })?;
    let mut quotas = Vec::new();
    for row in view.entries().into_iter().flatten() {
        let parts = row.entity().iter();
        let mut parts: Vec<_> = parts
            .map(|part| {
                let name = part.entity_name().map(str::to_owned);
                (part.entity_type().to_owned(), name)
            })
            .collect();
        // The user before the client, as everywhere.
        parts.sort_by(|(left, _), (right, _)| right.cmp(left));
        let limits = row.values().iter();
        let mut limits: Vec<_> = limits
            .map(|limit| (limit.key().to_owned(), limit.value()))
            .collect();
        limits.sort_by(|(left, _), (right, _)| left.cmp(right));
        let entity = QuotaEntity(parts);
        quotas.push(ClientQuota { entity, limits });
    }
    quotas.sort_by(|left, right| left.entity.cmp(&right.entity));
    Ok(quotas)
}

/// An AlterClientQuotas request for one entity: keys with their new heights, or none to take the
/// limit away. Other limits stay.
#[must_use]
pub fn alter_client_quotas(
    entity: &QuotaEntity,
    changes: &[(String, Option<f64>)],
    apply: Apply,
) -> alter_client_quotas::Request<'static> {
    let parts = entity.0.iter();
    let parts = parts.map(|(kind, name)| alter_client_quotas::RequestEntityData {
        entity_type: kind.clone().into(),
        entity_name: name.clone().map(Into::into),
    });
    let ops = changes
        .iter()
        .map(|(key, value)| alter_client_quotas::OpData {
            key: key.clone().into(),
            value: value.unwrap_or(0.0),
            remove: value.is_none(),
        });
    alter_client_quotas::Request {
        entries: vec![alter_client_quotas::RequestEntryData {
            entity: parts.collect(),
            ops: ops.collect(),
        }],
        validate_only: apply == Apply::ValidateOnly,
    }
}

/// Reads an AlterClientQuotas answer about this entity.
///
/// # Errors
/// What the broker said.
pub fn altered_client_quotas(
    view: &alter_client_quotas::ResponseView<'_>,
    entity: &QuotaEntity,
) -> Result<(), BrokerError> {
    view.entries().iter().try_for_each(|row| {
        check(row.error_code()).map_err(|code| BrokerError {
            code,
            subject: format!("quota of {}", entity.describe()),
            message: row.error_message().map(str::to_owned),
        })
    })
}
