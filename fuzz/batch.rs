//! A record batch before the validator: `cargo +nightly fuzz run batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_records::batch::fuzz_batch(data));
