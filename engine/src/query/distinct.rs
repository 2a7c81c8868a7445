//! Distinct values by group: bitmaps of ids, one for each tenant and space, exact.

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::accumulate::GroupRun;
use super::field::Source;
use super::granule::Granule;
use super::ids::{self, ABSENT, DistinctIds, Space};
use super::mask::Rows;
use crate::error::Result;
use crate::id::TenantNo;

/// A set that is not looked up yet.
const NO_SET: u32 = u32::MAX;

/// Bytes that an empty set and its place cost, by estimate.
const SET_BYTES: usize = 96;

/// Bytes that one more value costs: two in a sparse container, less in a dense one.
const VALUE_BYTES: usize = 4;

/// The distinct values of one field.
#[derive(Debug)]
pub(crate) struct Distinct {
    source: Source,
    ids: DistinctIds,
    /// The ids of the rows at hand, for each space.
    read: Vec<(Space, Vec<u32>)>,
    sets: Vec<(u32, RoaringBitmap)>,
    places: HashMap<(u32, TenantNo, Space), u32>,
    /// By group the set of the tenant and space at hand; [`NO_SET`] between calls.
    at_hand: Vec<u32>,
    values: usize,
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
            values: 0,
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
    pub(crate) fn fold(&mut self, tenant: TenantNo, runs: &[GroupRun]) {
        let groups = runs.iter().map(|r| r.0 as usize + 1).max().unwrap_or(0);
        if self.at_hand.len() < groups {
            self.at_hand.resize(groups, NO_SET);
        }
        for (space, ids) in std::mem::take(&mut self.read) {
            for (group, from, to) in runs {
                let Some(ids) = ids.get(*from..*to) else { continue };
                let mut last = ABSENT;
                for id in ids {
                    // Equal neighbours are frequent: one event after the other of the same user.
                    if *id != ABSENT && *id != last {
                        last = *id;
                        self.add(*group, tenant, space, *id);
                    }
                }
            }
            for (group, _, _) in runs {
                if let Some(place) = self.at_hand.get_mut(*group as usize) {
                    *place = NO_SET;
                }
            }
        }
    }

    fn add(&mut self, group: u32, tenant: TenantNo, space: Space, id: u32) {
        let Some(at_hand) = self.at_hand.get_mut(group as usize) else { return };
        if *at_hand == NO_SET {
            *at_hand = *self.places.entry((group, tenant, space)).or_insert_with(|| {
                self.sets.push((group, RoaringBitmap::new()));
                u32::try_from(self.sets.len() - 1).unwrap_or(NO_SET)
            });
        }
        if let Some((_, set)) = self.sets.get_mut(*at_hand as usize) {
            self.values += usize::from(set.insert(id));
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
        self.ids.memory_bytes() + self.sets.len() * SET_BYTES + self.values * VALUE_BYTES
    }
}
