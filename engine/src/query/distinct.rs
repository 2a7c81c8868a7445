//! Distinct values by group: sets of ids, one for each tenant and space, exact.

use hashbrown::HashMap;

use super::field::Source;
use super::granule::Granule;
use super::ids::{self, DistinctIds, Space};
use super::id_set::IdSet;
use super::mask::Rows;
use super::row_groups::RowGroups;
use crate::error::Result;
use crate::id::TenantNo;

/// A set that is not looked up yet.
const NO_SET: u32 = u32::MAX;

/// Bytes that an empty set and its place cost, by estimate.
const SET_BYTES: usize = 96;

/// Most bytes of dense sets of one field; further sets stay sparse.
const DENSE_BYTES_MAX: usize = 32 << 20;

/// The distinct values of one field.
#[derive(Debug)]
pub(crate) struct Distinct {
    source: Source,
    ids: DistinctIds,
    /// The ids of the rows at hand, for each space.
    read: Vec<(Space, Vec<u32>)>,
    sets: Vec<(u32, IdSet)>,
    places: HashMap<(u32, TenantNo, Space), u32>,
    /// By group the set of the tenant and space at hand; [`NO_SET`] between calls.
    at_hand: Vec<u32>,
    /// The groups whose place is in `at_hand`.
    touched: Vec<u32>,
    /// Bytes of all sets, and of the dense ones.
    bytes: usize,
    dense_bytes: usize,
}

impl Distinct {
    /// No value yet.
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            ids: DistinctIds::default(),
            read: Vec::new(),
            sets: Vec::new(),
            places: HashMap::new(),
            at_hand: Vec::new(),
            touched: Vec::new(),
            bytes: 0,
            dense_bytes: 0,
        }
    }

    /// The field.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Reads the ids of some rows.
    ///
    /// # Errors
    ///
    /// Those of the columns and of the dictionary.
    pub(crate) fn read(&mut self, granule: &mut Granule<'_>, tenant: TenantNo, rows: Rows<'_>) -> Result<()> {
        self.read = ids::distinct_ids(&mut self.ids, &self.source, granule, tenant, rows)?;
        Ok(())
    }

    /// Adds the rows that were read to their groups.
    pub(crate) fn fold(&mut self, tenant: TenantNo, groups: &RowGroups) {
        if self.at_hand.len() < groups.groups() {
            self.at_hand.resize(groups.groups(), NO_SET);
        }
        for (space, ids) in std::mem::take(&mut self.read) {
            groups.each(|group, from, to| {
                if let Some(ids) = ids.get(from..to) {
                    self.add(group, tenant, space, ids);
                }
            });
            // The next space, or tenant, has other sets.
            for group in self.touched.drain(..) {
                if let Some(place) = self.at_hand.get_mut(group as usize) {
                    *place = NO_SET;
                }
            }
        }
    }

    fn add(&mut self, group: u32, tenant: TenantNo, space: Space, ids: &[u32]) {
        let Some(at_hand) = self.at_hand.get_mut(group as usize) else { return };
        if *at_hand == NO_SET {
            *at_hand = *self.places.entry((group, tenant, space)).or_insert_with(|| {
                self.sets.push((group, IdSet::default()));
                u32::try_from(self.sets.len() - 1).unwrap_or(NO_SET)
            });
            self.touched.push(group);
        }
        if let Some((_, set)) = self.sets.get_mut(*at_hand as usize) {
            let dense_bytes = |set: &IdSet| if set.is_dense() { set.memory_bytes() } else { 0 };
            let before = (set.memory_bytes(), dense_bytes(set));
            set.add_all(ids, self.dense_bytes < DENSE_BYTES_MAX);
            self.bytes = (self.bytes + set.memory_bytes()).saturating_sub(before.0);
            self.dense_bytes = (self.dense_bytes + dense_bytes(set)).saturating_sub(before.1);
        }
    }

    /// The number of distinct values of each of `groups` groups.
    pub(crate) fn totals(&self, groups: usize) -> Vec<u64> {
        let mut out = vec![0; groups];
        for (group, set) in &self.sets {
            if let Some(total) = out.get_mut(*group as usize) {
                *total += set.len();
            }
        }
        out
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.ids.memory_bytes() + self.sets.len() * SET_BYTES + self.bytes
    }
}
