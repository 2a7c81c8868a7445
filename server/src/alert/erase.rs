//! What becomes of alerts when an organization, or a user who made something, is erased.

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;

use super::dispatch;
use super::driver::Alerts;
use super::maintenance::Maintenance;
use super::record;
use super::rule::Rule;
use super::silence::Silence;
use crate::store::Store;

/// Who made what somebody made who was erased.
const ERASED: &str = "erased";

impl Alerts {
    /// The removals of everything that is kept of an organization's alerts.
    pub fn removals(&self, store: &Store, organization: &TenantId) -> Vec<CatalogPut> {
        let prefixes = [Rule::PREFIX, record::PREFIX, Silence::PREFIX, Maintenance::PREFIX, dispatch::PREFIX];
        let of_prefix = |prefix: &str| {
            let prefix = format!("{prefix}{}/", organization.as_str());
            store.catalog_scan(CatalogKind::Setting, prefix.as_bytes())
        };
        let keys = prefixes.into_iter().flat_map(of_prefix).map(|(key, _)| key);
        keys.map(|key| CatalogPut { kind: CatalogKind::Setting, key, value: None }).collect()
    }

    /// Forgets everything of an organization.
    pub fn remove_all(&self, organization: &TenantId) {
        self.book().remove_all(organization);
        self.mutes().remove_all(organization);
        self.groups().retain(|(of, _), _| of != organization);
    }

    /// Silences and windows of an organization that a credential made, from now on made by nobody; and their records.
    pub fn forget_maker(&self, organization: &TenantId, credential: &str) -> Vec<CatalogPut> {
        let mut puts = Vec::new();
        let mut mutes = self.mutes();
        let silences: Vec<Silence> = mutes.silences(Some(organization)).cloned().collect();
        for silence in silences.into_iter().filter(|silence| silence.created_by == credential) {
            let silence = Silence { created_by: ERASED.to_owned(), ..silence };
            puts.push(silence.put());
            mutes.put_silence(silence);
        }
        let windows: Vec<Maintenance> = mutes.maintenance(Some(organization)).cloned().collect();
        for window in windows.into_iter().filter(|window| window.created_by == credential) {
            let window = Maintenance { created_by: ERASED.to_owned(), ..window };
            puts.push(window.put());
            mutes.put_maintenance(window);
        }
        puts
    }
}
