//! A request of any key and version, header included: `cargo +nightly fuzz run requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_wire::fuzz::fuzz_request(data));
