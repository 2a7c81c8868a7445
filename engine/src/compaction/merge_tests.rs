//! Merges through the engine's door: the rows before are the rows after, whatever is merged, asked or dropped.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "the numbers of these tests are small"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::compactor::Effort;
use super::pace::Pace;
use super::plan::{Job, JobKind};
use super::rewrite::{Fate, RowRewrite};
use super::run::run;
use crate::append::Append;
use crate::clock::ManualClock;
use crate::codes::Tenants;
use crate::config::{CompactionLimits, Config};
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::{CrashPolicy, FaultKind, OpKind, SimDisk};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId, TenantNo};
use crate::manifest::FileKind;
use crate::part::Part;
use crate::recover;
use crate::schema::{BatchBuilder, ColumnVector, Document, Schema, Value, stream};
use crate::segment::{GRANULE_ROWS, SegmentColumn};
use crate::time::{DAY_US, TimestampUs};

/// Noon of a day.
const NOW: TimestampUs = TimestampUs(20_000 * DAY_US + DAY_US / 2);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn open(disk: &SimDisk) -> Core {
    let config = Config {
        // Every start reads a log file to its end.
        wal_file_bytes: 256 << 10,
        disk_reserve_bytes: 0,
        compaction: CompactionLimits { day_quiet: Duration::ZERO, ..CompactionLimits::default() },
        ..Config::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    recover::open(config, disk, ManualClock::new(NOW), [1; 32], true).unwrap()
}

/// Appends rows of one tenant at `times`, one of them without an application and one without labels.
fn append(core: &Core, tenant: &str, of: Stream, times: &[i64], random: &mut Random) {
    let mut rows = BatchBuilder::new(TenantId::new(tenant).unwrap(), of);
    for time in times {
        let n = random.below(1_000);
        let document = Document::encode(&Value::Object(vec![
            ("page".to_owned(), Value::Str(format!("/p{}", n % 7))),
            ("load".to_owned(), Value::F64(n as f64 / 3.0)),
        ]));
        rows.i64(&stream::TIME, *time)
            .str(&stream::TRACE_ID, (!n.is_multiple_of(3)).then(|| format!("t{n}")).as_deref())
            .str(&stream::APP_ID, (!n.is_multiple_of(5)).then_some(["web", "app"][(n % 2) as usize]));
        match of {
            Stream::Events => {
                rows.str(&stream::EVENT_TYPE, Some("click"))
                    .bytes(&stream::EVENT_DATA, Some(document.as_bytes()));
            }
            Stream::Audit => {
                rows.str(&stream::ACTION_TYPE, Some("user.login")).u64(&stream::SEVERITY, n % 5);
            }
            Stream::Metrics => {
                rows.str(&stream::NAME, Some(["cpu", "mem"][(n % 2) as usize]))
                    .str(&stream::HOST, (!n.is_multiple_of(4)).then_some(["h1", "h2"][(n % 2) as usize]))
                    .bytes(&stream::LABELS, Some(document.as_bytes()).filter(|_| !n.is_multiple_of(6)))
                    .f64(&stream::VALUE, n as f64);
            }
        }
        rows.finish_row();
    }
    core.submit(Append::batch(rows.build()), Box::new(|result| drop(result.unwrap())));
    core.drain_log().unwrap();
}

/// Flushes of some tenants' rows over three days.
fn fill(core: &Core, flushes: usize, rows: u64, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..flushes {
        for of in Stream::ALL {
            for tenant in ["acme", "bolt", "cato"] {
                let count = 1 + random.below(rows);
                let times: Vec<i64> = (0..count)
                    .map(|_| {
                        NOW.0 - random.below(3).cast_signed() * DAY_US + random.below(1_000).cast_signed()
                    })
                    .collect();
                append(core, tenant, of, &times, &mut random);
            }
        }
        core.step_flush().unwrap();
    }
}

/// Every column of every row, as (stream, tenant, values), sorted.
fn rows(core: &Core) -> Vec<String> {
    let mut out = Vec::new();
    for segment in core.tables.segments() {
        for of in Stream::ALL {
            let mut granule = None;
            for run in segment.runs(of) {
                for row in run.rows.clone() {
                    let (number, at) = (row as usize / GRANULE_ROWS, row as usize % GRANULE_ROWS);
                    if granule.as_ref().is_none_or(|(n, _)| *n != number) {
                        granule = Some((number, segment.reader.read_granule(of, number).unwrap()));
                    }
                    let columns = &granule.as_ref().unwrap().1;
                    let values: Vec<String> = columns.iter().map(|c| value(c, at)).collect();
                    out.push(format!("{of} {} {}", run.tenant, values.join(",")));
                }
            }
        }
    }
    out.sort_unstable();
    out
}

fn value(column: &ColumnVector, row: usize) -> String {
    match column {
        ColumnVector::I64(v, _) => v[row].to_string(),
        ColumnVector::U64(v, _) => v[row].to_string(),
        ColumnVector::F64(v, _) => v[row].to_bits().to_string(),
        ColumnVector::Codes(v) => v[row].to_string(),
        ColumnVector::Dict { codes, values } => format!("{:?}", values.get(codes[row] as usize)),
        ColumnVector::Bytes(v) => format!("{:?}", v.get(row)),
        ColumnVector::Scalars(v) => format!("{:?}", v[row]),
    }
}

/// What the order of rows promises: (tenant, day, stream key, time, arrival) never falls.
fn check_order(core: &Core) {
    for segment in core.tables.segments() {
        for of in Stream::ALL {
            let schema = Schema::of(of);
            let place = |def: &crate::schema::ColumnDef| schema.index_of(def.id);
            let mut last = None;
            for run in segment.runs(of) {
                for row in run.rows.clone() {
                    let columns = segment.reader.read_granule(of, row as usize / GRANULE_ROWS).unwrap();
                    let row = row as usize % GRANULE_ROWS;
                    let value_of = |def| match place(def).map(|p| &columns[p]) {
                        Some(ColumnVector::Codes(codes)) if of == Stream::Metrics => codes[row],
                        _ => 0,
                    };
                    let labels = match place(&stream::LABELS).map(|p| &columns[p]) {
                        Some(ColumnVector::Bytes(labels)) => labels.get(row).map(<[u8]>::to_vec),
                        _ => None,
                    };
                    let ColumnVector::I64(times, _) = &columns[0] else { panic!("times") };
                    let arrival = place(&stream::SEQ).or(place(&stream::LSN)).unwrap();
                    let ColumnVector::U64(arrivals, _) = &columns[arrival] else { panic!("arrivals") };
                    let series = [&stream::APP_ID, &stream::HOST, &stream::NAME].map(value_of);
                    let key = (
                        run.tenant,
                        TimestampUs(times[row]).day(),
                        series,
                        labels,
                        times[row],
                        arrivals[row],
                    );
                    assert!(last.as_ref().is_none_or(|last| *last <= key), "{last:?} before {key:?}");
                    last = Some(key);
                }
            }
        }
    }
}

fn compact(core: &Core) {
    super::compactor::compact(core, Effort::Full).unwrap();
}

#[test]
fn the_rows_after_are_the_rows_before_in_order_and_one_file_a_day() {
    for seed in 0..6 {
        let disk = SimDisk::new();
        let core = open(&disk);
        fill(&core, 5, 12, seed);
        let before = rows(&core);
        check_order(&core);
        compact(&core);
        assert_eq!(rows(&core), before);
        check_order(&core);
        let version = core.manifest.version();
        // Two days are over and dense; rows of today may come again.
        for file in version.files_of(FileKind::Segment) {
            assert_eq!(file.dense, file.day.unwrap() < NOW.day());
            assert_eq!(file.streams.len(), 1);
            assert!(file.lsn_max.0 > 0 && file.lsn_max <= version.flushed_lsn());
            assert!(core.tables.segments().iter().any(|s| s.meta == *file));
        }
        assert_eq!(version.files_of(FileKind::Segment).count(), 9, "three streams, three days");
        assert_eq!(disk.list(std::path::Path::new("segments")).unwrap().len(), 9);
        let reopened = open(&disk);
        assert_eq!(rows(&reopened), before);
    }
}

#[test]
fn runs_longer_than_a_granule_are_merged_row_by_row() {
    let disk = SimDisk::new();
    let core = open(&disk);
    let mut random = Random(7);
    // Odd instants in one segment, even ones in the other, and one that is all in between.
    for offset in 0..3 {
        let times: Vec<i64> =
            (0..GRANULE_ROWS as i64 + 500).map(|n| NOW.0 - DAY_US + n * 3 + offset).collect();
        for part in times.chunks(1_000) {
            append(&core, "acme", Stream::Events, part, &mut random);
        }
        core.step_flush().unwrap();
    }
    let before = rows(&core);
    compact(&core);
    assert_eq!(rows(&core), before);
    let segments = core.tables.segments();
    let [segment] = segments.as_slice() else { panic!("one segment") };
    for granule in 0..4 {
        let ColumnVector::I64(times, _) = &segment.reader.read_granule(Stream::Events, granule).unwrap()[0]
        else {
            panic!("times")
        };
        assert!(times.is_sorted_by(|a, b| a + 1 == *b || a < b));
    }
    assert_eq!(segment.rows(Stream::Events), 3 * (GRANULE_ROWS as u64 + 500));
}

#[test]
fn late_rows_wait_beside_the_final_segment() {
    let disk = SimDisk::new();
    let core = open(&disk);
    let mut random = Random(3);
    let times: Vec<i64> = (0..100).map(|n| NOW.0 - 2 * DAY_US + n).collect();
    append(&core, "acme", Stream::Metrics, &times, &mut random);
    core.step_flush().unwrap();
    compact(&core);
    let last = core.tables.segments()[0].meta.id;
    append(&core, "acme", Stream::Metrics, &times[..5], &mut random);
    core.step_flush().unwrap();
    let before = rows(&core);
    let file = core.manifest.version().files_of(FileKind::Segment).find(|f| f.level == 0).cloned().unwrap();
    let job = Job { kind: JobKind::Fresh, inputs: vec![file], level: 1 };
    run(&core, &job, &super::rewrite::KeepAll, &Pace::free()).unwrap();
    assert!(core.compactor.step(&core, Effort::Due, &Pace::free()).unwrap().is_none(), "five rows are few");
    assert!(core.manifest.version().get(last).is_some());
    assert_eq!(rows(&core), before);
}

/// Drops the rows of one tenant, and of another one those of odd seq; blanks the trace of the rest.
#[derive(Debug)]
struct Eraser {
    gone: TenantNo,
    looked_at: TenantNo,
}

impl RowRewrite for Eraser {
    fn fate(&self, _stream: Stream, tenant: TenantNo) -> Fate {
        match tenant {
            t if t == self.gone => Fate::Drop,
            t if t == self.looked_at => Fate::Look,
            _ => Fate::Keep,
        }
    }

    fn look(&self, of: Stream, _tenant: TenantNo, columns: &mut [SegmentColumn]) -> Result<Vec<bool>> {
        let schema = Schema::of(of);
        let place = schema.index_of(stream::LSN.id).unwrap();
        let SegmentColumn::U64(lsns) = &columns[place] else { panic!("lsn") };
        let stays: Vec<bool> = lsns.iter().map(|lsn| lsn.is_multiple_of(2)).collect();
        let mut blank = SegmentColumn::new(stream::TRACE_ID.ty);
        if let SegmentColumn::Bytes(column) = &mut blank {
            for _ in &stays {
                column.push(None);
            }
        }
        columns[schema.index_of(stream::TRACE_ID.id).unwrap()] = blank;
        Ok(stays)
    }
}

#[test]
fn rows_can_be_dropped_and_changed_on_their_way() {
    let disk = SimDisk::new();
    let core = open(&disk);
    fill(&core, 3, 20, 5);
    let number = |name: &str| core.catalog.number_of(&TenantId::new(name).unwrap()).unwrap();
    let eraser = Eraser { gone: number("acme"), looked_at: number("bolt") };
    let before = rows(&core);
    let inputs: Vec<_> = core.manifest.version().files_of(FileKind::Segment).cloned().collect();
    run(&core, &Job { kind: JobKind::Fresh, inputs, level: 1 }, &eraser, &Pace::free()).unwrap();
    let after = rows(&core);
    let of = |rows: &[String], tenant: TenantNo| {
        rows.iter()
            .filter(|row| row.split(' ').nth(1) == Some(&tenant.to_string()))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&after, eraser.gone), Vec::<String>::new());
    assert_eq!(of(&after, number("cato")), of(&before, number("cato")));
    let lsn_is_even = |row: &String| {
        let lsn: u64 = row.split(' ').nth(2).unwrap().split(',').nth(2).unwrap().parse().unwrap();
        lsn.is_multiple_of(2)
    };
    let kept = of(&before, eraser.looked_at).into_iter().filter(lsn_is_even).count();
    assert_eq!(of(&after, eraser.looked_at).len(), kept);
    assert!(kept > 0 && of(&after, eraser.looked_at).iter().all(lsn_is_even));
    for segment in core.tables.segments() {
        let names = segment.reader.tenant_names().unwrap();
        assert!(names.iter().all(|(tenant, _)| *tenant != eraser.gone), "its name is gone too");
    }
}

#[test]
fn a_damaged_segment_is_left_alone_and_the_rest_is_merged() {
    let disk = SimDisk::new();
    let core = open(&disk);
    fill(&core, 4, 12, 9);
    let victim = core.tables.segments()[1].meta.clone();
    disk.corrupt(victim.path(), 60, 0xff);
    let error = super::compactor::compact(&core, Effort::Full).unwrap_err();
    assert!(error.is_damage());
    let version = core.manifest.version();
    assert!(version.get(victim.id).is_some());
    assert!(version.files_of(FileKind::Segment).all(|f| f.id == victim.id || f.level > 0));
    assert!(core.findings().iter().any(|f| f.contains(&victim.path().display().to_string())));
}

#[test]
fn a_merge_waits_for_space_and_says_so() {
    let disk = SimDisk::new();
    let core = open(&disk);
    fill(&core, 4, 12, 2);
    disk.set_capacity(Some(
        disk.paths().iter().map(|p| disk.content(p).unwrap().len() as u64).sum::<u64>() + 100,
    ));
    assert!(core.compactor.step(&core, Effort::Full, &Pace::free()).unwrap().is_none());
    assert!(core.findings().iter().any(|f| f.contains("waits for space")));
    disk.set_capacity(None);
    compact(&core);
    assert!(!core.findings().iter().any(|f| f.contains("waits for space")));
}

#[test]
fn a_merge_over_its_budget_goes_on_when_somebody_waits_for_its_end() {
    let disk = SimDisk::new();
    let mut core = open(&disk);
    core.config.compaction.io_bytes_per_second = 1;
    fill(&core, 4, 12, 5);
    let before = rows(&core);
    std::thread::scope(|scope| {
        // The clock stands still: alone it would wait for ever.
        let slow = scope.spawn(|| core.compactor.step(&core, Effort::Full, &Pace::steady(&core)));
        while !slow.is_finished() && core.compactor.while_writing(BTreeSet::is_empty) {
            std::thread::yield_now();
        }
        compact(&core);
        assert!(slow.join().unwrap().unwrap().is_some());
    });
    assert_eq!(rows(&core), before);
}

#[test]
fn a_merge_ends_when_the_engine_closes_and_leaves_nothing_behind() {
    let disk = SimDisk::new();
    let core = open(&disk);
    fill(&core, 4, 12, 4);
    let (paths, before) = (disk.paths(), rows(&core));
    core.begin_close();
    let ended = core.compactor.step(&core, Effort::Full, &Pace::steady(&core));
    assert!(matches!(ended, Err(Error::Closed)));
    assert_eq!(disk.paths(), paths);
    assert_eq!(rows(&core), before);
}

/// A store of two flushes whose merges have work of every kind, on a disk that each try copies.
fn two_flushes() -> (SimDisk, Vec<String>) {
    let disk = SimDisk::new();
    let core = open(&disk);
    fill(&core, 2, 4, 8);
    let before = rows(&core);
    drop(core);
    (disk.kill(), before)
}

/// What must hold of any disk that is found: the rows of before, no file that nobody names, and merges go on.
fn check_recovered(disk: &SimDisk, before: &[String], context: &str) {
    let core = open(disk);
    assert_eq!(rows(&core), before, "{context}");
    assert_eq!(core.manifest.orphans().unwrap(), Vec::<std::path::PathBuf>::new(), "{context}");
    compact(&core);
    assert_eq!(rows(&core), before, "{context}");
}

#[test]
fn the_power_may_go_at_any_operation_of_a_merge() {
    let (disk, before) = two_flushes();
    let changes = |disk: &SimDisk| {
        let core = open(disk);
        let opened = disk.change_count();
        drop(super::compactor::compact(&core, Effort::Full));
        (opened, disk.change_count())
    };
    let (opened, ended) = changes(&disk.kill());
    assert!(ended - opened > 50, "{opened} to {ended}");
    for change in opened..ended {
        let cut = disk.kill();
        cut.crash_at_change(change);
        changes(&cut);
        // One of the ways to lose what was not synced at each change, all of them over five changes.
        let policy = CrashPolicy::ALL[change as usize % CrashPolicy::ALL.len()];
        check_recovered(&cut.crash(policy, change), &before, &format!("change {change}, {policy:?}"));
    }
}

#[test]
fn any_operation_of_a_merge_may_fail() {
    let (disk, before) = two_flushes();
    let operations = |disk: &SimDisk| {
        let core = open(disk);
        let opened = disk.op_count();
        drop(super::compactor::compact(&core, Effort::Full));
        let ended = disk.op_count();
        assert_eq!(rows(&core), before, "readers see one of both, whole");
        if !core.manifest.is_poisoned() {
            let orphans = core.manifest.orphans().unwrap();
            assert!(orphans.len() <= 1, "at most the file whose removal failed: {orphans:?}");
        }
        (opened, ended)
    };
    let (opened, ended) = operations(&disk.kill());
    for at in opened..ended {
        for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite] {
            let failing = disk.kill();
            failing.fail_at(at, kind, false);
            operations(&failing);
            failing.clear_faults();
            check_recovered(&failing.kill(), &before, &format!("operation {at}, {kind:?}"));
            check_recovered(
                &failing.crash(CrashPolicy::DropAll, at),
                &before,
                &format!("{at}, {kind:?}, cut"),
            );
        }
    }
}

#[test]
fn a_flush_that_fails_leaves_the_files_of_a_merge_alone() {
    let disk = SimDisk::new();
    let core = open(&disk);
    append(&core, "acme", Stream::Events, &[NOW.0], &mut Random(1));
    let id = core.compactor.allocate_kind(&core.manifest, FileKind::Segment);
    disk.create(&FileKind::Segment.path(id)).unwrap().sync().unwrap();
    disk.fail_kind_at(OpKind::Create, disk.op_count_of(OpKind::Create) + 1, FaultKind::Eio, false);
    assert!(core.step_flush().is_err());
    assert!(disk.exists(&FileKind::Segment.path(id)).unwrap(), "it is being written");
    assert_eq!(disk.list(std::path::Path::new("segments")).unwrap().len(), 1, "what the flush wrote is gone");
}
