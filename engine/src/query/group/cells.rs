//! Groups of cells: the same numbers as those of rows, from keys of series and buckets of intervals.

use super::{Dimension, Grouping, NO_GROUP};
use crate::error::Result;
use crate::query::ids::{ABSENT, KeyIds};
use crate::query::request::KeyValue;
use crate::query::snapshot::Snapshot;
use crate::rollup::{Cells, KeyColumn, Whose};
use crate::schema::{IdentityKind, NULL_CODE};

/// Where one of `group_by` is found in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellDimension {
    /// The interval lies in one bucket.
    Bucket,
    /// A key of the definition, and what its codes are of when they are codes.
    Key(usize, Option<IdentityKind>),
    /// The name of the cells' tenant.
    Tenant,
}

impl Grouping {
    /// Lets the keys of these dimensions be the codes themselves, of one tenant, and tenants their numbers.
    pub(crate) fn keep_codes(&mut self, which: &[bool]) {
        for (dimension, keep) in self.dimensions.iter_mut().zip(which) {
            if let (Dimension::Key { keys, .. }, true) = (dimension, keep) {
                **keys = KeyIds::of_codes();
            }
        }
    }

    /// For each dimension the place of each series that `whose` names; nothing for buckets.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn places_of_series(
        &mut self,
        snapshot: &Snapshot,
        whose: &Whose,
        cells: &Cells,
        from: &[CellDimension],
    ) -> Result<Vec<Vec<u32>>> {
        let mut out = Vec::with_capacity(from.len());
        for (dimension, from) in self.dimensions.iter_mut().zip(from) {
            let mut places = Vec::new();
            if let Dimension::Key { keys, .. } = dimension {
                match from {
                    CellDimension::Bucket => {}
                    CellDimension::Tenant => {
                        places = vec![ABSENT; whose.series().len()];
                        for (tenant, _, of) in whose.stretches() {
                            let id = keys.of_tenant(snapshot, tenant);
                            places.get_mut(of).unwrap_or_default().fill(id);
                        }
                    }
                    CellDimension::Key(key, kind) => {
                        if let Some(column) = cells.keys.get(*key) {
                            keys.of_series(snapshot, (whose, *kind), column, &mut places)?;
                        }
                    }
                }
            }
            // Absent is u32::MAX and becomes 0, as for rows.
            for id in &mut places {
                *id = id.wrapping_add(1);
            }
            out.push(places);
        }
        Ok(out)
    }

    /// The group of one place in each dimension.
    pub(crate) fn group_of(&mut self, places: impl IntoIterator<Item = u32>) -> u32 {
        let mut places = places.into_iter();
        let mut group = places.next().unwrap_or(0);
        for (join, place) in self.joins.iter_mut().zip(places) {
            group = join.id(group, place);
        }
        group
    }

    /// The groups with rows, sorted by every key and then by the first dimension, which is of buckets;
    /// with the keys of each series, the end of each, and the bucket of each group.
    pub(crate) fn export(&self, counts: &[u64]) -> Exported {
        let ranked: Vec<Ranked> = self.dimensions.iter().skip(1).map(Ranked::of).collect();
        let mut groups: Vec<(Vec<u32>, u32, u32)> = Vec::new();
        for (group, _) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
            let mut places = self.places(group).into_iter();
            let slot = places.next().unwrap_or(0);
            let ranks = ranked.iter().zip(places).map(|(ranked, place)| ranked.rank(place)).collect();
            groups.push((ranks, slot, group));
        }
        groups.sort_unstable();
        let mut out = Exported { groups: Vec::with_capacity(groups.len()), ..Exported::default() };
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); ranked.len()];
        for series in groups.chunk_by(|a, b| a.0 == b.0) {
            let ranks = series.first().map_or(&[][..], |(ranks, ..)| ranks);
            for (column, rank) in places.iter_mut().zip(ranks) {
                column.push(*rank);
            }
            for (_, slot, group) in series {
                out.groups.push(*group);
                out.slots.push(u8::try_from(*slot).unwrap_or(u8::MAX));
            }
            out.ends.push(u32::try_from(out.groups.len()).unwrap_or(u32::MAX));
        }
        out.keys = ranked.into_iter().zip(places).map(|(ranked, places)| ranked.column(&places)).collect();
        out
    }
}

/// Groups in the order of cells.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// The groups.
    pub(crate) groups: Vec<u32>,
    /// The bucket of each.
    pub(crate) slots: Vec<u8>,
    /// For each series one past its last group.
    pub(crate) ends: Vec<u32>,
    /// For each key the values of all series.
    pub(crate) keys: Vec<KeyColumn>,
}

/// The values of a dimension in order.
struct Ranked {
    /// By place the rank, 0 for absent.
    ranks: Vec<u32>,
    /// By rank, from rank 1 on.
    values: Vec<KeyValue>,
    are_codes: bool,
}

impl Ranked {
    fn of(dimension: &Dimension) -> Self {
        let Dimension::Key { keys, .. } = dimension else {
            return Self { ranks: Vec::new(), values: Vec::new(), are_codes: false };
        };
        let mut order: Vec<(u32, &KeyValue)> = (1..).zip(keys.values()).collect();
        order.sort_unstable_by(|a, b| a.1.cmp(b.1));
        let mut ranks = vec![0; order.len() + 1];
        for (rank, (place, _)) in (1..).zip(&order) {
            if let Some(slot) = ranks.get_mut(*place as usize) {
                *slot = rank;
            }
        }
        let values = order.into_iter().map(|(_, value)| value.clone()).collect();
        Self { ranks, values, are_codes: keys.are_codes() }
    }

    fn rank(&self, place: u32) -> u32 {
        self.ranks.get(place as usize).copied().unwrap_or(0)
    }

    fn column(self, ranks: &[u32]) -> KeyColumn {
        // Rank 0 is absent and becomes u32::MAX.
        let places = ranks.iter().map(|rank| rank.wrapping_sub(1));
        if !self.are_codes {
            return self.values_at(places.collect());
        }
        let code = |place: u32| match self.values.get(place as usize) {
            Some(KeyValue::I64(code)) => u32::try_from(*code).unwrap_or(NULL_CODE),
            _ => NULL_CODE,
        };
        KeyColumn::Codes(places.map(code).collect())
    }

    /// The values that are there: of a choice among fields others were seen too.
    fn values_at(self, mut places: Vec<u32>) -> KeyColumn {
        let mut used = vec![false; self.values.len()];
        for place in &places {
            if let Some(used) = used.get_mut(*place as usize) {
                *used = true;
            }
        }
        let mut next = 0;
        let moved: Vec<u32> = used
            .iter()
            .map(|used| {
                let place = next;
                next += u32::from(*used);
                place
            })
            .collect();
        for place in &mut places {
            *place = moved.get(*place as usize).copied().unwrap_or(NULL_CODE);
        }
        let values = self.values.into_iter().zip(used).filter(|(_, used)| *used).map(|(value, _)| value);
        KeyColumn::Values { values: values.collect(), places }
    }
}

const _: () = assert!(ABSENT == NULL_CODE && NO_GROUP == u32::MAX);
