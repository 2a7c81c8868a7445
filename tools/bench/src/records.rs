//! Records that look like a platform's, from a seed, as bodies that are ready to be sent.

use std::fmt::Write;

use crate::args::Stream;

/// Users, apps, hosts and pages that records are about.
const USERS: u64 = 5_000;
const APPS: u64 = 40;
const HOSTS: u64 = 20;
const PAGES: u64 = 200;

const EVENT_TYPES: [&str; 8] = [
    "page_view",
    "page_view",
    "button_click",
    "record_updated",
    "search",
    "form_submit",
    "file_uploaded",
    "report_opened",
];
const ACTIONS: [(&str, &str); 6] = [
    ("user.login", "user"),
    ("user.logout", "user"),
    ("project.updated", "project"),
    ("workflow.executed", "workflow"),
    ("app.deployed", "app"),
    ("project.created", "project"),
];
const METRICS: [&str; 6] =
    ["cpu.usage", "memory.usage", "network.in", "response.time", "requests.count", "db.connections"];
const BROWSERS: [&str; 4] = ["Chrome", "Safari", "Firefox", "Edge"];

/// Bodies of one client, made before anything is measured.
#[derive(Debug)]
pub(crate) struct Bodies {
    bodies: Vec<String>,
}

impl Bodies {
    /// `count` bodies of `batch` records each; times lie in the minute before `now_ms`, milliseconds since 1970.
    pub(crate) fn make(
        stream: Stream,
        organization: Option<&str>,
        (count, batch): (usize, u32),
        seed: u64,
        now_ms: i64,
    ) -> Self {
        let mut random = Random(seed);
        let bodies = (0..count)
            .map(|_| {
                let mut body = String::from("[");
                for index in 0..batch {
                    if index > 0 {
                        body.push(',');
                    }
                    record(&mut body, stream, organization, &mut random, now_ms);
                }
                body.push(']');
                body
            })
            .collect();
        Self { bodies }
    }

    /// The body of request `n`, in turn.
    pub(crate) fn get(&self, n: u64) -> &str {
        let index = usize::try_from(n % self.bodies.len().max(1) as u64).unwrap_or(0);
        self.bodies.get(index).map_or("[]", String::as_str)
    }
}

/// Appends one record. Every text is of letters that JSON takes as they are.
fn record(out: &mut String, stream: Stream, organization: Option<&str>, random: &mut Random, now_ms: i64) {
    let at = now_ms.saturating_sub_unsigned(random.below(60_000));
    out.push('{');
    if let Some(organization) = organization {
        push(out, format_args!("\"organization_id\":\"{organization}\","));
    }
    let (user, app) = (random.below(USERS), random.below(APPS));
    match stream {
        Stream::Events => push(
            out,
            format_args!(
                "\"event_type\":\"{}\",\"user_id\":\"user-{user}\",\"session_id\":\"s-{:x}\",\"app_id\":\"app-{app}\",\
                 \"timestamp\":{at},\"event_data\":{{\"page\":\"/app/{}\",\"browser\":\"{}\",\"duration_ms\":{}}}",
                random.pick(&EVENT_TYPES),
                user * 8 + random.below(8),
                random.below(PAGES),
                random.pick(&BROWSERS),
                random.below(4_000),
            ),
        ),
        Stream::Audit => {
            let (action, object) = random.pick(&ACTIONS);
            push(
                out,
                format_args!(
                    "\"action_type\":\"{action}\",\"description\":\"{object} {}\",\"user_id\":\"user-{user}\",\
                     \"content_object\":{{\"type\":\"{object}\",\"id\":\"{object}-{}\"}},\"ip_address\":\"10.0.{}.{}\",\
                     \"user_agent\":\"Mozilla/5.0 {}\",\"timestamp\":{at},\"metadata\":{{\"elapsed_ms\":{}}}",
                    random.below(500),
                    random.below(2_000),
                    random.below(256),
                    random.below(256),
                    random.pick(&BROWSERS),
                    random.below(900),
                ),
            );
        }
        Stream::Metrics => push(
            out,
            format_args!(
                "\"name\":\"{}\",\"value\":{}.{:02},\"host\":\"host-{}\",\"app_id\":\"app-{app}\",\"timestamp\":{at}",
                random.pick(&METRICS),
                random.below(100),
                random.below(100),
                random.below(HOSTS),
            ),
        ),
    }
    out.push('}');
}

/// Writing into a string does not fail.
fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.bits()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    fn pick<T: Copy + Default, const N: usize>(&mut self, items: &[T; N]) -> T {
        let index = usize::try_from(self.below(N as u64)).unwrap_or(0);
        items.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_so_many_records_and_the_same_for_a_seed() {
        for stream in [Stream::Events, Stream::Metrics, Stream::Audit] {
            let make = |seed| Bodies::make(stream, Some("acme"), (2, 30), seed, 1_700_000_000_000);
            let body: serde_json::Value = serde_json::from_str(make(1).get(0)).unwrap();
            assert_eq!(body.as_array().unwrap().len(), 30);
            assert!(body.as_array().unwrap().iter().all(|r| r["organization_id"] == "acme"));
            assert_eq!(make(1).get(1), make(1).get(3));
            assert_ne!(make(1).get(0), make(2).get(0));
        }
    }
}
