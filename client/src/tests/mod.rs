//! The client against a real HTTP server: in memory with a clock that stands still, and over a socket.

mod delivery;
mod limits;
mod world;
