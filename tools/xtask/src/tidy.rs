//! What the compiler does not check: lengths, bytes, forgotten files, formats without a golden file, loose ends.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::source;

/// Most lines of code of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// Most lines of a file before its tests.
const FILE_LINES_MAX: usize = 600;
/// Directories that hold no sources of ours.
const SKIPPED: [&str; 4] = [".git", "target", "fixtures", "node_modules"];
/// Files that no `mod` names: cargo does.
const CRATE_ROOTS: [&str; 3] = ["lib.rs", "main.rs", "build.rs"];

/// Every finding in the sources under `root`, as `path:line: what`, sorted by path.
///
/// # Errors
///
/// When a directory or a file cannot be read.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    let mut sources = BTreeMap::new();
    collect(root, &mut sources)?;
    let mut findings = Vec::new();
    for (path, text) in &sources {
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let file = File { path, text, blanked: source::blank(text) };
        for (line, what) in file.findings(&sources) {
            findings.push(format!("{shown}:{line}: {what}"));
        }
    }
    Ok(findings)
}

fn collect(directory: &Path, sources: &mut BTreeMap<PathBuf, String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let skipped = path.file_name().and_then(OsStr::to_str).is_none_or(|name| SKIPPED.contains(&name));
        if skipped {
            continue;
        }
        if path.is_dir() {
            collect(&path, sources)?;
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text = fs::read_to_string(&path)?;
            sources.insert(path, text);
        }
    }
    Ok(())
}

/// One source file.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    blanked: String,
}

/// A line, from 1, and what is wrong there.
type Finding = (usize, String);

impl File<'_> {
    fn findings(&self, sources: &BTreeMap<PathBuf, String>) -> Vec<Finding> {
        let mut found = self.lengths();
        found.extend(self.bytes());
        found.extend(self.loose_ends());
        if !self.is_named(sources) {
            found.push((1, "no `mod` names this file, so it is never compiled".to_owned()));
        }
        if self.lacks_golden_file(sources) {
            found.push((1, "a format table without a golden file in tests/fixtures".to_owned()));
        }
        if !self.text.starts_with("//!") && !self.text.starts_with("#![") {
            found.push((1, "a file starts with its `//!` header".to_owned()));
        }
        found
    }

    fn lengths(&self) -> Vec<Finding> {
        let mut found: Vec<Finding> = source::functions(&self.blanked)
            .into_iter()
            .filter(|f| f.body_lines > FUNCTION_LINES_MAX)
            .map(|f| {
                (f.line, format!("`{}` has {} lines, {FUNCTION_LINES_MAX} are allowed", f.name, f.body_lines))
            })
            .collect();
        let lines = self.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let is_test = self.stem().ends_with("tests") || self.path.iter().any(|part| part == "tests");
        if lines > FILE_LINES_MAX && !is_test {
            found.push((1, format!("{lines} lines before the tests, {FILE_LINES_MAX} are allowed")));
        }
        found
    }

    fn bytes(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if !line.is_ascii() {
                found.push((index + 1, "a character outside of ASCII".to_owned()));
            }
            if line.contains('\t') {
                found.push((index + 1, "a tab".to_owned()));
            }
        }
        found
    }

    /// Work that was left for later, and tests that never run.
    fn loose_ends(&self) -> Vec<Finding> {
        let in_code = ["todo!(", "unimplemented!(", "#[ignore"];
        // Written in two halves so that this file does not find itself.
        let in_text = [concat!("FIX", "ME"), concat!("XX", "X:"), concat!("TO", "DO:")];
        let code = self.blanked.lines().enumerate().map(|(n, line)| (n, line, in_code.as_slice()));
        let text = self.text.lines().enumerate().map(|(n, line)| (n, line, in_text.as_slice()));
        code.chain(text)
            .flat_map(|(n, line, words)| {
                words.iter().filter(move |word| line.contains(**word)).map(move |word| (n + 1, *word))
            })
            .map(|(line, word)| (line, format!("says `{word}`")))
            .collect()
    }

    fn stem(&self) -> &str {
        self.path.file_stem().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// Whether a `mod` of a file above or beside this one names it, or cargo does.
    fn is_named(&self, sources: &BTreeMap<PathBuf, String>) -> bool {
        let name = self.path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let Some(directory) = self.path.parent() else { return true };
        let by_cargo = CRATE_ROOTS.contains(&name)
            || directory.join("Cargo.toml").exists()
            || directory.file_name() == Some(OsStr::new("bin"));
        if by_cargo {
            return true;
        }
        // `mod.rs` stands for its directory, which is named one level up.
        let (module, home) = if name == "mod.rs" {
            (directory.file_name().and_then(OsStr::to_str).unwrap_or_default(), directory.parent())
        } else {
            (self.stem(), Some(directory))
        };
        let Some(home) = home else { return true };
        let declaration = format!("mod {module};");
        let by_path = format!("#[path = \"{name}\"]");
        let declares = |text: &str| text.contains(&declaration) || text.contains(&by_path);
        sources.iter().any(|(path, text)| {
            let beside = path.parent() == Some(home);
            let above = path.with_extension("") == home;
            (beside || above) && path != self.path && declares(text)
        })
    }

    /// Whether it describes bytes on disk that no golden file of its room holds.
    fn lacks_golden_file(&self, sources: &BTreeMap<PathBuf, String>) -> bool {
        let describes = ["//! # Layout", "//! The bytes are described in `docs/format/"];
        if !self.text.lines().any(|line| describes.iter().any(|start| line.starts_with(start))) {
            return false;
        }
        let own = room(self.path);
        !sources.iter().any(|(path, text)| room(path) == own && mentions_golden_file(text))
    }
}

/// The part of a crate that a file belongs to: the crate's `src` and the first name below it, without extension.
fn room(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    let mut parts = path.components();
    for part in parts.by_ref() {
        out.push(part);
        if part.as_os_str() == "src" {
            break;
        }
    }
    out.extend(parts.next().map(|part| Path::new(part.as_os_str()).with_extension("")));
    out
}

/// Whether a test compares with a golden file.
fn mentions_golden_file(text: &str) -> bool {
    text.contains("golden::check(") || text.contains("fixtures/v")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str, others: &[(&str, &str)]) -> Vec<String> {
        let mut sources: BTreeMap<PathBuf, String> =
            others.iter().map(|(p, t)| (PathBuf::from(p), (*t).to_owned())).collect();
        sources.insert(path.into(), text.to_owned());
        let file = File { path: Path::new(path), text, blanked: source::blank(text) };
        file.findings(&sources).into_iter().map(|(line, what)| format!("{line}: {what}")).collect()
    }

    #[test]
    fn a_clean_file_has_no_finding() {
        assert_eq!(findings("a/b.rs", "//! Header.\nfn f() {}\n", &[("a/mod.rs", "mod b;")]), [""; 0]);
    }

    #[test]
    fn each_fault_is_named_with_its_line() {
        let named = [("a/mod.rs", "mod b;")];
        let long = format!("//! Header.\nfn f() {{\n{}}}\n", "    g();\n".repeat(71));
        let cases = [
            (long.as_str(), "2: `f` has 71 lines, 70 are allowed"),
            ("//! Header.\n//! \u{e9}\n", "2: a character outside of ASCII"),
            ("//! Header.\n\tf();\n", "2: a tab"),
            ("//! Header.\nfn f() { todo!() }\n", "2: says `todo!(`"),
            ("//! Header.\n//!\n//! # Layout\n", "1: a format table without a golden file in tests/fixtures"),
            ("fn f() {}\n", "1: a file starts with its `//!` header"),
        ];
        for (text, expected) in cases {
            assert_eq!(findings("a/b.rs", text, &named), [expected]);
        }
    }

    #[test]
    fn a_file_is_named_beside_it_above_it_or_by_path() {
        let text = "//! Header.\n";
        let unnamed = ["1: no `mod` names this file, so it is never compiled"];
        assert_eq!(findings("a/b.rs", text, &[("a/mod.rs", "mod c;")]), unnamed);
        assert_eq!(findings("a/b.rs", text, &[("a.rs", "mod b;")]), [""; 0]);
        assert_eq!(findings("a/b/mod.rs", text, &[("a/lib.rs", "pub mod b;")]), [""; 0]);
        assert_eq!(findings("a/b.rs", text, &[("a/c.rs", "#[path = \"b.rs\"]\nmod tests;")]), [""; 0]);
    }

    #[test]
    fn a_golden_file_of_the_room_pins_its_formats() {
        let text = "//! Header.\n//!\n//! The bytes are described in `docs/format/wal.md`.\n";
        let named = ("x/src/wal/mod.rs", "mod record;");
        let pinned = ("x/src/wal/tests/format.rs", "golden::check(\"wal\");");
        let elsewhere = ("x/src/segment/tests.rs", "golden::check(\"segment\");");
        assert_eq!(findings("x/src/wal/record.rs", text, &[named, pinned]), [""; 0]);
        assert_eq!(findings("x/src/wal/record.rs", text, &[named, elsewhere]).len(), 1);
    }

    #[test]
    fn long_words_in_strings_are_no_loose_ends() {
        let text = "//! Header.\nconst A: &str = \"todo!()\";\n";
        assert_eq!(findings("a/b.rs", text, &[("a/mod.rs", "mod b;")]), [""; 0]);
    }
}
