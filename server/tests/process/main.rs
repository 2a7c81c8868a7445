//! The program as its users run it: started, asked over a socket, killed and started again.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod damage;
mod demo;
mod full;
mod http;
mod kills;
mod lifecycle;
mod program;
mod reports;
mod seed;
