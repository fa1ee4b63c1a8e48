//! A response of any key and version, header included: `cargo +nightly fuzz run responses`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_wire::fuzz::fuzz_response(data));
