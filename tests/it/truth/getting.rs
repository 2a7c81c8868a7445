//! The same questions by GET, with query parameters, and their answers as flat rows: what the judge says, too.

use insights_server::Config;
use insights_tests::{Call, ROOT};
use serde_json::Value;

use super::asked::{Question, chosen_analytics, chosen_performance, random_questions};
use super::bed::Bed;
use super::flat::{flat, flat_differences};
use super::judge::{differences, essence, take_undefined};
use super::platform::golden;
use super::random::{self, Random};

/// What a tool writes behind the question mark, the parameters in any order.
fn parameters(body: &Value, random: &mut Random) -> String {
    let mut all: Vec<Vec<String>> = Vec::new();
    for (name, value) in body.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
        let one = |text: &str| format!("{name}={}", encoded(text));
        match value {
            Value::String(text) => all.push(vec![one(text)]),
            Value::Array(items) if name != "filters" => {
                let texts: Vec<&str> = items.iter().map(|item| item.as_str().unwrap()).collect();
                let joined = vec![one(&texts.join(","))];
                let repeated = texts.into_iter().map(one).collect();
                all.push(if random.once_in(2) { joined } else { repeated });
            }
            other => all.push(vec![one(&other.to_string())]),
        }
    }
    random.shuffle(&mut all);
    all.concat().join("&")
}

/// Percent-encoded, but for what may stand as it is.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Where a question by GET is not answered as by POST, or not as is expected, in any format.
fn wrong(bed: &Bed, question: &Question, expected: &Value, random: &mut Random) -> Vec<String> {
    let key = bed.key(question.of());
    let query = parameters(&question.body(), random);
    let get = |more: &str| {
        let answer = bed.world.get(&format!("{}?{query}{more}", question.path()), key);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer
    };
    let answer = essence(get("").json());
    let mut out = differences(&essence(question.ask(bed)), &answer);
    let mut judged = answer;
    out.extend(take_undefined(&mut judged));
    out.extend(differences(expected, &judged));
    let rows = flat(expected);
    for format in ["rows", "ndjson", "csv"] {
        let text = get(&format!("&format={format}")).text();
        let found = flat_differences(&rows, &text, format);
        out.extend(found.into_iter().map(|one| format!("as {format}: {one}")));
    }
    out
}

#[test]
fn numbers_by_get_and_in_flat_rows_are_what_loops_over_the_records_say() {
    let organizations = golden(random::seed());
    let bed = Bed::full(Config::default(), &organizations);
    let mut random = Random(random::seed() ^ 0x6e7);
    let mut questions = random_questions(&mut random, random::questions(60));
    questions.extend(chosen_analytics().into_iter().step_by(4));
    questions.extend(chosen_performance().into_iter().step_by(3));
    let mut all = Vec::new();
    for question in &questions {
        let out = wrong(&bed, question, &question.expected(&organizations), &mut random);
        if !out.is_empty() {
            all.push(format!("{question:?}: {} differences: {:#?}", out.len(), &out[..out.len().min(6)]));
        }
    }
    let shown = all.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(all.is_empty(), "seed {}: {} answers are wrong\n{shown}", random::seed(), all.len());
}

#[test]
fn what_a_superuser_asks_of_everybody_by_get_is_what_is_answered_by_post() {
    let bed = Bed::full(Config::default(), &golden(random::seed()));
    let mut random = Random(random::seed() ^ 0xa11);
    for question in random_questions(&mut random, random::questions(15)) {
        let query = parameters(&question.body(), &mut random);
        let answer = bed.world.get(&format!("{}?{query}", question.path()), ROOT);
        let posted = bed.world.send(Call::new("POST", question.path()).key(ROOT).json(&question.body()));
        assert_eq!(essence(answer.expect(200)), essence(posted.expect(200)), "{query}");
    }
}
