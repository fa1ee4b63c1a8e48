//! How many connections an address may begin (KIP-612). Kept by the one core that accepts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use klamm_model::Instant;
use klamm_shard::api::metadata::{ClientQuotas, QuotaEntity, QuotaKey, QuotaName};

use super::rate::{Rate, ms};
use super::{ThrottleMs, Windows};

/// Addresses whose connections are counted; who comes when all places are taken shares one count.
const ADDRESSES_MAX: usize = 20_000;

/// The limits of addresses, and what they used.
#[derive(Debug)]
pub(crate) struct AddressRates {
    windows: Windows,
    /// What the limits were read from.
    quotas: ClientQuotas,
    limits: BTreeMap<IpAddr, f64>,
    default: Option<f64>,
    used: BTreeMap<IpAddr, Rate>,
    others: Rate,
    looked_at_ms: u64,
}

impl AddressRates {
    pub(crate) fn new(windows: Windows) -> Self {
        Self {
            windows,
            quotas: ClientQuotas::default(),
            limits: BTreeMap::new(),
            default: None,
            used: BTreeMap::new(),
            others: Rate::new(windows),
            looked_at_ms: 0,
        }
    }

    /// Counts a connection of an address; how long it has to wait. Who has to wait is not counted.
    pub(crate) fn connect(
        &mut self,
        quotas: &ClientQuotas,
        address: IpAddr,
        now: Instant,
    ) -> ThrottleMs {
        if !self.quotas.is_same(quotas) {
            self.read(quotas);
        }
        let address = address.to_canonical();
        let own = self.limits.get(&address).copied();
        let Some(per_second) = own.or(self.default) else {
            return 0;
        };
        let now_ms = ms(now);
        self.make_room(address, now_ms);
        let rate = if self.used.len() >= ADDRESSES_MAX && !self.used.contains_key(&address) {
            &self.others
        } else {
            let fresh = || Rate::new(self.windows);
            self.used.entry(address).or_insert_with(fresh)
        };
        let throttle = rate.charge(now_ms, 1, per_second);
        if throttle > 0 {
            rate.give_back(now_ms, 1);
        }
        throttle
    }

    fn make_room(&mut self, address: IpAddr, now_ms: u64) {
        let full = self.used.len() >= ADDRESSES_MAX && !self.used.contains_key(&address);
        if full && now_ms >= self.looked_at_ms + self.windows.size_ms {
            self.looked_at_ms = now_ms;
            self.used.retain(|_, rate| rate.used(now_ms) > 0);
        }
    }

    fn read(&mut self, quotas: &ClientQuotas) {
        self.quotas = quotas.clone();
        self.limits.clear();
        self.default = None;
        for (entity, limits) in quotas.entities() {
            let QuotaEntity::Ip(name) = entity else {
                continue;
            };
            let limit = limits.get(QuotaKey::ConnectionCreationRate);
            let limit = limit.map(|value| value.get());
            match name {
                QuotaName::Default => self.default = limit,
                QuotaName::Named(name) => {
                    // The controller takes addresses only.
                    if let (Ok(address), Some(limit)) = (name.parse::<IpAddr>(), limit) {
                        self.limits.insert(address.to_canonical(), limit);
                    }
                }
            }
        }
    }
}
