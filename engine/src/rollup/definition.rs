//! Rollups that are declared: which rows, by which keys, which aggregates at which tier.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::tier::Tier;
use crate::codec::put_varint;
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::query::fingerprint::{put_field, put_filter};
use crate::query::{Aggregate, Field, Filter, Query, code_kind, tiers_of};
use crate::schema::{ColumnType, IdentityKind, Schema};

/// Most definitions of an engine.
pub const DEFINITIONS_MAX: usize = 32;

/// The greatest number of a definition: those above are of cells that are no rollups, such as sessions.
pub const ID_MAX: u8 = 127;

/// Most keys of a definition.
const KEYS_MAX: usize = 8;

/// A rollup: its cells are what grouping the rows that pass `filter` by the tier's interval and by
/// `keys` gives, as states that can be merged.
#[derive(Debug, Clone, PartialEq)]
pub struct RollupDefinition {
    /// Its number, at most [`ID_MAX`] and unique among the definitions of an engine.
    pub id: u8,
    /// Of which stream.
    pub stream: Stream,
    /// Which rows take part.
    pub filter: Filter,
    /// By what they are grouped: columns of codes, text or whole numbers, paths, and choices of these.
    pub keys: Vec<Field>,
    /// What is kept, from the finest tier to the coarsest.
    pub tiers: Vec<TierAggregates>,
    /// Which definition goes first where there is no room for all: the least number.
    pub priority: u8,
    /// Of whom cells are kept, and when.
    pub kept: Kept,
}

/// Of whom the cells of a definition are kept, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Of each tenant and of all together, while there is room for them.
    Always,
    /// Of all tenants together alone. Keys may then be identities of one tenant, which the tenant's number
    /// stands beside: all keys are columns of codes, and nothing is distinct.
    Together,
    /// As always, but only where cells outlive their rows: what rows answer as well as long as there are some.
    Outliving,
}

/// What a definition keeps at one tier.
#[derive(Debug, Clone, PartialEq)]
pub struct TierAggregates {
    /// The tier.
    pub tier: Tier,
    /// The aggregates beside the count of rows, which is always kept. [`Aggregate::Sum`] answers the
    /// mean too, one [`Aggregate::Quantile`] of a field answers all of them; distinct values are of
    /// columns of codes or text, and the first of several such.
    pub aggregates: Vec<Aggregate>,
}

impl RollupDefinition {
    /// What it keeps at a tier, if it is declared there.
    pub fn aggregates(&self, tier: Tier) -> Option<&[Aggregate]> {
        self.tiers.iter().find(|t| t.tier == tier).map(|t| t.aggregates.as_slice())
    }

    /// Whether a key is an identity of one tenant, so that cells of all tenants together would be as many
    /// as those of each.
    pub(crate) fn tells_tenants_apart(&self) -> bool {
        self.keys.iter().filter_map(|key| code_kind(self, key)).any(|kind| kind != IdentityKind::Name)
    }

    /// Whether its cells of all tenants have one more key, the number of the tenant.
    pub(crate) fn numbers_tenants(&self) -> bool {
        self.kept == Kept::Together && self.tells_tenants_apart()
    }

    /// A number that definitions of other cells do not have.
    pub fn hash(&self) -> u64 {
        let mut bytes = vec![self.stream.tag()];
        put_filter(&self.filter, &mut bytes);
        put_list(&self.keys, &mut bytes, put_field);
        put_list(&self.tiers, &mut bytes, |tier, out| {
            out.push(tier.tier as u8);
            put_list(&tier.aggregates, out, put_aggregate);
        });
        match self.kept {
            Kept::Always => {}
            Kept::Together => bytes.push(1),
            Kept::Outliving => bytes.push(2),
        }
        hash_of(&bytes)
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::invalid(format!("rollup {}: {what}", self.id)));
        if self.id > ID_MAX {
            return wrong("a number that is too great");
        }
        if self.keys.len() > KEYS_MAX {
            return wrong("too many keys");
        }
        if !self.keys.iter().all(|key| self.is_key(key)) {
            return wrong("a key that is no column of codes, text or whole numbers, and no path");
        }
        if self.tiers.is_empty() || !self.tiers.is_sorted_by(|a, b| a.tier < b.tier) {
            return wrong("its tiers are not from the finest to the coarsest");
        }
        let aggregates = || self.tiers.iter().flat_map(|t| &t.aggregates);
        if !aggregates().all(|aggregate| self.is_kept(aggregate)) {
            return wrong("an aggregate that cells cannot keep");
        }
        let codes = |key: &Field| matches!(self.column(key), Some(ColumnType::Code(_)));
        let distinct = |aggregate: &Aggregate| matches!(aggregate, Aggregate::Distinct(_));
        if self.numbers_tenants() && (!self.keys.iter().all(codes) || aggregates().any(distinct)) {
            return wrong("cells by tenant with a key that is no code, or with distinct values");
        }
        let twice = |tier: &TierAggregates| {
            let list = &tier.aggregates;
            list.iter()
                .enumerate()
                .any(|(at, one)| list.iter().skip(at + 1).any(|two| is_answered_by(one, two)))
        };
        if self.tiers.iter().any(twice) { wrong("an aggregate that is declared twice") } else { Ok(()) }
    }

    fn column(&self, field: &Field) -> Option<ColumnType> {
        let Field::Column(id) = field else { return None };
        Schema::of(self.stream).get(*id).map(|def| def.ty)
    }

    fn is_key(&self, field: &Field) -> bool {
        match field {
            Field::Column(_) => {
                matches!(self.column(field), Some(ColumnType::Code(_) | ColumnType::Str | ColumnType::U64))
            }
            Field::Path(column, path) => {
                self.column(&Field::Column(*column)) == Some(ColumnType::Document) && !path.is_empty()
            }
            Field::Tenant => false,
            Field::FirstOf(fields) => !fields.is_empty() && fields.iter().all(|f| self.is_key(f)),
        }
    }

    fn is_identity(&self, field: &Field) -> bool {
        match field {
            Field::FirstOf(fields) => !fields.is_empty() && fields.iter().all(|f| self.is_identity(f)),
            _ => matches!(self.column(field), Some(ColumnType::Code(_) | ColumnType::Str)),
        }
    }

    fn is_kept(&self, aggregate: &Aggregate) -> bool {
        match aggregate {
            Aggregate::Sum(field)
            | Aggregate::Min(field)
            | Aggregate::Max(field)
            | Aggregate::Last(field)
            | Aggregate::Quantile(field, _) => {
                matches!(self.column(field), Some(ColumnType::F64 | ColumnType::U64 | ColumnType::Time))
            }
            Aggregate::Distinct(field) => self.is_identity(field),
            Aggregate::CountIf(_) => true,
            Aggregate::Count | Aggregate::Avg(_) | Aggregate::QuantileExact(..) => false,
        }
    }
}

/// Whether the state of a kept aggregate answers what a question asks.
pub(crate) fn is_answered_by(asked: &Aggregate, kept: &Aggregate) -> bool {
    match (asked, kept) {
        (Aggregate::Avg(a), Aggregate::Sum(b)) | (Aggregate::Quantile(a, _), Aggregate::Quantile(b, _)) => {
            a == b
        }
        _ => asked == kept,
    }
}

/// The definitions of an engine, checked once.
#[derive(Debug, Default)]
pub struct Rollups {
    definitions: Vec<(RollupDefinition, u64)>,
    hash: u64,
}

impl Rollups {
    /// Checks definitions and takes them.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for more than [`DEFINITIONS_MAX`], two of one number, and what cells cannot keep.
    pub fn new(definitions: &[RollupDefinition]) -> Result<Arc<Self>> {
        if definitions.len() > DEFINITIONS_MAX {
            return Err(Error::invalid(format!("at most {DEFINITIONS_MAX} rollups are allowed")));
        }
        for (at, definition) in definitions.iter().enumerate() {
            definition.check()?;
            if definitions.iter().skip(at + 1).any(|other| other.id == definition.id) {
                return Err(Error::invalid(format!("two rollups of the number {}", definition.id)));
            }
        }
        let mut definitions: Vec<_> = definitions.iter().map(|d| (d.clone(), d.hash())).collect();
        // Cells of a tenant lie in the order of these numbers.
        definitions.sort_by_key(|(definition, _)| definition.id);
        let mut bytes = Vec::new();
        for (definition, hash) in &definitions {
            bytes.push(definition.id);
            bytes.extend_from_slice(&hash.to_le_bytes());
        }
        Ok(Arc::new(Self { hash: hash_of(&bytes), definitions }))
    }

    /// The definitions with their hashes, by number.
    pub fn definitions(&self) -> &[(RollupDefinition, u64)] {
        &self.definitions
    }

    /// The definitions of a stream, with their hashes.
    pub(crate) fn of(&self, stream: Stream) -> impl Iterator<Item = &(RollupDefinition, u64)> {
        self.definitions.iter().filter(move |(d, _)| d.stream == stream)
    }

    /// The tiers whose cells answer a question, from the finest on; the time of the question aside.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a field that the stream does not have.
    pub fn tiers_of(&self, query: &Query) -> Result<Vec<Tier>> {
        tiers_of(self, query)
    }

    /// A number that other sets of definitions do not have.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// The first eight bytes of the SHA-256.
fn hash_of(bytes: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
}

fn put_list<T>(list: &[T], out: &mut Vec<u8>, put: impl Fn(&T, &mut Vec<u8>)) {
    put_varint(list.len() as u64, out);
    for one in list {
        put(one, out);
    }
}

fn put_aggregate(aggregate: &Aggregate, out: &mut Vec<u8>) {
    let mut of = |tag: u8, field: &Field| {
        out.push(tag);
        put_field(field, out);
    };
    match aggregate {
        Aggregate::Count => out.push(0),
        Aggregate::Sum(field) => of(1, field),
        Aggregate::Avg(field) => of(2, field),
        Aggregate::Min(field) => of(3, field),
        Aggregate::Max(field) => of(4, field),
        Aggregate::Last(field) => of(5, field),
        // Cells keep the histogram, whatever quantile stands for it.
        Aggregate::Quantile(field, _) => of(6, field),
        Aggregate::QuantileExact(field, _) => of(7, field),
        Aggregate::Distinct(field) => of(8, field),
        Aggregate::CountIf(filter) => {
            out.push(9);
            put_filter(filter, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Literal, Op};
    use crate::schema::stream::{APP_ID, EVENT_DATA, EVENT_TYPE, USER_ID, VALUE};

    fn definition(id: u8) -> RollupDefinition {
        RollupDefinition {
            id,
            stream: Stream::Events,
            filter: Filter::all(),
            keys: vec![Field::Column(APP_ID.id)],
            tiers: vec![
                TierAggregates { tier: Tier::Quarter, aggregates: Vec::new() },
                TierAggregates {
                    tier: Tier::Day,
                    aggregates: vec![Aggregate::Distinct(Field::Column(USER_ID.id))],
                },
            ],
            priority: 0,
            kept: Kept::Always,
        }
    }

    /// Cells on disk are used only while their definition has the hash that they were made with.
    #[test]
    fn the_hash_of_a_definition_stays() {
        let value = || Field::Column(VALUE.id);
        let path = Field::Path(EVENT_DATA.id, vec!["page".to_owned()]);
        let is = |op: Op| Filter::Compare(Field::FirstOf(vec![path.clone(), Field::Tenant]), op);
        let text = || Literal::Str("a".to_owned());
        let ops = [
            Op::Is(Literal::Bool(true)),
            Op::IsNot(Literal::I64(-1)),
            Op::Gt(Literal::U64(u64::MAX)),
            Op::Gte(Literal::F64(0.5)),
            Op::Lt(text()),
            Op::Lte(text()),
            Op::Contains("b".to_owned()),
            Op::StartsWith("c".to_owned()),
            Op::In(vec![text(), Literal::Bool(false)]),
            Op::Exists,
        ];
        let every_op = Filter::Or(ops.map(is).to_vec());
        let aggregates = vec![
            Aggregate::Count,
            Aggregate::Sum(value()),
            Aggregate::Avg(value()),
            Aggregate::Min(value()),
            Aggregate::Max(value()),
            Aggregate::Last(value()),
            Aggregate::Quantile(value(), 0.5),
            Aggregate::Distinct(value()),
            Aggregate::CountIf(Box::new(Filter::Not(Box::new(Filter::all())))),
        ];
        let tiers = vec![TierAggregates { tier: Tier::Day, aggregates }];
        let definition = RollupDefinition { filter: every_op, tiers, ..definition(1) };
        assert_eq!(definition.hash(), 16_897_892_235_076_074_577);
        let kept = |kept| RollupDefinition { kept, ..definition.clone() }.hash();
        let pinned = [12_188_486_893_901_328_485, 8_653_461_187_574_614_896];
        assert_eq!([kept(Kept::Together), kept(Kept::Outliving)], pinned);
    }

    #[test]
    fn the_hash_is_of_the_cells_and_not_of_number_and_priority() {
        let one = definition(1);
        assert_eq!(one.hash(), RollupDefinition { id: 7, priority: 3, ..one.clone() }.hash());
        let other = RollupDefinition { keys: vec![Field::Column(EVENT_TYPE.id)], ..one.clone() };
        assert_ne!(one.hash(), other.hash());
        assert_ne!(one.hash(), RollupDefinition { kept: Kept::Together, ..one.clone() }.hash());
    }

    #[test]
    fn what_cells_cannot_keep_is_refused() {
        let refused = |definition: RollupDefinition| Rollups::new(&[definition]).is_err();
        let with = |aggregate| {
            let tiers = vec![TierAggregates { tier: Tier::Hour, aggregates: vec![aggregate] }];
            RollupDefinition { tiers, ..definition(1) }
        };
        assert!(!refused(definition(1)));
        assert!(refused(with(Aggregate::Sum(Field::Column(VALUE.id)))), "events have no value");
        let path = Field::Path(EVENT_DATA.id, vec!["a".to_owned()]);
        assert!(refused(with(Aggregate::Distinct(path.clone()))));
        assert!(refused(with(Aggregate::QuantileExact(path, 0.5))));
        assert!(refused(RollupDefinition { keys: vec![Field::Tenant], ..definition(1) }));
        assert!(refused(RollupDefinition { tiers: Vec::new(), ..definition(1) }));
        assert!(
            refused(RollupDefinition { kept: Kept::Together, ..definition(1) }),
            "users of each application"
        );
        let tiers = definition(1).tiers.into_iter().rev().collect();
        assert!(refused(RollupDefinition { tiers, ..definition(1) }));
        assert!(Rollups::new(&[definition(1), definition(1)]).is_err());
        let many: Vec<_> = (0..=32).map(definition).collect();
        assert!(Rollups::new(&many).is_err());
    }
}
