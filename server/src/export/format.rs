//! Which format an answer is wanted in: the parameter `format`, else the header `Accept`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::preference::liked;

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON value.
    #[default]
    Json,
    /// A JSON value a line.
    Ndjson,
    /// RFC 4180 with a header line, safe against formulas.
    Csv,
}

impl Format {
    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// The format that is wanted: `asked` when it is given, else the one that `accept`, a header, likes best.
    ///
    /// A header that names none of ours gets JSON: an answer is more use than a 406. Of equal weights the first wins.
    pub fn wanted(asked: Option<Self>, accept: Option<&str>) -> Self {
        asked.or_else(|| liked(accept?, Self::of_media_range)).unwrap_or_default()
    }

    /// The format of a media range.
    pub(crate) fn of_media_range(range: &str) -> Option<Self> {
        match range.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Ndjson),
            "text/csv" | "text/*" => Some(Self::Csv),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_wins_over_the_header() {
        assert_eq!(Format::wanted(Some(Format::Csv), Some("application/json")), Format::Csv);
    }

    #[test]
    fn the_header_is_read_by_weight_then_by_order() {
        for (accept, expected) in [
            ("", Format::Json),
            ("image/png", Format::Json),
            ("*/*", Format::Json),
            ("text/csv", Format::Csv),
            ("TEXT/CSV;q=0.5", Format::Csv),
            ("application/json;q=0.5, text/csv", Format::Csv),
            ("application/x-ndjson, text/csv", Format::Ndjson),
            ("text/csv;q=0, */*;q=0.1", Format::Json),
            ("text/csv;q=abc", Format::Csv),
            (",;q=,;;", Format::Json),
        ] {
            assert_eq!(Format::wanted(None, Some(accept)), expected, "{accept}");
        }
        assert_eq!(Format::wanted(None, None), Format::Json);
    }
}
