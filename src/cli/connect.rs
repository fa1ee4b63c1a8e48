//! What every command that talks to a cluster shares: where it is, how long to wait, and how a
//! failure reads.

use std::time::Duration;

use clap::Args;
use klamm_client::blocking::{Client, ClientError, ClientOptions};

/// Where the cluster is.
#[derive(Debug, Args)]
pub(super) struct ConnectArguments {
    /// Address of any broker; several separated by commas. Without a port: 9092.
    #[arg(
        long,
        short,
        value_name = "HOST[:PORT]",
        env = "KLAMM_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_parser = addresses
    )]
    pub(super) bootstrap: String,

    /// How long to wait for an answer.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) timeout_ms: u64,
}

/// Kafka's port, for addresses without one.
const PORT: u16 = 9092;

/// Reads addresses separated by commas, and gives those without a port Kafka's.
fn addresses(text: &str) -> Result<String, String> {
    let addresses = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let addresses = addresses.map(address).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err("expected HOST or HOST:PORT".to_owned());
    }
    Ok(addresses.join(","))
}

fn address(text: &str) -> Result<String, String> {
    // An IPv6 address without brackets is full of colons and has no port.
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]:{PORT}"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if host.is_empty() || host.contains("//") {
        return Err(format!("expected HOST or HOST:PORT, found {text}"));
    }
    match port {
        None => Ok(format!("{host}:{PORT}")),
        Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        Some(port) => Err(format!("expected a port from 1 to 65535, found {port:?}")),
    }
}

impl ConnectArguments {
    /// Opens a connection.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let timeout = Duration::from_millis(self.timeout_ms);
        let options = ClientOptions {
            connect_timeout: timeout.min(Duration::from_secs(10)),
            request_timeout: timeout,
            ..ClientOptions::default()
        };
        Client::connect(&self.bootstrap, options).map_err(|error| {
            let hint = "is a broker running there? name another with --bootstrap HOST:PORT";
            Failure(format!("{error}\n  {hint}"))
        })
    }
}

/// Why a command failed, as a person reads it.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let cure = match error.code() {
            Some(klamm_model::ErrorCode::UnknownTopicOrPartition) => {
                "\n  see `klamm topic list`, or make it with `klamm topic create`"
            }
            Some(klamm_model::ErrorCode::TopicAlreadyExists) => {
                "\n  choose another name, or accept it with --if-not-exists"
            }
            Some(klamm_model::ErrorCode::InvalidConfig) => {
                "\n  `klamm config list --all` with --topic, --broker or --all-brokers shows the keys and their values"
            }
            Some(klamm_model::ErrorCode::InvalidReplicationFactor) => {
                "\n  ask for as many replicas as there are brokers, or leave --replication-factor out"
            }
            Some(klamm_model::ErrorCode::GroupIdNotFound) => {
                "\n  `klamm group list` shows the groups that there are"
            }
            Some(klamm_model::ErrorCode::NonEmptyGroup) => {
                "\n  it has members: `klamm group members` shows who; stop them and try again"
            }
            Some(klamm_model::ErrorCode::GroupSubscribedToTopic) => {
                "\n  members of the group read the topic; stop them and try again"
            }
            _ => "",
        };
        Self(format!("{error}{cure}"))
    }
}

impl From<klamm_client::BrokerError> for Failure {
    fn from(error: klamm_client::BrokerError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_means_kafkas() {
        for (text, expected) in [
            ("localhost", "localhost:9092"),
            ("localhost:1234", "localhost:1234"),
            (" a , b:1,", "a:9092,b:1"),
            ("::1", "[::1]:9092"),
            ("[::1]", "[::1]:9092"),
            ("[::1]:7", "[::1]:7"),
            ("10.0.0.7", "10.0.0.7:9092"),
        ] {
            assert_eq!(addresses(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_one_is_refused_with_its_form() {
        for wrong in [
            "",
            ",",
            ":9092",
            "a:",
            "a:0",
            "a:70000",
            "a:b",
            "http://a:1",
            "PLAINTEXT://a",
        ] {
            let error = addresses(wrong).expect_err(wrong);
            assert!(error.contains("expected"), "{wrong}: {error}");
        }
    }
}
