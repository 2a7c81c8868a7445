//! Checks the cells of a file without the rows they were made of: every blob is decoded, its numbers are
//! compared with each other, its codes with the dictionary of the tenant they are of, and what is told of the
//! probes of all tenants with what those have.

use super::cell_file::{ALL_TENANTS, CellFile};
use super::cells::{Cells, KeyColumn, SetList, SetRef, StateColumn, Whose};
use super::cells_decode::decode;
use super::cells_format::Layout;
use crate::codec::Malformed;
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::id::TenantNo;
use crate::probes::{decode_day, decode_mark};
use crate::query::{Field, PROBES, SESSIONS, SESSIONS_OF_APPS};
use crate::schema::{ColumnType, IdentityKind, NULL_CODE, Schema};
use crate::session::NO_USER;
use crate::session::cells::{FoldedSessions, decode_apps};

const ROWS: Malformed = Malformed("cells of more rows than there were");
const OTHER_DAY: Malformed = Malformed("cells of another day or tier than their file's");
const CODE: Malformed = Malformed("a code that the dictionary does not have");
const TENANT: Malformed = Malformed("a tenant that the dictionary does not have");
const OTHER_MARK: Malformed = Malformed("a mark of all tenants' probes that is not what they have");

/// What is wrong inside of a blob, or the dictionary cannot be asked.
enum Wrong {
    Bytes(Malformed),
    Dictionary(Error),
}

impl From<Malformed> for Wrong {
    fn from(wrong: Malformed) -> Self {
        Self::Bytes(wrong)
    }
}

/// What a blob tells of probes.
enum Told {
    Nothing,
    /// There are probes of a tenant; of all tenants together: whether anybody has some.
    Probes(bool),
}

/// The blobs of one tenant's cells, or of all tenants together, and what they may hold.
struct Check<'a> {
    codes: &'a dyn Codes,
    /// `None` is all tenants.
    tenant: Option<TenantNo>,
    day: i32,
    tier: super::Tier,
    /// Rows that the segment had.
    rows: u64,
}

impl CellFile {
    /// Everything that is wrong with the file; `rows` are those that its segment has or had. Empty when all
    /// is well. Blobs of definitions that the engine does not know are read, not decoded.
    pub(crate) fn check(&self, codes: &dyn Codes, rows: u64) -> Vec<Error> {
        let mut out = Vec::new();
        let (mut has_probes, mut mark) = (false, None);
        let entries = match self.places() {
            Ok(entries) => entries,
            Err(error) => return vec![error],
        };
        for (tenant, id, offset, len) in entries {
            let check = Check {
                codes,
                tenant: (tenant != ALL_TENANTS).then_some(tenant),
                day: self.day(),
                tier: self.tier(),
                rows,
            };
            let checked = self.blob_at(offset, len).and_then(|blob| {
                check.blob(&blob, id, self.layout_of(id)).map_err(|wrong| match wrong {
                    Wrong::Bytes(wrong) => self.corrupt(offset, format!("cells {id}: {}", wrong.0)),
                    Wrong::Dictionary(error) => error,
                })
            });
            match checked {
                Ok(Told::Nothing) => {}
                Ok(Told::Probes(has)) if tenant == ALL_TENANTS => mark = Some((offset, has)),
                Ok(Told::Probes(has)) => has_probes |= has,
                Err(error) => out.push(error),
            }
        }
        // Probes that could not be read have told nothing, and were complained about.
        if let Some((offset, _)) = mark.filter(|(_, has)| *has != has_probes && out.is_empty()) {
            out.push(self.corrupt(offset, format!("cells {PROBES}: {}", OTHER_MARK.0)));
        }
        out
    }
}

impl Check<'_> {
    fn blob(&self, blob: &[u8], id: u8, layout: Option<Layout<'_>>) -> Result<Told, Wrong> {
        match id {
            SESSIONS => {
                self.sessions(&FoldedSessions::decode(blob)?)?;
                Ok(Told::Nothing)
            }
            SESSIONS_OF_APPS => {
                for (code, cells) in decode_apps(blob)? {
                    self.code(self.tenant, IdentityKind::App, code)?;
                    cells.map_or(Ok(()), |cells| self.sessions(&cells))?;
                }
                Ok(Told::Nothing)
            }
            PROBES => {
                if self.tenant.is_none() {
                    let (day, has_probes) = decode_mark(blob)?;
                    ensure(day == self.day, OTHER_DAY)?;
                    return Ok(Told::Probes(has_probes));
                }
                let (day, apps) = decode_day(blob)?;
                ensure(day == self.day, OTHER_DAY)?;
                ensure(apps.iter().map(|(_, p)| p.len() as u64).sum::<u64>() <= self.rows, ROWS)?;
                apps.iter().try_for_each(|(app, _)| self.code(self.tenant, IdentityKind::App, *app))?;
                Ok(Told::Probes(apps.iter().any(|(_, probes)| !probes.is_empty())))
            }
            _ => match layout {
                Some(layout) => self.cells(&decode(blob, layout)?, layout),
                None => Ok(Told::Nothing),
            },
        }
    }

    /// Whether a code was given; the absent one needs none, and without a tenant there is nobody to ask.
    fn code(&self, tenant: Option<TenantNo>, kind: IdentityKind, code: u32) -> Result<(), Wrong> {
        let Some(tenant) = tenant.filter(|_| code != NULL_CODE) else { return Ok(()) };
        let count = self.codes.count(tenant, kind).map_err(Wrong::Dictionary)?;
        ensure(code < count, CODE)
    }

    /// Whether a tenant has rows at all: then it has names of something.
    fn tenant(&self, tenant: TenantNo) -> Result<(), Wrong> {
        for kind in IdentityKind::ALL {
            if self.codes.count(tenant, kind).map_err(Wrong::Dictionary)? > 0 {
                return Ok(());
            }
        }
        ensure(false, TENANT)
    }

    fn sessions(&self, sessions: &FoldedSessions) -> Result<(), Wrong> {
        ensure(sessions.day == self.day && sessions.tier == self.tier, OTHER_DAY)?;
        let mut events = 0_u64;
        for slot in &sessions.slots {
            let totals = &slot.totals;
            events = events.saturating_add(totals.events);
            ensure(totals.started <= self.rows && totals.bounces <= totals.started, ROWS)?;
            ensure(totals.pages.max(totals.actions) <= totals.events, ROWS)?;
        }
        for open in &sessions.open {
            events = events.saturating_add(u64::from(open.chain.events));
            ensure(
                self.tenant.is_none_or(|tenant| tenant == open.tenant),
                Malformed("a chain of another tenant"),
            )?;
            if open.chain.user != NO_USER {
                self.code(Some(open.tenant), IdentityKind::User, open.chain.user)?;
            }
        }
        ensure(events <= self.rows, ROWS)
    }

    fn cells(&self, cells: &Cells, layout: Layout<'_>) -> Result<Told, Wrong> {
        ensure(cells.counts.iter().all(|rows| *rows > 0), Malformed("a cell without rows"))?;
        let all = cells.counts.iter().fold(0_u64, |sum, rows| sum.saturating_add(*rows));
        ensure(all <= self.rows, ROWS)?;
        // Codes are of one tenant: cells of all tenants say whose they are, or have texts in their place.
        let is_known = layout.definition.numbers_tenants() || self.tenant.is_some();
        let whose =
            is_known.then(|| cells.whose(layout.definition.keys.len(), self.tenant.unwrap_or(ALL_TENANTS)));
        let stretches = whose.iter().flat_map(Whose::stretches);
        let whose: Vec<_> = stretches.map(|(tenant, series, _)| (tenant, series)).collect();
        whose.iter().try_for_each(|(tenant, _)| self.tenant(*tenant))?;
        for (key, field) in cells.keys.iter().zip(&layout.definition.keys) {
            let ty = if let Field::Column(id) = field {
                Schema::of(layout.definition.stream).get(*id).map(|def| def.ty)
            } else {
                None
            };
            if let (KeyColumn::Codes(codes), Some(ColumnType::Code(kind))) = (key, ty) {
                for (tenant, series) in &whose {
                    let mut own = codes.get(series.clone()).unwrap_or(&[]).iter();
                    own.try_for_each(|code| self.code(Some(*tenant), kind, *code))?;
                }
            }
        }
        cells.states.iter().try_for_each(|state| self.state(cells, state))?;
        Ok(Told::Nothing)
    }

    fn state(&self, cells: &Cells, state: &StateColumn) -> Result<(), Wrong> {
        let within = |values: &mut dyn Iterator<Item = u64>| {
            let fits = values.zip(&cells.counts).all(|(values, rows)| values <= *rows);
            ensure(fits, Malformed("a cell of more values than rows"))
        };
        match state {
            StateColumn::Sum(list) => within(&mut list.iter().map(|(_, values)| *values)),
            StateColumn::Histogram(list) => within(&mut list.iter().map(|h| h.head.count)),
            StateColumn::CountIf(list) => within(&mut list.iter().copied()),
            StateColumn::Distinct(lists) => {
                within(&mut (0..cells.len()).map(|cell| {
                    let of = |list: &SetList| {
                        list.of_cell(cell).map(|set| list.get(set).map_or(0, SetRef::len)).sum::<usize>()
                    };
                    lists.iter().map(of).sum::<usize>() as u64
                }))?;
                lists.iter().try_for_each(|list| self.sets(list))
            }
            StateColumn::Min(_) | StateColumn::Max(_) | StateColumn::Last(_) => Ok(()),
        }
    }

    fn sets(&self, list: &SetList) -> Result<(), Wrong> {
        let Some(kind) = list.kind else { return Ok(()) };
        for set in 0..list.len() {
            // They ascend: the last one is the greatest.
            let greatest = list.get(set).and_then(|set| set.codes().last().copied());
            if let Some(code) = greatest {
                self.code(self.tenant.or_else(|| list.tenant(set)), kind, code)?;
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, wrong: Malformed) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(Wrong::Bytes(wrong)) }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
