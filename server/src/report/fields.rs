//! The fields and filters of the definitions: identity, page view, action, page, feature, metric value.

use insights_engine::query::{Field, Filter, KeyValue, Literal, Op};
use insights_engine::schema::{ColumnDef, stream};

use crate::domain::event::{FEATURE_PATH, INTERACTIVE_PATH, PAGE_PATHS};

/// A column as a field.
pub(crate) fn column(def: &ColumnDef) -> Field {
    Field::Column(def.id)
}

fn event_data(key: &str) -> Field {
    Field::Path(stream::EVENT_DATA.id, vec![key.to_owned()])
}

/// Who an event is of: the user, else the visitor, else the session.
pub(crate) fn identity() -> Field {
    Field::FirstOf(vec![column(&stream::USER_ID), column(&stream::ANONYMOUS_ID), column(&stream::SESSION_ID)])
}

/// The page of a page view.
pub(crate) fn page() -> Field {
    Field::FirstOf(PAGE_PATHS.iter().map(|path| event_data(path)).collect())
}

/// The feature of an event that has one.
pub(crate) fn feature() -> Field {
    Field::FirstOf(vec![event_data(FEATURE_PATH), column(&stream::EVENT_TYPE)])
}

/// Whether somebody did something.
pub(crate) fn interactive() -> Field {
    event_data(INTERACTIVE_PATH)
}

/// Text of a column equals one of these.
pub(crate) fn is_one_of<T: AsRef<str>>(def: &ColumnDef, texts: &[T]) -> Filter {
    let literals = texts.iter().map(|text| Literal::Str(text.as_ref().to_owned())).collect();
    Filter::Compare(column(def), Op::In(literals))
}

/// Text of a column equals this.
pub(crate) fn is(def: &ColumnDef, text: &str) -> Filter {
    Filter::Compare(column(def), Op::Is(Literal::Str(text.to_owned())))
}

/// Both hold.
pub(crate) fn both(one: Filter, other: Filter) -> Filter {
    Filter::And(vec![one, other])
}

/// Page views: events of these types.
pub(crate) fn page_views(types: &[String]) -> Filter {
    is_one_of(&stream::EVENT_TYPE, types)
}

/// Actions: events that are no page view and not marked as not interactive.
pub(crate) fn actions(page_view_types: &[String]) -> Filter {
    let passive = Filter::Compare(interactive(), Op::Is(Literal::Bool(false)));
    both(Filter::Not(Box::new(page_views(page_view_types))), Filter::Not(Box::new(passive)))
}

/// Events that have a feature: named by themselves, or actions.
pub(crate) fn with_feature(page_view_types: &[String]) -> Filter {
    // A choice of one, which passes over a null.
    let named = Filter::Compare(Field::FirstOf(vec![event_data(FEATURE_PATH)]), Op::Exists);
    Filter::Or(vec![named, actions(page_view_types)])
}

/// Points of no application.
pub(crate) fn of_no_app() -> Filter {
    Filter::Not(Box::new(Filter::Compare(column(&stream::APP_ID), Op::Exists)))
}

/// The value of a metric point.
pub(crate) fn value() -> Field {
    column(&stream::VALUE)
}

/// A group's key as text; `None` when the field is absent.
pub(crate) fn key_text(key: &KeyValue) -> Option<String> {
    match key {
        KeyValue::Absent => None,
        KeyValue::Bucket(index) => Some(index.to_string()),
        KeyValue::Bool(bool) => Some(bool.to_string()),
        KeyValue::I64(n) => Some(n.to_string()),
        KeyValue::U64(n) => Some(n.to_string()),
        KeyValue::F64(bits) => Some(f64::from_bits(*bits).to_string()),
        KeyValue::Str(text) => Some(text.to_string()),
    }
}

/// A group's key as a bucket.
pub(crate) fn key_bucket(key: &KeyValue) -> Option<usize> {
    if let KeyValue::Bucket(index) = key { Some(*index) } else { None }
}
