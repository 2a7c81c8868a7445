//! What keeps alerts silent: silences and maintenance windows, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use insights_engine::append::CatalogKind;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;

use super::book::Key;
use super::label::Labels;
use super::maintenance::Maintenance;
use super::silence::Silence;
use crate::store::Store;

/// Silences and maintenance windows by organization and id.
#[derive(Debug, Default)]
pub struct Mutes {
    silences: BTreeMap<Key, Arc<Silence>>,
    maintenance: BTreeMap<Key, Arc<Maintenance>>,
}

/// Those of an organization that hold at a moment.
#[derive(Debug, Clone, Default)]
pub struct Active {
    silences: Vec<Arc<Silence>>,
    maintenance: Vec<Arc<Maintenance>>,
}

/// What keeps one alert silent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Muted {
    /// Ids of silences.
    pub silenced_by: Vec<String>,
    /// Ids of maintenance windows.
    pub maintenance: Vec<String>,
}

impl Muted {
    /// Whether anything does.
    pub fn is_muted(&self) -> bool {
        !self.silenced_by.is_empty() || !self.maintenance.is_empty()
    }
}

impl Active {
    /// What keeps an alert with these labels silent.
    pub fn of(&self, labels: &Labels) -> Muted {
        let silences = self.silences.iter().filter(|silence| silence.is_about(labels));
        let windows = self.maintenance.iter().filter(|window| window.is_about(labels));
        Muted {
            silenced_by: silences.map(|silence| silence.id.clone()).collect(),
            maintenance: windows.map(|window| window.id.clone()).collect(),
        }
    }
}

impl Mutes {
    /// Those of the store.
    pub fn load(store: &Store) -> Self {
        let all = |prefix: &str| store.catalog_scan(CatalogKind::Setting, prefix.as_bytes());
        let mut mutes = Self::default();
        for (key, value) in all(Silence::PREFIX) {
            if let Some(silence) = Silence::of_record(&key, &value) {
                mutes.put_silence(silence);
            }
        }
        for (key, value) in all(Maintenance::PREFIX) {
            if let Some(window) = Maintenance::of_record(&key, &value) {
                mutes.put_maintenance(window);
            }
        }
        mutes
    }

    /// What holds at `now` in an organization: shared, so that nothing waits while it is compared with alerts.
    pub fn active(&self, organization: &TenantId, now: TimestampUs) -> Active {
        let silences = of(&self.silences, Some(organization)).filter(|silence| silence.is_active(now));
        let windows = of(&self.maintenance, Some(organization)).filter(|window| window.is_active(now));
        Active { silences: silences.cloned().collect(), maintenance: windows.cloned().collect() }
    }

    /// The silences of an organization, or of all.
    pub fn silences(&self, organization: Option<&TenantId>) -> impl Iterator<Item = &Silence> {
        of(&self.silences, organization).map(AsRef::as_ref)
    }

    /// The maintenance windows of an organization, or of all.
    pub fn maintenance(&self, organization: Option<&TenantId>) -> impl Iterator<Item = &Maintenance> {
        of(&self.maintenance, organization).map(AsRef::as_ref)
    }

    /// Adds a silence.
    pub fn put_silence(&mut self, silence: Silence) {
        self.silences.insert((silence.organization.clone(), silence.id.clone()), Arc::new(silence));
    }

    /// Adds a maintenance window.
    pub fn put_maintenance(&mut self, window: Maintenance) {
        self.maintenance.insert((window.organization.clone(), window.id.clone()), Arc::new(window));
    }

    /// Takes a silence away.
    pub fn remove_silence(&mut self, silence: &Silence) {
        self.silences.remove(&(silence.organization.clone(), silence.id.clone()));
    }

    /// Takes a maintenance window away.
    pub fn remove_maintenance(&mut self, window: &Maintenance) {
        self.maintenance.remove(&(window.organization.clone(), window.id.clone()));
    }

    /// Takes away all of an organization.
    pub fn remove_all(&mut self, organization: &TenantId) {
        self.silences.retain(|(of, _), _| of != organization);
        self.maintenance.retain(|(of, _), _| of != organization);
    }
}

fn of<'a, T>(
    all: &'a BTreeMap<Key, Arc<T>>,
    organization: Option<&TenantId>,
) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
    let from = organization.map(|organization| (organization.clone(), String::new()));
    let all = match &from {
        Some(from) => all.range(from..),
        None => all.range::<Key, _>(..),
    };
    let organization = organization.cloned();
    all.take_while(move |((of, _), _)| organization.as_ref().is_none_or(|organization| of == organization))
        .map(|(_, one)| one)
}
