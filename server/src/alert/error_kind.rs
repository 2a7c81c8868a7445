//! What kind of error a description tells of: the text without what differs from case to case.

use super::label::cut;

/// Most bytes of a description that are looked at.
const LOOKED_AT_BYTES_MAX: usize = 1_024;
/// Most bytes of a kind.
const KIND_BYTES_MAX: usize = 200;
/// Shorter names are not looked for in descriptions: they would be found everywhere.
const PERSONAL_CHARS_MIN: usize = 2;
/// What stands in the place of something that differs.
const PLACE: &str = "*";

/// A description without numbers, identifiers, quoted texts, addresses, and without what is `personal`: who did it, to
/// which object, from where. Whitespace is one blank.
pub(super) fn normalized(text: &str, personal: &[&str]) -> String {
    let mut text = text.to_owned();
    cut(&mut text, LOOKED_AT_BYTES_MAX);
    // The longest first: a full name goes before the part of it that is a user's id.
    let mut personal: Vec<&str> = personal.to_vec();
    personal.sort_by_key(|word| std::cmp::Reverse(word.len()));
    for word in personal.iter().filter(|word| word.chars().count() >= PERSONAL_CHARS_MIN) {
        text = text.replace(word, PLACE);
    }
    let text = without_quoted(&text);
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    let mut kind = words.join(" ");
    cut(&mut kind, KIND_BYTES_MAX);
    kind
}

/// The text with what stands between two quotes of a kind replaced; an apostrophe inside a word is no quote.
fn without_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let (before, quoted) = rest.split_at(at);
        let mut inner = quoted.chars();
        let quote = inner.next().unwrap_or('"');
        let inner = inner.as_str();
        let is_apostrophe = quote == '\'' && before.chars().next_back().is_some_and(char::is_alphanumeric);
        out.push_str(before);
        if let Some((_, behind)) = inner.split_once(quote).filter(|_| !is_apostrophe) {
            out.push_str(PLACE);
            rest = behind;
        } else {
            out.push(quote);
            rest = inner;
        }
    }
    out.push_str(rest);
    out
}

/// A word, or a place where it is an address, or has a digit: numbers, versions, hashes, identifiers, hosts.
fn word(word: &str) -> String {
    let differs = word.chars().any(|c| c.is_ascii_digit()) || word.contains('@');
    if !differs {
        return word.to_owned();
    }
    // Punctuation around it is of the sentence.
    let is_inner = |c: char| c.is_alphanumeric();
    let start = word.find(is_inner).unwrap_or(0);
    let end = word.rfind(is_inner).map_or(word.len(), |at| {
        at + word.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
    });
    let (before, behind) = (word.get(..start).unwrap_or_default(), word.get(end..).unwrap_or_default());
    format!("{before}{PLACE}{behind}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_of_one_kind_have_one_text() {
        let cases = [
            ("connection to db-3 refused (attempt 4)", "connection to * refused (attempt *)"),
            ("connection to db-17 refused (attempt 12)", "connection to * refused (attempt *)"),
            ("user 'ann' not found", "user * not found"),
            ("can't open \"/tmp/x\"", "can't open *"),
            ("mail to bob@example.org bounced", "mail to * bounced"),
            ("  spaced\n out ", "spaced out"),
            ("row 0x7ffe12: NullPointer", "row *: NullPointer"),
            ("an unclosed ' quote", "an unclosed ' quote"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(normalized(text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn nobody_is_named() {
        let personal = ["Example", "Ann Example", "ann", "x"];
        assert_eq!(normalized("Ann Example (ann) failed at x", &personal), "* (*) failed at x");
    }

    proptest! {
        #[test]
        fn any_text_has_a_kind_and_a_kind_is_its_own(text in "\\PC{0,400}", name in "[a-z]{2,6}") {
            let kind = normalized(&text, &[&name]);
            prop_assert!(kind.len() <= KIND_BYTES_MAX);
            prop_assert!(!kind.contains(&name));
        }
    }
}
