//! What was usual before the window: asked with aggregates, because only sets and counts of it are needed.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Filter, Group, GroupBy, KeyValue, Literal, Op, Query};
use insights_engine::schema::{ColumnDef, stream};
use insights_engine::time::{TimeRange, TimestampUs};

use super::row::Kinds;
use super::rule::Past;
use crate::config::security::{Rule, SecuritySettings};
use crate::domain::audit::OWN_ACTION_PREFIX;
use crate::http::error::ApiError;
use crate::report::fields::{column, is_one_of};
use crate::report::reader::Reader;
use crate::report::window::Window;

/// Most users that the log is asked about by name; of more it is asked about all.
const NAMED_USERS_MAX: usize = 100;

/// Twice the median of what each user did on a day of theirs.
pub(crate) type Usual = HashMap<Arc<str>, u64>;

/// A user and a value as one number: a set of many pairs of long texts stays small.
pub(crate) fn digest(user: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (user, value).hash(&mut hasher);
    hasher.finish()
}

/// From where, or with what, users logged in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    users: HashSet<Arc<str>>,
    pairs: HashSet<u64>,
}

impl Known {
    /// A login; the value may be absent.
    pub(crate) fn add(&mut self, user: &Arc<str>, value: Option<&str>) {
        self.users.insert(Arc::clone(user));
        self.pairs.extend(value.map(|value| digest(user, value)));
    }

    /// Whether a user is known, and not with this value.
    pub(crate) fn needs_a_look(&self, user: &str, value: &str) -> bool {
        self.users.contains(user) && !self.pairs.contains(&digest(user, value))
    }
}

/// What was usual in the look-back. Of a rule that is off nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    /// Logins by address.
    pub(crate) addresses: Known,
    /// Logins by user agent.
    pub(crate) agents: Known,
    /// Deletions of a day.
    pub(crate) deletions: Usual,
    /// Exports of a day.
    pub(crate) exports: Usual,
    /// Who did something privileged.
    pub(crate) privileged: HashSet<Arc<str>>,
    /// When users succeeded with something, the last time.
    pub(crate) active: HashMap<Arc<str>, TimestampUs>,
}

/// Asks about audit records of one time.
#[derive(Debug)]
pub(crate) struct Before<'a> {
    reader: &'a Reader<'a>,
    settings: &'a SecuritySettings,
    range: TimeRange,
    /// The action types that occur.
    names: Vec<Arc<str>>,
}

impl<'a> Before<'a> {
    /// About records in `range`.
    ///
    /// # Errors
    ///
    /// Those of the engine on the wire.
    pub(crate) fn new(
        reader: &'a Reader<'a>,
        settings: &'a SecuritySettings,
        range: TimeRange,
    ) -> Result<Self, ApiError> {
        let mut before = Self { reader, settings, range, names: Vec::new() };
        let query = before.query(Filter::all(), vec![by(&stream::ACTION_TYPE)], Aggregate::Count);
        let answer = reader.aggregate(query)?;
        before.names = answer.groups.iter().filter_map(|group| text(group, 0).cloned()).collect();
        Ok(before)
    }

    fn query(&self, filter: Filter, group_by: Vec<GroupBy>, aggregate: Aggregate) -> Query {
        let query = self.reader.query(Stream::Audit, self.range);
        Query { filter, group_by, aggregates: vec![aggregate], ..query }
    }

    /// Records of a kind of action; `None` when no action is of it.
    fn of_kind(&self, kind: Kinds) -> Option<Filter> {
        let is_of = |name: &&Arc<str>| Kinds::of(name, false, &self.settings.actions).has(kind);
        let names: Vec<_> = self.names.iter().filter(is_of).collect();
        (!names.is_empty()).then(|| is_one_of(&stream::ACTION_TYPE, &names))
    }

    /// Groups of records of a kind that succeeded; none when no action is of it.
    fn groups(&self, kind: Kinds, group_by: Vec<GroupBy>) -> Result<Vec<Group>, ApiError> {
        let Some(filter) = self.of_kind(kind) else { return Ok(Vec::new()) };
        let filter = Filter::And(vec![filter, succeeded()]);
        Ok(self.reader.aggregate(self.query(filter, group_by, Aggregate::Count))?.groups)
    }

    fn known(&self, value: &ColumnDef) -> Result<Known, ApiError> {
        let mut known = Known::default();
        for group in self.groups(Kinds::LOGIN, vec![by(&stream::USER_ID), by(value)])? {
            if let Some(user) = text(&group, 0) {
                known.add(user, text(&group, 1).map(|value| &**value));
            }
        }
        Ok(known)
    }

    fn usual(&self, kind: Kinds, window: &Window) -> Result<Usual, ApiError> {
        let days = window.days(self.range)?;
        let mut counts: HashMap<Arc<str>, Vec<u64>> = HashMap::new();
        for group in self.groups(kind, vec![GroupBy::Bucket(days), by(&stream::USER_ID)])? {
            if let Some(user) = text(&group, 1) {
                let count = group.values.first().map_or(0, |count| count.as_u64());
                counts.entry(Arc::clone(user)).or_default().push(count);
            }
        }
        let days_min = usize::try_from(self.settings.thresholds.mass_active_days).unwrap_or(usize::MAX);
        let usual = counts.into_iter().filter(|(_, days)| days.len() >= days_min);
        Ok(usual.map(|(user, days)| (user, twice_the_median(days))).collect())
    }

    fn privileged(&self) -> Result<HashSet<Arc<str>>, ApiError> {
        let Some(filter) = self.of_kind(Kinds::PRIVILEGED) else { return Ok(HashSet::new()) };
        let query = self.query(filter, vec![by(&stream::USER_ID)], Aggregate::Count);
        let answer = self.reader.aggregate(query)?;
        Ok(answer.groups.iter().filter_map(|group| text(group, 0).cloned()).collect())
    }

    /// When users, or some of them, succeeded with something for the last time.
    fn active(&self, users: Option<&[&str]>) -> Result<HashMap<Arc<str>, TimestampUs>, ApiError> {
        let own = Op::StartsWith(OWN_ACTION_PREFIX.to_owned());
        let own = Filter::Compare(column(&stream::ACTION_TYPE), own);
        let mut filter = vec![succeeded(), Filter::Not(Box::new(own))];
        filter.extend(self.of_kind(Kinds::LOGIN_FAILED).map(|failed| Filter::Not(Box::new(failed))));
        filter.extend(users.map(|users| is_one_of(&stream::USER_ID, users)));
        let last = Aggregate::Max(column(&stream::TIME));
        let answer =
            self.reader.aggregate(self.query(Filter::And(filter), vec![by(&stream::USER_ID)], last))?;
        let one = |group: &Group| {
            let last = group.values.first()?.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "microseconds of a time of the engine")]
            Some((text(group, 0)?.clone(), TimestampUs(last as i64)))
        };
        Ok(answer.groups.iter().filter_map(one).collect())
    }
}

impl Baseline {
    /// Asks for what the rules that are on need.
    ///
    /// # Errors
    ///
    /// Those of the engine on the wire.
    pub(crate) fn read(before: &Before<'_>, window: &Window) -> Result<Self, ApiError> {
        let mut baseline = Self::default();
        let on = |rule| before.settings.is_on(rule);
        if on(Rule::NewAddress) {
            baseline.addresses = before.known(&stream::IP_ADDRESS)?;
        }
        if on(Rule::NewAgent) {
            baseline.agents = before.known(&stream::USER_AGENT)?;
        }
        if on(Rule::MassDelete) {
            baseline.deletions = before.usual(Kinds::DELETED, window)?;
        }
        if on(Rule::MassExport) {
            baseline.exports = before.usual(Kinds::EXPORTED, window)?;
        }
        if on(Rule::FirstPrivilegedAction) {
            baseline.privileged = before.privileged()?;
        }
        if on(Rule::DormantAccountActive) {
            baseline.active = before.active(None)?;
        }
        Ok(baseline)
    }
}

/// The log, for what rules ask at the end.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    /// Reads.
    pub(crate) reader: &'a Reader<'a>,
    /// What the rules look for.
    pub(crate) settings: &'a SecuritySettings,
    /// Since when records are kept.
    pub(crate) kept_since: TimestampUs,
    /// The start of the look-back.
    pub(crate) look_back: TimestampUs,
}

impl Past for Log<'_> {
    fn last_active(&self, users: &[&str]) -> Result<HashMap<String, TimestampUs>, ApiError> {
        let Ok(range) = TimeRange::new(self.kept_since, self.look_back) else { return Ok(HashMap::new()) };
        let before = Before::new(self.reader, self.settings, range)?;
        let active = before.active((users.len() <= NAMED_USERS_MAX).then_some(users))?;
        Ok(active.into_iter().map(|(user, last)| (user.to_string(), last)).collect())
    }

    fn present(&self, seqs: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        // Records of late times expire before their neighbours in the log do.
        if self.kept_since > TimeRange::ALL.start {
            return Ok(None);
        }
        let seq = |op| Filter::Compare(column(&stream::SEQ), op);
        let bounds = [Op::Gte(Literal::U64(*seqs.start())), Op::Lte(Literal::U64(*seqs.end()))];
        let query = Query {
            filter: Filter::And(bounds.map(seq).into()),
            aggregates: vec![Aggregate::Count],
            ..self.reader.query(Stream::Audit, TimeRange::ALL)
        };
        let answer = self.reader.aggregate(query)?;
        let count = answer.groups.first().and_then(|group| group.values.first());
        Ok(Some(count.map_or(0, |count| count.as_u64())))
    }
}

fn by(def: &ColumnDef) -> GroupBy {
    GroupBy::Field(column(def))
}

fn succeeded() -> Filter {
    Filter::Compare(column(&stream::OUTCOME), Op::Is(Literal::I64(0)))
}

/// A part of a group's key, where it is text.
fn text(group: &Group, part: usize) -> Option<&Arc<str>> {
    match group.key.get(part)? {
        KeyValue::Str(text) => Some(text),
        _ => None,
    }
}

/// Whole also when the median lies between two numbers; 0 of none.
pub(crate) fn twice_the_median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    let middle = |index: usize| numbers.get(index).copied().unwrap_or(0);
    let len = numbers.len();
    middle(len.saturating_sub(1) / 2).saturating_add(middle(len / 2))
}
