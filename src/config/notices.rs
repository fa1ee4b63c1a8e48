//! What the check of a configuration has to say: problems, which stop the start and say what to
//! change, and warnings, which do not.

use std::fmt;

use super::keys::Served;
use super::raw::ValueSource;

/// A reason not to start, and its cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key at fault.
    pub key: String,
    /// Where its value was written; `None` if it was not.
    pub source: Option<ValueSource>,
    /// What is wrong.
    pub what: String,
    /// What to change.
    pub change: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.key)?;
        if let Some(source) = &self.source {
            write!(formatter, " ({source})")?;
        }
        write!(formatter, ": {}\n    to change: {}", self.what, self.change)
    }
}

/// Something that an operator should know although the broker starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// No key has this name; its value has no effect.
    UnknownKey {
        /// The name as written.
        key: String,
        /// Where.
        source: ValueSource,
        /// The known name that is probably meant.
        nearest: Option<&'static str>,
    },
    /// Keys whose values are accepted and have no effect.
    WithoutEffect {
        /// Their names.
        keys: Vec<&'static str>,
        /// Why they have none.
        served: Served,
    },
    /// A controller listener that is not opened.
    ControllerListener {
        /// Its name.
        name: String,
    },
    /// A listener without a host that was bound to loopback only.
    LoopbackOnly {
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
    /// A plaintext listener that other machines can reach, as `klamm.insecure.listeners` permits.
    OpenPlaintext {
        /// Its name.
        name: String,
        /// Its address.
        address: String,
    },
    /// Clients on other machines will be told to connect to themselves.
    AdvertisedLoopback {
        /// The listener's name.
        name: String,
        /// The advertised address.
        address: String,
    },
    /// The advertised host was taken from the machine's own name.
    AdvertisedHostname {
        /// The listener's name.
        name: String,
        /// The machine's name.
        host: String,
    },
    /// More shards than cores: some share one.
    SharedCores {
        /// Shards asked for.
        shards: usize,
        /// Cores there are.
        cores: usize,
    },
}

impl Warning {
    /// What is said of keys whose values do nothing, one line for each reason.
    #[must_use]
    pub fn without_effect(keys: impl Iterator<Item = (&'static str, Served)> + Clone) -> Vec<Self> {
        let reasons = [Served::NotYet, Served::Architecture];
        let lines = reasons.into_iter().filter_map(|reason| {
            let keys = keys.clone().filter(|(_, served)| *served == reason);
            let keys: Vec<_> = keys.map(|(key, _)| key).collect();
            let served = reason;
            (!keys.is_empty()).then_some(Self::WithoutEffect { keys, served })
        });
        lines.collect()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey {
                key,
                source,
                nearest,
            } => {
                write!(formatter, "unknown key {key} ({source}) has no effect")?;
                match nearest {
                    Some(nearest) => write!(formatter, "; is {nearest} meant?"),
                    None => Ok(()),
                }
            }
            Self::WithoutEffect { keys, served } => {
                let why = match served {
                    Served::NotYet => "what they tune is not served yet",
                    Served::Architecture | Served::Obeyed => {
                        "klamm is built without what they tune"
                    }
                };
                write!(
                    formatter,
                    "accepted without effect, because {why}: {}",
                    keys.join(", ")
                )
            }
            Self::ControllerListener { name } => write!(
                formatter,
                "controller listener {name} is not opened: the controller is reached inside the process"
            ),
            Self::LoopbackOnly { name, port } => write!(
                formatter,
                "listener {name} names no host and listens on 127.0.0.1:{port} only, because klamm has no \
                 authentication yet; to let other machines in, set klamm.insecure.listeners=true"
            ),
            Self::OpenPlaintext { name, address } => write!(
                formatter,
                "INSECURE: listener {name} on {address} has neither encryption nor authentication; \
                 whoever reaches it may read, write and delete everything (klamm.insecure.listeners=true)"
            ),
            Self::AdvertisedLoopback { name, address } => write!(
                formatter,
                "listener {name} is open to other machines but advertises {address}, so their clients \
                 will connect to themselves; set advertised.listeners to an address that they can reach"
            ),
            Self::AdvertisedHostname { name, host } => write!(
                formatter,
                "listener {name} advertises this machine's name, {host}; if clients cannot resolve it, \
                 set advertised.listeners"
            ),
            Self::SharedCores { shards, cores } => write!(
                formatter,
                "{shards} shards share {cores} cores; klamm.shards={cores} gives each its own"
            ),
        }
    }
}
