//! The catalog record of an erasure: first what is to be erased, later the receipt of it.
//!
//! The record is kept under a random id and not under what it erases, so that nothing of the subject is
//! left once it is done: the subject's identity and keys are in the record only until then.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::append::{CatalogKind, CatalogPut};
use crate::error::{Error, Result};
use crate::id::{FileId, KeyId, Lsn, Stream, TenantId, TenantNo};
use crate::record;
use crate::time::TimestampUs;

/// Names an erasure: 16 random bytes, 32 hexadecimal digits in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErasureId(pub [u8; 16]);

impl ErasureId {
    /// The id of a catalog key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it has another length.
    pub fn from_key(key: &[u8]) -> Result<Self> {
        key.try_into().map(Self).map_err(|_| Error::invalid("an erasure's id of the wrong length"))
    }
}

impl fmt::Display for ErasureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ErasureId {
    type Err = Error;

    #[expect(clippy::big_endian_bytes, reason = "the first digit is of the first byte")]
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("an erasure's id is 32 hexadecimal digits");
        let is_canonical =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
        if is_canonical { Ok(Self(number.to_be_bytes())) } else { Err(wrong()) }
    }
}

/// What is asked to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EraseTarget {
    /// A tenant with all it has.
    Tenant(TenantId),
    /// A user of a tenant.
    User {
        /// The tenant.
        tenant: TenantId,
        /// The user, as rows have it.
        user: String,
        /// The credential that the user wrote with, as rows and named requests have it.
        credential: String,
    },
}

impl EraseTarget {
    /// The tenant that it is, or is of.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant) | Self::User { tenant, .. } => tenant,
        }
    }
}

/// A user that is to be forgotten; gone from the record once it was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedUser {
    /// The identity, as rows have it.
    pub user: Vec<u8>,
    /// The credential that the user wrote with, as rows and named requests have it.
    pub credential: String,
    /// Keys of the user's audit records up to the bound, by number: what their commitments are made with.
    pub keys: Vec<(u64, [u8; 32])>,
    /// What the keys of the user's chains of events are hashed with, so that those of two days still join and
    /// nobody can say whose they are. It is here and not made by a pass: one that a crash has cut goes on with
    /// the same. It goes with the name.
    pub secret: [u8; 16],
}

impl fmt::Debug for ErasedUser {
    /// Says nothing of the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErasedUser(..)")
    }
}

/// What an erasure is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Erased {
    /// The tenant with all it has.
    Tenant,
    /// A user of the tenant; `None` once it is done.
    User(Option<ErasedUser>),
}

/// What a finished erasure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErasureOutcome {
    /// When the last byte was gone.
    pub completed: TimestampUs,
    /// Events that were removed.
    pub events: u64,
    /// Audit records that were removed (of a tenant) or lost their personal fields (of a user).
    pub audit: u64,
    /// Metric points that were removed.
    pub metrics: u64,
    /// Files that were written anew or removed.
    pub files: u64,
    /// Bytes of the files that were written anew or removed.
    pub bytes: u64,
    /// Of the files those of cells whose rows had expired before: nothing in them names who is erased, and sums
    /// over everybody, which nobody can tell apart without rows, stand as they were.
    pub cells: u64,
}

/// The rows that were found for an erasure, before the first of them was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Of frames up to this one.
    pub bound: Lsn,
    /// How many, in the order of [`Stream::ALL`].
    pub rows: [u64; Stream::ALL.len()],
    /// Segments that could not be read then: theirs are not among them.
    pub unread: Vec<FileId>,
}

/// What is to be erased, or what was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRecord {
    /// The tenant's number.
    pub tenant: TenantNo,
    /// Its name.
    pub name: String,
    /// What of it.
    pub erased: Erased,
    /// When it was first asked for.
    pub requested: TimestampUs,
    /// Since when nothing answers with it.
    pub hidden: TimestampUs,
    /// Rows of frames up to this one are erased; later ones are of somebody who came back.
    pub bound: Lsn,
    /// No key of a subject had a higher number then; those of erased ones are not given again.
    pub last_key: KeyId,
    /// What a pass has found; `None` before the first one, and in a receipt.
    pub counted: Option<Counted>,
    /// What was done; `None` for as long as bytes are left.
    pub outcome: Option<ErasureOutcome>,
}

impl ErasureRecord {
    /// The record as it is given to the catalog.
    ///
    /// # Errors
    ///
    /// None in practice: the record is small.
    pub fn put(&self, id: ErasureId) -> Result<CatalogPut> {
        let value = Some(record::encode(self)?);
        Ok(CatalogPut { kind: CatalogKind::Erasure, key: id.0.to_vec(), value })
    }

    /// A record from a value of the catalog.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the bytes are not one.
    pub fn decode(value: &[u8]) -> Result<Self> {
        record::decode(value)
    }

    /// The tenant's name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is none.
    pub fn tenant_id(&self) -> Result<TenantId> {
        TenantId::new(&self.name)
    }

    /// Whether it is about the same as `target`, and its bytes are still there.
    pub fn is_pending_for(&self, target: &EraseTarget) -> bool {
        let same = match (target, &self.erased) {
            (EraseTarget::Tenant(_), Erased::Tenant) => true,
            (EraseTarget::User { user, .. }, Erased::User(Some(known))) => known.user == user.as_bytes(),
            (EraseTarget::Tenant(_) | EraseTarget::User { .. }, Erased::Tenant | Erased::User(_)) => false,
        };
        same && self.outcome.is_none() && self.name == target.tenant().as_str()
    }

    /// The user whose rows are hidden and still there.
    pub fn pending_user(&self) -> Option<&ErasedUser> {
        match &self.erased {
            Erased::User(user) if self.outcome.is_none() => user.as_ref(),
            Erased::User(_) | Erased::Tenant => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> ErasureRecord {
        let keys = vec![(5, [6; 32])];
        let user =
            ErasedUser { user: b"u-1".to_vec(), credential: "user:u-1".to_owned(), keys, secret: [11; 16] };
        ErasureRecord {
            tenant: TenantNo(3),
            name: "acme".to_owned(),
            erased: Erased::User(Some(user)),
            requested: TimestampUs(1),
            hidden: TimestampUs(2),
            bound: Lsn(4),
            last_key: KeyId(5),
            counted: Some(Counted { bound: Lsn(4), rows: [7, 8, 9], unread: vec![FileId(10)] }),
            outcome: None,
        }
    }

    #[test]
    fn the_bytes_of_a_record_are_the_ones_of_before() {
        let value = record().put(ErasureId([9; 16])).unwrap().value.unwrap();
        crate::golden::check("erasure.bin", &value);
        assert_eq!(ErasureRecord::decode(&value).unwrap(), record());
    }

    #[test]
    fn an_id_is_read_back_and_nothing_else_is_one() {
        let id = ErasureId([0x0f; 16]);
        assert_eq!(id.to_string().parse::<ErasureId>().unwrap(), id);
        for wrong in ["", "0f", "+f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "0F0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"] {
            assert!(wrong.parse::<ErasureId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            drop(ErasureRecord::decode(&bytes));
        }

        #[test]
        fn any_id_comes_back(bytes: [u8; 16]) {
            prop_assert_eq!(ErasureId(bytes).to_string().parse::<ErasureId>().unwrap(), ErasureId(bytes));
        }
    }
}
