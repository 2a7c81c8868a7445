//! Builders for the tests.
