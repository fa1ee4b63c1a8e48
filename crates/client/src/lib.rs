//! A sans-IO Kafka client core with a blocking driver.
