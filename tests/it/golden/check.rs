//! Asks an engine everything that the model of a golden store has an answer to.

use insights_engine::Engine;
use insights_engine::append::CatalogKind;
use insights_engine::catalog::ErasureId;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{
    Aggregate, Answer, Budget, Field, Filter, Group, GroupBy, KeyValue, Literal, Op, Order, ProbeRequest,
    Query, RowRequest, Scope, SessionRequest,
};
use insights_engine::schema::{Batch, Column, ColumnType, Document, Schema, Value as DocumentValue, stream};
use insights_engine::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::data::{DAYS, FIRST_DAY};
use super::model::hex;
use super::write::{tenant, tenant_prefix};
use super::{classes, is};

/// How far a median of the histogram may be from the exact one: its relative error, on both sides of a middle.
const MEDIAN_ERROR: f64 = 0.0056;

fn window(first_day: i64) -> TimeRange {
    let start = TimestampUs((FIRST_DAY + first_day) * DAY_US);
    TimeRange { start, end: TimestampUs((FIRST_DAY + DAYS) * DAY_US) }
}

fn buckets(first_day: i64, unit: BucketUnit) -> Buckets {
    Buckets::cover(window(first_day), unit, &TimeZone::UTC, 10_000).unwrap()
}

fn json_of(value: &DocumentValue) -> Value {
    match value {
        DocumentValue::Null => Value::Null,
        DocumentValue::Bool(bit) => json!(bit),
        DocumentValue::I64(number) => json!(number),
        DocumentValue::U64(number) => json!(number),
        DocumentValue::F64(number) => json!(number),
        DocumentValue::Str(text) => json!(text),
        DocumentValue::Array(values) => values.iter().map(json_of).collect(),
        DocumentValue::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), json_of(value))).collect::<Map<_, _>>().into()
        }
    }
}

/// A row by the names of its columns, without those that only the store knows.
fn row_of(batch: &Batch, row: usize) -> Value {
    let mut out = Map::new();
    for def in Schema::of(batch.stream()).columns {
        if ["lsn", "key_id", "commitment"].contains(&def.name) {
            continue;
        }
        let value = match batch.column(def).unwrap() {
            Column::I64(values) => json!(values[row]),
            Column::U64(values) => json!(values[row]),
            Column::F64(values) => json!(values[row]),
            Column::Bytes(values) => match values.get(row) {
                None => continue,
                Some(bytes) if def.ty == ColumnType::Document => json_of(&Document::decode(bytes).unwrap()),
                Some(bytes) => json!(std::str::from_utf8(bytes).unwrap()),
            },
        };
        out.insert(def.name.to_owned(), value);
    }
    if batch.stream() == Stream::Audit {
        let commitment = batch.column(&stream::COMMITMENT).and_then(Column::as_bytes).unwrap();
        out.insert("erased".to_owned(), json!(commitment.get(row).is_some()));
    }
    Value::Object(out)
}

fn rows(engine: &Engine, scope: &Scope, of: Stream) -> Vec<Value> {
    let page = engine.rows(&RowRequest {
        scope: scope.clone(),
        stream: of,
        window: TimeRange::ALL,
        filter: Filter::all(),
        order: Order::Asc,
        limit: 10_000,
        after: None,
        columns: None,
        allow_partial: false,
    });
    page.unwrap()
        .batches
        .iter()
        .flat_map(|b| (0..b.rows()).map(|row| row_of(b, row)).collect::<Vec<_>>())
        .collect()
}

fn series(engine: &Engine, scope: &Scope) -> Vec<Value> {
    let found = engine.series(scope, &Filter::all(), TimeRange::ALL, 1_000).unwrap();
    let mut all: Vec<(String, Value)> = found
        .iter()
        .map(|series| {
            let text = |text: &Option<std::sync::Arc<str>>| json!(text.as_deref());
            let labels =
                series.labels.as_ref().map_or(Value::Null, |l| json_of(&Document::decode(l).unwrap()));
            let name =
                json!([text(&series.name), text(&series.app), text(&series.host), labels, series.kind]);
            let samples = engine.samples(series, TimeRange::ALL, 10_000).unwrap();
            let samples: Vec<Value> = samples.iter().map(|(at, value)| json!([at.0, value])).collect();
            (name.to_string(), json!({"series": name, "samples": samples}))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.into_iter().map(|(_, value)| value).collect()
}

fn ask(
    engine: &Engine,
    scope: &Scope,
    of: Stream,
    group_by: Vec<GroupBy>,
    aggregates: Vec<Aggregate>,
    rows_only: bool,
    from: i64,
) -> Answer {
    let query = Query {
        scope: scope.clone(),
        stream: of,
        window: window(from),
        filter: Filter::all(),
        group_by,
        aggregates,
        budget: Budget::default(),
        rows_only,
        allow_partial: false,
    };
    let answer = engine.aggregate(&query).unwrap();
    assert_eq!(answer.expired, None);
    answer
}

/// A group as a list: its key, then its numbers.
fn line(group: &Group, first: i64) -> Value {
    let key = group.key.iter().map(|key| match key {
        KeyValue::Bucket(index) => json!(*index as i64 + first),
        KeyValue::Str(text) => json!(&**text),
        other => panic!("the key {other:?}"),
    });
    let numbers = group.values.iter().map(|number| match number {
        insights_engine::query::Number::U64(number) => json!(number),
        other => json!(other.as_f64()),
    });
    key.chain(numbers).collect()
}

/// Compares groups with those of the model, of which `from` is the first day; a median has its own error.
fn same_lines(found: &Answer, expected: &Value, (from, per_day): (i64, i64), exact: bool, context: &str) {
    let expected: Vec<&Value> =
        expected.as_array().unwrap().iter().filter(|l| l[0].as_i64() >= Some(from * per_day)).collect();
    let found: Vec<Value> = found.groups.iter().map(|group| line(group, from * per_day)).collect();
    assert_eq!(found.len(), expected.len(), "{context}: {found:?}\n{expected:?}");
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            match (found.as_f64(), expected.as_f64()) {
                (Some(a), Some(b)) => {
                    let error = if place == 7 && !exact { MEDIAN_ERROR } else { 1e-12 };
                    assert!((a - b).abs() <= error * b.abs(), "{context}: {a} is not {b} at {place}");
                }
                _ => assert_eq!(found, expected, "{context}"),
            }
        }
    }
}

fn column(def: &insights_engine::schema::ColumnDef) -> Field {
    Field::Column(def.id)
}

/// Every answer of a tenant; gives the cells that were read.
fn check_tenant(engine: &Engine, name: &str, answers: &Value, kept: i64, context: &str) -> u64 {
    let scope = Scope::One(tenant(name));
    assert_eq!(Value::from(rows(engine, &scope, Stream::Events)), answers["events"], "{context}");
    assert_eq!(Value::from(rows(engine, &scope, Stream::Audit)), answers["audit"], "{context}");
    assert_eq!(Value::from(series(engine, &scope)), answers["series"], "{context}");
    let mut cells = 0;
    // Cells of all days, and rows where they are.
    for (rows_only, from) in [(false, 0), (true, kept)] {
        let days = || GroupBy::Bucket(buckets(from, BucketUnit::Day));
        let by_type = vec![days(), GroupBy::Field(column(&stream::EVENT_TYPE))];
        let users = vec![Aggregate::Count, Aggregate::Distinct(column(&stream::USER_ID))];
        let found = ask(engine, &scope, Stream::Events, by_type, users, rows_only, from);
        same_lines(&found, &answers["events_by_day"], (from, 1), true, context);
        cells += found.cost.cells_read;

        let hours = vec![GroupBy::Bucket(buckets(from, BucketUnit::Hour))];
        let views = vec![Aggregate::Count, Aggregate::CountIf(Box::new(classes().page))];
        let found = ask(engine, &scope, Stream::Events, hours, views, rows_only, from);
        same_lines(&found, &answers["events_by_hour"], (from, 24), true, context);
        cells += found.cost.cells_read;

        let value = || column(&stream::VALUE);
        let median = if rows_only {
            Aggregate::QuantileExact(value(), 0.5)
        } else {
            Aggregate::Quantile(value(), 0.5)
        };
        let of_value = vec![
            Aggregate::Count,
            Aggregate::Sum(value()),
            Aggregate::Min(value()),
            Aggregate::Max(value()),
            Aggregate::Last(value()),
            median,
        ];
        let by_name = vec![days(), GroupBy::Field(column(&stream::NAME))];
        let found = ask(engine, &scope, Stream::Metrics, by_name, of_value, rows_only, from);
        same_lines(&found, &answers["points_by_day"], (from, 1), rows_only, context);
        cells += found.cost.cells_read;
    }
    documents(engine, &scope, &answers["documents"], kept, context);
    sessions(engine, &scope, &answers["sessions"], context);
    let probes = engine.view().probes(&ProbeRequest {
        scope,
        window: window(kept),
        app: Some("shop".to_owned()),
        budget: Budget::default(),
        allow_partial: false,
    });
    let probes: Vec<Value> = probes
        .unwrap()
        .apps
        .iter()
        .flat_map(|app| app.probes.clone())
        .map(|p| json!([p.at.0, p.up, p.maintenance]))
        .collect();
    assert_eq!(Value::from(probes), answers["probes"], "{context}");
    cells
}

fn documents(engine: &Engine, scope: &Scope, expected: &Value, kept: i64, context: &str) {
    let path = |name: &str| Field::Path(stream::EVENT_DATA.id, vec![name.to_owned()]);
    let filters = [
        Filter::Compare(path("size"), Op::Gt(Literal::I64(2_000))),
        Filter::Compare(path("mixed"), Op::Contains("wid".to_owned())),
        Filter::Compare(path("rare"), Op::Exists),
    ];
    let counts = filters.map(|filter| Aggregate::CountIf(Box::new(filter))).to_vec();
    let found = ask(engine, scope, Stream::Events, vec![], counts, true, kept);
    let found: Vec<Value> = found.groups.iter().map(|group| line(group, 0)).collect();
    assert_eq!(found.as_slice(), std::slice::from_ref(expected), "{context}");
}

fn sessions(engine: &Engine, scope: &Scope, expected: &Value, context: &str) {
    let Some(first) = expected.as_array().and_then(|days| days.first()) else { return };
    let first = first[0].as_i64().unwrap();
    for exact in [false, true] {
        let answer = engine.view().sessions(&SessionRequest {
            scope: scope.clone(),
            window: window(first),
            buckets: buckets(first, BucketUnit::Day),
            filter: Filter::all(),
            classes: classes(),
            exact,
            budget: Budget::default(),
            allow_partial: false,
        });
        let days = answer.unwrap().series.into_iter().zip(first..);
        let found: Value = days
            .map(|(day, place)| {
                json!([place, day.started, day.bounces, day.duration_us, day.events, day.pages, day.actions])
            })
            .collect();
        assert_eq!(&found, expected, "{context}, exact {exact}");
    }
}

/// Every answer of the store; gives the cells that were read.
pub(crate) fn check(engine: &Engine, expected: &Value, more: &[&str], context: &str) -> u64 {
    assert_eq!(engine.health().findings, Vec::<String>::new(), "{context}");
    let answers = expected["answers"].as_object().unwrap();
    let mut names: Vec<TenantId> =
        answers.keys().map(String::as_str).chain(more.iter().copied()).map(tenant).collect();
    names.sort();
    assert_eq!(engine.tenants(), names, "{context}");
    let kept = expected["kept_day"].as_i64().map_or(0, |day| day - FIRST_DAY);
    let context = |name: &str| format!("{name}, {context}");
    let cells =
        answers.iter().map(|(name, answers)| check_tenant(engine, name, answers, kept, &context(name))).sum();
    for request in expected["requests"].as_array().unwrap() {
        let key = request[0].as_str().unwrap();
        assert_eq!(engine.catalog_get(CatalogKind::Setting, key.as_bytes()).as_deref(), Some(&b"on"[..]));
    }
    for erasure in expected["erasures"].as_array().unwrap() {
        let id: ErasureId = erasure["id"].as_str().unwrap().parse().unwrap();
        let outcome = engine.erasure(id).unwrap().outcome.unwrap();
        let rows = json!({"id": erasure["id"], "events": outcome.events, "audit": outcome.audit, "metrics": outcome.metrics});
        assert_eq!(&rows, erasure);
    }
    cells
}

/// That every record which is there can be proven under the root of the model. Everything is flushed.
pub(crate) fn check_trees(engine: &Engine, expected: &Value, context: &str) {
    assert_eq!(engine.verify_audit().unwrap().findings, Vec::<String>::new(), "{context}");
    for (name, tree) in expected["trees"].as_object().unwrap() {
        let records = expected["answers"][name]["audit"].as_array().unwrap();
        assert!(!records.is_empty(), "{context}");
        for record in records.iter().step_by(5) {
            let proof = engine.audit_proof(&tenant(name), record["seq"].as_u64().unwrap()).unwrap();
            assert!(proof.holds(), "{context}");
            assert_eq!(
                json!({"leaves": proof.leaves, "root": hex(&proof.root)}),
                json!({"leaves": tree["leaves"], "root": tree["root"]}),
                "{context}"
            );
        }
        let number = tenant_prefix(engine, name);
        let blocks: Vec<String> =
            engine.catalog_scan(CatalogKind::AuditRoot, &number).iter().map(|(_, root)| hex(root)).collect();
        assert_eq!(json!(blocks), tree["blocks"], "{context}");
    }
}

/// That a filter of text is there for the model's classes.
pub(crate) fn page() -> Filter {
    is(column(&stream::EVENT_TYPE), Literal::Str("page_view".to_owned()))
}
