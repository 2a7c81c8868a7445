//! What a simulated disk holds: files, names, and which of both are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::fault::FaultPlan;
use super::image::{Change, Image};

/// Number of a file, whatever its name.
pub(super) type Inode = u64;

/// One file.
#[derive(Debug, Clone, Default)]
pub(super) struct SimInode {
    /// What a read sees.
    pub(super) now: Image,
    /// What a power cut leaves for sure.
    pub(super) synced: Image,
    /// The changes since, in order.
    pub(super) pending: Vec<Change>,
    /// A sync failed: `now` holds changes that no later sync will write.
    pub(super) lost_changes: bool,
    /// Open handles, which keep a file without a name.
    pub(super) handles: u32,
    /// Byte ranges that cannot be read.
    pub(super) unreadable: Vec<(u64, u64)>,
}

impl SimInode {
    /// Makes one change that is not durable yet.
    pub(super) fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.pending.push(change);
    }

    /// Makes all changes durable.
    pub(super) fn sync(&mut self) {
        if self.lost_changes {
            for change in self.pending.drain(..) {
                self.synced.apply(&change);
            }
        } else {
            self.synced = self.now.clone();
            self.pending.clear();
        }
    }

    /// A sync that failed: the system takes its pages for clean from here on.
    pub(super) fn fail_sync(&mut self) {
        self.lost_changes |= !self.pending.is_empty();
        self.pending.clear();
    }
}

/// One change of a name that is not durable.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    /// A file got its first name, or one more.
    Create(PathBuf, Inode),
    /// A file got another name, replacing what had it; it keeps no other.
    Rename(PathBuf, Inode),
    /// A file lost its name.
    Remove(PathBuf, Inode),
}

impl NameChange {
    /// The directory whose sync makes it durable.
    fn dir(&self) -> &Path {
        match self {
            Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path, _) => parent(path),
        }
    }

    /// Applies it to names in which changes before it may be missing.
    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(to, inode) => {
                names.retain(|_, other| other != inode);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(path, inode) => {
                if names.get(path) == Some(inode) {
                    names.remove(path);
                }
            }
        }
    }
}

/// The directory of a file; the data directory itself is empty.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// A path without `.`; `None` when it leaves the data directory.
pub(super) fn normal(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Everything behind the handles of one simulated disk.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The names a running process sees.
    pub(super) names: BTreeMap<PathBuf, Inode>,
    /// The names a power cut leaves for sure.
    pub(super) durable: BTreeMap<PathBuf, Inode>,
    /// The changes since, in order.
    pub(super) pending: Vec<NameChange>,
    pub(super) inodes: BTreeMap<Inode, SimInode>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) next_inode: Inode,
    pub(super) plan: FaultPlan,
    /// The power went or the process was killed: no handle works any more.
    pub(super) off: bool,
    pub(super) locked: bool,
    /// Bytes that all files together may have.
    pub(super) capacity: Option<u64>,
}

impl State {
    /// Makes one change of a name that is not durable yet.
    pub(super) fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let (done, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| change.dir() == dir);
        self.pending = left;
        for change in done {
            change.apply(&mut self.durable);
        }
        self.drop_unreachable();
    }

    /// Bytes of all files with a name.
    pub(super) fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|file| file.now.bytes()).sum()
    }

    /// Whether the file may grow to `bytes`.
    pub(super) fn has_room(&self, inode: Inode, bytes: u64) -> bool {
        let Some(capacity) = self.capacity else { return true };
        let now = self.inodes.get(&inode).map_or(0, |file| file.now.bytes());
        bytes <= now || self.used_bytes().saturating_add(bytes - now) <= capacity
    }

    /// Forgets files that no name, no handle and no crash can bring back.
    pub(super) fn drop_unreachable(&mut self) {
        let mut kept: BTreeSet<Inode> = self.names.values().chain(self.durable.values()).copied().collect();
        kept.extend(self.pending.iter().map(|change| match change {
            NameChange::Create(_, inode) | NameChange::Rename(_, inode) | NameChange::Remove(_, inode) => {
                *inode
            }
        }));
        self.inodes.retain(|inode, file| file.handles > 0 || kept.contains(inode));
    }
}
