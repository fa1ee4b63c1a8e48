//! The program's trace: where its lines go, in which form, and which are kept. Set up once by the
//! command that starts the process.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// How lines of the trace look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, place, message, fields.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json".to_owned()),
        }
    }
}

/// What is kept if nothing is asked for.
pub const DEFAULT_FILTER: &str = "info";

/// Sends the trace to standard error. `filter` is in the style of `RUST_LOG`, for example
/// `info,klamm_shard=debug`.
///
/// # Errors
/// The filter is illegal, or a trace is already set up; says what to write instead.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        format!("{filter} is no log filter ({error}); write it like info,klamm_shard=debug")
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_illegal_filter_is_refused_with_an_example() {
        let error = start(LogFormat::Text, "klamm=loud").expect_err("illegal");
        assert!(
            error.contains("klamm=loud") && error.contains("info,"),
            "{error}"
        );
    }
}
