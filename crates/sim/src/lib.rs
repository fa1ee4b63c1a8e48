//! A fake world for the engine, in which everything that can go wrong does, and everything that
//! happens follows from one number, the seed.
//!
//! ```text
//! seed -> lives of one node: boot, clients, any lawful order, power cut | kill | clean stop -> checks
//! ```
#![forbid(unsafe_code)]

pub mod check;
pub mod faults;
pub mod random;
pub mod simulation;
pub mod trace;
pub mod workload;
pub mod world;
