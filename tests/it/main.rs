//! One file a story.

mod crash_model;
