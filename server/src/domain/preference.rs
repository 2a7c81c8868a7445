//! What a client likes best, as `Accept` and `Accept-Language` say it.

/// What a list such as `fr, en;q=0.8` likes best of what `of` knows. Of equal weights the first wins; a weight of 0
/// is a refusal; a weight that is no number counts as 1.
pub fn liked<T>(list: &str, of: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut best = (0.0, None);
    for range in list.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let Some(choice) = parts.next().and_then(&of) else { continue };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if weight > best.0 {
            best = (weight, Some(choice));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_wins_and_then_the_first() {
        let known = |name: &str| ["a", "b"].into_iter().find(|known| *known == name);
        for (list, expected) in [
            ("", None),
            ("c", None),
            ("a, b", Some("a")),
            ("a;q=0.1, b;q=0.2", Some("b")),
            ("a;q=0", None),
            ("c, b;level=1;q=0.3, a;q=0.2", Some("b")),
            ("b;q=x, a", Some("b")),
            (",;q=,;;", None),
        ] {
            assert_eq!(liked(list, known), expected, "{list}");
        }
    }
}
