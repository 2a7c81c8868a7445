//! Writes a dictionary file: first the identities, then the codes that lead to them.

use super::format::{
    IDENTITIES, PAGE_ENTRIES, Page, PageInfo, RunInfo, Runs, TYPE, codes_tag, encode_runs, key_of_rank,
};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::id::{FileId, TenantNo};
use crate::manifest::{FileKind, FileMeta};
use crate::sorted_file::{Entry, SortedWriter};

/// A dictionary file that is being written.
#[derive(Debug)]
pub(super) struct FileWriter {
    file: SortedWriter,
    last_identity: Option<(Vec<u8>, u32)>,
    runs: Runs,
    open: Option<OpenRun>,
}

/// The (tenant, kind) whose codes come in.
#[derive(Debug)]
struct OpenRun {
    tenant: TenantNo,
    tag: u8,
    /// Code and rank of each entry.
    pairs: Vec<(u32, u32)>,
}

impl FileWriter {
    /// Starts the file of number `id`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], here and in the other methods; the file is then left for the sweep.
    pub(super) fn create(disk: &dyn Disk, id: FileId) -> Result<Self> {
        let file = SortedWriter::create(disk, FileKind::Dictionary, id, TYPE, None)?;
        Ok(Self { file, last_identity: None, runs: Runs::new(), open: None })
    }

    /// Adds an identity and tells its rank. They ascend; one that is equal to the one before has its rank.
    pub(super) fn push_identity(&mut self, identity: &[u8]) -> Result<u32> {
        if let Some((last, rank)) = &self.last_identity
            && last == identity
        {
            return Ok(*rank);
        }
        let (tenant, tag) = IDENTITIES;
        let rank = self.file.push(Entry { tenant, tag, key: identity, value: 0, extra: 0 })?;
        let (last, last_rank) = self.last_identity.get_or_insert_default();
        last.clear();
        last.extend_from_slice(identity);
        *last_rank = rank;
        Ok(rank)
    }

    /// Adds a code, after all identities. They ascend by (tenant, kind, rank).
    pub(super) fn push_code(
        &mut self,
        tenant: TenantNo,
        tag: u8,
        rank: u32,
        code: u32,
        day: i64,
    ) -> Result<()> {
        if self.open.as_ref().is_none_or(|o| (o.tenant, o.tag) != (tenant, tag)) {
            self.end_run()?;
        }
        let key = key_of_rank(rank);
        let entry = Entry { tenant, tag: codes_tag(tag), key: &key, value: u64::from(code), extra: day };
        self.file.push(entry)?;
        let open = self.open.get_or_insert_with(|| OpenRun { tenant, tag, pairs: Vec::new() });
        open.pairs.push((code, rank));
        Ok(())
    }

    fn end_run(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.pairs.sort_unstable();
        let too_long = || Error::invalid("a run of a dictionary is too long");
        let entries = u32::try_from(open.pairs.len()).map_err(|_| too_long())?;
        let first_code = open.pairs.first().map_or(0, |(code, _)| *code);
        let last_code = open.pairs.last().map_or(0, |(code, _)| *code);
        let mut pages = Vec::new();
        if open.pairs.len() > PAGE_ENTRIES {
            for pairs in open.pairs.chunks(PAGE_ENTRIES) {
                let page = Page::new(pairs.to_vec());
                let place = self.file.push_blob(&page.encode())?;
                pages.push(PageInfo { first_code: page.first_code(), place });
            }
        }
        let span = (last_code - first_code).checked_add(1).ok_or_else(too_long)?;
        let run = RunInfo { first_code, span, entries, pages: pages.into() };
        self.runs.insert((open.tenant, open.tag), run);
        Ok(())
    }

    /// Ends and syncs the file, and describes it for the manifest; `None`, and no file is named, when
    /// there are no codes.
    pub(super) fn finish(mut self, disk: &dyn Disk) -> Result<Option<FileMeta>> {
        self.end_run()?;
        if self.runs.is_empty() {
            return Ok(None);
        }
        self.file.finish(disk, &encode_runs(&self.runs)).map(Some)
    }
}
