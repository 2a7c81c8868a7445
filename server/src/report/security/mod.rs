//! The security report: what happened in an organization's audit log that an administrator must look at.
//!
//! What was usual before the window is asked with aggregates. The records of the window are read page by page in
//! the order of time, so that memory is that of one page and of what the rules keep in mind; a scan would give
//! them in no order and sorting them would need memory for all.

pub(crate) mod baseline;
pub(crate) mod burst;
pub(crate) mod finding;
pub(crate) mod row;
pub(crate) mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use insights_engine::Error;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{Batch, BytesColumn, ColumnDef, stream};
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};
use serde::Serialize;
use utoipa::ToSchema;

use self::baseline::{Baseline, Before, Log};
use self::finding::{Draft, FINDINGS_MAX, Findings, Subject, SubjectKind};
use self::row::{Kinds, Mark, Row};
use self::rule::Watch;
use super::answer::{Bounds, CostBlock, DamagedRange};
use super::reader::Reader;
use super::window::Window;
use crate::config::security::{Rule, SecuritySettings};
use crate::domain::audit::Severity;
use crate::http::error::ApiError;

/// Records of a page.
const PAGE_ROWS: usize = 10_000;

/// The columns that the rules look at.
const COLUMNS: [ColumnDef; 9] = [
    stream::TIME,
    stream::RECEIVED,
    stream::SEQ,
    stream::ID,
    stream::USER_ID,
    stream::IP_ADDRESS,
    stream::USER_AGENT,
    stream::ACTION_TYPE,
    stream::OUTCOME,
];

/// The security report. The same records give the same bytes, but for `cost`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct SecurityReport {
    /// `security`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub(crate) kind: &'static str,
    /// Whose log.
    pub(crate) organization_id: String,
    /// The time zone of days and of the answer's instants.
    pub(crate) timezone: String,
    /// The window as instants.
    pub(crate) window: Bounds,
    /// Until when the answer is complete: the end of the window, or the moment of the question.
    pub(crate) complete_until: String,
    /// Present and true when something could not be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
    /// What could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) damaged: Vec<DamagedRange>,
    /// Counts of everything.
    pub(crate) summary: Summary,
    /// The gravest first, then the earliest; at most 1,000.
    pub(crate) findings: Vec<Finding>,
    /// What is not in the findings.
    pub(crate) truncated: Truncated,
    /// What each rule means.
    pub(crate) definitions: Vec<Definition>,
    /// What it cost.
    pub(crate) cost: CostBlock,
}

/// Counts of the whole window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Summary {
    /// Audit records, without those of the server's own acts.
    pub(crate) records: u64,
    /// Findings.
    pub(crate) findings: u64,
    /// Findings by severity.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) by_severity: BTreeMap<&'static str, u64>,
    /// Findings by rule, of the rules that are on.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) by_rule: BTreeMap<&'static str, u64>,
    /// Sensitive activities.
    pub(crate) activities: Activities,
}

/// Records of sensitive activities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct Activities {
    /// Logins that succeeded.
    pub(crate) logins: u64,
    /// Logins that failed.
    pub(crate) failed_logins: u64,
    /// Privileged actions.
    pub(crate) privileged_actions: u64,
    /// Deletions.
    pub(crate) deletions: u64,
    /// Exports.
    pub(crate) exports: u64,
    /// Second factors that were turned off.
    pub(crate) two_factor_disabled: u64,
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// The rule that found it.
    pub(crate) rule: Rule,
    /// How grave it is.
    pub(crate) severity: Severity,
    /// The time of the first record.
    pub(crate) first: String,
    /// The time of the last record.
    pub(crate) last: String,
    /// Who or what it is about.
    pub(crate) subject: Subject,
    /// What was new: the address, the user agent, the action; which way a clock is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// Records that belong to it.
    pub(crate) count: u64,
    /// The ids of the first of them, at most 20.
    pub(crate) evidence: Vec<String>,
    /// The thresholds of the rule.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) threshold: BTreeMap<&'static str, u64>,
    /// In words.
    pub(crate) text: String,
}

/// What did not find room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Truncated {
    /// Findings that were left out.
    pub(crate) findings: u64,
    /// Records that rules did not look at, because they kept as many users, addresses or places in mind as they may.
    pub(crate) records: u64,
}

/// What a rule means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Definition {
    /// The rule.
    pub(crate) rule: Rule,
    /// Whether it is on.
    pub(crate) on: bool,
    /// What it finds.
    #[schema(value_type = String)]
    pub(crate) text: &'static str,
    /// Its thresholds.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) threshold: BTreeMap<&'static str, u64>,
}

/// Computes the report of the organization that `reader` reads; the cost has no time yet.
///
/// # Errors
///
/// `invalid` when `reader` reads more than one, `rows_expired` when records of the window are not kept any more,
/// and those of the engine on the wire.
pub(crate) fn security(
    reader: Reader<'_>,
    window: &Window,
    settings: &SecuritySettings,
) -> Result<SecurityReport, ApiError> {
    let Some(organization) = reader.organization().cloned() else {
        return Err(ApiError::invalid_at("/organization_id", "required", "name an organization"));
    };
    let kept_since = reader.kept_since(&organization, Stream::Audit);
    if window.range.start < kept_since {
        return Err(Error::RowsExpired { since: kept_since }.into());
    }
    let days = i64::try_from(settings.thresholds.look_back_days).unwrap_or(i64::MAX / DAY_US);
    let look_back = TimestampUs(window.range.start.0.saturating_sub(days * DAY_US)).max(kept_since);
    let before = Before::new(&reader, settings, TimeRange { start: look_back, end: window.range.start })?;
    let baseline = Baseline::read(&before, window)?;
    let watches = rule::watches(settings, baseline, &window.days(window.range)?);
    let log = Log { reader: &reader, settings, kept_since, look_back };
    let (findings, records, activities) = watch(&reader, window.range, settings, watches, &log)?;

    let mut report = SecurityReport {
        kind: "security",
        organization_id: organization.to_string(),
        timezone: window.zone_name().to_owned(),
        window: Bounds::of(window.range, window),
        complete_until: window.text(window.complete_until()),
        partial: false,
        damaged: Vec::new(),
        summary: summary(settings, &findings, records, activities),
        truncated: Truncated {
            findings: findings.all().saturating_sub(FINDINGS_MAX as u64),
            records: findings.untracked,
        },
        findings: findings
            .into_sorted()
            .into_iter()
            .map(|draft| written(draft, &reader, &organization, window, settings))
            .collect(),
        definitions: Rule::ALL.map(|rule| definition(rule, settings)).into(),
        cost: CostBlock::default(),
    };
    let totals = reader.finish();
    report.damaged = DamagedRange::of(&totals.damaged, window);
    report.partial = !report.damaged.is_empty();
    report.cost = CostBlock::of(totals.cost, std::time::Duration::ZERO);
    Ok(report)
}

/// Feeds the records of the window to the rules; gives what they found, records, and activities.
fn watch(
    reader: &Reader<'_>,
    range: TimeRange,
    settings: &SecuritySettings,
    mut watches: Vec<Box<dyn Watch>>,
    log: &Log<'_>,
) -> Result<(Findings, u64, Activities), ApiError> {
    let (mut findings, mut records) = (Findings::default(), 0);
    let mut activities = Activities::default();
    let mut request = reader.row_request(Stream::Audit, range, PAGE_ROWS);
    request.columns = Some(COLUMNS.map(|def| def.id).into());
    loop {
        let page = reader.rows(&request)?;
        for batch in &page.batches {
            each_row(batch, settings, &mut |row| {
                records += u64::from(!row.kinds.has(Kinds::OWN));
                activities.count(row.kinds);
                for watch in &mut watches {
                    watch.take(row, &mut findings);
                }
            })?;
        }
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    for watch in watches {
        watch.finish(log, &mut findings)?;
    }
    Ok((findings, records, activities))
}

/// Text that says something.
fn text(column: &BytesColumn, index: usize) -> Option<&str> {
    column.get_str(index).filter(|text| !text.is_empty())
}

/// Gives each record of a batch away, in its order.
fn each_row(
    batch: &Batch,
    settings: &SecuritySettings,
    each: &mut dyn FnMut(&Row<'_>),
) -> Result<(), ApiError> {
    let missing = |def: &ColumnDef| Error::invalid(format!("a batch without the column {}", def.name));
    let times = |def: &ColumnDef| batch.column(def).and_then(|c| c.as_i64()).ok_or_else(|| missing(def));
    let numbers = |def: &ColumnDef| batch.column(def).and_then(|c| c.as_u64()).ok_or_else(|| missing(def));
    let texts = |def: &ColumnDef| batch.column(def).and_then(|c| c.as_bytes()).ok_or_else(|| missing(def));
    let (at, received) = (times(&stream::TIME)?, times(&stream::RECEIVED)?);
    let (seq, outcome) = (numbers(&stream::SEQ)?, numbers(&stream::OUTCOME)?);
    let (id, user) = (texts(&stream::ID)?, texts(&stream::USER_ID)?);
    let (address, agent) = (texts(&stream::IP_ADDRESS)?, texts(&stream::USER_AGENT)?);
    let action = texts(&stream::ACTION_TYPE)?;
    for index in 0..batch.rows() {
        let time = |times: &[i64]| TimestampUs(times.get(index).copied().unwrap_or_default());
        let number = |numbers: &[u64]| numbers.get(index).copied().unwrap_or_default();
        let action = text(action, index).unwrap_or_default();
        let failed = number(outcome) != 0;
        each(&Row {
            at: time(at),
            received: time(received),
            seq: number(seq),
            id: text(id, index),
            user: text(user, index),
            address: text(address, index),
            agent: text(agent, index),
            action,
            failed,
            kinds: Kinds::of(action, failed, &settings.actions),
        });
    }
    Ok(())
}

impl Activities {
    /// Counts a record.
    fn count(&mut self, kinds: Kinds) {
        for (place, kind) in [
            (&mut self.logins, Kinds::LOGIN),
            (&mut self.failed_logins, Kinds::LOGIN_FAILED),
            (&mut self.privileged_actions, Kinds::PRIVILEGED),
            (&mut self.deletions, Kinds::DELETED),
            (&mut self.exports, Kinds::EXPORTED),
            (&mut self.two_factor_disabled, Kinds::TWO_FACTOR_DISABLED),
        ] {
            *place += u64::from(kinds.has(kind));
        }
    }
}

fn summary(
    settings: &SecuritySettings,
    findings: &Findings,
    records: u64,
    activities: Activities,
) -> Summary {
    let severities = [Severity::Notice, Severity::Warning, Severity::Error, Severity::Critical];
    let rules = Rule::ALL.into_iter().filter(|rule| settings.is_on(*rule));
    Summary {
        records,
        findings: findings.all(),
        by_severity: severities.map(|severity| (severity.name(), findings.of_severity(severity))).into(),
        by_rule: rules.map(|rule| (rule.name(), findings.of_rule(rule))).collect(),
        activities,
    }
}

/// A finding as the report has it.
fn written(
    draft: Draft,
    reader: &Reader<'_>,
    organization: &TenantId,
    window: &Window,
    settings: &SecuritySettings,
) -> Finding {
    // Ids that clients gave may say anything, users' names too: they are shown where the finding names its user anyway,
    // so that erasing the user takes them along.
    let is_of_user = draft.subject.kind == SubjectKind::User;
    let id = |mark: &Mark| match mark.id.as_ref().filter(|_| is_of_user) {
        Some(id) => id.to_string(),
        None => reader.derived_id(organization, Stream::Audit, mark.seq, mark.received),
    };
    let subject = match draft.subject.kind {
        SubjectKind::Organization => Subject { value: organization.to_string(), ..draft.subject },
        SubjectKind::User | SubjectKind::Address => draft.subject,
    };
    Finding {
        rule: draft.rule,
        severity: draft.severity,
        first: window.text(draft.first),
        last: window.text(draft.last),
        subject,
        value: draft.value,
        count: draft.count,
        evidence: draft.evidence.iter().map(id).collect(),
        threshold: rule::thresholds(draft.rule, settings).into_iter().collect(),
        text: draft.text,
    }
}

fn definition(rule: Rule, settings: &SecuritySettings) -> Definition {
    Definition {
        rule,
        on: settings.is_on(rule),
        text: rule::definition(rule),
        threshold: rule::thresholds(rule, settings).into_iter().collect(),
    }
}
