//! Quotas of clients (KIP-13, KIP-124, KIP-546, KIP-599, KIP-612): whom they hold, what they limit,
//! and which of them holds a given client. What was used, the front counts.

use std::fmt;

use crate::chunked::ChunkedMap;

/// Whom of one kind a quota is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaName {
    /// Everybody who has none of their own (null on the wire).
    Default,
    /// One name.
    Named(String),
}

impl QuotaName {
    /// One name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::Named(name.to_owned())
    }

    /// The name; empty for the default.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Default => "",
            Self::Named(name) => name,
        }
    }
}

/// Kafka's kinds of entities.
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
    /// Kafka's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ClientId => "client-id",
            Self::Ip => "ip",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::User, Self::ClientId, Self::Ip]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// Whom a quota is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaEntity {
    /// A user, whatever clients they use.
    User(QuotaName),
    /// A client, whoever uses it.
    Client(QuotaName),
    /// A client of a user.
    UserClient(QuotaName, QuotaName),
    /// An address.
    Ip(QuotaName),
}

impl QuotaEntity {
    /// The entity with these parts, if their combination is one.
    #[must_use]
    pub fn of(
        user: Option<QuotaName>,
        client: Option<QuotaName>,
        ip: Option<QuotaName>,
    ) -> Option<Self> {
        match (user, client, ip) {
            (Some(user), None, None) => Some(Self::User(user)),
            (None, Some(client), None) => Some(Self::Client(client)),
            (Some(user), Some(client), None) => Some(Self::UserClient(user, client)),
            (None, None, Some(ip)) => Some(Self::Ip(ip)),
            _ => None,
        }
    }

    /// Its parts, as Kafka names them.
    pub fn parts(&self) -> impl Iterator<Item = (QuotaKind, &QuotaName)> {
        let (first, second) = match self {
            Self::User(user) => ((QuotaKind::User, user), None),
            Self::Client(client) => ((QuotaKind::ClientId, client), None),
            Self::UserClient(user, client) => {
                ((QuotaKind::User, user), Some((QuotaKind::ClientId, client)))
            }
            Self::Ip(ip) => ((QuotaKind::Ip, ip), None),
        };
        std::iter::once(first).chain(second)
    }

    /// What may be limited for it.
    #[must_use]
    pub const fn keys(&self) -> &'static [QuotaKey] {
        match self {
            Self::Ip(_) => &[QuotaKey::ConnectionCreationRate],
            Self::User(_) | Self::Client(_) | Self::UserClient(..) => &[
                QuotaKey::ProducerByteRate,
                QuotaKey::ConsumerByteRate,
                QuotaKey::RequestPercentage,
                QuotaKey::ControllerMutationRate,
            ],
        }
    }
}

/// Kafka prints entities so.
impl fmt::Display for QuotaEntity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientQuotaEntity(entries={")?;
        for (place, (kind, name)) in self.parts().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            let name = match name {
                QuotaName::Default => "null",
                QuotaName::Named(name) => name,
            };
            write!(formatter, "{comma}{}={name}", kind.word())?;
        }
        formatter.write_str("})")
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKey {
    /// Bytes of Produce requests a second.
    ProducerByteRate,
    /// Bytes of Fetch answers a second.
    ConsumerByteRate,
    /// Time of one core that requests may take, in percent.
    RequestPercentage,
    /// Partitions created and deleted a second (KIP-599).
    ControllerMutationRate,
    /// Connections begun a second (KIP-612).
    ConnectionCreationRate,
}

impl QuotaKey {
    /// Every key, by number.
    pub const ALL: [Self; 5] = [
        Self::ProducerByteRate,
        Self::ConsumerByteRate,
        Self::RequestPercentage,
        Self::ControllerMutationRate,
        Self::ConnectionCreationRate,
    ];

    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProducerByteRate => "producer_byte_rate",
            Self::ConsumerByteRate => "consumer_byte_rate",
            Self::RequestPercentage => "request_percentage",
            Self::ControllerMutationRate => "controller_mutation_rate",
            Self::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    /// Its number in records.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The key of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A limit: finite and above zero.
#[derive(Clone, Copy, Debug)]
pub struct QuotaValue(f64);

impl QuotaValue {
    /// A limit of this height, if it can be one.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value > 0.0 && value.is_finite()).then_some(Self(value))
    }

    /// Its height.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// By bits: no value is NaN, nor a zero of two signs.
impl PartialEq for QuotaValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for QuotaValue {}

/// The limits of one entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits([Option<QuotaValue>; QuotaKey::ALL.len()]);

impl QuotaLimits {
    /// One of them.
    #[must_use]
    pub const fn get(&self, key: QuotaKey) -> Option<QuotaValue> {
        self.0[key as usize]
    }

    /// Those that are set, by key.
    pub fn iter(&self) -> impl Iterator<Item = (QuotaKey, QuotaValue)> {
        let values = QuotaKey::ALL.into_iter().zip(self.0);
        values.filter_map(|(key, value)| Some((key, value?)))
    }
}

/// The quotas of a cluster. A clone costs one reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientQuotas {
    entities: ChunkedMap<QuotaEntity, QuotaLimits>,
}

impl ClientQuotas {
    /// True where nobody is held to anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entities.len() == 0
    }

    /// Entities that have quotas.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entities.len()
    }

    /// True if both are the same memory: a cheap way to see that nothing changed.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.entities.is_same(&other.entities)
    }

    /// Every entity that has quotas, in order.
    pub fn entities(&self) -> impl Iterator<Item = (&QuotaEntity, &QuotaLimits)> {
        self.entities.iter()
    }

    /// What is set for one entity.
    #[must_use]
    pub fn of(&self, entity: &QuotaEntity) -> QuotaLimits {
        self.entities.get(entity).copied().unwrap_or_default()
    }

    /// The limit that holds a client of a user, and the entity whose use counts: of all whom a
    /// default is for, each has a use of its own.
    ///
    /// The order is Kafka's: client of user, default client of user, user; the same of the default
    /// user; client, default client.
    #[must_use]
    pub fn limit(
        &self,
        key: QuotaKey,
        user: &str,
        client: &str,
    ) -> Option<(QuotaEntity, QuotaValue)> {
        use QuotaName::Default;
        let (user, client) = (QuotaName::named(user), QuotaName::named(client));
        let own = |user: &QuotaName, client: &QuotaName| {
            QuotaEntity::UserClient(user.clone(), client.clone())
        };
        let both = own(&user, &client);
        let of_user = QuotaEntity::User(user.clone());
        let of_client = QuotaEntity::Client(client.clone());
        let levels = [
            (both.clone(), &both),
            (own(&user, &Default), &both),
            (of_user.clone(), &of_user),
            (own(&Default, &client), &both),
            (own(&Default, &Default), &both),
            (QuotaEntity::User(Default), &of_user),
            (of_client.clone(), &of_client),
            (QuotaEntity::Client(Default), &of_client),
        ];
        let mut found = levels.into_iter().filter_map(|(entity, counted)| {
            let limit = self.of(&entity).get(key)?;
            Some((counted.clone(), limit))
        });
        found.next()
    }

    pub(crate) fn set(&mut self, entity: &QuotaEntity, key: QuotaKey, value: Option<QuotaValue>) {
        let mut limits = self.of(entity);
        limits.0[key as usize] = value;
        // An entity without limits and no entity must not be two states: a snapshot could not tell
        // them apart.
        if limits == QuotaLimits::default() {
            self.entities.remove(entity);
        } else {
            self.entities.insert(entity.clone(), limits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(word: &str) -> QuotaName {
        match word {
            "*" => QuotaName::Default,
            word => QuotaName::named(word),
        }
    }

    /// `user/client`, with `-` for a part that is not there.
    fn entity(text: &str) -> QuotaEntity {
        let (user, client) = text.split_once('/').expect("two parts");
        let part = |word: &str| (word != "-").then(|| name(word));
        QuotaEntity::of(part(user), part(client), None).expect("a combination")
    }

    #[test]
    fn the_most_precise_quota_wins_in_kafkas_order() {
        let levels = [
            ("u/c", "u/c"),
            ("u/*", "u/c"),
            ("u/-", "u/-"),
            ("*/c", "u/c"),
            ("*/*", "u/c"),
            ("*/-", "u/-"),
            ("-/c", "-/c"),
            ("-/*", "-/c"),
        ];
        let key = QuotaKey::ConsumerByteRate;
        let mut quotas = ClientQuotas::default();
        for (height, (set, _)) in (1..).zip(levels) {
            quotas.set(&entity(set), key, QuotaValue::new(f64::from(height)));
        }
        for (height, (set, counted)) in (1..).zip(levels) {
            let found = quotas.limit(key, "u", "c").expect("still one");
            assert_eq!(found.0, entity(counted), "{set}");
            assert_eq!(found.1.get(), f64::from(height), "{set}");
            assert_eq!(quotas.limit(QuotaKey::ProducerByteRate, "u", "c"), None);
            quotas.set(&entity(set), key, None);
        }
        assert!(quotas.is_empty());
        assert_eq!(quotas.limit(key, "u", "c"), None);
    }

    #[test]
    fn no_limit_is_zero_negative_or_not_a_number() {
        for value in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(QuotaValue::new(value), None, "{value}");
        }
        assert!(QuotaValue::new(0.5).is_some());
    }
}
