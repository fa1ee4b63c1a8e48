//! What was used by whom, for all cores. Locked only when a core meets a client for the first time
//! under the quotas of the moment; whoever has found a number counts in it without asking here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use klamm_model::Instant;
use klamm_shard::api::metadata::{QuotaEntity, QuotaKey};

use super::rate::{Rate, ms};
use super::tokens::Tokens;
use super::{ThrottleMs, Windows};

/// Entities whose use is kept, for each kind of limit at most. Clients choose their own names: who
/// comes when all places are taken shares one use with the others who did.
const ENTITIES_MAX: usize = 20_000;

/// How long after a look for idle places nobody looks again.
const PAUSE_MS: u64 = 1_000;

/// What was used by whom.
pub(crate) struct QuotaTable {
    clients: Windows,
    controller: Windows,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rates: Places<(QuotaKey, QuotaEntity), Rate>,
    tokens: Places<QuotaEntity, Tokens>,
}

struct Places<K, U> {
    used: BTreeMap<K, Arc<U>>,
    /// Shared by those who found no place.
    others: BTreeMap<Option<QuotaKey>, Arc<U>>,
    looked_at_ms: Option<u64>,
}

impl<K, U> Default for Places<K, U> {
    fn default() -> Self {
        Self {
            used: BTreeMap::new(),
            others: BTreeMap::new(),
            looked_at_ms: None,
        }
    }
}

impl<K: Ord, U> Places<K, U> {
    /// Keeps only what cores have at hand.
    fn forget(&mut self) {
        self.used.retain(|_, used| Arc::strong_count(used) > 1);
        self.others.retain(|_, used| Arc::strong_count(used) > 1);
    }

    fn find(
        &mut self,
        key: K,
        kind: Option<QuotaKey>,
        now_ms: u64,
        is_idle: impl Fn(&U) -> bool,
        fresh: impl FnOnce() -> U,
    ) -> Arc<U> {
        if let Some(found) = self.used.get(&key) {
            return Arc::clone(found);
        }
        let paused = self
            .looked_at_ms
            .is_some_and(|at| now_ms < at.saturating_add(PAUSE_MS));
        if self.used.len() >= ENTITIES_MAX && !paused {
            self.looked_at_ms = Some(now_ms);
            self.used
                .retain(|_, used| Arc::strong_count(used) > 1 || !is_idle(used));
        }
        let place = if self.used.len() >= ENTITIES_MAX {
            self.others.entry(kind).or_insert_with(|| Arc::new(fresh()))
        } else {
            self.used.entry(key).or_insert_with(|| Arc::new(fresh()))
        };
        Arc::clone(place)
    }
}

impl QuotaTable {
    /// An empty table; clients' rates and changes of metadata are measured over these windows.
    pub(crate) fn new(clients: Windows, controller: Windows) -> Self {
        Self {
            clients,
            controller,
            inner: Mutex::default(),
        }
    }

    /// Forgets what was used, but for what other cores have at hand: under quotas that are newer
    /// than those of who calls, or under those that they have yet to let go of.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.rates.forget();
        inner.tokens.forget();
    }

    /// What an entity used of a limit.
    pub(crate) fn rate(&self, key: QuotaKey, entity: QuotaEntity, now: Instant) -> Arc<Rate> {
        // Every change is one step, so a panic elsewhere leaves the table whole.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |rate: &Rate| rate.used(ms(now)) == 0;
        let fresh = || Rate::new(self.clients);
        inner
            .rates
            .find((key, entity), Some(key), ms(now), is_idle, fresh)
    }

    /// What an entity may still change of the metadata.
    pub(crate) fn tokens(&self, entity: QuotaEntity, now: Instant) -> Arc<Tokens> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |tokens: &Tokens| tokens.is_full(now);
        let fresh = || Tokens::new(self.controller);
        inner.tokens.find(entity, None, ms(now), is_idle, fresh)
    }
}

impl fmt::Debug for QuotaTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QuotaTable")
            .field("clients", &self.clients)
            .field("controller", &self.controller)
            .finish_non_exhaustive()
    }
}

const _: () = assert!(ThrottleMs::MAX == i32::MAX, "as wide as on the wire");
