//! The state of each aggregate, one value a group: read first, then fold, so that damage leaves no trace.

mod cells;

pub(crate) use cells::CellStates;

use std::cmp::Ordering;

use super::distinct::Distinct;
use super::field::{Fields, Source};
use super::filter::Predicate;
use super::granule::Granule;
use super::mask::{Mask, Rows};
use super::number::{self, Sum};
use super::plan::Slice;
use super::request::{Aggregate, Field, Number};
use super::row_groups::RowGroups;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::rollup::Histogram;
use crate::rollup::histogram::{Growing, Tally, interpolate, rank_of};
use crate::schema::Schema;
use crate::schema::stream::{LSN, SEQ, TIME};

/// One aggregate: which input it reads, and its state by group.
#[derive(Debug)]
enum State {
    Count,
    Sum(usize, Vec<Sum>),
    Avg(usize, Vec<(Sum, u64)>),
    /// NaN is none yet.
    Min(usize, Vec<f64>),
    Max(usize, Vec<f64>),
    Last(usize, Vec<Option<Latest>>),
    /// A place of `histograms`.
    Quantile(usize, f64),
    /// A place of `lists`.
    QuantileExact(usize, f64),
    /// A place of `distincts`.
    Distinct(usize),
    /// A place of `conditions`.
    CountIf(usize, Vec<u64>),
}

/// A value and what it is the latest by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latest {
    /// Its event time.
    pub(crate) time: i64,
    /// The frame it came in.
    pub(crate) lsn: u64,
    /// Its row's number; 0 in streams without.
    pub(crate) seq: u64,
    /// The value itself.
    pub(crate) value: f64,
}

impl Latest {
    /// Later by time, then by frame and seq; of values of one frame and instant the greater one, so
    /// that the answer does not depend on where rows lie.
    fn is_later(&self, other: &Self) -> bool {
        (self.time, self.lsn, self.seq)
            .cmp(&(other.time, other.lsn, other.seq))
            .then_with(|| self.value.total_cmp(&other.value))
            == Ordering::Greater
    }
}

/// A field that is read as numbers, and its numbers of the rows at hand.
#[derive(Debug)]
struct Input {
    source: Source,
    values: Vec<f64>,
}

/// A filter that is counted, and whether each of the rows at hand passes.
#[derive(Debug)]
struct Condition {
    predicate: Predicate,
    passed: Vec<bool>,
}

/// What orders values for the last one.
#[derive(Debug)]
struct Order {
    time: usize,
    lsn: usize,
    seq: Option<usize>,
    rows: Vec<(i64, u64, u64)>,
}

/// All aggregates of a question.
#[derive(Debug)]
pub(crate) struct Accumulators {
    states: Vec<State>,
    inputs: Vec<Input>,
    histograms: Vec<(usize, Vec<Growing>)>,
    lists: Vec<(usize, Vec<Vec<f64>>)>,
    distincts: Vec<Distinct>,
    conditions: Vec<Condition>,
    order: Option<Order>,
    /// Rows by group; as many as there are groups.
    counts: Vec<u64>,
    /// Bytes of histograms and lists.
    variable_bytes: usize,
    /// Where values are counted before they join a histogram.
    tally: Tally,
}

impl Accumulators {
    /// Resolves the aggregates of a question.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a field the stream does not have, a quantile outside of 0..=1.
    pub(crate) fn compile(aggregates: &[Aggregate], fields: &mut Fields) -> Result<Self> {
        let mut out = Self {
            states: Vec::with_capacity(aggregates.len()),
            inputs: Vec::new(),
            histograms: Vec::new(),
            lists: Vec::new(),
            distincts: Vec::new(),
            conditions: Vec::new(),
            order: None,
            counts: Vec::new(),
            variable_bytes: 0,
            tally: Tally::default(),
        };
        for aggregate in aggregates {
            let state = out.state(aggregate, fields)?;
            out.states.push(state);
        }
        Ok(out)
    }

    fn state(&mut self, aggregate: &Aggregate, fields: &mut Fields) -> Result<State> {
        Ok(match aggregate {
            Aggregate::Count => State::Count,
            Aggregate::Sum(field) => State::Sum(self.input(field, fields)?, Vec::new()),
            Aggregate::Avg(field) => State::Avg(self.input(field, fields)?, Vec::new()),
            Aggregate::Min(field) => State::Min(self.input(field, fields)?, Vec::new()),
            Aggregate::Max(field) => State::Max(self.input(field, fields)?, Vec::new()),
            Aggregate::Last(field) => {
                if self.order.is_none() {
                    let has_seq = Schema::of(fields.stream()).index_of(SEQ.id).is_some();
                    let seq = if has_seq { Some(fields.column(&SEQ)?) } else { None };
                    let (time, lsn) = (fields.column(&TIME)?, fields.column(&LSN)?);
                    self.order = Some(Order { time, lsn, seq, rows: Vec::new() });
                }
                State::Last(self.input(field, fields)?, Vec::new())
            }
            Aggregate::Quantile(field, q) => {
                let input = self.input(field, fields)?;
                State::Quantile(place_of(&mut self.histograms, input), unit(*q)?)
            }
            Aggregate::QuantileExact(field, q) => {
                let input = self.input(field, fields)?;
                State::QuantileExact(place_of(&mut self.lists, input), unit(*q)?)
            }
            Aggregate::Distinct(field) => {
                let source = fields.source(field)?;
                let known = self.distincts.iter().position(|d| d.source() == &source);
                State::Distinct(known.unwrap_or_else(|| {
                    self.distincts.push(Distinct::new(source));
                    self.distincts.len() - 1
                }))
            }
            Aggregate::CountIf(filter) => {
                let predicate = Predicate::compile(filter, fields)?;
                self.conditions.push(Condition { predicate, passed: Vec::new() });
                State::CountIf(self.conditions.len() - 1, Vec::new())
            }
        })
    }

    fn input(&mut self, field: &Field, fields: &mut Fields) -> Result<usize> {
        let source = fields.source(field)?;
        let known = self.inputs.iter().position(|i| i.source == source);
        Ok(known.unwrap_or_else(|| {
            self.inputs.push(Input { source, values: Vec::new() });
            self.inputs.len() - 1
        }))
    }

    /// Reads what the aggregates need of some rows. No state changes, so an error leaves none behind.
    ///
    /// # Errors
    ///
    /// Those of the columns and of the dictionary.
    pub(crate) fn read(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        selected: &Mask,
        rows: Rows<'_>,
    ) -> Result<()> {
        for input in &mut self.inputs {
            number::numbers(&input.source, granule, rows, &mut input.values)?;
        }
        for condition in &mut self.conditions {
            let mut mask = selected.clone();
            condition.predicate.narrow(granule, slice, &mut mask)?;
            condition.passed.clear();
            rows.each(|_, row| condition.passed.push(mask.get(row - slice.rows.start)));
        }
        if let Some(order) = &mut self.order {
            let (times, lsns) = (granule.load(order.time)?, granule.load(order.lsn)?);
            let (times, lsns) = (number::as_i64(&times)?, number::as_u64(&lsns)?);
            let seqs = order.seq.map(|leaf| granule.load(leaf)).transpose()?;
            let seqs = seqs.as_deref().map(number::as_u64).transpose()?;
            order.rows.clear();
            rows.each(|_, row| {
                let seq = seqs.and_then(|s| s.get(row)).copied().unwrap_or(0);
                let time = times.get(row).copied().unwrap_or(i64::MIN);
                order.rows.push((time, lsns.get(row).copied().unwrap_or(0), seq));
            });
        }
        for distinct in &mut self.distincts {
            distinct.read(granule, slice.tenant, rows)?;
        }
        Ok(())
    }

    /// Adds the rows that were read to their groups.
    pub(crate) fn fold(&mut self, slice: &Slice, groups: &RowGroups) {
        self.grow(groups.groups());
        groups.each(|group, from, to| {
            if let Some(count) = self.counts.get_mut(group as usize) {
                *count += (to - from) as u64;
            }
        });
        let inputs = &self.inputs;
        let of = |input: &usize| inputs.get(*input).map_or(&[][..], |i| i.values.as_slice());
        for state in &mut self.states {
            match state {
                State::Count | State::Quantile(..) | State::QuantileExact(..) | State::Distinct(_) => {}
                State::Sum(input, sums) => groups.each_state(of(input), sums, Sum::add_all),
                State::Avg(input, sums) => groups.each_state(of(input), sums, |(sum, count), values| {
                    sum.add_all(values);
                    *count += present(values).count() as u64;
                }),
                // `min` and `max` of a NaN and a number are the number: the start, and absent values.
                State::Min(input, least) => groups.each_state(of(input), least, |least, values| {
                    *least = values.iter().fold(*least, |a, b| a.min(*b));
                }),
                State::Max(input, most) => groups.each_state(of(input), most, |most, values| {
                    *most = values.iter().fold(*most, |a, b| a.max(*b));
                }),
                State::Last(input, latest) => fold_last(groups, of(input), self.order.as_ref(), latest),
                State::CountIf(condition, counts) => {
                    let passed = self.conditions.get(*condition).map_or(&[][..], |c| c.passed.as_slice());
                    groups.each_state(passed, counts, |count, passed| {
                        *count += passed.iter().filter(|p| **p).count() as u64;
                    });
                }
            }
        }
        for (input, histograms) in &mut self.histograms {
            groups.each_state(of(input), histograms, |histogram, values| {
                let before = histogram.memory_bytes();
                histogram.record_all(values, &mut self.tally);
                self.variable_bytes += histogram.memory_bytes().saturating_sub(before);
            });
        }
        for (input, lists) in &mut self.lists {
            groups.each_state(of(input), lists, |list, values| {
                let before = list.len();
                list.extend(present(values));
                self.variable_bytes += (list.len() - before) * size_of::<f64>();
            });
        }
        for distinct in &mut self.distincts {
            distinct.fold(slice.tenant, groups);
        }
    }

    fn grow(&mut self, groups: usize) {
        if groups <= self.counts.len() {
            return;
        }
        self.counts.resize(groups, 0);
        for state in &mut self.states {
            match state {
                State::Count | State::Quantile(..) | State::QuantileExact(..) | State::Distinct(_) => {}
                State::Sum(_, sums) => sums.resize(groups, Sum::default()),
                State::Avg(_, sums) => sums.resize(groups, (Sum::default(), 0)),
                State::Min(_, values) | State::Max(_, values) => values.resize(groups, f64::NAN),
                State::Last(_, latest) => latest.resize(groups, None),
                State::CountIf(_, counts) => counts.resize(groups, 0),
            }
        }
        self.histograms.iter_mut().for_each(|(_, h)| h.resize(groups, Growing::default()));
        self.lists.iter_mut().for_each(|(_, l)| l.resize(groups, Vec::new()));
    }

    /// Makes a question without `group_by` have its one group.
    pub(crate) fn grow_to_one(&mut self) {
        self.grow(1);
    }

    /// Takes the codes that identities were given since: what filters have learnt of them may not hold, and the
    /// places of those that had none are others' now.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn take_codes(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.conditions.iter_mut().for_each(|condition| condition.predicate.forget_codes());
        self.distincts.iter_mut().try_for_each(|distinct| distinct.take_codes(snapshot))
    }

    /// Rows by group.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let a_group = 64
            + self.states.len() * 24
            + self.histograms.len() * size_of::<Growing>()
            + self.lists.len() * 24;
        let distinct: usize = self.distincts.iter().map(Distinct::memory_bytes).sum();
        self.counts.len() * a_group + self.variable_bytes + distinct
    }

    /// The numbers of every group, by group.
    pub(crate) fn finish(mut self) -> Vec<Vec<Number>> {
        let histograms = std::mem::take(&mut self.histograms);
        self.numbers_of(histograms)
    }

    /// As [`Self::finish`], and rows may follow.
    pub(crate) fn numbers(&mut self) -> Vec<Vec<Number>> {
        let histograms = self.histograms.clone();
        self.numbers_of(histograms)
    }

    fn numbers_of(&mut self, histograms: Vec<(usize, Vec<Growing>)>) -> Vec<Vec<Number>> {
        self.lists.iter_mut().flat_map(|(_, l)| l).for_each(|l| l.sort_unstable_by(f64::total_cmp));
        let histograms: Vec<Vec<Histogram>> =
            histograms.into_iter().map(|(_, list)| list.into_iter().map(Growing::finish).collect()).collect();
        let distincts: Vec<Vec<u64>> = self.distincts.iter().map(|d| d.totals(self.counts.len())).collect();
        (0..self.counts.len())
            .map(|group| {
                self.states.iter().map(|state| self.number(state, group, (&histograms, &distincts))).collect()
            })
            .collect()
    }

    fn number(
        &self,
        state: &State,
        group: usize,
        (histograms, distincts): (&[Vec<Histogram>], &[Vec<u64>]),
    ) -> Number {
        let double = |n: Option<f64>| n.map_or(Number::Absent, Number::F64);
        match state {
            State::Count => Number::U64(self.counts.get(group).copied().unwrap_or(0)),
            State::Sum(_, sums) => double(sums.get(group).map(|s| s.total())),
            #[expect(clippy::cast_precision_loss, reason = "counts over 2^53 are out of reach")]
            State::Avg(_, sums) => {
                double(sums.get(group).filter(|s| s.1 > 0).map(|(sum, n)| sum.total() / *n as f64))
            }
            State::Min(_, values) | State::Max(_, values) => {
                double(values.get(group).copied().filter(|v| !v.is_nan()))
            }
            State::Last(_, latest) => double(latest.get(group).copied().flatten().map(|l| l.value)),
            State::Quantile(at, q) => {
                double(histograms.get(*at).and_then(|h| h.get(group)).and_then(|h| h.quantile(*q)))
            }
            State::QuantileExact(at, q) => {
                double(self.lists.get(*at).and_then(|(_, l)| l.get(group)).and_then(|l| quantile_of(l, *q)))
            }
            State::Distinct(at) => {
                Number::U64(distincts.get(*at).and_then(|d| d.get(group)).copied().unwrap_or(0))
            }
            State::CountIf(_, counts) => Number::U64(counts.get(group).copied().unwrap_or(0)),
        }
    }
}

/// The place of the state that reads an input; states of one input are shared by all its quantiles.
fn place_of<T>(states: &mut Vec<(usize, Vec<T>)>, input: usize) -> usize {
    let known = states.iter().position(|(i, _)| *i == input);
    known.unwrap_or_else(|| {
        states.push((input, Vec::new()));
        states.len() - 1
    })
}

fn unit(q: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&q) { Ok(q) } else { Err(Error::invalid("a quantile is in 0..=1")) }
}

fn present(values: &[f64]) -> impl Iterator<Item = f64> + '_ {
    values.iter().copied().filter(|v| !v.is_nan())
}

fn fold_last(groups: &RowGroups, values: &[f64], order: Option<&Order>, latest: &mut [Option<Latest>]) {
    let order = order.map_or(&[][..], |o| o.rows.as_slice());
    groups.each(|group, from, to| {
        let (Some(slot), Some(values), Some(order)) =
            (latest.get_mut(group as usize), values.get(from..to), order.get(from..to))
        else {
            return;
        };
        for (value, (time, lsn, seq)) in values.iter().zip(order).filter(|(v, _)| !v.is_nan()) {
            let new = Latest { time: *time, lsn: *lsn, seq: *seq, value: *value };
            if slot.is_none_or(|old| new.is_later(&old)) {
                *slot = Some(new);
            }
        }
    });
}

/// The quantile of sorted values by linear interpolation (Hyndman and Fan's type 7).
fn quantile_of(sorted: &[f64], q: f64) -> Option<f64> {
    let (rank, part) = rank_of(q, sorted.len() as u64);
    let rank = usize::try_from(rank).ok()?;
    let low = *sorted.get(rank)?;
    match sorted.get(rank + 1) {
        Some(high) if part > 0.0 => Some(interpolate(low, *high, part)),
        _ => Some(low),
    }
}
