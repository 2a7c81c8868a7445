//! Relations that need a store of their own: what happens to it, how it is set, what others write.

use insights_engine::config::{CompactionLimits, Durability};
use insights_server::Config;
use serde_json::{Value, json};

use super::listed::{any_list, paged, whole};
use super::{Asked, choices, same};
use crate::truth::bed::{Bed, small_memory};
use crate::truth::data::Event;
use crate::truth::platform::{Organization, golden};
use crate::truth::random;

/// The random questions of a relation.
fn asked(relation: u64, share: u64) -> Vec<Asked> {
    (0..random::questions(share)).map(|question| Asked::random(&mut choices(relation, question))).collect()
}

/// Fails when a store does not answer as before.
#[track_caller]
fn check(questions: &[Asked], before: &[Value], bed: &Bed, stage: &str) {
    let wrong: Vec<String> = questions
        .iter()
        .zip(before)
        .filter_map(|(asked, before)| same(before, &asked.answer(bed), asked).err())
        .collect();
    let shown = wrong.iter().take(4).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{stage}, seed {}: {} answers differ\n{shown}", random::seed(), wrong.len());
}

/// M6, and pages of lists with it.
#[test]
fn answers_are_the_same_from_the_cache_and_after_flush_merge_and_restart() {
    let organizations = golden(random::seed());
    let mut bed = Bed::full(Config::default(), &organizations);
    bed.audit("acme", 120);
    let questions = asked(8, 30);
    let first: Vec<Value> = questions.iter().map(|asked| asked.answer(&bed)).collect();
    let lists: Vec<String> = (0..6).map(|list| any_list(&mut choices(9, list))).collect();
    let listed = |bed: &Bed| -> Vec<Vec<Value>> {
        lists.iter().map(|list| paged(bed, bed.key("acme"), list, 40, || {})).collect()
    };
    let lists_before = listed(&bed);
    let check = |bed: &Bed, stage: &str| {
        check(&questions, &first, bed, stage);
        let kept = questions.iter().map(|asked| asked.raw(bed)).filter(|answer| answer["cached"] == true);
        assert!(kept.count() > 0, "{stage}: no answer was kept");
        check_lists(&lists, &lists_before, &listed(bed), stage);
    };
    check(&bed, "asked again");
    bed.world.flush();
    check(&bed, "after a flush");
    bed.world.restart();
    check(&bed, "after a restart");
    bed.merge();
    check(&bed, "after days were merged");
    bed.world.restart();
    check(&bed, "after a restart with merged days");
}

#[track_caller]
fn check_lists(lists: &[String], before: &[Vec<Value>], now: &[Vec<Value>], stage: &str) {
    for ((list, before), now) in lists.iter().zip(before).zip(now) {
        assert!(before == now, "{stage}: {list} has {} records, before {}", now.len(), before.len());
    }
}

/// Stores that are set in other ways, each with a name.
fn settings() -> Vec<(&'static str, Config)> {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config
    };
    vec![
        ("buffered, with little memory", {
            let mut config = small_memory();
            config.engine.durability = Durability::Buffered;
            config.engine.wal_file_bytes = 64 << 10;
            config
        }),
        (
            "without caches",
            with(|config| {
                config.engine.block_cache_bytes = 0;
                config.engine.cell_cache_bytes = 0;
                config.limits.queries.kept_bytes_max = 0;
            }),
        ),
        ("one question at a time", with(|config| config.limits.queries.queries_max = 1)),
        (
            "eager merges and no rollups",
            with(|config| {
                config.engine.rollups = Vec::new();
                config.engine.sessions = None;
                config.engine.compaction = CompactionLimits {
                    fresh_files: 1,
                    day_files: 2,
                    late_files: 1,
                    late_percent: 0,
                    ..CompactionLimits::default()
                };
            }),
        ),
    ]
}

/// M7.
#[test]
fn settings_of_a_store_change_no_answer() {
    let organizations = golden(random::seed());
    let bed = Bed::full(Config::default(), &organizations);
    let questions = asked(10, 30);
    let first: Vec<Value> = questions.iter().map(|asked| asked.answer(&bed)).collect();
    for (name, config) in settings() {
        let bed = Bed::full(config, &organizations);
        check(&questions, &first, &bed, name);
        bed.merge();
        check(&questions, &first, &bed, &format!("{name}, merged"));
    }
}

/// M9, and M8 while records are written.
#[test]
fn what_others_write_changes_no_answer_and_what_comes_later_no_page() {
    let organizations = golden(random::seed());
    let bed = Bed::full(Config::default(), &organizations);
    bed.audit("acme", 120);
    let own: Vec<Asked> = asked(11, 60).into_iter().filter(|asked| asked.of == Some("acme")).collect();
    let first: Vec<Value> = own.iter().map(|asked| asked.answer(&bed)).collect();
    // The same users, sessions, applications, hosts and instants, of somebody else.
    let mut other = Organization { name: "bolt", ..organizations[0].clone() };
    other.events.truncate(600);
    other.points.truncate(600);
    bed.send(&other);
    bed.audit("bolt", 20);
    check(&own, &first, &bed, "somebody else wrote");
    bed.merge();
    check(&own, &first, &bed, "somebody else wrote, merged");
    for list in (0..12).map(|list| any_list(&mut choices(12, list))) {
        // What counts everything, or shows what is last, shows what is new.
        if !list.contains("/events/") && !list.contains("/audit/?") {
            continue;
        }
        let key = bed.key("acme");
        let before = whole(&bed, key, &list);
        let limit = 1 + before.len() as i64 / 4;
        let mut later = organizations[0].clone();
        later.points.clear();
        let mut round = 0;
        let found = paged(&bed, key, &list, limit, || {
            round += 1;
            let new: Vec<Value> = later.events.iter().skip(round * 30).take(30).map(Event::json).collect();
            bed.world.post("/api/insights/import/?stream=events", key, &json!(new)).expect(202);
            bed.audit("acme", 5);
        });
        assert!(
            found == before,
            "{list}: {} records while others came, {} before",
            found.len(),
            before.len()
        );
    }
}
