//! Asks an engine in this process what the questions over HTTP ask it, from threads.

use std::path::Path;
use std::time::Duration;

use insights_engine::Result;

use super::calls::{Call, calls};
use super::open::Inside;
use super::subject::find;
use crate::args::About;
use crate::ask::{Asked, Asking};
use crate::error::BenchError;
use crate::load::{PAUSE_AFTER_ERROR, micros};
use crate::pace::{Pace, Span};
use crate::progress::{Done, Progress, tell};
use crate::question::Question;

/// Asks each question for its share of the time; one result for each, and the organization.
///
/// # Errors
///
/// When the engine cannot be opened, or has nothing to ask about.
pub(crate) fn run(
    path: &Path,
    about: &About,
    asking: Asking,
    duration: Duration,
) -> std::result::Result<(Vec<Asked>, Option<String>), BenchError> {
    let inside = Inside::open(path)?;
    let (subject, second_page) = find(&inside, about)?;
    let questions = about.asked();
    let share = duration / u32::try_from(questions.len().max(1)).unwrap_or(1);
    let done = Done::default();
    let progress = Progress::show(Span::of(duration), &done, "questions");
    let mut all = Vec::new();
    for question in questions {
        let windows = (0..about.windows).map(|n| calls(question, &subject, second_page, n));
        let windows: Vec<Vec<Call>> = windows.collect::<Result<_>>().map_err(|error| inside.error(error))?;
        if windows.iter().any(|calls| !calls.is_empty()) {
            all.push(ask_all(&inside, (question, &windows), asking, Span::of(share), &done));
        }
    }
    drop(progress);
    inside.close()?;
    Ok((all, subject.organization))
}

/// All clients of one question.
fn ask_all(
    inside: &Inside<'_>,
    (question, windows): (Question, &[Vec<Call>]),
    asking: Asking,
    span: Span,
    done: &Done,
) -> Asked {
    let mut asked = Asked::new(question);
    std::thread::scope(|scope| {
        let client = |index: u32| {
            let pace = Pace::of(span, asking.rate.map(f64::from), (index, asking.clients));
            scope.spawn(move || ask(inside, (question, windows), pace, index as usize, done))
        };
        let clients: Vec<_> = (0..asking.clients).map(client).collect();
        clients.into_iter().filter_map(|client| client.join().ok()).for_each(|one| asked.add(&one));
    });
    asked
}

/// One client, until its pace ends. Clients begin with different windows.
fn ask(
    inside: &Inside<'_>,
    (question, windows): (Question, &[Vec<Call>]),
    mut pace: Pace,
    first: usize,
    done: &Done,
) -> Asked {
    let mut asked = Asked::new(question);
    for calls in windows.iter().cycle().skip(first % windows.len().max(1)) {
        let Some(begun) = pace.next_blocking() else { break };
        let view = inside.engine.view();
        match calls.iter().try_for_each(|call| call.run(&view)) {
            Ok(()) => {
                asked.latencies.record(micros(begun.elapsed()));
                done.add(1);
            }
            Err(error) => {
                asked.errors += 1;
                tell(asked.errors, &inside.error(error));
                std::thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }
    asked
}
