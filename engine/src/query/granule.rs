//! One granule while a question looks at it: columns decoded once, zone maps, tenants' names.

use std::sync::Arc;

use super::field::Fields;
use super::plan::{Slice, Task};
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::part::{Part, ZoneMap};
use crate::schema::ColumnVector;

/// A zone map, once it was asked for.
#[derive(Debug, Clone)]
enum Zone {
    Unasked,
    None,
    Some(ZoneMap),
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
    zones: Vec<Zone>,
}

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
            zones: vec![Zone::Unasked; leaves],
        })
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
        } else {
            self.part.path(stream, def.column, &def.path, self.index)?
        };
        let vector = if self.may_blank(def.column) { self.blanked(def.column, vector)? } else { vector };
        if let Some(slot) = self.columns.get_mut(leaf) {
            *slot = Some(Arc::clone(&vector));
        }
        Ok(vector)
    }

    /// The zone map of a leaf, if it has one; paths have none.
    pub(crate) fn zone(&mut self, leaf: usize) -> Option<&ZoneMap> {
        let def = self.fields.leaves().get(leaf)?;
        // What a zone map says of values may not hold without those that are hidden.
        let may_blank = self.may_blank(def.column);
        let slot = self.zones.get_mut(leaf)?;
        if matches!(slot, Zone::Unasked) {
            let whole_column = def.path.is_empty() && !may_blank;
            let zone = whole_column
                .then(|| self.part.zone_map(self.fields.stream(), def.column, self.index))
                .flatten();
            *slot = zone.map_or(Zone::None, Zone::Some);
        }
        match slot {
            Zone::Some(zone) => Some(zone),
            Zone::Unasked | Zone::None => None,
        }
    }
}
