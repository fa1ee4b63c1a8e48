//! The body of a Fetch request or response, any version: `cargo +nightly fuzz run fetch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_wire::fuzz::fuzz_fetch(data));
