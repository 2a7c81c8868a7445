//! The server of Insights: HTTP on top of the engine.
