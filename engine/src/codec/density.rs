//! How much work an encoding is worth.

/// How much an encoder may work for fewer bytes; what it writes says how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Density {
    /// For rows that will be merged soon.
    #[default]
    Fast,
    /// For rows that stay as they are: the final segment of a day.
    Dense,
}
