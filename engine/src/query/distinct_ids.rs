//! Distinct values as small numbers: identities by their codes, text without codes by its hash.

use hashbrown::HashMap;

use super::field::{Leaf, Source};
use super::granule::Granule;
use super::ids::{ABSENT, Ids, KeyIds, NumberKey, Space, Tables, hide_opaque, leaf_ids, next_id};
use super::mask::Rows;
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::id::TenantNo;
use crate::schema::IdentityKind;
use crate::session::key::{KeyKind, session_key};

/// The codes of some text.
type CodesByText = HashMap<Box<[u8]>, u32>;

/// Most bytes of text whose codes are remembered.
const GIVEN_BYTES_MAX: usize = 4 << 20;

/// Ids of distinct values: an identity's code, for one that has none yet the codes after the last one;
/// everything else by value.
#[derive(Debug, Default)]
pub(crate) struct DistinctIds {
    pub(super) plain: KeyIds,
    provisional: HashMap<(TenantNo, IdentityKind), Provisional>,
    provisional_bytes: usize,
    /// The codes of text that was met, which stay what they are: a look into the dictionary's files for each chunk of
    /// rows in memory would take longer than the rows.
    given: HashMap<(TenantNo, IdentityKind), CodesByText>,
    given_bytes: usize,
    tables: Tables,
    /// Text that has no codes goes by its hash, as in cells.
    hashes: Option<Hashes>,
}

/// Ids of text by its hash.
#[derive(Debug, Default)]
struct Hashes {
    ids: HashMap<u128, u32>,
    /// By id.
    list: Vec<u128>,
}

/// Codes of identities that only memory holds, good until a flush gives them codes.
#[derive(Debug, Default)]
struct Provisional {
    first: u32,
    codes: HashMap<Box<[u8]>, u32>,
}

/// Numbers that identities had before they were given codes, and those that they have now.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) tenant: TenantNo,
    pub(crate) kind: IdentityKind,
    /// No number before this one has changed.
    pub(crate) first: u32,
    pub(crate) ids: HashMap<u32, u32>,
}

impl DistinctIds {
    /// Ids by the hash of text that has no codes, so that text of rows and of cells is told apart alike.
    pub(crate) fn of_hashes() -> Self {
        Self { hashes: Some(Hashes::default()), ..Self::default() }
    }

    /// Asks again for the codes of identities that had none, and tells which numbers those had; ones that have still
    /// none get others, for theirs may be a code now.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(crate) fn take_codes(&mut self, snapshot: &Snapshot) -> Result<Vec<Moved>> {
        let mut out = Vec::new();
        self.provisional_bytes = 0;
        for ((tenant, kind), space) in std::mem::take(&mut self.provisional) {
            let mut ids = HashMap::with_capacity(space.codes.len());
            for (text, id) in space.codes {
                ids.insert(id, self.of_text(snapshot, tenant, Some(kind), &text)?);
            }
            out.push(Moved { tenant, kind, first: space.first, ids });
        }
        Ok(out)
    }

    /// The id of a hash of text.
    pub(crate) fn of_hash(&mut self, hash: u128) -> u32 {
        let hashes = self.hashes.get_or_insert_default();
        let next = next_id(hashes.list.len());
        *hashes.ids.entry(hash).or_insert_with(|| {
            hashes.list.push(hash);
            next
        })
    }

    /// The hash of an id that [`Self::of_hash`] gave.
    pub(crate) fn hash_of(&self, id: u32) -> Option<u128> {
        self.hashes.as_ref()?.list.get(id as usize).copied()
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let hashes = self.hashes.as_ref().map_or(0, |h| h.list.len() * 48);
        let texts = self.provisional_bytes + self.given_bytes;
        self.plain.memory_bytes() + texts + self.tables.memory_bytes() + hashes
    }
}

impl Ids for DistinctIds {
    const CODES_ARE_IDS: bool = true;

    fn of_code(&mut self, _: &Snapshot, _: TenantNo, _: IdentityKind, code: u32) -> Result<u32> {
        Ok(code)
    }

    fn of_text(
        &mut self,
        snapshot: &Snapshot,
        tenant: TenantNo,
        kind: Option<IdentityKind>,
        text: &[u8],
    ) -> Result<u32> {
        let Some(kind) = kind else {
            if self.hashes.is_some() {
                return Ok(self.of_hash(session_key(KeyKind::Session, text)));
            }
            return self.plain.of_text(snapshot, tenant, None, text);
        };
        let given = self.given.entry((tenant, kind)).or_default();
        if let Some(code) = given.get(text) {
            return Ok(*code);
        }
        if let Some(code) = snapshot.codes.code_of(tenant, kind, text)? {
            if self.given_bytes < GIVEN_BYTES_MAX {
                given.insert(text.into(), code);
                self.given_bytes += text.len() + 40;
            }
            return Ok(code);
        }
        let space = match self.provisional.entry((tenant, kind)) {
            hashbrown::hash_map::Entry::Occupied(known) => known.into_mut(),
            hashbrown::hash_map::Entry::Vacant(slot) => {
                let first = snapshot.codes.count(tenant, kind)?;
                slot.insert(Provisional { first, codes: HashMap::new() })
            }
        };
        if let Some(code) = space.codes.get(text) {
            return Ok(*code);
        }
        let code = next_id(space.first as usize + space.codes.len());
        space.codes.insert(text.into(), code);
        self.provisional_bytes += text.len() + 32;
        Ok(code)
    }

    fn is_code(&self, tenant: TenantNo, kind: IdentityKind, id: u32) -> bool {
        self.provisional.get(&(tenant, kind)).is_none_or(|space| id < space.first)
    }

    fn of_number(&mut self, number: NumberKey) -> Result<u32> {
        self.plain.of_number(number)
    }

    fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }
}

/// The distinct ids of a field: for each space the id of each row, [`ABSENT`] where the row's value is
/// absent or of another space.
///
/// # Errors
///
/// Those of the columns and of the dictionary.
pub(crate) fn distinct_ids(
    ids: &mut DistinctIds,
    source: &Source,
    granule: &mut Granule<'_>,
    tenant: TenantNo,
    rows: Rows<'_>,
) -> Result<Vec<(Space, Vec<u32>)>> {
    let sources = match source {
        Source::FirstOf(sources) => sources.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut out: Vec<(Space, Vec<u32>)> = Vec::with_capacity(sources.len());
    // The rows that no field has answered yet, and their places: the first one answers most.
    let mut left: Option<(Vec<u32>, Vec<usize>)> = None;
    for source in sources {
        let asked = left.as_ref().map_or(rows, |(list, _)| Rows::List(list));
        if asked.len() == 0 {
            break;
        }
        let mut own = vec![ABSENT; asked.len()];
        let space = match source {
            Source::Leaf(leaf) => {
                leaf_ids(ids, *leaf, granule, tenant, asked, &mut own)?;
                granule.fields.leaves().get(*leaf).and_then(Leaf::kind)
            }
            Source::Tenant | Source::FirstOf(_) => {
                own.fill(ids.plain.of_tenant(granule.snapshot, tenant));
                None
            }
        };
        // Before the next field is asked: a null or an object says nothing.
        hide_opaque(&mut own);
        let next = unanswered(asked, left.as_ref().map(|(_, places)| places.as_slice()), &own);
        if let Some((_, places)) = &left {
            let mut spread = vec![ABSENT; rows.len()];
            for (place, id) in places.iter().zip(&own) {
                if let Some(slot) = spread.get_mut(*place) {
                    *slot = *id;
                }
            }
            own = spread;
        }
        left = Some(next);
        out.push((space, own));
    }
    Ok(out)
}

/// The rows without an id, and their places; `places` are those of all of them, when they are not in order.
fn unanswered(rows: Rows<'_>, places: Option<&[usize]>, ids: &[u32]) -> (Vec<u32>, Vec<usize>) {
    let mut left = (Vec::new(), Vec::new());
    if ids.contains(&ABSENT) {
        rows.each(|at, row| {
            if ids.get(at) == Some(&ABSENT) {
                left.0.push(u32::try_from(row).unwrap_or(u32::MAX));
                left.1.push(places.map_or(at, |places| places.get(at).copied().unwrap_or(at)));
            }
        });
    }
    left
}
