//! Seeded workloads for the benches.
