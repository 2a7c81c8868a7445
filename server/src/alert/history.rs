//! The history of alerts: every change of a state is an audit record of its organization.

use insights_engine::id::Stream;
use insights_engine::schema::{Batch, BatchBuilder, Document, Value, stream};
use insights_engine::time::TimestampUs;

use super::board::Transition;
use super::label::Labels;
use super::rule::Rule;
use super::state::Change;
use crate::domain::audit::Severity;
use crate::domain::instant::Rfc3339;

/// What the action types of history start with; the kind of change follows.
pub const ACTION_PREFIX: &str = "insights.alert.";
/// The type of the object of every record of history; its id is the rule's.
pub const OBJECT_TYPE: &str = "alert";
/// Most bytes of the labels of a record; longer values are cut.
const LABEL_BYTES_MAX: usize = 256;

/// The records of changes of a rule's alerts; `None` when there are none.
pub fn batch(rule: &Rule, changes: &[Transition], received: TimestampUs) -> Option<Batch> {
    let (first, _) = changes.split_first()?;
    let mut batch = BatchBuilder::new(rule.organization.clone(), Stream::Audit);
    for change in changes {
        let document = metadata(rule, change);
        batch
            .i64(&stream::TIME, change.at.0)
            .i64(&stream::RECEIVED, received.max(first.at).0)
            .str(&stream::ACTION_TYPE, Some(&format!("{ACTION_PREFIX}{}", change.change.name())))
            .str(&stream::DESCRIPTION, Some(&rule.document.name))
            .str(&stream::OBJECT_TYPE, Some(OBJECT_TYPE))
            .str(&stream::OBJECT_ID, Some(&rule.id))
            .u64(&stream::SEVERITY, severity(rule, change.change).tag())
            .bytes(&stream::METADATA, Some(document.as_bytes()));
        batch.finish_row();
    }
    Some(batch.build())
}

/// How grave a change is: an alert that fires is as grave as its rule says, its end is for the record.
fn severity(rule: &Rule, change: Change) -> Severity {
    match change {
        Change::Firing | Change::NoData => rule.document.severity,
        Change::Pending | Change::Resolved | Change::Cleared => Severity::Info,
    }
}

fn metadata(rule: &Rule, change: &Transition) -> Document {
    let number = |n: Option<f64>| n.filter(|n| n.is_finite()).map_or(Value::Null, Value::F64);
    let threshold = rule.document.condition.threshold().threshold;
    let members = vec![
        ("labels".to_owned(), labels(&rule.labels_of(&change.series))),
        ("fingerprint".to_owned(), Value::Str(super::label::fingerprint(&rule.id, &change.series))),
        ("value".to_owned(), number(change.value)),
        ("threshold".to_owned(), number(Some(threshold))),
        ("previous_since".to_owned(), Value::Str(Rfc3339(change.before).to_string())),
    ];
    Document::encode(&Value::Object(members))
}

fn labels(of: &Labels) -> Value {
    let member = |(name, value): (&String, &String)| {
        let mut value = value.clone();
        super::label::cut(&mut value, LABEL_BYTES_MAX);
        (name.clone(), Value::Str(value))
    };
    Value::Object(of.iter().map(member).collect())
}
