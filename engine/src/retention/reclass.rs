//! Moves rows whose tenant's retention has changed to files of their class.

use std::sync::Arc;

use super::class::Classes;
use crate::compaction::pace::Pace;
use crate::compaction::rewrite::KeepAll;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::manifest::FileKind;
use crate::part::{Part, Run};
use crate::tables::LiveSegment;

/// Whether a segment of one day has rows of another class than its own.
fn is_mixed(segment: &LiveSegment, classes: &Classes) -> bool {
    // Rows of erased tenants are left to the pass that takes them away.
    let is_elsewhere = |of: Stream, run: &Run| {
        !classes.is_retired(run.tenant) && classes.of(of, run.tenant) != segment.meta.class
    };
    let elsewhere = |of: Stream| segment.runs(of).iter().any(|run| is_elsewhere(of, run));
    segment.meta.day.is_some() && Stream::ALL.into_iter().any(elsewhere)
}

/// Writes segments anew that have rows of another class, at the pace of merges; answers how many there were.
/// One that cannot be read is named in the health and stays as it is.
///
/// # Errors
///
/// A full disk, I/O and failures that are not those of one segment.
pub(crate) fn run(core: &Core) -> Result<u64> {
    let pace = if core.is_stepped { Pace::free() } else { Pace::steady(core) };
    let rewrites = core.compactor.rewrite_all(core, &KeepAll, &pace, &mut |version, failed| {
        let classes = core.classes();
        let segments = core.tables.segments();
        let is_live = |id| version.get(id).is_some() && !failed.contains_key(&id);
        let mut live = segments.iter().filter(|segment| is_live(segment.meta.id));
        let Some(mixed) = live.find(|segment| is_mixed(segment, &classes)) else { return Ok(None) };
        // The reserve is for what is erased: a change of class waits for space.
        let (free, reserve) = (core.disk.free_bytes()?, core.config.disk_reserve_bytes);
        if free < mixed.meta.bytes.saturating_add(reserve) {
            return Err(Error::DiskFull { free, reserve });
        }
        Ok(Some(Arc::clone(&mixed.meta)))
    })?;
    *core.unmoved.lock() = rewrites
        .failed
        .iter()
        .map(|(id, error)| {
            let path = FileKind::Segment.path(*id);
            format!("{}: rows stay in a file of another retention class: {error}", path.display())
        })
        .collect();
    Ok(rewrites.report.jobs)
}

#[cfg(test)]
mod tests {
    use crate::catalog::{RetentionDocument, StreamRetention};
    use crate::compaction::Effort;
    use crate::disk::Disk;
    use crate::erasure::testing::*;
    use crate::id::Stream;
    use crate::query::Scope;
    use crate::time::DAY_US;

    #[test]
    fn a_shorter_retention_moves_rows_to_files_that_expire_by_themselves() {
        let store = Store::new();
        for back in (1..4).rev() {
            let at = NOW.0 - back * DAY_US;
            store.append(batch("acme", Stream::Events, &[(at, "ann")]));
            store.append(batch("beta", Stream::Events, &[(at, "bob")]));
            store.flush();
        }
        store.engine.compact(Effort::Full).unwrap();
        assert_eq!(store.engine.stats().segments, 3, "a file a day");
        let events = StreamRetention { raw_days: Some(2), ..StreamRetention::FOREVER };
        let short = RetentionDocument { events, ..RetentionDocument::default() };
        store.engine.set_retention(&tenant("acme"), Some(short)).unwrap();
        assert!(store.engine.step_retention().unwrap());
        assert_eq!(store.engine.stats().segments, 6, "a file a day and class");
        assert_eq!(store.count(Scope::All, Stream::Events), 5);
        assert!(store.engine.step_retention().unwrap(), "what is past goes now that it stands alone");
        assert_eq!(store.engine.stats().segments, 5);
        assert!(!store.engine.step_retention().unwrap());
        let store = store.reopened();
        assert_eq!(store.count(Scope::All, Stream::Events), 5);
        assert_eq!(store.count(one("beta"), Stream::Events), 3);
        store.engine.compact(Effort::Full).unwrap();
        assert_eq!(store.count(Scope::All, Stream::Events), 5);
        assert_eq!(store.engine.stats().segments, 5);
    }
    #[test]
    fn a_damaged_segment_is_named_and_does_not_keep_others_from_their_class() {
        let store = Store::new();
        for back in (1..4).rev() {
            let at = NOW.0 - back * DAY_US;
            store.append(batch("acme", Stream::Events, &[(at, "ann")]));
            store.append(batch("beta", Stream::Events, &[(at, "bob")]));
            store.flush();
        }
        store.engine.compact(Effort::Full).unwrap();
        let path = store.engine.core().tables.segments()[0].meta.path();
        let file = store.disk.open_write(&path).unwrap();
        let mut byte = [0];
        file.read_at(200, &mut byte).unwrap();
        file.write_at(200, &[byte[0] ^ 1]).unwrap();
        let events = StreamRetention { raw_days: Some(40), ..StreamRetention::FOREVER };
        let short = RetentionDocument { events, ..RetentionDocument::default() };
        store.engine.set_retention(&tenant("acme"), Some(short)).unwrap();
        assert!(store.engine.step_retention().unwrap());
        assert_eq!(store.engine.stats().segments, 5, "two of three days");
        let named = |f: &String| f.contains(path.to_str().unwrap()) && f.contains("class");
        assert!(store.engine.health().findings.iter().any(named));
        file.write_at(200, &byte).unwrap();
        assert!(store.engine.step_retention().unwrap());
        assert_eq!(store.engine.stats().segments, 6);
        assert!(store.engine.health().findings.is_empty(), "{:?}", store.engine.health().findings);
    }
}
