//! Metric points: the fields of a record, what a metric's kind is, and the row.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use insights_engine::id::Stream;
use insights_engine::schema::stream::{HOST, KIND, LABELS, MetricKind, NAME, REQUEST_ID, TRACE_ID, VALUE};
use serde::de::{IgnoredAny, MapAccess};

use super::document::{DocumentSeed, Rule, Scratch};
use super::fault::code;
use super::intake::{Collected, Intake, Request};
use super::metric_kinds::{Claims, MetricKinds};
use super::raw::Raw;
use super::record::{Record, Shared, Sink, require, text};
use crate::domain::metric::{
    METRIC_NAME_BYTES_MAX, UNIT_BYTES_MAX, is_metric_name, kind_from_name, kind_name, known_metric,
};

/// Most characters of a host.
const HOST_CHARS_MAX: usize = 255;

/// A metric point as it is read.
#[derive(Debug, Default)]
pub struct PointRecord<'de> {
    shared: Shared<'de>,
    name: Option<Cow<'de, str>>,
    value: Option<f64>,
    kind: Option<MetricKind>,
    unit: Option<Cow<'de, str>>,
    host: Option<Cow<'de, str>>,
    labels: Option<Range<usize>>,
}

impl<'de> Record<'de> for PointRecord<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        scratch: &mut Scratch,
    ) -> Result<(), A::Error> {
        let faults = &mut scratch.faults;
        match key {
            "name" => {
                self.name = text(map, "/name", METRIC_NAME_BYTES_MAX, faults)?.filter(|name| {
                    let fits = is_metric_name(name);
                    if !fits {
                        let detail = "a metric's name is a letter or _, then A-Z a-z 0-9 . _ : / -";
                        faults.add("/name", code::INVALID, detail);
                    }
                    fits
                });
            }
            "value" => self.value = map.next_value::<Raw<'de>>()?.number("/value", faults),
            "type" => {
                let name = text(map, "/type", usize::MAX, faults)?;
                self.kind = name.and_then(|name| {
                    let kind = kind_from_name(&name);
                    if kind.is_none() {
                        faults.add("/type", code::INVALID, "this is one of gauge, counter, histogram");
                    }
                    kind
                });
            }
            "unit" => self.unit = text(map, "/unit", UNIT_BYTES_MAX, faults)?,
            "host" => self.host = text(map, "/host", HOST_CHARS_MAX, faults)?,
            "labels" => {
                let seed = DocumentSeed { rule: Rule::Labels, pointer: "/labels", scratch };
                self.labels = map.next_value_seed(seed)?;
            }
            key => {
                if !self.shared.field(key, map, faults)? {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Turns metric points into rows.
#[derive(Debug)]
pub struct PointSink<'a> {
    intake: Intake<'a>,
    kinds: &'a Arc<MetricKinds>,
    claims: Claims,
}

impl<'a> PointSink<'a> {
    /// A sink without rows.
    pub fn new(request: &'a Request<'a>, kinds: &'a Arc<MetricKinds>) -> Self {
        Self { intake: Intake::new(request, Stream::Metrics), kinds, claims: kinds.claims() }
    }

    /// What the request came to, and the metrics that it names for the first time.
    pub fn finish(self) -> (Collected, Claims) {
        (self.intake.finish(), self.claims)
    }

    /// Adds the row of a record without faults.
    fn row(&mut self, mut record: PointRecord<'_>, scratch: &mut Scratch) -> Option<()> {
        let faults = &mut scratch.faults;
        let table = self.intake.home(&mut record.shared, faults);
        require(record.name.is_some(), "/name", faults);
        require(record.value.is_some(), "/value", faults);
        let time = self.intake.time(record.shared.timestamp, faults);
        if !faults.is_empty() {
            return None;
        }
        let (given, value, table) = (record.name?, record.value?, table?);
        let known = known_metric(&given);
        let name = known.map_or(&*given, |known| known.name);
        let asked = record.kind.or(known.map(|known| known.kind)).unwrap_or(MetricKind::Gauge);
        let kind = if let Some(known) = known {
            known.kind
        } else {
            let organization = self.intake.organization_of(table)?.as_str();
            self.claims.kind_of(organization, name, asked, record.unit.as_deref())
        };
        if kind != asked {
            let detail = format!("{name} is a {}", kind_name(kind));
            faults.add("/type", code::CONFLICT, detail);
            return None;
        }
        let (request_id, trace_id) = (self.intake.request_id(), self.intake.trace_id());
        let row = self.intake.row(table, time, &record.shared, None)?;
        row.str(&REQUEST_ID, request_id)
            .str(&TRACE_ID, trace_id)
            .str(&NAME, Some(name))
            .str(&HOST, record.host.as_deref())
            .bytes(&LABELS, scratch.document(record.labels.as_ref()))
            .u64(&KIND, kind as u64)
            .f64(&VALUE, value)
            .finish_row();
        Some(())
    }
}

impl<'de> Sink<'de> for PointSink<'_> {
    type Record = PointRecord<'de>;

    fn take(&mut self, record: PointRecord<'de>, scratch: &mut Scratch) {
        self.intake.begin();
        if self.row(record, scratch).is_none() {
            self.intake.reject(&mut scratch.faults);
        }
    }

    fn refuse(&mut self, scratch: &mut Scratch) {
        self.intake.begin();
        self.intake.reject(&mut scratch.faults);
    }

    fn reset(&mut self) {
        self.intake.reset();
        self.claims = self.kinds.claims();
    }
}
