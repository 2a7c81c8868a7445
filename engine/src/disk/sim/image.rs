//! The bytes of one simulated file, shared page by page.

use std::sync::Arc;

/// Bytes that are shared or copied as one.
const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// The content of a file. A clone is one reference count; a write copies the pages it touches.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    bytes: u64,
    /// A page that was never written is not there and reads as zeroes. Pages beyond `bytes` are never
    /// there, and the last page is zero beyond `bytes`.
    pages: Arc<Vec<Option<Arc<Page>>>>,
}

/// One change of a file's content.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Bytes written at an offset.
    Write(u64, Arc<[u8]>),
    /// The file got longer, with zeroes.
    Extend(u64),
    /// The file got shorter.
    Cut(u64),
}

/// The page that holds `offset`, and the place in it.
fn split(offset: u64) -> (usize, usize) {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    (at / PAGE_BYTES, at % PAGE_BYTES)
}

impl Image {
    /// The length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Applies one change.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, bytes) => self.write(*offset, bytes),
            Change::Extend(bytes) => self.resize(self.bytes.max(*bytes)),
            Change::Cut(bytes) => self.resize(self.bytes.min(*bytes)),
        }
    }

    /// Writes bytes; a gap between the end of the file and `offset` reads as zeroes.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.resize(self.bytes.max(offset + bytes.len() as u64));
        let pages = Arc::make_mut(&mut self.pages);
        let (mut page, mut at) = split(offset);
        let mut rest = bytes;
        while let Some(slot) = pages.get_mut(page).filter(|_| !rest.is_empty()) {
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - at));
            let target = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE_BYTES])));
            if let Some(target) = target.get_mut(at..at + now.len()) {
                target.copy_from_slice(now);
            }
            (page, at, rest) = (page + 1, 0, later);
        }
    }

    /// Fills `buf` from `offset`; false when the file is too short.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> bool {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.bytes) {
            return false;
        }
        let (mut page, mut at) = split(offset);
        let mut rest = buf;
        while !rest.is_empty() {
            let len = rest.len().min(PAGE_BYTES - at);
            let (now, later) = rest.split_at_mut(len);
            match self.pages.get(page).and_then(Option::as_ref).and_then(|p| p.get(at..at + len)) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            (page, at, rest) = (page + 1, 0, later);
        }
        true
    }

    /// All bytes of the file.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(self.bytes).unwrap_or(usize::MAX)];
        self.read(0, &mut all);
        all
    }

    fn resize(&mut self, bytes: u64) {
        if bytes == self.bytes {
            return;
        }
        let (page, at) = split(bytes);
        let pages = Arc::make_mut(&mut self.pages);
        if bytes < self.bytes
            && let Some(Some(last)) = pages.get_mut(page)
            && let Some(gone) = Arc::make_mut(last).get_mut(at..)
        {
            gone.fill(0);
        }
        pages.resize(if at == 0 { page } else { page + 1 }, None);
        self.bytes = bytes;
    }
}
