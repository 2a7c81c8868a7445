//! The accept loop: connections, their limits, and a graceful end.
