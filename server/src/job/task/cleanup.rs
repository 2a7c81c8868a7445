//! Removes what has expired, now rather than within the hour in which the engine does so by itself.

use std::collections::BTreeMap;

use insights_engine::id::Stream;
use insights_engine::retention::RetentionReport;
use serde_json::{Value, json};

use super::TaskError;
use crate::app::AppState;

/// Most organizations and streams that a result names; the others are in its sums.
const NAMED_MAX: usize = 10;

/// Removes files whose rows have all expired; with `dry_run` only says what that would be.
///
/// # Errors
///
/// Those of [`insights_engine::Engine::enforce_retention`].
pub async fn cleanup(state: AppState, dry_run: bool) -> Result<Value, TaskError> {
    let report = state.store.enforce_retention(dry_run).await?;
    let mut result = told(&report);
    if let Some(members) = result.as_object_mut() {
        members.insert("dry_run".to_owned(), dry_run.into());
    }
    Ok(result)
}

/// What was removed: in all, and of each organization's stream its rows and its share of the bytes of the files, by
/// rows. Rollups are files without rows, of all organizations together.
fn told(report: &RetentionReport) -> Value {
    let mut of: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for file in &report.files {
        for share in &file.shares {
            let (rows, bytes) = of.entry((&share.tenant, stream_name(share.stream))).or_default();
            *rows += share.rows;
            *bytes += part(file.bytes, share.rows, file.rows);
        }
    }
    let mut named: Vec<_> = of.into_iter().collect();
    // Stable: of equal shares the names decide.
    named.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
    let omitted = named.len().saturating_sub(NAMED_MAX);
    let named: Vec<Value> = named
        .into_iter()
        .take(NAMED_MAX)
        .map(|((organization, stream), (rows, bytes))| {
            json!({ "organization_id": organization, "stream": stream, "rows": rows, "bytes": bytes })
        })
        .collect();
    json!({
        "files": report.files.len(),
        "rollup_files": report.files.iter().filter(|file| file.shares.is_empty()).count(),
        "rows": report.rows(),
        "bytes": report.bytes(),
        "is_held": report.is_held,
        "removed": named,
        "removed_omitted": omitted,
    })
}

fn stream_name(stream: Stream) -> &'static str {
    stream.name()
}

/// `bytes * rows / all`, rounded down.
fn part(bytes: u64, rows: u64, all: u64) -> u64 {
    let product = u128::from(bytes) * u128::from(rows);
    u64::try_from(product.checked_div(u128::from(all)).unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use insights_engine::retention::{ExpiredFile, ExpiredRows};

    use super::*;

    #[test]
    fn bytes_are_shared_by_rows_and_only_the_largest_are_named() {
        let shares = (0..12).map(|n| ExpiredRows {
            tenant: format!("org-{n:02}"),
            stream: Stream::Events,
            rows: n + 1,
        });
        let segment = ExpiredFile {
            path: "segments/1".into(),
            day: Some(1),
            rows: 78,
            bytes: 7_800,
            shares: shares.collect(),
        };
        let cells = ExpiredFile { path: "cells/2".into(), day: Some(1), rows: 0, bytes: 50, shares: vec![] };
        let told = told(&RetentionReport { files: vec![segment, cells], is_held: false });
        assert_eq!((&told["files"], &told["rollup_files"]), (&json!(2), &json!(1)));
        assert_eq!((&told["rows"], &told["bytes"]), (&json!(78), &json!(7_850)));
        assert_eq!(
            told["removed"][0],
            json!({ "organization_id": "org-11", "stream": "events", "rows": 12, "bytes": 1_200 })
        );
        assert_eq!(told["removed"].as_array().unwrap().len(), NAMED_MAX);
        assert_eq!(told["removed_omitted"], 2);
        assert_eq!(part(u64::MAX, 2, 2), u64::MAX);
        assert_eq!(part(5, 1, 0), 0);
    }
}
