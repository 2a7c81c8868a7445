//! Writes a plan into a store, step by step, and goes on where it stopped.
