//! The connections of the whole process and their limits. Shared by all cores, and locked only
//! when a connection begins or ends.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::ConnectionLimits;

/// Who is connected.
#[derive(Debug, Default)]
pub struct ConnectionTable {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Option<Admitted>>,
    free: Vec<usize>,
    per_ip: BTreeMap<IpAddr, u32>,
    connected: u32,
}

/// One connection that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// The listener that it came through, by its place in the configuration.
    pub(crate) listener: usize,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `max.connections` is reached.
    Total {
        /// The limit.
        max: u32,
    },
    /// `max.connections.per.ip` is reached, or its override.
    PerIp {
        /// The limit.
        max: u32,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total { max } => write!(formatter, "max.connections={max} is reached"),
            Self::PerIp { max } => {
                write!(
                    formatter,
                    "max.connections.per.ip={max} is reached for this address"
                )
            }
        }
    }
}

impl ConnectionTable {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change of the table is one step, so a panic elsewhere leaves it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, if the limits allow it, and gives it a number, under which it is
    /// found again on another core. Those that are in already stay, whatever the limits are now.
    pub(crate) fn admit(
        &self,
        peer: SocketAddr,
        listener: usize,
        limits: &ConnectionLimits<'_>,
    ) -> Result<usize, Refused> {
        let ip = peer.ip().to_canonical();
        let own = limits.per_ip_overrides.get(&ip).copied();
        let max = own.unwrap_or(limits.per_ip);
        let mut inner = self.inner();
        if inner.connected >= limits.total {
            return Err(Refused::Total { max: limits.total });
        }
        if inner.per_ip.get(&ip).copied().unwrap_or(0) >= max {
            return Err(Refused::PerIp { max });
        }
        inner.connected += 1;
        *inner.per_ip.entry(ip).or_default() += 1;
        let admitted = Some(Admitted { peer, listener });
        Ok(match inner.free.pop() {
            Some(number) => {
                inner.slots[number] = admitted;
                number
            }
            None => {
                inner.slots.push(admitted);
                inner.slots.len() - 1
            }
        })
    }

    /// The connection with this number.
    pub(crate) fn get(&self, number: usize) -> Option<Admitted> {
        self.inner().slots.get(number).copied().flatten()
    }

    /// Notes the end of a connection.
    pub(crate) fn release(&self, number: usize) {
        let mut inner = self.inner();
        let Some(admitted) = inner.slots.get_mut(number).and_then(Option::take) else {
            return;
        };
        inner.free.push(number);
        inner.connected -= 1;
        let ip = admitted.peer.ip().to_canonical();
        if let Some(count) = inner.per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                inner.per_ip.remove(&ip);
            }
        }
    }

    /// Connections of the process now.
    #[must_use]
    pub fn connected(&self) -> u32 {
        self.inner().connected
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn limits(total: u32, per_ip: u32, overrides: &[(&str, u32)]) -> ConnectionLimits<'static> {
        let overrides = overrides
            .iter()
            .map(|(ip, max)| (ip.parse().expect("an address"), *max));
        ConnectionLimits {
            total,
            per_ip,
            per_ip_overrides: Cow::Owned(overrides.collect()),
        }
    }

    fn peer(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_released_connection_makes_room_for_another() {
        let (table, limits) = (ConnectionTable::default(), limits(2, 10, &[]));
        let first = table.admit(peer("10.0.0.1:1"), 0, &limits).expect("room");
        table.admit(peer("10.0.0.1:2"), 0, &limits).expect("room");
        assert_eq!(
            table.admit(peer("10.0.0.1:3"), 0, &limits),
            Err(Refused::Total { max: 2 })
        );
        table.release(first);
        table.release(first);
        assert_eq!(table.connected(), 1);
        let again = table.admit(peer("10.0.0.2:3"), 7, &limits).expect("room");
        assert_eq!(again, first);
        let admitted = Admitted {
            peer: peer("10.0.0.2:3"),
            listener: 7,
        };
        assert_eq!(table.get(again), Some(admitted));
    }

    #[test]
    fn limits_that_fall_let_nobody_in_and_throw_nobody_out() {
        let table = ConnectionTable::default();
        let wide = limits(10, 10, &[]);
        let first = table.admit(peer("10.0.0.1:1"), 0, &wide).expect("room");
        table.admit(peer("10.0.0.1:2"), 0, &wide).expect("room");
        let narrow = limits(1, 10, &[]);
        let refused = Err(Refused::Total { max: 1 });
        assert_eq!(table.admit(peer("10.0.0.1:3"), 0, &narrow), refused);
        table.release(first);
        assert_eq!(table.admit(peer("10.0.0.1:3"), 0, &narrow), refused);
        assert_eq!(table.connected(), 1);
        table
            .admit(peer("10.0.0.1:3"), 0, &wide)
            .expect("room again");
    }

    #[test]
    fn one_address_has_its_own_limit_and_an_override_wins() {
        let limits = limits(10, 1, &[("10.0.0.2", 2)]);
        let table = ConnectionTable::default();
        table.admit(peer("10.0.0.1:1"), 0, &limits).expect("room");
        assert_eq!(
            table.admit(peer("10.0.0.1:2"), 0, &limits),
            Err(Refused::PerIp { max: 1 })
        );
        let mapped = peer("[::ffff:10.0.0.1]:3");
        assert_eq!(
            table.admit(mapped, 0, &limits),
            Err(Refused::PerIp { max: 1 })
        );
        table.admit(peer("10.0.0.2:1"), 0, &limits).expect("room");
        table.admit(peer("10.0.0.2:2"), 0, &limits).expect("room");
        assert_eq!(
            table.admit(peer("10.0.0.2:3"), 0, &limits),
            Err(Refused::PerIp { max: 2 })
        );
    }
}
