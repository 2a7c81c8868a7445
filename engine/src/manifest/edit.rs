//! One step of the manifest, and the state that all steps sum up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::file::{FileChange, FileKind, FileMeta};
use crate::error::{Error, Result};
use crate::id::{FileId, Lsn};

/// What changes in one commit. All of it becomes visible, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Files that become live. One that is live already is described anew.
    pub add: Vec<FileMeta>,
    /// Files that are live no longer.
    pub remove: Vec<FileId>,
    /// Every WAL frame up to this one is in the live files; never goes back.
    pub flushed_lsn: Option<Lsn>,
    /// No file of this number or a later one was made yet. Set by the manifest at the commit.
    pub next_file: FileId,
}

impl Edit {
    /// Takes over the files that another room adds and removes.
    pub fn absorb(&mut self, change: FileChange) {
        self.add.extend(change.add);
        self.remove.extend(change.remove);
    }
}

/// The live files at one moment. Immutable: a commit makes a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    files: BTreeMap<FileId, Arc<FileMeta>>,
    flushed_lsn: Lsn,
    next_file: FileId,
}

impl Version {
    /// Every live file, by number.
    pub fn files(&self) -> impl Iterator<Item = &Arc<FileMeta>> {
        self.files.values()
    }

    /// The live files of a kind, by number.
    pub fn files_of(&self, kind: FileKind) -> impl Iterator<Item = &Arc<FileMeta>> {
        self.files.values().filter(move |f| f.kind == kind)
    }

    /// A live file.
    pub fn get(&self, id: FileId) -> Option<&Arc<FileMeta>> {
        self.files.get(&id)
    }

    /// Every WAL frame up to this one is in the live files.
    pub fn flushed_lsn(&self) -> Lsn {
        self.flushed_lsn
    }

    /// The lowest number that no file had when this version was committed.
    pub(super) fn next_file(&self) -> FileId {
        self.next_file
    }

    /// This version and one edit.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the edit removes a file that is not live, names a file twice, or takes
    /// `flushed_lsn` back.
    pub fn apply(&self, edit: &Edit) -> Result<Self> {
        let mut next = self.clone();
        for id in &edit.remove {
            if next.files.remove(id).is_none() {
                return Err(Error::invalid(format!("an edit that removes file {id}, which is not live")));
            }
        }
        let mut seen: BTreeSet<FileId> = edit.remove.iter().copied().collect();
        for file in &edit.add {
            let twice = !seen.insert(file.id);
            let other_kind = next.files.get(&file.id).is_some_and(|f| f.kind != file.kind);
            if twice || other_kind || file.id >= edit.next_file {
                return Err(Error::invalid(format!("an edit that gives the number {} wrongly", file.id)));
            }
            next.files.insert(file.id, Arc::new(file.clone()));
        }
        if let Some(lsn) = edit.flushed_lsn {
            if lsn < self.flushed_lsn {
                return Err(Error::invalid("an edit that takes back the flushed LSN"));
            }
            next.flushed_lsn = lsn;
        }
        next.next_file = self.next_file.max(edit.next_file);
        Ok(next)
    }

    /// The one edit that makes this version out of nothing.
    pub fn to_edit(&self) -> Edit {
        Edit {
            add: self.files.values().map(|f| FileMeta::clone(f)).collect(),
            remove: Vec::new(),
            flushed_lsn: Some(self.flushed_lsn),
            next_file: self.next_file,
        }
    }
}
