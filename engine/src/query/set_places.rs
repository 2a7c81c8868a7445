//! Where the set of a group, tenant and space is: a map, and a table that spares its hash while both are few.

use hashbrown::HashMap;

use super::ids::Space;
use crate::id::TenantNo;

/// No set.
pub(crate) const NO_SET: u32 = u32::MAX;

/// Most places of the table of one space: 1 MiB.
const TABLE_MAX: usize = 1 << 18;

/// Places of sets.
#[derive(Debug, Default)]
pub(crate) struct SetPlaces {
    all: HashMap<(u32, TenantNo, Space), u32>,
    tables: Vec<(Space, Table)>,
}

/// Some of the places of one space again: rows of groups, a column for each tenant by its number, from the
/// tenant on that was seen first.
#[derive(Debug, Default)]
struct Table {
    first: u32,
    width: usize,
    places: Vec<u32>,
}

impl SetPlaces {
    /// The place of a set; `new` makes one.
    #[inline]
    pub(crate) fn get_or_insert(&mut self, of: (u32, TenantNo, Space), new: impl FnOnce() -> u32) -> u32 {
        let (group, tenant, space) = of;
        let table = self.tables.iter_mut().find(|(known, _)| *known == space);
        if let Some(place) = table.and_then(|(_, table)| table.get(group, tenant)) {
            return place;
        }
        let place = *self.all.entry(of).or_insert_with(new);
        self.remember(of, place);
        place
    }

    /// All places, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&(u32, TenantNo, Space), &u32)> {
        self.all.iter()
    }

    /// Bytes of memory the tables take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tables.iter().map(|(_, table)| table.places.len() * size_of::<u32>()).sum()
    }

    #[cold]
    fn remember(&mut self, (group, tenant, space): (u32, TenantNo, Space), place: u32) {
        let known = self.tables.iter().position(|(known, _)| *known == space);
        let at = known.unwrap_or_else(|| {
            self.tables.push((space, Table::default()));
            self.tables.len() - 1
        });
        if let Some((_, table)) = self.tables.get_mut(at) {
            table.put(group, tenant, place);
        }
    }
}

impl Table {
    #[inline]
    fn get(&self, group: u32, tenant: TenantNo) -> Option<u32> {
        // A tenant before the first has a column past any width.
        let column = tenant.0.wrapping_sub(self.first) as usize;
        if column >= self.width {
            return None;
        }
        self.places.get(group as usize * self.width + column).copied().filter(|place| *place != NO_SET)
    }

    /// Puts a place into the table, which grows to hold it while it stays small.
    fn put(&mut self, group: u32, tenant: TenantNo, place: u32) {
        if self.width == 0 {
            self.first = tenant.0;
        }
        let Some(column) = tenant.0.checked_sub(self.first) else { return };
        let (row, column) = (group as usize, column as usize);
        let width = if column < self.width { self.width } else { (column + 1).next_power_of_two() };
        let rows = (row + 1).max(self.places.len() / self.width.max(1));
        if width.saturating_mul(rows) > TABLE_MAX {
            return;
        }
        if width != self.width {
            let mut wider = Vec::with_capacity(width * rows);
            for row in self.places.chunks(self.width.max(1)) {
                wider.extend_from_slice(row);
                wider.resize(wider.len().next_multiple_of(width), NO_SET);
            }
            (self.places, self.width) = (wider, width);
        }
        if self.places.len() < width * rows {
            self.places.resize(width * rows, NO_SET);
        }
        if let Some(slot) = self.places.get_mut(row * width + column) {
            *slot = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::schema::IdentityKind;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_place_stays_however_the_tables_grow(
            asked in prop::collection::vec((0_u32..3_000, 0_u32..9, 0_u32..11, any::<bool>()), 1..300),
        ) {
            let (mut places, mut plain) = (SetPlaces::default(), HashMap::new());
            for (group, small, shift, of_user) in asked {
                let tenant = TenantNo(small << shift);
                let of = (group, tenant, of_user.then_some(IdentityKind::User));
                let next = u32::try_from(plain.len()).unwrap();
                let expected = *plain.entry(of).or_insert(next);
                prop_assert_eq!(places.get_or_insert(of, || next), expected);
            }
            let all: HashMap<_, _> = places.iter().map(|(of, place)| (*of, *place)).collect();
            prop_assert_eq!(all, plain);
        }
    }
}
