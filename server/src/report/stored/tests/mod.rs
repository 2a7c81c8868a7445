//! Stored reports over the whole application.
