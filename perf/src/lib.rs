//! Judges: runs the load generator against klamm and Apache Kafka by turns, accounts for the
//! processor time that each broker took, and keeps what it saw as evidence.
//!
//! **Method.** Both brokers run at the same time, each pinned to the same core, each in a memory
//! control group of the same size (so that page cache recycles instead of touching fresh memory);
//! only one is under load at a time. Windows alternate A B B A; each pair gives one ratio; the
//! median and a bootstrap interval of the ratios are printed, or refused when the interval crosses
//! one, the host stole time, strangers were busy, a planned rate was missed or a broker was not warm.
//! Cost is processor time of the broker's own group and of kernel threads, which write back what it
//! left in the page cache; what everything else took in the same window is written beside it.
//!
//! **Is not**: a load generator ([`load`] runs `klamm-bench`), and no needed part of the broker.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod agree;
pub mod arguments;
pub mod brokers;
pub mod budgets;
pub mod clean;
pub mod compare;
pub mod counts;
pub mod evidence;
pub mod group;
pub mod load;
pub mod page;
pub mod plan;
pub mod quantiles;
pub mod quantity;
pub mod row;
pub mod statistics;
pub mod tuning;

use std::fmt;

use arguments::{Arguments, Command};

/// Why there is no result.
#[derive(Debug)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// A problem with what it happened to.
    pub fn at(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// See [`Problem`].
pub fn run(arguments: &Arguments) -> Result<(), Problem> {
    match &arguments.command {
        Command::Compare(compare) => match compare.contradiction() {
            Some(text) => Err(Problem(text.to_owned())),
            None => compare::run(&compare.as_ref().clone().shortened()),
        },
        Command::Agree(agree) => agree::run(agree),
        Command::Clean(clean) => clean::run(clean),
        Command::Report { runs, into } => page::write(runs, into),
        Command::FetchKafka { into } => brokers::fetch_kafka(into),
    }
}
