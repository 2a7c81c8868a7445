//! Which rollups answer a question: pure, from definitions alone.

use super::key_filter::{KeyFilter, KeyRef};
use crate::query::accumulate::{Accumulators, CellStates};
use crate::query::group::CellDimension;
use crate::query::request::{Field, Filter, GroupBy, Literal, Op, Query};
use crate::rollup::{RollupDefinition, Rollups, Tier};
use crate::schema::{ColumnType, IdentityKind, Schema};

/// A definition whose cells answer a question.
#[derive(Debug)]
pub(crate) struct Match<'a> {
    /// The definition.
    pub(crate) definition: &'a RollupDefinition,
    /// Its hash.
    pub(crate) hash: u64,
    /// Where each of `group_by` is found.
    pub(crate) dimensions: Vec<CellDimension>,
    /// What keys must be.
    pub(crate) filter: KeyFilter,
    /// Where the states are found at each tier, [`Tier::ALL`] by [`Tier::ALL`]; `None` where one is missing.
    pub(crate) states: [Option<CellStates>; 3],
}

impl Match<'_> {
    /// Where the states are found at a tier.
    pub(crate) fn states(&self, tier: Tier) -> Option<&CellStates> {
        self.states.get(tier as usize)?.as_ref()
    }

    /// Whether cells of all tenants together answer it too.
    pub(crate) fn takes_all_tenants(&self) -> bool {
        self.definition.numbers_tenants()
            || (!self.filter.is_of_tenant() && !self.dimensions.contains(&CellDimension::Tenant))
    }
}

/// The definitions that answer a question, those with the fewest keys first: they have the fewest cells.
pub(crate) fn matches<'a>(rollups: &'a Rollups, query: &Query, states: &Accumulators) -> Vec<Match<'a>> {
    let conjuncts = conjuncts(&query.filter);
    let mut out: Vec<Match<'a>> = rollups
        .of(query.stream)
        .filter_map(|(definition, hash)| one(definition, *hash, query, &conjuncts, states))
        .collect();
    out.sort_by_key(|m| (m.definition.keys.len(), m.definition.priority, m.definition.id));
    out
}

fn one<'a>(
    definition: &'a RollupDefinition,
    hash: u64,
    query: &Query,
    conjuncts: &[&Filter],
    states: &Accumulators,
) -> Option<Match<'a>> {
    let own = self::conjuncts(&definition.filter);
    let mut used = vec![false; conjuncts.len()];
    for wanted in own {
        // Equal conjuncts say the same: all of them are used.
        let mut found = false;
        for (conjunct, used) in conjuncts.iter().zip(&mut used) {
            if says_the_same(conjunct, wanted) {
                (*used, found) = (true, true);
            }
        }
        if !found {
            return None;
        }
    }
    let left: Vec<&Filter> = conjuncts.iter().zip(used).filter(|(_, used)| !used).map(|(f, _)| *f).collect();
    let filter = KeyFilter::compile(&left, &|field| key_to_filter(definition, field))?;
    let dimensions = query.group_by.iter().map(|by| dimension(definition, by)).collect::<Option<Vec<_>>>()?;
    let at = |tier: &Tier| states.cell_states(&query.aggregates, definition.aggregates(*tier)?);
    let states = [at(&Tier::Quarter), at(&Tier::Hour), at(&Tier::Day)];
    let some = states.iter().any(Option::is_some);
    some.then_some(Match { definition, hash, dimensions, filter, states })
}

/// The filters that all must hold.
pub(crate) fn conjuncts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::And(list) => list.iter().flat_map(conjuncts).collect(),
        other => vec![other],
    }
}

/// Whether two filters are equal, but for how they are written: one value of a list, lists in any order.
fn says_the_same(a: &Filter, b: &Filter) -> bool {
    match (a, b) {
        (Filter::Compare(a, one), Filter::Compare(b, other)) if a == b => {
            match (equals(one), equals(other)) {
                (Some(one), Some(other)) => {
                    one.iter().all(|l| other.contains(l)) && other.iter().all(|l| one.contains(l))
                }
                _ => one == other,
            }
        }
        (Filter::And(_), Filter::And(_)) => {
            let (one, other) = (conjuncts(a), conjuncts(b));
            one.iter().all(|x| other.iter().any(|y| says_the_same(x, y)))
                && other.iter().all(|x| one.iter().any(|y| says_the_same(x, y)))
        }
        (Filter::Or(one), Filter::Or(other)) => {
            one.iter().all(|x| other.iter().any(|y| says_the_same(x, y)))
                && other.iter().all(|x| one.iter().any(|y| says_the_same(x, y)))
        }
        (Filter::Not(one), Filter::Not(other)) => says_the_same(one, other),
        _ => false,
    }
}

/// The values that a comparison lets pass, when it is for equality.
fn equals(op: &Op) -> Option<&[Literal]> {
    match op {
        Op::Is(literal) => Some(std::slice::from_ref(literal)),
        Op::In(literals) => Some(literals),
        _ => None,
    }
}

/// The place of a field among the keys, and what its codes are of.
fn key(definition: &RollupDefinition, field: &Field) -> Option<(usize, Option<IdentityKind>)> {
    let place = definition.keys.iter().position(|key| key == field)?;
    Some((place, code_kind(definition, field)))
}

/// What the codes of a field are of, when it is one column of codes.
pub(crate) fn code_kind(definition: &RollupDefinition, field: &Field) -> Option<IdentityKind> {
    let Field::Column(id) = field else { return None };
    match Schema::of(definition.stream).get(*id)?.ty {
        ColumnType::Code(kind) => Some(kind),
        _ => None,
    }
}

/// What a filter may look at: columns, whose keys are the values of rows. Of a path or a choice a key
/// does not tell a null from an absent value.
fn key_to_filter(definition: &RollupDefinition, field: &Field) -> Option<KeyRef> {
    match field {
        Field::Tenant => Some(KeyRef::Tenant),
        Field::Column(_) => key(definition, field).map(|(key, kind)| KeyRef::Key(key, kind)),
        Field::Path(..) | Field::FirstOf(_) => None,
    }
}

fn dimension(definition: &RollupDefinition, by: &GroupBy) -> Option<CellDimension> {
    match by {
        GroupBy::Bucket(_) => Some(CellDimension::Bucket),
        GroupBy::Field(Field::Tenant) => Some(CellDimension::Tenant),
        GroupBy::Field(field) => key(definition, field).map(|(key, kind)| CellDimension::Key(key, kind)),
    }
}
