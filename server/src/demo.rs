//! Fills an empty data directory with a believable platform, and serves it.
