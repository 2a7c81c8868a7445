//! Moves rows whose tenant's retention has changed to files of their class.

use std::sync::Arc;

use super::class::Classes;
use crate::compaction::pace::Pace;
use crate::compaction::rewrite::KeepAll;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::Stream;
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
///
/// # Errors
///
/// The first error: damage and I/O of a segment, a full disk.
pub(crate) fn run(core: &Core) -> Result<u64> {
    let pace = if core.is_stepped { Pace::free() } else { Pace::steady(core) };
    let report = core.compactor.rewrite_all(core, &KeepAll, &pace, &mut |version| {
        let classes = core.classes();
        let segments = core.tables.segments();
        let mut live = segments.iter().filter(|segment| version.get(segment.meta.id).is_some());
        let Some(mixed) = live.find(|segment| is_mixed(segment, &classes)) else { return Ok(None) };
        // The reserve is for what is erased: a change of class waits for space.
        let (free, reserve) = (core.disk.free_bytes()?, core.config.disk_reserve_bytes);
        if free < mixed.meta.bytes.saturating_add(reserve) {
            return Err(Error::DiskFull { free, reserve });
        }
        Ok(Some(Arc::clone(&mixed.meta)))
    })?;
    Ok(report.jobs)
}

#[cfg(test)]
mod tests {
    use crate::catalog::{RetentionDocument, StreamRetention};
    use crate::compaction::Effort;
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
}
