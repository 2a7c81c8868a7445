//! Arguments, logging, signals, run.

fn main() {}
