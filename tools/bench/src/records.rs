//! Records that look like a platform's, from a seed: what both ways into a store are measured with.

use crate::args::Stream;
use crate::random::Random;

/// Users of an organization, when nothing is said.
const USERS: u64 = 5_000;
/// Apps that records are about.
pub(crate) const APPS: u64 = 40;
/// Hosts and pages that they are about.
const HOSTS: u64 = 20;
const PAGES: u64 = 200;
/// How old a record is that is not late, milliseconds.
const AGE_MS: u64 = 60_000;

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
/// Metrics that are known beforehand; their kinds need not be told.
const METRICS: [&str; 8] = [
    "cpu.usage",
    "memory.usage",
    "network.in",
    "response.time",
    "response.time",
    "requests.count",
    "errors.count",
    "db.connections",
];
const BROWSERS: [&str; 4] = ["Chrome", "Safari", "Firefox", "Edge"];

/// Whose a record is and when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// The organization, by index.
    pub(crate) organization: u64,
    /// When it happened, milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// In which app, by number.
    pub(crate) app: u64,
    /// By which user, by number.
    pub(crate) user: u64,
    /// What happened.
    pub(crate) what: What,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A product event.
    Event {
        /// Its type.
        event_type: &'static str,
        /// Its session, by number.
        session: u64,
        /// Its page, by number.
        page: u64,
        /// The browser.
        browser: &'static str,
        /// How long it took.
        duration_ms: u64,
    },
    /// A metric point.
    Point {
        /// The metric.
        name: &'static str,
        /// Hundredths of its value.
        hundredths: u64,
        /// Its host, by number.
        host: u64,
    },
    /// An audit record.
    Audit {
        /// What was done.
        action: &'static str,
        /// The type of the object.
        object: &'static str,
        /// The object, by number.
        object_id: u64,
        /// The last two numbers of the address.
        address: (u64, u64),
        /// The browser.
        browser: &'static str,
        /// How long it took.
        elapsed_ms: u64,
    },
}

/// How records are spread over organizations and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Organizations, the first ones with more records than the last.
    pub(crate) organizations: u64,
    /// Users of each of them.
    pub(crate) users: u64,
    /// Percent of the records that are late.
    pub(crate) late_percent: u64,
    /// How late at most, milliseconds.
    pub(crate) late_ms: u64,
}

impl Spread {
    /// One organization, nothing late.
    pub(crate) const ONE: Self = Self { organizations: 1, users: USERS, late_percent: 0, late_ms: 0 };
}

/// Makes records of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    stream: Stream,
    spread: Spread,
    random: Random,
}

impl Records {
    /// The same records for the same seed.
    pub(crate) fn new(stream: Stream, spread: Spread, seed: u64) -> Self {
        Self { stream, spread, random: Random::new(seed) }
    }

    /// A record of the minute before `now_ms`, or a late one.
    pub(crate) fn draw(&mut self, now_ms: i64) -> Record {
        let random = &mut self.random;
        let late = random.below(100) < self.spread.late_percent;
        let age = random.below(if late { self.spread.late_ms } else { AGE_MS });
        let organization = random.skewed(self.spread.organizations);
        let (user, app) = (random.below(self.spread.users), random.below(APPS));
        let at_ms = now_ms.saturating_sub_unsigned(age);
        Record { organization, at_ms, app, user, what: what(self.stream, random, user) }
    }
}

/// What a record of a stream says; `user` did it.
pub(crate) fn what(stream: Stream, random: &mut Random, user: u64) -> What {
    match stream {
        Stream::Events => What::Event {
            event_type: random.pick(&EVENT_TYPES),
            session: user * 8 + random.below(8),
            page: random.below(PAGES),
            browser: random.pick(&BROWSERS),
            duration_ms: random.below(4_000),
        },
        Stream::Metrics => What::Point {
            name: random.pick(&METRICS),
            hundredths: random.below(10_000),
            host: random.below(HOSTS),
        },
        Stream::Audit => {
            let (action, object) = random.pick(&ACTIONS);
            What::Audit {
                action,
                object,
                object_id: random.below(2_000),
                address: (random.below(256), random.below(256)),
                browser: random.pick(&BROWSERS),
                elapsed_ms: random.below(900),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_the_same_for_a_seed_and_spread_as_told() {
        let spread = Spread { organizations: 9, users: 100, late_percent: 50, late_ms: 86_400_000 };
        let draw = |seed| {
            let mut records = Records::new(Stream::Events, spread, seed);
            (0..500).map(|_| records.draw(1_700_000_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..9).all(|n| draw(1).iter().any(|record| record.organization == n)));
        let late = draw(1).iter().filter(|record| record.at_ms < 1_700_000_000_000 - 60_000).count();
        assert!((150..350).contains(&late), "{late} of 500");
    }
}
