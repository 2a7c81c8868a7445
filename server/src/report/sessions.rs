//! Sessions of a window as reports show them; the engine cuts and counts them.

use insights_engine::query::{Filter, SessionAnswer, SessionClasses, SessionRequest, StartedSession};
use insights_engine::session::SessionTotals;

use super::fields;
use super::reader::Reader;
use super::user_activity::Selection;
use super::window::Window;
use crate::http::error::ApiError;

/// Sessions of a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sessions {
    /// What all sessions of the window add up to.
    pub(crate) totals: SessionTotals,
    /// The median of their durations: of the histogram, or interpolated when rows were asked for.
    pub(crate) median_us: Option<f64>,
    /// Of each bucket the sessions that have an event in it.
    pub(crate) active: Vec<u64>,
    /// Of each bucket everything else.
    pub(crate) series: Vec<SessionTotals>,
}

/// What an event is to its session when these types are page views.
pub(crate) fn classes(page_view_types: &[String]) -> SessionClasses {
    let page = fields::page_views(page_view_types);
    let action = fields::actions(page_view_types);
    SessionClasses { interactive: Filter::Or(vec![page.clone(), action.clone()]), page, action }
}

/// The sessions of the window.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn sessions(
    reader: &Reader<'_>,
    window: &Window,
    selection: &Selection,
) -> Result<Sessions, ApiError> {
    let answer = reader.sessions(request(reader, window, selection, selection.exact))?;
    let totals = answer.totals();
    let median_us = if selection.exact { median(&answer.started) } else { answer.durations.quantile(0.5) };
    let SessionAnswer { series, active, .. } = answer;
    Ok(Sessions { totals, median_us, active, series })
}

/// Every session that started in the window, in no order.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn started(
    reader: &Reader<'_>,
    window: &Window,
    selection: &Selection,
) -> Result<Vec<StartedSession>, ApiError> {
    Ok(reader.sessions(request(reader, window, selection, true))?.started)
}

fn request(reader: &Reader<'_>, window: &Window, selection: &Selection, exact: bool) -> SessionRequest {
    let classes = classes(&selection.page_view_types);
    SessionRequest {
        filter: selection.filter.clone(),
        exact,
        ..reader.session_request(window.range, window.buckets.clone(), classes)
    }
}

/// The middle duration, or the mean of the two middle ones.
#[expect(clippy::cast_precision_loss, reason = "durations are at most a day")]
fn median(sessions: &[StartedSession]) -> Option<f64> {
    let mut values: Vec<i64> = sessions.iter().map(|s| s.duration_us).collect();
    values.sort_unstable();
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some((lower + upper) as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use insights_engine::time::TimestampUs;

    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        let of = |durations: &[i64]| {
            let session = |us: &i64| StartedSession { bucket: 0, first: TimestampUs(0), duration_us: *us };
            median(&durations.iter().map(session).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7, 1, 3]), Some(3.0));
        assert_eq!(of(&[7, 1, 4, 3]), Some(3.5));
    }
}
