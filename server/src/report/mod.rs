//! Answers to the questions of the platform, from aggregates of the engine.
