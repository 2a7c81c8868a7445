//! Numbers of groups of rows.

use std::ops::Range;

use hashbrown::HashMap;

use super::accumulate::Accumulators;
use super::cells::{self, conjuncts};
use super::expired;
use super::field::Fields;
use super::filter::{self, Predicate};
use super::granule::Granule;
use super::group::Grouping;
use super::mask::Mask;
use super::plan::{self, Slice, Task};
use super::request::{Aggregate, Answer, Budget, Filter, Group, Query, Scope};
use super::row_groups::RowGroups;
use super::snapshot::Snapshot;
use super::walk::{self, Tally};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId, TenantNo};
use crate::schema::stream::TIME;
use crate::time::{TimeRange, TimestampUs};

/// A question while it is being answered.
#[derive(Debug)]
struct Run {
    /// What all questions that are answered together ask of a row.
    predicate: Predicate,
    /// What this one asks besides.
    rest: Option<Predicate>,
    time: usize,
    grouping: Grouping,
    accumulators: Accumulators,
    rows: Vec<u32>,
    groups: RowGroups,
}

/// Answers a question for numbers. Without `group_by` there is one group, also when it has no rows.
///
/// # Errors
///
/// [`Error::Invalid`] for a field the stream does not have, [`Error::QueryLimit`] over the budget,
/// and what the parts answer where they are damaged (unless `allow_partial`).
pub fn aggregate(snapshot: &Snapshot, query: &Query) -> Result<Answer> {
    let mut question = Question::new(snapshot, query, None)?;
    while question.task().is_some() {
        question.step(snapshot, None)?;
    }
    Ok(question.finish())
}

/// Answers several questions for numbers about the same rows as [`aggregate`] does, granule by granule: what is
/// decoded of a granule for one of them is still there for the others, however many granules there are, and what
/// all of them ask of a row is asked once. All are of one stream.
pub(crate) fn aggregate_all(snapshot: &Snapshot, queries: &[Query]) -> Vec<Result<Answer>> {
    let common = common(queries);
    let mut questions: Vec<_> =
        queries.iter().map(|query| Question::new(snapshot, query, Some(&common))).collect();
    let place = |question: &Result<Question<'_>>| question.as_ref().ok().and_then(Question::task);
    while let Some(next) = questions.iter().filter_map(place).min() {
        let mut masks = Masks::default();
        for slot in questions.iter_mut().filter(|question| place(question) == Some(next)) {
            // One that fails ends; the others go on.
            let step = slot.as_mut().map_or(Ok(()), |question| question.step(snapshot, Some(&mut masks)));
            if let Err(error) = step {
                *slot = Err(error);
            }
        }
    }
    questions.into_iter().map(|question| question.map(Question::finish)).collect()
}

/// What every one of some questions asks of a row.
fn common(queries: &[Query]) -> Vec<Filter> {
    let Some((first, others)) = queries.split_first() else { return Vec::new() };
    let of_all = |filter: &&Filter| others.iter().all(|query| conjuncts(&query.filter).contains(filter));
    conjuncts(&first.filter).into_iter().filter(of_all).cloned().collect()
}

/// By slice of the granule at hand the rows that pass what all questions ask.
#[derive(Debug, Default)]
struct Masks {
    known: HashMap<(TenantNo, Range<usize>, TimeRange), Mask>,
}

impl Masks {
    fn of(&mut self, slice: &Slice, select: impl FnOnce() -> Result<Mask>) -> Result<Mask> {
        let key = (slice.tenant, slice.rows.clone(), slice.within);
        if let Some(mask) = self.known.get(&key) {
            return Ok(mask.clone());
        }
        let mask = select()?;
        self.known.insert(key, mask.clone());
        Ok(mask)
    }
}

/// A question whose cells are folded, and whose rows are read a granule at a time.
#[derive(Debug)]
struct Question<'q> {
    query: &'q Query,
    fields: Fields,
    run: Run,
    tally: Tally,
    tasks: Vec<Task>,
    /// How many of the tasks are done.
    done: usize,
    expired: Option<TimestampUs>,
}

impl<'q> Question<'q> {
    /// Folds what cells answer. `common` is what others ask too that are answered with it.
    fn new(snapshot: &Snapshot, query: &'q Query, common: Option<&[Filter]>) -> Result<Self> {
        let mut fields = Fields::new(query.stream);
        let time = fields.column(&TIME)?;
        let (predicate, rest) = predicates(query, common, &mut fields)?;
        let mut run = Run {
            time,
            predicate,
            rest,
            grouping: Grouping::compile(&query.group_by, &mut fields)?,
            accumulators: Accumulators::compile(&query.aggregates, &mut fields)?,
            rows: Vec::new(),
            groups: RowGroups::default(),
        };
        if query.group_by.is_empty() {
            run.accumulators.grow_to_one();
        }
        let mut tally = Tally::new(snapshot, query.stream, query.window, query.allow_partial);
        let (tasks, expired) = if let Some(rollups) = cells::rollups(snapshot).filter(|_| !query.rows_only) {
            let (grouping, accumulators) = (&mut run.grouping, &mut run.accumulators);
            let rest = cells::fold(snapshot, query, rollups, grouping, accumulators)?;
            tally.folded(rest.cells_read);
            (rest.tasks, rest.expired)
        } else {
            let tasks = plan::plan(snapshot, &query.scope, query.stream, query.window);
            (tasks, expired::of_rows(snapshot, query))
        };
        tally.pause();
        Ok(Self { query, fields, run, tally, tasks, done: 0, expired })
    }

    /// Part and granule of what is read next; in ascending order.
    fn task(&self) -> Option<(usize, usize)> {
        self.tasks.get(self.done).map(|task| (task.part, task.granule))
    }

    /// Reads what is next.
    fn step(&mut self, snapshot: &Snapshot, mut masks: Option<&mut Masks>) -> Result<()> {
        let Self { query, fields, run, tally, tasks, done, .. } = self;
        let Some(task) = tasks.get(*done) else { return Ok(()) };
        *done += 1;
        tally.resume();
        if let Some(mut granule) = Granule::new(snapshot, fields, task, *done as u64) {
            for slice in &task.slices {
                tally.look_at(slice)?;
                let read = run.read(&mut granule, slice, masks.as_deref_mut());
                if tally.or_skip(read, slice)?.is_some() {
                    run.accumulators.fold(slice, &run.groups);
                }
            }
            check(&run.accumulators, &run.grouping, query.budget)?;
        }
        tally.pause();
        Ok(())
    }

    fn finish(self) -> Answer {
        let (cost, damaged) = self.tally.finish();
        let groups = self.run.finish(self.query.group_by.is_empty());
        Answer { groups, cost, damaged, expired: self.expired }
    }
}

/// What others ask of a row too, and what the question asks besides.
fn predicates(
    query: &Query,
    common: Option<&[Filter]>,
    fields: &mut Fields,
) -> Result<(Predicate, Option<Predicate>)> {
    // Compiled first, so that a filter that is refused is refused for itself.
    let whole = Predicate::compile(&query.filter, fields)?;
    let Some(common) = common else { return Ok((whole, None)) };
    let besides = conjuncts(&query.filter).into_iter().filter(|filter| !common.contains(*filter));
    let besides: Vec<&Filter> = besides.collect();
    if besides.is_empty() {
        return Ok((whole, None));
    }
    let predicate = Predicate::all(common, fields)?;
    Ok((predicate, Some(Predicate::all(besides, fields)?)))
}

/// How many rows of a tenant's stream are shown; what is damaged is left out.
///
/// # Errors
///
/// As [`aggregate`].
pub(crate) fn count(snapshot: &Snapshot, tenant: &TenantId, stream: Stream) -> Result<u64> {
    let answer = aggregate(
        snapshot,
        &Query {
            scope: Scope::One(tenant.clone()),
            stream,
            window: TimeRange::ALL,
            filter: Filter::all(),
            group_by: Vec::new(),
            aggregates: vec![Aggregate::Count],
            budget: Budget::default(),
            rows_only: true,
            allow_partial: true,
        },
    )?;
    Ok(answer.groups.first().and_then(|group| group.values.first()).map_or(0, |count| count.as_u64()))
}

impl Run {
    /// Reads everything that a slice adds to the answer, and changes no group.
    fn read(&mut self, granule: &mut Granule<'_>, slice: &Slice, masks: Option<&mut Masks>) -> Result<()> {
        self.groups.clear();
        let mask = self.select(granule, slice, masks)?;
        if mask.is_empty() {
            return Ok(());
        }
        let rows = walk::selected(&mask, slice, &mut self.rows);
        self.grouping.groups(granule, slice, rows, &mut self.groups)?;
        self.accumulators.read(granule, slice, &mask, rows)
    }

    /// The rows that pass.
    fn select(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        masks: Option<&mut Masks>,
    ) -> Result<Mask> {
        if let Some(rest) = &mut self.rest
            && !rest.may_pass(granule, slice)?
        {
            return Ok(Mask::none(slice.rows.len()));
        }
        let mut select = || filter::select(&mut self.predicate, self.time, slice.within, granule, slice);
        let mut mask = match masks {
            Some(masks) => masks.of(slice, select)?,
            None => select()?,
        };
        if let Some(rest) = &mut self.rest {
            rest.narrow(granule, slice, &mut mask)?;
        }
        Ok(mask)
    }

    fn finish(self, keep_empty: bool) -> Vec<Group> {
        let counts = self.accumulators.counts().to_vec();
        let values = self.accumulators.finish();
        let mut groups: Vec<Group> = (0..)
            .zip(values)
            .zip(&counts)
            .filter(|(_, count)| keep_empty || **count > 0)
            .map(|((group, values), _)| Group { key: self.grouping.key(group), values })
            .collect();
        groups.sort_by(|a, b| a.key.cmp(&b.key));
        groups
    }
}

/// Checks what the groups take against the budget of a question.
///
/// # Errors
///
/// [`Error::QueryLimit`] over it.
pub(crate) fn check(accumulators: &Accumulators, grouping: &Grouping, budget: Budget) -> Result<()> {
    let counts = accumulators.counts();
    if counts.len() > budget.groups_max && counts.iter().filter(|n| **n > 0).count() > budget.groups_max {
        return Err(Error::QueryLimit { what: "groups", limit: budget.groups_max as u64 });
    }
    let bytes = accumulators.memory_bytes() + grouping.memory_bytes();
    if bytes as u64 > budget.memory_bytes_max {
        return Err(Error::QueryLimit { what: "bytes of memory", limit: budget.memory_bytes_max });
    }
    Ok(())
}
