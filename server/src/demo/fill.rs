//! Writes a plan into a store, step by step, and goes on where it stopped.

use std::time::Duration;

use insights_engine::Error;
use insights_engine::append::Append;
use insights_engine::time::TimestampUs;

use super::mark::Mark;
use super::options::{DAYS_DEFAULT, DemoError, DemoOptions, SEED_DEFAULT};
use super::plan::Plan;
use crate::store::Store;

/// How long to wait for the engine when too much is in memory.
const PAUSE: Duration = Duration::from_millis(20);

/// Fills `store` with what `options` ask for, from where an earlier fill stopped, and returns the plan.
///
/// A step and the mark that says it is done are one append, so whatever kills a fill, the next one goes on with
/// exactly the same result. `progress` is told steps done and steps in all. `now` decides the end when neither the
/// options nor an earlier fill do.
///
/// # Errors
///
/// [`DemoError::OtherDemo`] when an earlier fill had other options, [`DemoError::Engine`].
pub async fn fill(
    store: &Store,
    options: DemoOptions,
    now: TimestampUs,
    mut progress: impl FnMut(u64, u64),
) -> Result<Plan, DemoError> {
    let mut mark = match stored(store) {
        Some(mark) => same(mark, options)?,
        None => Mark {
            seed: options.seed.unwrap_or(SEED_DEFAULT),
            end: options.end_or(now),
            days: options.days.unwrap_or(DAYS_DEFAULT),
            next_step: 0,
        },
    };
    let plan = Plan::new(mark.seed, mark.end, mark.days)?;
    let steps = plan.steps();
    progress(mark.next_step, steps);
    while mark.next_step < steps {
        let batches = plan.batches(mark.next_step);
        mark.next_step += 1;
        let append = Append { batches, puts: vec![mark.put()], ..Append::default() };
        keep(store, append).await?;
        progress(mark.next_step, steps);
    }
    Ok(plan)
}

/// The mark of an earlier fill.
fn stored(store: &Store) -> Option<Mark> {
    let (kind, key) = Mark::place();
    Mark::decode(&store.catalog_get(kind, key)?)
}

/// The mark, when nothing that was asked for differs from it.
fn same(mark: Mark, options: DemoOptions) -> Result<Mark, DemoError> {
    let differs = options.seed.is_some_and(|seed| seed != mark.seed)
        || options.end.is_some_and(|end| end != mark.end)
        || options.days.is_some_and(|days| days != mark.days);
    if differs {
        return Err(DemoError::OtherDemo { seed: mark.seed, days: mark.days, end: mark.end });
    }
    Ok(mark)
}

/// Appends, and waits while the engine flushes what is in memory.
async fn keep(store: &Store, append: Append) -> Result<(), DemoError> {
    loop {
        match store.append(append.clone()).await {
            Ok(_) => return Ok(()),
            Err(Error::Overloaded { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_options_than_those_of_the_store_are_refused() {
        let mark = Mark { seed: 7, end: TimestampUs(5), days: 3, next_step: 1 };
        assert_eq!(same(mark, DemoOptions::default()).unwrap(), mark);
        assert_eq!(same(mark, DemoOptions { seed: Some(7), ..DemoOptions::default() }).unwrap(), mark);
        let other = DemoOptions { days: Some(4), ..DemoOptions::default() };
        assert!(matches!(same(mark, other), Err(DemoError::OtherDemo { seed: 7, .. })));
    }
}
