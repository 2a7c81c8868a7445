//! Numbers of groups of rows.

use super::accumulate::Accumulators;
use super::cells;
use super::expired;
use super::field::Fields;
use super::filter::{self, Predicate};
use super::granule::Granule;
use super::group::Grouping;
use super::plan::{self, Slice, Task};
use super::request::{Aggregate, Answer, Budget, Filter, Group, Query, Scope};
use super::row_groups::RowGroups;
use super::snapshot::Snapshot;
use super::walk::{self, Tally};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId};
use crate::schema::stream::TIME;
use crate::time::{TimeRange, TimestampUs};

/// A question while it is being answered.
#[derive(Debug)]
struct Run {
    predicate: Predicate,
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
    let mut question = Question::new(snapshot, query)?;
    while question.task().is_some() {
        question.step(snapshot)?;
    }
    Ok(question.finish())
}

/// Answers several questions for numbers about the same rows as [`aggregate`] does, granule by granule: what is
/// decoded of a granule for one of them is still there for the others, however many granules there are.
pub fn aggregate_all(snapshot: &Snapshot, queries: &[Query]) -> Vec<Result<Answer>> {
    let mut questions: Vec<_> = queries.iter().map(|query| Question::new(snapshot, query)).collect();
    let place = |question: &Result<Question<'_>>| question.as_ref().ok().and_then(Question::task);
    while let Some(next) = questions.iter().filter_map(place).min() {
        for slot in questions.iter_mut().filter(|question| place(question) == Some(next)) {
            // One that fails ends; the others go on.
            if let Err(error) = slot.as_mut().map_or(Ok(()), |question| question.step(snapshot)) {
                *slot = Err(error);
            }
        }
    }
    questions.into_iter().map(|question| question.map(Question::finish)).collect()
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
    /// Folds what cells answer.
    fn new(snapshot: &Snapshot, query: &'q Query) -> Result<Self> {
        let mut fields = Fields::new(query.stream);
        let mut run = Run {
            time: fields.column(&TIME)?,
            predicate: Predicate::compile(&query.filter, &mut fields)?,
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
    fn step(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Self { query, fields, run, tally, tasks, done, .. } = self;
        let Some(task) = tasks.get(*done) else { return Ok(()) };
        *done += 1;
        tally.resume();
        if let Some(mut granule) = Granule::new(snapshot, fields, task, *done as u64) {
            for slice in &task.slices {
                tally.look_at(slice)?;
                let read = run.read(&mut granule, slice);
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
    fn read(&mut self, granule: &mut Granule<'_>, slice: &Slice) -> Result<()> {
        self.groups.clear();
        let mask = filter::select(&mut self.predicate, self.time, slice.within, granule, slice)?;
        if mask.is_empty() {
            return Ok(());
        }
        let rows = walk::selected(&mask, slice, &mut self.rows);
        self.grouping.groups(granule, slice, rows, &mut self.groups)?;
        self.accumulators.read(granule, slice, &mask, rows)
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
