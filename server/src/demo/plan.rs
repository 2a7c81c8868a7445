//! Who there is: organizations with their apps, hosts and users.

use insights_engine::error::{Error, Result};
use insights_engine::id::TenantId;
use insights_engine::time::{DAY_US, TimestampUs};

use super::incidents::Incidents;
use super::prng::Prng;
use super::story::{DEPLOY_ORGANIZATION, Story};

/// Most days of a demo.
pub(crate) const DAYS_MAX: u32 = 400;
/// Users of all organizations together.
#[cfg(test)]
pub(crate) const USERS: usize = 300;

/// A whole platform and its time.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What all randomness comes from.
    pub(crate) seed: u64,
    /// The first instant.
    pub(crate) start: TimestampUs,
    /// The first instant after.
    pub(crate) end: TimestampUs,
    /// The organizations, the first one is shown in the examples.
    pub(crate) organizations: Vec<Organization>,
    /// What goes wrong, and when.
    pub(crate) story: Story,
    /// What an administrator should notice.
    pub(crate) incidents: Incidents,
}

/// One customer of the platform.
#[derive(Debug, Clone)]
pub(crate) struct Organization {
    /// Its identifier.
    pub(crate) tenant: TenantId,
    /// Hours its people are ahead of UTC.
    pub(crate) offset_h: i64,
    /// The apps it made.
    pub(crate) apps: Vec<App>,
    /// The hosts its apps run on.
    pub(crate) hosts: Vec<String>,
    /// Its people.
    pub(crate) users: Vec<User>,
}

/// An app that was generated on the platform.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Its identifier.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Requests of a five-minute tick at demand 1.
    pub(crate) requests: f64,
    /// Median response time, milliseconds.
    pub(crate) latency_ms: f64,
    /// Share of requests that fail on a good day.
    pub(crate) error_rate: f64,
}

/// A person and their habits.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// Their identifier.
    pub(crate) id: String,
    /// Their name.
    pub(crate) name: String,
    /// Where they sit.
    pub(crate) ip: String,
    /// What they browse with, as `User-Agent` says it.
    pub(crate) client: &'static str,
    /// The name of the browser, as events say it.
    pub(crate) browser: &'static str,
    /// Sessions of a working day, on average.
    pub(crate) sessions: f64,
    /// Index of the app they mostly work in.
    pub(crate) app: usize,
    /// Whether they build projects and deploy, or only use apps.
    pub(crate) builder: bool,
}

/// What is fixed of an organization.
struct Sketch {
    id: &'static str,
    offset_h: i64,
    /// The start of its addresses, of the ranges for documentation (RFC 5737, RFC 3849).
    network: &'static str,
    users: usize,
    hosts: usize,
    apps: &'static [(&'static str, &'static str, f64, f64)],
}

/// Identifier, time zone, network, people, hosts; and of each app: slug, name, requests of a tick, latency.
const SKETCHES: [Sketch; 5] = [
    Sketch {
        id: "acme-logistics",
        offset_h: 1,
        network: "198.51.100.",
        users: 110,
        hosts: 2,
        apps: &[
            ("fleet-tracker", "Fleet Tracker", 260.0, 85.0),
            ("warehouse-desk", "Warehouse Desk", 180.0, 60.0),
            ("driver-portal", "Driver Portal", 120.0, 110.0),
            ("claims", "Claims", 30.0, 140.0),
        ],
    },
    Sketch {
        id: "lumiere-studio",
        offset_h: 1,
        network: "203.0.113.",
        users: 75,
        hosts: 1,
        apps: &[
            ("booking", "Booking", 150.0, 95.0),
            ("client-space", "Client Space", 70.0, 70.0),
            ("invoices", "Invoices", 25.0, 120.0),
        ],
    },
    Sketch {
        id: "orchid-health",
        offset_h: -5,
        network: "192.0.2.",
        users: 60,
        hosts: 1,
        apps: &[("intake", "Patient Intake", 90.0, 75.0), ("rota", "Staff Rota", 40.0, 55.0)],
    },
    Sketch {
        id: "papaya-games",
        offset_h: 9,
        network: "2001:db8:4::",
        users: 35,
        hosts: 1,
        apps: &[("leaderboard", "Leaderboard", 400.0, 35.0), ("support", "Support Desk", 20.0, 90.0)],
    },
    Sketch {
        id: "tilia-school",
        offset_h: 2,
        network: "2001:db8:5::",
        users: 20,
        hosts: 1,
        apps: &[("timetable", "Timetable", 45.0, 65.0)],
    },
];

const FIRST_NAMES: [&str; 30] = [
    "Amelie", "Bruno", "Chloe", "David", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Karin",
    "Lucas", "Maya", "Nadia", "Oscar", "Paula", "Quentin", "Rosa", "Samir", "Tessa", "Ulrich", "Vera",
    "Willem", "Xenia", "Yann", "Zoe", "Akira", "Mei", "Diego", "Aisha",
];
const LAST_NAMES: [&str; 24] = [
    "Martin", "Bernard", "Moreau", "Laurent", "Girard", "Schmidt", "Weber", "Keller", "Rossi", "Bianchi",
    "Garcia", "Lopez", "Silva", "Costa", "Nowak", "Jansen", "Larsen", "Okafor", "Haddad", "Tanaka", "Sato",
    "Nguyen", "Patel", "Cohen",
];
const BROWSERS: [(u32, (&str, &str)); 5] = [
    (
        55,
        (
            "Chrome",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        ),
    ),
    (
        18,
        (
            "Safari",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15",
        ),
    ),
    (
        12,
        (
            "Edge",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
        ),
    ),
    (10, ("Firefox", "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0")),
    (
        5,
        (
            "Mobile Safari",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1",
        ),
    ),
];

impl Plan {
    /// The organization that the examples are about, and that their key belongs to.
    pub fn shown_organization(&self) -> Option<&TenantId> {
        self.organizations.get(DEPLOY_ORGANIZATION).map(|organization| &organization.tenant)
    }

    /// The platform of `seed` in the `days` times 24 hours before `end`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for no day, more than [`DAYS_MAX`], or a time that does not fit.
    pub(crate) fn new(seed: u64, end: TimestampUs, days: u32) -> Result<Self> {
        if days == 0 || days > DAYS_MAX {
            return Err(Error::invalid(format!("a demo has 1 to {DAYS_MAX} days")));
        }
        let start = end.0.checked_sub(i64::from(days) * DAY_US).map(TimestampUs);
        let start = start.filter(|s| s.0 >= 0).ok_or_else(|| Error::invalid("a demo starts after 1970"))?;
        let organizations = SKETCHES
            .iter()
            .zip(0..)
            .map(|(sketch, number)| organization(sketch, &mut Prng::new(&[seed, number])))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            seed,
            start,
            end,
            organizations,
            story: Story::before(end),
            incidents: Incidents::before(end),
        })
    }
}

fn organization(sketch: &Sketch, prng: &mut Prng) -> Result<Organization> {
    let apps = sketch.apps.iter().map(|(slug, name, requests, latency_ms)| App {
        id: (*slug).to_owned(),
        name: (*name).to_owned(),
        requests: *requests,
        latency_ms: *latency_ms,
        error_rate: 0.002 + 0.006 * prng.unit(),
    });
    let apps = apps.collect();
    Ok(Organization {
        tenant: TenantId::new(sketch.id)?,
        offset_h: sketch.offset_h,
        apps,
        hosts: (1..=sketch.hosts).map(|n| format!("{}-{n:02}", sketch.id)).collect(),
        users: (0..sketch.users).map(|number| user(sketch, number, prng)).collect(),
    })
}

fn user(sketch: &Sketch, number: usize, prng: &mut Prng) -> User {
    let first = prng.pick(&FIRST_NAMES).copied().unwrap_or_default();
    let last = prng.pick(&LAST_NAMES).copied().unwrap_or_default();
    let (browser, client) = prng.weighted(&BROWSERS).copied().unwrap_or_default();
    let app_numbers: Vec<usize> = (0..sketch.apps.len()).collect();
    User {
        id: format!("{}.{}.{number}", first.to_lowercase(), last.to_lowercase()),
        name: format!("{first} {last}"),
        ip: format!("{}{}", sketch.network, 10 + number % 240),
        client,
        browser,
        // A few people live in the product, many look in once in a while.
        sessions: prng.lognormal(1.6, 0.6).min(6.0),
        app: prng.favourite(&app_numbers).copied().unwrap_or(0),
        builder: prng.chance(0.3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_same_for_the_same_seed_and_another_for_another() {
        let end = TimestampUs(20_000 * DAY_US);
        let of = |seed| format!("{:?}", Plan::new(seed, end, 30).unwrap());
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn a_plan_has_its_people_and_apps() {
        let plan = Plan::new(1, TimestampUs(20_000 * DAY_US), 30).unwrap();
        let users: usize = plan.organizations.iter().map(|o| o.users.len()).sum();
        assert_eq!((plan.organizations.len(), users), (5, USERS));
        assert!(plan.organizations.iter().all(|o| o.users.iter().all(|u| u.app < o.apps.len())));
    }

    #[test]
    fn days_that_do_not_fit_are_refused() {
        let end = TimestampUs(20 * DAY_US);
        for days in [0, 21, DAYS_MAX + 1] {
            assert!(Plan::new(1, end, days).is_err(), "{days}");
        }
    }
}
