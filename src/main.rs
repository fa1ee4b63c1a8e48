//! The klamm broker: parse, hand over, exit code; nothing else.
#![forbid(unsafe_code)]

fn main() {}
