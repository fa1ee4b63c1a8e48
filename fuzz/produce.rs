//! The body of a Produce request or response, any version: `cargo +nightly fuzz run produce`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_wire::fuzz::fuzz_produce(data));
