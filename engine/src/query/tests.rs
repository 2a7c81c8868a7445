//! Answers against plain loops over random rows.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;

use super::model::{self, Expected};
use super::testing::{Row, Shape, TestStore, tenant_name};
use super::*;
use crate::error::Error;
use crate::id::Stream;
use crate::schema::stream::{
    ACTION_TYPE, ANONYMOUS_ID, EVENT_DATA, EVENT_TYPE, HOST, KIND, LABELS, NAME, RECEIVED, SEQ, SESSION_ID,
    TIME, USER_AGENT, USER_ID, VALUE,
};
use crate::schema::{Column, ColumnType, Document, Schema, Value};
use crate::time::{BucketUnit, Buckets, TimeRange, TimestampUs};

/// 2024-03-30T00:00:00Z; the next day has 23 hours in Berlin.
pub(crate) const BASE_US: i64 = 1_711_756_800_000_000;
pub(crate) const HOUR_US: i64 = 3_600_000_000;

const SHAPES: [Shape; 4] = [
    Shape { granule_rows: 7, coded: true, zone_maps: true, dictionaries: true },
    Shape { granule_rows: 5, coded: true, zone_maps: true, dictionaries: false },
    Shape { granule_rows: 1024, coded: false, zone_maps: false, dictionaries: true },
    Shape { granule_rows: 3, coded: false, zone_maps: true, dictionaries: false },
];

fn object(members: &[(&str, Value)]) -> Value {
    Value::Object(members.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
}

fn text(s: &str) -> Value {
    Value::Str(s.to_owned())
}

fn documents() -> Vec<Value> {
    vec![
        object(&[("a", Value::I64(1))]),
        object(&[("a", Value::F64(1.0)), ("n", Value::F64(-2.5))]),
        object(&[("a", text("x")), ("n", Value::I64(7))]),
        object(&[("a", Value::Bool(true)), ("b", object(&[("c", text("x"))]))]),
        object(&[("a", Value::Null)]),
        object(&[("b", object(&[("c", text("y"))])), ("n", Value::F64(2.5))]),
        object(&[("a", Value::Array(vec![Value::I64(1)])), ("n", Value::I64(7))]),
        object(&[("n", Value::U64(u64::MAX))]),
        Value::I64(3),
    ]
}

/// A row from small numbers, 0 for what is absent.
pub(crate) fn row(stream: Stream, tenant: u32, minutes: i64, picks: [usize; 6]) -> Row {
    let mut values = BTreeMap::new();
    values.insert("timestamp", Value::I64(BASE_US + minutes * 60_000_000));
    values.insert("received_at", Value::I64(BASE_US + minutes * 60_000_000 + 1_500_000));
    let mut name = |column: &'static str, prefix: &str, n: usize| {
        if n > 0 {
            values.insert(column, text(&format!("{prefix}{n}")));
        }
    };
    name("user_id", "u", picks[0]);
    match stream {
        Stream::Events => {
            name("anonymous_id", "u", picks[1]);
            name("session_id", "session/", picks[2]);
            name("event_type", "page.", picks[3]);
            name("user_agent", "agent ", picks[4]);
            if let Some(document) = picks[5].checked_sub(1).and_then(|n| documents().get(n).cloned()) {
                values.insert("event_data", document);
            }
        }
        Stream::Metrics => {
            name("name", "cpu.", picks[3] + 1);
            name("host", "h", picks[1]);
            let numbers = [0.0, -0.0, 1.5, -2.25, f64::NAN, f64::INFINITY, 1000.0, 0.1, 1.0 / 3.0, 12.0];
            values.insert("value", Value::F64(numbers[(picks[5] + picks[4]) % numbers.len()]));
            values.insert("kind", Value::I64(i64::try_from(picks[2]).unwrap()));
            if picks[4] > 0 {
                values.insert("labels", object(&[("zone", text(&format!("z{}", picks[4])))]));
            }
        }
        Stream::Audit => {
            name("action_type", "user.", picks[3]);
            values.insert("severity", Value::I64(i64::try_from(picks[2]).unwrap()));
        }
    }
    Row { tenant, values }
}

pub(crate) fn picks() -> impl Strategy<Value = [usize; 6]> {
    [0..5_usize, 0..4, 0..3, 0..4, 0..3, 0..10]
}

fn store(stream: Stream) -> impl Strategy<Value = TestStore> {
    let rows = prop::collection::vec((1_u32..4, 0_i64..4000, picks(), 0_usize..4), 0..80);
    rows.prop_map(move |specs| {
        let mut parts: Vec<(Vec<Row>, Shape)> = SHAPES.iter().map(|s| (Vec::new(), *s)).collect();
        let mut seqs = [0_i64; 10];
        for ((tenant, minutes, picks, part), lsn) in specs.into_iter().zip(3_i64..) {
            let mut row = row(stream, tenant, minutes, picks);
            row.values.insert("lsn", Value::I64(lsn / 3));
            if stream != Stream::Metrics {
                seqs[tenant as usize] += 1;
                row.values.insert("seq", Value::I64(seqs[tenant as usize]));
            }
            parts[part].0.push(row);
        }
        TestStore { stream, parts, damaged: Vec::new() }
    })
}

pub(crate) fn path(def: &crate::schema::ColumnDef, keys: &[&str]) -> Field {
    Field::Path(def.id, keys.iter().map(|k| (*k).to_owned()).collect())
}

pub(crate) fn column(def: &crate::schema::ColumnDef) -> Field {
    Field::Column(def.id)
}

fn fields(stream: Stream) -> Vec<Field> {
    let identity = Field::FirstOf(vec![column(&USER_ID)]);
    let mut out = vec![
        Field::Tenant,
        column(&TIME),
        column(&RECEIVED),
        column(&USER_ID),
        column(&crate::schema::stream::LSN),
        identity,
    ];
    out.extend(match stream {
        Stream::Events => vec![
            column(&EVENT_TYPE),
            column(&ANONYMOUS_ID),
            column(&SESSION_ID),
            column(&USER_AGENT),
            column(&EVENT_DATA),
            column(&SEQ),
            path(&EVENT_DATA, &["a"]),
            path(&EVENT_DATA, &["n"]),
            path(&EVENT_DATA, &["b"]),
            path(&EVENT_DATA, &["b", "c"]),
            Field::FirstOf(vec![column(&USER_ID), column(&ANONYMOUS_ID), column(&SESSION_ID)]),
            Field::FirstOf(vec![path(&EVENT_DATA, &["a"]), path(&EVENT_DATA, &["n"]), column(&USER_AGENT)]),
            Field::FirstOf(vec![column(&SESSION_ID), Field::Tenant]),
        ],
        Stream::Audit => vec![column(&ACTION_TYPE), column(&SEQ)],
        Stream::Metrics => {
            vec![
                column(&NAME),
                column(&HOST),
                column(&KIND),
                column(&VALUE),
                column(&LABELS),
                path(&LABELS, &["zone"]),
            ]
        }
    });
    out
}

fn literal() -> impl Strategy<Value = Literal> {
    let texts =
        ["u1", "u2", "page.1", "cpu.1", "session/1", "x", "h1", "z1", "", "tenant-2", "agent 1", "zzz"];
    prop_oneof![
        select(texts.to_vec()).prop_map(|s| Literal::Str(s.to_owned())),
        select(vec![0_i64, 1, 2, 7, -3, BASE_US + 20 * HOUR_US, i64::MAX, i64::MIN]).prop_map(Literal::I64),
        select(vec![u64::MAX, 1 << 63, 5]).prop_map(Literal::U64),
        select(vec![
            1.0,
            1.5,
            2.5,
            -2.5,
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1.8e19,
            1e300
        ])
        .prop_map(Literal::F64),
        any::<bool>().prop_map(Literal::Bool),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let part = select(vec!["u", "page", "", "1", "x", "ent"]);
    prop_oneof![
        literal().prop_map(Op::Is),
        literal().prop_map(Op::IsNot),
        prop::collection::vec(literal(), 0..12).prop_map(Op::In),
        part.clone().prop_map(|s| Op::Contains(s.to_owned())),
        part.prop_map(|s| Op::StartsWith(s.to_owned())),
        literal().prop_map(Op::Gt),
        literal().prop_map(Op::Gte),
        literal().prop_map(Op::Lt),
        literal().prop_map(Op::Lte),
        Just(Op::Exists),
    ]
}

pub(crate) fn filter(stream: Stream) -> impl Strategy<Value = Filter> {
    let leaf = (select(fields(stream)), op()).prop_map(|(field, op)| Filter::Compare(field, op));
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|f| Filter::Not(Box::new(f))),
        ]
    });
    prop_oneof![2 => Just(Filter::all()), 5 => tree]
}

pub(crate) fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::All),
        (1_u32..6).prop_map(|n| Scope::One(tenant_name(n))),
        prop::collection::vec((1_u32..6).prop_map(tenant_name), 0..3).prop_map(Scope::Several),
    ]
}

fn window() -> impl Strategy<Value = TimeRange> {
    let some = (0_i64..4000, 0_i64..4000).prop_map(|(a, b)| TimeRange {
        start: TimestampUs(BASE_US + a.min(b) * 60_000_000),
        end: TimestampUs(BASE_US + a.max(b) * 60_000_000),
    });
    prop_oneof![Just(TimeRange::ALL), some]
}

fn group_by(stream: Stream) -> impl Strategy<Value = GroupBy> {
    let span = TimeRange { start: TimestampUs(BASE_US + HOUR_US), end: TimestampUs(BASE_US + 60 * HOUR_US) };
    let bucket = select(vec![BucketUnit::Day, BucketUnit::Hour, BucketUnit::Step(7 * HOUR_US)]).prop_map(
        move |unit| {
            GroupBy::Bucket(
                Buckets::cover(span, unit, &TimeZone::get("Europe/Berlin").unwrap(), 1000).unwrap(),
            )
        },
    );
    prop_oneof![select(fields(stream)).prop_map(GroupBy::Field), bucket]
}

fn aggregate_of(stream: Stream) -> impl Strategy<Value = Aggregate> {
    let field = move || select(fields(stream));
    let q = || select(vec![0.0, 0.5, 0.9, 0.99, 1.0]);
    prop_oneof![
        Just(Aggregate::Count),
        field().prop_map(Aggregate::Sum),
        field().prop_map(Aggregate::Avg),
        field().prop_map(Aggregate::Min),
        field().prop_map(Aggregate::Max),
        field().prop_map(Aggregate::Last),
        (field(), q()).prop_map(|(f, q)| Aggregate::Quantile(f, q)),
        (field(), q()).prop_map(|(f, q)| Aggregate::QuantileExact(f, q)),
        field().prop_map(Aggregate::Distinct),
        filter(stream).prop_map(|f| Aggregate::CountIf(Box::new(f))),
    ]
}

fn query(stream: Stream) -> impl Strategy<Value = Query> {
    let group_by = prop::collection::vec(group_by(stream), 0..4);
    let aggregates = prop::collection::vec(aggregate_of(stream), 0..6);
    (scope(), window(), filter(stream), group_by, aggregates).prop_map(
        move |(scope, window, filter, group_by, aggregates)| Query {
            scope,
            stream,
            window,
            filter,
            group_by,
            aggregates,
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        },
    )
}

pub(crate) fn agrees(number: Number, expected: &Expected) -> bool {
    match (number, expected) {
        (Number::Absent, Expected::Absent) => true,
        (Number::U64(a), Expected::Count(b)) => a == *b,
        // Times add up past 2^53, where the model's plain sum rounds.
        (Number::F64(a), Expected::Double(b)) => {
            a.total_cmp(b).is_eq() || (a - b).abs() <= b.abs() * 1e-12 || (a.is_nan() && b.is_nan())
        }
        (Number::F64(a), Expected::Within(from, to)) => *from <= a && a <= *to,
        _ => false,
    }
}

fn check_aggregate(store: &TestStore, query: &Query) {
    let rows: Vec<Row> = store.rows().cloned().collect();
    let expected = model::aggregate(&rows, query);
    let answer = aggregate(&store.snapshot(), query).unwrap();
    let keys: Vec<&GroupKey> = answer.groups.iter().map(|g| &g.key).collect();
    assert_eq!(keys, expected.iter().map(|e| &e.0).collect::<Vec<_>>());
    for (group, (_, numbers)) in answer.groups.iter().zip(&expected) {
        for ((number, expected), aggregate) in group.values.iter().zip(numbers).zip(&query.aggregates) {
            assert!(
                agrees(*number, expected),
                "{aggregate:?} of {:?}: {number:?}, not {expected:?}",
                group.key
            );
        }
    }
}

/// The rows of a page, as the model has them.
fn rows_of(page: &RowPage) -> Vec<Row> {
    let mut out = Vec::new();
    for batch in &page.batches {
        let tenant = (1..10).find(|n| tenant_name(*n) == *batch.tenant()).unwrap();
        for at in 0..batch.rows() {
            let mut values = BTreeMap::new();
            for (def, column) in Schema::of(batch.stream()).columns.iter().zip(batch.columns()) {
                let value = match column {
                    Column::I64(v) => Some(Value::I64(v[at])),
                    Column::U64(v) => Some(Value::I64(i64::try_from(v[at]).unwrap())),
                    Column::F64(v) => Some(Value::F64(v[at])),
                    Column::Bytes(v) if def.ty == ColumnType::Document => {
                        v.get(at).map(|b| Document::decode(b).unwrap())
                    }
                    Column::Bytes(v) => v.get_str(at).map(text),
                };
                if let Some(value) = value.filter(|v| *v != Value::I64(0)) {
                    values.insert(def.name, value);
                }
            }
            out.push(Row { tenant, values });
        }
    }
    out
}

fn without_zeros(row: &Row) -> Row {
    let mut row = row.clone();
    row.values.retain(|_, v| *v != Value::I64(0));
    row
}

fn check_rows(store: &mut TestStore, mut request: RowRequest) {
    let rows: Vec<Row> = store.rows().cloned().collect();
    let mut expected =
        model::matching(rows.iter(), store.stream, &request.scope, request.window, &request.filter);
    expected.sort_by_key(|r| (r.time(), r.tenant, r.u64("seq")));
    if request.order == Order::Desc {
        expected.reverse();
    }
    let expected: Vec<Row> = expected.into_iter().map(without_zeros).collect();
    let mut found = Vec::new();
    let mut snapshot = store.snapshot();
    let lsn_max = snapshot.lsn.0;
    loop {
        let page = super::rows(&snapshot, &request).unwrap();
        let rows = rows_of(&page);
        assert!(rows.len() <= request.limit);
        found.extend(rows);
        let Some(next) = page.next else { break };
        assert_eq!(next.lsn_max, lsn_max);
        if request.after.is_none() {
            // What comes later is not on the pages that follow.
            let mut late = row(store.stream, 1, 2000, [1; 6]);
            late.values.insert("lsn", Value::I64(1_000_000));
            late.values.insert("seq", Value::I64(1_000_000));
            store.parts[1].0.push(late.clone());
            store.parts[2].0.push(late);
            snapshot = store.snapshot();
        }
        request.after = Some(next);
    }
    assert_eq!(found, expected);
}

fn check_scan(store: &TestStore, request: &ScanRequest) {
    let rows: Vec<Row> = store.rows().cloned().collect();
    let matching =
        model::matching(rows.iter(), store.stream, &request.scope, request.window, &request.filter);
    let mut expected: Vec<String> = matching
        .into_iter()
        .map(|r| {
            let values: Vec<KeyValue> = request
                .fields
                .iter()
                .map(|f| named(f, model::key(model::value(store.stream, r, f))))
                .collect();
            format!("{} {values:?}", r.tenant)
        })
        .collect();
    let mut vectors = Vec::new();
    let end = scan(&store.snapshot(), request, &mut |vector| {
        assert!(vector.rows > 0 && vector.rows <= 1024);
        vectors.push(vector.clone());
        Ok(())
    })
    .unwrap();
    let mut found = Vec::new();
    for vector in &vectors {
        for at in 0..vector.rows {
            let values: Vec<KeyValue> =
                vector.columns.iter().zip(&end.names).map(|(c, names)| scanned(c, names, at)).collect();
            found.push(format!("{} {values:?}", vector.tenant.0));
        }
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// A choice of fields comes as text, whatever its values are.
fn named(field: &Field, key: KeyValue) -> KeyValue {
    let text = match (field, &key) {
        (Field::FirstOf(_), KeyValue::Bool(b)) => b.to_string(),
        (Field::FirstOf(_), KeyValue::I64(n)) => n.to_string(),
        (Field::FirstOf(_), KeyValue::U64(n)) => n.to_string(),
        (Field::FirstOf(_), KeyValue::F64(bits)) => f64::from_bits(*bits).to_string(),
        _ => return key,
    };
    KeyValue::Str(text.into())
}

fn scanned(column: &ScanColumn, names: &[std::sync::Arc<str>], at: usize) -> KeyValue {
    use crate::schema::Scalar;
    let present = |p: &Option<crate::schema::Bitmap>| p.as_ref().is_none_or(|p| p.get(at));
    let unsigned = |n: u64| i64::try_from(n).map_or(KeyValue::U64(n), KeyValue::I64);
    match column {
        ScanColumn::I64(v, p) if present(p) => KeyValue::I64(v[at]),
        ScanColumn::U64(v, p) if present(p) => unsigned(v[at]),
        ScanColumn::F64(v, p) if present(p) => KeyValue::F64(v[at].to_bits()),
        ScanColumn::I64(..) | ScanColumn::U64(..) | ScanColumn::F64(..) => KeyValue::Absent,
        ScanColumn::Codes(codes) => {
            names.get(codes[at] as usize).map_or(KeyValue::Absent, |n| KeyValue::Str(n.clone()))
        }
        ScanColumn::Scalars(leaves) => match &leaves[at] {
            None | Some(Scalar::Other) => KeyValue::Absent,
            Some(Scalar::Bool(b)) => KeyValue::Bool(*b),
            Some(Scalar::I64(n)) => KeyValue::I64(*n),
            Some(Scalar::U64(n)) => unsigned(*n),
            Some(Scalar::F64(n)) => KeyValue::F64(n.to_bits()),
            Some(Scalar::Str(s)) => KeyValue::Str(s.clone()),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn aggregates_of_events_are_those_of_plain_loops(store in store(Stream::Events), query in query(Stream::Events)) {
        check_aggregate(&store, &query);
    }

    #[test]
    fn aggregates_of_metrics_are_those_of_plain_loops(store in store(Stream::Metrics), query in query(Stream::Metrics)) {
        check_aggregate(&store, &query);
    }

    #[test]
    fn pages_of_rows_are_all_rows_in_order(
        mut store in store(Stream::Events),
        scope in scope(),
        window in window(),
        filter in filter(Stream::Events),
        limit in 1_usize..20,
        newest in any::<bool>(),
    ) {
        let order = if newest { Order::Desc } else { Order::Asc };
        let request = RowRequest {
            scope, stream: Stream::Events, window, filter, order, limit, after: None, columns: None, allow_partial: false,
        };
        check_rows(&mut store, request);
    }

    #[test]
    fn pages_of_points_are_all_points_by_time_in_one_snapshot(
        store in store(Stream::Metrics),
        scope in scope(),
        window in window(),
        filter in filter(Stream::Metrics),
        limit in 1_usize..20,
        newest in any::<bool>(),
    ) {
        let order = if newest { Order::Desc } else { Order::Asc };
        let request = RowRequest {
            scope, stream: Stream::Metrics, window, filter, order, limit, after: None, columns: None, allow_partial: false,
        };
        check_points(&store, request);
    }

    #[test]
    fn series_and_samples_are_those_of_plain_loops(
        store in store(Stream::Metrics),
        scope in scope(),
        window in window(),
        filter in filter(Stream::Metrics),
    ) {
        check_series(&store, &scope, window, &filter);
    }

    #[test]
    fn a_scan_gives_every_matching_row_once(
        store in store(Stream::Events),
        scope in scope(),
        window in window(),
        filter in filter(Stream::Events),
        fields in prop::collection::vec(select(fields(Stream::Events)), 0..4),
    ) {
        let request = ScanRequest { scope, stream: Stream::Events, window, filter, fields, allow_partial: false };
        check_scan(&store, &request);
    }
}

/// Points of one instant may come in any order, but each once.
fn check_points(store: &TestStore, mut request: RowRequest) {
    let rows: Vec<Row> = store.rows().cloned().collect();
    let matching =
        model::matching(rows.iter(), store.stream, &request.scope, request.window, &request.filter);
    let expected: Vec<Row> = matching.into_iter().map(without_zeros).collect();
    let snapshot = store.snapshot();
    let mut found = Vec::new();
    loop {
        let page = super::rows(&snapshot, &request).unwrap();
        found.extend(rows_of(&page));
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    let times: Vec<(i64, u32)> = found.iter().map(|row| (row.time(), row.tenant)).collect();
    let is_ordered = match request.order {
        Order::Asc => times.is_sorted(),
        Order::Desc => times.iter().rev().is_sorted(),
    };
    assert!(is_ordered, "{times:?}");
    // As text: a value may be no number, and is not equal to itself then.
    let told = |rows: Vec<Row>| {
        let mut told: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
        told.sort();
        told
    };
    assert_eq!(told(found), told(expected));
}

fn check_series(store: &TestStore, scope: &Scope, window: TimeRange, filter: &Filter) {
    let rows: Vec<Row> = store.rows().cloned().collect();
    let optional = |r: &Row, name: &str| r.values.get(name).map(|v| format!("{v:?}"));
    let mut expected: BTreeMap<String, Vec<(i64, u64, u64)>> = BTreeMap::new();
    for row in model::matching(rows.iter(), store.stream, scope, window, filter) {
        let [name, app, host, labels] = ["name", "app_id", "host", "labels"].map(|n| optional(row, n));
        let key = format!("{} {name:?} {app:?} {host:?} {labels:?} {}", row.tenant, row.u64("kind"));
        let Some(Value::F64(value)) = row.values.get("value") else { panic!("a point without a value") };
        expected.entry(key).or_default().push((row.time(), row.u64("lsn"), value.to_bits()));
    }
    let snapshot = store.snapshot();
    let found = series(&snapshot, scope, filter, window, 1000, false).unwrap().series;
    assert_eq!(found.len(), expected.len());
    assert!(found.is_sorted());
    for one in &found {
        let tenant = (1..10).find(|n| tenant_name(*n) == one.tenant).unwrap();
        let quoted = |t: &Option<std::sync::Arc<str>>| t.as_ref().map(|t| format!("{:?}", text(t)));
        let labels = one.labels.as_ref().map(|l| format!("{:?}", Document::decode(l).unwrap()));
        let [name, app, host] = [&one.name, &one.app, &one.host].map(quoted);
        let key = format!("{tenant} {name:?} {app:?} {host:?} {labels:?} {}", one.kind);
        let points = expected.get_mut(&key).unwrap_or_else(|| panic!("{key} is no series"));
        if *filter != Filter::all() {
            continue;
        }
        points.sort_unstable();
        let mut samples = samples(&snapshot, one, window, 1000, false).unwrap().samples;
        assert!(samples.is_sorted_by_key(|s| s.0));
        samples.sort_by_key(|s| (s.0, s.1.to_bits()));
        let mut values: Vec<_> = points.iter().map(|p| (TimestampUs(p.0), p.2)).collect();
        values.sort_unstable();
        assert_eq!(samples.iter().map(|s| (s.0, s.1.to_bits())).collect::<Vec<_>>(), values);
    }
}

#[test]
fn thousands_of_rows_take_the_fast_paths_to_the_same_numbers() {
    let shape = |coded| Shape { granule_rows: 700, coded, zone_maps: true, dictionaries: true };
    let mut parts = vec![(Vec::new(), shape(true)), (Vec::new(), shape(false))];
    for n in 0..6000_usize {
        let spread = n.wrapping_mul(2_654_435_761) >> 7;
        let minutes = i64::try_from(n * 4000 / 6000).unwrap();
        let picks = [1 + spread % 1500, spread % 4, n % 3, spread % 4, n % 2, spread % 10];
        let mut row = row(Stream::Metrics, 1 + u32::try_from(n / 4000).unwrap(), minutes, picks);
        row.values.insert("lsn", Value::I64(i64::try_from(n).unwrap()));
        parts[usize::from(n % 5 == 0)].0.push(row);
    }
    let store = TestStore { stream: Stream::Metrics, parts, damaged: Vec::new() };
    let span = TimeRange { start: TimestampUs(BASE_US), end: TimestampUs(BASE_US + 60 * HOUR_US) };
    let days = || GroupBy::Bucket(Buckets::cover(span, BucketUnit::Day, &TimeZone::UTC, 1000).unwrap());
    let by = |def| GroupBy::Field(column(def));
    let value = || column(&VALUE);
    for group_by in
        [vec![], vec![days()], vec![by(&NAME)], vec![by(&HOST), days(), by(&NAME)], vec![by(&USER_ID)]]
    {
        for scope in [Scope::All, Scope::One(tenant_name(1))] {
            let query = Query {
                stream: Stream::Metrics,
                group_by: group_by.clone(),
                aggregates: vec![
                    Aggregate::Count,
                    Aggregate::Sum(column(&KIND)),
                    Aggregate::Avg(column(&RECEIVED)),
                    Aggregate::Min(value()),
                    Aggregate::Max(value()),
                    Aggregate::Last(value()),
                    Aggregate::Quantile(value(), 0.9),
                    Aggregate::QuantileExact(value(), 0.5),
                    Aggregate::Distinct(column(&USER_ID)),
                ],
                ..count(scope)
            };
            check_aggregate(&store, &query);
        }
    }
}

fn two_tenants_in_one_granule() -> TestStore {
    let shape = Shape { granule_rows: 8192, coded: true, zone_maps: true, dictionaries: true };
    let mut rows = Vec::new();
    for n in 0..20 {
        let mut row = row(
            Stream::Events,
            if n < 10 { 1 } else { 2 },
            n,
            [1 + usize::try_from(n % 3).unwrap(), 0, 0, 1, 0, 0],
        );
        row.values.insert("seq", Value::I64(n % 10 + 1));
        row.values.insert("lsn", Value::I64(n + 1));
        rows.push(row);
    }
    TestStore { stream: Stream::Events, parts: vec![(rows, shape)], damaged: Vec::new() }
}

fn count(scope: Scope) -> Query {
    Query {
        scope,
        stream: Stream::Events,
        window: TimeRange::ALL,
        filter: Filter::all(),
        group_by: Vec::new(),
        aggregates: vec![Aggregate::Count, Aggregate::Distinct(column(&USER_ID))],
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    }
}

#[test]
fn a_shared_granule_shows_no_row_of_another_tenant() {
    let store = two_tenants_in_one_granule();
    let answer = aggregate(&store.snapshot(), &count(Scope::One(tenant_name(2)))).unwrap();
    assert_eq!(answer.groups[0].values, [Number::U64(10), Number::U64(3)]);
    assert_eq!(answer.cost.rows_scanned, 10);
    let nobody = aggregate(&store.snapshot(), &count(Scope::One(tenant_name(3)))).unwrap();
    assert_eq!(nobody.groups[0].values, [Number::U64(0), Number::U64(0)]);
    let all = aggregate(&store.snapshot(), &count(Scope::All)).unwrap();
    assert_eq!(all.groups[0].values, [Number::U64(20), Number::U64(6)]);
}

#[test]
fn a_user_in_memory_and_in_a_segment_counts_once() {
    let mut store = two_tenants_in_one_granule();
    let memory = Shape { granule_rows: 1024, coded: false, zone_maps: false, dictionaries: true };
    let known = row(Stream::Events, 1, 5, [1, 0, 0, 1, 0, 0]);
    let new = row(Stream::Events, 1, 5, [9, 0, 0, 1, 0, 0]);
    store.parts.push((vec![known, new.clone(), new.clone()], memory));
    store.parts.push((vec![new], memory));
    let answer = aggregate(&store.snapshot(), &count(Scope::One(tenant_name(1)))).unwrap();
    assert_eq!(answer.groups[0].values, [Number::U64(14), Number::U64(4)]);
}

#[test]
fn damage_fails_a_question_or_is_skipped_and_named() {
    let mut store = two_tenants_in_one_granule();
    let shape = Shape { granule_rows: 4, coded: true, zone_maps: true, dictionaries: true };
    store.parts[0].1 = shape;
    // The granule that holds the last two rows of one tenant and the first two of the other.
    store.damaged = vec![(0, USER_ID.id, 2)];
    let snapshot = store.snapshot();
    let mut query = count(Scope::All);
    assert!(matches!(aggregate(&snapshot, &query), Err(Error::Corrupt { .. })));
    query.allow_partial = true;
    let answer = aggregate(&snapshot, &query).unwrap();
    assert_eq!(answer.groups[0].values, [Number::U64(16), Number::U64(6)]);
    let range = TimeRange {
        start: TimestampUs(BASE_US + 8 * 60_000_000),
        end: TimestampUs(BASE_US + 9 * 60_000_000 + 1),
    };
    let other = TimeRange {
        start: TimestampUs(BASE_US + 10 * 60_000_000),
        end: TimestampUs(BASE_US + 11 * 60_000_000 + 1),
    };
    let damage = |range| Damage { stream: Stream::Events, range };
    assert_eq!(answer.damaged, [damage(range), damage(other)]);
    // A question that does not read the damaged column is whole.
    query.aggregates.pop();
    assert_eq!(aggregate(&snapshot, &query).unwrap().groups[0].values, [Number::U64(20)]);
    let mut request = RowRequest {
        scope: Scope::All,
        stream: Stream::Events,
        window: TimeRange::ALL,
        filter: Filter::all(),
        order: Order::Desc,
        limit: 50,
        after: None,
        columns: None,
        allow_partial: true,
    };
    let page = super::rows(&snapshot, &request).unwrap();
    assert_eq!(page.batches.iter().map(crate::schema::Batch::rows).sum::<usize>(), 16);
    assert!(!page.damaged.is_empty());
    request.allow_partial = false;
    assert!(super::rows(&snapshot, &request).is_err());
}

#[test]
fn budgets_stop_a_question() {
    let store = two_tenants_in_one_granule();
    let mut query = count(Scope::All);
    query.group_by = vec![GroupBy::Field(column(&SEQ))];
    query.budget.groups_max = 9;
    let limit = aggregate(&store.snapshot(), &query);
    assert!(matches!(limit, Err(Error::QueryLimit { what: "groups", limit: 9 })));
    query.budget.groups_max = 10;
    assert_eq!(aggregate(&store.snapshot(), &query).unwrap().groups.len(), 10);
    query.budget.memory_bytes_max = 500;
    assert!(matches!(aggregate(&store.snapshot(), &query), Err(Error::QueryLimit { .. })));
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let store = two_tenants_in_one_granule();
    let snapshot = store.snapshot();
    let wrong = [
        Aggregate::Sum(column(&VALUE)),
        Aggregate::Distinct(path(&USER_ID, &["a"])),
        Aggregate::Distinct(path(&EVENT_DATA, &[])),
        Aggregate::Distinct(Field::FirstOf(Vec::new())),
        Aggregate::Quantile(column(&SEQ), 1.5),
        Aggregate::Quantile(column(&SEQ), f64::NAN),
    ];
    for aggregate_of in wrong {
        let mut query = count(Scope::All);
        query.aggregates = vec![aggregate_of];
        assert!(matches!(aggregate(&snapshot, &query), Err(Error::Invalid { .. })));
    }
    let mut deep = Filter::all();
    for _ in 0..100 {
        deep = Filter::Not(Box::new(deep));
    }
    let query = Query { filter: deep, ..count(Scope::All) };
    assert!(matches!(aggregate(&snapshot, &query), Err(Error::Invalid { .. })));
}
