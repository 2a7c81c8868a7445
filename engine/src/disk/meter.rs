//! How many bytes of segments and cells a thread has read, for the cost of an answer.
//!
//! A question is answered on one thread, so what the thread read between its beginning and its end is what
//! it read: questions that run at once beside it, on the same files, do not count.

use std::cell::Cell;

thread_local! {
    static BYTES_READ: Cell<u64> = const { Cell::new(0) };
}

/// Counts bytes that this thread reads.
pub(crate) fn count(bytes: u64) {
    BYTES_READ.with(|read| read.set(read.get().saturating_add(bytes)));
}

/// Does something without counting what it reads: for bytes whose number is not the asker's to know.
pub(crate) fn uncounted<T>(read: impl FnOnce() -> T) -> T {
    let before = bytes_read();
    let out = read();
    BYTES_READ.with(|read| read.set(before));
    out
}

/// The bytes that this thread has read so far; only the difference of two of them says something.
pub(crate) fn bytes_read() -> u64 {
    BYTES_READ.with(Cell::get)
}
