//! How long the intervals of cells are.

use serde::{Deserialize, Serialize};

/// The length of the UTC intervals that cells sum rows up by. The number is stable, it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// 15 minutes.
    Quarter = 0,
    /// An hour.
    Hour = 1,
    /// A UTC day.
    Day = 2,
}

impl Tier {
    /// Every tier, from the finest to the coarsest.
    pub const ALL: [Self; 3] = [Self::Quarter, Self::Hour, Self::Day];

    /// Microseconds of an interval.
    pub const fn width_us(self) -> i64 {
        match self {
            Self::Quarter => 15 * 60 * 1_000_000,
            Self::Hour => 60 * 60 * 1_000_000,
            Self::Day => 24 * 60 * 60 * 1_000_000,
        }
    }
}
