//! Makes the body of a report, by its type, from one moment of the store.

use std::collections::BTreeMap;

use insights_engine::id::TenantId;
use serde_json::{Map, Value};

use super::ask::StoredRequest;
use super::body::{self, to_value};
use super::{ReportType, activity, application};
use crate::auth::ReadScope;
use crate::config::Config;
use crate::domain::lang::Lang;
use crate::http::error::ApiError;
use crate::report::analytics::Sources;
use crate::report::answer::{CostBlock, DamagedRange};
use crate::report::definitions;
use crate::report::reader::{Reader, Totals};
use crate::report::security::security;
use crate::report::window::Window;
use crate::store::Asking;

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The engine at one moment.
    pub(crate) asking: &'a Asking,
    /// Whose rows.
    pub(crate) scope: &'a ReadScope,
    /// The platform's own hosts, when organizations without hosts see them.
    pub(crate) platform: Option<&'a ReadScope>,
    /// Whose report.
    pub(crate) organization: &'a TenantId,
    /// The settings.
    pub(crate) config: &'a Config,
}

/// A report that was made.
#[derive(Debug)]
pub(crate) struct Computed {
    /// Its body, which says what is damaged.
    pub(crate) body: Value,
    /// What could not be read, each range once.
    pub(crate) damaged: Vec<DamagedRange>,
    /// What it cost.
    pub(crate) cost: CostBlock,
}

impl<'a> Source<'a> {
    /// The same as the analytics report wants it.
    pub(crate) fn sources(&self) -> Sources<'a> {
        Sources { asking: self.asking, scope: self.scope, platform: self.platform }
    }
}

impl Computed {
    /// Whether everything could be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }

    /// Adds what more questions, of times within `window` or before it, cost and could not read.
    pub(crate) fn add(&mut self, totals: &Totals, window: &Window) {
        let more = CostBlock::of(totals.cost, std::time::Duration::ZERO);
        self.add_answer(more, DamagedRange::of(&totals.damaged, window));
    }

    /// Adds what another answer cost and could not read.
    pub(crate) fn add_answer(&mut self, more: CostBlock, damaged: Vec<DamagedRange>) {
        for range in damaged {
            if !self.damaged.contains(&range) {
                self.damaged.push(range);
            }
        }
        self.cost.rows_scanned += more.rows_scanned;
        self.cost.cells_read += more.cells_read;
        self.cost.bytes_read += more.bytes_read;
    }
}

/// Computes a report.
///
/// # Errors
///
/// `rows_expired` when what it needs is not kept any more, and those of the engine on the wire.
pub(crate) fn compute(source: &Source<'_>, request: &StoredRequest) -> Result<Computed, ApiError> {
    let mut computed = match request.kind {
        ReportType::Daily | ReportType::Organization => activity::activity(source, request),
        ReportType::Application => application::application(source, request),
        ReportType::Security => of_security(source, request),
    }?;
    // What the numbers meant when they were computed; the words are in the language of who reads them.
    let definitions = definitions::of_answer(&computed.body, Lang::default());
    let versions: BTreeMap<_, _> =
        definitions.into_iter().map(|(name, definition)| (name, definition.version)).collect();
    if let Some(members) = computed.body.as_object_mut() {
        say_damage(members, &computed.damaged)?;
        members.insert("definition_versions".to_owned(), to_value(&versions)?);
    }
    Ok(computed)
}

fn of_security(source: &Source<'_>, request: &StoredRequest) -> Result<Computed, ApiError> {
    let reader = Reader::new(source.asking, source.scope, request.allow_partial);
    let report = security(reader, &request.window, &source.config.security)?;
    let Value::Object(mut members) = to_value(&report)? else { return Err(ApiError::internal()) };
    members.remove("cost");
    let mut body = body::head(request, source.organization)?;
    body.extend(members);
    Ok(Computed { body: body.into(), damaged: report.damaged, cost: report.cost })
}

/// Says in a body what could not be read.
fn say_damage(body: &mut Map<String, Value>, damaged: &[DamagedRange]) -> Result<(), ApiError> {
    if !damaged.is_empty() {
        body.insert("partial".to_owned(), true.into());
        body.insert("damaged".to_owned(), to_value(&damaged)?);
    }
    Ok(())
}

/// Leaves the first rows of a list; gives how many others there were.
pub(crate) fn cut(rows: &mut Value, rows_max: usize) -> Option<u64> {
    let rows = rows.as_array_mut()?;
    let left_out = rows.len().saturating_sub(rows_max);
    rows.truncate(rows_max);
    (left_out > 0).then_some(left_out as u64)
}
