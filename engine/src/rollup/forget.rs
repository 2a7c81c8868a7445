//! Takes a user out of cells that have outlived their rows: out of sets, keys and open chains. What is summed
//! over everybody cannot be told apart any more, and stays.

use std::ops::Range;

use super::cell_file::ALL_TENANTS;
use super::cells::{Cells, KeyColumn, StateColumn};
use super::definition::RollupDefinition;
use crate::id::TenantNo;
use crate::query::{Field, KeyValue};
use crate::schema::{ColumnType, IdentityKind, NULL_CODE, Schema};
use crate::session::NO_USER;
use crate::session::cells::{FoldedSessions, decode_apps, encode_apps};
use crate::session::key::{KeyKind, pseudonym, session_key};

/// A user who is forgotten.
pub(crate) struct Forgotten {
    /// Whose user it is.
    pub(crate) tenant: TenantNo,
    /// The user's code among users.
    pub(crate) user: Option<u32>,
    /// The user's code among the objects of audit records.
    pub(crate) object: Option<u32>,
    /// The user, as rows had it.
    pub(crate) name: Vec<u8>,
    /// Secret of the erasure: the keys of the user's chains are hashed with it, so that the chains of two days
    /// still join, and nobody can say whose they are.
    pub(crate) seed: [u64; 2],
}

impl std::fmt::Debug for Forgotten {
    /// Says nothing of the user.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Forgotten({})", self.tenant)
    }
}

impl Forgotten {
    fn code(&self, kind: IdentityKind) -> Option<u32> {
        match kind {
            IdentityKind::User => self.user,
            IdentityKind::Object => self.object,
            _ => None,
        }
    }

    /// Takes the user out of cells of a tenant, or with `None` of those of all tenants together; whether it
    /// was in them.
    pub(crate) fn leave_cells(
        &self,
        cells: &mut Cells,
        of: Option<TenantNo>,
        definition: &RollupDefinition,
    ) -> bool {
        if of.is_some_and(|of| of != self.tenant) {
            return false;
        }
        let mut changed = false;
        // Codes are of one tenant: cells of all tenants say whose they are, or have texts in their place.
        let whose = cells.whose(definition.keys.len(), of.unwrap_or(ALL_TENANTS));
        let own = whose.stretches().find(|(tenant, ..)| *tenant == self.tenant);
        let own = own.map_or(0..0, |(_, series, _)| series);
        for (key, field) in cells.keys.iter_mut().zip(&definition.keys) {
            changed |= self.leave_key(key, field, definition, own.clone());
        }
        for state in &mut cells.states {
            let StateColumn::Distinct(lists) = state else { continue };
            for list in lists {
                let Some(code) = list.kind.and_then(|kind| self.code(kind)) else { continue };
                if let Some(without) = list.without(code, self.tenant) {
                    *list = without;
                    changed = true;
                }
            }
        }
        changed
    }

    /// Makes a key absent where it is the user; codes are of the user's tenant in the series `own`.
    fn leave_key(
        &self,
        key: &mut KeyColumn,
        field: &Field,
        definition: &RollupDefinition,
        own: Range<usize>,
    ) -> bool {
        let mut kinds = Vec::new();
        identities(field, definition, &mut kinds);
        match key {
            KeyColumn::Codes(codes) => {
                let Some(code) = kinds.first().and_then(|kind| self.code(*kind)) else {
                    return false;
                };
                let mut changed = false;
                let own = codes.get_mut(own).unwrap_or_default();
                for found in own.iter_mut().filter(|found| **found == code) {
                    (*found, changed) = (NULL_CODE, true);
                }
                changed
            }
            KeyColumn::Values { values, places } => {
                let is_user = |v: &KeyValue| matches!(v, KeyValue::Str(t) if t.as_bytes() == self.name);
                let Some(gone) = values.iter().position(is_user).filter(|_| !kinds.is_empty()) else {
                    return false;
                };
                values.remove(gone);
                for place in places.iter_mut().filter(|place| **place != NULL_CODE) {
                    match (*place as usize).cmp(&gone) {
                        std::cmp::Ordering::Less => {}
                        std::cmp::Ordering::Equal => *place = NULL_CODE,
                        std::cmp::Ordering::Greater => *place -= 1,
                    }
                }
                true
            }
        }
    }

    /// Takes the user out of the open chains of a day; whether some were the user's.
    pub(crate) fn leave_sessions(&self, sessions: &mut FoldedSessions) -> bool {
        let person = session_key(KeyKind::Person, &self.name);
        let mut changed = false;
        for open in sessions.open.iter_mut().filter(|open| open.tenant == self.tenant) {
            let is_theirs = self.user.is_some_and(|user| open.chain.user == user);
            if is_theirs || open.key == person {
                open.key = pseudonym(self.seed, open.key);
                open.chain.user = if is_theirs { NO_USER } else { open.chain.user };
                changed = true;
            }
        }
        if changed {
            sessions.sort_open();
        }
        changed
    }

    /// Takes the user out of the sessions of a tenant's applications; the new bytes, where it was in them.
    ///
    /// # Errors
    ///
    /// When the bytes are not what their layout says.
    pub(crate) fn leave_apps(&self, bytes: &[u8]) -> crate::codec::Decoded<Option<Vec<u8>>> {
        let mut apps = decode_apps(bytes)?;
        let mut changed = false;
        for cells in apps.iter_mut().filter_map(|(_, cells)| cells.as_mut()) {
            changed |= self.leave_sessions(cells);
        }
        let apps: Vec<_> = apps.iter().map(|(code, cells)| (*code, cells.as_ref())).collect();
        Ok(changed.then(|| encode_apps(&apps)))
    }
}

/// The kinds of the users and objects that a field may be.
fn identities(field: &Field, definition: &RollupDefinition, out: &mut Vec<IdentityKind>) {
    match field {
        Field::FirstOf(fields) => fields.iter().for_each(|f| identities(f, definition, out)),
        Field::Column(id) => {
            if let Some(ColumnType::Code(kind @ (IdentityKind::User | IdentityKind::Object))) =
                Schema::of(definition.stream).get(*id).map(|def| def.ty)
            {
                out.push(kind);
            }
        }
        Field::Path(..) | Field::Tenant => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Stream;
    use crate::query::Filter;
    use crate::rollup::{Kept, Tier, TierAggregates};
    use crate::schema::stream::USER_ID;

    #[test]
    fn a_user_leaves_the_keys_of_its_own_tenant_alone() {
        let definition = RollupDefinition {
            id: 1,
            stream: Stream::Events,
            filter: Filter::all(),
            keys: vec![Field::Column(USER_ID.id)],
            tiers: vec![TierAggregates { tier: Tier::Day, aggregates: Vec::new() }],
            priority: 0,
            kept: Kept::Together,
        };
        let tenants = KeyColumn::Codes(vec![1, 1, 2]);
        let mut cells = Cells {
            keys: vec![KeyColumn::Codes(vec![5, 7, 5]), tenants.clone()],
            ends: vec![1, 2, 3],
            ..Cells::default()
        };
        let user = Forgotten {
            tenant: TenantNo(2),
            user: Some(5),
            object: None,
            name: b"ann".to_vec(),
            seed: [0, 0],
        };
        assert!(user.leave_cells(&mut cells, None, &definition));
        assert_eq!(cells.keys, [KeyColumn::Codes(vec![5, 7, NULL_CODE]), tenants]);
        assert!(!user.leave_cells(&mut cells, None, &definition), "nothing is left of it");
    }
}
