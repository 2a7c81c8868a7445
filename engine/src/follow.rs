//! Rows as they become readable, for whoever shows what happens now.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::codes::Tenants;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::{Lsn, Stream, TenantId, TenantNo};
use crate::memtable::NewRows;
use crate::schema::{Column, ColumnDef, Schema};

/// Sees every row once it is readable, in the order of frames.
///
/// It is called on the thread that acknowledges appends: it must be quick, and never wait for the store. A question
/// asked after [`Follower::take`] has returned sees the rows; one whose [`crate::view::View::lsn`] is at least
/// [`Fresh::lsn`] has seen them.
pub trait Follower: fmt::Debug + Send + Sync {
    /// Whether it wants rows of anybody: asked for every frame, before all else.
    fn is_following(&self) -> bool;

    /// The columns it wants of rows of `stream` and `tenant`; `None` when it does not want the rows.
    fn wants(&self, tenant: &TenantId, stream: Stream) -> Option<&'static [&'static ColumnDef]>;

    /// Rows that have become readable.
    fn take(&self, fresh: &Fresh);
}

/// Rows of one tenant and stream that have become readable.
#[derive(Debug, Clone, PartialEq)]
pub struct Fresh {
    /// The frame that has them.
    pub lsn: Lsn,
    /// Whose they are.
    pub tenant: TenantId,
    /// Their stream.
    pub stream: Stream,
    /// How many.
    pub rows: usize,
    /// The columns that were wanted, in that order.
    pub columns: Vec<Column>,
}

impl Engine {
    /// Lets `follower` see the rows that become readable from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the engine has a follower already.
    pub fn follow(&self, follower: Arc<dyn Follower>) -> Result<()> {
        let is_first = self.core.tables.following().set(follower);
        is_first.then_some(()).ok_or_else(|| Error::invalid("an engine has one follower"))
    }
}

/// The follower of an engine, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Following(OnceLock<Arc<dyn Follower>>);

impl Following {
    /// Lets `follower` see what comes from now on; false when there is one already.
    pub(crate) fn set(&self, follower: Arc<dyn Follower>) -> bool {
        self.0.set(follower).is_ok()
    }

    /// What of a frame's rows is wanted, before they are given away to the memtable.
    pub(crate) fn pick(&self, lsn: Lsn, rows: &[NewRows], tenants: &dyn Tenants) -> Vec<Fresh> {
        let Some(follower) = self.0.get().filter(|follower| follower.is_following()) else {
            return Vec::new();
        };
        rows.iter().filter_map(|rows| fresh(follower.as_ref(), lsn, rows, tenants)).collect()
    }

    /// Hands on what was picked, after the memtable has the rows.
    pub(crate) fn tell(&self, picked: &[Fresh]) {
        if let Some(follower) = self.0.get() {
            for fresh in picked {
                follower.take(fresh);
            }
        }
    }
}

fn fresh(follower: &dyn Follower, lsn: Lsn, rows: &NewRows, tenants: &dyn Tenants) -> Option<Fresh> {
    let (stream, tenant): (Stream, TenantNo) = (rows.stream, rows.tenant);
    let tenant = tenants.name_of(tenant)?;
    let wanted = follower.wants(&tenant, stream)?;
    let schema = Schema::of(stream);
    let column = |def: &&ColumnDef| rows.columns.get(schema.index_of(def.id)?).cloned();
    let columns = wanted.iter().map(column).collect::<Option<Vec<_>>>()?;
    Some(Fresh { lsn, tenant, stream, rows: rows.len(), columns })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;

    use super::*;
    use crate::append::Append;
    use crate::clock::ManualClock;
    use crate::config::Config;
    use crate::disk::SimDisk;
    use crate::query::{Filter, ScanRequest, Scope};
    use crate::schema::{BatchBuilder, stream};
    use crate::time::{TimeRange, TimestampUs};

    /// Wants the times of events of `acme`.
    #[derive(Debug, Default)]
    struct Times {
        is_off: AtomicBool,
        seen: Mutex<Vec<Fresh>>,
    }

    impl Follower for Times {
        fn is_following(&self) -> bool {
            !self.is_off.load(Ordering::Relaxed)
        }

        fn wants(&self, tenant: &TenantId, stream: Stream) -> Option<&'static [&'static ColumnDef]> {
            (tenant.as_str() == "acme" && stream == Stream::Events)
                .then_some(&[&stream::TIME, &stream::USER_ID])
        }

        fn take(&self, fresh: &Fresh) {
            self.seen.lock().push(fresh.clone());
        }
    }

    fn events(tenant: &str, times: &[i64]) -> Append {
        let mut batch = BatchBuilder::new(TenantId::new(tenant).unwrap(), Stream::Events);
        for time in times {
            batch.i64(&stream::TIME, *time).i64(&stream::RECEIVED, *time).str(&stream::EVENT_TYPE, Some("e"));
            batch.finish_row();
        }
        Append::batch(batch.build())
    }

    #[test]
    fn a_follower_sees_what_it_wants_once_it_is_readable_and_a_view_says_up_to_where_it_sees() {
        let clock = ManualClock::new(TimestampUs(1_000));
        let engine = Engine::open(Config::default(), Arc::new(SimDisk::new()), clock, [1; 32]).unwrap();
        let times = Arc::new(Times::default());
        engine.append(events("acme", &[1])).unwrap();
        engine.follow(Arc::<Times>::clone(&times)).unwrap();
        assert!(engine.follow(Arc::<Times>::clone(&times)).is_err());
        let appended = engine.append(events("acme", &[2, 3])).unwrap();
        engine.append(events("other", &[4])).unwrap();
        let seen = times.seen.lock().clone();
        let told: Vec<_> =
            seen.iter().map(|fresh| (fresh.lsn, fresh.rows, fresh.columns[0].as_i64())).collect();
        assert_eq!(told, [(appended.lsn, 2, Some(&[2, 3][..]))]);

        let scope = Scope::One(TenantId::new("acme").unwrap());
        let view = engine.view();
        let lsn = view.lsn(&scope, Stream::Events);
        times.is_off.store(true, Ordering::Relaxed);
        assert!(engine.append(events("acme", &[5])).unwrap().lsn > lsn);
        let mut rows = 0;
        let request = ScanRequest {
            scope: scope.clone(),
            stream: Stream::Events,
            window: TimeRange::ALL,
            filter: Filter::all(),
            fields: Vec::new(),
            allow_partial: false,
        };
        view.scan(&request, &mut |vector| {
            rows += vector.rows;
            Ok(())
        })
        .unwrap();
        assert_eq!((rows, view.lsn(&scope, Stream::Events)), (3, lsn), "a view stands still");
        assert_eq!(times.seen.lock().len(), 1);
    }
}
