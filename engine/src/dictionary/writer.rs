//! Writes a dictionary file, and gives codes to new identities.

use std::sync::Arc;

use super::format::{RANKS_PER_BLOB, RunInfo, Runs, TYPE, encode_runs};
use super::set::DictionarySet;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::id::{FileId, TenantNo};
use crate::manifest::{FileKind, FileMeta};
use crate::schema::{IdentityKind, NULL_CODE};
use crate::sorted_file::{BlockPlace, Entry, SortedWriter};

/// A dictionary file that is being written. It is made when the first new identity comes.
#[derive(Debug)]
pub struct DictionaryWriter {
    disk: Arc<dyn Disk>,
    id: FileId,
    file: Option<SortedWriter>,
    runs: Runs,
    open: Option<OpenRun>,
}

/// The (tenant, kind) whose entries come in.
#[derive(Debug)]
struct OpenRun {
    tenant: TenantNo,
    tag: u8,
    /// The code of each rank.
    codes: Vec<u32>,
    /// How many blocks were finished before the first entry.
    blocks_before: u64,
}

impl DictionaryWriter {
    /// Will write the file of number `id`, if there is anything to write.
    pub fn new(disk: Arc<dyn Disk>, id: FileId) -> Self {
        Self { disk, id, file: None, runs: Runs::new(), open: None }
    }

    /// The code of each identity of a tenant: the one it has, or the next free one.
    ///
    /// `identities` ascend, each once. Calls come in the order of (tenant, kind), one for each at most.
    /// `days` has for each identity the last day (since 1970, see [`crate::time::TimestampUs::day`])
    /// that it was used. The new codes count once the file is in the manifest and the set knows it.
    ///
    /// # Errors
    ///
    /// Damage and I/O; [`Error::Invalid`] when the order is broken, or 2^32 - 1 codes are given.
    pub fn assign(
        &mut self,
        set: &DictionarySet,
        tenant: TenantNo,
        kind: IdentityKind,
        identities: &[&[u8]],
        days: &[i32],
    ) -> Result<Vec<u32>> {
        use crate::codes::Codes;
        let mut next = None;
        let mut codes = Vec::with_capacity(identities.len());
        for (index, identity) in identities.iter().enumerate() {
            if let Some(code) = set.code_of(tenant, kind, identity)? {
                codes.push(code);
                continue;
            }
            let code = match next {
                Some(code) => code,
                None => set.count(tenant, kind)?,
            };
            if code == NULL_CODE {
                return Err(Error::invalid(format!("tenant {tenant} has no more codes")));
            }
            let extra = i64::from(days.get(index).copied().unwrap_or(0));
            self.push(Entry { tenant, tag: kind.tag(), key: identity, value: u64::from(code), extra })?;
            codes.push(code);
            next = Some(code + 1);
        }
        Ok(codes)
    }

    /// Adds an entry; they ascend by (tenant, kind, identity).
    pub(super) fn push(&mut self, entry: Entry<'_>) -> Result<()> {
        let code = u32::try_from(entry.value).map_err(|_| Error::invalid("a code that is too large"))?;
        let same = self.open.as_ref().is_some_and(|o| (o.tenant, o.tag) == (entry.tenant, entry.tag));
        if !same {
            self.end_run()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(SortedWriter::create(
                &*self.disk,
                FileKind::Dictionary,
                self.id,
                TYPE,
                None,
            )?),
        };
        let open = self.open.get_or_insert_with(|| OpenRun {
            tenant: entry.tenant,
            tag: entry.tag,
            codes: Vec::new(),
            blocks_before: file.blocks(),
        });
        file.push(entry)?;
        open.codes.push(code);
        Ok(())
    }

    fn end_run(&mut self) -> Result<()> {
        let (Some(open), Some(file)) = (self.open.take(), &mut self.file) else {
            return Ok(());
        };
        let first_code = open.codes.iter().copied().min().unwrap_or(0);
        let span = open.codes.iter().copied().max().unwrap_or(0) - first_code + 1;
        let ranks = if file.blocks() > open.blocks_before {
            write_ranks(file, &open.codes, first_code, span)?
        } else {
            Box::default()
        };
        let entries =
            u32::try_from(open.codes.len()).map_err(|_| Error::invalid("a run that is too long"))?;
        self.runs.insert((open.tenant, open.tag), RunInfo { first_code, span, entries, ranks });
        Ok(())
    }

    /// Ends and syncs the file, and describes it for the manifest; `None` when no identity was new.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Option<FileMeta>> {
        self.end_run()?;
        let Some(file) = self.file.take() else {
            return Ok(None);
        };
        file.finish(&*self.disk, &encode_runs(&self.runs)).map(Some)
    }
}

/// Writes the rank of each code.
fn write_ranks(
    file: &mut SortedWriter,
    codes: &[u32],
    first_code: u32,
    span: u32,
) -> Result<Box<[BlockPlace]>> {
    let mut ranks = vec![u32::MAX; span as usize];
    for (rank, code) in codes.iter().enumerate() {
        let rank = u32::try_from(rank).map_err(|_| Error::invalid("a run that is too long"))?;
        if let Some(slot) = ranks.get_mut((code - first_code) as usize) {
            *slot = rank;
        }
    }
    let blob = |chunk: &[u32]| chunk.iter().flat_map(|rank| rank.to_le_bytes()).collect::<Vec<u8>>();
    ranks.chunks(RANKS_PER_BLOB as usize).map(|chunk| file.push_blob(&blob(chunk))).collect()
}
