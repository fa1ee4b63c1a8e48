//! The checkpoint and the small text files: `cargo +nightly fuzz run checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_records::segment::fuzz_checkpoint(data));
