//! A write-ahead file before the recovery scan: `cargo +nightly fuzz run scan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_records::wal::fuzz_scan(data));
