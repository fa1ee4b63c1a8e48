//! All state of one core: partitions, tail, waiters, quorum host; synchronous and pure.
