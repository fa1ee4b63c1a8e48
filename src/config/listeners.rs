//! Reading `listeners`, `advertised.listeners` and what belongs to them into addresses to open
//! and addresses to tell. Pure: names are neither resolved nor ports tried here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use klamm_model::HostPort;

use super::HostFacts;
use super::notices::Warning;
use super::reader::Reader;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port; where a listener is opened, 0 asks the kernel for a free one.
    pub port: u16,
}

impl Endpoint {
    /// Reads `host:port`, `[v6]:port` or `:port`; `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let legal = |letter: char| letter.is_ascii_graphic() && !"/,[]".contains(letter);
        host.chars().all(legal).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// `0.0.0.0` or `::`: every address of the machine, and none that a client could connect to.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.address()
            .is_some_and(|address| address.is_unspecified())
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.host.as_str(), self.port);
        HostPort { host, port }.fmt(formatter)
    }
}

/// What clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Port; `None` is the port on which the listener was opened.
    pub port: Option<u16>,
}

/// How a listener speaks. TLS and SASL will be further variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encryption nor authentication.
    Plaintext,
}

/// A Kafka listener to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// How it speaks.
    pub protocol: SecurityProtocol,
    /// Where it listens.
    pub bind: Endpoint,
    /// What Metadata tells clients that came through it.
    pub advertised: Advertised,
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// Reads the listeners that this node opens; says what is wrong or noteworthy through `reader`.
pub(super) fn read_listeners(reader: &mut Reader<'_>, host: &HostFacts) -> Vec<Listener> {
    let controllers = reader.list("controller.listener.names");
    let protocols = read_protocol_map(reader, &controllers);
    let named = read_endpoints(reader, "listeners");
    let told: BTreeMap<String, Endpoint> = read_endpoints(reader, "advertised.listeners")
        .into_iter()
        .collect();
    for name in told.keys() {
        if !controllers.contains(name) && named.iter().all(|(listener, _)| listener != name) {
            reader.refuse(
                "advertised.listeners",
                format!("{name} is advertised, but no listener has that name"),
                format!("add {name}://host:port to listeners, or take it out here"),
            );
        }
    }
    refuse_shared_ports(reader, &named);
    let mut listeners = Vec::new();
    for (name, bind) in named {
        if controllers.contains(&name) {
            reader.warn(Warning::ControllerListener { name });
            continue;
        }
        let Some(protocol) = protocol_of(reader, &protocols, &name) else {
            continue;
        };
        let bind = guard_bind(reader, &name, bind);
        let advertised = read_advertised(reader, host, &name, &bind, told.get(&name));
        listeners.push(Listener {
            name,
            protocol,
            bind,
            advertised,
        });
    }
    let explained = ["listeners", "listener.security.protocol.map"];
    if listeners.is_empty() && !explained.iter().any(|key| reader.has_problem_with(key)) {
        reader.refuse(
            "listeners",
            "no listener for clients is left".to_owned(),
            "name one, for example listeners=PLAINTEXT://127.0.0.1:9092".to_owned(),
        );
    }
    listeners
}

/// Entries `NAME://host:port` of a key, in order.
fn read_endpoints(reader: &mut Reader<'_>, key: &'static str) -> Vec<(String, Endpoint)> {
    let mut endpoints: Vec<(String, Endpoint)> = Vec::new();
    for entry in reader.list(key) {
        let parsed = entry.split_once("://").and_then(|(name, rest)| {
            let endpoint = Endpoint::parse(rest)?;
            (!name.is_empty()).then(|| (name.to_ascii_uppercase(), endpoint))
        });
        let Some((name, endpoint)) = parsed else {
            reader.refuse(
                key,
                format!("{entry} is not of the form NAME://host:port"),
                format!("write it like {key}=PLAINTEXT://127.0.0.1:9092"),
            );
            continue;
        };
        if endpoints.iter().any(|(other, _)| *other == name) {
            reader.refuse(
                key,
                format!("two entries are named {name}"),
                "give each entry a name of its own and map the names to protocols in \
                 listener.security.protocol.map"
                    .to_owned(),
            );
            continue;
        }
        endpoints.push((name, endpoint));
    }
    endpoints
}

fn refuse_shared_ports(reader: &mut Reader<'_>, named: &[(String, Endpoint)]) {
    for (place, (name, endpoint)) in named.iter().enumerate() {
        let earlier = named.iter().take(place);
        let shares = |other: &Endpoint| {
            // One port may serve IPv4 and IPv6, each through a listener of its own.
            let families = |one: &Endpoint| {
                one.address()
                    .map(|address| matches!(address, IpAddr::V4(_)))
            };
            let apart =
                matches!((families(endpoint), families(other)), (Some(a), Some(b)) if a != b);
            other.port == endpoint.port && endpoint.port != 0 && !apart
        };
        if let Some((other, _)) = earlier.into_iter().find(|(_, other)| shares(other)) {
            reader.refuse(
                "listeners",
                format!("{other} and {name} share port {}", endpoint.port),
                format!("give {name} another port, or port 0 for a free one"),
            );
        }
    }
}

/// Listener name to protocol name, with Kafka's defaults: each protocol under its own name, and
/// plaintext for controller listeners that are not mentioned.
fn read_protocol_map(reader: &mut Reader<'_>, controllers: &[String]) -> BTreeMap<String, String> {
    let key = "listener.security.protocol.map";
    let written = reader.is_written(key);
    let mut map = BTreeMap::new();
    for entry in reader.list(key) {
        match entry.split_once(':') {
            Some((name, protocol))
                if PROTOCOLS.contains(&protocol.trim().to_ascii_uppercase().as_str()) =>
            {
                map.insert(
                    name.trim().to_ascii_uppercase(),
                    protocol.trim().to_ascii_uppercase(),
                );
            }
            _ => reader.refuse(
                key,
                format!("{entry} is not of the form NAME:PROTOCOL"),
                format!("use one of the protocols {}", PROTOCOLS.join(", ")),
            ),
        }
    }
    if !written {
        for name in controllers {
            map.entry(name.clone())
                .or_insert_with(|| "PLAINTEXT".to_owned());
        }
    }
    map
}

fn protocol_of(
    reader: &mut Reader<'_>,
    map: &BTreeMap<String, String>,
    name: &str,
) -> Option<SecurityProtocol> {
    match map.get(name).map(String::as_str) {
        Some("PLAINTEXT") => Some(SecurityProtocol::Plaintext),
        Some(protocol) => {
            reader.refuse(
                "listeners",
                format!("listener {name} asks for {protocol}, which klamm does not serve yet"),
                format!(
                    "use PLAINTEXT on loopback or a trusted network, or a proxy that speaks {protocol} in front"
                ),
            );
            None
        }
        None => {
            reader.refuse(
                "listener.security.protocol.map",
                format!("listener {name} has no security protocol"),
                format!("add {name}:PLAINTEXT"),
            );
            None
        }
    }
}

/// Until klamm authenticates, a plaintext listener stays on this machine unless the operator
/// says the word. Kafka's sample file names no host at all: that one is bound to loopback, so it
/// works unchanged; a host that was written is refused rather than silently narrowed.
fn guard_bind(reader: &mut Reader<'_>, name: &str, bind: Endpoint) -> Endpoint {
    let insecure = reader.flag("klamm.insecure.listeners");
    let port = bind.port;
    if bind.host.is_empty() && !insecure {
        reader.warn(Warning::LoopbackOnly {
            name: name.to_owned(),
            port,
        });
        return Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
        };
    }
    let bind = if bind.host.is_empty() {
        Endpoint {
            host: "0.0.0.0".to_owned(),
            port,
        }
    } else {
        bind
    };
    if bind.is_loopback() {
        return bind;
    }
    if insecure {
        reader.warn(Warning::OpenPlaintext {
            name: name.to_owned(),
            address: bind.to_string(),
        });
    } else {
        reader.refuse(
            "listeners",
            format!(
                "listener {name} on {bind} would let other machines in with neither encryption nor authentication"
            ),
            format!(
                "use {name}://127.0.0.1:{port}, or permit it with klamm.insecure.listeners=true (--set klamm.insecure.listeners=true)"
            ),
        );
    }
    bind
}

fn read_advertised(
    reader: &mut Reader<'_>,
    host: &HostFacts,
    name: &str,
    bind: &Endpoint,
    told: Option<&Endpoint>,
) -> Advertised {
    let endpoint = told.unwrap_or(bind);
    let mut advertised = Advertised {
        host: endpoint.host.clone(),
        port: told.map(|told| told.port).filter(|&port| port != 0),
    };
    let needs_host = match told {
        Some(told) => told.host.is_empty(),
        None => bind.is_wildcard(),
    };
    if needs_host && let Some(own) = &host.hostname {
        advertised.host.clone_from(own);
        reader.warn(Warning::AdvertisedHostname {
            name: name.to_owned(),
            host: own.clone(),
        });
    } else if needs_host || endpoint.is_wildcard() {
        reader.refuse(
            "advertised.listeners",
            format!("{name} would tell clients to connect to {endpoint}, which is no address that a client can reach"),
            format!(
                "set advertised.listeners={name}://<name or address of this machine as clients see it>:{}",
                bind.port
            ),
        );
    } else if endpoint.is_loopback() && !bind.is_loopback() {
        reader.warn(Warning::AdvertisedLoopback {
            name: name.to_owned(),
            address: endpoint.to_string(),
        });
    }
    advertised
}

/// Reads `klamm.admin.listener`; `None` if it is turned off.
pub(super) fn read_admin(reader: &mut Reader<'_>) -> Option<Endpoint> {
    let key = "klamm.admin.listener";
    let text = reader.text(key).unwrap_or_default();
    if text == "none" {
        return None;
    }
    let Some(mut endpoint) = Endpoint::parse(&text) else {
        reader.refuse(
            key,
            format!("{text} is not of the form host:port"),
            "write it like 127.0.0.1:9644, 127.0.0.1:0 for a free port, or none".to_owned(),
        );
        return None;
    };
    if endpoint.host.is_empty() {
        endpoint.host = "127.0.0.1".to_owned();
    }
    if !endpoint.is_loopback() && !reader.flag("klamm.insecure.listeners") {
        reader.refuse(
            key,
            format!("{endpoint} would show metrics to other machines without authentication"),
            format!(
                "use 127.0.0.1:{}, or permit it with klamm.insecure.listeners=true",
                endpoint.port
            ),
        );
    }
    Some(endpoint)
}

/// Whether `inter.broker.listener.name` or the protocol names one of the listeners.
pub(super) fn read_inter_broker(reader: &mut Reader<'_>, listeners: &[Listener]) -> String {
    let key = "inter.broker.listener.name";
    let fallback = || {
        listeners
            .first()
            .map(|listener| listener.name.clone())
            .unwrap_or_default()
    };
    let Some(name) = reader.text(key).map(|name| name.to_ascii_uppercase()) else {
        let protocol = reader
            .text("security.inter.broker.protocol")
            .unwrap_or_default();
        if protocol != "PLAINTEXT" {
            reader.refuse(
                "security.inter.broker.protocol",
                format!("{protocol} between brokers is not served yet"),
                "use PLAINTEXT".to_owned(),
            );
        }
        return fallback();
    };
    if reader.is_written("security.inter.broker.protocol") {
        reader.refuse(
            key,
            "inter.broker.listener.name and security.inter.broker.protocol exclude each other"
                .to_owned(),
            "keep inter.broker.listener.name".to_owned(),
        );
    }
    if !listeners.is_empty() && listeners.iter().all(|listener| listener.name != name) {
        reader.refuse(
            key,
            format!("no listener is named {name}"),
            format!(
                "name one of {}",
                listeners
                    .iter()
                    .map(|listener| listener.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        );
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_and_without_hosts_and_in_both_families() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let found = Endpoint::parse(text);
            let found = found
                .as_ref()
                .map(|found| (found.host.as_str(), found.port));
            assert_eq!(found, expected, "{text}");
        };
        check("localhost:9092", Some(("localhost", 9092)));
        check(":9092", Some(("", 9092)));
        check("[::1]:0", Some(("::1", 0)));
        check("::1:9092", None);
        check("localhost", None);
        check("localhost:port", None);
        check("local host:1", None);
        check("h:65536", None);
        assert_eq!(
            Endpoint::parse("[::1]:9").expect("legal").to_string(),
            "[::1]:9"
        );
    }
}
