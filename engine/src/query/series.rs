//! Series of metrics and their samples: what Prometheus and the like stand on.

use std::sync::Arc;

use hashbrown::HashMap;

use super::field::{Fields, Source};
use super::filter::{self, Predicate};
use super::granule::Granule;
use super::ids::{self, ABSENT, KeyIds};
use super::mask::Rows;
use super::number::{as_i64, as_u64};
use super::plan::{self, Slice};
use super::request::{Damage, Field, Filter, KeyValue, Literal, Op, Scope};
use super::snapshot::Snapshot;
use super::walk::{self, Tally};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId, TenantNo};
use crate::schema::stream::{APP_ID, HOST, KIND, LABELS, LSN, NAME, TIME, VALUE};
use crate::schema::{ColumnDef, ColumnVector};
use crate::time::{TimeRange, TimestampUs};

/// Metric name, app, host and labels of one tenant: what its samples are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Whose it is.
    pub tenant: TenantId,
    /// The metric.
    pub name: Option<Arc<str>>,
    /// The application.
    pub app: Option<Arc<str>>,
    /// The host.
    pub host: Option<Arc<str>>,
    /// The labels, as an encoded [`crate::schema::Document`]: equal labels have equal bytes.
    pub labels: Option<Arc<[u8]>>,
    /// The [`crate::schema::stream::MetricKind`] of its points, as stored; another kind is another series.
    pub kind: u64,
}

/// Series that have a point in a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeriesList {
    /// The series, sorted, each once.
    pub series: Vec<Series>,
    /// What could not be read.
    pub damaged: Vec<Damage>,
}

/// Samples of one series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Event time and value, by time; of one instant in the order they were received. NaN bits survive.
    pub samples: Vec<(TimestampUs, f64)>,
    /// What could not be read.
    pub damaged: Vec<Damage>,
}

/// The text of a series, numbered once for a question.
#[derive(Debug, Default)]
struct Names {
    name: KeyIds,
    app: KeyIds,
    host: KeyIds,
    labels: HashMap<Arc<[u8]>, u32>,
}

/// The leaves of the columns that make a series.
#[derive(Debug, Clone, Copy)]
struct Leaves {
    name: usize,
    app: usize,
    host: usize,
    labels: usize,
    kind: usize,
}

/// What a series is within one question: tenant, name, app, host, labels, kind.
type SeriesKey = (TenantNo, u32, u32, u32, u32, u64);

/// The series of a scope that have a point in a window and match, sorted.
///
/// # Errors
///
/// [`Error::QueryLimit`] for more than `series_max`, [`Error::Invalid`] for a field that metrics do
/// not have, and what the parts answer where they are damaged (unless `allow_partial`).
pub fn series(
    snapshot: &Snapshot,
    scope: &Scope,
    matchers: &Filter,
    window: TimeRange,
    series_max: usize,
    allow_partial: bool,
) -> Result<SeriesList> {
    let mut fields = Fields::new(Stream::Metrics);
    let time = fields.column(&TIME)?;
    let mut predicate = Predicate::compile(matchers, &mut fields)?;
    let leaves = Leaves {
        name: fields.column(&NAME)?,
        app: fields.column(&APP_ID)?,
        host: fields.column(&HOST)?,
        labels: fields.column(&LABELS)?,
        kind: fields.column(&KIND)?,
    };
    let mut names = Names::default();
    let mut found: HashMap<SeriesKey, Series> = HashMap::new();
    let mut tally = Tally::new(snapshot, Stream::Metrics, window, allow_partial);
    let mut list = Vec::new();
    for (task, token) in plan::plan(snapshot, scope, Stream::Metrics, window).iter().zip(1..) {
        let Some(mut granule) = Granule::new(snapshot, &fields, task, token) else { continue };
        for slice in &task.slices {
            tally.look_at(slice)?;
            let read = filter::select(&mut predicate, time, window, &mut granule, slice).and_then(|mask| {
                let rows = walk::selected(&mask, slice, &mut list);
                names.find(&mut granule, slice, rows, leaves, &mut found)
            });
            tally.or_skip(read, slice)?;
            if found.len() > series_max {
                return Err(Error::QueryLimit { what: "series", limit: series_max as u64 });
            }
        }
    }
    let mut series: Vec<Series> = found.into_values().collect();
    series.sort_unstable();
    Ok(SeriesList { series, damaged: tally.finish().1 })
}

impl Names {
    /// Adds the series of some rows. Rows of one series follow each other, so most are met before.
    fn find(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        rows: Rows<'_>,
        leaves: Leaves,
        found: &mut HashMap<SeriesKey, Series>,
    ) -> Result<()> {
        if rows.len() == 0 {
            return Ok(());
        }
        let tenant = slice.tenant;
        let (mut name, mut app, mut host) = (Vec::new(), Vec::new(), Vec::new());
        ids::key_ids(&mut self.name, &Source::Leaf(leaves.name), granule, tenant, rows, &mut name)?;
        ids::key_ids(&mut self.app, &Source::Leaf(leaves.app), granule, tenant, rows, &mut app)?;
        ids::key_ids(&mut self.host, &Source::Leaf(leaves.host), granule, tenant, rows, &mut host)?;
        let (labels, kinds) = (granule.load(leaves.labels)?, granule.load(leaves.kind)?);
        let kinds = as_u64(&kinds)?;
        let ColumnVector::Bytes(labels) = &*labels else {
            return Err(Error::invalid("a part whose labels are no documents"));
        };
        let owner = snapshot_name(granule.snapshot, tenant)?;
        let mut last: Option<SeriesKey> = None;
        let mut last_labels: Option<(Option<&[u8]>, u32)> = None;
        rows.each(|at, row| {
            let document = labels.get(row);
            let label = match last_labels {
                Some((known, id)) if known == document => id,
                _ => self.label_id(document),
            };
            last_labels = Some((document, label));
            let id = |ids: &[u32]| ids.get(at).copied().unwrap_or(ABSENT);
            let kind = kinds.get(row).copied().unwrap_or(0);
            let key = (tenant, id(&name), id(&app), id(&host), label, kind);
            if last == Some(key) {
                return;
            }
            last = Some(key);
            found.entry(key).or_insert_with(|| Series {
                tenant: owner.clone(),
                name: text(&self.name, key.1),
                app: text(&self.app, key.2),
                host: text(&self.host, key.3),
                labels: document.map(Arc::from),
                kind,
            });
        });
        Ok(())
    }

    fn label_id(&mut self, document: Option<&[u8]>) -> u32 {
        let Some(document) = document else { return ABSENT };
        if let Some(id) = self.labels.get(document) {
            return *id;
        }
        let id = u32::try_from(self.labels.len()).unwrap_or(ABSENT);
        self.labels.insert(document.into(), id);
        id
    }
}

fn text(ids: &KeyIds, id: u32) -> Option<Arc<str>> {
    match ids.values().get(id as usize) {
        Some(KeyValue::Str(text)) => Some(Arc::clone(text)),
        _ => None,
    }
}

fn snapshot_name(snapshot: &Snapshot, tenant: TenantNo) -> Result<TenantId> {
    let unknown = || Error::corrupt("tenant", "catalog", 0, format!("tenant {tenant} has rows and no name"));
    snapshot.tenants.name_of(tenant).ok_or_else(unknown)
}

/// The samples of one series in a range, by time.
///
/// # Errors
///
/// [`Error::QueryLimit`] for more than `samples_max`, and what the parts answer where they are damaged
/// (unless `allow_partial`).
pub fn samples(
    snapshot: &Snapshot,
    series: &Series,
    range: TimeRange,
    samples_max: usize,
    allow_partial: bool,
) -> Result<Samples> {
    let mut fields = Fields::new(Stream::Metrics);
    let (time, lsn) = (fields.column(&TIME)?, fields.column(&LSN)?);
    let (value, labels) = (fields.column(&VALUE)?, fields.column(&LABELS)?);
    let mut predicate = Predicate::compile(&matchers_of(series), &mut fields)?;
    let mut tally = Tally::new(snapshot, Stream::Metrics, range, allow_partial);
    let mut found: Vec<(i64, u64, f64)> = Vec::new();
    let mut list = Vec::new();
    let scope = Scope::One(series.tenant.clone());
    for (task, token) in plan::plan(snapshot, &scope, Stream::Metrics, range).iter().zip(1..) {
        let Some(mut granule) = Granule::new(snapshot, &fields, task, token) else { continue };
        for slice in &task.slices {
            tally.look_at(slice)?;
            let read =
                filter::select(&mut predicate, time, range, &mut granule, slice).and_then(|mut mask| {
                    if mask.is_empty() {
                        return Ok(Vec::new());
                    }
                    let documents = granule.load(labels)?;
                    let ColumnVector::Bytes(documents) = &*documents else {
                        return Err(Error::invalid("a part whose labels are no documents"));
                    };
                    let base = slice.rows.start;
                    mask.try_retain(|row| Ok(documents.get(base + row) == series.labels.as_deref()))?;
                    let rows = walk::selected(&mask, slice, &mut list);
                    points(&mut granule, rows, time, lsn, value)
                });
            found.extend(tally.or_skip(read, slice)?.unwrap_or_default());
            if found.len() > samples_max {
                return Err(Error::QueryLimit { what: "samples", limit: samples_max as u64 });
            }
        }
    }
    // Stable: samples of one frame and instant stay as they lie.
    found.sort_by_key(|(time, lsn, _)| (*time, *lsn));
    let samples = found.into_iter().map(|(time, _, value)| (TimestampUs(time), value)).collect();
    Ok(Samples { samples, damaged: tally.finish().1 })
}

/// What selects the points of a series, but for its labels.
fn matchers_of(series: &Series) -> Filter {
    let column = |def: &ColumnDef, text: &Option<Arc<str>>| {
        let field = Field::Column(def.id);
        match text {
            Some(text) => Filter::Compare(field, Op::Is(Literal::Str(text.to_string()))),
            None => Filter::Not(Box::new(Filter::Compare(field, Op::Exists))),
        }
    };
    let kind = Filter::Compare(Field::Column(KIND.id), Op::Is(Literal::U64(series.kind)));
    Filter::And(vec![
        column(&NAME, &series.name),
        column(&APP_ID, &series.app),
        column(&HOST, &series.host),
        kind,
    ])
}

fn points(
    granule: &mut Granule<'_>,
    rows: Rows<'_>,
    time: usize,
    lsn: usize,
    value: usize,
) -> Result<Vec<(i64, u64, f64)>> {
    let (times, lsns, values) = (granule.load(time)?, granule.load(lsn)?, granule.load(value)?);
    let (times, lsns) = (as_i64(&times)?, as_u64(&lsns)?);
    let ColumnVector::F64(values, _) = &*values else {
        return Err(Error::invalid("a part whose values are no doubles"));
    };
    let mut out = Vec::with_capacity(rows.len());
    rows.each(|_, row| {
        if let (Some(time), Some(lsn), Some(value)) = (times.get(row), lsns.get(row), values.get(row)) {
            out.push((*time, *lsn, *value));
        }
    });
    Ok(out)
}
