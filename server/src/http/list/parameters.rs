//! Parameters that every list takes: limit, cursor, order, format, fields.

use insights_engine::query::Order;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::export::Format;

/// Records of a page when nothing is said.
pub const LIMIT_DEFAULT: usize = 50;
/// Most records of a page.
pub const LIMIT_MAX: usize = 1_000;

/// Parameters that do not change which records there are; a cursor is not bound to them.
pub const UNBOUND: [&str; 5] = ["cursor", "limit", "format", "fields", "allow_partial"];

/// How many records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// One page of at most so many.
    Page(usize),
    /// All of them, streamed; in NDJSON and CSV alone.
    All,
}

impl Default for Limit {
    fn default() -> Self {
        Self::Page(LIMIT_DEFAULT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = || text.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
        match text.as_str() {
            "all" => Ok(Self::All),
            _ => number().map(Self::Page).ok_or_else(|| {
                serde::de::Error::custom(format!("a limit is 1 to {LIMIT_MAX}, or `all` in NDJSON and CSV"))
            }),
        }
    }
}

/// The order of a list, by time and then by seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListOrder {
    /// Newest first.
    #[default]
    Desc,
    /// Oldest first.
    Asc,
}

impl From<ListOrder> for Order {
    fn from(order: ListOrder) -> Self {
        match order {
            ListOrder::Desc => Self::Desc,
            ListOrder::Asc => Self::Asc,
        }
    }
}

/// How a list is cut into pages and written.
#[derive(Debug, Clone, Default)]
pub struct Paging {
    /// How many records.
    pub limit: Limit,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// The format that was asked for or accepted.
    pub format: Format,
    /// The fields that are wanted; all when `None`.
    pub fields: Option<Vec<String>>,
    /// Answer without what is damaged.
    pub allow_partial: bool,
}

/// The names in a parameter like `fields=id,timestamp`.
pub fn names(list: Option<&str>) -> Option<Vec<String>> {
    Some(list?.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_query;

    #[derive(Debug, Deserialize)]
    struct Wanted {
        #[serde(default)]
        limit: Limit,
    }

    #[test]
    fn a_limit_is_a_number_in_range_or_all() {
        let limit = |query: &str| parse_query::<Wanted>(query).map(|wanted| wanted.limit).ok();
        assert_eq!(limit(""), Some(Limit::Page(50)));
        assert_eq!(limit("limit=1000"), Some(Limit::Page(1000)));
        assert_eq!(limit("limit=all"), Some(Limit::All));
        for bad in ["0", "1001", "-1", "x", ""] {
            assert_eq!(limit(&format!("limit={bad}")), None, "{bad}");
        }
    }

    #[test]
    fn names_are_separated_by_commas() {
        assert_eq!(names(Some("id, seq,,")), Some(vec!["id".into(), "seq".into()]));
        assert_eq!(names(None), None);
    }
}
