//! Judges: runs, compares and keeps measurements as evidence.

fn main() {}
