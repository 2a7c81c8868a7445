//! The probes of applications, read from the metric `uptime`.

use std::collections::HashMap;
use std::sync::Arc;

use insights_engine::id::Stream;
use insights_engine::query::{Field, Filter, ScanColumn, ScanEnd, ScanRequest, ScanVector};
use insights_engine::schema::{Scalar, stream};
use insights_engine::time::{TimeRange, TimestampUs};
use insights_engine::{Error, Result};

use super::fields::{both, code, column, doubles, instants, is, leaf, value};
use super::reader::Reader;
use super::uptime::{AROUND_US, Probe, Stretch, timeline};
use super::window::Window;
use crate::http::error::ApiError;

/// The metric of probes.
const UPTIME: &str = "uptime";
/// The label of a probe that was made during maintenance.
const MAINTENANCE: &str = "maintenance";
/// Most probes that one question may hold in memory.
const PROBES_MAX: usize = 8_000_000;

/// The timeline of one application of one tenant.
#[derive(Debug)]
pub(crate) struct AppTimeline {
    /// The application; `None` for probes that name none.
    pub(crate) app_id: Option<Arc<str>>,
    /// What is known of it.
    pub(crate) stretches: Vec<Stretch>,
}

/// Whether a probe was made during maintenance, as far as it is known before the names are.
#[derive(Debug, Clone, Copy)]
enum Maintenance {
    Known(bool),
    Code(u32),
}

/// A probe as it comes from a scan: when, whether it is up, whether in maintenance.
type ScannedProbe = (i64, bool, Maintenance);

/// Probes by tenant and the application's code.
#[derive(Debug, Default)]
struct Probes {
    apps: HashMap<(u32, Option<u32>), Vec<ScannedProbe>>,
    count: usize,
}

/// The timelines of every application that `filter` lets pass, up to the moment of the question.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn timelines(
    reader: &Reader<'_>,
    window: &Window,
    filter: Filter,
) -> std::result::Result<Vec<AppTimeline>, ApiError> {
    let range = window.range;
    let around = TimeRange {
        start: TimestampUs(range.start.0.saturating_sub(AROUND_US)),
        end: TimestampUs(range.end.0.saturating_add(AROUND_US)),
    };
    let request = ScanRequest {
        filter: both(is(&stream::NAME, UPTIME), filter),
        fields: vec![
            column(&stream::TIME),
            value(),
            column(&stream::APP_ID),
            Field::Path(stream::LABELS.id, vec![MAINTENANCE.to_owned()]),
        ],
        ..reader.scan_request(Stream::Metrics, around)
    };
    let mut probes = Probes::default();
    let end = reader.scan(request, &mut |vector| probes.add(vector))?;
    let mut apps = probes.timelines(&end, window.complete_until());
    // An application of which nothing is known inside the window has no probes there.
    apps.retain(|app| app.stretches.iter().any(|s| s.range.start < range.end && s.range.end > range.start));
    Ok(apps)
}

impl Probes {
    fn add(&mut self, vector: &ScanVector) -> Result<()> {
        let [times, values, apps, maintenance] = vector.columns.as_slice() else {
            return Err(Error::invalid("a scan of other fields"));
        };
        for (row, (time, value)) in instants(times)?.iter().zip(doubles(values)?).enumerate() {
            let probes = self.apps.entry((vector.tenant.0, code(apps, row))).or_default();
            probes.push((*time, *value >= 0.5, in_maintenance(maintenance, row)));
            self.count += 1;
        }
        if self.count > PROBES_MAX {
            return Err(Error::QueryLimit { what: "probes", limit: PROBES_MAX as u64 });
        }
        Ok(())
    }

    fn timelines(self, end: &ScanEnd, until: TimestampUs) -> Vec<AppTimeline> {
        let name = |field: usize, code: u32| end.names.get(field)?.get(usize::try_from(code).ok()?).cloned();
        let is_true = |code| name(3, code).is_some_and(|text| &*text == "true");
        let mut out: Vec<AppTimeline> = Vec::with_capacity(self.apps.len());
        for ((_, app), probes) in self.apps {
            let probe = |(at, up, maintenance): ScannedProbe| Probe {
                at: TimestampUs(at),
                up,
                maintenance: match maintenance {
                    Maintenance::Known(known) => known,
                    Maintenance::Code(code) => is_true(code),
                },
            };
            let stretches = timeline(probes.into_iter().map(probe).collect(), until);
            out.push(AppTimeline { app_id: app.and_then(|code| name(2, code)), stretches });
        }
        out.sort_by(|a, b| a.app_id.cmp(&b.app_id));
        out
    }
}

fn in_maintenance(column: &ScanColumn, row: usize) -> Maintenance {
    match leaf(column, row) {
        Some(Scalar::Bool(known)) => Maintenance::Known(*known),
        Some(Scalar::Str(text)) => Maintenance::Known(&**text == "true"),
        _ => code(column, row).map_or(Maintenance::Known(false), Maintenance::Code),
    }
}

#[cfg(test)]
mod tests {
    use insights_engine::id::TenantNo;
    use insights_engine::schema::NULL_CODE;

    use super::*;
    use crate::report::uptime::State;

    #[test]
    fn probes_are_kept_apart_by_tenant_and_application() {
        let minute = 60_000_000;
        let vector = |tenant, apps: &[u32]| ScanVector {
            tenant: TenantNo(tenant),
            rows: 3,
            columns: vec![
                ScanColumn::I64(vec![0, minute, 2 * minute], None),
                ScanColumn::F64(vec![1.0, 0.0, 0.0], None),
                ScanColumn::Codes(apps.to_vec()),
                ScanColumn::Codes(vec![NULL_CODE, NULL_CODE, 0]),
            ],
        };
        let mut probes = Probes::default();
        probes.add(&vector(1, &[0, 0, 0])).unwrap();
        probes.add(&vector(2, &[0, NULL_CODE, 0])).unwrap();
        let names = vec![vec![], vec![], vec!["shop".into()], vec!["true".into()]];
        let end = ScanEnd { names, ..ScanEnd::default() };
        let got = probes.timelines(&end, TimestampUs(3 * minute));
        let states: Vec<_> = got
            .iter()
            .map(|app| (app.app_id.as_deref(), app.stretches.iter().map(|s| s.state).collect::<Vec<_>>()))
            .collect();
        assert_eq!(states.len(), 3);
        // The failed probe alone is pending; what follows is maintenance.
        let shop = (Some("shop"), vec![State::Up, State::Maintenance]);
        assert_eq!(states[0], (None, vec![State::Up]));
        assert_eq!([&states[1], &states[2]], [&shop, &shop]);
    }
}
