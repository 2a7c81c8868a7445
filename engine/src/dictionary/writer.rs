//! Gives codes to new identities, and keeps them until their file is written.

use std::sync::Arc;

use super::file_writer::FileWriter;
use super::set::DictionarySet;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::id::{FileId, TenantNo};
use crate::manifest::FileMeta;
use crate::schema::{IdentityKind, NULL_CODE};

/// The new identities of a flush, which has them in memory anyway; their file is written at the end,
/// because an identity is in it once, whoever names it.
#[derive(Debug)]
pub struct DictionaryWriter {
    disk: Arc<dyn Disk>,
    id: FileId,
    new: Vec<New>,
    text: Vec<u8>,
    last: Option<(TenantNo, u8)>,
}

/// An identity that had no code.
#[derive(Debug)]
struct New {
    tenant: TenantNo,
    tag: u8,
    code: u32,
    day: i32,
    /// Where it starts and ends in the text.
    start: usize,
    end: usize,
}

impl DictionaryWriter {
    /// Will write the file of number `id`, if there is anything to write.
    pub fn new(disk: Arc<dyn Disk>, id: FileId) -> Self {
        Self { disk, id, new: Vec::new(), text: Vec::new(), last: None }
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
        if self.last.replace((tenant, kind.tag())) >= Some((tenant, kind.tag())) {
            return Err(Error::invalid("identities of a dictionary out of order"));
        }
        if !identities.is_sorted_by(|a, b| a < b) {
            return Err(Error::invalid("identities of a dictionary out of order"));
        }
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
            let day = days.get(index).copied().unwrap_or(0);
            let start = self.text.len();
            self.text.extend_from_slice(identity);
            let end = self.text.len();
            self.new.push(New { tenant, tag: kind.tag(), code, day, start, end });
            codes.push(code);
            next = Some(code + 1);
        }
        Ok(codes)
    }

    /// Writes and syncs the file, and describes it for the manifest; `None` when no identity was new.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn finish(self) -> Result<Option<FileMeta>> {
        if self.new.is_empty() {
            return Ok(None);
        }
        let key = |new: &New| self.text.get(new.start..new.end).unwrap_or(&[]);
        let mut by_key: Vec<(usize, &New)> = self.new.iter().enumerate().collect();
        by_key.sort_unstable_by_key(|(_, new)| key(new));
        let mut file = FileWriter::create(&*self.disk, self.id)?;
        let mut ranks = vec![0; self.new.len()];
        for (at, new) in by_key {
            let rank = file.push_identity(key(new))?;
            if let Some(slot) = ranks.get_mut(at) {
                *slot = rank;
            }
        }
        for (new, rank) in self.new.iter().zip(ranks) {
            file.push_code(new.tenant, new.tag, rank, new.code, i64::from(new.day))?;
        }
        file.finish(&*self.disk)
    }
}
