//! The records of one request: who may write what, when, and the rows that come of it.

use std::borrow::Cow;
use std::collections::HashMap;

use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::stream::{
    APP_ID, ID, IP_ADDRESS, RECEIVED, TIME, USER_AGENT, USER_ID, WRITING_KEY,
};
use insights_engine::schema::{Batch, BatchBuilder};
use insights_engine::time::TimestampUs;

use super::fault::{Fault, Faults, code};
use super::record::{Origin, Shared};
use crate::auth::principal::{Principal, PrincipalKind};
use crate::domain::instant;
use crate::http::middleware::context::RequestContext;
use crate::store::Store;

/// Most faults that an answer tells of one request, beyond the first of each record.
const FAULTS_MAX: usize = 10_000;

/// What holds for every record of a request.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who writes.
    pub principal: &'a Principal,
    /// Its id, trace and origin.
    pub context: &'a RequestContext,
    /// The time of receipt.
    pub now: TimestampUs,
    /// The latest event time that is taken.
    pub newest: TimestampUs,
    /// The earliest event time that is taken.
    pub oldest: TimestampUs,
    /// Where each organization's retention is looked up; without it records of any age are taken.
    pub store: Option<&'a Store>,
    /// Whether a record that names nobody is the writer's own act, when a person's token wrote it.
    pub own_acts: bool,
}

/// A fault and its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFault {
    /// The record's place in the body, from 0.
    pub index: u32,
    /// What is wrong with it.
    pub fault: Fault,
}

/// The rows of one organization.
#[derive(Debug)]
struct Table {
    tenant: TenantId,
    builder: BatchBuilder,
    /// Since when its records of the stream are kept.
    kept_since: TimestampUs,
}

/// Which organization of a request, in the order of their first records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableNo(u32);

/// Collects the rows and faults of a request, record by record.
#[derive(Debug)]
pub struct Intake<'a> {
    /// What holds for every record.
    pub request: &'a Request<'a>,
    stream: Stream,
    ip_address: Option<String>,
    tables: Vec<Table>,
    by_name: HashMap<String, TableNo>,
    /// The table of each record, rejected ones too, as far as it is known.
    homes: Vec<Option<TableNo>>,
    /// The table of the record before.
    last: Option<TableNo>,
    faults: Vec<RecordFault>,
    rejected: Vec<u32>,
    forbidden: bool,
    /// The ids that clients gave: of every audit record, else of the first record.
    ids: Vec<Option<String>>,
}

/// What a request came to.
#[derive(Debug)]
pub struct Collected {
    /// How many records there were.
    pub records: u32,
    /// The rows, one batch an organization; none of them is empty.
    pub batches: Vec<Batch>,
    /// What was wrong, by record.
    pub faults: Vec<RecordFault>,
    /// The records that were rejected, ascending.
    pub rejected: Vec<u32>,
    /// The organization of each record, as far as it is known.
    pub homes: Vec<Option<TenantId>>,
    /// The ids that clients gave: of every audit record, else of the first record alone.
    pub ids: Vec<Option<String>>,
    /// Whether a record is for an organization or a user that the principal may not write for.
    pub forbidden: bool,
}

impl<'a> Intake<'a> {
    /// An intake without records.
    pub fn new(request: &'a Request<'a>, stream: Stream) -> Self {
        Self {
            request,
            stream,
            ip_address: request.context.ip_address.map(|ip| ip.to_string()),
            tables: Vec::new(),
            by_name: HashMap::new(),
            homes: Vec::new(),
            last: None,
            faults: Vec::new(),
            rejected: Vec::new(),
            forbidden: false,
            ids: Vec::new(),
        }
    }

    /// Forgets every record.
    pub fn reset(&mut self) {
        *self = Self::new(self.request, self.stream);
    }

    /// Starts the next record of the body.
    pub fn begin(&mut self) {
        self.homes.push(None);
    }

    /// Finds the organization of the record, and its user; what is wrong goes into `faults`.
    pub fn home(&mut self, shared: &mut Shared<'_>, faults: &mut Faults) -> Option<TableNo> {
        let table = self.organization(shared.organization_id.as_deref(), faults);
        if self.stream == Stream::Audit || self.homes.len() == 1 {
            self.ids.resize(self.homes.len() - 1, None);
            self.ids.push(shared.id.as_deref().map(str::to_owned));
        }
        if let Some(home) = self.homes.last_mut() {
            *home = table;
        }
        if let PrincipalKind::User { user_id, .. } = self.request.principal.kind() {
            match shared.user_id.as_deref() {
                None => shared.user_id = Some(Cow::Owned(user_id.to_string())),
                Some(given) if given == &**user_id => {}
                Some(_) => {
                    self.forbidden = true;
                    faults.add("/user_id", code::FORBIDDEN, "a user's token writes as that user alone");
                }
            }
        }
        table
    }

    fn organization(&mut self, given: Option<&str>, faults: &mut Faults) -> Option<TableNo> {
        let request = self.request;
        // A broken identifier must not fall back to the principal's own organization.
        if given.is_none() && faults.mention("/organization_id") {
            return None;
        }
        let own = match request.principal.kind() {
            PrincipalKind::Superuser { .. } => return self.named(given, faults),
            PrincipalKind::Organization { organization, .. } => std::slice::from_ref(organization),
            PrincipalKind::User { organizations, .. } => organizations.as_slice(),
        };
        let found = match (given, own) {
            (None, [one]) => Some(one),
            (None, []) => None,
            (None, _) => {
                faults.add("/organization_id", code::REQUIRED, "name one of your organizations");
                return None;
            }
            (Some(id), own) => own.iter().find(|tenant| tenant.as_str() == id),
        };
        if found.is_none() {
            self.forbidden = true;
            faults.add("/organization_id", code::FORBIDDEN, "this credential does not write to it");
        }
        found.map(|tenant| self.table(tenant.as_str(), || tenant.clone()))
    }

    /// The table of the organization that a superuser names.
    fn named(&mut self, given: Option<&str>, faults: &mut Faults) -> Option<TableNo> {
        let Some(id) = given else {
            // A broken identifier was told already.
            if !faults.mention("/organization_id") {
                faults.add("/organization_id", code::REQUIRED, "a superuser names the organization");
            }
            return None;
        };
        let tenant = TenantId::new(id).ok()?;
        Some(self.table(id, || tenant))
    }

    fn table(&mut self, name: &str, tenant: impl FnOnce() -> TenantId) -> TableNo {
        // Records of one organization come in a row, most often.
        if let Some(last) = self.last
            && self.tables.get(last.0 as usize).is_some_and(|table| table.tenant.as_str() == name)
        {
            return last;
        }
        let no = if let Some(no) = self.by_name.get(name) {
            *no
        } else {
            let no = TableNo(u32::try_from(self.tables.len()).unwrap_or(u32::MAX));
            let tenant = tenant();
            let store = self.request.store;
            let kept_since = store.map_or(instant::MIN, |store| store.kept_since(&tenant, self.stream));
            let builder = BatchBuilder::new(tenant.clone(), self.stream);
            self.tables.push(Table { tenant, builder, kept_since });
            self.by_name.insert(name.to_owned(), no);
            no
        };
        self.last = Some(no);
        no
    }

    /// The event time of a record: as given, else now; `None` when it is not taken.
    pub fn time(&self, given: Option<TimestampUs>, faults: &mut Faults) -> TimestampUs {
        let at = given.unwrap_or(self.request.now);
        if at > self.request.newest {
            faults.add(
                "/timestamp",
                code::TIMESTAMP_IN_FUTURE,
                "this is too far ahead of the server's clock",
            );
        } else if at < self.request.oldest {
            let detail = "this is before the late window; /api/insights/import/ takes history of any age";
            faults.add("/timestamp", code::TIMESTAMP_TOO_OLD, detail);
        } else if self.kept_since() > at {
            let detail = "this is older than what the organization's retention keeps";
            faults.add("/timestamp", code::OLDER_THAN_RETENTION, detail);
        }
        at
    }

    /// Since when records of the present record's organization are kept.
    fn kept_since(&self) -> TimestampUs {
        let table = self.homes.last().copied().flatten().and_then(|home| self.tables.get(home.0 as usize));
        table.map_or(instant::MIN, |table| table.kept_since)
    }

    /// Opens a row for a record without faults, with the columns that streams share; the caller sets
    /// the others and ends the row.
    ///
    /// `origin` is what the record says of where it comes from. Those who may not say so, and records
    /// that do not, have the address and User-Agent of the connection.
    pub fn row(
        &mut self,
        table: TableNo,
        time: TimestampUs,
        shared: &Shared<'_>,
        origin: Option<&Origin<'_>>,
    ) -> Option<&mut BatchBuilder> {
        let builder = &mut self.tables.get_mut(table.0 as usize)?.builder;
        let request = self.request;
        builder
            .i64(&TIME, time.0)
            .i64(&RECEIVED, request.now.0)
            .str(&ID, shared.id.as_deref())
            .str(&WRITING_KEY, Some(request.principal.credential()))
            .str(&USER_ID, shared.user_id.as_deref())
            .str(&APP_ID, shared.app_id.as_deref());
        if let Some(origin) = origin {
            let may = request.principal.may_attribute();
            let ip_address = origin.ip_address.as_deref().filter(|_| may).or(self.ip_address.as_deref());
            let connection = request.context.user_agent.as_deref();
            let user_agent = origin.user_agent.as_deref().filter(|_| may).or(connection);
            builder.str(&IP_ADDRESS, ip_address).str(&USER_AGENT, user_agent);
        }
        Some(builder)
    }

    /// Who acted when the record names nobody: the person whose token wrote it.
    pub fn actor(&self) -> Option<&'a str> {
        self.request.principal.user_id().filter(|_| self.request.own_acts).map(|id| &**id)
    }

    /// The id of the request, if it has one.
    pub fn request_id(&self) -> Option<&'a str> {
        Some(&*self.request.context.request_id).filter(|id| !id.is_empty())
    }

    /// The trace of the request, if it has one.
    pub fn trace_id(&self) -> Option<&'a str> {
        self.request.context.trace_id.as_deref()
    }

    /// The name of an organization of this request.
    pub fn organization_of(&self, table: TableNo) -> Option<&TenantId> {
        Some(&self.tables.get(table.0 as usize)?.tenant)
    }

    /// Counts the record as rejected, with the faults of `faults`.
    pub fn reject(&mut self, faults: &mut Faults) {
        let index = u32::try_from(self.homes.len().saturating_sub(1)).unwrap_or(u32::MAX);
        for (n, fault) in faults.drain().enumerate() {
            if n == 0 || self.faults.len() < FAULTS_MAX {
                self.faults.push(RecordFault { index, fault });
            }
        }
        self.rejected.push(index);
    }

    /// What the request came to.
    pub fn finish(self) -> Collected {
        let homes = self.homes.iter().map(|home| {
            let table = self.tables.get(home.as_ref()?.0 as usize)?;
            Some(table.tenant.clone())
        });
        Collected {
            records: u32::try_from(self.homes.len()).unwrap_or(u32::MAX),
            homes: homes.collect(),
            batches: self.tables.into_iter().map(|t| t.builder.build()).filter(|b| b.rows() > 0).collect(),
            faults: self.faults,
            rejected: self.rejected,
            ids: self.ids,
            forbidden: self.forbidden,
        }
    }
}
