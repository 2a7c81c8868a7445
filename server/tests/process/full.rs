//! A disk without room: writes are refused before they are accepted, reads go on, and it passes.

use serde_json::{Value, json};

use crate::http::{Answer, Request};
use crate::program::{Program, Running};

/// Bytes of text in one record, so that few batches fill what there is.
const TEXT_BYTES: usize = 2_000;

fn write(server: &Running, key: &str, number: usize) -> Answer {
    // Text that does not compress away: six random bits a letter.
    let letter = |seed: usize| {
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[mixed >> 58])
    };
    let text = |record: usize| {
        (0..TEXT_BYTES).map(|n| letter((number * 20 + record) * TEXT_BYTES + n)).collect::<String>()
    };
    let record = |record: usize| json!({"event_type": "step", "id": format!("{number}-{record}"), "event_data": {"text": text(record)}});
    let batch: Value = (0..20).map(record).collect();
    server.send(&Request::new("POST", "/api/insights/track/", key).json(&batch))
}

fn check_refusal(answer: &Answer) {
    let problem = answer.clone().expect(503);
    assert!(["read_only", "overloaded"].contains(&problem["code"].as_str().unwrap_or_default()), "{problem}");
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{problem}");
}

/// What readers ask is answered; these are all events there are.
fn check_reads(server: &Running, key: &str, events: usize) {
    let page = server.get("/api/insights/events/?limit=1", key);
    assert_eq!(page["next_cursor"].is_string(), events > 1, "{page}");
    let all =
        server.send(&Request::new("GET", "/api/insights/events/?limit=all&format=ndjson&fields=id", key));
    assert_eq!((all.status, all.text().lines().count()), (200, events));
    let window = json!({"start_date": "2020-01-01", "end_date": "2099-12-31", "group_by": "month", "metrics": ["user_activity"]});
    let report = server.post("/api/insights/analytics/", key, &window, 200);
    assert_eq!(report["metrics"]["user_activity"]["summary"]["events"], events);
    server.get("/api/insights/audit/", key);
}

#[test]
fn below_the_reserve_writes_are_refused_and_reads_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::serve(dir.path());
    let server = program.start();
    let key = server.key("acme");
    write(&server, &key, 0).expect(202);
    server.stop();
    let server = program.clone().set("INSIGHTS_DISK_RESERVE_BYTES", "1000000GiB").start();
    check_refusal(&write(&server, &key, 1));
    check_reads(&server, &key, 20);
    let ready = server.send(&Request::new("GET", "/readyz", "")).expect(503);
    assert_eq!(ready["code"], "not_ready");
    server.stop();
    let server = program.start();
    write(&server, &key, 1).expect(202);
    check_reads(&server, &key, 40);
    server.stop();
}

#[test]
fn a_limit_of_file_size_refuses_writes_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let program =
        Program::serve(dir.path()).set("INSIGHTS_WAL_BYTES", "1MiB").set("INSIGHTS_MEMTABLE_BYTES", "8MiB");
    // The files of the log fit into 300 KiB, a segment of all that is in memory does not.
    let server = program.clone().file_size_max("600").start();
    let key = server.key("acme");
    let accepted = (0..1_000).take_while(|number| {
        let answer = write(&server, &key, *number);
        if answer.status != 202 {
            check_refusal(&answer);
        }
        answer.status == 202
    });
    let accepted = accepted.count();
    assert!((1..1_000).contains(&accepted));
    check_reads(&server, &key, accepted * 20);
    server.kill();
    let server = program.start();
    check_reads(&server, &key, accepted * 20);
    write(&server, &key, 2_000).expect(202);
    check_reads(&server, &key, accepted * 20 + 20);
    server.stop();
    check_reads(&program.start(), &key, accepted * 20 + 20);
}
