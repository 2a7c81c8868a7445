//! Texts in every language, from files with a `name: text` a line; `#` begins a comment.

use std::collections::BTreeMap;

use super::lang::Lang;

/// Texts by name, in every language.
#[derive(Debug)]
pub(crate) struct Texts {
    by_lang: [BTreeMap<&'static str, &'static str>; 2],
}

impl Texts {
    /// The texts of two files, English and French.
    pub(crate) fn parse(english: &'static str, french: &'static str) -> Self {
        Self { by_lang: [english, french].map(|text| lines(text).collect()) }
    }

    /// A text, if there is one of that name.
    pub(crate) fn find(&self, lang: Lang, name: &str) -> Option<&'static str> {
        self.of(lang).get(name).copied()
    }

    /// The names and texts of a language, sorted by name.
    pub(crate) fn of(&self, lang: Lang) -> &BTreeMap<&'static str, &'static str> {
        let [english, french] = &self.by_lang;
        match lang {
            Lang::En => english,
            Lang::Fr => french,
        }
    }
}

fn lines(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, text)| (name.trim(), text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_its_language_alone() {
        let texts = Texts::parse("# comment: none\na: one: 1\nb: two\n", "a: un\n");
        assert_eq!([Lang::En, Lang::Fr].map(|lang| texts.find(lang, "a")), [Some("one: 1"), Some("un")]);
        assert_eq!((texts.find(Lang::Fr, "b"), texts.of(Lang::En).len()), (None, 2));
    }
}
