//! Time zones by their names, and the one of each organization.

use insights_engine::append::CatalogKind;
use insights_engine::id::TenantId;
use insights_engine::time::{TimeRange, TimestampUs};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::store::Store;

/// Longest name of a zone, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// What the keys of organizations' settings start with.
const ORGANIZATION_PREFIX: &str = "organization/";
/// Version of an organization's settings that is read.
const ORGANIZATION_VERSION: u32 = 1;

/// A zone of the IANA database and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The name.
    pub name: String,
    /// The rules.
    pub rules: TimeZone,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// The zone of a name.
    ///
    /// # Errors
    ///
    /// What is expected, in words.
    pub fn find(name: &str) -> Result<Self, String> {
        if name == "UTC" {
            return Ok(Self::utc());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
        // Names that could be read as paths never reach the time zone database.
        let sane = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.chars().all(plain)
            && !name.starts_with('/');
        let rules = sane.then(|| TimeZone::get(name).ok()).flatten();
        let rules = rules.ok_or_else(|| format!("{name:?} is no time zone of the IANA database"))?;
        Ok(Self { name: name.to_owned(), rules })
    }

    /// The last day that is over at `now`.
    pub fn yesterday(&self, now: TimestampUs) -> Option<Date> {
        let now = Timestamp::from_microsecond(now.0).ok()?;
        self.rules.to_datetime(now).date().yesterday().ok()
    }

    /// A local day, from its first instant to the first of the next.
    pub fn day(&self, day: Date) -> Option<TimeRange> {
        let start = |day: Date| {
            let at = day.to_zoned_datetime(self.rules.clone()).ok()?.start_of_day().ok()?;
            Some(TimestampUs(at.timestamp().as_microsecond()))
        };
        Some(TimeRange { start: start(day)?, end: start(day.tomorrow().ok()?)? })
    }
}

/// What is kept of an organization under `organization/<id>`; members that are not known are left alone.
#[derive(Debug, Deserialize)]
struct OrganizationRecord {
    version: u32,
    timezone: Option<String>,
}

/// The zone an organization has set; none when it has not, or the record is of a later version.
pub fn of_organization(store: &Store, organization: &TenantId) -> Option<Zone> {
    let key = format!("{ORGANIZATION_PREFIX}{}", organization.as_str());
    zone_in(&store.catalog_get(CatalogKind::Setting, key.as_bytes())?)
}

/// The zones that organizations have set, each once, by name.
pub fn of_all_organizations(store: &Store) -> Vec<Zone> {
    let records = store.catalog_scan(CatalogKind::Setting, ORGANIZATION_PREFIX.as_bytes());
    let mut zones: Vec<Zone> = records.iter().filter_map(|(_, value)| zone_in(value)).collect();
    zones.sort_by(|a, b| a.name.cmp(&b.name));
    zones.dedup_by(|a, b| a.name == b.name);
    zones
}

fn zone_in(value: &[u8]) -> Option<Zone> {
    let record: OrganizationRecord = serde_json::from_slice(value).ok()?;
    (record.version == ORGANIZATION_VERSION).then_some(())?;
    Zone::find(&record.timezone?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_may_have_23_or_25_hours() {
        let zone = Zone::find("Europe/Berlin").unwrap();
        let hours = |month, day| {
            let range = zone.day(jiff::civil::date(2024, month, day)).unwrap();
            (range.end.0 - range.start.0) / 3_600_000_000
        };
        assert_eq!((hours(3, 31), hours(4, 1), hours(10, 27)), (23, 24, 25));
        let now = TimestampUs("2024-03-31T22:30:00Z".parse::<Timestamp>().unwrap().as_microsecond());
        assert_eq!(zone.yesterday(now), Some(jiff::civil::date(2024, 3, 31)));
        assert_eq!(Zone::utc().yesterday(now), Some(jiff::civil::date(2024, 3, 30)));
    }

    #[test]
    fn what_is_no_zone_is_none() {
        for bad in ["", "/etc/localtime", "../UTC", "Mars/Base", "a b", &"x".repeat(65)] {
            assert!(Zone::find(bad).is_err(), "{bad}");
        }
        assert!(zone_in(br#"{"version":1,"timezone":"Europe/Paris","other":1}"#).is_some());
        for bad in [&b"{}"[..], b"", br#"{"version":2,"timezone":"UTC"}"#, br#"{"version":1}"#] {
            assert!(zone_in(bad).is_none());
        }
    }
}
