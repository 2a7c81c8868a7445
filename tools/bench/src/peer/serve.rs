//! The conversation with the harness: one JSON object a line in, one a line out, until the input ends.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use insights_engine::append::Append;
use insights_engine::compaction::Effort;
use insights_engine::schema::Batch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::intake::Intake;
use super::questions::{Answered, Parameters, PeerQuestion, ask};
use crate::args::Stream;
use crate::error::BenchError;
use crate::inside::open::Inside;
use crate::load::micros;

/// Longest line that is read: parameters and names of files.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// What the harness wants.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Wish {
    /// Read bodies of one stream and keep their rows ready, one list of files for each thread that appends. Not timed.
    Read { stream: Stream, files: Vec<Vec<PathBuf>> },
    /// Append what is ready, each body durable before the next of its thread.
    Append,
    /// Write everything in memory to segments.
    Flush,
    /// Do all that compaction has to do.
    Compact,
    /// Answer a question.
    Ask { question: PeerQuestion, parameters: Parameters },
}

/// An answer to a question: its rows as `QUESTIONS.md` has them, and what it took.
#[derive(Debug, Serialize)]
struct AnswerLine {
    rows: Vec<Value>,
    /// Until the engine had answered, microseconds.
    elapsed_us: u64,
    /// Until its answer was rows, seconds.
    seconds: f64,
    rows_scanned: u64,
    cells_read: u64,
}

/// Opens the directory and does what the lines of `input` say. A line that cannot be done is answered with `error`.
///
/// # Errors
///
/// When the engine cannot be opened or closed, or nobody reads the answers.
pub(crate) fn run(path: &Path, input: impl BufRead, mut output: impl Write) -> Result<(), BenchError> {
    let inside = Inside::open(path)?;
    let intake = Intake::new();
    let mut ready: Vec<Vec<Append>> = Vec::new();
    writeln!(output, "{}", json!({ "version": env!("CARGO_PKG_VERSION") }))?;
    output.flush()?;
    let mut input = input;
    loop {
        let mut line = String::new();
        if std::io::Read::take(&mut input, LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return inside.close();
        }
        let done = serde_json::from_str(&line)
            .map_err(|error| BenchError::NothingToAsk(error.to_string()))
            .and_then(|wish| perform(&inside, &intake, &mut ready, wish));
        let answer = done.unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
}

fn perform(
    inside: &Inside<'_>,
    intake: &Intake,
    ready: &mut Vec<Vec<Append>>,
    wish: Wish,
) -> Result<Value, BenchError> {
    let ours = |error| inside.error(error);
    match wish {
        Wish::Read { stream, files } => {
            *ready = intake.read(stream, &files)?;
            let rows = ready.iter().flatten().flat_map(|append| &append.batches).map(Batch::rows);
            Ok(json!({ "rows": rows.sum::<usize>() }))
        }
        Wish::Append => {
            append(inside, std::mem::take(ready))?;
            Ok(json!({}))
        }
        Wish::Flush => inside.engine.flush().map_err(ours).map(|()| json!({})),
        Wish::Compact => {
            inside.engine.flush().map_err(ours)?;
            let report = inside.engine.compact(Effort::Full).map_err(ours)?;
            Ok(json!({ "merges": report.jobs }))
        }
        Wish::Ask { question, parameters } => {
            let began = Instant::now();
            let Answered { rows, elapsed, cost } =
                ask(&inside.engine, question, &parameters).map_err(ours)?;
            let seconds = began.elapsed().as_secs_f64();
            let (rows_scanned, cells_read) = (cost.rows_scanned, cost.cells_read);
            let line = AnswerLine { rows, elapsed_us: micros(elapsed), seconds, rows_scanned, cells_read };
            serde_json::to_value(line).map_err(|error| BenchError::Io(error.into()))
        }
    }
}

/// Appends from a thread for each list, and waits for all of them.
fn append(inside: &Inside<'_>, lists: Vec<Vec<Append>>) -> Result<(), BenchError> {
    let one =
        |list: Vec<Append>| list.into_iter().try_for_each(|append| inside.engine.append(append).map(drop));
    let all: insights_engine::Result<()> = std::thread::scope(|scope| {
        let threads: Vec<_> = lists.into_iter().map(|list| scope.spawn(move || one(list))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    all.map_err(|error| inside.error(error))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// 2024-02-29T12:00:00Z, in milliseconds since 1970.
    const AT_MS: i64 = 1_709_208_000_000;

    /// One value a line.
    fn text_of(values: &[Value]) -> String {
        values.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"
    }

    fn lines(wishes: &[Value], directory: &Path) -> Vec<Value> {
        let mut output = Vec::new();
        run(directory, Cursor::new(text_of(wishes)), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A file of one body.
    fn body(directory: &Path, name: &str, records: &[Value]) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text_of(records)).unwrap();
        path
    }

    fn window(more: &Value) -> Value {
        let mut all = json!({"org": "acme", "t0": AT_MS - 43_200_000, "t1": AT_MS + 43_200_000});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    }

    fn events() -> Vec<Value> {
        (0..20)
            .map(|n| {
                json!({"organization_id": "acme", "user_id": format!("u{}", n % 3), "session_id": format!("s{}", n % 4),
                       "event_type": if n % 2 == 0 { "page_view" } else { "click" }, "app_id": "a",
                       "timestamp": AT_MS + n, "event_data": {"page": "/p", "browser": "b"}})
            })
            .collect()
    }

    fn points() -> [Value; 5] {
        let point = |n: i64, name: &str, value: i64, app: Option<&str>| {
            json!({"organization_id": "acme", "name": name, "value": value, "app_id": app, "host": "h",
                   "timestamp": AT_MS + n})
        };
        [
            point(0, "cpu.usage", 40, None),
            point(1, "cpu.usage", 60, None),
            point(2, "response.time", 12, Some("a")),
            point(3, "requests.count", 4, Some("a")),
            point(4, "errors.count", 1, Some("a")),
        ]
    }

    fn records() -> Vec<Value> {
        (0..70)
            .map(|n| {
                json!({"organization_id": "acme", "user_id": "u1", "timestamp": AT_MS + n,
                       "action_type": if n % 2 == 0 { "security.login" } else { "project.created" },
                       "content_object": {"type": "user", "id": format!("o{n}")}})
            })
            .collect()
    }

    /// Every question, once.
    fn questions() -> [Value; 9] {
        let questions = [
            ("Q1", window(&json!({}))),
            ("Q2", window(&json!({}))),
            ("Q3", window(&json!({"app": "a"}))),
            ("Q4a", window(&json!({}))),
            ("Q4b", window(&json!({}))),
            ("Q5", window(&json!({"user": "u1"}))),
            ("Q6", window(&json!({"page": "/p", "browser": "b"}))),
            ("Q7", window(&json!({"app": "a", "t0": AT_MS, "t1": AT_MS + 3_600_000}))),
            ("Q8", window(&json!({}))),
        ];
        questions.map(|(name, parameters)| json!({"do": "ask", "question": name, "parameters": parameters}))
    }

    /// Judges the answers to [`questions`].
    fn judge(of: &[Value]) {
        let midnight = AT_MS - 43_200_000;
        let rows = |n: usize| &of[n]["rows"];
        assert_eq!(
            rows(0),
            &json!([
                [midnight, "", 20, 3, 4],
                [midnight, "click", 10, 0, 0],
                [midnight, "page_view", 10, 0, 0]
            ])
        );
        assert_eq!(
            (&rows(1)[0][1], &rows(1)[0][2], &rows(1)[0][3]),
            (&json!("cpu.usage"), &json!(50.0), &json!(60.0))
        );
        assert_eq!((&rows(2)[0][1], &rows(2)[0][5]), (&json!(12.0), &json!(0.25)));
        assert_eq!(rows(3), &json!([[midnight, 20, 3]]));
        assert_eq!((&rows(4)[0][1], &rows(4)[0][2]), (&json!(4.0), &json!(1.0)));
        assert_eq!(rows(5).as_array().unwrap().len(), 35);
        assert_eq!(rows(5)[0], json!([AT_MS + 68, 69, "security.login", "o68"]));
        assert_eq!(rows(6), &json!([[midnight, 20]]));
        assert_eq!(rows(7), &json!([[AT_MS, 12.0, 4.0, 1.0]]));
        assert_eq!(rows(8).as_array().unwrap().len(), 70);
        assert_eq!(rows(8)[50], json!([AT_MS + 19, 20, "project.created"]));
    }

    #[test]
    fn bodies_are_taken_and_every_question_is_answered_before_and_after_compaction() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("bodies");
        std::fs::create_dir(&directory).unwrap();
        let read = |stream: &str, path: PathBuf| json!({"do": "read", "stream": stream, "files": [[path]]});
        let mut wishes = vec![
            read("events", body(&directory, "e", &events())),
            json!({"do": "append"}),
            read("metrics", body(&directory, "m", &points())),
            json!({"do": "append"}),
            read("audit", body(&directory, "a", &records())),
            json!({"do": "append"}),
        ];
        let asked = questions();
        wishes.extend(asked.clone());
        wishes.push(json!({"do": "compact"}));
        wishes.extend(asked);
        let answers = lines(&wishes, &place.path().join("data"));
        assert_eq!(answers.iter().filter(|answer| answer.get("error").is_some()).count(), 0, "{answers:?}");
        assert_eq!([1, 3, 5].map(|n| answers[n]["rows"].as_u64().unwrap()), [20, 5, 70]);
        for of in [&answers[7..16], &answers[17..26]] {
            judge(of);
        }
    }

    #[test]
    fn a_line_that_cannot_be_done_is_answered_and_the_next_one_is_read() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        let bad = body(directory, "bad", &[json!({"organization_id": "acme", "event_type": ""})]);
        let wishes = [
            json!({"do": "nothing"}),
            json!({"do": "read", "stream": "events", "files": [["/nowhere"]]}),
            json!({"do": "read", "stream": "events", "files": [[bad]]}),
            json!({"do": "ask", "question": "Q8", "parameters": window(&json!({"org": ""}))}),
            json!({"do": "flush"}),
        ];
        let answers = lines(&wishes, &directory.join("data"));
        assert!(answers[1..5].iter().all(|answer| answer["error"].is_string()), "{answers:?}");
        assert!(answers[3]["error"].as_str().unwrap().contains("rejected"), "{answers:?}");
        assert!(answers[5].get("error").is_none());
    }
}
