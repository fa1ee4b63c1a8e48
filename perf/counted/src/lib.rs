//! Requests as clients sent them, through the code that serves them, without sockets, ring and
//! files: a program whose instructions can be counted. `tests/` runs it under valgrind and holds
//! the counts to perf/budgets.toml.
#![forbid(unsafe_code)]

pub mod paths;
pub mod requests;
pub mod stage;
