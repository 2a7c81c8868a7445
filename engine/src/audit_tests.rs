//! Proofs and roots over audit records of which some have expired.

use super::*;
use crate::append::CatalogKind;
use crate::catalog::erasure::EraseTarget;
use crate::catalog::{RetentionDocument, StreamRetention};
use crate::compaction::Effort;
use crate::erasure::testing::*;
use crate::time::DAY_US;

/// Records of the tenant: 300 of four days back, then in turn of three days back and of now.
fn filled() -> Store {
    let store = Store::new();
    for first in (0..600_i64).step_by(50) {
        let back = |n: i64| if n < 300 { 4 } else { (n % 3).min(1) * 3 };
        let rows: Vec<(i64, &str)> = (first..first + 50)
            .map(|n| (NOW.0 - back(n) * DAY_US + n, if n % 7 == 0 { "ann" } else { "bob" }))
            .collect();
        store.append(batch("acme", Stream::Audit, &rows));
        store.append(batch("beta", Stream::Audit, &rows[..3]));
    }
    store.flush();
    store.engine.compact(Effort::Full).unwrap();
    store
}

fn expire(store: &Store, days: u32) {
    let audit = StreamRetention { raw_days: Some(days), ..StreamRetention::FOREVER };
    for name in ["acme", "beta"] {
        let document = RetentionDocument { audit, ..RetentionDocument::default() };
        store.engine.set_retention(&tenant(name), Some(document)).unwrap();
    }
    assert!(store.engine.enforce_retention(false).unwrap().rows() > 0);
}

fn check_proofs(store: &Store, name: &str, root: Hash, context: &str) -> usize {
    let mut proven = 0;
    for batch in store.rows(one(name), Stream::Audit) {
        for seq in batch.column(&stream::SEQ).and_then(Column::as_u64).unwrap() {
            let proof = store.engine.audit_proof(&tenant(name), *seq).unwrap();
            assert!(proof.holds() && proof.root == root, "{name} {seq} {context}");
            let mut other = AuditProof { leaf: [1; 32], ..proof.clone() };
            assert!(!other.holds());
            other = AuditProof { index: proof.index ^ 1, ..proof };
            assert!(!other.holds());
            proven += 1;
        }
    }
    proven
}

#[test]
fn records_are_proven_also_when_those_beside_them_have_expired() {
    let store = filled();
    let root = store.engine.audit_proof(&tenant("acme"), 1).unwrap().root;
    let beta = store.engine.audit_proof(&tenant("beta"), 1).unwrap().root;
    assert_eq!(check_proofs(&store, "acme", root, "before"), 600);
    assert_eq!(store.engine.verify_audit().unwrap(), AuditCheck { leaves: 636, findings: vec![] });
    expire(&store, 3);
    assert_eq!(check_proofs(&store, "acme", root, "half of it"), 300);
    assert!(store.engine.audit_proof(&tenant("acme"), 1).is_err());
    expire(&store, 2);
    assert_eq!(check_proofs(&store, "acme", root, "more"), 100);
    assert_eq!(check_proofs(&store, "beta", beta, "more"), 6);
    let covers = store.engine.catalog_scan(CatalogKind::AuditCover, &[]);
    assert_eq!(covers.len(), 3, "none of the block whose leaves are all gone");
    let store = store.reopened();
    assert_eq!(check_proofs(&store, "acme", root, "opened again"), 100);
    assert_eq!(store.engine.verify_audit().unwrap(), AuditCheck { leaves: 106, findings: vec![] });
    let user =
        EraseTarget::User { tenant: tenant("acme"), user: "ann".to_owned(), credential: String::new() };
    store.engine.erase(user, crate::append::Append::default()).unwrap();
    assert_eq!(check_proofs(&store, "acme", root, "hidden"), 100);
    store.engine.run_erasures().unwrap();
    assert_eq!(check_proofs(&store, "acme", root, "erased"), 100);
    store.append(batch("acme", Stream::Audit, &[(NOW.0, "eve")]));
    store.flush();
    let root = store.engine.audit_proof(&tenant("acme"), 601).unwrap().root;
    assert_eq!(check_proofs(&store, "acme", root, "the tree has grown"), 101);
    store.engine.erase(EraseTarget::Tenant(tenant("acme")), crate::append::Append::default()).unwrap();
    store.engine.run_erasures().unwrap();
    assert_eq!(store.engine.catalog_scan(CatalogKind::AuditCover, &[]).len(), 1, "beta's");
}

#[test]
fn a_crash_while_audit_rows_go_leaves_every_record_proven() {
    use crate::disk::sim::CrashPolicy;
    let store = filled();
    let root = store.engine.audit_proof(&tenant("acme"), 1).unwrap().root;
    let audit = StreamRetention { raw_days: Some(2), ..StreamRetention::FOREVER };
    for name in ["acme", "beta"] {
        let document = RetentionDocument { audit, ..RetentionDocument::default() };
        store.engine.set_retention(&tenant(name), Some(document)).unwrap();
    }
    let image = store.disk.crash(CrashPolicy::KeepAll, 0);
    let open = |disk| Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
    let whole = open(image.crash(CrashPolicy::KeepAll, 0));
    let ops = {
        let first = whole.disk.op_count();
        whole.engine.enforce_retention(false).unwrap();
        first..whole.disk.op_count()
    };
    for (op, policy) in ops.zip(CrashPolicy::ALL.into_iter().cycle()) {
        let copy = open(image.crash(CrashPolicy::KeepAll, 0));
        copy.disk.crash_at(op);
        drop(copy.engine.enforce_retention(false));
        let disk = copy.disk.crash(policy, op);
        drop(copy.engine);
        let copy = open(disk);
        assert_eq!(check_proofs(&copy, "acme", root, &format!("{op} {policy:?}")), 100);
        copy.engine.enforce_retention(false).unwrap();
        assert_eq!(check_proofs(&copy, "acme", root, &format!("{op} {policy:?} and again")), 100);
    }
}
