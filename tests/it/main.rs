//! One file a story.
