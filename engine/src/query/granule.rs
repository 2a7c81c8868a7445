//! One granule while a question looks at it: columns decoded once, zone maps, tenants' names.

use std::cell::RefCell;
use std::sync::Arc;

use super::field::Fields;
use super::plan::{Slice, Task};
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::id::TenantNo;
use crate::part::{Part, ZoneMap};
use crate::schema::{ColumnId, ColumnVector, IdentityKind};

/// What is known of a leaf's values without reading them.
#[derive(Debug, Clone)]
enum Zones {
    Unasked,
    Unknown,
    /// Each present value lies in one of these.
    Known(Vec<ZoneMap>),
}

/// A granule and what has been read of it.
#[derive(Debug)]
pub(crate) struct Granule<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) fields: &'a Fields,
    pub(super) part: &'a dyn Part,
    pub(super) index: usize,
    pub(super) slices: &'a [Slice],
    /// Rows that an erasure hides, once they were asked for.
    pub(super) hidden: Option<Arc<[u32]>>,
    /// Different for each granule of a question: what caches of its dictionaries go by.
    pub(crate) token: u64,
    columns: Vec<Option<Arc<ColumnVector>>>,
    zones: Vec<Zones>,
    codes: KnownCodes,
    /// What other questions have read of the same granule.
    shared: Option<&'a Shared>,
}

/// What questions have found out about one granule, for each other. Rows in memory have their documents and names as
/// they came: reading a path, or asking for the code of a name, takes longer than anything else that is done with them.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    paths: RefCell<Vec<SharedPath>>,
    codes: RefCell<Vec<SharedCodes>>,
}

/// A document column, a path into it, and the values there.
type SharedPath = (ColumnId, Vec<String>, Arc<ColumnVector>);

/// A column of names, a tenant, and the code of each value of its dictionary, as far as it is known.
type SharedCodes = ((ColumnId, TenantNo), Vec<u32>);

impl Shared {
    fn path(&self, column: ColumnId, path: &[String]) -> Option<Arc<ColumnVector>> {
        let known = self.paths.borrow();
        let found = known.iter().find(|(of, at, _)| *of == column && at == path);
        found.map(|(_, _, vector)| Arc::clone(vector))
    }

    /// Takes the codes of a column's dictionary; empty while somebody has them.
    fn take_codes(&self, of: (ColumnId, TenantNo)) -> Vec<u32> {
        let mut known = self.codes.borrow_mut();
        let at = known.iter().position(|(known, _)| *known == of);
        at.map(|at| known.swap_remove(at).1).unwrap_or_default()
    }

    fn put_codes(&self, of: (ColumnId, TenantNo), codes: Vec<u32>) {
        self.codes.borrow_mut().push((of, codes));
    }
}

/// The codes of identities that filters name, of the tenant that was asked about last: the filters of all
/// definitions of cells name the same few, and a tenant's dictionary is on disk.
#[derive(Debug, Default)]
struct KnownCodes {
    tenant: Option<TenantNo>,
    codes: Vec<(IdentityKind, Vec<u8>, Option<u32>)>,
}

/// Most identities whose codes are known at once.
const KNOWN_CODES_MAX: usize = 16;

impl<'a> Granule<'a> {
    /// The granule of a task, nothing read yet; `None` when the snapshot has no such part.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        fields: &'a Fields,
        task: &'a Task,
        token: u64,
    ) -> Option<Self> {
        let leaves = fields.leaves().len();
        Some(Self {
            snapshot,
            fields,
            part: snapshot.parts.get(task.part)?.as_ref(),
            index: task.granule,
            slices: &task.slices,
            hidden: None,
            token,
            columns: vec![None; leaves],
            zones: vec![Zones::Unasked; leaves],
            codes: KnownCodes::default(),
            shared: None,
        })
    }

    /// The same granule, which shares what it reads with other questions.
    pub(crate) fn sharing(mut self, shared: Option<&'a Shared>) -> Self {
        self.shared = shared;
        self
    }

    /// The values of a leaf, one for each row of the granule.
    ///
    /// # Errors
    ///
    /// Those of [`Part::column`].
    ///
    /// # Panics
    ///
    /// For a leaf that is not of these fields.
    pub(crate) fn load(&mut self, leaf: usize) -> Result<Arc<ColumnVector>> {
        if let Some(Some(vector)) = self.columns.get(leaf) {
            return Ok(Arc::clone(vector));
        }
        let def = self.fields.leaves().get(leaf);
        let Some(def) = def else { panic!("leaf {leaf} is not of this question") };
        let stream = self.fields.stream();
        let vector = if def.path.is_empty() {
            self.part.column(stream, def.column, self.index)?
        } else if let Some(known) = self.shared.and_then(|shared| shared.path(def.column, &def.path)) {
            known
        } else {
            let vector = self.part.path(stream, def.column, &def.path, self.index)?;
            if let Some(shared) = self.shared {
                shared.paths.borrow_mut().push((def.column, def.path.clone(), Arc::clone(&vector)));
            }
            vector
        };
        let vector = if self.may_blank(def.column) { self.blanked(def.column, vector)? } else { vector };
        if let Some(slot) = self.columns.get_mut(leaf) {
            *slot = Some(Arc::clone(&vector));
        }
        Ok(vector)
    }

    /// Whether there are others to share with.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Takes what others know of the codes of the values of a leaf's dictionary, to be given back with what was found
    /// out besides ([`Self::put_codes`]); empty when nothing is.
    pub(crate) fn take_codes(&self, leaf: usize, tenant: TenantNo) -> Vec<u32> {
        let column = self.fields.leaves().get(leaf).map(|leaf| leaf.column);
        self.shared
            .zip(column)
            .map(|(shared, column)| shared.take_codes((column, tenant)))
            .unwrap_or_default()
    }

    /// Lets others know the codes of the values of a leaf's dictionary.
    pub(crate) fn put_codes(&self, leaf: usize, tenant: TenantNo, codes: Vec<u32>) {
        if let (Some(shared), Some(leaf)) = (self.shared, self.fields.leaves().get(leaf)) {
            shared.put_codes((leaf.column, tenant), codes);
        }
    }

    /// The code of an identity; `None` when its tenant never named it.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn code_of(
        &mut self,
        tenant: TenantNo,
        kind: IdentityKind,
        identity: &[u8],
    ) -> Result<Option<u32>> {
        let known = &mut self.codes;
        if known.tenant != Some(tenant) || known.codes.len() >= KNOWN_CODES_MAX {
            known.tenant = Some(tenant);
            known.codes.clear();
        }
        if let Some((.., code)) = known.codes.iter().find(|(k, name, _)| *k == kind && name == identity) {
            return Ok(*code);
        }
        let code = self.snapshot.codes.code_of(tenant, kind, identity)?;
        known.codes.push((kind, identity.to_vec(), code));
        Ok(code)
    }

    /// Zone maps of which each present value of a leaf lies in one; `None` when nothing is known.
    ///
    /// # Errors
    ///
    /// Those of [`Part::path_zones`].
    pub(crate) fn zones(&mut self, leaf: usize) -> Result<Option<&[ZoneMap]>> {
        let Some(def) = self.fields.leaves().get(leaf) else { return Ok(None) };
        // What a zone map says of values may not hold without those that are hidden.
        let may_blank = self.may_blank(def.column);
        let Some(slot) = self.zones.get_mut(leaf) else { return Ok(None) };
        if matches!(slot, Zones::Unasked) {
            let stream = self.fields.stream();
            let known = if may_blank {
                None
            } else if def.path.is_empty() {
                self.part.zone_map(stream, def.column, self.index).map(|zone| vec![zone])
            } else {
                self.part.path_zones(stream, def.column, &def.path, self.index)?
            };
            *slot = known.map_or(Zones::Unknown, Zones::Known);
        }
        Ok(match slot {
            Zones::Known(zones) => Some(zones),
            Zones::Unasked | Zones::Unknown => None,
        })
    }
}
