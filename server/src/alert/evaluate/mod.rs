//! Evaluation: what a condition finds in the time before an instant, or before each of many.
//!
//! An evaluation and a rehearsal are the same question: the one has one instant, the other has many, and both are
//! asked within the scope of the rule's organization through the code of the reports.

mod errors;
mod metric;
mod presence;
mod report;
mod windows;

use insights_engine::time::TimestampUs;

use super::board::Readings;
use super::condition::Condition;
use super::rule::RuleDocument;
use crate::auth::ReadScope;
use crate::config::Config;
use crate::http::error::ApiError;
use crate::report::reader::Reader;
use crate::store::Asking;

pub use errors::{OVERLAP, Since};

/// Within what is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// A moment of the store.
    pub asking: &'a Asking,
    /// The rule's organization.
    pub scope: &'a ReadScope,
    /// The platform's own hosts, when organizations without hosts may see them.
    pub platform: Option<&'a ReadScope>,
    /// The settings.
    pub config: &'a Config,
}

/// What was found at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The instant.
    pub at: TimestampUs,
    /// What was found.
    pub readings: Readings,
}

impl Place<'_> {
    fn reader(&self) -> Reader<'_> {
        Reader::new(self.asking, self.scope, false)
    }
}

/// How many questions to the store as many evaluations are, about.
pub fn questions_of(rule: &RuleDocument, instants: usize) -> usize {
    match &rule.condition {
        Condition::Metric(condition) => windows::count(instants, rule.interval, condition.window),
        Condition::Absence(condition) => windows::count(instants, rule.interval, condition.window),
        Condition::Report(_) => instants,
        Condition::Heartbeat(_) | Condition::Errors(_) => instants.div_ceil(windows::WINDOWS_MAX),
    }
}

/// Looks at a condition at instants that ascend. Errors are those that came after the instant before, and for the
/// first one those that came after `since`.
///
/// # Errors
///
/// Those of the engine on the wire, and `too_many_cells`.
pub fn look(
    place: &Place<'_>,
    rule: &RuleDocument,
    instants: &[TimestampUs],
    since: &mut Since,
) -> Result<Vec<Look>, ApiError> {
    let found = match &rule.condition {
        Condition::Metric(condition) => metric::look(place, condition, instants)?,
        Condition::Report(condition) => report::look(place, condition, instants)?,
        Condition::Absence(condition) => presence::absence(place, condition, instants)?,
        Condition::Heartbeat(condition) => presence::heartbeat(place, condition, instants)?,
        Condition::Errors(condition) => errors::look(place, condition, instants, since)?,
    };
    Ok(instants.iter().zip(found).map(|(at, readings)| Look { at: *at, readings }).collect())
}
