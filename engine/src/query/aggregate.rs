//! Numbers of groups of rows.

use std::ops::Range;

use hashbrown::HashMap;

use super::accumulate::Accumulators;
use super::cells::{self, conjuncts};
use super::expired;
use super::field::Fields;
use super::filter::{self, Predicate};
use super::granule::{Granule, Shared};
use super::group::Grouping;
use super::mask::Mask;
use super::newer::Newer;
use super::plan::{self, Slice, Task};
use super::request::{Aggregate, Answer, Budget, Filter, Group, Number, Query, Scope};
use super::row_groups::RowGroups;
use super::snapshot::Snapshot;
use super::walk::{self, Tally};
use crate::error::{Error, Result};
use crate::id::{Lsn, Stream, TenantId, TenantNo};
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
    /// Rows that are read already are left out.
    newer: Option<Newer>,
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
        question.step(snapshot, None, None)?;
    }
    Ok(question.finish())
}

/// Questions that are asked together, each until it fails.
pub(crate) type Questions = Vec<Result<Question>>;

/// Answers several questions for numbers about the same rows as [`aggregate`] does, granule by granule: what is
/// decoded of a granule for one of them is still there for the others, however many granules there are, and what
/// all of them ask of a row is asked once. All are of one stream.
pub(crate) fn aggregate_all(snapshot: &Snapshot, queries: &[Query]) -> Vec<Result<Answer>> {
    let mut questions = questions(snapshot, queries);
    read_all(snapshot, &mut questions);
    questions.into_iter().map(|question| question.map(Question::finish)).collect()
}

/// Questions about the same rows, their cells folded.
pub(crate) fn questions(snapshot: &Snapshot, queries: &[Query]) -> Questions {
    let common = common(queries);
    queries.iter().map(|query| Question::new(snapshot, query, Some(&common))).collect()
}

/// Reads what the questions have left to read, granule by granule.
pub(crate) fn read_all(snapshot: &Snapshot, questions: &mut Questions) {
    let place = |question: &Result<Question>| question.as_ref().ok().and_then(Question::task);
    while let Some(next) = questions.iter().filter_map(place).min() {
        let (mut masks, shared) = (Masks::default(), Shared::default());
        for slot in questions.iter_mut().filter(|question| place(question) == Some(next)) {
            // One that fails ends; the others go on.
            let step = slot
                .as_mut()
                .map_or(Ok(()), |question| question.step(snapshot, Some(&mut masks), Some(&shared)));
            if let Err(error) = step {
                *slot = Err(error);
            }
        }
    }
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
pub(crate) struct Question {
    budget: Budget,
    /// Whether the one group is there that has no key, also without rows.
    has_one_group: bool,
    fields: Fields,
    run: Run,
    tally: Tally,
    tasks: Vec<Task>,
    /// How many of the tasks are done.
    done: usize,
    /// How many granules were read; each has a number of its own.
    granules: u64,
    expired: Option<TimestampUs>,
}

impl Question {
    /// Folds what cells answer. `common` is what others ask too that are answered with it.
    fn new(snapshot: &Snapshot, query: &Query, common: Option<&[Filter]>) -> Result<Self> {
        let mut fields = Fields::new(query.stream);
        let time = fields.column(&TIME)?;
        let (predicate, rest) = predicates(query, common, &mut fields)?;
        let mut run = Run {
            time,
            newer: None,
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
        let (budget, has_one_group) = (query.budget, query.group_by.is_empty());
        Ok(Self { budget, has_one_group, fields, run, tally, tasks, done: 0, granules: 0, expired })
    }

    /// Goes on with the rows of frames after one: what is read next, and what that costs. `query` is the one that
    /// it was made of, `new_codes` whether identities were given codes since.
    pub(crate) fn go_on(
        &mut self,
        snapshot: &Snapshot,
        query: &Query,
        (after, new_codes): (Lsn, bool),
    ) -> Result<()> {
        self.run.newer = Some(Newer::than(after, &mut self.fields)?);
        self.tally = Tally::new(snapshot, query.stream, query.window, false);
        self.tally.pause();
        self.tasks = plan::plan_newer(snapshot, &query.scope, query.stream, query.window, after);
        self.done = 0;
        if new_codes {
            self.run.predicate.forget_codes();
            self.run.rest.iter_mut().for_each(Predicate::forget_codes);
            self.run.accumulators.take_codes(snapshot)?;
        }
        Ok(())
    }

    /// Goes on to a moment with the same rows: nothing is read, and costs anything.
    pub(crate) fn stand_still(&mut self) {
        self.tally.start_over();
    }

    /// The answer of the rows that were read so far, when it is whole.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let (cost, damaged) = self.tally.so_far();
        let is_whole = damaged.is_empty() && self.expired.is_none() && self.task().is_none();
        is_whole.then(|| {
            let groups = self.run.groups(self.has_one_group);
            Answer { groups, cost, damaged, expired: None }
        })
    }

    /// The rows that were looked at since it began, or went on.
    pub(crate) fn rows(&self) -> u64 {
        self.tally.rows()
    }

    /// Bytes of memory this takes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.run.accumulators.memory_bytes() + self.run.grouping.memory_bytes()
    }

    /// Part and granule of what is read next; in ascending order.
    pub(crate) fn task(&self) -> Option<(usize, usize)> {
        self.tasks.get(self.done).map(|task| (task.part, task.granule))
    }

    /// Reads what is next.
    fn step(
        &mut self,
        snapshot: &Snapshot,
        mut masks: Option<&mut Masks>,
        shared: Option<&Shared>,
    ) -> Result<()> {
        let Self { budget, fields, run, tally, tasks, done, granules, .. } = self;
        let Some(task) = tasks.get(*done) else { return Ok(()) };
        *done += 1;
        *granules += 1;
        tally.resume();
        if let Some(granule) = Granule::new(snapshot, fields, task, *granules) {
            let mut granule = granule.sharing(shared);
            for slice in &task.slices {
                tally.look_at(slice)?;
                let read = run.read(&mut granule, slice, masks.as_deref_mut());
                if tally.or_skip(read, slice)?.is_some() {
                    run.accumulators.fold(slice, &run.groups);
                }
            }
            check(&run.accumulators, &run.grouping, *budget)?;
        }
        tally.pause();
        Ok(())
    }

    pub(crate) fn finish(self) -> Answer {
        let (cost, damaged) = self.tally.finish();
        let groups = self.run.finish(self.has_one_group);
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
        let at = (self.time, self.newer);
        let mut select = || filter::select_newer(&mut self.predicate, at, slice.within, granule, slice);
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
        groups_of(&self.grouping, &counts, self.accumulators.finish(), keep_empty)
    }

    /// As [`Self::finish`], and rows may follow.
    fn groups(&mut self, keep_empty: bool) -> Vec<Group> {
        let values = self.accumulators.numbers();
        groups_of(&self.grouping, self.accumulators.counts(), values, keep_empty)
    }
}

/// The groups that have rows, by key.
fn groups_of(grouping: &Grouping, counts: &[u64], values: Vec<Vec<Number>>, keep_empty: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = (0..)
        .zip(values)
        .zip(counts)
        .filter(|(_, count)| keep_empty || **count > 0)
        .map(|((group, values), _)| Group { key: grouping.key(group), values })
        .collect();
    groups.sort_by(|a, b| a.key.cmp(&b.key));
    groups
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
