//! Other people's clients and tools with real input: the flights that left New York in 2013, each
//! row as JSON keyed by its aircraft, written by one client into twelve partitions and read back by
//! another one by assignment: same count, same bytes, same order for each aircraft. Groups read a topic
//! of the tests' own.
//!
//! A client is installed from its language's package registry into `compat/` of the target folder,
//! or its tests are skipped loudly. 5,000 rows and two codecs a client; `KLAMM_COMPAT=full` takes
//! all 336,776 rows and all codecs.
#![forbid(unsafe_code)]

#[path = "../harness/mod.rs"]
mod harness;

mod clients;
mod consumer_groups;
mod flights;
mod groups;
#[allow(dead_code, reason = "the differential test uses the rest")]
mod install;
mod matrix;
mod tools;

/// True where everything is to be run, whatever it takes.
fn is_full() -> bool {
    std::env::var("KLAMM_COMPAT").is_ok_and(|value| value == "full")
}
