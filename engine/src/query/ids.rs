//! Values as small numbers: keys of groups and text of scans by value, distinct values by code.

use std::sync::Arc;

use hashbrown::HashMap;

use super::field::Source;
use super::granule::Granule;
use super::mask::Rows;
use super::request::KeyValue;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::id::TenantNo;
use crate::rollup::{KeyColumn, Whose};
use crate::schema::{Bitmap, ColumnVector, IdentityKind, NULL_CODE, Scalar};

/// The id of an absent value.
pub(crate) const ABSENT: u32 = NULL_CODE;
/// The id of a value that is present and equal to nothing: a list, an object, a null.
pub(crate) const OPAQUE: u32 = u32::MAX - 1;
/// A place of a table that nothing asked for yet.
const UNSEEN: u32 = u32::MAX - 2;

/// Gives the values of a field ids, equal ids to equal values.
pub(crate) trait Ids {
    /// Whether the id of a code is the code.
    const CODES_ARE_IDS: bool;
    /// The id of a code of the tenant dictionary.
    fn of_code(
        &mut self,
        snapshot: &Snapshot,
        tenant: TenantNo,
        kind: IdentityKind,
        code: u32,
    ) -> Result<u32>;
    /// The id of text, which may have a code.
    fn of_text(
        &mut self,
        snapshot: &Snapshot,
        tenant: TenantNo,
        kind: Option<IdentityKind>,
        text: &[u8],
    ) -> Result<u32>;
    /// Whether an id that text has was given to it as a code, for good.
    fn is_code(&self, _tenant: TenantNo, _kind: IdentityKind, _id: u32) -> bool {
        false
    }
    /// The id of a number or a truth value.
    fn of_number(&mut self, number: NumberKey) -> Result<u32>;
    /// Whether equal text of different tenants has different ids where it stands for codes.
    fn tells_tenants_apart(&self) -> bool {
        Self::CODES_ARE_IDS
    }
    /// The tables that map codes to ids.
    fn tables(&mut self) -> &mut Tables;
}

/// A number by type and bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NumberKey {
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(u64),
}

impl NumberKey {
    /// A `u64` by value, so that it is the same key as an equal `i64`.
    fn unsigned(n: u64) -> Self {
        i64::try_from(n).map_or(Self::U64(n), Self::I64)
    }

    fn value(self) -> KeyValue {
        match self {
            Self::Bool(b) => KeyValue::Bool(b),
            Self::I64(n) => KeyValue::I64(n),
            Self::U64(n) => KeyValue::U64(n),
            Self::F64(bits) => KeyValue::F64(bits),
        }
    }
}

/// Ids by code, filled as codes are seen.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    codes: HashMap<(TenantNo, IdentityKind), Vec<u32>>,
    code_bytes: usize,
    dictionaries: HashMap<usize, Dictionary>,
}

/// Ids of one granule's dictionary.
#[derive(Debug, Default)]
struct Dictionary {
    /// The granule, and the tenant where the ids depend on it.
    of: (u64, TenantNo),
    ids: Vec<u32>,
}

impl Dictionary {
    /// Forgets the ids of another granule or tenant.
    fn start(&mut self, of: (u64, TenantNo), values: usize) {
        if self.of != of || self.ids.len() != values {
            self.of = of;
            self.ids.clear();
            self.ids.resize(values, UNSEEN);
        }
    }
}

impl Tables {
    /// Bytes of memory this takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.code_bytes + self.codes.len() * 64
    }
}

/// Ids by value over all tenants, dense from 0 in the order of first sight.
#[derive(Debug, Default)]
pub(crate) struct KeyIds {
    values: Vec<KeyValue>,
    texts: HashMap<Arc<str>, u32>,
    numbers: HashMap<NumberKey, u32>,
    tenants: HashMap<TenantNo, u32>,
    text_bytes: usize,
    tables: Tables,
    /// Codes are values themselves, as whole numbers, and tenants their numbers: for cells of one tenant,
    /// or of each apart, and a key of one kind.
    codes_stay: bool,
}

impl KeyIds {
    /// Ids of codes, whose values are the codes as whole numbers, of one kind; of tenants their numbers.
    pub(crate) fn of_codes() -> Self {
        Self { codes_stay: true, ..Self::default() }
    }

    /// Whether the values are codes.
    pub(crate) fn are_codes(&self) -> bool {
        self.codes_stay
    }

    /// The ids of the keys of the series that `whose` names, [`ABSENT`] for an absent one. Where the keys
    /// are codes `kind` says of what.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn of_series(
        &mut self,
        snapshot: &Snapshot,
        (whose, kind): (&Whose, Option<IdentityKind>),
        keys: &KeyColumn,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let all = whose.series();
        out.clear();
        out.resize(all.len(), ABSENT);
        match (keys, kind) {
            (KeyColumn::Codes(codes), Some(kind)) => {
                for (tenant, series, places) in whose.stretches() {
                    let rows = Rows::Range(series.start, series.end);
                    let Some(out) = out.get_mut(places) else { continue };
                    code_ids(self, snapshot, (tenant, kind), codes, rows, out)?;
                }
                Ok(())
            }
            (KeyColumn::Codes(_), None) => Err(Error::invalid("codes of a key that has none")),
            (KeyColumn::Values { values, places }, _) => {
                let ids: Vec<u32> = values.iter().map(|value| self.of_value(value)).collect();
                for (slot, place) in out.iter_mut().zip(places.get(all).unwrap_or_default()) {
                    *slot = ids.get(*place as usize).copied().unwrap_or(ABSENT);
                }
                Ok(())
            }
        }
    }

    fn of_value(&mut self, value: &KeyValue) -> u32 {
        let number = match value {
            KeyValue::Absent | KeyValue::Bucket(_) => return ABSENT,
            KeyValue::Str(text) => return self.text(text),
            KeyValue::Bool(b) => NumberKey::Bool(*b),
            KeyValue::I64(n) => NumberKey::I64(*n),
            KeyValue::U64(n) => NumberKey::U64(*n),
            KeyValue::F64(bits) => NumberKey::F64(*bits),
        };
        self.number(number)
    }

    fn number(&mut self, number: NumberKey) -> u32 {
        let next = next_id(self.values.len());
        *self.numbers.entry(number).or_insert_with(|| {
            self.values.push(number.value());
            next
        })
    }

    /// The values, by id.
    pub(crate) fn values(&self) -> &[KeyValue] {
        &self.values
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.text_bytes + self.values.len() * 64 + self.tables.memory_bytes()
    }

    /// The id of a tenant's name, or of its number where codes stay.
    pub(crate) fn of_tenant(&mut self, snapshot: &Snapshot, tenant: TenantNo) -> u32 {
        if let Some(id) = self.tenants.get(&tenant) {
            return *id;
        }
        let id = if self.codes_stay {
            self.number(NumberKey::I64(i64::from(tenant.0)))
        } else {
            snapshot.tenants.name_of(tenant).map_or(ABSENT, |name| self.text(name.as_str()))
        };
        self.tenants.insert(tenant, id);
        id
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(id) = self.texts.get(text) {
            return *id;
        }
        let shared: Arc<str> = text.into();
        let id = next_id(self.values.len());
        self.values.push(KeyValue::Str(Arc::clone(&shared)));
        self.texts.insert(shared, id);
        self.text_bytes += text.len();
        id
    }
}

impl Ids for KeyIds {
    const CODES_ARE_IDS: bool = false;

    fn of_code(
        &mut self,
        snapshot: &Snapshot,
        tenant: TenantNo,
        kind: IdentityKind,
        code: u32,
    ) -> Result<u32> {
        if self.codes_stay {
            return Ok(self.number(NumberKey::I64(i64::from(code))));
        }
        match snapshot.codes.identity_of(tenant, kind, code)? {
            Some(identity) => self.of_text(snapshot, tenant, None, &identity),
            None => Err(never_given(kind, code)),
        }
    }

    fn of_text(
        &mut self,
        snapshot: &Snapshot,
        tenant: TenantNo,
        kind: Option<IdentityKind>,
        text: &[u8],
    ) -> Result<u32> {
        if self.codes_stay
            && let Some(kind) = kind
        {
            let code = snapshot.codes.code_of(tenant, kind, text)?;
            let code = code.ok_or_else(|| Error::invalid("text that has no code"))?;
            return Ok(self.number(NumberKey::I64(i64::from(code))));
        }
        Ok(self.text(&String::from_utf8_lossy(text)))
    }

    fn of_number(&mut self, number: NumberKey) -> Result<u32> {
        Ok(self.number(number))
    }

    fn tells_tenants_apart(&self) -> bool {
        self.codes_stay
    }

    fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }
}

/// Damage: a row holds a code that its tenant's dictionary does not have.
pub(crate) fn never_given(kind: IdentityKind, code: u32) -> Error {
    Error::corrupt("tenant dictionary", "dictionary", 0, format!("code {code} of {kind:?} was never given"))
}

/// Fewer values than a question's budget of memory allows are given ids, so they never reach the end.
pub(super) fn next_id(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(UNSEEN).min(UNSEEN)
}

/// The keys of a field, one for each row: an id of `keys`, [`ABSENT`] for an absent or opaque value.
///
/// # Errors
///
/// Those of the columns and of the dictionary.
pub(crate) fn key_ids(
    keys: &mut KeyIds,
    source: &Source,
    granule: &mut Granule<'_>,
    tenant: TenantNo,
    rows: Rows<'_>,
    out: &mut Vec<u32>,
) -> Result<()> {
    out.clear();
    out.resize(rows.len(), ABSENT);
    match source {
        Source::Tenant => out.fill(keys.of_tenant(granule.snapshot, tenant)),
        Source::Leaf(leaf) => leaf_ids(keys, *leaf, granule, tenant, rows, out)?,
        Source::FirstOf(sources) => {
            let mut one = Vec::new();
            for source in sources {
                if !out.contains(&ABSENT) {
                    break;
                }
                match source {
                    Source::Leaf(leaf) => {
                        one.clear();
                        one.resize(rows.len(), ABSENT);
                        leaf_ids(keys, *leaf, granule, tenant, rows, &mut one)?;
                        // A null or an object says nothing: the next of the fields is asked.
                        hide_opaque(&mut one);
                    }
                    Source::Tenant | Source::FirstOf(_) => {
                        one.clear();
                        one.resize(rows.len(), keys.of_tenant(granule.snapshot, tenant));
                    }
                }
                fill_absent(out, &one);
            }
        }
    }
    hide_opaque(out);
    Ok(())
}

/// Takes the ids of `more` where there is none yet.
fn fill_absent(ids: &mut [u32], more: &[u32]) {
    for (id, new) in ids.iter_mut().zip(more) {
        if *id == ABSENT {
            *id = *new;
        }
    }
}

pub(super) fn hide_opaque(ids: &mut [u32]) {
    for id in ids {
        if *id == OPAQUE {
            *id = ABSENT;
        }
    }
}

/// A space of ids: those of different spaces are different values.
pub(crate) type Space = Option<IdentityKind>;

/// The ids of a leaf, one for each row.
///
/// # Errors
///
/// Those of the columns and of the dictionary.
pub(super) fn leaf_ids<I: Ids>(
    ids: &mut I,
    leaf: usize,
    granule: &mut Granule<'_>,
    tenant: TenantNo,
    rows: Rows<'_>,
    out: &mut [u32],
) -> Result<()> {
    let vector = granule.load(leaf)?;
    let Some(def) = granule.fields.leaves().get(leaf) else {
        return Err(Error::invalid("a field that was not resolved"));
    };
    let snapshot = granule.snapshot;
    let kind = def.kind();
    let mut put = |at: usize, id: u32| {
        if let Some(slot) = out.get_mut(at) {
            *slot = id;
        }
    };
    match &*vector {
        ColumnVector::Codes(codes) => {
            let Some(kind) = kind else { return Err(Error::invalid("codes in a column that has none")) };
            code_ids(ids, snapshot, (tenant, kind), codes, rows, out)
        }
        ColumnVector::Dict { codes, values } => {
            // Where text stands for codes the ids are the tenant's, else they serve all of the granule.
            let apart = kind.is_some() && ids.tells_tenants_apart();
            let of = (granule.token, if apart { tenant } else { TenantNo(0) });
            let mut table = ids.tables().dictionaries.remove(&leaf).unwrap_or_default();
            table.start(of, values.len());
            let mut known = SharedIds::of(granule, leaf, (tenant, kind.filter(|_| I::CODES_ARE_IDS)));
            let done = rows.try_each(|at, row| {
                let code = codes.get(row).copied().unwrap_or(NULL_CODE) as usize;
                let Some(id) = table.ids.get_mut(code) else { return Ok(()) };
                if *id == UNSEEN {
                    let text = values.get(code);
                    let of_text =
                        || text.map_or(Ok(ABSENT), |text| ids.of_text(snapshot, tenant, kind, text));
                    *id = known.get(code).map_or_else(of_text, Ok)?;
                    known.learn(ids, (code, values.len()), *id);
                }
                put(at, *id);
                Ok(())
            });
            known.give_back(granule, leaf);
            ids.tables().dictionaries.insert(leaf, table);
            done
        }
        ColumnVector::Bytes(bytes) if def.is_document() => {
            rows.each(|at, row| put(at, if bytes.present().get(row) { OPAQUE } else { ABSENT }));
            Ok(())
        }
        ColumnVector::Bytes(bytes) => rows.try_each(|at, row| {
            if let Some(text) = bytes.get(row) {
                put(at, ids.of_text(snapshot, tenant, kind, text)?);
            }
            Ok(())
        }),
        ColumnVector::I64(values, present) => {
            number_ids(ids, values, present.as_ref(), rows, out, |n| NumberKey::I64(*n))
        }
        ColumnVector::U64(values, present) => {
            number_ids(ids, values, present.as_ref(), rows, out, |n| NumberKey::unsigned(*n))
        }
        ColumnVector::F64(values, present) => {
            number_ids(ids, values, present.as_ref(), rows, out, |n| NumberKey::F64(n.to_bits()))
        }
        ColumnVector::Scalars(leaves) => rows.try_each(|at, row| {
            put(at, scalar_id(ids, snapshot, tenant, leaves.get(row).and_then(Option::as_ref))?);
            Ok(())
        }),
    }
}

/// The codes of a dictionary's values that other questions of the same pass have asked for, where codes are ids.
#[derive(Debug)]
struct SharedIds {
    of: Option<(TenantNo, IdentityKind)>,
    codes: Vec<u32>,
}

impl SharedIds {
    fn of(granule: &Granule<'_>, leaf: usize, (tenant, kind): (TenantNo, Option<IdentityKind>)) -> Self {
        let of = kind.filter(|_| granule.is_shared()).map(|kind| (tenant, kind));
        Self { of, codes: of.map(|_| granule.take_codes(leaf, tenant)).unwrap_or_default() }
    }

    fn get(&self, value: usize) -> Option<u32> {
        self.codes.get(value).copied().filter(|id| *id != UNSEEN)
    }

    /// Learns the id of one of `values` values, when it is a code: what stands for one until there is one is the own
    /// of a question.
    fn learn<I: Ids>(&mut self, ids: &I, (value, values): (usize, usize), id: u32) {
        if let Some((tenant, kind)) = self.of
            && ids.is_code(tenant, kind, id)
        {
            self.codes.resize(values, UNSEEN);
            if let Some(slot) = self.codes.get_mut(value) {
                *slot = id;
            }
        }
    }

    fn give_back(self, granule: &Granule<'_>, leaf: usize) {
        if let Some((tenant, _)) = self.of.filter(|_| !self.codes.is_empty()) {
            granule.put_codes(leaf, tenant, self.codes);
        }
    }
}

fn scalar_id<I: Ids>(
    ids: &mut I,
    snapshot: &Snapshot,
    tenant: TenantNo,
    scalar: Option<&Scalar>,
) -> Result<u32> {
    match scalar {
        None => Ok(ABSENT),
        Some(Scalar::Other) => Ok(OPAQUE),
        Some(Scalar::Str(text)) => ids.of_text(snapshot, tenant, None, text.as_bytes()),
        Some(Scalar::Bool(b)) => ids.of_number(NumberKey::Bool(*b)),
        Some(Scalar::I64(n)) => ids.of_number(NumberKey::I64(*n)),
        Some(Scalar::U64(n)) => ids.of_number(NumberKey::unsigned(*n)),
        Some(Scalar::F64(n)) => ids.of_number(NumberKey::F64(n.to_bits())),
    }
}

fn code_ids<I: Ids>(
    ids: &mut I,
    snapshot: &Snapshot,
    (tenant, kind): (TenantNo, IdentityKind),
    codes: &[u32],
    rows: Rows<'_>,
    out: &mut [u32],
) -> Result<()> {
    if I::CODES_ARE_IDS {
        match rows {
            Rows::Range(from, to) => {
                for (slot, code) in out.iter_mut().zip(codes.get(from..to).unwrap_or(&[])) {
                    *slot = *code;
                }
            }
            Rows::List(list) => {
                for (slot, row) in out.iter_mut().zip(list) {
                    *slot = codes.get(*row as usize).copied().unwrap_or(ABSENT);
                }
            }
        }
        return Ok(());
    }
    let mut table = ids.tables().codes.remove(&(tenant, kind)).unwrap_or_default();
    let before = table.len();
    let mut put = |slot: &mut u32, code: u32| -> Result<()> {
        *slot = match table.get(code as usize) {
            Some(id) if *id != UNSEEN => *id,
            _ => new_code_id(ids, snapshot, (tenant, kind), code, &mut table)?,
        };
        Ok(())
    };
    let done = match rows {
        Rows::Range(from, to) => {
            let codes = codes.get(from..to).unwrap_or(&[]);
            out.iter_mut().zip(codes).try_for_each(|(slot, code)| put(slot, *code))
        }
        Rows::List(list) => out
            .iter_mut()
            .zip(list)
            .try_for_each(|(slot, row)| put(slot, codes.get(*row as usize).copied().unwrap_or(NULL_CODE))),
    };
    ids.tables().code_bytes += (table.len() - before) * size_of::<u32>();
    ids.tables().codes.insert((tenant, kind), table);
    done
}

/// The id of a code that is not in the table, where it is put; [`ABSENT`] for the code of an absent value.
#[cold]
fn new_code_id<I: Ids>(
    ids: &mut I,
    snapshot: &Snapshot,
    (tenant, kind): (TenantNo, IdentityKind),
    code: u32,
    table: &mut Vec<u32>,
) -> Result<u32> {
    if code == NULL_CODE {
        return Ok(ABSENT);
    }
    // Asked first: a code that was never given must not make the table grow to its size.
    let id = ids.of_code(snapshot, tenant, kind, code)?;
    if table.len() <= code as usize {
        table.resize(code as usize + 1, UNSEEN);
    }
    if let Some(slot) = table.get_mut(code as usize) {
        *slot = id;
    }
    Ok(id)
}

fn number_ids<I: Ids, T>(
    ids: &mut I,
    values: &[T],
    present: Option<&Bitmap>,
    rows: Rows<'_>,
    out: &mut [u32],
    key: impl Fn(&T) -> NumberKey,
) -> Result<()> {
    // Neighbours are often equal; one comparison saves a hash.
    let mut last: Option<(NumberKey, u32)> = None;
    rows.try_each(|at, row| {
        let Some(value) = values.get(row).filter(|_| present.is_none_or(|p| p.get(row))) else {
            return Ok(());
        };
        let number = key(value);
        let id = match last {
            Some((known, id)) if known == number => id,
            _ => ids.of_number(number)?,
        };
        last = Some((number, id));
        if let Some(slot) = out.get_mut(at) {
            *slot = id;
        }
        Ok(())
    })
}
