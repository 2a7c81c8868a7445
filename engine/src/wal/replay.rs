//! Gives back the frames that a crash left, and tells a torn tail from damage.
//!
//! A frame that is not intact is **damage** when an intact frame after it says that it was synced, and
//! a **torn tail** when nothing does: then it was never acknowledged, and the log ends in front of it.
//! Each frame names the one before it, so that lost frames and lost files are noticed as gaps.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::reader::FileReader;
use super::record::{
    FRAME_HEADER_BYTES, FileHeader, FrameHeader, HEADER_PAGE_BYTES, KIND_SEAL, check_version, parse_name,
};
use crate::disk::Disk;
use crate::error::Result;
use crate::id::{FileId, Lsn};

/// A frame that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// What the payload is, as given to the writer.
    pub kind: u8,
    /// The bytes that were appended.
    pub payload: &'a [u8],
}

/// Frames that were acknowledged and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalDamage {
    /// The file with the bad bytes, or the one before which a file is missing.
    pub path: PathBuf,
    /// The first bad byte.
    pub offset: u64,
    /// How many bytes are bad; 0 when they are missing.
    pub bytes: u64,
    /// The first number that is missing.
    pub lsn_from: Lsn,
    /// The last number that is missing; `None` when nothing says how far the lost file went.
    pub lsn_to: Option<Lsn>,
    /// Where the bad bytes were copied to; set when the writer opens.
    pub quarantine: Option<PathBuf>,
}

/// What is known of one file after the replay.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    pub(super) id: FileId,
    pub(super) path: PathBuf,
    /// Length of the file.
    pub(super) bytes: u64,
    /// Whether a copy of the header is intact and says this number.
    pub(super) own_header: bool,
    epoch: Option<u64>,
    /// Frames that came back from it, those that were flushed included.
    pub(super) frames: u64,
    /// Number of the last frame of the log up to here.
    pub(super) last_lsn: Lsn,
    /// End of the last frame, in front of the seal.
    pub(super) end: u64,
    /// The next file as its seal says, 0 for none.
    seal: Option<u64>,
    /// It was in use and its frames are lost: kept as evidence.
    pub(super) lost: bool,
}

/// What a replay found.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Number of the last frame that is there or known to be lost; 0 when there is none.
    pub last_lsn: Lsn,
    /// Frames that were passed on.
    pub frames: u64,
    /// Bytes of frames that were never acknowledged, and are cut.
    pub torn_tail_bytes: u64,
    /// Acknowledged frames that are lost, in the order of the log.
    pub damage: Vec<WalDamage>,
    /// All files, in order.
    pub(super) files: Vec<LogFile>,
    /// Index of the file in which the log ends.
    pub(super) tail: Option<usize>,
    /// Files with frames that are not known to be synced, and the offset of the first such frame.
    pub(super) unsynced: Vec<(usize, u64)>,
    /// Secret number of the log, if a header told it.
    pub(super) log_id: Option<u64>,
}

impl Replayed {
    /// The number that the next file gets: above every one that was ever in use.
    pub(super) fn next_file_id(&self) -> FileId {
        let used = self.files.iter().map(|file| file.id.0.max(file.seal.unwrap_or(0))).max();
        FileId(used.unwrap_or(0) + 1)
    }
}

/// Reads the log in `dir` and passes every frame above `flushed` to `each`, in order.
///
/// Changes nothing on the disk: [`super::WalWriter::open`] cuts the torn tail and sets the damaged
/// bytes aside, and must have returned before anything that was replayed is relied on. Holds a
/// megabyte or one frame in memory, whichever is more. Gaps at or below `flushed` are no damage.
///
/// # Errors
///
/// What `each` answers, [`crate::Error::NewerFormat`], [`crate::Error::OlderFormat`], and
/// [`crate::Error::Io`] when a file cannot be read.
pub fn replay(
    disk: &dyn Disk,
    dir: &Path,
    flushed: Lsn,
    each: &mut dyn FnMut(Frame<'_>) -> Result<()>,
) -> Result<Replayed> {
    let (files, log_id) = find_files(disk, dir)?;
    let mut walk = Walk {
        disk,
        flushed,
        each,
        last: Lsn(0),
        lost: Lsn(0),
        synced: Lsn(0),
        unsynced: VecDeque::new(),
        bad: Vec::new(),
        out: Replayed { files, log_id, ..Replayed::default() },
    };
    let mut index = 0;
    while index < walk.out.files.len() {
        if !walk.file(index)? {
            break;
        }
        index += 1;
    }
    walk.finish(index)?;
    Ok(walk.out)
}

/// The files of the log, in order, and its secret number.
fn find_files(disk: &dyn Disk, dir: &Path) -> Result<(Vec<LogFile>, Option<u64>)> {
    if !disk.exists(dir)? {
        return Ok((Vec::new(), None));
    }
    let mut found = Vec::new();
    let mut log_id = None;
    for entry in disk.list(dir)? {
        let Some(id) = parse_name(&entry.name, ".wal").map(FileId) else { continue };
        let path = dir.join(&entry.name);
        let mut page = vec![0; usize::try_from(entry.bytes.min(HEADER_PAGE_BYTES)).unwrap_or(0)];
        disk.open_read(&path)?.read_at(0, &mut page)?;
        check_version(&path, &page)?;
        let header = FileHeader::decode_page(&page).ok();
        log_id = header.map(|header| header.log_id).or(log_id);
        let own = header.filter(|header| header.file_id == id);
        found.push(LogFile {
            id,
            path,
            bytes: entry.bytes,
            own_header: own.is_some(),
            epoch: own.map(FileHeader::epoch),
            frames: 0,
            last_lsn: Lsn(0),
            end: HEADER_PAGE_BYTES,
            seal: None,
            lost: false,
        });
    }
    // A file whose header is gone still has its frames: any other header tells the secret.
    for file in &mut found {
        file.epoch = file.epoch.or(log_id.map(|log_id| FileHeader { file_id: file.id, log_id }.epoch()));
    }
    Ok((found, log_id))
}

/// Bytes that are not an intact frame.
#[derive(Debug, Clone, Copy)]
struct BadBytes {
    file: usize,
    offset: u64,
    bytes: u64,
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    flushed: Lsn,
    each: &'a mut dyn FnMut(Frame<'_>) -> Result<()>,
    /// Number of the last frame.
    last: Lsn,
    /// The last number that is reported as lost.
    lost: Lsn,
    /// The highest number that a frame says was synced.
    synced: Lsn,
    /// Number, file and offset of the frames above `synced`.
    unsynced: VecDeque<(Lsn, usize, u64)>,
    /// Bad bytes since the last frame.
    bad: Vec<BadBytes>,
    out: Replayed,
}

/// What follows bytes that are not an intact frame.
enum After {
    /// An intact frame at this offset of the same file.
    Here(u64),
    /// An intact frame in a later file.
    Later,
    /// Nothing that was ever acknowledged. Bytes that are recognised as torn.
    End(u64),
}

impl Walk<'_> {
    /// The last number that needs no further word: flushed to segments, replayed, or reported as lost.
    fn covered(&self) -> Lsn {
        self.last.max(self.flushed).max(self.lost)
    }

    fn open(&self, index: usize) -> Result<Option<FileReader>> {
        let Some(file) = self.out.files.get(index) else { return Ok(None) };
        FileReader::open(self.disk, &file.path, file.id, file.epoch).map(Some)
    }

    /// Replays one file; false when the log ends in it.
    fn file(&mut self, index: usize) -> Result<bool> {
        let Some(mut reader) = self.open(index)? else { return Ok(false) };
        let mut offset = HEADER_PAGE_BYTES;
        loop {
            let found = reader.frame_at(offset)?;
            let sealed = match found {
                Some((header, payload)) if header.kind == KIND_SEAL => {
                    self.chain(index, offset, header);
                    Some(payload.first_chunk().map_or(0, |next| u64::from_le_bytes(*next)))
                }
                Some((header, payload)) => {
                    self.frame(index, offset, header, payload)?;
                    offset += header.frame_bytes();
                    None
                }
                None => None,
            };
            let missing = found.is_none();
            let last_lsn = self.last.max(self.lost);
            let Some(file) = self.out.files.get_mut(index) else { return Ok(false) };
            (file.end, file.last_lsn, file.seal) = (offset, last_lsn, sealed);
            if sealed.is_some() {
                return Ok(true);
            }
            if missing {
                let rest = reader.bytes().saturating_sub(offset);
                match self.after(index, offset, &mut reader)? {
                    After::Here(next) => {
                        self.bad.push(BadBytes { file: index, offset, bytes: next - offset });
                        offset = next;
                    }
                    After::Later => {
                        self.bad.push(BadBytes { file: index, offset, bytes: rest });
                        return Ok(true);
                    }
                    After::End(torn) => {
                        self.out.torn_tail_bytes = torn;
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Takes an intact frame.
    fn frame(&mut self, index: usize, offset: u64, header: FrameHeader, payload: &[u8]) -> Result<()> {
        self.chain(index, offset, header);
        if let Some(file) = self.out.files.get_mut(index) {
            file.frames += 1;
        }
        if header.lsn <= self.last {
            // Only a file that somebody put back can repeat a number; the first one stands.
            return Ok(());
        }
        self.last = header.lsn;
        self.unsynced.push_back((header.lsn, index, offset));
        while self.unsynced.front().is_some_and(|(lsn, ..)| *lsn <= self.synced) {
            self.unsynced.pop_front();
        }
        if header.lsn > self.flushed {
            self.out.frames += 1;
            (self.each)(Frame { lsn: header.lsn, kind: header.kind, payload })?;
        }
        Ok(())
    }

    /// Compares what an intact frame says about those before it with what was found.
    fn chain(&mut self, index: usize, offset: u64, header: FrameHeader) {
        self.synced = self.synced.max(header.synced_lsn);
        let mut bad = std::mem::take(&mut self.bad);
        if header.prev_lsn <= self.covered() {
            return;
        }
        if bad.is_empty() {
            bad.push(BadBytes { file: index, offset, bytes: 0 });
        }
        let lsn_from = Lsn(self.covered().0 + 1);
        for BadBytes { file, offset, bytes } in bad {
            self.damage(file, offset, bytes, lsn_from, Some(header.prev_lsn));
        }
        self.lost = header.prev_lsn;
    }

    fn damage(&mut self, file: usize, offset: u64, bytes: u64, lsn_from: Lsn, lsn_to: Option<Lsn>) {
        let path = self.out.files.get(file).map(|file| file.path.clone()).unwrap_or_default();
        self.out.damage.push(WalDamage { path, offset, bytes, lsn_from, lsn_to, quarantine: None });
    }

    /// Looks ahead from bytes that are not an intact frame.
    fn after(&self, index: usize, offset: u64, reader: &mut FileReader) -> Result<After> {
        let covered = self.covered();
        let mut ahead = Ahead { walk: self, index, offset: offset + 1, reader: None };
        let mut resume = None;
        let mut torn_end = match reader.peek(offset)? {
            Some(header) => offset + header.frame_bytes(),
            // Shorter than any frame and in front of the end of the file: the file was cut.
            None if reader.bytes().saturating_sub(offset) < FRAME_HEADER_BYTES as u64 => reader.bytes(),
            None => offset,
        };
        while let Some((file, at, header)) = ahead.next()? {
            let here = if file == index { After::Here(at) } else { After::Later };
            let resume = resume.get_or_insert(here);
            // Nothing is missing in between, or what is missing had been synced.
            if header.prev_lsn <= covered || header.synced_lsn > covered {
                return Ok(std::mem::replace(resume, After::Later));
            }
            if file == index {
                torn_end = torn_end.max(at + header.frame_bytes());
            }
        }
        Ok(After::End(torn_end.saturating_sub(offset)))
    }

    /// Decides where the log ends, and which files are lost.
    fn finish(&mut self, stopped_at: usize) -> Result<()> {
        let lsn_from = Lsn(self.covered().0 + 1);
        self.out.last_lsn = self.last.max(self.lost);
        for (_, file, offset) in &self.unsynced {
            if self.out.unsynced.last().is_none_or(|(last, _)| last != file) {
                self.out.unsynced.push((*file, *offset));
            }
        }
        let walked = self.out.files.iter().enumerate().take(stopped_at + 1);
        self.out.tail =
            walked.filter(|(_, file)| file.own_header || file.frames > 0).map(|(i, _)| i).next_back();
        let tail = self.out.tail.and_then(|tail| self.out.files.get(tail));
        // A seal names the next file only once that one is durable.
        let named = tail.and_then(|file| file.seal).filter(|id| *id > 0);
        let tail_end = tail.map_or(0, |file| file.end);
        let mut lost = Vec::new();
        for (index, file) in self.out.files.iter().enumerate().skip(self.out.tail.map_or(0, |tail| tail + 1))
        {
            // Without any header frames cannot be told from noise, but they may be there.
            let unknown = self.out.log_id.is_none();
            if named == Some(file.id.0) || (unknown && has_bytes_after_header(self.disk, &file.path)?) {
                lost.push((index, file.bytes));
            }
        }
        for (index, bytes) in &lost {
            self.damage(*index, 0, *bytes, lsn_from, None);
            if let Some(file) = self.out.files.get_mut(*index) {
                file.lost = true;
            }
        }
        if let (Some(_), true, Some(tail)) = (named, lost.is_empty(), self.out.tail) {
            self.damage(tail, tail_end, 0, lsn_from, None);
        }
        Ok(())
    }
}

/// Whether a file was ever written to after its header page.
fn has_bytes_after_header(disk: &dyn Disk, path: &Path) -> Result<bool> {
    let mut reader = FileReader::open(disk, path, FileId(0), None)?;
    let mut offset = HEADER_PAGE_BYTES;
    while offset < reader.bytes() {
        let len = (reader.bytes() - offset).min(1 << 20);
        if reader.bytes_at(offset, len)?.unwrap_or_default().iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        offset += len;
    }
    Ok(false)
}

/// The intact frames from a place on, whatever is between them.
struct Ahead<'a, 'b> {
    walk: &'a Walk<'b>,
    index: usize,
    offset: u64,
    reader: Option<FileReader>,
}

impl Ahead<'_, '_> {
    fn next(&mut self) -> Result<Option<(usize, u64, FrameHeader)>> {
        loop {
            if self.reader.is_none() {
                self.reader = self.walk.open(self.index)?;
            }
            let Some(reader) = self.reader.as_mut() else { return Ok(None) };
            if let Some((at, header)) = reader.next_frame(self.offset)? {
                self.offset = at + header.frame_bytes();
                return Ok(Some((self.index, at, header)));
            }
            (self.reader, self.index, self.offset) = (None, self.index + 1, HEADER_PAGE_BYTES);
        }
    }
}
