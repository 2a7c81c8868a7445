//! What an audit log saw in a window: records by action and by severity, without those of the server's own acts.

use std::collections::BTreeMap;

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Filter, GroupBy, KeyValue, Literal, Op, Query};
use insights_engine::schema::stream;
use serde::Serialize;

use super::LIST_MAX;
use crate::domain::audit::{OWN_ACTION_PREFIX, Outcome, Severity};
use crate::http::error::ApiError;
use crate::report::fields::{column, key_text};
use crate::report::reader::Reader;
use crate::report::window::Window;

/// What an audit log saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct AuditCounts {
    /// Records.
    pub(crate) records: u64,
    /// Records of what failed.
    pub(crate) failures: u64,
    /// Records by severity.
    pub(crate) by_severity: BTreeMap<&'static str, u64>,
    /// Records by action, the most frequent first, then by name.
    pub(crate) actions: Vec<ActionCount>,
    /// Actions that are not in the list.
    pub(crate) actions_omitted: u64,
}

/// Records of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ActionCount {
    /// What was done.
    pub(crate) action_type: String,
    /// Records.
    pub(crate) count: u64,
    /// Records of what failed.
    pub(crate) failures: u64,
}

/// Counts the records of a window.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn audit_counts(reader: &Reader<'_>, window: &Window) -> Result<AuditCounts, ApiError> {
    let own = Op::StartsWith(OWN_ACTION_PREFIX.to_owned());
    let own = Filter::Compare(column(&stream::ACTION_TYPE), own);
    let failed = Literal::I64(i64::try_from(Outcome::Failure.tag()).unwrap_or(1));
    let failed = Filter::Compare(column(&stream::OUTCOME), Op::Is(failed));
    let by = |def| vec![GroupBy::Field(column(def))];
    let query = |group_by, aggregates| Query {
        filter: Filter::Not(Box::new(own.clone())),
        group_by,
        aggregates,
        ..reader.query(Stream::Audit, window.range)
    };
    let actions = vec![Aggregate::Count, Aggregate::CountIf(Box::new(failed))];
    let [actions, severities] = reader.aggregate_all([
        query(by(&stream::ACTION_TYPE), actions),
        query(by(&stream::SEVERITY), vec![Aggregate::Count]),
    ])?;
    let mut counts = AuditCounts {
        by_severity: Severity::ALL.map(|severity| (severity.name(), 0)).into(),
        ..AuditCounts::default()
    };
    for group in &actions.groups {
        let (Some(action), [count, failures]) = (group.key.first().and_then(key_text), &*group.values) else {
            continue;
        };
        let (count, failures) = (count.as_u64(), failures.as_u64());
        counts.records += count;
        counts.failures += failures;
        counts.actions.push(ActionCount { action_type: action, count, failures });
    }
    counts.actions.sort_by(|one, other| {
        other.count.cmp(&one.count).then_with(|| one.action_type.cmp(&other.action_type))
    });
    counts.actions_omitted = counts.actions.len().saturating_sub(LIST_MAX) as u64;
    counts.actions.truncate(LIST_MAX);
    for group in &severities.groups {
        let tag = match group.key.first() {
            Some(KeyValue::U64(tag)) => Some(*tag),
            Some(KeyValue::I64(tag)) => u64::try_from(*tag).ok(),
            _ => None,
        };
        if let (Some(severity), Some(count)) = (tag.and_then(Severity::from_tag), group.values.first()) {
            *counts.by_severity.entry(severity.name()).or_default() += count.as_u64();
        }
    }
    Ok(counts)
}
