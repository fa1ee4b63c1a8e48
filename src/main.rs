//! The klamm broker: parse, hand over, exit code; nothing else.

fn main() {}
