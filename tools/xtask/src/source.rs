//! Rust source with comments, strings and characters blanked out, so that braces and words can be counted.

/// `text` with the content of comments, strings and characters replaced by spaces; lines stay lines.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = match (c, chars.get(at + 1)) {
            ('/', Some('/')) => line_comment(&chars, at),
            ('/', Some('*')) => block_comment(&chars, at),
            ('"', _) => string(&chars, at + 1),
            ('r', Some('"' | '#')) if !continues_a_word(&out) => raw_string(&chars, at),
            ('\'', _) => character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(c);
            at += 1;
            continue;
        }
        let end = end.min(chars.len());
        out.extend(chars.iter().take(end).skip(at).map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

fn continues_a_word(before: &str) -> bool {
    // `br"` and `cr"` are prefixes of a string, any other word that ends in `r` is an identifier.
    let word: String = before.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    !word.is_empty() && word != "b" && word != "c"
}

fn line_comment(chars: &[char], start: usize) -> usize {
    chars.iter().skip(start).position(|c| *c == '\n').map_or(chars.len(), |n| start + n)
}

fn block_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_u32);
    while at < chars.len() {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                at += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The end of a string whose content starts at `at`.
fn string(chars: &[char], mut at: usize) -> usize {
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The end of a raw string, or `start` when it is none (`r#type`).
fn raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars.iter().skip(start + 1).take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start;
    }
    let mut at = open + 1;
    while at < chars.len() {
        if chars.get(at) == Some(&'"')
            && chars.iter().skip(at + 1).take(hashes).filter(|c| **c == '#').count() == hashes
        {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// The end of a character, or `start` when it is a lifetime.
fn character(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            let closing = chars.iter().skip(start + 3).position(|c| *c == '\'');
            closing.map_or(start, |n| start + n + 4)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

/// A function in blanked source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Lines of its body that hold code, without its braces.
    pub(crate) body_lines: usize,
}

/// The functions of a blanked source, nested ones included.
pub(crate) fn functions(blanked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(at) = blanked.get(offset..).and_then(|rest| rest.find("fn ")).map(|n| offset + n) {
        offset = at + 3;
        let starts_a_word = blanked
            .get(..at)
            .and_then(|before| before.chars().next_back())
            .is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let Some(after) = blanked.get(offset..).filter(|_| starts_a_word) else { continue };
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(body) = body(after).filter(|_| !name.is_empty()) else { continue };
        let line = blanked.get(..at).map_or(0, |before| before.matches('\n').count()) + 1;
        let body_lines = body.lines().filter(|l| !l.trim().is_empty()).count();
        found.push(Function { name, line, body_lines });
    }
    found
}

/// What stands between the braces of a function, if it has a body.
fn body(after_fn: &str) -> Option<&str> {
    let mut nesting = 0_i32;
    let open = after_fn.find(|c| {
        match c {
            '(' | '[' => nesting += 1,
            ')' | ']' => nesting -= 1,
            _ => {}
        }
        nesting == 0 && matches!(c, '{' | ';')
    })?;
    let rest = after_fn.get(open..)?.strip_prefix('{')?;
    let mut depth = 1_u32;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return rest.get(..at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_characters_and_comments_are_blanked() {
        let source = "let a = \"{\\\"{\"; // {\nlet b = '{'; let c: &'static str = r#\"{\"{\"#; /* { /* { */ */ let d = '\\'';";
        let blanked = blank(source);
        assert!(!blanked.contains('{'), "{blanked}");
        assert_eq!(blanked.lines().count(), 2);
        assert!(blanked.contains("'static"));
        assert!(blanked.ends_with("let d =     ;"), "{blanked}");
    }

    #[test]
    fn a_function_is_found_with_the_lines_of_its_body() {
        let source = "impl A {\n    fn b(&self) -> [u8; 2] {\n        // why\n\n        if x {\n            y\n        }\n    }\n}\ntrait T { fn c(); }";
        assert_eq!(functions(&blank(source)), [Function { name: "b".into(), line: 2, body_lines: 3 }]);
    }
}
