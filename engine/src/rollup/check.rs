//! Checks the cells of a file without the rows they were made of: every blob is decoded, its numbers are
//! compared with each other, its codes with the dictionary.

use super::cell_file::{ALL_TENANTS, CellFile};
use super::cells::{Cells, KeyColumn, SetList, SetRef, StateColumn};
use super::cells_decode::decode;
use super::cells_format::Layout;
use super::histogram::Histogram;
use crate::codec::Malformed;
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::id::TenantNo;
use crate::probes::decode_day;
use crate::query::{Field, PROBES, SESSIONS, SESSIONS_OF_APPS};
use crate::schema::{ColumnType, IdentityKind, NULL_CODE, Schema};
use crate::session::NO_USER;
use crate::session::cells::{FoldedSessions, decode_apps};

const ROWS: Malformed = Malformed("cells of more rows than there were");
const OTHER_DAY: Malformed = Malformed("cells of another day or tier than their file's");
const CODE: Malformed = Malformed("a code that the dictionary does not have");

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
            out.extend(checked.err());
        }
        out
    }
}

impl Check<'_> {
    fn blob(&self, blob: &[u8], id: u8, layout: Option<Layout<'_>>) -> Result<(), Wrong> {
        match id {
            SESSIONS => self.sessions(&FoldedSessions::decode(blob)?),
            SESSIONS_OF_APPS => {
                for (code, cells) in decode_apps(blob)? {
                    self.code(self.tenant, IdentityKind::App, code)?;
                    cells.map_or(Ok(()), |cells| self.sessions(&cells))?;
                }
                Ok(())
            }
            // The mark of all tenants has no day of its own.
            PROBES if self.tenant.is_none() => Ok(()),
            PROBES => {
                let (day, apps) = decode_day(blob)?;
                ensure(day == self.day, OTHER_DAY)?;
                ensure(apps.iter().map(|(_, p)| p.len() as u64).sum::<u64>() <= self.rows, ROWS)?;
                apps.iter().try_for_each(|(app, _)| self.code(self.tenant, IdentityKind::App, *app))
            }
            _ => match layout {
                Some(layout) => self.cells(&decode(blob, layout)?, layout),
                None => Ok(()),
            },
        }
    }

    /// Whether a code was given; the absent one needs none, and without a tenant there is nobody to ask.
    fn code(&self, tenant: Option<TenantNo>, kind: IdentityKind, code: u32) -> Result<(), Wrong> {
        let Some(tenant) = tenant.filter(|_| code != NULL_CODE) else { return Ok(()) };
        let count = self.codes.count(tenant, kind).map_err(Wrong::Dictionary)?;
        ensure(code < count, CODE)
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

    fn cells(&self, cells: &Cells, layout: Layout<'_>) -> Result<(), Wrong> {
        ensure(cells.counts.iter().all(|rows| *rows > 0), Malformed("a cell without rows"))?;
        let all = cells.counts.iter().fold(0_u64, |sum, rows| sum.saturating_add(*rows));
        ensure(all <= self.rows, ROWS)?;
        for (key, field) in cells.keys.iter().zip(&layout.definition.keys) {
            let ty = if let Field::Column(id) = field {
                Schema::of(layout.definition.stream).get(*id).map(|def| def.ty)
            } else {
                None
            };
            if let (KeyColumn::Codes(codes), Some(ColumnType::Code(kind))) = (key, ty) {
                codes.iter().try_for_each(|code| self.code(self.tenant, kind, *code))?;
            }
        }
        cells.states.iter().try_for_each(|state| self.state(cells, state))
    }

    fn state(&self, cells: &Cells, state: &StateColumn) -> Result<(), Wrong> {
        let within = |values: &mut dyn Iterator<Item = u64>| {
            let fits = values.zip(&cells.counts).all(|(values, rows)| values <= *rows);
            ensure(fits, Malformed("a cell of more values than rows"))
        };
        match state {
            StateColumn::Sum(list) => within(&mut list.iter().map(|(_, values)| *values)),
            StateColumn::Histogram(list) => within(&mut list.iter().map(Histogram::count)),
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
