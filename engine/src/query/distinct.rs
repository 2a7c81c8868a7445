//! Distinct values by group: sets of ids, one for each tenant and space, exact.

use hashbrown::HashMap;

use super::distinct_ids::{DistinctIds, distinct_ids};
use super::field::Source;
use super::granule::Granule;
use super::id_set::IdSet;
use super::ids::Space;
use super::mask::Rows;
use super::row_groups::RowGroups;
use super::set_places::{NO_SET, SetPlaces};
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::id::TenantNo;
use crate::rollup::{SetList, SetRef};

/// Bytes that an empty set and its place cost, by estimate.
const SET_BYTES: usize = 96;

/// Most bytes of dense sets of one field; further sets stay sparse.
const DENSE_BYTES_MAX: usize = 32 << 20;

/// The ids of one group, tenant and space.
#[derive(Debug)]
struct GroupSet {
    group: u32,
    set: IdSet,
    /// Its bytes that are counted, and those of them that are dense.
    bytes: (usize, usize),
}

/// The distinct values of one field.
#[derive(Debug)]
pub(crate) struct Distinct {
    source: Source,
    ids: DistinctIds,
    /// The ids of the rows at hand, for each space.
    read: Vec<(Space, Vec<u32>)>,
    sets: Vec<GroupSet>,
    places: SetPlaces,
    /// By group the set of the tenant and space at hand; [`NO_SET`] while it is not looked up.
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
            places: SetPlaces::default(),
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
        self.read = distinct_ids(&mut self.ids, &self.source, granule, tenant, rows)?;
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
            self.settle();
        }
    }

    fn add(&mut self, group: u32, tenant: TenantNo, space: Space, ids: &[u32]) {
        let Some(at_hand) = self.at_hand.get_mut(group as usize) else { return };
        if *at_hand == NO_SET {
            *at_hand = self.places.get_or_insert((group, tenant, space), || {
                self.sets.push(GroupSet { group, set: IdSet::default(), bytes: (0, 0) });
                u32::try_from(self.sets.len() - 1).unwrap_or(NO_SET)
            });
            self.touched.push(group);
        }
        if let Some(of_group) = self.sets.get_mut(*at_hand as usize) {
            of_group.set.add_all(ids, self.dense_bytes < DENSE_BYTES_MAX);
        }
    }

    /// Counts the memory of the sets at hand and lets go of them: the next space, or tenant, has others.
    fn settle(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for group in touched.drain(..) {
            let Some(slot) = self.at_hand.get_mut(group as usize) else { continue };
            let place = std::mem::replace(slot, NO_SET);
            self.count_bytes(place);
        }
        self.touched = touched;
    }

    /// Counts the memory of a set that has changed.
    fn count_bytes(&mut self, place: u32) {
        if let Some(of_group) = self.sets.get_mut(place as usize) {
            let bytes = of_group.set.memory_bytes();
            let now = (bytes, if of_group.set.is_dense() { bytes } else { 0 });
            if now == of_group.bytes {
                return;
            }
            let before = std::mem::replace(&mut of_group.bytes, now);
            self.bytes = (self.bytes + now.0).saturating_sub(before.0);
            self.dense_bytes = (self.dense_bytes + now.1).saturating_sub(before.1);
        }
    }

    /// Gives the identities that had no code the ones that they were given since.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn take_codes(&mut self, snapshot: &Snapshot) -> Result<()> {
        let moved = self.ids.take_codes(snapshot)?;
        if moved.is_empty() {
            return Ok(());
        }
        let moved: HashMap<_, _> = moved.iter().map(|m| ((m.tenant, Some(m.kind)), m)).collect();
        let places: Vec<_> = self.places.iter().map(|(of, place)| (*of, *place)).collect();
        for ((_, tenant, space), place) in places {
            if let Some(moved) = moved.get(&(tenant, space))
                && let Some(of_group) = self.sets.get_mut(place as usize)
            {
                of_group.set.renumber(moved.first, |id| moved.ids.get(&id).copied());
                self.count_bytes(place);
            }
        }
        Ok(())
    }

    /// Lets text that has no codes go by its hash. Before anything is read.
    pub(crate) fn hash_text(&mut self) {
        self.ids = DistinctIds::of_hashes();
    }

    /// Adds sets of cells to the groups of the cells; `tenant` is theirs where the sets do not say.
    pub(crate) fn fold_cells(&mut self, tenant: TenantNo, lists: &[SetList], placed: &[(u32, u32)]) {
        let mut at_hand = Vec::new();
        for list in lists {
            for (cell, group) in placed {
                at_hand.clear();
                for set in list.of_cell(*cell as usize) {
                    if let Some(of_cell) = list.get(set).filter(|set| set.len() > 0) {
                        let of = (*group, list.tenant(set).unwrap_or(tenant), list.kind);
                        at_hand.push((self.place(of), of_cell));
                    }
                }
                self.touch(&at_hand);
                for (place, set) in &at_hand {
                    self.add_set(*place, *set);
                }
            }
        }
    }

    /// The place of the set of a group, tenant and space.
    fn place(&mut self, of: (u32, TenantNo, Space)) -> u32 {
        self.places.get_or_insert(of, || {
            self.sets.push(GroupSet { group: of.0, set: IdSet::default(), bytes: (0, 0) });
            u32::try_from(self.sets.len() - 1).unwrap_or(NO_SET)
        })
    }

    /// Looks at what some sets join. Small sets of many tenants are all over the memory: loads that do not wait
    /// for each other bring them near, where those of one set after the other would wait each.
    fn touch(&self, sets: &[(u32, SetRef<'_>)]) {
        let word = |(place, set): &(u32, SetRef<'_>)| match set {
            SetRef::Near { first, .. } => self.sets.get(*place as usize).map_or(0, |s| s.set.word_of(*first)),
            SetRef::Codes(_) | SetRef::Bits { .. } | SetRef::Hashes(_) => 0,
        };
        std::hint::black_box(sets.iter().map(word).fold(0, |all, word| all | word));
    }

    fn add_set(&mut self, place: u32, set: SetRef<'_>) {
        let may_be_dense = self.dense_bytes < DENSE_BYTES_MAX;
        let Some(of_group) = self.sets.get_mut(place as usize) else { return };
        match set {
            SetRef::Codes(codes) => of_group.set.add_all(codes, may_be_dense),
            SetRef::Near { first, others } => of_group.set.add_near(first, others, may_be_dense),
            SetRef::Bits { first_word, words } => of_group.set.add_words(first_word, words, may_be_dense),
            SetRef::Hashes(hashes) => {
                let numbered: Vec<u32> = hashes.iter().map(|hash| self.ids.of_hash(*hash)).collect();
                of_group.set.add_all(&numbered, may_be_dense);
            }
        }
        self.count_bytes(place);
    }

    /// The sets of some groups in their order, a list for each of `spaces`; of each tenant apart when
    /// `by_tenant`, else there is one tenant.
    pub(crate) fn export(&self, groups: &[u32], spaces: &[Space], by_tenant: bool) -> Vec<SetList> {
        let mut order: HashMap<u32, u32> = HashMap::with_capacity(groups.len());
        for (at, group) in (0..).zip(groups) {
            order.insert(*group, at);
        }
        // A slice without values in one of the spaces has left an empty set there.
        let has_ids = |place: u32| self.sets.get(place as usize).is_some_and(|s| s.set.len() > 0);
        let mut sets: Vec<(Space, u32, TenantNo, u32)> = self
            .places
            .iter()
            .filter(|(_, place)| has_ids(**place))
            .filter_map(|((group, tenant, space), place)| Some((*space, *order.get(group)?, *tenant, *place)))
            .collect();
        sets.sort_unstable();
        let list = |space: &Space| {
            let from = sets.partition_point(|s| s.0 < *space);
            let to = sets.partition_point(|s| s.0 <= *space);
            self.export_list(sets.get(from..to).unwrap_or(&[]), groups.len(), *space, by_tenant)
        };
        spaces.iter().map(list).collect()
    }

    fn export_list(
        &self,
        sets: &[(Space, u32, TenantNo, u32)],
        cells: usize,
        space: Space,
        by_tenant: bool,
    ) -> SetList {
        let mut list = SetList::new(space);
        let mut left = sets.iter().peekable();
        let (mut ends, mut tenants) = (Vec::new(), Vec::new());
        for cell in 0..cells {
            let mut found = false;
            while let Some((_, _, tenant, place)) = left.next_if(|s| s.1 as usize == cell) {
                found = true;
                tenants.push(*tenant);
                self.export_set(*place, &mut list);
            }
            if !found && !by_tenant {
                list.push_codes(&[]);
            }
            ends.push(u32::try_from(tenants.len()).unwrap_or(u32::MAX));
        }
        if by_tenant {
            list.of_tenants = Some((ends, tenants));
        }
        list
    }

    fn export_set(&self, place: u32, list: &mut SetList) {
        let ids = self.sets.get(place as usize).map(|s| s.set.ids()).unwrap_or_default();
        if list.kind.is_some() {
            list.push_codes(&ids);
        } else {
            let mut hashes: Vec<u128> = ids.iter().filter_map(|id| self.ids.hash_of(*id)).collect();
            hashes.sort_unstable();
            list.push_hashes(&hashes);
        }
    }

    /// The number of distinct values of each of `groups` groups.
    pub(crate) fn totals(&self, groups: usize) -> Vec<u64> {
        let mut out = vec![0; groups];
        for of_group in &self.sets {
            if let Some(total) = out.get_mut(of_group.group as usize) {
                *total += of_group.set.len();
            }
        }
        out
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.ids.memory_bytes() + self.sets.len() * SET_BYTES + self.bytes + self.places.memory_bytes()
    }
}
