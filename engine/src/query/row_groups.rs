//! The groups of the rows at hand, cut into runs where neighbours are of one group.

use super::group::NO_GROUP;

/// Rows that follow each other and are of one group: (group, first place, place after the last).
type GroupRun = (u32, usize, usize);

/// The group of each row at hand.
#[derive(Debug, Default)]
pub(crate) struct RowGroups {
    ids: Vec<u32>,
    runs: Vec<GroupRun>,
    /// Neighbours differ too often for runs to be worth it.
    scattered: bool,
    /// One more than the greatest group.
    groups: usize,
}

impl RowGroups {
    /// No row.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.runs.clear();
        self.scattered = false;
        self.groups = 0;
    }

    /// All of `rows` rows in one group.
    pub(crate) fn set_one(&mut self, group: u32, rows: usize) {
        self.clear();
        if group != NO_GROUP && rows > 0 {
            self.runs.push((group, 0, rows));
            self.groups = group as usize + 1;
        }
    }

    /// Where the group of each row is written, before [`Self::cut`].
    pub(crate) fn ids_mut(&mut self) -> &mut Vec<u32> {
        self.clear();
        &mut self.ids
    }

    /// Finds the runs of the groups that were written.
    pub(crate) fn cut(&mut self) {
        let runs_max = self.ids.len() / 4 + 1;
        let mut from = 0;
        for run in self.ids.chunk_by(|a, b| a == b) {
            if self.runs.len() == runs_max {
                self.scattered = true;
                self.runs.clear();
                break;
            }
            if let Some(group) = run.first().filter(|g| **g != NO_GROUP) {
                self.runs.push((*group, from, from + run.len()));
            }
            from += run.len();
        }
        let greatest = self.ids.iter().filter(|g| **g != NO_GROUP).max();
        self.groups = greatest.map_or(0, |g| *g as usize + 1);
    }

    /// One more than the greatest group; 0 when no row is in a group.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Calls with (group, first place, place after the last) of rows that follow each other and are of
    /// one group; scattered rows come one by one. Rows of no group are left out.
    #[inline]
    pub(crate) fn each(&self, mut call: impl FnMut(u32, usize, usize)) {
        if self.scattered {
            for (at, group) in self.ids.iter().enumerate().filter(|(_, g)| **g != NO_GROUP) {
                call(*group, at, at + 1);
            }
        } else {
            for (group, from, to) in &self.runs {
                call(*group, *from, *to);
            }
        }
    }

    /// Calls with the state of each group and the values of its rows at hand, perhaps several times.
    #[inline]
    pub(crate) fn each_state<S, T>(
        &self,
        values: &[T],
        states: &mut [S],
        mut call: impl FnMut(&mut S, &[T]),
    ) {
        self.each(|group, from, to| {
            if let (Some(state), Some(values)) = (states.get_mut(group as usize), values.get(from..to)) {
                call(state, values);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(ids: &[u32]) -> (usize, Vec<(u32, usize, usize)>) {
        let mut groups = RowGroups::default();
        groups.ids_mut().extend(ids);
        groups.cut();
        let mut out = Vec::new();
        groups.each(|group, from, to| out.push((group, from, to)));
        (groups.groups(), out)
    }

    #[test]
    fn rows_of_one_group_come_together_and_scattered_ones_alone() {
        assert_eq!(pieces(&[]), (0, vec![]));
        assert_eq!(pieces(&[3, 3, 3, 3, 1, 1, 1, 1]), (4, vec![(3, 0, 4), (1, 4, 8)]));
        assert_eq!(pieces(&[NO_GROUP, NO_GROUP, NO_GROUP, 2]), (3, vec![(2, 3, 4)]));
        assert_eq!(pieces(&[0, 1, NO_GROUP, 0]), (2, vec![(0, 0, 1), (1, 1, 2), (0, 3, 4)]));
        assert_eq!(pieces(&[NO_GROUP]), (0, vec![]));
        let mut one = RowGroups::default();
        one.set_one(5, 7);
        one.each(|group, from, to| assert_eq!((group, from, to), (5, 0, 7)));
        assert_eq!(one.groups(), 6);
    }
}
