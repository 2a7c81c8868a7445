//! Removes what has expired, now rather than within the hour in which the engine does so by itself.

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
    let named = report.shares.iter().take(NAMED_MAX).map(|share| {
        json!({ "organization_id": share.tenant, "stream": share.stream.name(), "rows": share.rows, "bytes": share.bytes })
    });
    let named: Vec<Value> = named.collect();
    let omitted = report.shares_omitted + report.shares.len() - named.len();
    json!({
        "files": report.files.len(),
        "rollup_files": report.files.iter().filter(|file| file.rows == 0).count(),
        "rows": report.rows(),
        "bytes": report.bytes(),
        "is_held": report.is_held,
        "removed": named,
        "removed_omitted": omitted,
    })
}

#[cfg(test)]
mod tests {
    use insights_engine::id::Stream;
    use insights_engine::retention::{ExpiredFile, ExpiredRows};

    use super::*;

    #[test]
    fn only_the_largest_shares_are_named() {
        let shares = (0..12).rev().map(|n| ExpiredRows {
            tenant: format!("org-{n:02}"),
            stream: Stream::Events,
            rows: n + 1,
            bytes: (n + 1) * 100,
        });
        let segment = ExpiredFile { path: "segments/1".into(), day: Some(1), rows: 78, bytes: 7_800 };
        let cells = ExpiredFile { path: "cells/2".into(), day: Some(1), rows: 0, bytes: 50 };
        let told = told(&RetentionReport {
            files: vec![segment, cells],
            shares: shares.collect(),
            ..RetentionReport::default()
        });
        assert_eq!((&told["files"], &told["rollup_files"]), (&json!(2), &json!(1)));
        assert_eq!((&told["rows"], &told["bytes"]), (&json!(78), &json!(7_850)));
        assert_eq!(
            told["removed"][0],
            json!({ "organization_id": "org-11", "stream": "events", "rows": 12, "bytes": 1_200 })
        );
        assert_eq!(told["removed"].as_array().unwrap().len(), NAMED_MAX);
        assert_eq!(told["removed_omitted"], 2);
    }
}
