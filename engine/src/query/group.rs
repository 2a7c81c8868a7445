//! Which group a row belongs to: buckets of time and keys of fields, joined into dense numbers.

mod cells;

pub(crate) use cells::CellDimension;

use hashbrown::HashMap;

use super::field::{Fields, Source};
use super::granule::Granule;
use super::ids::{self, KeyIds};
use super::mask::Rows;
use super::plan::Slice;
use super::request::{GroupBy, GroupKey, KeyValue};
use super::row_groups::RowGroups;
use crate::error::{Error, Result};
use crate::schema::ColumnVector;
use crate::schema::stream::TIME;
use crate::time::Buckets;

/// The group of a row that is in none.
pub(crate) const NO_GROUP: u32 = u32::MAX;

/// One of `group_by`.
#[derive(Debug)]
enum Dimension {
    /// Buckets of the event time; the leaf is the time.
    Bucket { buckets: BucketIndex, time: usize },
    /// A field. `keys` numbers its values; the id of an absent one is `absent`.
    Key { source: Source, keys: Box<KeyIds> },
}

/// Buckets, ready to be looked up for many instants that are near each other.
#[derive(Debug)]
struct BucketIndex {
    edges: Vec<i64>,
    /// Start and width when all buckets are equally wide.
    uniform: Option<(i64, i64)>,
}

/// Joins a dense number of all dimensions so far with one of the next.
#[derive(Debug, Default)]
struct Pairs {
    ids: HashMap<(u32, u32), u32>,
    /// The pairs, by id.
    joined: Vec<(u32, u32)>,
    /// The ids again, in rows of `width` places; [`NO_GROUP`] where there is none. It spares a hash for
    /// each row while few pairs exist.
    table: Vec<u32>,
    width: usize,
}

/// Most cells of the table of [`Pairs`]: 4 MiB.
const TABLE_MAX: usize = 1 << 20;

/// All of `group_by`.
#[derive(Debug)]
pub(crate) struct Grouping {
    dimensions: Vec<Dimension>,
    /// One for each dimension after the first.
    joins: Vec<Pairs>,
    scratch: Vec<u32>,
}

impl Grouping {
    /// Resolves `group_by`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a field the stream does not have.
    pub(crate) fn compile(group_by: &[GroupBy], fields: &mut Fields) -> Result<Self> {
        let mut dimensions = Vec::with_capacity(group_by.len());
        for by in group_by {
            dimensions.push(match by {
                GroupBy::Bucket(buckets) => {
                    Dimension::Bucket { buckets: BucketIndex::new(buckets), time: fields.column(&TIME)? }
                }
                GroupBy::Field(field) => {
                    Dimension::Key { source: fields.source(field)?, keys: Box::default() }
                }
            });
        }
        let joins = (1..dimensions.len()).map(|_| Pairs::default()).collect();
        Ok(Self { dimensions, joins, scratch: Vec::new() })
    }

    /// The group of each row; none for one outside of all buckets.
    ///
    /// # Errors
    ///
    /// Those of the columns and of the dictionary.
    pub(crate) fn groups(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        rows: Rows<'_>,
        out: &mut RowGroups,
    ) -> Result<()> {
        let ids = out.ids_mut();
        // While all rows are of one group it is a number, else the numbers are in `ids`.
        let mut one = Some(0);
        for (at, dimension) in self.dimensions.iter_mut().enumerate() {
            let place = dimension.places(granule, slice, rows, &mut self.scratch)?;
            let Some(join) = at.checked_sub(1).and_then(|before| self.joins.get_mut(before)) else {
                one = place;
                std::mem::swap(ids, &mut self.scratch);
                continue;
            };
            one = match (one, place) {
                (Some(group), Some(place)) => Some(join.id(group, place)),
                (group, place) => {
                    // Spread out whichever is one number for all rows.
                    spread(group, rows.len(), ids);
                    spread(place, rows.len(), &mut self.scratch);
                    join.join(ids, &self.scratch);
                    None
                }
            };
        }
        match one {
            Some(group) => out.set_one(group, rows.len()),
            None => out.cut(),
        }
        Ok(())
    }

    /// The key of a group.
    pub(crate) fn key(&self, group: u32) -> GroupKey {
        self.dimensions.iter().zip(self.places(group)).map(|(d, place)| d.value(place)).collect()
    }

    /// The place of a group in each dimension.
    fn places(&self, group: u32) -> Vec<u32> {
        let mut places = Vec::with_capacity(self.dimensions.len());
        let mut left = group;
        for join in self.joins.iter().rev() {
            let (before, place) = join.joined.get(left as usize).copied().unwrap_or_default();
            places.push(place);
            left = before;
        }
        if !self.dimensions.is_empty() {
            places.push(left);
        }
        places.reverse();
        places
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let keys: usize = self.dimensions.iter().map(Dimension::memory_bytes).sum();
        keys + self.joins.iter().map(|j| j.joined.len() * 28 + j.table.len() * 4).sum::<usize>()
    }
}

/// Writes a number that stands for all rows down for each of them.
fn spread(one: Option<u32>, rows: usize, ids: &mut Vec<u32>) {
    if let Some(one) = one {
        ids.clear();
        ids.resize(rows, one);
    }
}

impl Pairs {
    fn id(&mut self, group: u32, place: u32) -> u32 {
        if group == NO_GROUP || place == NO_GROUP {
            return NO_GROUP;
        }
        match self.cell(group, place) {
            Some(id) if *id != NO_GROUP => *id,
            _ => self.new_id(group, place),
        }
    }

    /// Joins each group with the place of its row.
    fn join(&mut self, groups: &mut [u32], places: &[u32]) {
        for (group, place) in groups.iter_mut().zip(places) {
            *group = self.id(*group, *place);
        }
    }

    /// The id of a pair in the table, if the table has its place.
    fn cell(&self, group: u32, place: u32) -> Option<&u32> {
        if place as usize >= self.width {
            return None;
        }
        self.table.get(group as usize * self.width + place as usize)
    }

    #[cold]
    fn new_id(&mut self, group: u32, place: u32) -> u32 {
        let next = u32::try_from(self.joined.len()).unwrap_or(NO_GROUP);
        let id = *self.ids.entry((group, place)).or_insert(next);
        if id == next {
            self.joined.push((group, place));
        }
        self.remember(group, place, id);
        id
    }

    /// Puts an id into the table, which grows to hold it while it stays small.
    fn remember(&mut self, group: u32, place: u32, id: u32) {
        let width =
            if place as usize >= self.width { (place as usize + 1).next_power_of_two() } else { self.width };
        let height = (group as usize + 1).max(self.table.len() / self.width.max(1));
        if width * height > TABLE_MAX {
            return;
        }
        if width != self.width {
            let mut table = vec![NO_GROUP; width * height];
            for ((group, place), id) in &self.ids {
                if let Some(cell) = table.get_mut(*group as usize * width + *place as usize) {
                    *cell = *id;
                }
            }
            (self.table, self.width) = (table, width);
        } else if self.table.len() < width * height {
            self.table.resize(width * height, NO_GROUP);
        }
        if let Some(cell) = self.table.get_mut(group as usize * width + place as usize) {
            *cell = id;
        }
    }
}

impl Dimension {
    /// The place of each row in this dimension: a bucket, or 0 for absent and an id of `keys` + 1. When
    /// all rows have the same place it is returned, and `out` is left alone.
    fn places(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        rows: Rows<'_>,
        out: &mut Vec<u32>,
    ) -> Result<Option<u32>> {
        match self {
            Self::Bucket { buckets, time } => {
                if let Some(place) = buckets.one_place(slice) {
                    return Ok(Some(place));
                }
                match &*granule.load(*time)? {
                    ColumnVector::I64(times, _) => buckets.places(times, rows, out),
                    _ => return Err(Error::invalid("a part whose event times are no instants")),
                }
                Ok(None)
            }
            Self::Key { source, keys } => {
                ids::key_ids(keys, source, granule, slice.tenant, rows, out)?;
                // Absent is u32::MAX and becomes 0.
                for id in out {
                    *id = id.wrapping_add(1);
                }
                Ok(None)
            }
        }
    }

    fn value(&self, place: u32) -> KeyValue {
        match self {
            Self::Bucket { .. } => KeyValue::Bucket(place as usize),
            Self::Key { keys, .. } => {
                let id = (place as usize).wrapping_sub(1);
                keys.values().get(id).cloned().unwrap_or(KeyValue::Absent)
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Bucket { .. } => 0,
            Self::Key { keys, .. } => keys.memory_bytes(),
        }
    }
}

impl BucketIndex {
    fn new(buckets: &Buckets) -> Self {
        let edges: Vec<i64> =
            buckets.iter().map(|r| r.start.0).chain(buckets.iter().last().map(|r| r.end.0)).collect();
        let width = match edges.as_slice() {
            [first, second, ..] => second.checked_sub(*first),
            _ => None,
        };
        let uniform = width.filter(|w| *w > 0 && edges.is_sorted_by(|a, b| b.checked_sub(*a) == Some(*w)));
        Self { uniform: uniform.zip(edges.first().copied()).map(|(w, start)| (start, w)), edges }
    }

    /// The bucket of all rows of a slice, when its range lies in one: their times are not read.
    fn one_place(&self, slice: &Slice) -> Option<u32> {
        let (first, last) = (slice.first().0, slice.last().0);
        let (from, to, place) = self.bucket_of(first);
        (from <= last && last < to).then_some(place)
    }

    fn places(&self, times: &[i64], rows: Rows<'_>, out: &mut Vec<u32>) {
        out.clear();
        out.resize(rows.len(), NO_GROUP);
        // Rows of a run are sorted by time or nearly so: the bucket of the last row serves most.
        let (mut from, mut to, mut place) = (i64::MAX, i64::MIN, NO_GROUP);
        rows.each(|at, row| {
            let (Some(time), Some(slot)) = (times.get(row), out.get_mut(at)) else { return };
            if !(from <= *time && *time < to) {
                (from, to, place) = self.bucket_of(*time);
            }
            *slot = place;
        });
    }

    /// The bucket of an instant and its range; an empty range for none.
    fn bucket_of(&self, at: i64) -> (i64, i64, u32) {
        let after = match self.uniform {
            Some((start, width)) if at >= start => match at.checked_sub(start) {
                Some(past) => usize::try_from(past / width).map_or(usize::MAX, |n| n.saturating_add(1)),
                None => usize::MAX,
            },
            Some(_) => 0,
            None => self.edges.partition_point(|edge| *edge <= at),
        };
        match (after.checked_sub(1).and_then(|i| self.edges.get(i)), self.edges.get(after)) {
            (Some(from), Some(to)) => (*from, *to, u32::try_from(after - 1).unwrap_or(NO_GROUP)),
            _ => (i64::MAX, i64::MIN, NO_GROUP),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::time::{BucketUnit, TimeRange, TimestampUs};

    proptest! {
        #[test]
        fn the_index_of_buckets_agrees_with_a_search(at in -10_i64..400, hours in 1_i64..50, zone in 0_usize..3) {
            let zone = TimeZone::get(["UTC", "Europe/Berlin", "Australia/Lord_Howe"][zone]).unwrap();
            let start = TimestampUs(1_711_000_000_000_000);
            let window = TimeRange::new(start, TimestampUs(start.0 + hours * 3_600_000_000)).unwrap();
            for unit in [BucketUnit::Day, BucketUnit::Hour, BucketUnit::Step(900_000_000)] {
                let buckets = Buckets::cover(window, unit, &zone, 10_000).unwrap();
                let at = TimestampUs(start.0 + at * 900_000_000);
                let (_, _, place) = BucketIndex::new(&buckets).bucket_of(at.0);
                let place = (place != NO_GROUP).then_some(place as usize);
                prop_assert_eq!(place, buckets.index_of(at));
            }
        }
    }
}
