//! The timelines of applications, out of the probes that the engine gives.

use std::sync::Arc;

use insights_engine::time::{TimeRange, TimestampUs};

use super::reader::Reader;
use super::uptime::{AROUND_US, Stretch, timeline};
use super::window::Window;
use crate::http::error::ApiError;

/// The timeline of one application of one tenant.
#[derive(Debug)]
pub(crate) struct AppTimeline {
    /// The application; `None` for probes that name none.
    pub(crate) app_id: Option<Arc<str>>,
    /// What is known of it.
    pub(crate) stretches: Vec<Stretch>,
}

/// The timelines of an application, or of every one, up to the moment of the question.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn timelines(
    reader: &Reader<'_>,
    window: &Window,
    app_id: Option<&str>,
) -> Result<Vec<AppTimeline>, ApiError> {
    let range = window.range;
    let around = TimeRange {
        start: TimestampUs(range.start.0.saturating_sub(AROUND_US)),
        end: TimestampUs(range.end.0.saturating_add(AROUND_US)),
    };
    let answer = reader.probes(around, app_id)?;
    let until = window.complete_until();
    let timelines = answer
        .apps
        .into_iter()
        .map(|app| AppTimeline { app_id: app.app, stretches: timeline(app.probes, until) });
    // An application of which nothing is known inside the window has no probes there.
    let inside = |s: &Stretch| s.range.start < range.end && s.range.end > range.start;
    let mut out: Vec<AppTimeline> = timelines.filter(|app| app.stretches.iter().any(inside)).collect();
    out.sort_by(|a, b| a.app_id.cmp(&b.app_id));
    Ok(out)
}
