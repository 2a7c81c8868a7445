//! Labels: what tells alerts apart, and what annotations, silences and groups speak of.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Labels by their names.
pub type Labels = BTreeMap<String, String>;

/// Most labels, and most annotations, that a rule adds.
pub const LABELS_MAX: usize = 20;
/// Most bytes of the name of a label.
pub const LABEL_NAME_BYTES_MAX: usize = 128;
/// Most bytes of the value of a label.
pub const LABEL_BYTES_MAX: usize = 1_024;
/// Most bytes of an annotation, before and after its places are filled.
pub const ANNOTATION_BYTES_MAX: usize = 4_096;

/// The label that has the name of the rule.
pub const ALERTNAME: &str = "alertname";
/// The label that has the severity of the rule.
pub const SEVERITY: &str = "severity";

/// Whether a text may name a label.
pub fn is_label_name(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let other = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    text.len() <= LABEL_NAME_BYTES_MAX && text.bytes().next().is_some_and(first) && text.bytes().all(other)
}

/// What tells an alert of a rule from every other: 16 hexadecimal digits of the rule and the labels of the series.
pub fn fingerprint(rule: &str, series: &Labels) -> String {
    let mut hash = Sha256::new();
    hash.update(rule);
    for (name, value) in series {
        // A byte that no text has keeps `a` + `bc` from being `ab` + `c`.
        hash.update([0xff]);
        hash.update(name);
        hash.update([0xff]);
        hash.update(value);
    }
    hexadecimal(hash.finalize().iter().take(8))
}

/// Bytes as text, two digits each.
pub(super) fn hexadecimal<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A text with its places filled: `{{value}}`, `{{threshold}}`, `{{labels.<name>}}`.
///
/// A number that is not there is `-`, a label that is not there is nothing, and any other place stays as it is.
pub fn fill(template: &str, value: Option<f64>, threshold: Option<f64>, labels: &Labels) -> String {
    let number = |n: Option<f64>| n.map_or_else(|| "-".to_owned(), readable);
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((place, behind)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        match place.trim() {
            "value" => out.push_str(&number(value)),
            "threshold" => out.push_str(&number(threshold)),
            named => {
                if let Some(name) = named.strip_prefix("labels.") {
                    out.push_str(labels.get(name).map_or("", String::as_str));
                } else {
                    out.push_str("{{");
                    out.push_str(place);
                    out.push_str("}}");
                }
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    cut(&mut out, ANNOTATION_BYTES_MAX);
    out
}

/// A number for people: at most six decimals, none that say nothing.
pub fn readable(n: f64) -> String {
    let text = format!("{n:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Cuts a text at the end of a character.
pub fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate((0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn places_are_filled_and_what_is_no_place_stays() {
        let host = labels(&[("host", "web-1"), ("a.b", "{{value}}")]);
        let cases = [
            ("{{labels.host}} is at {{ value }} %, above {{threshold}}", "web-1 is at 91.25 %, above 90"),
            ("{{labels.region}}|{{labels.a.b}}", "|{{value}}"),
            ("{{what}} {{ {{value}}", "{{what}} {{ {{value}}"),
            ("{{value", "{{value"),
            ("", ""),
        ];
        for (template, expected) in cases {
            assert_eq!(fill(template, Some(91.25), Some(90.0), &host), expected, "{template}");
        }
        assert_eq!(fill("{{value}}", None, None, &host), "-");
        assert_eq!(fill(&"\u{e9}".repeat(4_000), None, None, &host).len(), ANNOTATION_BYTES_MAX);
    }

    #[test]
    fn numbers_are_short() {
        for (n, text) in
            [(90.0, "90"), (0.05, "0.05"), (1.0 / 3.0, "0.333333"), (-0.0, "0"), (1e9, "1000000000")]
        {
            assert_eq!(readable(n), text);
        }
    }

    #[test]
    fn fingerprints_differ_wherever_labels_do() {
        let all =
            [labels(&[]), labels(&[("a", "bc")]), labels(&[("ab", "c")]), labels(&[("a", "b"), ("c", "")])];
        let of = |rule: &str| all.iter().map(|series| fingerprint(rule, series)).collect::<Vec<_>>();
        let mut both: Vec<String> = of("r1").into_iter().chain(of("r2")).collect();
        both.sort();
        both.dedup();
        assert_eq!(both.len(), 8);
        assert!(both.iter().all(|text| text.len() == 16));
    }

    #[test]
    fn a_label_is_named_like_a_variable() {
        for good in ["host", "_x", "a.b", "A1"] {
            assert!(is_label_name(good), "{good}");
        }
        for bad in ["", "1a", "a b", "a-b", &"a".repeat(129)] {
            assert!(!is_label_name(bad), "{bad}");
        }
    }
}
