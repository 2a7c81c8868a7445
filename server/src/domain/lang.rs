//! The languages of texts that end users see.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::preference::liked;

/// A language of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
}

impl Lang {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::En, Self::Fr];

    /// Its code (ISO 639-1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Fr => "fr",
        }
    }

    /// The language that is wanted: `asked` when it is given, else the one that `accept`, the header
    /// `Accept-Language`, likes best; English when it names none of ours. Of equal weights the first wins.
    pub fn wanted(asked: Option<Self>, accept: Option<&str>) -> Self {
        let known = |tag: &str| {
            let primary = tag.split('-').next().unwrap_or_default();
            Self::ALL.into_iter().find(|lang| primary.eq_ignore_ascii_case(lang.name()))
        };
        asked.or_else(|| liked(accept?, known)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_wins_then_the_weight_then_the_order() {
        assert_eq!(Lang::wanted(Some(Lang::En), Some("fr")), Lang::En);
        for (accept, expected) in [
            ("", Lang::En),
            ("de, it;q=0.5", Lang::En),
            ("fr", Lang::Fr),
            ("FR-ca, en;q=0.9", Lang::Fr),
            ("en;q=0.4, fr;q=0.6", Lang::Fr),
            ("en, fr", Lang::En),
            ("fr;q=0, *", Lang::En),
            ("french", Lang::En),
            (",;q=,;;", Lang::En),
        ] {
            assert_eq!(Lang::wanted(None, Some(accept)), expected, "{accept}");
        }
        assert_eq!(Lang::wanted(None, None), Lang::En);
    }
}
