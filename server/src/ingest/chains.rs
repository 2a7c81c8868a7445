//! Which chain of events an identity is in, so that the answer to an event can name its session.
//!
//! A chain is what the reports call a session of events without a session id: gaps under 30 minutes,
//! whatever the order of arrival. Chains of identities that single events came from are kept in
//! memory, in two generations of bounded size; when nothing is known, or an event comes before what
//! is known, the caller asks the store ([`super::look_back`]).

use std::collections::HashMap;

use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use parking_lot::Mutex;

use super::session::IdentityHash;
use crate::domain::event::SESSION_GAP_US;

/// Most chains of one generation; two generations take about 16 MiB.
const GENERATION_CHAINS_MAX: usize = 131_072;

/// The last chain of an identity, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chain {
    first: TimestampUs,
    last: TimestampUs,
    /// Whether nothing before `first` can belong to it.
    settled: bool,
    /// The latest event that its identity may have had before the chain was taken in, and that is not in it.
    unseen: Option<TimestampUs>,
}

/// What is known of an organization's events that are not in any chain here.
#[derive(Debug, Clone, Copy, Default)]
struct Unseen {
    /// Whether the store was asked what it had before.
    asked: bool,
    /// The latest of them.
    latest: Option<TimestampUs>,
}

/// The answer to where an event belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the chain that starts here.
    Known(TimestampUs),
    /// The store must be asked what lies before.
    Unknown,
}

/// Chains of identities.
#[derive(Debug)]
pub struct Chains {
    inner: Mutex<Inner>,
}

impl Default for Chains {
    fn default() -> Self {
        Self::with_generations_of(GENERATION_CHAINS_MAX)
    }
}

#[derive(Debug, Default)]
struct Inner {
    generation_chains_max: usize,
    young: HashMap<IdentityHash, Chain>,
    old: HashMap<IdentityHash, Chain>,
    /// The latest event of a chain that was dropped.
    dropped: Option<TimestampUs>,
    organizations: HashMap<TenantId, Unseen>,
}

fn touches(a: TimestampUs, b: TimestampUs) -> bool {
    (a.0 - b.0).abs() < SESSION_GAP_US
}

impl Chain {
    fn holds(&self, at: TimestampUs) -> bool {
        (self.first <= at && at <= self.last) || touches(at, self.first) || touches(at, self.last)
    }

    /// Takes an event in; `None` when it belongs to an earlier chain, which is not kept.
    fn take(&mut self, at: TimestampUs) -> Option<Place> {
        if self.holds(at) {
            // What lies before the new start may belong to the chain as well.
            self.settled &= at >= self.first;
            self.first = self.first.min(at);
            self.last = self.last.max(at);
        } else if at > self.last {
            // Every event of an identity that has a chain here was taken in, but for those that were there
            // before it: after them this is a new start.
            self.settled = self.unseen.is_none_or(|unseen| at.0.saturating_sub(unseen.0) >= SESSION_GAP_US);
            (self.first, self.last) = (at, at);
        } else {
            return None;
        }
        Some(if self.settled { Place::Known(self.first) } else { Place::Unknown })
    }
}

impl Inner {
    fn chain(&mut self, identity: IdentityHash) -> Option<&mut Chain> {
        if let Some(chain) = self.old.remove(&identity) {
            self.insert(identity, chain);
        }
        self.young.get_mut(&identity)
    }

    fn insert(&mut self, identity: IdentityHash, chain: Chain) {
        if self.young.len() >= self.generation_chains_max {
            let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.dropped = self.dropped.max(dropped.values().map(|chain| chain.last).max());
        }
        self.young.insert(identity, chain);
    }
}

impl Chains {
    /// No chains, and at most `chains_max` of them in each generation.
    fn with_generations_of(chains_max: usize) -> Self {
        Self { inner: Mutex::new(Inner { generation_chains_max: chains_max, ..Inner::default() }) }
    }

    /// Whether the store must yet be asked for the latest event of an organization; see [`Self::begin`].
    pub fn must_begin(&self, organization: &TenantId) -> bool {
        !self.inner.lock().organizations.get(organization).is_some_and(|unseen| unseen.asked)
    }

    /// Takes the latest event that the store has of an organization: a chain that starts 30 minutes
    /// after it needs no question.
    pub fn begin(&self, organization: &TenantId, latest: Option<TimestampUs>) {
        let mut inner = self.inner.lock();
        let unseen = inner.organizations.entry(organization.clone()).or_default();
        *unseen = Unseen { asked: true, latest: unseen.latest.max(latest) };
    }

    /// Takes an event that stands alone, and tells where it belongs.
    pub fn note(&self, organization: &TenantId, identity: IdentityHash, at: TimestampUs) -> Place {
        let mut inner = self.inner.lock();
        if let Some(chain) = inner.chain(identity) {
            return chain.take(at).unwrap_or(Place::Unknown);
        }
        let unseen = inner.organizations.get(organization).copied().unwrap_or_default();
        let latest = unseen.latest.max(inner.dropped);
        // Of what is not known anything may be there.
        let latest = if unseen.asked { latest } else { Some(TimestampUs(i64::MAX)) };
        let settled = latest.is_none_or(|latest| at.0.saturating_sub(latest.0) >= SESSION_GAP_US);
        inner.insert(identity, Chain { first: at, last: at, settled, unseen: latest });
        if settled { Place::Known(at) } else { Place::Unknown }
    }

    /// Takes an event of a connection that names nobody; nothing of it is in the store.
    pub fn note_connection(&self, identity: IdentityHash, at: TimestampUs) -> TimestampUs {
        let mut inner = self.inner.lock();
        if let Some(chain) = inner.chain(identity) {
            return match chain.take(at) {
                Some(Place::Known(start)) => start,
                Some(Place::Unknown) => chain.first,
                None => at,
            };
        }
        inner.insert(identity, Chain { first: at, last: at, settled: true, unseen: None });
        at
    }

    /// Takes what the store knows of the chain around `at`; gives the start of the chain that holds it.
    pub fn settle(
        &self,
        identity: IdentityHash,
        at: TimestampUs,
        first: TimestampUs,
        last: TimestampUs,
    ) -> TimestampUs {
        let mut inner = self.inner.lock();
        let Some(chain) = inner.chain(identity) else { return first };
        if !chain.holds(at) {
            return first;
        }
        chain.first = chain.first.min(first);
        chain.last = chain.last.max(last);
        chain.settled = true;
        chain.first
    }

    /// Takes events of a batch: (identity, event time). Chains that are here go on; of the others only
    /// the latest time is kept. `identity` is not asked when no single event came from the organization.
    pub fn note_rows(
        &self,
        organization: &TenantId,
        times: &[i64],
        mut identity: impl FnMut(usize) -> Option<IdentityHash>,
    ) {
        let mut inner = self.inner.lock();
        let asked = inner.organizations.get(organization).is_some_and(|unseen| unseen.asked);
        for (row, at) in times.iter().enumerate().filter(|_| asked) {
            if let Some(chain) = identity(row).and_then(|identity| inner.chain(identity)) {
                chain.take(TimestampUs(*at));
            }
        }
        let latest = times.iter().max().copied().map(TimestampUs);
        let unseen = inner.organizations.entry(organization.clone()).or_default();
        unseen.latest = unseen.latest.max(latest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::SessionNamer;
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn at(minute: i64) -> TimestampUs {
        TimestampUs(minute * MINUTE)
    }

    fn setup() -> (Chains, TenantId, IdentityHash) {
        let acme = TenantId::new("acme").unwrap();
        let ada = SessionNamer::new(&[1; 32]).identity(&acme, 0, &["ada"]);
        (Chains::default(), acme, ada)
    }

    #[test]
    fn a_chain_goes_on_for_29_minutes_and_ends_after_30() {
        let (chains, acme, ada) = setup();
        assert!(chains.must_begin(&acme));
        chains.begin(&acme, None);
        assert!(!chains.must_begin(&acme));
        assert_eq!(chains.note(&acme, ada, at(1_000)), Place::Known(at(1_000)));
        assert_eq!(chains.note(&acme, ada, at(1_029)), Place::Known(at(1_000)));
        assert_eq!(chains.note(&acme, ada, at(1_058)), Place::Known(at(1_000)));
        assert_eq!(chains.note(&acme, ada, at(1_088)), Place::Known(at(1_088)));
        assert_eq!(chains.note(&acme, ada, at(1_000)), Place::Unknown, "of an earlier chain");
    }

    #[test]
    fn what_the_store_may_know_is_asked_once() {
        let (chains, acme, ada) = setup();
        assert_eq!(chains.note(&acme, ada, at(1_000)), Place::Unknown);
        chains.begin(&acme, Some(at(980)));
        assert_eq!(chains.note(&acme, ada, at(1_001)), Place::Unknown);
        assert_eq!(chains.settle(ada, at(1_001), at(975), at(1_001)), at(975));
        assert_eq!(chains.note(&acme, ada, at(1_002)), Place::Known(at(975)));
    }

    #[test]
    fn an_event_before_the_start_moves_it_and_asks_again() {
        let (chains, acme, ada) = setup();
        chains.begin(&acme, None);
        chains.note(&acme, ada, at(1_000));
        assert_eq!(chains.note(&acme, ada, at(980)), Place::Unknown);
        assert_eq!(chains.settle(ada, at(980), at(980), at(980)), at(980));
        assert_eq!(chains.note(&acme, ada, at(1_010)), Place::Known(at(980)));
    }

    #[test]
    fn after_a_chain_of_old_events_the_store_is_asked_for_what_came_before_it() {
        let (chains, acme, ada) = setup();
        chains.begin(&acme, Some(at(1_000)));
        assert_eq!(chains.note(&acme, ada, at(500)), Place::Unknown);
        assert_eq!(chains.settle(ada, at(500), at(490), at(500)), at(490));
        assert_eq!(chains.note(&acme, ada, at(519)), Place::Known(at(490)));
        // Before it was remembered, ada may have done something until 1,000.
        assert_eq!(chains.note(&acme, ada, at(900)), Place::Unknown);
        assert_eq!(chains.settle(ada, at(900), at(880), at(900)), at(880));
        assert_eq!(chains.note(&acme, ada, at(1_029)), Place::Unknown);
        assert_eq!(chains.settle(ada, at(1_029), at(1_000), at(1_029)), at(1_000));
        assert_eq!(chains.note(&acme, ada, at(1_060)), Place::Known(at(1_060)));
    }

    #[test]
    fn rows_of_batches_carry_chains_on_and_are_remembered_otherwise() {
        let (chains, acme, ada) = setup();
        let bob = SessionNamer::new(&[1; 32]).identity(&acme, 0, &["bob"]);
        chains.begin(&acme, None);
        chains.note(&acme, ada, at(1_000));
        chains.note_rows(&acme, &[at(1_020).0, at(1_021).0], |row| Some(if row == 0 { ada } else { bob }));
        assert_eq!(chains.note(&acme, ada, at(1_045)), Place::Known(at(1_000)));
        assert_eq!(chains.note(&acme, bob, at(1_045)), Place::Unknown);
    }

    #[test]
    fn dropped_chains_are_asked_for_again() {
        let (_, acme, ada) = setup();
        let chains = Chains::with_generations_of(10);
        chains.begin(&acme, None);
        chains.note(&acme, ada, at(1_000));
        let namer = SessionNamer::new(&[2; 32]);
        for n in 0..30 {
            let other = namer.identity(&acme, 0, &[&n.to_string()]);
            chains.note(&acme, other, at(n));
        }
        assert_eq!(chains.note(&acme, ada, at(1_001)), Place::Unknown);
    }
}
