//! Erasures through every read path: hidden at once, in memory and in segments, also after a crash.

use super::testing::*;
use crate::append::Append;
use crate::catalog::erasure::{EraseTarget, Erased};
use crate::engine::Usage;
use crate::id::Stream;
use crate::query::{Aggregate, Field, Filter, GroupBy, KeyValue, Op, ScanColumn, ScanRequest, Scope};
use crate::schema::stream;
use crate::time::TimeRange;

const T: i64 = NOW.0 - 1_000;

fn user_of(name: &str, user: &str) -> EraseTarget {
    EraseTarget::User { tenant: tenant(name), user: user.to_owned(), credential: format!("user:{user}") }
}

/// Rows of two tenants and two users in a segment (`flushed`) or in memory.
fn filled(flushed: bool) -> Store {
    let store = Store::new();
    for of in Stream::ALL {
        store.append(batch("acme", of, &[(T, "ann"), (T + 1, "bob"), (T + 2, "ann")]));
        store.append(batch("beta", of, &[(T, "ann"), (T + 5, "eve")]));
    }
    if flushed {
        store.flush();
    }
    store
}

/// Texts that the rows of a scan over everything show in a column.
fn scanned(store: &Store, of: Stream, field: Field) -> Vec<Option<String>> {
    let request = ScanRequest {
        scope: Scope::All,
        stream: of,
        window: TimeRange::ALL,
        filter: Filter::all(),
        fields: vec![field],
        allow_partial: false,
    };
    let mut codes = Vec::new();
    let end = store.engine.scan(&request, &mut |vector| {
        let [ScanColumn::Codes(some)] = vector.columns.as_slice() else { panic!("no codes") };
        codes.extend(some.iter().copied());
        Ok(())
    });
    let names = &end.unwrap().names[0];
    let mut out: Vec<_> = codes.iter().map(|c| names.get(*c as usize).map(ToString::to_string)).collect();
    out.sort();
    out
}

#[test]
fn an_erased_tenant_is_gone_from_every_answer_at_once() {
    for flushed in [false, true] {
        let store = filled(flushed);
        let (id, _) = store.engine.erase(EraseTarget::Tenant(tenant("acme")), Append::default()).unwrap();
        check_tenant_gone(&store);
        let record = store.engine.erasure(id).unwrap();
        assert_eq!((record.erased, record.outcome), (Erased::Tenant, None));
        let store = store.reopened();
        check_tenant_gone(&store);
        store.flush();
        check_tenant_gone(&store);
        check_tenant_gone(&store.reopened());
    }
}

fn check_tenant_gone(store: &Store) {
    for of in Stream::ALL {
        assert_eq!(store.count(one("acme"), of), 0);
        assert_eq!(store.count(Scope::All, of), 2, "{of}");
        let by_tenant =
            query(Scope::All, of, Filter::all(), vec![GroupBy::Field(Field::Tenant)], vec![Aggregate::Count]);
        let groups = store.engine.aggregate(&by_tenant).unwrap().groups;
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].key, [KeyValue::Str("beta".into())]);
        assert_eq!(store.engine.usage(&tenant("acme"), of).unwrap(), Usage::default());
        assert_eq!(scanned(store, of, Field::Tenant), vec![Some("beta".to_owned()); 2]);
        if of != Stream::Metrics {
            let rows = store.rows(Scope::All, of);
            assert!(rows.iter().all(|batch| batch.tenant().as_str() == "beta"));
        }
    }
    let series = store.engine.series(&Scope::All, &Filter::all(), TimeRange::ALL, 10).unwrap();
    assert_eq!(series.len(), 1);
    assert_eq!(store.engine.tenants(), [tenant("beta")]);
    assert!(!store.engine.tenant_exists(&tenant("acme")));
}

#[test]
fn a_later_tenant_of_the_same_name_is_another_one() {
    for flushed in [false, true] {
        let store = filled(flushed);
        store.engine.erase(EraseTarget::Tenant(tenant("acme")), Append::default()).unwrap();
        let kept = store.append(batch("acme", Stream::Audit, &[(T, "ann")]));
        assert_eq!(kept.batches[0].first_seq, 1);
        let store = store.reopened();
        assert_eq!(store.count(one("acme"), Stream::Audit), 1);
        assert_eq!(store.count(one("acme"), Stream::Events), 0);
        let rows = store.rows(one("acme"), Stream::Audit);
        assert_eq!(store.engine.leaves(&rows[0]).unwrap(), kept.batches[0].leaves);
        store.flush();
        let store = store.reopened();
        assert_eq!(store.count(one("acme"), Stream::Audit), 1);
        assert_eq!(store.append(batch("acme", Stream::Audit, &[(T, "x")])).batches[0].first_seq, 2);
    }
}

#[test]
fn rows_of_an_erased_user_are_hidden_at_once() {
    for flushed in [false, true] {
        let mut store = filled(flushed);
        store.engine.erase(user_of("acme", "ann"), Append::default()).unwrap();
        for again in 0..3 {
            for of in [Stream::Events, Stream::Metrics] {
                assert_eq!(store.count(one("acme"), of), 1, "{of}");
                assert_eq!(store.users(one("acme"), of), 1);
                assert_eq!(store.count(one("beta"), of), 2);
                assert_eq!(store.engine.usage(&tenant("acme"), of).unwrap().rows, 1);
                let ann = is(&stream::USER_ID, "ann");
                assert_eq!(store.number(one("acme"), of, ann.clone(), Aggregate::Count), 0);
                assert_eq!(store.number(Scope::All, of, ann, Aggregate::Count), 1);
            }
            let users = scanned(&store, Stream::Events, Field::Column(stream::USER_ID.id));
            assert_eq!(users, ["ann", "bob", "eve"].map(|u| Some(u.to_owned())));
            store = store.reopened();
            if again == 1 {
                store.flush();
            }
        }
    }
}

#[test]
fn an_erased_audit_record_keeps_its_place_its_envelope_and_its_leaf() {
    for flushed in [false, true] {
        let mut store = Store::new();
        let kept = store.append(batch("acme", Stream::Audit, &[(T, "ann"), (T + 1, "bob"), (T + 2, "ann")]));
        let mut about = crate::schema::BatchBuilder::new(tenant("acme"), Stream::Audit);
        for (time, object_type) in [(T + 3, "auth.User"), (T + 4, "project")] {
            about
                .i64(&stream::TIME, time)
                .str(&stream::USER_ID, Some("bob"))
                .str(&stream::OBJECT_TYPE, Some(object_type))
                .str(&stream::OBJECT_ID, Some("ann"))
                .finish_row();
        }
        let about = store.append(about.build());
        let leaves: Vec<_> = kept.batches.into_iter().chain(about.batches).flat_map(|b| b.leaves).collect();
        if flushed {
            store.flush();
        }
        store.engine.erase(user_of("acme", "ann"), Append::default()).unwrap();
        let later = store.append(batch("acme", Stream::Audit, &[(T + 9, "ann")]));
        for _ in 0..2 {
            let rows = store.rows(one("acme"), Stream::Audit);
            let erased = texts(&rows, &stream::COMMITMENT).iter().map(Option::is_some).collect::<Vec<_>>();
            assert_eq!(erased, [true, false, true, true, false, false]);
            let users = texts(&rows, &stream::USER_ID);
            let shown = [None, Some("bob"), None, None, Some("bob"), Some("ann")];
            assert_eq!(users, shown.map(|u| u.map(str::to_owned)));
            assert_eq!(texts(&rows, &stream::USER_NAME)[0], None);
            assert_eq!(texts(&rows, &stream::METADATA)[2], None);
            assert_eq!(texts(&rows, &stream::ACTION_TYPE)[0].as_deref(), Some("file.read"));
            assert_eq!(texts(&rows, &stream::OBJECT_TYPE)[3].as_deref(), Some("auth.User"));
            assert_eq!(texts(&rows, &stream::OBJECT_ID)[4].as_deref(), Some("ann"));
            let found = store.engine.leaves(&rows[0]).unwrap();
            assert_eq!(found[..5], leaves[..], "the tree stands");
            assert_eq!(found[5], later.batches[0].leaves[0]);
            let of_ann = is(&stream::USER_ID, "ann");
            assert_eq!(store.number(one("acme"), Stream::Audit, of_ann, Aggregate::Count), 1);
            let named = Filter::Compare(Field::Column(stream::USER_NAME.id), Op::Exists);
            assert_eq!(store.number(one("acme"), Stream::Audit, named, Aggregate::Count), 2);
            store = store.reopened();
        }
    }
}

#[test]
fn an_erasure_that_is_asked_for_again_is_the_same_one_and_reaches_further() {
    let store = filled(true);
    let (id, _) = store.engine.erase(user_of("acme", "ann"), Append::default()).unwrap();
    let first = store.engine.erasure(id).unwrap();
    store.append(batch("acme", Stream::Events, &[(T + 9, "ann")]));
    store.append(batch("acme", Stream::Audit, &[(T + 9, "ann")]));
    assert_eq!(store.count(one("acme"), Stream::Events), 2);
    let (again, _) = store.engine.erase(user_of("acme", "ann"), Append::default()).unwrap();
    assert_eq!(again, id);
    let second = store.engine.erasure(id).unwrap();
    assert_eq!(second.requested, first.requested);
    assert!(second.bound > first.bound);
    assert_eq!(second.pending_user().unwrap().keys.len(), 2);
    assert_eq!(store.count(one("acme"), Stream::Events), 1);
    let rows = store.rows(one("acme"), Stream::Audit);
    assert_eq!(store.engine.leaves(&rows[0]).unwrap().len(), 4);
    let (other, _) = store.engine.erase(user_of("acme", "bob"), Append::default()).unwrap();
    assert_ne!(other, id);
    assert!(store.engine.erase(user_of("nobody", "bob"), Append::default()).is_err());
}

#[test]
fn what_comes_with_an_erasure_is_kept_with_it() {
    let store = filled(false);
    let own = batch("acme", Stream::Audit, &[(T + 7, "ann")]);
    let (_, appended) = store.engine.erase(user_of("acme", "ann"), Append::batch(own)).unwrap();
    assert_eq!(appended.batches[0].first_seq, 4);
    let store = store.reopened();
    let rows = store.rows(one("acme"), Stream::Audit);
    assert_eq!(texts(&rows, &stream::USER_ID)[3].as_deref(), Some("ann"));
    assert_eq!(store.engine.leaves(&rows[0]).unwrap()[3], appended.batches[0].leaves[0]);
}
