//! Appends frames to the log: buffered, then one write, then one sync.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{
    FileHeader, FrameHeader, HEADER_PAGE_BYTES, KIND_SEAL, Place, SEAL_BYTES, file_name, frame_bytes,
};
use super::repair::repair;
use super::replay::Replayed;
use super::spare::Spares;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::id::{FileId, Lsn};

/// Capacity of the buffer that is kept between writes.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// The limits of a log.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// Bytes of one file, rounded up to a page; a longer frame gets a file of its own.
    pub file_bytes: u64,
    /// Files that are kept for later use.
    pub spare_files_max: usize,
    /// Secret random number for a new log; a log that exists keeps its own.
    pub new_log_id: u64,
}

/// The file that frames go to.
#[derive(Debug)]
struct Active {
    header: FileHeader,
    epoch: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Bytes the file has room for.
    capacity: u64,
    /// End of what is written.
    written: u64,
}

/// A file that takes no more frames.
#[derive(Debug, Clone)]
struct Sealed {
    path: PathBuf,
    /// Number of the last frame of the log up to here.
    last_lsn: Lsn,
    /// Length of the file.
    bytes: u64,
    /// Bytes of frames in it.
    frame_bytes: u64,
}

/// A file of the log, as far as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Where it is.
    pub path: PathBuf,
    /// Its first bytes, which do not change before the file is recycled.
    pub bytes: u64,
}

/// The end of the log. After the first error it takes nothing more: see [`Error::Poisoned`].
#[derive(Debug)]
pub struct WalWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    spares: Arc<Spares>,
    active: Active,
    /// Files in front of the active one, oldest first.
    sealed: VecDeque<Sealed>,
    /// Encoded frames that are not written yet.
    buffer: Vec<u8>,
    /// Number of the last frame that was appended, written, synced.
    appended: Lsn,
    written: Lsn,
    synced: Lsn,
    state: State,
}

/// Whether the writer takes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Poisoned,
}

impl WalWriter {
    /// Opens the log after its replay: makes what was replayed durable, cuts the torn tail, sets
    /// damaged bytes aside, and starts a new file.
    ///
    /// # Errors
    ///
    /// What the disk says. The log is then as good as before, and opening it may be tried again.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &WalOptions,
        replayed: &mut Replayed,
    ) -> Result<Self> {
        disk.create_dir(dir)?;
        let file_bytes = options.file_bytes.max(2 * HEADER_PAGE_BYTES).next_multiple_of(HEADER_PAGE_BYTES);
        let next = FileHeader {
            file_id: replayed.next_file_id(),
            log_id: replayed.log_id.unwrap_or(options.new_log_id),
        };
        repair(&*disk, replayed)?;
        let spares = Arc::new(Spares::open(disk.clone(), dir, file_bytes, options.spare_files_max)?);
        let active = Active::create(&*disk, dir, next, file_bytes, file_bytes, &spares)?;
        let last = replayed.last_lsn;
        if let Some(tail) = replayed.tail.and_then(|tail| replayed.files.get_mut(tail)) {
            // The tail was cut here, so the seal makes the file longer again.
            let header = FileHeader { file_id: tail.id, log_id: next.log_id };
            let file = disk.open_write(&tail.path)?;
            let seal = encode_seal(header, tail.end, last, last, Some(next.file_id));
            file.write_at(tail.end, &seal)?;
            file.sync()?;
            tail.bytes = tail.end + SEAL_BYTES;
        }
        let sealed = replayed.files.iter().map(|file| Sealed {
            path: file.path.clone(),
            last_lsn: file.last_lsn,
            bytes: file.bytes,
            frame_bytes: file.end.saturating_sub(HEADER_PAGE_BYTES),
        });
        Ok(Self {
            dir: dir.to_owned(),
            file_bytes,
            spares,
            active,
            sealed: sealed.collect(),
            buffer: Vec::new(),
            appended: last,
            written: last,
            synced: last,
            state: State::Open,
            disk,
        })
    }

    /// Appends a frame, whose payload is `parts` one after the other, to the buffer.
    ///
    /// Does nothing on the disk unless the file is full: then what is buffered is written and synced,
    /// and the next file begins.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a payload of 4 GiB or more (the log goes on), [`Error::Poisoned`] after
    /// an earlier error, and what the disk says.
    ///
    /// # Panics
    ///
    /// If `lsn` is not above that of the frame before, or `kind` is that of a seal.
    pub fn append(&mut self, lsn: Lsn, kind: u8, parts: &[&[u8]]) -> Result<()> {
        assert!(lsn > self.appended, "frames are appended in the order of their numbers");
        assert!(kind != KIND_SEAL, "the kind of a seal is not for callers");
        let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(payload_bytes) = u32::try_from(payload_bytes) else {
            return Err(Error::invalid("a WAL frame has less than 4 GiB"));
        };
        self.guarded(|wal| {
            let needed = frame_bytes(u64::from(payload_bytes));
            if wal.end() + needed + SEAL_BYTES > wal.active.capacity {
                wal.turn(needed)?;
            }
            let header =
                FrameHeader { payload_bytes, lsn, prev_lsn: wal.appended, synced_lsn: wal.synced, kind };
            header.encode(wal.active.place(wal.end()), parts, &mut wal.buffer);
            wal.appended = lsn;
            Ok(())
        })
    }

    /// Writes what is buffered, in one call.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] after an earlier error, and what the disk says.
    pub fn write(&mut self) -> Result<()> {
        self.guarded(Self::write_buffer)
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] after an earlier error, and what the disk says. A failed sync is never
    /// tried again: the system may have dropped what it could not write, and would call that success.
    pub fn sync(&mut self) -> Result<()> {
        self.guarded(Self::sync_active)
    }

    /// Seals the active file and begins the next one; does nothing when it has no frame yet.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] after an earlier error, and what the disk says.
    pub fn rotate(&mut self) -> Result<()> {
        self.guarded(|wal| if wal.end() > HEADER_PAGE_BYTES { wal.turn(0) } else { Ok(()) })
    }

    /// Takes back the sealed files whose frames are all at or below `upto`; answers how many.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] after an earlier error of the log. An error of the disk here harms nothing:
    /// the file is tried again the next time.
    pub fn recycle(&mut self, upto: Lsn) -> Result<usize> {
        self.check_open()?;
        let mut count = 0;
        // From the oldest on, so that what is left never has a gap.
        while let Some(file) = self.sealed.front().filter(|file| file.last_lsn <= upto) {
            self.spares.give_back(&file.path, file.bytes)?;
            self.sealed.pop_front();
            count += 1;
        }
        Ok(count)
    }

    /// Writes and syncs what is buffered and says so in the file: after this, a frame that cannot be
    /// read is damage for sure.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] after an earlier error, and what the disk says.
    pub fn close(&mut self) -> Result<()> {
        self.guarded(|wal| {
            wal.write_buffer()?;
            wal.sync_active()?;
            wal.seal(None)?;
            wal.active.file.sync()
        })?;
        self.state = State::Closed;
        Ok(())
    }

    /// Bytes of frames that would be replayed now.
    pub fn live_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|file| file.frame_bytes).sum();
        sealed + self.end() - HEADER_PAGE_BYTES
    }

    /// Number of the last frame that was appended.
    pub fn appended_lsn(&self) -> Lsn {
        self.appended
    }

    /// Number of the last frame that is written.
    pub fn written_lsn(&self) -> Lsn {
        self.written
    }

    /// Number of the last frame that is durable.
    pub fn synced_lsn(&self) -> Lsn {
        self.synced
    }

    /// Whether the log was closed.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether an error has ended the log.
    pub fn is_poisoned(&self) -> bool {
        self.state == State::Poisoned
    }

    /// The pool of files, to be filled from another thread.
    pub fn spares(&self) -> Arc<Spares> {
        self.spares.clone()
    }

    /// End of what is written and buffered.
    fn end(&self) -> u64 {
        self.active.written + self.buffer.len() as u64
    }

    /// Runs one step of the writer; its first error is its last step.
    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.check_open()?;
        let done = step(self);
        if done.is_err() {
            self.state = State::Poisoned;
        }
        done
    }

    fn check_open(&self) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            State::Closed => Err(Error::Closed),
            State::Poisoned => Err(Error::Poisoned),
        }
    }

    fn write_buffer(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.active.file.write_at(self.active.written, &self.buffer)?;
        self.active.written += self.buffer.len() as u64;
        self.written = self.appended;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// The files of the log as far as they are written, oldest first, and the number of the last frame in
    /// them.
    pub fn extents(&self) -> (Vec<Extent>, Lsn) {
        let sealed = self.sealed.iter().map(|file| Extent { path: file.path.clone(), bytes: file.bytes });
        let active = Extent { path: self.active.path.clone(), bytes: self.active.written };
        (sealed.chain([active]).collect(), self.written)
    }

    fn sync_active(&mut self) -> Result<()> {
        if self.written > self.synced {
            self.active.file.sync()?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Goes on in a new file with room for a frame of `needed` bytes.
    fn turn(&mut self, needed: u64) -> Result<()> {
        self.write_buffer()?;
        let header = FileHeader {
            file_id: FileId(self.active.header.file_id.0 + 1),
            log_id: self.active.header.log_id,
        };
        let capacity = self.file_bytes.max(HEADER_PAGE_BYTES + needed + SEAL_BYTES);
        let next = Active::create(&*self.disk, &self.dir, header, capacity, self.file_bytes, &self.spares)?;
        // The seal may name the next file: its header and its name are durable. Frames may go there
        // once the seal is.
        self.seal(Some(header.file_id))?;
        self.active.file.sync()?;
        self.synced = self.written;
        let before = std::mem::replace(&mut self.active, next);
        self.sealed.push_back(Sealed {
            last_lsn: self.appended,
            bytes: before.capacity.max(before.written + SEAL_BYTES),
            frame_bytes: before.written - HEADER_PAGE_BYTES,
            path: before.path,
        });
        Ok(())
    }

    fn seal(&mut self, next: Option<FileId>) -> Result<()> {
        let seal = encode_seal(self.active.header, self.active.written, self.appended, self.synced, next);
        self.active.file.write_at(self.active.written, &seal)
    }
}

fn encode_seal(header: FileHeader, offset: u64, last: Lsn, synced: Lsn, next: Option<FileId>) -> Vec<u8> {
    let place = Place { file_id: header.file_id, epoch: header.epoch(), offset };
    let frame =
        FrameHeader { payload_bytes: 8, lsn: last, prev_lsn: last, synced_lsn: synced, kind: KIND_SEAL };
    let mut out = Vec::new();
    frame.encode(place, &[&next.unwrap_or_default().0.to_le_bytes()], &mut out);
    out
}

impl Active {
    /// Makes a file ready for frames: its header and its name are durable when this returns.
    fn create(
        disk: &dyn Disk,
        dir: &Path,
        header: FileHeader,
        capacity: u64,
        file_bytes: u64,
        spares: &Spares,
    ) -> Result<Self> {
        let path = dir.join(file_name(header.file_id));
        let spare = if capacity == file_bytes { spares.take(&path)? } else { None };
        let file = if let Some(file) = spare {
            file
        } else {
            let file = disk.create(&path)?;
            // A file for one long frame is written once: zeroes would double that.
            if capacity == file_bytes {
                file.allocate(capacity)?;
            }
            file
        };
        file.write_at(0, &header.encode_page())?;
        file.sync()?;
        disk.sync_dir(dir)?;
        Ok(Self { epoch: header.epoch(), header, path, file, capacity, written: HEADER_PAGE_BYTES })
    }

    fn place(&self, offset: u64) -> Place {
        Place { file_id: self.header.file_id, epoch: self.epoch, offset }
    }
}
