//! The simulated disk as the engine sees it, and the switches a test holds.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::crash::{self, CrashPolicy};
use super::fault::{FaultKind, OpKind, Verdict};
use super::image::Change;
use super::state::{Inode, NameChange, SimInode, State, normal, parent};
use crate::disk::{DirEntry, DirLock, Disk, DiskFile, Mapping};
use crate::error::{Error, Result};

/// Bytes that are free on a disk without a limit.
const FREE_BYTES: u64 = 1 << 40;

/// A simulated disk; a clone is another handle on the same one.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: path.to_owned(), source }
}

fn errno(errno: rustix::io::Errno) -> io::Error {
    errno.into()
}

fn gone() -> io::Error {
    errno(rustix::io::Errno::NOENT)
}

impl State {
    /// Counts one operation and fails it if that was asked for. A short write is left to the caller.
    fn begin(&mut self, kind: OpKind, path: &Path) -> Result<Option<FaultKind>> {
        let off = || io_error(kind.action(), path, io::Error::other("the power is off"));
        if self.off {
            return Err(off());
        }
        match self.plan.judge(kind) {
            Verdict::Pass => Ok(None),
            Verdict::PowerOff => {
                self.off = true;
                Err(off())
            }
            Verdict::Fail(FaultKind::ShortWrite) if kind == OpKind::Write => Ok(Some(FaultKind::ShortWrite)),
            Verdict::Fail(fault) if kind == OpKind::Sync => Ok(Some(fault)),
            Verdict::Fail(fault) => Err(io_error(kind.action(), path, fault.error())),
        }
    }

    /// The path as a key, after counting the operation.
    fn begin_at(&mut self, kind: OpKind, path: &Path) -> Result<PathBuf> {
        self.begin(kind, path)?;
        normal(path).ok_or_else(|| Error::invalid("a path leaves the data directory"))
    }

    fn named(&mut self, path: &Path) -> Option<&mut SimInode> {
        let inode = self.names.get(&normal(path)?)?;
        self.inodes.get_mut(inode)
    }
}

/// Crashes and faults.
impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::from_state(State { dirs: BTreeSet::from([PathBuf::new()]), ..State::default() })
    }

    fn from_state(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk after a power cut at this moment; every handle on this one fails from here on.
    ///
    /// May be called again with another policy or seed, for another outcome of the same crash.
    #[must_use]
    pub fn crash(&self, policy: CrashPolicy, seed: u64) -> Self {
        let mut state = self.state.lock();
        state.off = true;
        Self::from_state(crash::after_power_cut(&state, policy, seed))
    }

    /// The disk after the process was killed: the system keeps all writes, none becomes durable by it.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state.lock();
        state.off = true;
        Self::from_state(crash::after_kill(&state))
    }

    /// Operations so far, failed ones included.
    pub fn op_count(&self) -> u64 {
        self.state.lock().plan.ops
    }

    /// Operations so far that may change what is stored.
    pub fn change_count(&self) -> u64 {
        self.state.lock().plan.changes
    }

    /// Operations of one kind so far.
    pub fn op_count_of(&self, kind: OpKind) -> u64 {
        self.state.lock().plan.count(kind)
    }

    /// Lets operation `op_index` fail (counted from 0 since the disk began), and all later ones if `sticky`.
    pub fn fail_at(&self, op_index: u64, kind: FaultKind, sticky: bool) {
        self.state.lock().plan.add(None, op_index, kind, sticky);
    }

    /// The same, counting only operations of one kind.
    pub fn fail_kind_at(&self, op: OpKind, index: u64, kind: FaultKind, sticky: bool) {
        self.state.lock().plan.add(Some(op), index, kind, sticky);
    }

    /// Turns the power off before operation `op_index`: it and all later ones fail.
    pub fn crash_at(&self, op_index: u64) {
        self.state.lock().plan.power_off_at = Some(op_index);
    }

    /// The same, counting only operations that may change what is stored; fewer points, the same states.
    pub fn crash_at_change(&self, change_index: u64) {
        self.state.lock().plan.power_off_at_change = Some(change_index);
    }

    /// Forgets all planned faults and crashes; the counts go on.
    pub fn clear_faults(&self) {
        self.state.lock().plan.clear();
    }

    /// Limits what all files together may have; more is refused as "no space left".
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }
}

/// Damage to what is stored, durable at once, as if the disk had gone bad.
impl SimDisk {
    /// The bytes of a file, if there is one.
    pub fn content(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.state.lock().named(path.as_ref()).map(|file| file.now.to_vec())
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// Flips the bits of `xor` in one byte; false when there is no such byte.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, xor: u8) -> bool {
        let mut state = self.state.lock();
        let Some(file) = state.named(path.as_ref()) else { return false };
        let mut found = false;
        for image in [&mut file.now, &mut file.synced] {
            let mut byte = [0];
            if image.read(offset, &mut byte) {
                image.write(offset, &byte.map(|b| b ^ xor));
                found = true;
            }
        }
        found
    }

    /// Cuts a file to `bytes`; false when there is no such file.
    pub fn cut(&self, path: impl AsRef<Path>, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let Some(file) = state.named(path.as_ref()) else { return false };
        for image in [&mut file.now, &mut file.synced] {
            image.apply(&Change::Cut(bytes));
        }
        true
    }

    /// Gives a file other bytes, for example older ones; creates it, and its name is durable.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(path) = normal(path.as_ref()) else { return };
        let mut file = SimInode::default();
        file.now.write(0, bytes);
        file.sync();
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, file);
        state.dirs.extend(path.ancestors().skip(1).map(Path::to_path_buf));
        state.durable.insert(path.clone(), inode);
        state.names.insert(path, inode);
    }

    /// Exchanges the names of two files; false when one is missing.
    pub fn swap(&self, a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
        let (Some(a), Some(b)) = (normal(a.as_ref()), normal(b.as_ref())) else { return false };
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let (Some(&x), Some(&y)) = (state.names.get(&a), state.names.get(&b)) else { return false };
        for names in [&mut state.names, &mut state.durable] {
            names.insert(a.clone(), y);
            names.insert(b.clone(), x);
        }
        true
    }

    /// Loses a file; false when there is none.
    pub fn lose(&self, path: impl AsRef<Path>) -> bool {
        let Some(path) = normal(path.as_ref()) else { return false };
        let mut state = self.state.lock();
        state.durable.remove(&path);
        state.names.remove(&path).is_some()
    }

    /// Makes bytes `start..end` of a file unreadable; false when there is no such file.
    pub fn make_unreadable(&self, path: impl AsRef<Path>, start: u64, end: u64) -> bool {
        let mut state = self.state.lock();
        let Some(file) = state.named(path.as_ref()) else { return false };
        file.unreadable.push((start, end));
        true
    }
}

impl SimDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let clean = state.begin_at(OpKind::Open, path)?;
        let found = state.names.get(&clean).copied();
        let inode = found.ok_or_else(|| io_error("open", path, gone()))?;
        Ok(self.handle(&mut state, inode, path))
    }

    fn handle(&self, state: &mut State, inode: Inode, path: &Path) -> Arc<dyn DiskFile> {
        if let Some(file) = state.inodes.get_mut(&inode) {
            file.handles += 1;
        }
        Arc::new(SimFile { state: self.state.clone(), inode, path: path.to_owned() })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let clean = state.begin_at(OpKind::Create, path)?;
        let refused = |e| Err(io_error("create", path, errno(e)));
        if state.names.contains_key(&clean) || state.dirs.contains(&clean) {
            return refused(rustix::io::Errno::EXIST);
        }
        if !state.dirs.contains(parent(&clean)) {
            return refused(rustix::io::Errno::NOENT);
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, SimInode::default());
        state.change_name(NameChange::Create(clean, inode));
        Ok(self.handle(&mut state, inode, path))
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let mut state = self.state.lock();
        let clean = state.begin_at(OpKind::LookUp, path)?;
        Ok(state.names.contains_key(&clean) || state.dirs.contains(&clean))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state.lock();
        let source = state.begin_at(OpKind::Rename, from)?;
        let target = normal(to).ok_or_else(|| Error::invalid("a path leaves the data directory"))?;
        let inode = *state.names.get(&source).ok_or_else(|| io_error("rename", from, gone()))?;
        if !state.dirs.contains(parent(&target)) {
            return Err(io_error("rename", to, gone()));
        }
        if source != target {
            state.change_name(NameChange::Rename(target, inode));
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state.lock();
        let source = state.begin_at(OpKind::Create, from)?;
        let target = normal(to).ok_or_else(|| Error::invalid("a path leaves the data directory"))?;
        let inode = *state.names.get(&source).ok_or_else(|| io_error("link", from, gone()))?;
        if state.names.contains_key(&target) || state.dirs.contains(&target) {
            return Err(io_error("link", to, errno(rustix::io::Errno::EXIST)));
        }
        if !state.dirs.contains(parent(&target)) {
            return Err(io_error("link", to, gone()));
        }
        state.change_name(NameChange::Create(target, inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.state.lock();
        let clean = state.begin_at(OpKind::Remove, path)?;
        let inode = *state.names.get(&clean).ok_or_else(|| io_error("remove", path, gone()))?;
        state.change_name(NameChange::Remove(clean, inode));
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let mut state = self.state.lock();
        let clean = state.begin_at(OpKind::CreateDir, path)?;
        if clean.ancestors().any(|dir| state.names.contains_key(dir)) {
            return Err(io_error("create", path, errno(rustix::io::Errno::EXIST)));
        }
        state.dirs.extend(clean.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let mut state = self.state.lock();
        let clean = state.begin_at(OpKind::LookUp, dir)?;
        if !state.dirs.contains(&clean) {
            return Err(io_error("list", dir, gone()));
        }
        let entry = |(path, inode): (&PathBuf, &Inode)| {
            let name = path.file_name()?.to_str()?.to_owned();
            let bytes = state.inodes.get(inode)?.now.bytes();
            (parent(path) == clean).then_some(DirEntry { name, bytes })
        };
        let mut found: Vec<_> = state.names.iter().filter_map(entry).collect();
        found.sort();
        Ok(found)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.state.lock();
        let clean = state.begin_at(OpKind::SyncDir, dir)?;
        if !state.dirs.contains(&clean) {
            return Err(io_error("sync", dir, gone()));
        }
        state.sync_dir(&clean);
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        let mut state = self.state.lock();
        if state.off {
            return Err(io_error("lock", Path::new("LOCK"), io::Error::other("the power is off")));
        }
        if std::mem::replace(&mut state.locked, true) {
            return Err(Error::Locked { path: PathBuf::new() });
        }
        Ok(Box::new(SimLock { state: self.state.clone() }))
    }

    fn free_bytes(&self) -> Result<u64> {
        let mut state = self.state.lock();
        state.begin(OpKind::LookUp, Path::new(""))?;
        Ok(state.capacity.map_or(FREE_BYTES, |bytes| bytes.saturating_sub(state.used_bytes())))
    }
}

/// Gives the lock of its disk back; a disk after a crash has its own.
#[derive(Debug)]
struct SimLock {
    state: Arc<Mutex<State>>,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.state.lock().locked = false;
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
struct SimFile {
    state: Arc<Mutex<State>>,
    inode: Inode,
    path: PathBuf,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(file) = self.state.lock().inodes.get_mut(&self.inode) {
            file.handles = file.handles.saturating_sub(1);
        }
    }
}

impl SimFile {
    /// Runs one operation on the file, which an open handle keeps alive.
    fn run<T>(
        &self,
        kind: OpKind,
        act: impl FnOnce(&mut SimInode, Option<FaultKind>) -> io::Result<T>,
    ) -> Result<T> {
        self.run_growing(kind, 0, act)
    }

    /// The same for an operation that makes the file at least `bytes` long.
    fn run_growing<T>(
        &self,
        kind: OpKind,
        bytes: u64,
        act: impl FnOnce(&mut SimInode, Option<FaultKind>) -> io::Result<T>,
    ) -> Result<T> {
        let refused = |source| io_error(kind.action(), &self.path, source);
        let mut state = self.state.lock();
        let fault = state.begin(kind, &self.path)?;
        if !state.has_room(self.inode, bytes) {
            return Err(refused(errno(rustix::io::Errno::NOSPC)));
        }
        let file = state.inodes.get_mut(&self.inode).ok_or_else(|| refused(gone()))?;
        act(file, fault).map_err(refused)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.run(OpKind::Read, |file, _| {
            let end = offset.saturating_add(buf.len() as u64);
            if file.unreadable.iter().any(|(bad, bad_end)| offset < *bad_end && *bad < end) {
                return Err(FaultKind::Eio.error());
            }
            if file.now.read(offset, buf) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        self.run_growing(OpKind::Write, end, |file, fault| {
            let (half, _) = bytes.split_at(bytes.len() / 2);
            let written = if fault.is_some() { half } else { bytes };
            file.change(Change::Write(offset, written.into()));
            fault.map_or(Ok(()), |fault| Err(fault.error()))
        })
    }

    fn sync(&self) -> Result<()> {
        self.run(OpKind::Sync, |file, fault| match fault {
            None => {
                file.sync();
                Ok(())
            }
            Some(fault) => {
                file.fail_sync();
                Err(fault.error())
            }
        })
    }

    fn bytes(&self) -> Result<u64> {
        self.run(OpKind::LookUp, |file, _| Ok(file.now.bytes()))
    }

    fn allocate(&self, bytes: u64) -> Result<()> {
        self.run_growing(OpKind::Allocate, bytes, |file, _| {
            file.change(Change::Extend(bytes));
            Ok(())
        })
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        self.run(OpKind::Truncate, |file, _| {
            // As the system's ftruncate, it may also extend.
            file.change(if bytes < file.now.bytes() { Change::Cut(bytes) } else { Change::Extend(bytes) });
            Ok(())
        })
    }

    fn map(&self) -> Result<Mapping> {
        self.run(OpKind::Read, |file, _| {
            if file.unreadable.is_empty() {
                Ok(Mapping::new(file.now.to_vec()))
            } else {
                Err(FaultKind::Eio.error())
            }
        })
    }
}
