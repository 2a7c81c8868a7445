//! Which dictionary files are merged: a pure choice.

use std::ops::Range;

/// Most dictionary files that a store has after a flush, but for those that are too large to be merged
/// with what came after them.
pub const DICTIONARY_FILES_MAX: usize = 4;
/// A file is merged with the newer ones when it is at most this many times as large as they are together.
const GROWTH: u64 = 2;
/// Most bytes of files that are merged into one, which bounds the memory of a merge: about 20 million
/// identities of 13 bytes, with 4 bytes of memory each.
pub const MERGED_BYTES_MAX: u64 = 256 << 20;

/// The files to merge into one, out of the bytes of all, the oldest first; `None` when there are few.
///
/// Takes from the newest on as long as the next one is not much larger than what is taken already, so
/// an entry is written again only when its file has grown threefold: a logarithmic number of times.
pub fn plan(bytes: &[u64]) -> Option<Range<usize>> {
    // The ones that have grown up are not merged again, and not counted.
    let settled = bytes.iter().take_while(|b| **b > MERGED_BYTES_MAX / 2).count();
    if bytes.len() - settled <= DICTIONARY_FILES_MAX {
        return None;
    }
    let mut start = bytes.len().checked_sub(2)?;
    let mut sum: u64 = bytes.get(start..)?.iter().sum();
    while let Some(next) = start.checked_sub(1).and_then(|n| bytes.get(n)) {
        let merged = sum.saturating_add(*next);
        if *next > sum.saturating_mul(GROWTH) || merged > MERGED_BYTES_MAX {
            break;
        }
        sum = merged;
        start -= 1;
    }
    Some(start..bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_merged_and_a_large_old_one_is_left() {
        assert_eq!(plan(&[10; 4]), None);
        assert_eq!(plan(&[10; 5]), Some(0..5));
        assert_eq!(plan(&[1000, 10, 10, 10, 10, 10, 10, 10, 10]), Some(1..9));
        assert_eq!(plan(&[6561, 2187, 729, 243, 81, 27, 9, 3, 1]), Some(7..9));
    }

    #[test]
    fn files_that_have_grown_up_are_left_and_not_counted() {
        const LARGE: u64 = MERGED_BYTES_MAX / 2 + 1;
        assert_eq!(plan(&[LARGE; 20]), None);
        let mut bytes = vec![LARGE; 20];
        bytes.extend([10; 9]);
        assert_eq!(plan(&bytes), Some(20..29));
        assert_eq!(plan(&[MERGED_BYTES_MAX / 4; 5]), Some(1..5));
    }

    #[test]
    fn a_thousand_flushes_write_each_entry_a_few_times() {
        let mut files: Vec<u64> = Vec::new();
        let mut written = 0;
        for _ in 0..1000 {
            files.push(1);
            written += 1;
            if let Some(range) = plan(&files) {
                let merged: u64 = files.drain(range).sum();
                written += merged;
                files.push(merged);
            }
            assert!(files.len() <= DICTIONARY_FILES_MAX + 1);
        }
        assert!(written < 10 * 1000, "{written} entries were written");
    }
}
