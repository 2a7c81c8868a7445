//! One step of a fill: six hours of one organization, the same rows whenever it is asked for.

use insights_engine::schema::Batch;
use insights_engine::schema::batch::BATCH_ROWS_MAX;
use insights_engine::time::{TimeRange, TimestampUs};

use super::plan::{Organization, Plan};
use super::prng::Prng;
use super::rhythm::HOUR_US;
use super::{activity, audit, incidents, measure, rows};

/// Hours of one step.
const STEP_HOURS: i64 = 6;
/// Apart from the numbers of organizations, so that steps draw from other streams than the plan.
const STREAM_OF_STEPS: u64 = 0x5354_4550;

/// What a step is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    /// The whole platform.
    pub(crate) plan: &'a Plan,
    /// The organization's place in the plan.
    pub(crate) number: usize,
    /// The organization.
    pub(crate) organization: &'a Organization,
    /// The six hours.
    pub(crate) window: TimeRange,
}

impl Plan {
    /// How many steps the whole plan has.
    pub(crate) fn steps(&self) -> u64 {
        let windows = (self.end.0 - self.start.0) / (STEP_HOURS * HOUR_US);
        u64::try_from(windows).unwrap_or(0) * self.organizations.len() as u64
    }

    /// The batches of step `index`, in the order of time, organizations in turn; empty past the end.
    pub(crate) fn batches(&self, index: u64) -> Vec<Batch> {
        let Some(step) = self.step(index) else { return Vec::new() };
        let mut prng = Prng::new(&[self.seed, STREAM_OF_STEPS, index]);
        let sessions = activity::sessions(&step, &mut prng);
        let mut audit_rows = audit::of_sessions(&step, &sessions, &mut prng);
        audit_rows.extend(audit::of_the_system(&step, &mut prng));
        audit_rows.extend(audit::of_the_story(&step, &mut prng));
        // The log is written as things happen: what a session does after the step is in no step.
        audit_rows.retain(|row| row.at < step.window.end);
        audit_rows.extend(incidents::of_step(&step));
        let mut points = measure::of_sessions(&sessions);
        points.extend(measure::of_hosts(&step, &mut prng));
        points.extend(measure::of_apps(&step, &mut prng));
        let mut events: Vec<_> = sessions.into_iter().flat_map(|session| session.events).collect();

        // What began in this step may go on past the end of the plan; nothing is written there.
        events.retain(|row| row.at < self.end);
        points.retain(|row| row.at < self.end);
        let tenant = &step.organization.tenant;
        let batches =
            [rows::events(tenant, events), rows::audit(tenant, audit_rows), rows::points(tenant, points)];
        assert!(batches.iter().all(|b| b.rows() <= BATCH_ROWS_MAX), "a step fits one append");
        batches.into_iter().filter(|batch| batch.rows() > 0).collect()
    }

    fn step(&self, index: u64) -> Option<Step<'_>> {
        let organizations = self.organizations.len() as u64;
        let number = usize::try_from(index.checked_rem(organizations)?).ok()?;
        let window = i64::try_from(index / organizations).ok()?;
        let start = TimestampUs(self.start.0 + window * STEP_HOURS * HOUR_US);
        let end = TimestampUs(start.0 + STEP_HOURS * HOUR_US);
        let organization = self.organizations.get(number)?;
        (end <= self.end).then_some(Step {
            plan: self,
            number,
            organization,
            window: TimeRange { start, end },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use insights_engine::id::Stream;
    use insights_engine::schema::stream;
    use insights_engine::time::DAY_US;

    use super::*;

    fn plan(days: u32) -> Plan {
        Plan::new(42, TimestampUs(20_000 * DAY_US), days).unwrap()
    }

    fn totals(plan: &Plan) -> BTreeMap<Stream, usize> {
        let mut totals = BTreeMap::new();
        for batch in (0..plan.steps()).flat_map(|index| plan.batches(index)) {
            *totals.entry(batch.stream()).or_default() += batch.rows();
        }
        totals
    }

    #[test]
    fn thirty_days_are_a_believable_amount() {
        let totals = totals(&plan(30));
        assert!(totals[&Stream::Events] >= 100_000, "{totals:?}");
        assert!(totals[&Stream::Audit] >= 20_000, "{totals:?}");
        assert!(totals[&Stream::Metrics] >= 200_000, "{totals:?}");
    }

    #[test]
    fn a_step_is_the_same_whenever_it_is_asked_for() {
        let plan = plan(2);
        let last = plan.steps() - 1;
        assert_eq!(plan.batches(last), plan.batches(last));
        assert!(plan.batches(plan.steps()).is_empty());
    }

    #[test]
    fn rows_lie_inside_the_plan_and_ids_are_unique() {
        let plan = plan(2);
        let mut ids = std::collections::HashSet::new();
        for batch in (0..plan.steps()).flat_map(|index| plan.batches(index)) {
            let times = batch.column(&stream::TIME).unwrap().as_i64().unwrap().to_vec();
            assert!(times.is_sorted());
            // One record is of somebody who left before.
            let early = times.iter().filter(|t| **t < plan.start.0).count();
            assert!(early <= 1 && times.iter().all(|t| *t < plan.end.0));
            if batch.stream() != Stream::Metrics {
                let column = batch.column(&stream::ID).unwrap().as_bytes().unwrap();
                assert!(column.iter().all(|id| ids.insert(id.unwrap().to_vec())));
            }
        }
    }

    #[test]
    fn every_activity_and_metric_of_the_platform_occurs() {
        let plan = plan(9);
        let mut seen = std::collections::HashSet::new();
        for batch in (0..plan.steps()).flat_map(|index| plan.batches(index)) {
            let def = match batch.stream() {
                Stream::Events => &stream::EVENT_TYPE,
                Stream::Audit => &stream::ACTION_TYPE,
                Stream::Metrics => &stream::NAME,
            };
            let column = batch.column(def).unwrap().as_bytes().unwrap();
            seen.extend((0..column.len()).filter_map(|row| column.get_str(row).map(str::to_owned)));
        }
        let actions = [
            "user.login",
            "user.login_failed",
            "user.logout",
            "project.created",
            "project.updated",
            "project.deleted",
            "app.deployed",
            "app.rolled_back",
            "workflow.executed",
            "security.password_changed",
            "security.2fa_enabled",
            "security.2fa_disabled",
            "security.ip_blocked",
            "system.error",
        ];
        let metrics = [
            "cpu.usage",
            "memory.usage",
            "disk.usage",
            "network.in",
            "network.out",
            "request.latency",
            "server.errors",
            "db.connections",
            "response.time",
            "requests.count",
            "errors.count",
            "uptime",
            "app.cpu",
            "app.memory",
            "app.storage",
            "session.duration",
            "pages.visited",
            "actions.performed",
        ];
        for name in actions.into_iter().chain(metrics).chain(["page_view", "button_click", "error_shown"]) {
            assert!(seen.contains(name), "{name}");
        }
    }
}
