//! States of cells: folded into those of a question, and made from those of rows.

use super::{Accumulators, Latest, State, Sum};
use crate::id::TenantNo;
use crate::query::ids::Space;
use crate::query::request::Aggregate;
use crate::rollup::{Cells, HistogramList, StateColumn, is_answered_by};

/// Histograms of one group that are worth to be counted together before they join it.
const TALLY_CELLS_MIN: usize = 4;

/// Where the states of a question find theirs in cells: places of state columns.
#[derive(Debug, Clone)]
pub(crate) struct CellStates {
    /// For each aggregate of the question; `None` for the count of rows.
    states: Vec<Option<usize>>,
    /// For each histogram and each distinct set that aggregates share.
    histograms: Vec<usize>,
    distincts: Vec<usize>,
}

impl Accumulators {
    /// Where the states of `asked`, which these accumulators were compiled from, find theirs among the
    /// aggregates that cells keep; `None` when one of them is not there.
    pub(crate) fn cell_states(&self, asked: &[Aggregate], kept: &[Aggregate]) -> Option<CellStates> {
        let mut out = CellStates {
            states: Vec::with_capacity(asked.len()),
            histograms: vec![0; self.histograms.len()],
            distincts: vec![0; self.distincts.len()],
        };
        for (aggregate, state) in asked.iter().zip(&self.states) {
            if *aggregate == Aggregate::Count {
                out.states.push(None);
                continue;
            }
            let place = kept.iter().position(|kept| is_answered_by(aggregate, kept))?;
            let shared = match state {
                State::Quantile(at, _) => out.histograms.get_mut(*at),
                State::Distinct(at) => out.distincts.get_mut(*at),
                _ => None,
            };
            if let Some(shared) = shared {
                *shared = place;
            }
            out.states.push(Some(place));
        }
        Some(out)
    }

    /// Lets text that has no codes go by its hash, as it does in cells. Before anything is read.
    pub(crate) fn hash_text(&mut self) {
        self.distincts.iter_mut().for_each(super::Distinct::hash_text);
    }

    /// Adds cells to groups: `placed` has pairs of a cell and its group, each under `groups`.
    pub(crate) fn fold_cells(
        &mut self,
        from: &CellStates,
        cells: &Cells,
        tenant: TenantNo,
        placed: &[(u32, u32)],
        groups: usize,
    ) {
        self.grow(groups);
        each(&cells.counts, placed, &mut self.counts, |count, more| *count += more);
        for (state, place) in self.states.iter_mut().zip(&from.states) {
            let Some(column) = place.and_then(|place| cells.states.get(place)) else { continue };
            fold_state(state, column, placed);
        }
        for ((_, histograms), place) in self.histograms.iter_mut().zip(&from.histograms) {
            if let Some(StateColumn::Histogram(list)) = cells.states.get(*place) {
                for run in placed.chunk_by(|a, b| a.1 == b.1) {
                    let Some(histogram) = run.first().and_then(|(_, g)| histograms.get_mut(*g as usize))
                    else {
                        continue;
                    };
                    let before = histogram.memory_bytes();
                    let cells = run.iter().filter_map(|(cell, _)| list.get(*cell as usize));
                    if run.len() < TALLY_CELLS_MIN {
                        cells.for_each(|more| histogram.merge(more));
                    } else {
                        histogram.merge_all(cells, &mut self.tally);
                    }
                    self.variable_bytes += histogram.memory_bytes().saturating_sub(before);
                }
            }
        }
        for (distinct, place) in self.distincts.iter_mut().zip(&from.distincts) {
            if let Some(StateColumn::Distinct(lists)) = cells.states.get(*place) {
                distinct.fold_cells(tenant, lists, placed);
            }
        }
    }

    /// Lets the groups from `first` on take few bytes: nothing joins them any more.
    pub(crate) fn settle_from(&mut self, first: usize) {
        for histogram in self.histograms.iter_mut().flat_map(|(_, all)| all.iter_mut().skip(first)) {
            let before = histogram.memory_bytes();
            histogram.settle();
            let bytes = self.variable_bytes + histogram.memory_bytes();
            self.variable_bytes = bytes.saturating_sub(before);
        }
    }

    /// The states of some groups as columns of cells, in the order of the groups; distinct values of
    /// each tenant apart when `by_tenant`. The aggregates are those of a definition with means in the
    /// place of sums, because a mean's state has the number of values too; `spaces` are those of each
    /// distinct aggregate.
    pub(crate) fn export(&self, groups: &[u32], spaces: &[Vec<Space>], by_tenant: bool) -> Vec<StateColumn> {
        let mut spaces = spaces.iter();
        self.states
            .iter()
            .filter_map(|state| self.export_state(state, groups, &mut spaces, by_tenant))
            .collect()
    }

    fn export_state<'s>(
        &self,
        state: &State,
        groups: &[u32],
        spaces: &mut impl Iterator<Item = &'s Vec<Space>>,
        by_tenant: bool,
    ) -> Option<StateColumn> {
        Some(match state {
            State::Count | State::Sum(..) | State::QuantileExact(..) => return None,
            State::Avg(_, sums) => StateColumn::Sum(groups.iter().map(|g| take(sums, *g)).collect()),
            State::Min(_, values) => StateColumn::Min(groups.iter().map(|g| take(values, *g)).collect()),
            State::Max(_, values) => StateColumn::Max(groups.iter().map(|g| take(values, *g)).collect()),
            State::Last(_, latest) => StateColumn::Last(groups.iter().map(|g| take(latest, *g)).collect()),
            State::CountIf(_, counts) => {
                StateColumn::CountIf(groups.iter().map(|g| take(counts, *g)).collect())
            }
            State::Quantile(at, _) => {
                let list = self.histograms.get(*at).map_or(&[][..], |(_, list)| list);
                let mut out = HistogramList::with_capacity(groups.len(), 0);
                for group in groups {
                    out.push(&list.get(*group as usize).cloned().unwrap_or_default().finish());
                }
                StateColumn::Histogram(out)
            }
            State::Distinct(at) => {
                let spaces = spaces.next()?;
                StateColumn::Distinct(self.distincts.get(*at)?.export(groups, spaces, by_tenant))
            }
        })
    }
}

/// Folds the cells of one column into the states of their groups.
fn each<C, S>(column: &[C], placed: &[(u32, u32)], states: &mut [S], mut fold: impl FnMut(&mut S, &C)) {
    for (cell, group) in placed {
        if let (Some(value), Some(state)) = (column.get(*cell as usize), states.get_mut(*group as usize)) {
            fold(state, value);
        }
    }
}

fn fold_state(state: &mut State, column: &StateColumn, placed: &[(u32, u32)]) {
    match (state, column) {
        (State::Sum(_, sums), StateColumn::Sum(list)) => {
            each(list, placed, sums, |sum: &mut Sum, (more, _)| sum.merge(*more));
        }
        (State::Avg(_, sums), StateColumn::Sum(list)) => {
            each(list, placed, sums, |(sum, count), (more, values)| {
                sum.merge(*more);
                *count += values;
            });
        }
        (State::Min(_, least), StateColumn::Min(list)) => {
            each(list, placed, least, |least, value| *least = least.min(*value));
        }
        (State::Max(_, most), StateColumn::Max(list)) => {
            each(list, placed, most, |most, value| *most = most.max(*value));
        }
        (State::Last(_, latest), StateColumn::Last(list)) => {
            each(list, placed, latest, |latest: &mut Option<Latest>, value: &Option<Latest>| {
                if let Some(new) = value
                    && latest.is_none_or(|old| new.is_later(&old))
                {
                    *latest = Some(*new);
                }
            });
        }
        (State::CountIf(_, counts), StateColumn::CountIf(list)) => {
            each(list, placed, counts, |count, more| *count += more);
        }
        // Histograms and sets are folded once for all aggregates that share them; others do not match.
        _ => {}
    }
}

/// The state of a group; every group has one.
fn take<S: Copy + Default>(states: &[S], group: u32) -> S {
    states.get(group as usize).copied().unwrap_or_default()
}
