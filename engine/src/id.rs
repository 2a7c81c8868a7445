//! Newtypes for what is counted or named, so that they cannot be mixed up.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Longest name of a tenant, in bytes.
pub const TENANT_BYTES_MAX: usize = 128;

/// Owner of data: 1 to 128 bytes of text, kept as given. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Takes a tenant's name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is empty or longer than [`TENANT_BYTES_MAX`].
    pub fn new(name: &str) -> Result<Self> {
        if name.is_empty() || name.len() > TENANT_BYTES_MAX {
            return Err(Error::invalid(format!("a tenant's name has 1 to {TENANT_BYTES_MAX} bytes")));
        }
        Ok(Self(name.into()))
    }

    /// The name, as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({:?})", &self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Log sequence number: the place of a WAL frame in the order of the whole engine, from 1.
    Lsn(u64)
}
number! {
    /// Number of a file (segment, WAL file, dictionary file, ...), unique in a data directory, from 1.
    FileId(u64)
}
number! {
    /// A tenant's number in this store, given when it first writes, never reused, from 1.
    TenantNo(u32)
}
number! {
    /// Number of the key that protects a record's personal columns; 0 is none.
    KeyId(u64)
}

/// A kind of row with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Stream {
    /// Product events.
    Events = 0,
    /// Audit records.
    Audit = 1,
    /// Metric points.
    Metrics = 2,
}

impl Stream {
    /// Every stream, in the order of their tags.
    pub const ALL: [Self; 3] = [Self::Events, Self::Audit, Self::Metrics];

    /// The byte that names the stream on disk.
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// The stream a byte on disk names, if any.
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Events),
            1 => Some(Self::Audit),
            2 => Some(Self::Metrics),
            _ => None,
        }
    }

    /// The stream's name in messages and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
