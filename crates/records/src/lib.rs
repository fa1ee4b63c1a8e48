//! What bytes mean: record batches, compression, write-ahead log and segment formats, indexes, recovery scan.
