//! What happens to questions when nobody waits for them, or they take too long.

use std::sync::mpsc;

use insights_engine::clock::{Clock, ManualClock};
use insights_engine::config::Config;
use insights_engine::disk::OsDisk;
use insights_engine::query::Filter;
use insights_engine::schema::{BatchBuilder, stream};
use insights_engine::time::TimeRange;
use tempfile::TempDir;

use super::*;
use crate::auth::{Principal, PrincipalKind, Scopes};

const LIMITS: QueryLimits = QueryLimits {
    queries_max: 1,
    deadline: Duration::from_secs(30),
    memory_bytes_max: 1 << 20,
    kept_bytes_max: 1 << 20,
};

/// A store with three chunks of events of one tenant.
fn store(clock: &Arc<ManualClock>) -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let clock: Arc<dyn Clock> = clock.clone();
    let engine = Engine::open(Config::default(), disk, clock, [7; 32]).unwrap();
    for _ in 0..3 {
        let mut rows = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Events);
        for at in 0..1_024 {
            rows.i64(&stream::TIME, at).str(&stream::EVENT_TYPE, Some("click"));
            rows.finish_row();
        }
        engine.append(Append::batch(rows.build())).unwrap();
    }
    (dir, Store::new(engine, LIMITS))
}

fn everything() -> (ReadScope, ScanRequest) {
    let scope = Principal::for_test(PrincipalKind::Superuser { user_id: None })
        .read_scope(Some("acme"), Scopes::READ)
        .unwrap();
    let request = ScanRequest { filter: Filter::all(), ..scope.scan_request(Stream::Events, TimeRange::ALL) };
    (scope, request)
}

#[tokio::test]
async fn a_question_whose_client_has_left_stops_at_its_next_granule() {
    let clock = ManualClock::new(TimestampUs(0));
    let (_dir, store) = store(&clock);
    let (seen, seen_by_test) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let asking = store.clone();
    let question = tokio::spawn(async move {
        let (scope, request) = everything();
        let work = move |asking: &Asking| {
            let mut each = |_: &ScanVector| {
                seen.send(()).ok();
                wait.recv().ok();
                Ok(())
            };
            asking.scan(&scope, request, &mut each).map(drop)
        };
        asking.ask(work).await
    });
    let seen_by_test = tokio::task::spawn_blocking(move || {
        seen_by_test.recv().unwrap();
        seen_by_test
    });
    let seen_by_test = seen_by_test.await.unwrap();
    question.abort();
    assert!(question.await.unwrap_err().is_cancelled());
    go_on.send(()).unwrap();
    drop(go_on);
    // The permit comes back, and of three chunks one alone was read.
    drop(Arc::clone(&store.queries).acquire_owned().await.unwrap());
    assert_eq!(seen_by_test.try_iter().count(), 0);
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_refused() {
    let clock = ManualClock::new(TimestampUs(0));
    let (_dir, store) = store(&clock);
    let (scope, request) = everything();
    let work = move |asking: &Asking| {
        let mut each = |_: &ScanVector| {
            clock.advance(Duration::from_secs(16));
            Ok(())
        };
        asking.scan(&scope, request, &mut each)
    };
    let answer = store.ask(work).await.unwrap();
    assert!(matches!(answer, Err(Error::QueryDeadline { limit }) if limit == LIMITS.deadline));
}
