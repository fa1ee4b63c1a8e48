//! What clients are held to while they use this broker (KIP-13, KIP-124, KIP-219, KIP-599,
//! KIP-612): which limits hold a client, what it used of them, and how long it has to wait.
//!
//! A limit holds over the whole broker, so what was used is counted in atomic numbers that all
//! cores share (ADR 0032). Each core finds them once for each client and keeps them at hand.

mod addresses;
mod rate;
mod table;
mod tokens;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use klamm_model::Instant;
use klamm_shard::api::metadata::limits::QUOTA_NAME_BYTES_MAX;
use klamm_shard::api::metadata::{ClientQuotas, QuotaKey};

pub(crate) use addresses::AddressRates;
pub(crate) use rate::Windows;
use rate::{Rate, ms};
pub(crate) use table::QuotaTable;
use tokens::Tokens;

/// Who everybody is while nobody can say who they are.
const USER: &str = "ANONYMOUS";

/// Clients whose limits a core keeps at hand; beyond that it begins anew.
const CLIENTS_MAX: usize = 1_000;

/// Nanoseconds of work a second that are one percent of a core.
const NS_PER_PERCENT: f64 = 1e7;

/// A limit, and what was used of it.
#[derive(Debug)]
struct Limit {
    per_second: f64,
    rate: Arc<Rate>,
}

/// What holds one client; whatever is missing is unlimited.
#[derive(Debug)]
pub(crate) struct ClientLimits {
    client: Rc<str>,
    produce: Option<Limit>,
    fetch: Option<Limit>,
    work: Option<Limit>,
    mutations: Option<MutationLimit>,
}

#[derive(Debug)]
struct MutationLimit {
    per_second: f64,
    tokens: Arc<Tokens>,
}

/// How long a client has to wait, in milliseconds; zero is not at all.
pub(crate) type ThrottleMs = i32;

impl ClientLimits {
    /// The client that they hold.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    fn heights(&self) -> [Option<f64>; 4] {
        let height = |limit: &Limit| limit.per_second;
        [
            self.produce.as_ref().map(height),
            self.fetch.as_ref().map(height),
            self.work.as_ref().map(height),
            self.mutations.as_ref().map(|limit| limit.per_second),
        ]
    }

    /// True if both allow the same.
    pub(crate) fn is_as_high_as(&self, other: &Self) -> bool {
        self.heights() == other.heights()
    }

    /// Counts the bytes of a Produce request.
    pub(crate) fn produce(&self, now: Instant, bytes: usize) -> ThrottleMs {
        let charge = |limit: &Limit| limit.rate.charge(ms(now), bytes as u64, limit.per_second);
        self.produce.as_ref().map_or(0, charge)
    }

    /// Counts the bytes of the answer to a Fetch. What is not sent has to be given back.
    pub(crate) fn fetch(&self, now: Instant, bytes: usize) -> ThrottleMs {
        let charge = |limit: &Limit| limit.rate.charge(ms(now), bytes as u64, limit.per_second);
        self.fetch.as_ref().map_or(0, charge)
    }

    /// Takes back bytes that were counted and then not sent.
    pub(crate) fn unfetch(&self, now: Instant, bytes: usize) {
        if let Some(limit) = &self.fetch {
            limit.rate.give_back(ms(now), bytes as u64);
        }
    }

    /// The most bytes of one answer to a Fetch: any more would be throttled for certain.
    pub(crate) fn fetch_bytes_max(&self) -> usize {
        self.fetch.as_ref().map_or(usize::MAX, |limit| {
            (limit.per_second * limit.rate.windows().full_seconds()) as usize
        })
    }

    /// True if what requests cost is limited, and has to be measured.
    pub(crate) const fn limits_work(&self) -> bool {
        self.work.is_some()
    }

    /// Counts the time that a request took of a core. As in Kafka, nobody waits longer for it than
    /// one window.
    pub(crate) fn work(&self, now: Instant, ns: u64) -> ThrottleMs {
        let Some(limit) = &self.work else {
            return 0;
        };
        let most = i32::try_from(limit.rate.windows().size_ms).unwrap_or(i32::MAX);
        let throttle = limit
            .rate
            .charge(ms(now), ns, limit.per_second * NS_PER_PERCENT);
        throttle.min(most)
    }

    /// Partitions that may still be created or deleted; below zero, none. `None` is any number.
    pub(crate) fn mutations_left(&self, now: Instant) -> Option<i64> {
        let limit = self.mutations.as_ref()?;
        Some(limit.tokens.left(now, limit.per_second))
    }

    /// Counts partitions that were created or deleted; how long until more are allowed.
    pub(crate) fn mutate(&self, now: Instant, partitions: u64) -> ThrottleMs {
        let take = |limit: &MutationLimit| limit.tokens.take(now, partitions, limit.per_second);
        self.mutations.as_ref().map_or(0, take)
    }
}

/// The limits that one core has at hand.
#[derive(Debug)]
pub(crate) struct CoreQuotas {
    table: Arc<QuotaTable>,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The quotas that the limits were read from.
    quotas: ClientQuotas,
    clients: BTreeMap<Rc<str>, Option<Rc<ClientLimits>>>,
}

impl CoreQuotas {
    pub(crate) fn new(table: Arc<QuotaTable>) -> Self {
        Self {
            table,
            known: RefCell::default(),
        }
    }

    /// Nobody is held to anything: what was used is forgotten.
    pub(crate) fn forget(&self) {
        let mut known = self.known.borrow_mut();
        if !known.quotas.is_empty() {
            *known = Known::default();
            self.table.forget();
        }
    }

    /// What holds a client under these quotas. Of a name that is longer than any that quotas can
    /// have, the begin counts.
    pub(crate) fn limits(
        &self,
        quotas: &ClientQuotas,
        client: &str,
        now: Instant,
    ) -> Option<Rc<ClientLimits>> {
        let client = &client[..client.floor_char_boundary(QUOTA_NAME_BYTES_MAX)];
        let mut known = self.known.borrow_mut();
        if !known.quotas.is_same(quotas) {
            known.quotas = quotas.clone();
            known.clients.clear();
        }
        if let Some(limits) = known.clients.get(client) {
            return limits.clone();
        }
        let client = Rc::<str>::from(client);
        let limits = self.resolve(quotas, &client, now);
        if known.clients.len() >= CLIENTS_MAX {
            known.clients.clear();
        }
        known.clients.insert(client, limits.clone());
        limits
    }

    fn resolve(
        &self,
        quotas: &ClientQuotas,
        client: &Rc<str>,
        now: Instant,
    ) -> Option<Rc<ClientLimits>> {
        let limit = |key: QuotaKey| {
            let (entity, value) = quotas.limit(key, USER, client)?;
            Some(Limit {
                per_second: value.get(),
                rate: self.table.rate(key, entity, now),
            })
        };
        let mutations = quotas.limit(QuotaKey::ControllerMutationRate, USER, client);
        let limits = ClientLimits {
            client: Rc::clone(client),
            produce: limit(QuotaKey::ProducerByteRate),
            fetch: limit(QuotaKey::ConsumerByteRate),
            work: limit(QuotaKey::RequestPercentage),
            mutations: mutations.map(|(entity, value)| MutationLimit {
                per_second: value.get(),
                tokens: self.table.tokens(entity, now),
            }),
        };
        let any = limits.produce.is_some()
            || limits.fetch.is_some()
            || limits.work.is_some()
            || limits.mutations.is_some();
        any.then(|| Rc::new(limits))
    }
}

#[cfg(test)]
mod tests;
