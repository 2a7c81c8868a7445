//! Loads an Insights server and measures it.
fn main() {}
