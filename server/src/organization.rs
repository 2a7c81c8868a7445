//! What an organization has set for itself: the time zone of its days.

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;
use serde_json::{Map, Value};

use crate::job::zone::Zone;
use crate::store::Store;

/// What the keys of organizations' settings start with.
const PREFIX: &str = "organization/";
/// Version of an organization's settings.
const VERSION: u64 = 1;

/// An organization's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationSettings {
    /// The time zone of its days; none when it has set none, and the server's holds.
    pub timezone: Option<Zone>,
}

impl OrganizationSettings {
    /// What an organization has set; nothing when that is of a later version.
    pub fn of(store: &Store, organization: &TenantId) -> Self {
        let stored = store.catalog_get(CatalogKind::Setting, &key(organization));
        stored.map(|value| Self::read(&value)).unwrap_or_default()
    }

    /// The zones that organizations have set, each once, by name.
    pub fn zones(store: &Store) -> Vec<Zone> {
        let records = store.catalog_scan(CatalogKind::Setting, PREFIX.as_bytes());
        let mut zones: Vec<Zone> =
            records.iter().filter_map(|(_, value)| Self::read(value).timezone).collect();
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        zones.dedup_by(|a, b| a.name == b.name);
        zones
    }

    fn read(value: &[u8]) -> Self {
        let Some(record) = members(value) else { return Self::default() };
        let timezone = record.get("timezone").and_then(Value::as_str);
        Self { timezone: timezone.and_then(|name| Zone::find(name).ok()) }
    }

    /// The record that keeps these settings; members of the stored one that are not known here stay.
    pub fn put(&self, store: &Store, organization: &TenantId) -> CatalogPut {
        let stored = store.catalog_get(CatalogKind::Setting, &key(organization));
        let mut record = stored.and_then(|value| members(&value)).unwrap_or_default();
        record.insert("version".to_owned(), VERSION.into());
        record.insert("timezone".to_owned(), self.timezone.as_ref().map(|zone| zone.name.as_str()).into());
        let value = Value::Object(record).to_string().into_bytes();
        CatalogPut { kind: CatalogKind::Setting, key: key(organization), value: Some(value) }
    }
}

/// The key of an organization's settings.
pub fn key(organization: &TenantId) -> Vec<u8> {
    format!("{PREFIX}{}", organization.as_str()).into_bytes()
}

/// The members of a record of the version that is known.
fn members(value: &[u8]) -> Option<Map<String, Value>> {
    let record: Map<String, Value> = serde_json::from_slice(value).ok()?;
    (record.get("version")?.as_u64()? == VERSION).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_when_it_is_of_this_version_and_its_zone_is_one() {
        let zone = |text: &str| OrganizationSettings::read(text.as_bytes()).timezone.map(|zone| zone.name);
        assert_eq!(
            zone(r#"{"version":1,"timezone":"Europe/Paris","other":1}"#).as_deref(),
            Some("Europe/Paris")
        );
        for bad in [
            "{}",
            "",
            r#"{"version":2,"timezone":"UTC"}"#,
            r#"{"version":1}"#,
            r#"{"version":1,"timezone":"Mars/X"}"#,
        ] {
            assert_eq!(zone(bad), None, "{bad}");
        }
    }
}
