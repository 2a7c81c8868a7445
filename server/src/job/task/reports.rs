//! Makes the reports of the days that are over: once a night of each zone, for all organizations in it.
//!
//! A report has one name by what it is of, so that a run that is repeated, or was cut, finds what is there already and
//! makes the rest. A day counts as done in a zone when none of its reports failed; one that is not is looked at again
//! by the next run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Aggregate, Field, Filter, GroupBy, KeyValue, Literal, Op};
use insights_engine::schema::stream;
use insights_engine::time::TimeRange;
use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{REPORTS, TaskError};
use crate::app::AppState;
use crate::auth::{PLATFORM, Principal, ReadScope, Scopes};
use crate::domain::audit::OWN_ACTION_PREFIX;
use crate::domain::metric::KNOWN;
use crate::http::error::Code;
use crate::job::record::RunCause;
use crate::job::scheduler::Run;
use crate::job::zone::Zone;
use crate::organization::OrganizationSettings;
use crate::report::stored::ReportType;
use crate::report::stored::ask::StoredRequest;
use crate::report::stored::shelf::Maker;

/// Most days before the last one that are made up for after downtime.
const CATCH_UP_DAYS_MAX: i64 = 7;
/// Days of an organization's report.
const ORGANIZATION_DAYS: i64 = 30;
/// Most applications of an organization that have a report a day: those with the most points.
const APPS_MAX: usize = 100;
/// Most days that a result names; all of them are made.
const NAMED_MAX: usize = 6;
/// Version of [`Covered`].
const VERSION: u32 = 1;

/// The last day of each zone that is done.
#[derive(Debug, Serialize, Deserialize)]
struct Covered {
    version: u32,
    /// Name of a zone -> the day, as `2024-01-31`.
    zones: BTreeMap<String, String>,
}

/// What became of the reports of a day, or of all.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    organizations: u64,
    made: u64,
    existing: u64,
    expired: u64,
    failed: u64,
    apps_omitted: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.organizations += more.organizations;
        self.made += more.made;
        self.existing += more.existing;
        self.expired += more.expired;
        self.failed += more.failed;
        self.apps_omitted += more.apps_omitted;
    }
}

impl Covered {
    fn key() -> Vec<u8> {
        format!("job/{REPORTS}/covered").into_bytes()
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

    /// The day of a zone that is done, of those up to `last`: one that is not over was done by a clock that ran ahead,
    /// and says nothing.
    fn done(&self, zone: &Zone, last: Date) -> Option<Date> {
        let done = self.zones.get(&zone.name).and_then(|day| day.parse::<Date>().ok());
        done.filter(|day| *day <= last)
    }

    /// The days of a zone that are to be made, up to `last`: those after the one that is done, else `last` alone.
    fn due(&self, zone: &Zone, last: Date, is_asked: bool) -> Vec<Date> {
        let after = self.done(zone, last).and_then(|day| day.tomorrow().ok());
        let earliest = last.checked_sub(Span::new().days(CATCH_UP_DAYS_MAX)).unwrap_or(last);
        let mut first = after.map_or(last, |after| after.max(earliest));
        if is_asked {
            first = first.min(last);
        }
        let days = std::iter::successors(Some(first), |day| day.tomorrow().ok());
        days.take_while(|day| *day <= last).collect()
    }
}

/// Makes what is not there yet of the reports of each zone's days; of the last day in any case when somebody asked.
pub(super) async fn reports(state: AppState, run: Run) -> Result<Value, TaskError> {
    let covered = Covered::read(&state);
    let (mut total, mut told, mut days) = (Counts::default(), Vec::new(), 0_usize);
    for (zone, organizations) in zones(&state).into_values() {
        let last = zone.yesterday(run.started).ok_or(TaskError::Calendar)?;
        let before = covered.zones.get(&zone.name).cloned();
        let mut done = Done { before, stands: covered.done(&zone, last).is_some(), is_whole: true };
        for day in covered.due(&zone, last, run.cause == RunCause::Asked) {
            let counts = of_day(&state, &zone, day, &organizations).await.unwrap_or_else(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, timezone = zone.name, %day, "the reports of a day were not made");
                Counts { failed: 1, ..Counts::default() }
            });
            days += 1;
            if told.len() < NAMED_MAX {
                told.push(json!({ "timezone": zone.name, "day": day.to_string(),
                                  "organizations": counts.organizations }));
            }
            total += counts;
            done.is_whole &= counts.failed == 0;
            done.mark(&state, &zone, day).await?;
        }
    }
    Ok(json!({
        "days": told,
        "days_omitted": days - told.len(),
        "made": total.made,
        "existing": total.existing,
        "expired": total.expired,
        "failed": total.failed,
        "apps_omitted": total.apps_omitted,
    }))
}

/// How far a zone is done while its days are made.
struct Done {
    /// The last day that was done, as it stands in the catalog.
    before: Option<String>,
    /// Whether that says where the next run begins.
    stands: bool,
    /// Whether no report has failed so far.
    is_whole: bool,
}

impl Done {
    /// Keeps that a day is done, unless a report has failed: then the next run begins with the first such day. Nothing
    /// is kept when an organization came into the zone meanwhile, which had the days looked at again.
    async fn mark(&mut self, state: &AppState, zone: &Zone, day: Date) -> Result<(), TaskError> {
        let mut covered = Covered::read(state);
        if covered.zones.get(&zone.name) != self.before.as_ref() || (self.stands && !self.is_whole) {
            return Ok(());
        }
        let done = if self.is_whole { day } else { day.yesterday().map_err(|_| TaskError::Calendar)? };
        (self.before, self.stands) = (Some(done.to_string()), true);
        covered.zones.insert(zone.name.clone(), done.to_string());
        state.store.put(vec![covered.put()]).await?;
        Ok(())
    }
}

/// What is to be kept when an organization comes into a zone: the last day there is looked at again by the next run,
/// because it may be over and done while the organization's own day was not. Reports that are there are found.
pub(crate) fn revisit(state: &AppState, zone: &Zone) -> Option<CatalogPut> {
    let before_last = zone.yesterday(state.clock.now())?.yesterday().ok()?;
    let mut covered = Covered::read(state);
    let done = covered.zones.get(&zone.name).and_then(|day| day.parse::<Date>().ok());
    if done.is_some_and(|done| done <= before_last) {
        return None;
    }
    covered.zones.insert(zone.name.clone(), before_last.to_string());
    Some(covered.put())
}

/// The zones of organizations, and which are in each.
fn zones(state: &AppState) -> BTreeMap<String, (Zone, Vec<TenantId>)> {
    let mut zones: BTreeMap<String, (Zone, Vec<TenantId>)> = BTreeMap::new();
    for organization in state.store.tenants() {
        if organization.as_str() == PLATFORM {
            continue;
        }
        let zone = OrganizationSettings::of(&state.store, &organization).timezone;
        let zone = zone.unwrap_or_else(|| state.config.jobs.zone.clone());
        let place = zones.entry(zone.name.clone()).or_insert_with(|| (zone, Vec::new()));
        place.1.push(organization);
    }
    zones
}

/// The reports of one day of those organizations that have rows in it, or may have had some. What one of them cannot have does not keep the
/// others from theirs.
async fn of_day(
    state: &AppState,
    zone: &Zone,
    day: Date,
    organizations: &[TenantId],
) -> Result<Counts, TaskError> {
    let range = zone.day(day).ok_or(TaskError::Calendar)?;
    let active = active(state, range, organizations).await?;
    let mut counts = Counts::default();
    for organization in organizations.iter().filter(|organization| active.contains(organization.as_str())) {
        counts.organizations += 1;
        for request in requests(state, organization, zone, day, range, &mut counts).await {
            one(state, organization, request, &mut counts).await;
        }
    }
    Ok(counts)
}

/// Makes one report, unless it is there.
async fn one(state: &AppState, organization: &TenantId, request: StoredRequest, counts: &mut Counts) {
    let kind = request.kind;
    let made = match scopes(state, organization) {
        Some((scope, platform)) => {
            let (scope, platform) = (&scope, platform.as_ref());
            // What the task makes has limits of its own.
            let maker = Maker { state, scope, platform, organization, a_day_max: u64::MAX };
            maker.make(request).await.map_err(|error| error.code())
        }
        None => Err(Code::Internal),
    };
    match made {
        Ok(made) if made.found.is_some() && made.cost.is_none() => counts.existing += 1,
        Ok(made) if made.found.is_some() => counts.made += 1,
        Err(Code::RowsExpired) => counts.expired += 1,
        Ok(_) => counts.failed += 1,
        Err(code) => {
            tracing::warn!(code = code.name(), report = kind.name(), %organization, "a report was not made");
            counts.failed += 1;
        }
    }
}

/// What the server itself may read for the reports of an organization.
fn scopes(state: &AppState, organization: &TenantId) -> Option<(ReadScope, Option<ReadScope>)> {
    let local = Principal::local();
    let scope =
        local.read_organization(Some(organization.as_str()), Scopes::READ | Scopes::AUDIT_READ).ok()?;
    let platform = state.config.share_system_metrics.then(|| local.read_platform_metrics().ok()).flatten();
    Some((scope, platform))
}

/// The reports that an organization has of a day. Those of its applications are left out, and counted as one that
/// failed, when nobody can say which applications there are.
async fn requests(
    state: &AppState,
    organization: &TenantId,
    zone: &Zone,
    day: Date,
    range: TimeRange,
    counts: &mut Counts,
) -> Vec<StoredRequest> {
    let wanted = |kind| state.config.jobs.report_types.contains(&kind);
    let now = state.clock.now();
    let of = |kind, app: Option<String>, range| StoredRequest::of(kind, app, range, zone, now);
    let mut out = Vec::new();
    for kind in [ReportType::Daily, ReportType::Security] {
        out.extend(of(kind, None, range).filter(|_| wanted(kind)));
    }
    if wanted(ReportType::Application) {
        let mut apps = apps(state, organization, range).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, %organization, "no reports of applications");
            counts.failed += 1;
            Vec::new()
        });
        counts.apps_omitted += apps.len().saturating_sub(APPS_MAX) as u64;
        apps.truncate(APPS_MAX);
        out.extend(apps.into_iter().filter_map(|app| of(ReportType::Application, Some(app), range)));
    }
    if wanted(ReportType::Organization) {
        let first = day.checked_sub(Span::new().days(ORGANIZATION_DAYS - 1)).ok();
        let start = first.and_then(|first| zone.day(first)).map(|first| first.start);
        let range = start.map(|start| TimeRange { start, end: range.end });
        out.extend(range.and_then(|range| of(ReportType::Organization, None, range)));
    }
    out
}

/// Which of some organizations have rows in a window, or may have had some. What of one is damaged or not kept any
/// more hides nothing of the others: then each is asked by itself.
async fn active(
    state: &AppState,
    range: TimeRange,
    organizations: &[TenantId],
) -> Result<BTreeSet<String>, TaskError> {
    // The server's own look over everybody, told as sums.
    if let Some(active) = with_rows(state, None, range).await? {
        return Ok(active);
    }
    let mut out = BTreeSet::new();
    for organization in organizations {
        // Making the reports finds out what they cannot have.
        if with_rows(state, Some(organization), range).await?.is_none_or(|rows| !rows.is_empty()) {
            out.insert(organization.to_string());
        }
    }
    Ok(out)
}

/// The organizations, or whether the one, that have rows in a window, but for records of the server's own acts: its
/// reports are some. `None` when that cannot be known, because something is damaged or has expired.
async fn with_rows(
    state: &AppState,
    organization: Option<&TenantId>,
    range: TimeRange,
) -> Result<Option<BTreeSet<String>>, TaskError> {
    let scope = Principal::local().read_scope(organization.map(TenantId::as_str), Scopes::READ);
    let scope = scope.map_err(|_| TaskError::Scope)?;
    let own = Op::StartsWith(OWN_ACTION_PREFIX.to_owned());
    let own = Filter::Compare(Field::Column(stream::ACTION_TYPE.id), own);
    let mut out = BTreeSet::new();
    for stream in Stream::ALL {
        let mut query = scope.query(stream, range);
        query.group_by = vec![GroupBy::Field(Field::Tenant)];
        query.aggregates = vec![Aggregate::Count];
        query.allow_partial = true;
        if stream == Stream::Audit {
            query.filter = Filter::Not(Box::new(own.clone()));
        }
        match state.store.aggregate(&scope, query).await {
            Ok(answer) if !answer.damaged.is_empty() => return Ok(None),
            Ok(answer) => out.extend(answer.groups.iter().filter_map(|group| match group.key.first() {
                Some(KeyValue::Str(name)) => Some(name.to_string()),
                _ => None,
            })),
            Err(insights_engine::Error::RowsExpired { .. }) => return Ok(None),
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(out))
}

/// The applications of an organization with points of performance in a window, those with the most points first.
async fn apps(state: &AppState, organization: &TenantId, range: TimeRange) -> Result<Vec<String>, TaskError> {
    let scope = Principal::local().read_scope(Some(organization.as_str()), Scopes::READ);
    let scope = scope.map_err(|_| TaskError::Scope)?;
    let mut query = scope.query(Stream::Metrics, range);
    let names = KNOWN.iter().map(|metric| Literal::Str(metric.name.to_owned())).collect();
    query.filter = Filter::Compare(Field::Column(stream::NAME.id), Op::In(names));
    query.group_by = vec![GroupBy::Field(Field::Column(stream::APP_ID.id))];
    query.aggregates = vec![Aggregate::Count];
    let answer = match state.store.aggregate(&scope, query).await {
        Ok(answer) => answer,
        Err(insights_engine::Error::RowsExpired { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut apps: HashMap<String, u64> = HashMap::new();
    for group in &answer.groups {
        if let (Some(KeyValue::Str(app)), Some(count)) = (group.key.first(), group.values.first()) {
            apps.insert(app.to_string(), count.as_u64());
        }
    }
    let mut apps: Vec<_> = apps.into_iter().collect();
    apps.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    Ok(apps.into_iter().map(|(app, _)| app).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_were_missed_are_made_up_for_up_to_a_limit() {
        let zone = Zone::utc();
        let day = |text: &str| text.parse::<Date>().unwrap();
        let covered = |done: Option<&str>| Covered {
            version: VERSION,
            zones: done.map(|done| ("UTC".to_owned(), done.to_owned())).into_iter().collect(),
        };
        let due = |done, asked| {
            let days = covered(done).due(&zone, day("2024-03-10"), asked);
            days.into_iter().map(|day| day.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(due(None, false), ["2024-03-10"]);
        assert_eq!(due(Some("2024-03-10"), false), [""; 0]);
        assert_eq!(due(Some("2024-03-10"), true), ["2024-03-10"]);
        assert_eq!(due(Some("2024-03-07"), false), ["2024-03-08", "2024-03-09", "2024-03-10"]);
        let late = due(Some("2023-01-01"), false);
        assert_eq!((late.len(), late[0].as_str()), (8, "2024-03-03"));
        // A clock that ran ahead has covered a day that is to come.
        assert_eq!(due(Some("2024-04-01"), false), ["2024-03-10"]);
        assert_eq!(due(Some("2024-04-01"), true), ["2024-03-10"]);
    }
}
