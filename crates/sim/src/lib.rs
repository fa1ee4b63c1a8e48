//! A fake world for the engine: simulated disk, crashes, workloads, invariants.
