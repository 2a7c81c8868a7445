//! Erasures through every read path: hidden at once, in memory and in segments, also after a crash.

use super::ErasurePass;
use super::testing::*;
use crate::append::{Append, Idempotency, IdempotencyKey};
use crate::catalog::erasure::{EraseTarget, Erased};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::disk::sim::{CrashPolicy, SimDisk};
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
fn erasing_a_later_tenant_of_the_same_name_keeps_the_erasure_of_the_first() {
    let store = filled(true);
    let erase = || store.engine.erase(EraseTarget::Tenant(tenant("acme")), Append::default()).unwrap().0;
    let first = erase();
    store.append(batch("acme", Stream::Audit, &[(T, "cid")]));
    let second = erase();
    assert_ne!(first, second);
    let store = store.reopened();
    assert_eq!(store.count(Scope::All, Stream::Audit), store.count(one("beta"), Stream::Audit));
    assert_eq!(store.engine.run_erasures().unwrap().completed, 2);
    let store = store.reopened();
    for id in [first, second] {
        assert!(store.engine.erasure(id).unwrap().outcome.is_some());
    }
    assert_eq!(store.count(Scope::All, Stream::Audit), store.count(one("beta"), Stream::Audit));
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

/// A user whose every trace can be told from all other bytes.
const SECRET: &str = "zoe-4711";

/// A store with rows of a user to be erased, a tenant to be erased and others, in segments and in memory,
/// merged and not.
fn with_secrets() -> Store {
    let store = Store::new();
    for round in 0..3 {
        for of in Stream::ALL {
            let at = T - round * 10;
            store.append(batch("acme", of, &[(at, SECRET), (at + 1, "bob"), (at + 2, "bob")]));
            store.append(batch("beta", of, &[(at, "eve"), (at + 5, "bob")]));
            store.append(batch("gone-gmbh", of, &[(at, "mallory-0815")]));
        }
        if round < 2 {
            store.flush();
        }
    }
    let key = IdempotencyKey {
        tenant: "acme".to_owned(),
        principal: format!("user:{SECRET}"),
        route: "track".to_owned(),
        key: "k".to_owned(),
    };
    let mut named = crate::schema::BatchBuilder::new(tenant("acme"), Stream::Events);
    named
        .i64(&stream::TIME, T)
        .str(&stream::USER_ID, Some(SECRET))
        .str(&stream::ID, Some(&format!("id-of-{SECRET}")))
        .finish_row();
    let idempotency = Some(Idempotency { key, body_hash: [1; 32], rejected: Vec::new() });
    store.try_append(Append { batches: vec![named.build()], puts: Vec::new(), idempotency }).unwrap();
    store
}

/// Files that have the text, in any directory.
fn files_with(disk: &SimDisk, text: &str) -> Vec<std::path::PathBuf> {
    let has = |path: &std::path::PathBuf| {
        disk.content(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    };
    disk.paths().into_iter().filter(has).collect()
}

/// Numbers that an erasure of others does not change.
fn others(store: &Store) -> Vec<u64> {
    let mut out = Vec::new();
    for of in Stream::ALL {
        out.extend([store.count(one("beta"), of), store.users(one("beta"), of)]);
        let bob = is(&stream::USER_ID, "bob");
        out.push(store.number(one("acme"), of, bob, Aggregate::Count));
    }
    out
}

fn check_erased(store: &Store, expected: &[u64], context: &str) {
    for text in [SECRET, "mallory-0815"] {
        assert_eq!(files_with(&store.disk, text), Vec::<std::path::PathBuf>::new(), "{text}, {context}");
    }
    assert_eq!(others(store), expected, "{context}");
    assert_eq!(store.count(one("acme"), Stream::Events), 6);
    assert_eq!(store.count(one("acme"), Stream::Audit), 9);
    assert_eq!(store.count(one("gone-gmbh"), Stream::Audit), 0);
    let rows = store.rows(one("acme"), Stream::Audit);
    let kept = texts(&rows, &stream::COMMITMENT);
    assert_eq!(kept.iter().flatten().count(), 3, "{context}");
}

#[test]
fn after_a_pass_no_file_has_a_trace_and_all_else_answers_alike() {
    let store = with_secrets();
    assert!(!files_with(&store.disk, SECRET).is_empty());
    let before = others(&store);
    let rows = store.rows(one("acme"), Stream::Audit);
    let leaves = store.engine.leaves(&rows[0]).unwrap();
    let (user, _) = store.engine.erase(user_of("acme", SECRET), Append::default()).unwrap();
    let gone = EraseTarget::Tenant(tenant("gone-gmbh"));
    let (organization, _) = store.engine.erase(gone, Append::default()).unwrap();
    assert_eq!(store.engine.stats().erasures_pending, 2);
    let pass = store.engine.run_erasures().unwrap();
    assert_eq!(pass.completed, 2);
    assert_eq!(store.engine.stats().erasures_pending, 0);
    check_erased(&store, &before, "at once");
    let rows = store.rows(one("acme"), Stream::Audit);
    assert_eq!(store.engine.leaves(&rows[0]).unwrap(), leaves, "the tree stands");
    let receipt = store.engine.erasure(user).unwrap();
    assert_eq!(receipt.erased, Erased::User(None));
    let outcome = receipt.outcome.unwrap();
    assert_eq!((outcome.events, outcome.audit, outcome.metrics), (4, 3, 3));
    assert!(outcome.files > 0 && outcome.bytes > 0);
    let outcome = store.engine.erasure(organization).unwrap().outcome.unwrap();
    assert_eq!((outcome.events, outcome.audit, outcome.metrics), (3, 3, 3));
    assert_eq!(store.engine.run_erasures().unwrap(), ErasurePass::default());
    let store = store.reopened();
    check_erased(&store, &before, "after a crash");
    let rows = store.rows(one("acme"), Stream::Audit);
    assert_eq!(store.engine.leaves(&rows[0]).unwrap(), leaves);
    store.engine.compact(crate::compaction::Effort::Full).unwrap();
    check_erased(&store, &before, "after a compaction");
    assert_eq!(store.append(batch("acme", Stream::Audit, &[(T, SECRET)])).batches[0].first_seq, 10);
    assert_eq!(store.append(batch("gone-gmbh", Stream::Audit, &[(T, "x")])).batches[0].first_seq, 1);
}

#[test]
fn a_user_who_comes_back_keeps_what_came_later() {
    let store = with_secrets();
    store.engine.erase(user_of("acme", SECRET), Append::default()).unwrap();
    let later = store.append(batch("acme", Stream::Audit, &[(T + 50, SECRET)]));
    store.append(batch("acme", Stream::Events, &[(T + 50, SECRET)]));
    store.engine.run_erasures().unwrap();
    {
        let store = store.reopened();
        let of_user = is(&stream::USER_ID, SECRET);
        assert_eq!(store.number(one("acme"), Stream::Events, of_user, Aggregate::Count), 1);
        assert_eq!(store.users(one("acme"), Stream::Events), 2);
        let rows = store.rows(one("acme"), Stream::Audit);
        assert_eq!(store.engine.leaves(&rows[0]).unwrap()[9], later.batches[0].leaves[0]);
    }
}

#[test]
fn a_pass_that_is_cut_at_any_operation_is_finished_by_the_next() {
    let store = with_secrets();
    let before = others(&store);
    let (user, _) = store.engine.erase(user_of("acme", SECRET), Append::default()).unwrap();
    let gone = EraseTarget::Tenant(tenant("gone-gmbh"));
    let (organization, _) = store.engine.erase(gone, Append::default()).unwrap();
    let image = store.disk.crash(CrashPolicy::KeepAll, 0);
    let open = || {
        let disk = image.crash(CrashPolicy::KeepAll, 0);
        Store::open(disk, store.clock.clone(), store.config.clone()).unwrap()
    };
    let ops = {
        let copy = open();
        let first = copy.disk.op_count();
        copy.engine.run_erasures().unwrap();
        first..copy.disk.op_count()
    };
    for (op, policy) in ops.clone().zip(CrashPolicy::ALL.into_iter().cycle()) {
        let copy = open();
        copy.disk.crash_at(op);
        drop(copy.engine.run_erasures());
        let disk = copy.disk.crash(policy, op);
        drop(copy.engine);
        let copy = Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
        let context = format!("{op} of {ops:?}, {policy:?}");
        assert_eq!(others(&copy), before, "{context}");
        assert_eq!(copy.count(one("acme"), Stream::Events), 6, "{context}");
        copy.engine.run_erasures().unwrap();
        check_erased(&copy, &before, &context);
        assert_eq!(copy.engine.stats().erasures_pending, 0);
        for (id, rows) in [(user, (4, 3, 3)), (organization, (3, 3, 3))] {
            let receipt = copy.engine.erasure(id).unwrap().outcome.unwrap();
            assert_eq!((receipt.events, receipt.audit, receipt.metrics), rows, "{context}");
        }
    }
}

/// Changes a byte of a file.
fn flip(store: &Store, path: &std::path::Path, at: u64) {
    let file = store.disk.open_write(path).unwrap();
    let mut byte = [0];
    file.read_at(at, &mut byte).unwrap();
    file.write_at(at, &[byte[0] ^ 1]).unwrap();
}

#[test]
fn a_pass_goes_on_beside_a_file_that_cannot_be_read_and_gives_no_receipt_of_it() {
    let store = Store::new();
    for name in ["acme", "beta"] {
        store.append(batch(name, Stream::Events, &[(T, SECRET), (T + 1, "bob")]));
        store.flush();
    }
    store.append(batch("acme", Stream::Events, &[(T + 2, SECRET)]));
    store.flush();
    let path = store.engine.core().tables.segments()[0].meta.path();
    flip(&store, &path, 200);
    let (acme, _) = store.engine.erase(user_of("acme", SECRET), Append::default()).unwrap();
    let (beta, _) = store.engine.erase(user_of("beta", SECRET), Append::default()).unwrap();
    let error = store.engine.run_erasures().unwrap_err();
    assert_eq!(error.file(), Some(path.as_path()));
    assert_eq!(store.engine.erasure(acme).unwrap().outcome, None, "some of it is still there");
    assert_eq!(store.engine.erasure(beta).unwrap().outcome.unwrap().events, 1);
    let findings = store.engine.health().findings;
    assert!(findings.iter().any(|f| f.starts_with("erasure") && f.contains(path.to_str().unwrap())));
    let with = files_with(&store.disk, &format!("ip-of-{SECRET}"));
    assert_eq!(with, std::slice::from_ref(&path), "the others were written anew");
    // The file is put right: what was counted before is in the receipt too.
    flip(&store, &path, 200);
    let store = store.reopened();
    assert_eq!(store.engine.run_erasures().unwrap().completed, 1);
    assert_eq!(store.engine.erasure(acme).unwrap().outcome.unwrap().events, 2);
    assert_eq!(files_with(&store.disk, SECRET), Vec::<std::path::PathBuf>::new());
    assert!(store.engine.health().findings.is_empty());
}

#[test]
fn an_erasure_that_reaches_further_counts_what_came_since() {
    let store = Store::new();
    store.append(batch("acme", Stream::Events, &[(T, SECRET), (T + 1, "bob")]));
    store.flush();
    let path = store.engine.core().tables.segments()[0].meta.path();
    store.append(batch("acme", Stream::Events, &[(T + 2, SECRET)]));
    store.flush();
    let (id, _) = store.engine.erase(user_of("acme", SECRET), Append::default()).unwrap();
    flip(&store, &path, 200);
    store.engine.run_erasures().unwrap_err();
    flip(&store, &path, 200);
    store.append(batch("acme", Stream::Events, &[(T + 3, SECRET)]));
    store.engine.erase(user_of("acme", SECRET), Append::default()).unwrap();
    let store = store.reopened();
    store.engine.run_erasures().unwrap();
    assert_eq!(store.engine.erasure(id).unwrap().outcome.unwrap().events, 3);
}

/// A named request of the user of a tenant.
fn named(store: &Store, name: &str, user: &str, key: &str) -> crate::append::Appended {
    let key = IdempotencyKey {
        tenant: name.to_owned(),
        principal: format!("user:{user}"),
        route: "track".to_owned(),
        key: key.to_owned(),
    };
    let idempotency = Some(Idempotency { key, body_hash: [1; 32], rejected: Vec::new() });
    let batches = vec![batch(name, Stream::Events, &[(T, user)])];
    store.try_append(Append { batches, puts: Vec::new(), idempotency }).unwrap()
}

#[test]
fn answers_to_requests_after_an_erasure_stay() {
    let store = Store::new();
    for (name, user) in [("acme", SECRET), ("gone-gmbh", "mallory")] {
        named(&store, name, user, "old");
    }
    store.engine.erase(user_of("acme", SECRET), Append::default()).unwrap();
    store.engine.erase(EraseTarget::Tenant(tenant("gone-gmbh")), Append::default()).unwrap();
    let new = [("acme", SECRET), ("gone-gmbh", "mallory")].map(|(n, u)| (n, u, named(&store, n, u, "new")));
    store.flush();
    store.engine.run_erasures().unwrap();
    for (name, user, first) in new {
        let again = named(&store, name, user, "new");
        assert!(again.replayed && again.batches[0].first_seq == first.batches[0].first_seq, "{name}");
        assert!(!named(&store, name, user, "old").replayed, "{name}: the old answer is gone");
    }
}

#[test]
fn an_erasure_is_due_in_time_also_when_the_clock_is_set_back() {
    use std::time::Duration;
    let hour = Duration::from_hours(1);
    let due = |store: &Store| super::pass::is_due(store.engine.core());
    for back in [0, 1, 3, 1_000] {
        let store = filled(true);
        store.engine.erase(user_of("acme", "ann"), Append::default()).unwrap();
        assert!(!due(&store));
        store.clock.advance(hour * 2);
        assert!(!due(&store));
        let set_back = i64::from(back) * 3_600_000_000;
        store.clock.set(crate::time::TimestampUs(store.clock.now().0 - set_back));
        assert_eq!(due(&store), back > 2, "it was asked for in the future: {back} hours");
        if back > 2 {
            store.engine.run_erasures().unwrap();
            assert!(!due(&store), "once it is done, nothing is due");
            continue;
        }
        store.clock.advance(hour * 17);
        assert!(!due(&store));
        store.clock.advance(hour);
        assert!(due(&store), "after 20 hours at the latest: {back}");
    }
}
