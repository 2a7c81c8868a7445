//! The judge: what a question must answer, by plain loops over rows as maps.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::match_same_arms,
    reason = "the model says it as plainly as it can"
)]

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::testing::{Row, tenant_name};
use crate::id::Stream;
use crate::query::{Aggregate, Field, Filter, GroupBy, GroupKey, KeyValue, Literal, Op, Query, Scope};
use crate::schema::{ColumnType, IdentityKind, Schema, Value};
use crate::time::{TimeRange, TimestampUs};

/// A present value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(String),
    Other,
}

fn seen(value: &Value) -> Seen {
    match value {
        Value::Bool(b) => Seen::Bool(*b),
        Value::I64(n) => Seen::I64(*n),
        Value::U64(n) => Seen::U64(*n),
        Value::F64(n) => Seen::F64(*n),
        Value::Str(s) => Seen::Str(s.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => Seen::Other,
    }
}

/// The value of a field with the code space of its identity.
pub(crate) fn value(stream: Stream, row: &Row, field: &Field) -> Option<(Seen, Option<IdentityKind>)> {
    match field {
        Field::Tenant => Some((Seen::Str(tenant_name(row.tenant).to_string()), None)),
        Field::FirstOf(fields) => {
            let said = |f| value(stream, row, f).filter(|(seen, _)| *seen != Seen::Other);
            fields.iter().find_map(said)
        }
        Field::Column(id) => {
            let def = Schema::of(stream).get(*id).unwrap();
            let found = row.values.get(def.name);
            match def.ty {
                ColumnType::Time => Some((found.map_or(Seen::I64(0), seen), None)),
                ColumnType::U64 => Some((found.map_or(Seen::I64(0), seen), None)),
                ColumnType::F64 => Some((found.map_or(Seen::F64(0.0), seen), None)),
                ColumnType::Str => found.map(|v| (seen(v), None)),
                ColumnType::Code(kind) => found.map(|v| (seen(v), Some(kind))),
                ColumnType::Document => found.map(|_| (Seen::Other, None)),
            }
        }
        Field::Path(id, path) => {
            let def = Schema::of(stream).get(*id).unwrap();
            let mut at = row.values.get(def.name)?;
            for key in path {
                let Value::Object(members) = at else { return None };
                at = &members.iter().find(|(k, _)| k == key)?.1;
            }
            Some((seen(at), None))
        }
    }
}

fn number(value: &Seen) -> Option<f64> {
    match value {
        Seen::I64(n) => Some(*n as f64),
        Seen::U64(n) => Some(*n as f64),
        Seen::F64(n) if !n.is_nan() => Some(*n),
        _ => None,
    }
}

fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() > 1e30 {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let below = double.floor() as i128;
    Some(whole.cmp(&below).then(if double > double.floor() { Ordering::Less } else { Ordering::Equal }))
}

/// How a value stands to a literal; `None` when they cannot be compared.
fn compare(value: &Seen, literal: &Literal) -> Option<Ordering> {
    let whole = match value {
        Seen::I64(n) => Some(i128::from(*n)),
        Seen::U64(n) => Some(i128::from(*n)),
        _ => None,
    };
    let other = match literal {
        Literal::I64(n) => Some(i128::from(*n)),
        Literal::U64(n) => Some(i128::from(*n)),
        _ => None,
    };
    match (value, literal) {
        (Seen::Str(a), Literal::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Seen::F64(a), Literal::F64(b)) => a.partial_cmp(b),
        (Seen::F64(a), _) => whole_and_double(other?, *a).map(Ordering::reverse),
        (_, Literal::F64(b)) => whole_and_double(whole?, *b),
        _ => Some(whole?.cmp(&other?)),
    }
}

fn equal(value: &Seen, literal: &Literal) -> bool {
    match (value, literal) {
        (Seen::Bool(a), Literal::Bool(b)) => a == b,
        _ => compare(value, literal) == Some(Ordering::Equal),
    }
}

pub(crate) fn passes(stream: Stream, row: &Row, filter: &Filter) -> bool {
    match filter {
        Filter::And(list) => list.iter().all(|f| passes(stream, row, f)),
        Filter::Or(list) => list.iter().any(|f| passes(stream, row, f)),
        Filter::Not(inner) => !passes(stream, row, inner),
        Filter::Compare(field, op) => {
            let Some((value, _)) = value(stream, row, field) else { return matches!(op, Op::IsNot(_)) };
            let text = if let Seen::Str(text) = &value { Some(text.as_str()) } else { None };
            match op {
                Op::Is(literal) => equal(&value, literal),
                Op::IsNot(literal) => !equal(&value, literal),
                Op::In(list) => list.iter().any(|l| equal(&value, l)),
                Op::Contains(part) => text.is_some_and(|t| t.contains(part.as_str())),
                Op::StartsWith(part) => text.is_some_and(|t| t.starts_with(part.as_str())),
                Op::Gt(literal) => compare(&value, literal) == Some(Ordering::Greater),
                Op::Gte(literal) => {
                    matches!(compare(&value, literal), Some(Ordering::Greater | Ordering::Equal))
                }
                Op::Lt(literal) => compare(&value, literal) == Some(Ordering::Less),
                Op::Lte(literal) => {
                    matches!(compare(&value, literal), Some(Ordering::Less | Ordering::Equal))
                }
                Op::Exists => true,
            }
        }
    }
}

pub(crate) fn in_scope(row: &Row, scope: &Scope) -> bool {
    let name = tenant_name(row.tenant);
    match scope {
        Scope::All => true,
        Scope::One(tenant) => *tenant == name,
        Scope::Several(tenants) => tenants.contains(&name),
    }
}

pub(crate) fn matching<'a>(
    rows: impl Iterator<Item = &'a Row>,
    stream: Stream,
    scope: &Scope,
    window: TimeRange,
    filter: &Filter,
) -> Vec<&'a Row> {
    rows.filter(|r| in_scope(r, scope) && window.contains(TimestampUs(r.time())) && passes(stream, r, filter))
        .collect()
}

pub(crate) fn key(value: Option<(Seen, Option<IdentityKind>)>) -> KeyValue {
    match value.map(|v| v.0) {
        None | Some(Seen::Other) => KeyValue::Absent,
        Some(Seen::Bool(b)) => KeyValue::Bool(b),
        Some(Seen::I64(n)) => KeyValue::I64(n),
        Some(Seen::U64(n)) => i64::try_from(n).map_or(KeyValue::U64(n), KeyValue::I64),
        Some(Seen::F64(n)) => KeyValue::F64(n.to_bits()),
        Some(Seen::Str(s)) => KeyValue::Str(s.into()),
    }
}

/// What an aggregate must be, as a number or nothing; quantiles from the histogram as bounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    Absent,
    Count(u64),
    Double(f64),
    Within(f64, f64),
}

fn expected(stream: Stream, rows: &[&Row], aggregate: &Aggregate) -> Expected {
    let numbers = |field: &Field| -> Vec<f64> {
        rows.iter().filter_map(|r| value(stream, r, field)).filter_map(|v| number(&v.0)).collect()
    };
    let double = |n: Option<f64>| n.map_or(Expected::Absent, Expected::Double);
    match aggregate {
        Aggregate::Count => Expected::Count(rows.len() as u64),
        Aggregate::Sum(field) => Expected::Double(numbers(field).iter().sum()),
        Aggregate::Avg(field) => {
            let n = numbers(field);
            double((!n.is_empty()).then(|| n.iter().sum::<f64>() / n.len() as f64))
        }
        Aggregate::Min(field) => double(numbers(field).into_iter().reduce(f64::min)),
        Aggregate::Max(field) => double(numbers(field).into_iter().reduce(f64::max)),
        Aggregate::Last(field) => {
            let mut best: Option<((i64, u64, u64), f64)> = None;
            for row in rows {
                let Some(n) = value(stream, row, field).and_then(|v| number(&v.0)) else { continue };
                let order = (row.time(), row.u64("lsn"), row.u64("seq"));
                let later =
                    |b: &((i64, u64, u64), f64)| b.0.cmp(&order).then(b.1.total_cmp(&n)) == Ordering::Less;
                if best.as_ref().is_none_or(later) {
                    best = Some((order, n));
                }
            }
            double(best.map(|b| b.1))
        }
        Aggregate::Quantile(field, q) => {
            let mut n: Vec<f64> = numbers(field).into_iter().filter(|n| n.is_finite()).collect();
            n.sort_by(f64::total_cmp);
            let Some((exact, reach)) = quantile(&n, *q) else { return Expected::Absent };
            Expected::Within(exact - 0.0055 * reach, exact + 0.0055 * reach)
        }
        Aggregate::QuantileExact(field, q) => {
            let mut n = numbers(field);
            n.sort_by(f64::total_cmp);
            double(quantile(&n, *q).map(|q| q.0))
        }
        Aggregate::Distinct(field) => {
            let mut set = BTreeSet::new();
            for row in rows {
                let found = value(stream, row, field);
                let space = found.as_ref().and_then(|f| f.1).map(IdentityKind::tag);
                let key = key(found);
                if key != KeyValue::Absent {
                    set.insert((row.tenant, space, key));
                }
            }
            Expected::Count(set.len() as u64)
        }
        Aggregate::CountIf(filter) => {
            Expected::Count(rows.iter().filter(|r| passes(stream, r, filter)).count() as u64)
        }
    }
}

/// The quantile by linear interpolation, and the larger magnitude of the two values around it.
fn quantile(sorted: &[f64], q: f64) -> Option<(f64, f64)> {
    let place = q * (sorted.len().checked_sub(1)?) as f64;
    let low = sorted[place.floor() as usize];
    let high = sorted[place.ceil() as usize];
    let exact = if low == high { low } else { low + (high - low) * place.fract() };
    Some((exact, low.abs().max(high.abs())))
}

/// The groups of an answer.
pub(crate) fn aggregate(rows: &[Row], query: &Query) -> Vec<(GroupKey, Vec<Expected>)> {
    let stream = query.stream;
    let mut groups: BTreeMap<GroupKey, Vec<&Row>> = BTreeMap::new();
    if query.group_by.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    'rows: for row in matching(rows.iter(), stream, &query.scope, query.window, &query.filter) {
        let mut of = Vec::new();
        for by in &query.group_by {
            of.push(match by {
                GroupBy::Field(field) => key(value(stream, row, field)),
                GroupBy::Bucket(buckets) => {
                    match buckets.iter().position(|r| r.contains(TimestampUs(row.time()))) {
                        Some(index) => KeyValue::Bucket(index),
                        None => continue 'rows,
                    }
                }
            });
        }
        groups.entry(of).or_default().push(row);
    }
    let numbers = |rows: &[&Row]| query.aggregates.iter().map(|a| expected(stream, rows, a)).collect();
    groups.into_iter().map(|(key, rows)| (key, numbers(&rows))).collect()
}
