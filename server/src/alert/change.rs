//! Changes of rules: what is written, and what becomes of the alerts of the rule before.

use insights_engine::append::{Append, CatalogKind, CatalogPut};

use super::board::Board;
use super::book::{Entry, key_of};
use super::rule::Rule;
use super::{history, record};
use crate::app::AppState;
use crate::http::error::ApiError;

/// Keeps a rule, in the place of the one of its id. Alerts go on under the same condition, and end under another.
///
/// The caller holds the turn of the organization.
///
/// # Errors
///
/// `invalid` when it is too large, and those of the store: then nothing has changed.
pub async fn put(state: &AppState, rule: Rule) -> Result<Entry, ApiError> {
    let now = state.clock.now();
    let before = state.alerts.book().get(&key_of(&rule)).cloned();
    let mut puts = vec![rule.put().map_err(|detail| ApiError::invalid_at("", "invalid", detail))?];
    let mut batches = Vec::new();
    let mut entry = Entry::new(rule, now);
    if let Some(before) = before {
        // What came while a rule was disabled is no news when it is enabled again.
        let is_same = before.rule.document.condition == entry.rule.document.condition
            && before.rule.document.enabled
            && entry.rule.document.enabled;
        if is_same {
            entry = before.with_rule(entry.rule);
        } else {
            entry.board = before.board;
            entry.parts = before.parts;
            // They end as alerts of the rule that they were of.
            batches.extend(history::batch(&before.rule, &entry.board.retire(now), now));
            puts.extend(record::puts(
                &entry.rule.organization,
                &entry.rule.id,
                &entry.board,
                &mut entry.parts,
            ));
        }
    }
    state.store.append(Append { batches, puts, idempotency: None }).await?;
    let mut book = state.alerts.book();
    book.put(entry.clone(), now);
    book.tell(entry.rule.organization.clone(), now);
    drop(book);
    state.alerts.wake();
    Ok(entry)
}

/// Deletes a rule. Its alerts end; it stays in memory until those who were told of them know.
///
/// The caller holds the turn of the organization.
///
/// # Errors
///
/// Those of the store: then nothing has changed.
pub async fn remove(state: &AppState, rule: &Rule) -> Result<(), ApiError> {
    let (now, key) = (state.clock.now(), key_of(rule));
    let Some(mut entry) = state.alerts.book().get(&key).cloned().filter(|entry| !entry.is_removed) else {
        return Err(ApiError::not_found());
    };
    let batches = history::batch(&entry.rule, &entry.board.retire(now), now).into_iter().collect();
    let mut puts = record::puts(&rule.organization, &rule.id, &Board::default(), &mut entry.parts);
    let rule_key = Rule::key(&rule.organization, &rule.id);
    puts.push(CatalogPut { kind: CatalogKind::Setting, key: rule_key, value: None });
    state.store.append(Append { batches, puts, idempotency: None }).await?;
    let mut book = state.alerts.book();
    if entry.board.series.is_empty() {
        book.remove(&key);
    } else {
        entry.is_removed = true;
        book.put(entry, now);
        book.tell(rule.organization.clone(), now);
    }
    drop(book);
    state.alerts.wake();
    Ok(())
}
