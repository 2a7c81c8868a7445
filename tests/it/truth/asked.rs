//! Questions of the three report routes, each with who asks it, and the answers as they must be.

use serde_json::{Value, json};

use super::bed::{ANALYTICS, Bed, PERFORMANCE, QUERY};
use super::calendar::Span;
use super::expected;
use super::naive::{Activity, MetricQuestion};
use super::platform::Organization;
use super::questions::{self, analytics_body, joined};
use super::random::Random;

/// A question and who asks it.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Analytics(&'static str, Span, Activity, bool),
    Performance(&'static str, &'static str, Span, f64, bool),
    Query(&'static str, Span, MetricQuestion),
}

impl Question {
    /// Whose it is.
    pub(crate) fn of(&self) -> &'static str {
        match self {
            Self::Analytics(of, ..) | Self::Performance(of, ..) | Self::Query(of, ..) => of,
        }
    }

    /// Where it is asked.
    pub(crate) fn path(&self) -> &'static str {
        match self {
            Self::Analytics(..) => ANALYTICS,
            Self::Performance(..) => PERFORMANCE,
            Self::Query(..) => QUERY,
        }
    }

    /// What is asked, without whose it is.
    pub(crate) fn body(&self) -> Value {
        match self {
            Self::Analytics(_, span, asked, compare) => {
                let mut body = analytics_body(span, asked);
                if *compare {
                    body["compare"] = json!("previous_period");
                }
                body
            }
            Self::Performance(_, app, span, t_ms, exact) => {
                let more = json!({"app_id": app, "apdex_t_ms": t_ms, "exact": exact});
                joined(span.body(), &more)
            }
            Self::Query(_, span, asked) => {
                let mut body = joined(span.body(), &asked.body());
                if span.group_by.ends_with('m') {
                    body["step"] = body["group_by"].take();
                }
                body
            }
        }
    }

    /// The answer.
    pub(crate) fn ask(&self, bed: &Bed) -> Value {
        bed.ask(Some(self.of()), self.path(), &self.body())
    }

    /// The answer as it must be.
    pub(crate) fn expected(&self, all: &[Organization]) -> Value {
        let of = |name: &str| all.iter().find(|one| one.name == name).unwrap();
        match self {
            Self::Analytics(name, span, asked, compare) => {
                expected::analytics(all, of(name), asked, span, *compare)
            }
            Self::Performance(name, app, span, t_ms, exact) => {
                expected::performance(of(name), app, span, *t_ms, *exact)
            }
            Self::Query(name, span, asked) => expected::metric_query(of(name), asked, span),
        }
    }
}

/// One question of analytics for each thing that is hard about time.
pub(crate) fn chosen_analytics() -> Vec<Question> {
    let plain = Activity::default;
    let exact = || Activity { exact: true, ..Activity::default() };
    let by = |breakdown| Activity { breakdown: Some(breakdown), ..exact() };
    let week = |week_start, zone, first, last| Span { week_start, ..Span::days(zone, "week", first, last) };
    let days = Span::days;
    [
        // Clocks that are set, a leap day, a day that there is not.
        ("acme", days("Europe/Paris", "hour", "2024-03-30", "2024-03-31"), exact()),
        ("acme", days("Europe/Paris", "hour", "2024-10-27", "2024-10-27"), plain()),
        ("acme", days("America/St_Johns", "day", "2024-03-08", "2024-03-12"), exact()),
        ("acme", days("America/St_Johns", "hour", "2024-11-03", "2024-11-03"), plain()),
        ("acme", days("Australia/Lord_Howe", "hour", "2024-04-06", "2024-04-07"), exact()),
        ("acme", days("Australia/Lord_Howe", "day", "2024-10-04", "2024-10-07"), plain()),
        ("bolt", days("Asia/Kathmandu", "day", "2024-10-18", "2024-10-23"), by("user_id")),
        ("acme", days("Pacific/Apia", "day", "2011-12-28", "2012-01-01"), exact()),
        ("acme", days("UTC", "month", "2024-02-01", "2024-03-31"), by("page")),
        // Buckets that the window cuts, and each first day of a week.
        ("acme", days("Europe/Paris", "month", "2024-02-15", "2024-11-20"), by("user_id")),
        ("acme", days("America/St_Johns", "week", "2024-02-15", "2024-11-20"), by("event_data.n")),
        ("acme", week("sunday", "Pacific/Apia", "2024-03-01", "2024-04-14"), exact()),
        ("bolt", week("saturday", "UTC", "2024-02-27", "2024-03-15"), by("feature")),
        ("bolt", week("monday", "America/New_York", "2024-02-28", "2024-03-13"), by("event_data.n")),
        // Running periods.
        ("acme", days("Europe/Paris", "day", "2024-11-01", "2024-11-07"), exact()),
        ("acme", days("UTC", "month", "2024-11-01", "2024-11-30"), plain()),
        ("acme", days("Asia/Kathmandu", "hour", "2024-11-05", "2024-11-05"), by("event_type")),
        // The hosts of the platform; nothing at all.
        ("quiet", days("UTC", "day", "2024-10-20", "2024-11-05"), exact()),
        ("quiet", days("UTC", "day", "2024-06-01", "2024-06-02"), by("app_id")),
    ]
    .map(|(of, span, asked)| Question::Analytics(of, span, asked, true))
    .to_vec()
}

/// The same of performance: probes of each interval, requests alone, nothing at all.
pub(crate) fn chosen_performance() -> Vec<Question> {
    let days = Span::days;
    [
        ("acme", "shop", days("Europe/Paris", "hour", "2024-03-30", "2024-03-31"), 500.0, true),
        ("acme", "shop", days("UTC", "day", "2024-03-25", "2024-04-02"), 500.0, false),
        ("acme", "shop", days("UTC", "day", "2024-10-20", "2024-10-20"), 500.0, false),
        ("acme", "slow", days("Australia/Lord_Howe", "hour", "2024-10-05", "2024-10-06"), 120.0, true),
        ("acme", "blog", days("Asia/Kathmandu", "day", "2024-11-01", "2024-11-08"), 500.0, false),
        ("acme", "mall", days("America/St_Johns", "hour", "2024-11-02", "2024-11-03"), 500.0, false),
        ("bolt", "lonely", days("UTC", "month", "2024-02-10", "2024-11-20"), 300.0, false),
        ("bolt", "lonely", days("UTC", "day", "2024-10-01", "2024-10-31"), 500.0, true),
        ("quiet", "nothing", days("UTC", "day", "2024-10-01", "2024-10-02"), 500.0, false),
    ]
    .map(|(of, app, span, t_ms, exact)| Question::Performance(of, app, span, t_ms, exact))
    .to_vec()
}

/// Random questions of every kind.
pub(crate) fn random_questions(random: &mut Random, count: u64) -> Vec<Question> {
    let one = |_| {
        let of = random.choose(&["acme", "acme", "bolt", "quiet"]);
        match random.below(4) {
            0 => {
                let app = random.choose(&["shop", "blog", "mall", "slow", "pulse", "lonely"]);
                let (t_ms, span) = (random.choose(&[500.0, 500.0, 80.5]), questions::span(random));
                Question::Performance(of, app, span, t_ms, random.once_in(2))
            }
            1 => {
                let width = random.choose(&["hour", "day", "week", "month", "30m", "45m", "720m"]);
                // A step is as narrow as an hour.
                let mut span = questions::span_of(random, if width.ends_with('m') { "hour" } else { width });
                span.group_by = width;
                Question::Query(of, span, questions::metric_question(random))
            }
            _ => {
                let (span, asked) = (questions::span(random), questions::activity(random));
                Question::Analytics(of, span, asked, random.once_in(3))
            }
        }
    };
    (0..count).map(one).collect()
}
