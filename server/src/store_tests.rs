//! What happens to questions when nobody waits for them, they take too long, or two are asked at once.

use std::sync::mpsc;

use insights_engine::clock::{Clock, ManualClock};
use insights_engine::config::Config;
use insights_engine::disk::OsDisk;
use insights_engine::query::{Aggregate, Cost, Field, Filter, Group, GroupBy};
use insights_engine::schema::{BatchBuilder, ColumnDef, stream};
use insights_engine::time::TimeRange;
use tempfile::TempDir;

use super::*;
use crate::auth::{Principal, PrincipalKind, Scopes};

const LIMITS: QueryLimits = QueryLimits {
    queries_max: 1,
    deadline: Duration::from_secs(30),
    memory_bytes_max: 1 << 20,
    kept_bytes_max: 1 << 20,
    standing_bytes_max: 1 << 20,
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

/// Events of many users in segments, and questions whose budget is `memory_bytes_max`.
fn flushed(memory_bytes_max: u64) -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let clock: Arc<dyn Clock> = ManualClock::new(TimestampUs(0));
    let engine = Engine::open(Config::default(), disk, clock, [7; 32]).unwrap();
    for thousand in 0..20 {
        let mut rows = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Events);
        for at in thousand * 1_000..(thousand + 1) * 1_000 {
            rows.i64(&stream::TIME, at)
                .str(&stream::EVENT_TYPE, Some("click"))
                .str(&stream::USER_ID, Some(&format!("user {}", at % 5_000)))
                .str(&stream::SESSION_ID, Some(&format!("session {}", at / 7)));
            rows.finish_row();
        }
        engine.append(Append::batch(rows.build())).unwrap();
    }
    engine.flush().unwrap();
    (dir, Store::new(engine, QueryLimits { memory_bytes_max, ..LIMITS }))
}

type Told = std::result::Result<(Vec<Group>, Cost), String>;

/// How many events each value of a column has.
fn counts(asking: &Asking, by: &ColumnDef) -> Told {
    let (scope, _) = everything();
    let query = Query {
        group_by: vec![GroupBy::Field(Field::Column(by.id))],
        aggregates: vec![Aggregate::Count],
        ..scope.query(Stream::Events, TimeRange::ALL)
    };
    let given = asking.numbers(&scope, query).map_err(|e| e.to_string())?;
    Ok((given.answer.groups, given.answer.cost))
}

/// Two questions about different columns, each asked in a store that has read nothing yet.
async fn two(memory_bytes_max: u64, at_once: bool) -> [Told; 2] {
    let (_dir, store) = flushed(memory_bytes_max);
    let work = move |asking: &Asking| {
        let one = || Ok::<_, ()>(counts(asking, &stream::USER_ID));
        let other = || Ok(counts(asking, &stream::SESSION_ID));
        let (one, other) = asking.both(at_once, one, other).unwrap();
        [one, other]
    };
    store.ask(work).await.unwrap()
}

#[tokio::test]
async fn two_questions_at_once_cost_and_fail_as_one_after_the_other() {
    let plenty = two(256 << 20, false).await;
    assert!(plenty.iter().flatten().all(|(groups, cost)| groups.len() > 1_000 && cost.bytes_read > 1_000));
    let mut refused = 0;
    // From what is enough for neither to what is enough for both at once, through what is enough alone.
    for memory_bytes_max in (13..22).step_by(2).map(|bits| 1 << bits) {
        let alone = two(memory_bytes_max, false).await;
        assert_eq!(two(memory_bytes_max, true).await, alone, "{memory_bytes_max}");
        refused += alone.iter().filter(|told| told.is_err()).count();
    }
    assert!((1..10).contains(&refused), "{refused}");
    assert_eq!(two(256 << 20, true).await, plenty);
}
