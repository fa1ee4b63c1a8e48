//! A segment and its indexes before recovery: `cargo +nightly fuzz run segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_records::segment::fuzz_segment(data));
