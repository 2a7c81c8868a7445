//! Makes days final: once a midnight of each zone, for all organizations in it.
//!
//! Rollups are made when rows are written into segments, and once more when segments of a day are merged. So a day is
//! final when the rows of it that are in memory are flushed, and what is due to be merged is merged; both are done
//! once for all organizations, because segments are shared by them. Rows that come later change the day again.

use std::collections::{BTreeMap, HashMap};

use insights_engine::Error;
use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Field, GroupBy, KeyValue};
use insights_engine::time::TimeRange;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AGGREGATE, TaskError};
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::job::record::RunCause;
use crate::job::scheduler::Run;
use crate::job::zone::Zone;
use crate::organization::OrganizationSettings;

/// Most zones that a result names; all of them are done.
const NAMED_MAX: usize = 6;
/// Version of [`Covered`].
const VERSION: u32 = 1;

/// Which day of each zone was made final last.
#[derive(Debug, Serialize, Deserialize)]
struct Covered {
    version: u32,
    /// Name of a zone -> the day, as `2024-01-31`.
    zones: BTreeMap<String, String>,
}

impl Covered {
    fn key() -> Vec<u8> {
        format!("job/{AGGREGATE}/covered").into_bytes()
    }

    /// What is stored; nothing when that is of a later version.
    fn read(state: &AppState) -> Self {
        let stored = state.store.catalog_get(CatalogKind::Setting, &Self::key());
        let stored = stored.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        stored
            .filter(|covered| covered.version == VERSION)
            .unwrap_or_else(|| Self { version: VERSION, zones: BTreeMap::new() })
    }

    fn put(&self) -> CatalogPut {
        let value = serde_json::to_vec(self).unwrap_or_default();
        CatalogPut { kind: CatalogKind::Setting, key: Self::key(), value: Some(value) }
    }
}

/// The last day that is over in one zone, and the organizations of which it is.
#[derive(Debug)]
struct Day {
    zone: Zone,
    /// As `2024-01-31`.
    date: String,
    range: TimeRange,
    /// Names of organizations.
    organizations: Vec<String>,
}

/// Makes the last day of every zone final in which it was not; of all zones when somebody asked for it.
pub(super) async fn aggregate(state: AppState, run: Run) -> Result<Value, TaskError> {
    let mut covered = Covered::read(&state);
    let mut days = days(&state, run)?;
    if run.cause != RunCause::Asked {
        days.retain(|day| covered.zones.get(&day.zone.name) != Some(&day.date));
    }
    let settled = state.store.settle().await?;
    let mut told = Vec::new();
    for day in &days {
        let (with_rows, rows) = count(&state, day).await?;
        if told.len() < NAMED_MAX {
            told.push(json!({
                "timezone": day.zone.name,
                "day": day.date,
                "organizations": day.organizations.len(),
                "organizations_with_rows": with_rows,
                "rows": rows,
            }));
        }
        covered.zones.insert(day.zone.name.clone(), day.date.clone());
    }
    let omitted = days.len().saturating_sub(told.len());
    state.store.put(vec![covered.put()]).await?;
    Ok(json!({ "days": told, "days_omitted": omitted, "merges": settled.jobs, "merged_rows": settled.rows }))
}

/// The last day of each zone that an organization has.
fn days(state: &AppState, run: Run) -> Result<Vec<Day>, TaskError> {
    let default = &state.config.jobs.zone;
    let mut zones: BTreeMap<String, (Zone, Vec<String>)> = BTreeMap::new();
    for organization in state.store.tenants() {
        let zone =
            OrganizationSettings::of(&state.store, &organization).timezone.unwrap_or_else(|| default.clone());
        let place = zones.entry(zone.name.clone()).or_insert_with(|| (zone, Vec::new()));
        place.1.push(organization.as_str().to_owned());
    }
    let day = |(zone, organizations): (Zone, Vec<String>)| {
        let day = zone.yesterday(run.started)?;
        let range = zone.day(day)?;
        Some(Day { zone, date: day.to_string(), range, organizations })
    };
    zones.into_values().map(|place| day(place).ok_or(TaskError::Calendar)).collect()
}

/// The organizations of a day that have rows in it, and their rows by stream; null where some are not kept that long.
async fn count(state: &AppState, day: &Day) -> Result<(usize, Value), TaskError> {
    // The server's own count, over everybody, told as sums.
    let scope = Principal::local().read_scope(None, Scopes::READ).map_err(|_| TaskError::Scope)?;
    let ours: std::collections::HashSet<&str> = day.organizations.iter().map(String::as_str).collect();
    let mut totals = serde_json::Map::new();
    let mut with_rows: HashMap<String, u64> = HashMap::new();
    for stream in Stream::ALL {
        let mut query = scope.query(stream, day.range);
        query.group_by = vec![GroupBy::Field(Field::Tenant)];
        query.aggregates = vec![Aggregate::Count];
        let total = match state.store.aggregate(&scope, query).await {
            Ok(answer) => {
                let mut total = 0;
                for group in &answer.groups {
                    let (Some(KeyValue::Str(name)), Some(rows)) = (group.key.first(), group.values.first())
                    else {
                        continue;
                    };
                    if ours.contains(&**name) {
                        total += rows.as_u64();
                        *with_rows.entry(name.to_string()).or_default() += rows.as_u64();
                    }
                }
                Value::from(total)
            }
            Err(Error::RowsExpired { .. }) => Value::Null,
            Err(error) => return Err(error.into()),
        };
        totals.insert(stream.name().to_owned(), total);
    }
    Ok((with_rows.len(), totals.into()))
}
