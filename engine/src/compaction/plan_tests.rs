//! Plans by table, and of random histories: no row is merged too often, no file is in two jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::compactor::Effort;
use super::plan::{Facts, INPUTS_MAX, Job, JobKind, LEVEL_MAX, plan};
use crate::config::CompactionLimits;
use crate::id::{FileId, Stream};
use crate::manifest::{Edit, FileKind, FileMeta, StreamMeta, Version};
use crate::time::{DAY_US, TimestampUs};

/// The day of `now` in the table; the clock shows noon.
const TODAY: i32 = 100;

fn at(day: i32, hour: i64) -> TimestampUs {
    TimestampUs(i64::from(day) * DAY_US + hour * 3_600_000_000)
}

/// A segment of level 0.
fn fresh(id: u64) -> FileMeta {
    let mut meta = FileMeta::new(FileId(id), FileKind::Segment, 1_000, [0; 32]);
    let (min_time, max_time) = (at(TODAY, 0), at(TODAY, 1));
    meta.streams = vec![StreamMeta { stream: Stream::Events, rows: 100, min_time, max_time }];
    meta
}

/// A segment of a day.
fn of_day(id: u64, day: i32, level: u8, rows: u64) -> FileMeta {
    let mut meta = fresh(id);
    meta.level = level;
    meta.day = Some(day);
    meta.streams[0].rows = rows;
    meta
}

fn dense(meta: FileMeta) -> FileMeta {
    FileMeta { dense: true, ..meta }
}

fn version(files: &[FileMeta]) -> Version {
    let edit = Edit { add: files.to_vec(), next_file: FileId(u64::MAX), ..Edit::default() };
    Version::default().apply(&edit).unwrap()
}

/// A job: its kind, the numbers of its inputs, its level.
type Planned = (JobKind, Vec<u64>, u8);

/// The jobs of a plan.
fn jobs(files: &[FileMeta], effort: Effort, age: Duration) -> Vec<Planned> {
    let aside = BTreeSet::new();
    let facts = Facts { now: at(TODAY, 12), age: &|_| age, aside: &aside, effort };
    let jobs = plan(&version(files), facts, &CompactionLimits::default());
    let numbers = |job: &Job| job.inputs.iter().map(|f| f.id.0).collect();
    jobs.iter().map(|job| (job.kind, numbers(job), job.level)).collect()
}

const OLD: Duration = Duration::from_hours(1);

#[test]
fn what_is_due() {
    use JobKind::{Final, Fresh, Tier};
    let day = |ids: std::ops::RangeInclusive<u64>, day, level| {
        ids.map(|id| of_day(id, day, level, 100)).collect::<Vec<_>>()
    };
    let past = TODAY - 3;
    let last = |level| dense(of_day(50, past, level, 10_000));
    let young = Duration::from_secs(1);
    let cases: Vec<(&str, Vec<FileMeta>, Duration, Vec<Planned>)> = vec![
        ("nothing", vec![], OLD, vec![]),
        ("few young ones wait", vec![fresh(1), fresh(2), fresh(3)], young, vec![]),
        ("one waits not for ever", vec![fresh(1)], OLD, vec![(Fresh, vec![1], 1)]),
        ("four do not wait", (1..=4).map(fresh).collect(), young, vec![(Fresh, vec![1, 2, 3, 4], 1)]),
        ("seven of today wait", day(1..=7, TODAY, 1), OLD, vec![]),
        ("eight of today do not", day(1..=8, TODAY, 1), OLD, vec![(Tier, (1..=8).collect(), 2)]),
        ("today is merged once", day(1..=9, TODAY, 2), OLD, vec![]),
        ("yesterday is over", day(1..=2, TODAY - 1, 1), OLD, vec![(Final, vec![1, 2], 2)]),
        ("one file becomes dense", day(1..=1, past, 1), OLD, vec![(Final, vec![1], 2)]),
        ("an import goes on", day(1..=3, past, 1), young, vec![]),
        ("a long import is merged meanwhile", day(1..=8, past, 1), young, vec![(Tier, (1..=8).collect(), 2)]),
        ("a final one stays", vec![last(2)], OLD, vec![]),
        ("a few late rows wait", vec![last(2), of_day(51, past, 1, 999)], OLD, vec![]),
        ("many do not", vec![last(2), of_day(51, past, 1, 1_000)], OLD, vec![(Final, vec![50, 51], 3)]),
        ("nothing gets a fourth merge", vec![last(3), of_day(51, past, 1, 9_000)], OLD, vec![]),
        (
            "late ones are merged among themselves",
            [vec![last(3)], day(51..=58, past, 1)].concat(),
            OLD,
            vec![(Tier, (51..=58).collect(), 2)],
        ),
        (
            "and again",
            [vec![last(3)], day(51..=58, past, 2)].concat(),
            OLD,
            vec![(Tier, (51..=58).collect(), 3)],
        ),
        ("and no more", [vec![last(3)], day(51..=70, past, 3)].concat(), OLD, vec![]),
        (
            "days apart, the young first",
            [(1..=4).map(fresh).collect(), day(5..=6, past, 1), day(7..=8, past + 1, 2)].concat(),
            OLD,
            vec![(Fresh, vec![1, 2, 3, 4], 1), (Final, vec![5, 6], 2), (Final, vec![7, 8], 3)],
        ),
    ];
    for (name, files, age, expected) in cases {
        assert_eq!(jobs(&files, Effort::Due, age), expected, "{name}");
    }
}

#[test]
fn full_effort_waits_for_nothing() {
    let files = [fresh(1), dense(of_day(5, TODAY - 3, 2, 10_000)), of_day(6, TODAY - 3, 1, 1)];
    let expected = vec![(JobKind::Fresh, vec![1], 1), (JobKind::Final, vec![5, 6], 3)];
    assert_eq!(jobs(&files, Effort::Full, Duration::ZERO), expected);
}

#[test]
fn classes_and_streams_stay_apart() {
    let mut files: Vec<FileMeta> = (1..=6).map(|id| of_day(id, TODAY - 1, 1, 100)).collect();
    files[2].class = 1;
    files[3].class = 1;
    files[4].streams[0].stream = Stream::Audit;
    files[5].streams[0].stream = Stream::Audit;
    let jobs = jobs(&files, Effort::Due, OLD);
    let inputs: Vec<&Vec<u64>> = jobs.iter().map(|(_, inputs, _)| inputs).collect();
    assert_eq!(inputs, [&vec![1, 2], &vec![3, 4], &vec![5, 6]]);
}

#[test]
fn files_set_aside_are_left_alone_and_large_ones_wait_for_the_next_merge() {
    let aside = BTreeSet::from([FileId(2)]);
    let facts = Facts { now: at(TODAY, 12), age: &|_| OLD, aside: &aside, effort: Effort::Due };
    let files: Vec<FileMeta> = (1..=6).map(fresh).collect();
    let limits = CompactionLimits { input_bytes_max: 2_500, ..CompactionLimits::default() };
    let jobs = plan(&version(&files), facts, &limits);
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].inputs.iter().map(|f| f.id.0).collect::<Vec<_>>(), [1, 3]);
}

/// A store of rows that only remember their day and how often they were merged.
#[derive(Default)]
struct World {
    files: BTreeMap<FileId, (FileMeta, Vec<(i32, u8)>)>,
    /// When each was made, in hours.
    made: BTreeMap<FileId, u64>,
    next: u64,
    hours: u64,
}

impl World {
    fn add(&mut self, mut meta: FileMeta, rows: Vec<(i32, u8)>) {
        self.next += 1;
        meta.id = FileId(self.next);
        meta.bytes = rows.len() as u64 * 10;
        meta.streams[0].rows = rows.len() as u64;
        self.made.insert(meta.id, self.hours);
        self.files.insert(meta.id, (meta, rows));
    }

    fn plan(&self, effort: Effort) -> Vec<Job> {
        let files: Vec<FileMeta> = self.files.values().map(|(meta, _)| meta.clone()).collect();
        let age = |id: FileId| Duration::from_hours(self.hours - self.made.get(&id).copied().unwrap_or(0));
        let aside = BTreeSet::new();
        let now = TimestampUs(i64::try_from(self.hours).unwrap() * 3_600_000_000);
        plan(&version(&files), Facts { now, age: &age, aside: &aside, effort }, &CompactionLimits::default())
    }

    fn run(&mut self, job: &Job) {
        let mut days: BTreeMap<i32, Vec<(i32, u8)>> = BTreeMap::new();
        for input in &job.inputs {
            let (_, rows) = self.files.remove(&input.id).expect("a file in two jobs");
            for (day, merges) in rows {
                days.entry(day).or_default().push((day, merges + 1));
            }
        }
        for (day, rows) in days {
            let mut meta = of_day(0, day, job.level, 0);
            meta.dense = job.kind == JobKind::Final;
            self.add(meta, rows);
        }
    }
}

fn check_jobs(jobs: &[Job]) -> std::result::Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for job in jobs {
        prop_assert!(job.level <= LEVEL_MAX && !job.inputs.is_empty() && job.inputs.len() <= INPUTS_MAX);
        prop_assert!(job.inputs.iter().all(|f| seen.insert(f.id)), "a file in two jobs");
        let keys: BTreeSet<_> = job.inputs.iter().map(|f| (f.day, f.class)).collect();
        prop_assert!(keys.len() == 1, "a job over {keys:?}");
        prop_assert_eq!(job.kind == JobKind::Fresh, job.inputs.iter().all(|f: &Arc<FileMeta>| f.level == 0));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Each step: hours that pass, and the days back of the rows that are flushed.
    #[test]
    fn every_row_is_merged_three_times_at_most(
        steps in proptest::collection::vec((0_u64..30, proptest::collection::vec((0_i32..4, 1_usize..40), 0..3)), 1..60),
        full in any::<bool>(),
    ) {
        let mut world = World { hours: 24 * 30, ..World::default() };
        let mut written = 0;
        for (hours, flushed) in steps {
            world.hours += hours;
            let today = i32::try_from(world.hours / 24).unwrap();
            let rows: Vec<(i32, u8)> =
                flushed.iter().flat_map(|(back, count)| vec![(today - back, 0); *count]).collect();
            written += rows.len();
            if !rows.is_empty() {
                world.add(fresh(0), rows);
            }
            let effort = if full && hours == 0 { Effort::Full } else { Effort::Due };
            // A plan is worth its first job alone: the next one sees what came of it.
            for round in 0.. {
                prop_assert!(round < 1_000, "it never ends");
                let jobs = world.plan(effort);
                check_jobs(&jobs)?;
                let Some(job) = jobs.first() else { break };
                world.run(job);
            }
            let merges = || world.files.values().flat_map(|(meta, rows)| rows.iter().map(|(_, n)| (*n, meta.level)));
            prop_assert_eq!(merges().count(), written);
            prop_assert!(merges().all(|(merges, level)| merges <= level && level <= LEVEL_MAX));
        }
        // In the end every day has its final segment and a bounded number of late ones.
        for _ in 0..3 {
            // What a merge makes is young, and a young day waits.
            world.hours += 24 * 5;
            for round in 0.. {
                prop_assert!(round < 1_000, "it never ends");
                let jobs = world.plan(Effort::Due);
                let Some(job) = jobs.first() else { break };
                world.run(job);
            }
        }
        for (meta, _) in world.files.values() {
            prop_assert!(meta.day.is_some(), "a segment of level 0 stays");
        }
        let days: BTreeSet<i32> = world.files.values().filter_map(|(meta, _)| meta.day).collect();
        for day in days {
            let of_day = || world.files.values().filter(|(meta, _)| meta.day == Some(day));
            prop_assert_eq!(of_day().filter(|(meta, _)| meta.dense).count(), 1);
        }
    }
}
