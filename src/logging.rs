//! The program's trace: where its lines go, in which form, and which are kept. Set up once by the
//! command that starts the process; the levels of its parts change while it runs, as those of
//! Kafka's loggers do (`loggers.rs`).

use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;

use crate::loggers::{LoggerLevel, Loggers};

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

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The trace that was set up: there is one in a process, as there is one standard error.
struct Trace {
    loggers: Mutex<Loggers>,
    reload: Reload,
}

static TRACE: OnceLock<Trace> = OnceLock::new();

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        format!("{filter} is no log filter ({error}); write it like info,klamm_shard=debug")
    })
}

/// Sends the trace to standard error. `filter` is in the style of `RUST_LOG`, for example
/// `info,klamm_shard=debug`.
///
/// # Errors
/// The filter is illegal, or a trace is already set up; says what to write instead.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    parse(filter)?;
    let loggers = Loggers::of_filter(filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(parse(&loggers.filter())?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let (started, reload): (_, Reload) = match format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            let reload = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (lines.try_init(), Box::new(reload))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            let reload = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (lines.try_init(), Box::new(reload))
        }
    };
    started.map_err(|error| error.to_string())?;
    let loggers = Mutex::new(loggers);
    // Whoever set one up before has made `try_init` fail.
    let _ = TRACE.set(Trace { loggers, reload });
    Ok(())
}

/// The loggers with their levels; none where no trace was set up.
#[must_use]
pub fn loggers() -> Vec<(&'static str, LoggerLevel)> {
    TRACE.get().map_or_else(Vec::new, |trace| {
        let loggers = trace.loggers.lock().unwrap_or_else(PoisonError::into_inner);
        loggers.iter().collect()
    })
}

/// Gives loggers levels, from the next line on; `None` leaves one to the root's.
///
/// # Errors
/// No trace was set up.
pub fn set_levels(levels: &[(&'static str, Option<LoggerLevel>)]) -> Result<(), String> {
    let trace = TRACE.get().ok_or("no trace was set up")?;
    let mut held = trace.loggers.lock().unwrap_or_else(PoisonError::into_inner);
    let mut loggers = held.clone();
    for &(logger, level) in levels {
        loggers.set(logger, level);
    }
    (trace.reload)(parse(&loggers.filter())?)?;
    *held = loggers;
    Ok(())
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

    #[test]
    fn what_loggers_say_is_a_filter() {
        for filter in [
            "info",
            "warn,klamm_shard=debug",
            "klamm::net=trace",
            "off",
            "",
        ] {
            let mut loggers = Loggers::of_filter(filter);
            assert!(parse(&loggers.filter()).is_ok(), "{filter}");
            loggers.set("root", Some(LoggerLevel::Fatal));
            assert!(parse(&loggers.filter()).is_ok(), "{filter}");
        }
    }
}
