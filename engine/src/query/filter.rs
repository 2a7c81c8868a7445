//! A filter on the rows of a slice: predicates once per distinct value, columns read only when needed.

use std::sync::Arc;

use hashbrown::HashMap;

use super::compare::{Test, TextTest};
use super::field::{Fields, Source};
use super::granule::Granule;
use super::ids::never_given;
use super::mask::Mask;
use super::newer::Newer;
use super::plan::Slice;
use super::request::Filter;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::part::ZoneMap;
use crate::schema::stream::TIME;
use crate::schema::{Bitmap, BytesColumn, ColumnType, ColumnVector, IdentityKind, NULL_CODE, Scalar};
use crate::time::TimeRange;

/// Deepest nesting of a filter.
const FILTER_DEPTH_MAX: usize = 64;

/// A filter whose fields and literals are resolved. It remembers what it learnt about codes.
#[derive(Debug)]
pub(crate) enum Predicate {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare(Box<Compare>),
}

/// Most tenants and fields whose codes one comparison has tested at once: of many tenants each is seen once.
const CODE_TESTS_MAX: usize = 4096;

/// One comparison.
#[derive(Debug)]
pub(crate) struct Compare {
    source: Source,
    test: Test,
    /// Rows where the test does not hold pass instead, absent ones too.
    negated: bool,
    codes: HashMap<(TenantNo, usize), CodeTest>,
    dictionaries: HashMap<usize, DictTest>,
}

/// What is known of a tenant's codes.
#[derive(Debug, Clone)]
enum CodeTest {
    /// The codes that pass; found by looking the literals up.
    These(Vec<u32>),
    /// By code: 0 not looked at yet, 1 fails, 2 passes.
    Seen(Vec<u8>),
}

/// By dictionary value of one granule: 0 not looked at yet, 1 fails, 2 passes.
#[derive(Debug, Default)]
struct DictTest {
    token: u64,
    seen: Vec<u8>,
    /// The values that pass, once all were looked at.
    passing: Option<Vec<u32>>,
}

/// As many codes are compared with every row; a table says it of more.
const CODES_COMPARED_MAX: usize = 8;

impl Predicate {
    /// Resolves a filter.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a field the stream does not have and for a filter nested too deep.
    pub(crate) fn compile(filter: &Filter, fields: &mut Fields) -> Result<Self> {
        Self::compile_at(filter, fields, 0)
    }

    /// Resolves what must hold together; each may be nested as deep as one alone.
    ///
    /// # Errors
    ///
    /// As [`Self::compile`].
    pub(crate) fn all<'f>(
        filters: impl IntoIterator<Item = &'f Filter>,
        fields: &mut Fields,
    ) -> Result<Self> {
        let compiled: Result<Vec<_>> =
            filters.into_iter().map(|filter| Self::compile(filter, fields)).collect();
        let mut compiled = compiled?;
        compiled.sort_by_key(|predicate| predicate.cost(fields));
        Ok(Self::And(compiled))
    }

    fn compile_at(filter: &Filter, fields: &mut Fields, depth: usize) -> Result<Self> {
        if depth > FILTER_DEPTH_MAX {
            return Err(Error::invalid(format!("a filter nested deeper than {FILTER_DEPTH_MAX}")));
        }
        let mut all = |list: &[Filter]| -> Result<Vec<Self>> {
            let mut out =
                list.iter().map(|f| Self::compile_at(f, fields, depth + 1)).collect::<Result<Vec<_>>>()?;
            // The cheap ones first: the dear ones then see fewer rows, or none and are not read.
            out.sort_by_key(|p| p.cost(fields));
            Ok(out)
        };
        Ok(match filter {
            Filter::And(list) => Self::And(all(list)?),
            Filter::Or(list) => Self::Or(all(list)?),
            Filter::Not(inner) => Self::Not(Box::new(Self::compile_at(inner, fields, depth + 1)?)),
            Filter::Compare(field, op) => {
                let (test, negated) = Test::of(op);
                let source = fields.source(field)?;
                let (codes, dictionaries) = (HashMap::new(), HashMap::new());
                Self::Compare(Box::new(Compare { source, test, negated, codes, dictionaries }))
            }
        })
    }

    /// Forgets what it has learnt about codes: others may have been given since.
    pub(crate) fn forget_codes(&mut self) {
        match self {
            Self::And(list) | Self::Or(list) => list.iter_mut().for_each(Self::forget_codes),
            Self::Not(inner) => inner.forget_codes(),
            Self::Compare(compare) => compare.codes.clear(),
        }
    }

    fn cost(&self, fields: &Fields) -> u32 {
        fn of_source(source: &Source, fields: &Fields) -> u32 {
            match source {
                Source::Tenant => 0,
                Source::Leaf(leaf) => match fields.leaves().get(*leaf).map(|l| l.ty) {
                    Some(ColumnType::Time | ColumnType::U64 | ColumnType::F64 | ColumnType::Code(_)) => 1,
                    Some(ColumnType::Str) => 4,
                    _ => 8,
                },
                Source::FirstOf(list) => list.iter().map(|s| of_source(s, fields)).sum(),
            }
        }
        match self {
            Self::And(list) | Self::Or(list) => list.iter().map(|p| p.cost(fields)).sum(),
            Self::Not(inner) => inner.cost(fields),
            Self::Compare(compare) => of_source(&compare.source, fields),
        }
    }

    /// Whether a row of the slice may pass, by zone maps and codes alone.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn may_pass(&mut self, granule: &mut Granule<'_>, slice: &Slice) -> Result<bool> {
        match self {
            Self::And(list) => {
                for inner in list {
                    if !inner.may_pass(granule, slice)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(list) => {
                for inner in list {
                    if inner.may_pass(granule, slice)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(_) => Ok(true),
            Self::Compare(compare) => compare.may_pass(granule, slice),
        }
    }

    /// Takes the rows of a slice that do not pass out of `mask`, which has one bit for each of them.
    ///
    /// # Errors
    ///
    /// Those of the columns that must be read, and of the dictionary.
    pub(crate) fn narrow(&mut self, granule: &mut Granule<'_>, slice: &Slice, mask: &mut Mask) -> Result<()> {
        match self {
            Self::And(list) => {
                for inner in list {
                    if mask.is_empty() {
                        break;
                    }
                    inner.narrow(granule, slice, mask)?;
                }
            }
            Self::Or(list) => {
                let mut passed = Mask::none(mask.len());
                for inner in list {
                    if mask.is_empty() {
                        break;
                    }
                    let mut some = mask.clone();
                    inner.narrow(granule, slice, &mut some)?;
                    mask.and_not(&some);
                    passed.or(&some);
                }
                *mask = passed;
            }
            Self::Not(inner) => {
                let mut some = mask.clone();
                inner.narrow(granule, slice, &mut some)?;
                mask.and_not(&some);
            }
            Self::Compare(compare) => compare.narrow(granule, slice, mask)?,
        }
        Ok(())
    }
}

impl Compare {
    fn may_pass(&mut self, granule: &mut Granule<'_>, slice: &Slice) -> Result<bool> {
        if self.negated {
            return Ok(true);
        }
        match self.source.clone() {
            Source::Tenant => Ok(true),
            Source::Leaf(leaf) => self.leaf_may_pass(leaf, granule, slice),
            Source::FirstOf(sources) => {
                for source in sources {
                    let passes = match source {
                        Source::Leaf(leaf) => self.leaf_may_pass(leaf, granule, slice)?,
                        Source::Tenant | Source::FirstOf(_) => true,
                    };
                    if passes {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn leaf_may_pass(&mut self, leaf: usize, granule: &mut Granule<'_>, slice: &Slice) -> Result<bool> {
        let kind = granule.fields.leaves().get(leaf).and_then(super::field::Leaf::kind);
        let Some(zones) = granule.zones(leaf)? else { return Ok(true) };
        let (Some(kind), false) = (kind, self.test.any) else {
            return Ok(zones.iter().any(|zone| self.test.may_pass(zone)));
        };
        match zones {
            [ZoneMap::Null] => Ok(false),
            [ZoneMap::U64 { min, max }] => {
                let (min, max) = (*min, *max);
                Ok(match self.code_test(granule, slice.tenant, leaf, kind)? {
                    CodeTest::These(codes) => {
                        codes.iter().any(|c| min <= u64::from(*c) && u64::from(*c) <= max)
                    }
                    CodeTest::Seen(_) => true,
                })
            }
            [zone @ ZoneMap::Bytes { .. }] => Ok(self.test.may_pass(zone)),
            _ => Ok(true),
        }
    }

    fn narrow(&mut self, granule: &mut Granule<'_>, slice: &Slice, mask: &mut Mask) -> Result<()> {
        if !self.negated {
            return self.narrow_source(granule, slice, mask);
        }
        let mut some = mask.clone();
        self.narrow_source(granule, slice, &mut some)?;
        mask.and_not(&some);
        Ok(())
    }

    fn narrow_source(&mut self, granule: &mut Granule<'_>, slice: &Slice, mask: &mut Mask) -> Result<()> {
        let Source::FirstOf(sources) = self.source.clone() else {
            let source = self.source.clone();
            return self.narrow_one(&source, granule, slice, mask);
        };
        let mut passed = Mask::none(mask.len());
        for source in &sources {
            if mask.is_empty() {
                break;
            }
            let mut here = mask.clone();
            keep_present(source, granule, slice, &mut here)?;
            drop_opaque(source, granule, slice, &mut here)?;
            mask.and_not(&here);
            self.narrow_one(source, granule, slice, &mut here)?;
            passed.or(&here);
        }
        *mask = passed;
        Ok(())
    }

    fn narrow_one(
        &mut self,
        source: &Source,
        granule: &mut Granule<'_>,
        slice: &Slice,
        mask: &mut Mask,
    ) -> Result<()> {
        let leaf = match source {
            Source::Leaf(leaf) => *leaf,
            Source::Tenant => {
                let name = granule.snapshot.tenants.name_of(slice.tenant);
                if !name.is_some_and(|n| self.test.text(n.as_str().as_bytes())) {
                    mask.clear();
                }
                return Ok(());
            }
            Source::FirstOf(_) => return Err(Error::invalid("a choice of fields inside another")),
        };
        if self.test.any {
            return keep_present(source, granule, slice, mask);
        }
        let vector = granule.load(leaf)?;
        let document = granule.fields.leaves().get(leaf).is_some_and(super::field::Leaf::is_document);
        let base = slice.rows.start;
        match &*vector {
            _ if document => mask.clear(),
            ColumnVector::I64(values, present) => {
                narrow_numbers(values, present.as_ref(), base, mask, &self.test.i64s);
            }
            ColumnVector::U64(values, present) => {
                narrow_numbers(values, present.as_ref(), base, mask, &self.test.u64s);
            }
            ColumnVector::F64(values, present) => {
                narrow_numbers(values, present.as_ref(), base, mask, &self.test.f64s);
            }
            ColumnVector::Codes(codes) => self.narrow_codes(codes, leaf, granule, slice, mask)?,
            ColumnVector::Dict { codes, values } => {
                let dictionary = self.dictionaries.entry(leaf).or_default();
                dictionary.start(granule.token, values.len());
                let codes = codes.get(base..base + mask.len()).unwrap_or(&[]);
                dictionary.narrow(codes, values, &self.test.text, mask)?;
            }
            ColumnVector::Bytes(bytes) => {
                let text = &self.test.text;
                mask.try_retain(|row| Ok(bytes.get(base + row).is_some_and(|v| text.holds(v))))?;
            }
            ColumnVector::Scalars(leaves) => {
                let test = &self.test;
                mask.try_retain(|row| {
                    Ok(leaves.get(base + row).and_then(Option::as_ref).is_some_and(|s| test.scalar(s)))
                })?;
            }
        }
        Ok(())
    }

    fn narrow_codes(
        &mut self,
        codes: &[u32],
        leaf: usize,
        granule: &mut Granule<'_>,
        slice: &Slice,
        mask: &mut Mask,
    ) -> Result<()> {
        let Some(kind) = granule.fields.leaves().get(leaf).and_then(super::field::Leaf::kind) else {
            return Err(Error::invalid("codes in a column that has none"));
        };
        let codes = codes.get(slice.rows.clone()).unwrap_or(&[]);
        self.code_test(granule, slice.tenant, leaf, kind)?;
        let at = |row: usize| codes.get(row).copied().unwrap_or(NULL_CODE);
        match self.codes.get_mut(&(slice.tenant, leaf)) {
            Some(CodeTest::These(these)) => match these.as_slice() {
                [] => mask.clear(),
                [one] => mask.retain_values(codes, |c| c == *one),
                many if many.len() <= 8 => mask.retain_values(codes, |c| many.contains(&c)),
                many => mask.try_retain(|row| Ok(many.binary_search(&at(row)).is_ok()))?,
            },
            Some(CodeTest::Seen(seen)) => {
                let text = &self.test.text;
                mask.try_retain(|row| {
                    let code = at(row);
                    if code == NULL_CODE {
                        return Ok(false);
                    }
                    let known = seen.get(code as usize).copied().unwrap_or(0);
                    if known != 0 {
                        return Ok(known == 2);
                    }
                    // Asked first: a code that was never given must not make the table grow to its size.
                    let Some(identity) = granule.snapshot.codes.identity_of(slice.tenant, kind, code)? else {
                        return Err(never_given(kind, code));
                    };
                    let passes = text.holds(&identity);
                    if seen.len() <= code as usize {
                        seen.resize(code as usize + 1, 0);
                    }
                    if let Some(slot) = seen.get_mut(code as usize) {
                        *slot = if passes { 2 } else { 1 };
                    }
                    Ok(passes)
                })?;
            }
            None => mask.clear(),
        }
        Ok(())
    }

    fn code_test(
        &mut self,
        granule: &mut Granule<'_>,
        tenant: TenantNo,
        leaf: usize,
        kind: IdentityKind,
    ) -> Result<&CodeTest> {
        use hashbrown::hash_map::Entry;
        if self.codes.len() >= CODE_TESTS_MAX && !self.codes.contains_key(&(tenant, leaf)) {
            self.codes.clear();
        }
        match self.codes.entry((tenant, leaf)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(slot) => {
                let test = match &self.test.text {
                    TextTest::Never => CodeTest::These(Vec::new()),
                    TextTest::OneOf(list) => {
                        let mut codes = Vec::with_capacity(list.len());
                        for identity in list {
                            codes.extend(granule.code_of(tenant, kind, identity)?);
                        }
                        codes.sort_unstable();
                        codes.dedup();
                        CodeTest::These(codes)
                    }
                    TextTest::Contains(_) | TextTest::StartsWith(_) | TextTest::Order { .. } => {
                        CodeTest::Seen(Vec::new())
                    }
                };
                Ok(slot.insert(test))
            }
        }
    }
}

impl DictTest {
    fn start(&mut self, token: u64, values: usize) {
        if self.token != token || self.seen.len() != values {
            self.token = token;
            self.passing = None;
            self.seen.clear();
            self.seen.resize(values, 0);
        }
    }

    /// Takes the rows whose value does not pass out of the mask.
    fn narrow(
        &mut self,
        codes: &[u32],
        values: &BytesColumn,
        text: &TextTest,
        mask: &mut Mask,
    ) -> Result<()> {
        if self.passing.is_none() && self.seen.len() > mask.count() {
            // Fewer rows than values: only theirs are looked at.
            return mask.try_retain(|row| {
                let code = codes.get(row).copied().unwrap_or(NULL_CODE) as usize;
                let Some(seen) = self.seen.get_mut(code) else { return Ok(false) };
                if *seen == 0 {
                    *seen = if values.get(code).is_some_and(|v| text.holds(v)) { 2 } else { 1 };
                }
                Ok(*seen == 2)
            });
        }
        let seen = &mut self.seen;
        let passing = self.passing.get_or_insert_with(|| {
            let mut passing = Vec::new();
            for (code, seen) in (0_u32..).zip(seen) {
                let passes = values.get(code as usize).is_some_and(|v| text.holds(v));
                *seen = if passes { 2 } else { 1 };
                passing.extend(passes.then_some(code));
            }
            passing
        });
        match passing.as_slice() {
            [] => mask.clear(),
            [one] => mask.retain_values(codes, |c| c == *one),
            many if many.len() <= CODES_COMPARED_MAX => mask.retain_values(codes, |c| many.contains(&c)),
            _ => mask.retain_values(codes, |c| self.seen.get(c as usize) == Some(&2)),
        }
        Ok(())
    }
}

/// Takes the rows whose number is absent or in no interval out of the mask.
fn narrow_numbers<T: Copy + PartialOrd>(
    values: &[T],
    present: Option<&Bitmap>,
    base: usize,
    mask: &mut Mask,
    intervals: &[(T, T)],
) {
    let values = values.get(base..base + mask.len()).unwrap_or(&[]);
    match intervals {
        [] => return mask.clear(),
        [(from, to)] => mask.retain_values(values, |v| *from <= v && v <= *to),
        many => mask.retain_values(values, |v| many.iter().any(|(from, to)| *from <= v && v <= *to)),
    }
    if let Some(present) = present {
        mask.retain(|row| present.get(base + row));
    }
}

/// Takes the rows where a field is absent out of the mask.
fn keep_present(source: &Source, granule: &mut Granule<'_>, slice: &Slice, mask: &mut Mask) -> Result<()> {
    let Source::Leaf(leaf) = source else {
        // The tenant is always present.
        return Ok(());
    };
    if granule.zones(*leaf)?.is_some_and(|zones| zones.iter().all(|zone| matches!(zone, ZoneMap::Null))) {
        mask.clear();
        return Ok(());
    }
    let vector: Arc<ColumnVector> = granule.load(*leaf)?;
    let base = slice.rows.start;
    match &*vector {
        ColumnVector::I64(_, present) | ColumnVector::U64(_, present) | ColumnVector::F64(_, present) => {
            if let Some(present) = present {
                mask.retain(|row| present.get(base + row));
            }
        }
        ColumnVector::Codes(codes) | ColumnVector::Dict { codes, .. } => {
            mask.retain_values(codes.get(base..base + mask.len()).unwrap_or(&[]), |c| c != NULL_CODE);
        }
        ColumnVector::Bytes(bytes) => mask.retain(|row| bytes.present().get(base + row)),
        ColumnVector::Scalars(leaves) => {
            mask.retain(|row| leaves.get(base + row).is_some_and(Option::is_some));
        }
    }
    Ok(())
}

/// Clears rows whose value is null, an array or an object: a choice among fields passes over them.
fn drop_opaque(source: &Source, granule: &mut Granule<'_>, slice: &Slice, mask: &mut Mask) -> Result<()> {
    let Source::Leaf(leaf) = source else { return Ok(()) };
    if granule.fields.leaves().get(*leaf).is_some_and(super::field::Leaf::is_document) {
        mask.clear();
        return Ok(());
    }
    let vector = granule.load(*leaf)?;
    if let ColumnVector::Scalars(leaves) = &*vector {
        let base = slice.rows.start;
        mask.retain(|row| !matches!(leaves.get(base + row), Some(Some(Scalar::Other))));
    }
    Ok(())
}

/// The rows of a slice that are in the window and pass a predicate.
///
/// # Errors
///
/// Those of [`Predicate::narrow`].
pub(crate) fn select(
    predicate: &mut Predicate,
    time: usize,
    window: TimeRange,
    granule: &mut Granule<'_>,
    slice: &Slice,
) -> Result<Mask> {
    select_newer(predicate, (time, None), window, granule, slice)
}

/// As [`select`], of the rows alone that came after a frame.
///
/// # Errors
///
/// Those of [`Predicate::narrow`].
pub(crate) fn select_newer(
    predicate: &mut Predicate,
    (time, newer): (usize, Option<Newer>),
    window: TimeRange,
    granule: &mut Granule<'_>,
    slice: &Slice,
) -> Result<Mask> {
    debug_assert_eq!(granule.fields.leaves().get(time).map(|l| l.column), Some(TIME.id));
    let len = slice.rows.len();
    if !predicate.may_pass(granule, slice)? {
        return Ok(Mask::none(len));
    }
    let mut mask = Mask::all(len);
    if let Some(newer) = newer {
        newer.narrow(granule, slice, &mut mask)?;
    }
    let stream = granule.fields.stream();
    let window = granule.snapshot.hidden.window(slice.tenant, stream, window);
    if slice.min_time < window.start || slice.max_time >= window.end {
        match &*granule.load(time)? {
            ColumnVector::I64(times, _) => {
                let interval = [(window.start.0, window.end.0.saturating_sub(1))];
                narrow_numbers(times, None, slice.rows.start, &mut mask, &interval);
            }
            _ => return Err(Error::invalid("a part whose event times are no instants")),
        }
    }
    if stream != Stream::Audit && !granule.snapshot.hidden.users(slice.tenant).is_empty() {
        for row in granule.hidden_rows()?.iter().map(|row| *row as usize) {
            if slice.rows.contains(&row) {
                mask.remove(row - slice.rows.start);
            }
        }
    }
    predicate.narrow(granule, slice, &mut mask)?;
    Ok(mask)
}
