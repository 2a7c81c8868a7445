//! A filter on keys of cells: each value of a key is tested once for a question.

use crate::error::Result;
use crate::query::compare::Test;
use crate::query::ids::{ABSENT, KeyIds};
use crate::query::request::{Field, Filter, KeyValue};
use crate::query::snapshot::Snapshot;
use crate::rollup::{Cells, Whose};
use crate::schema::{IdentityKind, Scalar};

/// What rows with the same key have in common passes or not.
#[derive(Debug)]
pub(crate) struct KeyFilter {
    all: Vec<KeyTest>,
    /// What the tests look at: a key and its values.
    keys: Vec<(KeyRef, KeyIds)>,
    /// For each of `keys` the id of each series at hand.
    ids: Vec<Vec<u32>>,
}

/// What a test looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyRef {
    /// A key of the definition, and what its codes are of when they are codes.
    Key(usize, Option<IdentityKind>),
    /// The name of the tenant.
    Tenant,
}

#[derive(Debug)]
enum KeyTest {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare {
        /// A place of `keys`.
        key: usize,
        test: Box<Test>,
        negated: bool,
        /// By id: 0 not looked at yet, 1 fails, 2 passes.
        known: Vec<u8>,
    },
}

impl KeyFilter {
    /// A filter that all of `filters` make; `None` when one looks at what is no key.
    pub(crate) fn compile(filters: &[&Filter], key_of: &impl Fn(&Field) -> Option<KeyRef>) -> Option<Self> {
        let mut keys = Vec::new();
        let all =
            filters.iter().map(|f| KeyTest::compile(f, key_of, &mut keys)).collect::<Option<Vec<_>>>()?;
        let keys: Vec<_> = keys.into_iter().map(|key| (key, KeyIds::default())).collect();
        Some(Self { all, ids: vec![Vec::new(); keys.len()], keys })
    }

    /// Whether it looks at the name of the tenant.
    pub(crate) fn is_of_tenant(&self) -> bool {
        self.keys.iter().any(|(key, _)| *key == KeyRef::Tenant)
    }

    /// Takes the keys of the series at hand: those that `whose` names.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn take(&mut self, snapshot: &Snapshot, whose: &Whose, cells: &Cells) -> Result<()> {
        for ((key, known), ids) in self.keys.iter_mut().zip(&mut self.ids) {
            match key {
                KeyRef::Tenant => {
                    ids.clear();
                    ids.resize(whose.series().len(), ABSENT);
                    for (tenant, _, of) in whose.stretches() {
                        let id = known.of_tenant(snapshot, tenant);
                        ids.get_mut(of).unwrap_or_default().fill(id);
                    }
                }
                KeyRef::Key(key, kind) => {
                    if let Some(column) = cells.keys.get(*key) {
                        known.of_series(snapshot, (whose, *kind), column, ids)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a series passes, by its place among those at hand.
    pub(crate) fn passes(&mut self, series: usize) -> bool {
        let (keys, ids) = (&self.keys, &self.ids);
        self.all.iter_mut().all(|test| test.passes(keys, ids, series))
    }
}

impl KeyTest {
    fn compile(
        filter: &Filter,
        key_of: &impl Fn(&Field) -> Option<KeyRef>,
        keys: &mut Vec<KeyRef>,
    ) -> Option<Self> {
        let mut list = |list: &[Filter]| -> Option<Vec<Self>> {
            list.iter().map(|f| Self::compile(f, key_of, keys)).collect()
        };
        Some(match filter {
            Filter::And(filters) => Self::And(list(filters)?),
            Filter::Or(filters) => Self::Or(list(filters)?),
            Filter::Not(inner) => Self::Not(Box::new(Self::compile(inner, key_of, keys)?)),
            Filter::Compare(field, op) => {
                let wanted = key_of(field)?;
                let known = keys.iter().position(|key| *key == wanted);
                let key = known.unwrap_or_else(|| {
                    keys.push(wanted);
                    keys.len() - 1
                });
                let (test, negated) = Test::of(op);
                Self::Compare { key, test: Box::new(test), negated, known: Vec::new() }
            }
        })
    }

    fn passes(&mut self, keys: &[(KeyRef, KeyIds)], ids: &[Vec<u32>], series: usize) -> bool {
        match self {
            Self::And(list) => list.iter_mut().all(|test| test.passes(keys, ids, series)),
            Self::Or(list) => list.iter_mut().any(|test| test.passes(keys, ids, series)),
            Self::Not(inner) => !inner.passes(keys, ids, series),
            Self::Compare { key, test, negated, known } => {
                let id = ids.get(*key).and_then(|ids| ids.get(series)).copied().unwrap_or(ABSENT);
                if id == ABSENT {
                    return *negated;
                }
                if known.len() <= id as usize {
                    known.resize(id as usize + 1, 0);
                }
                let Some(known) = known.get_mut(id as usize) else { return false };
                if *known == 0 {
                    let value = keys.get(*key).and_then(|(_, ids)| ids.values().get(id as usize));
                    *known = if value.is_some_and(|value| holds(test, value)) { 2 } else { 1 };
                }
                (*known == 2) != *negated
            }
        }
    }
}

fn holds(test: &Test, value: &KeyValue) -> bool {
    match value {
        KeyValue::Absent | KeyValue::Bucket(_) => false,
        KeyValue::Bool(b) => test.scalar(&Scalar::Bool(*b)),
        KeyValue::I64(n) => test.i64(*n),
        KeyValue::U64(n) => test.u64(*n),
        KeyValue::F64(bits) => test.f64(f64::from_bits(*bits)),
        KeyValue::Str(name) => test.text(name.as_bytes()),
    }
}
