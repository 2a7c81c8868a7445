//! The trees over audit records: what must be kept when rows expire, whether rows are still those of the
//! roots, and the proof of a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::append::{CatalogKind, CatalogPut};
use crate::codes::Tenants;
use crate::core::Core;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId, TenantNo};
use crate::part::Part;
use crate::query::{self, Field, Filter, Hidden, Literal, Op, Order, RowRequest, Scope, Snapshot};
use crate::query::{ScanColumn, ScanRequest};
use crate::schema::{Column, stream};
use crate::sequencer::cover::Cover;
use crate::sequencer::sequence::SequenceRecord;
use crate::sequencer::tree::{BLOCK_LEAVES, Frontier, Hash, node, root_of};
use crate::tables::LiveSegment;
use crate::time::TimeRange;
use crate::view;

/// Rows that are in memory at a time.
const PAGE_ROWS: usize = 10_000;
/// Blocks whose leaves are in memory at a time: 32 MiB.
const BLOCKS_MAX: u64 = 1 << 12;

/// What a verification of audit records found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditCheck {
    /// Leaves that were computed again and are under a root that was kept.
    pub leaves: u64,
    /// Roots that are not those of the rows, in words.
    pub findings: Vec<String>,
}

/// That a record is in an organization's audit log (RFC 6962, section 2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditProof {
    /// The leaf of the record.
    pub leaf: Hash,
    /// Its place, from 0.
    pub index: u64,
    /// The leaves of the tree: those of the last flush.
    pub leaves: u64,
    /// The hashes beside the way from the leaf to the root.
    pub path: Vec<Hash>,
    /// The root.
    pub root: Hash,
}

impl AuditProof {
    /// Whether the path leads from the leaf to the root (RFC 9162, section 2.1.3.2).
    pub fn holds(&self) -> bool {
        let (mut place, mut last) = (self.index, self.leaves.wrapping_sub(1));
        if self.index >= self.leaves {
            return false;
        }
        let mut hash = self.leaf;
        for beside in &self.path {
            if last == 0 {
                return false;
            }
            if place & 1 == 1 || place == last {
                hash = node(beside, &hash);
                while place & 1 == 0 && place != 0 {
                    (place, last) = (place >> 1, last >> 1);
                }
            } else {
                hash = node(&hash, beside);
            }
            (place, last) = (place >> 1, last >> 1);
        }
        last == 0 && hash == self.root
    }
}

/// The leaves of one block: those of rows, and what is kept of others.
struct Block {
    rows: BTreeMap<u64, Hash>,
    cover: Cover,
}

impl Block {
    /// The hash of a perfect subtree, when all of it is known.
    fn hash(&self, first: u64, leaves: u64) -> Option<Hash> {
        if let Some(hash) = self.cover.get(first, leaves) {
            return Some(hash);
        }
        if leaves == 1 {
            return self.rows.get(&first).copied();
        }
        Some(node(&self.hash(first, leaves / 2)?, &self.hash(first + leaves / 2, leaves / 2)?))
    }

    /// Whether every one of the first leaves is known.
    fn is_whole(&self, leaves: u64) -> bool {
        (0..leaves).all(|leaf| self.rows.contains_key(&leaf) || self.cover.has(leaf))
    }

    /// The peaks of the tree over the first leaves, which are known.
    fn peaks(&self, leaves: u64) -> Option<Vec<Hash>> {
        let mut first = 0;
        let bits = (0..=BLOCK_LEAVES.trailing_zeros()).rev().filter(|bit| leaves >> bit & 1 == 1);
        bits.map(|bit| {
            let own = self.hash(first, 1 << bit);
            first += 1 << bit;
            own
        })
        .collect()
    }
}

fn between(from: u64, to: u64) -> Filter {
    let seq = |op| Filter::Compare(Field::Column(stream::SEQ.id), op);
    Filter::And(vec![seq(Op::Gte(Literal::U64(from))), seq(Op::Lt(Literal::U64(to)))])
}

impl Engine {
    /// Computes the leaves of all audit records again and compares the roots over them with those that are kept.
    ///
    /// # Errors
    ///
    /// I/O, and catalog records that cannot be read; rows that cannot be read are left out.
    pub fn verify_audit(&self) -> Result<AuditCheck> {
        self.core.verify_audit()
    }

    /// Proves that a tenant's audit record is in the tree of the last flush, also when records beside it have
    /// expired.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no such record, or it came after the flush; I/O.
    pub fn audit_proof(&self, tenant: &TenantId, seq: u64) -> Result<AuditProof> {
        self.core.audit_proof(tenant, seq)
    }
}

impl Core {
    /// The leaves of a tenant's audit rows with a seq from `from` on and below `to`, by seq. Rows that cannot be
    /// read are left out, and those whose leaf cannot be computed.
    fn leaves_between(
        &self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        (from, to): (u64, u64),
        each: &mut dyn FnMut(u64, Hash),
    ) -> Result<()> {
        let mut request = RowRequest {
            scope: Scope::One(tenant.clone()),
            stream: Stream::Audit,
            window: TimeRange::ALL,
            filter: between(from, to),
            order: Order::Asc,
            limit: PAGE_ROWS,
            after: None,
            columns: None,
            allow_partial: true,
        };
        loop {
            let page = query::rows(snapshot, &request)?;
            for batch in &page.batches {
                let seqs = batch.column(&stream::SEQ).and_then(Column::as_u64).unwrap_or(&[]);
                if let Ok(leaves) = self.leaves(batch) {
                    seqs.iter().zip(leaves).for_each(|(seq, leaf)| each(*seq, leaf));
                    continue;
                }
                // One of them has no key: the others have.
                for (row, seq) in (0_u32..).zip(seqs) {
                    if let Some(leaf) = self.leaves(&batch.take(&[row])).ok().and_then(|l| l.first().copied())
                    {
                        each(*seq, leaf);
                    }
                }
            }
            request.after = page.next;
            if request.after.is_none() {
                return Ok(());
            }
        }
    }

    fn cover(&self, tenant: TenantNo, block: u64) -> Result<Cover> {
        let kept = self.catalog.get(CatalogKind::AuditCover, &Cover::key(tenant, block));
        kept.map_or_else(|| Ok(Cover::default()), |kept| Cover::decode(&kept))
    }

    fn block_root(&self, tenant: TenantNo, block: u64) -> Option<Hash> {
        // Keys of roots and of covers are alike.
        let root = self.catalog.get(CatalogKind::AuditRoot, &Cover::key(tenant, block))?;
        (*root).try_into().ok()
    }

    fn audit_tree(&self, tenant: TenantNo) -> Result<Frontier> {
        let key = SequenceRecord::key(tenant, Stream::Audit);
        let record = self.catalog.get(CatalogKind::Sequence, &key);
        Ok(record.map(|value| SequenceRecord::decode(&value)).transpose()?.unwrap_or_default().tree)
    }

    /// What must be kept of the audit rows of segments that go: the hashes of the subtrees that cover them, in
    /// blocks that have others.
    ///
    /// # Errors
    ///
    /// I/O, and catalog records that cannot be read. Rows that cannot be read are left out.
    pub(crate) fn cover_of(&self, going: &[Arc<LiveSegment>]) -> Result<Vec<CatalogPut>> {
        let parts: Vec<Arc<dyn Part>> = going.iter().map(|s| Arc::clone(s) as Arc<dyn Part>).collect();
        let runs = parts.iter().flat_map(|part| part.runs(Stream::Audit));
        let tenants: std::collections::BTreeSet<TenantNo> = runs.map(|run| run.tenant).collect();
        let snapshot = view::everything(self, parts);
        let mut puts = Vec::new();
        for tenant in tenants {
            // Of an erased tenant nothing is proven any more.
            let Some(name) =
                self.catalog.name_of(tenant).filter(|_| !self.catalog.policies().is_retired(tenant))
            else {
                continue;
            };
            for (block, going) in blocks_of(&snapshot, &name)? {
                let mut cover = self.cover(tenant, block)?;
                let gone = (0..BLOCK_LEAVES).filter(|leaf| cover.has(*leaf) || bit(&going, *leaf)).count();
                if gone as u64 == BLOCK_LEAVES && self.block_root(tenant, block).is_some() {
                    puts.push(CatalogPut {
                        kind: CatalogKind::AuditCover,
                        key: Cover::key(tenant, block),
                        value: None,
                    });
                    continue;
                }
                let first = block * BLOCK_LEAVES;
                let seqs = (first + 1, first + BLOCK_LEAVES + 1);
                self.leaves_between(&snapshot, &name, seqs, &mut |seq, leaf| {
                    cover.add(seq - 1 - first, leaf);
                })?;
                puts.push(cover.put(tenant, block));
            }
        }
        Ok(puts)
    }

    /// The leaves of some blocks, of rows and of what is kept.
    fn blocks(
        &self,
        tenant: (TenantNo, &TenantId),
        blocks: std::ops::Range<u64>,
    ) -> Result<BTreeMap<u64, Block>> {
        let mut out = BTreeMap::new();
        for block in blocks.clone() {
            out.insert(block, Block { rows: BTreeMap::new(), cover: self.cover(tenant.0, block)? });
        }
        let mut snapshot = self.snapshot(&Scope::One(tenant.1.clone()), Stream::Audit);
        snapshot.hidden = Arc::new(Hidden::default());
        let seqs = (blocks.start * BLOCK_LEAVES + 1, blocks.end * BLOCK_LEAVES + 1);
        self.leaves_between(&snapshot, tenant.1, seqs, &mut |seq, leaf| {
            let index = seq.saturating_sub(1);
            if let Some(block) = out.get_mut(&(index / BLOCK_LEAVES)) {
                block.rows.insert(index % BLOCK_LEAVES, leaf);
            }
        })?;
        Ok(out)
    }

    /// Computes the leaves of every tenant's audit rows again, and compares the roots over them with those that
    /// are kept. Blocks of which a row is missing are left out.
    ///
    /// # Errors
    ///
    /// I/O, and catalog records that cannot be read.
    pub(crate) fn verify_audit(&self) -> Result<AuditCheck> {
        let mut out = AuditCheck::default();
        for name in self.catalog.tenants() {
            let Some(tenant) = self.catalog.number_of(&name) else { continue };
            let tree = self.audit_tree(tenant)?;
            let full = tree.leaves() / BLOCK_LEAVES;
            let mut roots = Frontier::new();
            let mut start = 0;
            while start * BLOCK_LEAVES < tree.leaves() {
                let end = start.saturating_add(BLOCKS_MAX).min(tree.leaves().div_ceil(BLOCK_LEAVES));
                for (number, block) in self.blocks((tenant, &name), start..end)? {
                    let leaves = (tree.leaves() - number * BLOCK_LEAVES).min(BLOCK_LEAVES);
                    let kept = if number < full {
                        let root = self.block_root(tenant, number);
                        if let Some(root) = &root {
                            roots.append(root);
                        }
                        root.map(|root| vec![root])
                    } else {
                        Some(tree.peaks_below(BLOCK_LEAVES).to_vec())
                    };
                    let first = number * BLOCK_LEAVES + 1;
                    let says = |what: &str| {
                        format!("{what} of the records {first} to {} of {name}", first + leaves - 1)
                    };
                    match kept {
                        None => out.findings.push(format!("no root {}", says("is kept"))),
                        Some(kept) if block.is_whole(leaves) => {
                            out.leaves += block.rows.len() as u64;
                            if block.peaks(leaves) != Some(kept) {
                                out.findings.push(says("the root that is kept is not that"));
                            }
                        }
                        Some(_) => {}
                    }
                }
                start = end;
            }
            if roots.leaves() == full && roots.peaks() != tree.peaks_above(BLOCK_LEAVES) {
                out.findings.push(format!("the tree of {name} is not that of the roots of its blocks"));
            }
        }
        Ok(out)
    }

    /// The proof of an audit record, see [`crate::Engine::audit_proof`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn audit_proof(&self, tenant: &TenantId, seq: u64) -> Result<AuditProof> {
        let number = self.catalog.number_of(tenant);
        let number = number.ok_or_else(|| Error::invalid("a tenant that does not exist"))?;
        let tree = self.audit_tree(number)?;
        let (index, leaves) = (seq.wrapping_sub(1), tree.leaves());
        if index >= leaves {
            return Err(Error::invalid("a record that is not in the tree"));
        }
        let own = index / BLOCK_LEAVES;
        let mut blocks = self.blocks((number, tenant), own..own + 1)?;
        let last = leaves / BLOCK_LEAVES;
        if last != own && !leaves.is_multiple_of(BLOCK_LEAVES) {
            blocks.extend(self.blocks((number, tenant), last..last + 1)?);
        }
        let leaf = blocks.get(&own).and_then(|block| block.rows.get(&(index % BLOCK_LEAVES))).copied();
        let leaf = leaf.ok_or_else(|| Error::invalid("a record that is not there any more"))?;
        let missing = || Error::invalid("a record beside it is not there, and no hash stands for it");
        let of = |first: u64, leaves: u64| self.perfect(number, &blocks, first, leaves);
        let mut path = Vec::new();
        let (mut from, mut to) = (0, leaves);
        // From the root down; the path is from the leaf up.
        while to - from > 1 {
            let middle = from + split(to - from);
            let beside = if index < middle { (middle, to) } else { (from, middle) };
            path.push(range(&of, beside.0, beside.1).ok_or_else(missing)?);
            (from, to) = if index < middle { (from, middle) } else { (middle, to) };
        }
        path.reverse();
        Ok(AuditProof { leaf, index, leaves, path, root: tree.root() })
    }

    /// The hash of a perfect subtree out of the roots of blocks, rows, and what is kept of others.
    fn perfect(
        &self,
        tenant: TenantNo,
        blocks: &BTreeMap<u64, Block>,
        first: u64,
        leaves: u64,
    ) -> Option<Hash> {
        let block = first / BLOCK_LEAVES;
        match leaves {
            0..BLOCK_LEAVES => blocks.get(&block)?.hash(first % BLOCK_LEAVES, leaves),
            BLOCK_LEAVES => self.block_root(tenant, block),
            _ => {
                let roots =
                    (block..block + leaves / BLOCK_LEAVES).map(|block| self.block_root(tenant, block));
                Some(root_of(&roots.collect::<Option<Vec<_>>>()?))
            }
        }
    }
}

/// The greatest power of two below a number above 1.
fn split(leaves: u64) -> u64 {
    1 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

/// The hash of the tree over some leaves that begin where a perfect subtree of as many does.
fn range(of: &dyn Fn(u64, u64) -> Option<Hash>, from: u64, to: u64) -> Option<Hash> {
    let leaves = to - from;
    if leaves.is_power_of_two() {
        return of(from, leaves);
    }
    let middle = from + split(leaves);
    Some(node(&range(of, from, middle)?, &range(of, middle, to)?))
}

fn bit(words: &[u64; 4], leaf: u64) -> bool {
    let word = usize::try_from(leaf / 64).ok().and_then(|at| words.get(at));
    word.is_some_and(|word| word >> (leaf % 64) & 1 == 1)
}

/// By block the leaves of a tenant that the parts of a snapshot have.
fn blocks_of(snapshot: &Snapshot, tenant: &TenantId) -> Result<BTreeMap<u64, [u64; 4]>> {
    let request = ScanRequest {
        scope: Scope::One(tenant.clone()),
        stream: Stream::Audit,
        window: TimeRange::ALL,
        filter: Filter::all(),
        fields: vec![Field::Column(stream::SEQ.id)],
        allow_partial: true,
    };
    let mut out: BTreeMap<u64, [u64; 4]> = BTreeMap::new();
    query::scan(snapshot, &request, &mut |vector| {
        if let Some(ScanColumn::U64(seqs, _)) = vector.columns.first() {
            for index in seqs.iter().filter_map(|seq| seq.checked_sub(1)) {
                let words = out.entry(index / BLOCK_LEAVES).or_default();
                let leaf = index % BLOCK_LEAVES;
                if let Some(word) = usize::try_from(leaf / 64).ok().and_then(|at| words.get_mut(at)) {
                    *word |= 1 << (leaf % 64);
                }
            }
        }
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
