//! A stream of frames, cut anywhere: `cargo +nightly fuzz run frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_wire::fuzz::fuzz_frames(data));
