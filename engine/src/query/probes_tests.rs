//! Probes out of cells and rows against a list of all of them.

use proptest::prelude::*;

use super::super::testing::{Row, Shape, TestCells, TestStore, tenant_name};
use super::super::{Budget, Scope};
use super::*;
use crate::schema::Value;

const MINUTE: i64 = 60_000_000;
/// 2024-03-09T00:00:00Z.
const BASE: i64 = 1_709_942_400_000_000;

const SHAPES: [Shape; 3] = [
    Shape { granule_rows: 30, coded: true, zone_maps: true, dictionaries: true },
    Shape { granule_rows: 1024, coded: false, zone_maps: false, dictionaries: true },
    Shape { granule_rows: 3, coded: false, zone_maps: true, dictionaries: false },
];

/// A point; app 0 is none. Maintenance is told by a text (1), a truth (2), another text (3), or not (0).
#[derive(Debug, Clone, Copy)]
struct Point {
    tenant: u32,
    at: i64,
    app: u8,
    value: f64,
    maintenance: u8,
    uptime: bool,
    part: usize,
}

impl Point {
    fn row(&self) -> Row {
        let name = if self.uptime { "uptime" } else { "cpu" };
        let mut values = BTreeMap::from([
            ("timestamp", Value::I64(self.at)),
            ("name", Value::Str(name.to_owned())),
            ("value", Value::F64(self.value)),
        ]);
        if self.app > 0 {
            values.insert("app_id", Value::Str(format!("app{}", self.app)));
        }
        let label = match self.maintenance {
            0 => None,
            1 => Some(Value::Str("true".to_owned())),
            2 => Some(Value::Bool(true)),
            _ => Some(Value::Str("no".to_owned())),
        };
        if let Some(label) = label {
            let labels = vec![("maintenance".to_owned(), label)];
            values.insert("labels", Value::Object(labels.into_iter().collect()));
        }
        Row { tenant: self.tenant, values }
    }
}

fn snapshot(points: &[Point], days: &[i32]) -> Snapshot {
    let mut parts: Vec<(Vec<Row>, Shape)> = SHAPES.iter().map(|s| (Vec::new(), *s)).collect();
    for point in points.iter().filter(|p| p.part > 0 || !days.contains(&TimestampUs(p.at).day())) {
        parts[point.part].0.push(point.row());
    }
    let from = parts.len();
    for day in days {
        let kept = points.iter().filter(|p| p.part == 0 && TimestampUs(p.at).day() == *day);
        parts.push((kept.map(Point::row).collect(), SHAPES[0]));
    }
    let store = TestStore { stream: Stream::Metrics, parts, damaged: Vec::new() };
    store.snapshot_with(|part, alone| {
        let mut out = TestCells::new();
        if part >= from {
            probe_blobs(alone, &mut |tenant, bytes| {
                out.insert((Tier::Day as u8, Some(tenant), PROBES), bytes.into());
                Ok(())
            })
            .unwrap();
        }
        out
    })
}

fn judge(points: &[Point], request: &ProbeRequest) -> Vec<AppProbes> {
    let mut found = Found::new();
    for point in points {
        let app = (point.app > 0).then(|| format!("app{}", point.app));
        let seen = match &request.scope {
            Scope::One(tenant) => *tenant == tenant_name(point.tenant),
            _ => true,
        };
        let wanted = request.app.is_none() || request.app == app;
        if point.uptime && seen && wanted && request.window.contains(TimestampUs(point.at)) {
            let maintenance = matches!(point.maintenance, 1 | 2);
            let probe = Probe { at: TimestampUs(point.at), up: point.value >= 0.5, maintenance };
            found.entry((TenantNo(point.tenant), app.map(Into::into))).or_default().push(probe);
        }
    }
    let sorted = |((tenant, app), mut probes): ((TenantNo, Option<Arc<str>>), Vec<Probe>)| {
        probes.sort_unstable();
        AppProbes { tenant, app, probes }
    };
    found.into_iter().map(sorted).collect()
}

fn request(from: i64, to: i64) -> ProbeRequest {
    let window = TimeRange { start: TimestampUs(BASE + from * MINUTE), end: TimestampUs(BASE + to * MINUTE) };
    ProbeRequest { scope: Scope::All, window, app: None, budget: Budget::default(), allow_partial: false }
}

#[test]
fn days_that_are_over_are_answered_without_their_rows() {
    let point = |minute: i64| Point {
        tenant: 1,
        at: BASE + minute * MINUTE,
        app: 1,
        value: f64::from(u8::from(minute % 7 > 0)),
        maintenance: 0,
        uptime: true,
        part: 0,
    };
    let points: Vec<Point> = (0..1_440).map(point).collect();
    let request = request(600, 1_300);
    let answer = probes(&snapshot(&points, &[TimestampUs(BASE).day()]), &request).unwrap();
    assert_eq!((answer.cost.rows_scanned, answer.cost.cells_read), (0, 1_440));
    assert_eq!(answer.apps, judge(&points, &request));
}

#[test]
fn too_many_probes_are_refused() {
    let at = |minute| Point {
        tenant: 1,
        at: BASE + minute,
        app: 1,
        value: 1.0,
        maintenance: 0,
        uptime: true,
        part: 0,
    };
    let mut request = request(0, 10);
    request.budget.memory_bytes_max = 20;
    let refused = probes(&snapshot(&[at(0), at(1)], &[]), &request);
    assert!(matches!(refused, Err(Error::QueryLimit { what: "bytes of memory", limit: 20 })));
}

proptest! {
    #[test]
    fn cells_and_rows_give_all_probes(
        specs in prop::collection::vec((1_u32..4, -100_i64..4_500, 0_u8..3, 0_u8..8, 0_u8..4, 0_usize..3), 0..150),
        late in 0_usize..10,
        days in prop::collection::btree_set(-1_i32..4, 0..5),
        window in (-200_i64..3_000, 0_i64..3_000),
        one in any::<bool>(),
        app in prop::option::of(1_u8..3),
    ) {
        let points: Vec<Point> = specs.into_iter().enumerate().map(|(index, spec)| {
            let (tenant, minute, app, value, maintenance, part) = spec;
            let part = if index < late { part } else { 0 };
            let value_of = [0.0, 0.49, 0.5, 1.0, 1.0, 1.0, f64::NAN, 1.0][usize::from(value)];
            let uptime = value != 4;
            Point { tenant, at: BASE + minute * MINUTE, app, value: value_of, maintenance, uptime, part }
        }).collect();
        let days: Vec<i32> = days.into_iter().map(|day| TimestampUs(BASE).day() + day).collect();
        let mut request = request(window.0, window.0 + window.1);
        request.app = app.map(|app| format!("app{app}"));
        if one {
            request.scope = Scope::One(tenant_name(1));
        }
        prop_assert_eq!(probes(&snapshot(&points, &days), &request).unwrap().apps, judge(&points, &request));
    }
}
