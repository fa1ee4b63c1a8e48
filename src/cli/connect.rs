//! What every command that talks to a cluster shares: where it is, how long to wait, and how a
//! failure reads.

use std::time::Duration;

use clap::Args;
use klamm_client::blocking::{Client, ClientError, ClientOptions};

/// Where the cluster is.
#[derive(Debug, Args)]
pub(super) struct ConnectArguments {
    /// Address of any broker; several separated by commas.
    #[arg(
        long,
        short,
        value_name = "HOST:PORT",
        env = "KLAMM_BOOTSTRAP",
        default_value = "127.0.0.1:9092"
    )]
    pub(super) bootstrap: String,

    /// How long to wait for an answer.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) timeout_ms: u64,
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
