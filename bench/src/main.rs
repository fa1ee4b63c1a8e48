//! Makes load: an open-loop Kafka load generator and micro benchmarks.

fn main() {}
