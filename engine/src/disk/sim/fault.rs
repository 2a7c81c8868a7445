//! Which operation of a simulated disk fails, and how.

use std::io;

/// A kind of disk operation, to aim a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// [`crate::disk::Disk::create`].
    Create,
    /// [`crate::disk::Disk::open_read`] and [`crate::disk::Disk::open_write`].
    Open,
    /// [`crate::disk::Disk::exists`], [`crate::disk::Disk::list`], [`crate::disk::DiskFile::bytes`] and
    /// [`crate::disk::Disk::free_bytes`].
    LookUp,
    /// [`crate::disk::Disk::rename`].
    Rename,
    /// [`crate::disk::Disk::remove`].
    Remove,
    /// [`crate::disk::Disk::create_dir`].
    CreateDir,
    /// [`crate::disk::Disk::sync_dir`].
    SyncDir,
    /// [`crate::disk::DiskFile::read_at`] and [`crate::disk::DiskFile::map`].
    Read,
    /// [`crate::disk::DiskFile::write_at`].
    Write,
    /// [`crate::disk::DiskFile::sync`].
    Sync,
    /// [`crate::disk::DiskFile::allocate`].
    Allocate,
    /// [`crate::disk::DiskFile::truncate`].
    Truncate,
}

impl OpKind {
    /// The word that an error uses for it.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Create | Self::CreateDir => "create",
            Self::Open => "open",
            Self::LookUp => "look up",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDir | Self::Sync => "sync",
            Self::Read => "read",
            Self::Write => "write",
            Self::Allocate => "allocate",
            Self::Truncate => "truncate",
        }
    }

    /// Whether it may change what is stored; the others only look.
    pub(super) fn changes(self) -> bool {
        match self {
            Self::Open | Self::LookUp | Self::Read => false,
            Self::Create
            | Self::Rename
            | Self::Remove
            | Self::CreateDir
            | Self::SyncDir
            | Self::Write
            | Self::Sync
            | Self::Allocate
            | Self::Truncate => true,
        }
    }
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The device failed. After a failed sync the writes it covered are lost, although reads still
    /// see them until the crash and a second sync succeeds: what Linux does.
    Eio,
    /// The file system is full.
    Enospc,
    /// The process has too many open files.
    Emfile,
    /// A write stops half way and the rest is refused; other operations fail as with [`Self::Eio`].
    ShortWrite,
}

impl FaultKind {
    /// The error of the system.
    pub(super) fn error(self) -> io::Error {
        let errno = match self {
            Self::Eio | Self::ShortWrite => rustix::io::Errno::IO,
            Self::Enospc => rustix::io::Errno::NOSPC,
            Self::Emfile => rustix::io::Errno::MFILE,
        };
        errno.into()
    }
}

/// One planned fault.
#[derive(Debug, Clone)]
struct Fault {
    /// Counts only operations of this kind, or all of them.
    only: Option<OpKind>,
    /// The operation that fails, counted from 0 since the disk began.
    index: u64,
    kind: FaultKind,
    /// Whether all later ones fail too.
    sticky: bool,
}

/// What one operation shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Work.
    Pass,
    /// Fail.
    Fail(FaultKind),
    /// Fail, with everything after it: the power is off.
    PowerOff,
}

/// Counts operations and knows which of them fail.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    /// Operations so far, with their kinds counted below.
    pub(super) ops: u64,
    /// Operations so far that may change what is stored.
    pub(super) changes: u64,
    by_kind: Vec<(OpKind, u64)>,
    faults: Vec<Fault>,
    /// The first operation of all that finds the power off.
    pub(super) power_off_at: Option<u64>,
    /// The first changing operation that finds the power off.
    pub(super) power_off_at_change: Option<u64>,
}

impl FaultPlan {
    /// Plans a fault; `only` restricts what is counted.
    pub(super) fn add(&mut self, only: Option<OpKind>, index: u64, kind: FaultKind, sticky: bool) {
        self.faults.push(Fault { only, index, kind, sticky });
    }

    /// Forgets all faults, not the counts.
    pub(super) fn clear(&mut self) {
        self.faults.clear();
        self.power_off_at = None;
        self.power_off_at_change = None;
    }

    /// How many operations of a kind there were.
    pub(super) fn count(&self, kind: OpKind) -> u64 {
        self.by_kind.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n)
    }

    /// Counts one operation and says what it shall do.
    pub(super) fn judge(&mut self, kind: OpKind) -> Verdict {
        let of_kind = self.count(kind);
        let (all, changes) = (self.ops, self.changes);
        self.ops += 1;
        self.changes += u64::from(kind.changes());
        match self.by_kind.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, n)) => *n += 1,
            None => self.by_kind.push((kind, 1)),
        }
        let reached = |at: Option<u64>, now: u64| at.is_some_and(|at| now >= at);
        if reached(self.power_off_at, all) || (kind.changes() && reached(self.power_off_at_change, changes)) {
            return Verdict::PowerOff;
        }
        let hit = self.faults.iter().find(|fault| {
            let now = match fault.only {
                None => all,
                Some(only) if only == kind => of_kind,
                Some(_) => return false,
            };
            if fault.sticky { now >= fault.index } else { now == fault.index }
        });
        hit.map_or(Verdict::Pass, |fault| Verdict::Fail(fault.kind))
    }
}
