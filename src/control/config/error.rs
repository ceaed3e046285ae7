//! What is wrong with a configuration: all of it at once, each error with place, value and remedy.
//!
//! Validators push into [`Problems`]; [`Config::load`](super::Config::load) turns what was pushed into
//! [`ConfigErrors`] for the operator. Every value of the operator's that appears in a message goes through
//! [`shown`], which lets no key material pass.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

/// How many errors are kept and shown; the rest is only counted.
pub const SHOWN_ERRORS: usize = 100;

/// Errors kept before they are sorted and cut to [`SHOWN_ERRORS`]: bounds memory when all of 100,000
/// sessions are wrong.
const KEPT_ERRORS: usize = 10 * SHOWN_ERRORS;

/// Longest piece of the operator's text that a message repeats, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// A run of this many base64 characters may be key material: the shortest inline key (AES-128-GCM: 28
/// bytes) has 38 of them, and half of one must not be shown either.
const SECRET_RUN: usize = 18;

/// One thing wrong with one place.
///
/// `Display` is one line: `demo.toml:14: port "a": mtu = 80 is out of range; use 576 to 1900`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}: {message}; {remedy}", Place(file, *line))]
pub struct ConfigError {
    /// The file, as the operator named it.
    pub file: String,
    /// Line in it, from 1; `None` if the file as a whole is meant.
    pub line: Option<u32>,
    /// What is wrong, naming the value.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything wrong with a configuration, in the order of files and lines; never empty.
///
/// `Display` is one line per error (at most [`SHOWN_ERRORS`], then how many more there are) and the line of
/// [`ConfigErrors::summary`], without a newline at the end. `Serialize` is the array of the shown errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ConfigErrors {
    shown: Vec<ConfigError>,
    #[serde(skip)]
    more: usize,
}

impl ConfigErrors {
    /// The errors that are shown, at most [`SHOWN_ERRORS`].
    pub fn shown(&self) -> &[ConfigError] {
        &self.shown
    }

    /// How many errors there are beyond [`ConfigErrors::shown`].
    pub fn more(&self) -> usize {
        self.more
    }

    /// How many errors there are in all: at least one.
    pub fn count(&self) -> usize {
        self.shown.len().saturating_add(self.more)
    }

    /// The closing line for people: `1 error`, `12 errors`.
    pub fn summary(&self) -> String {
        match self.count() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.shown {
            writeln!(f, "{error}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        f.write_str(&self.summary())
    }
}

impl std::error::Error for ConfigErrors {}

/// The errors found so far. Shared by all validators of a run, hence the interior mutability.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// File names in the order in which they were read.
    files: Vec<String>,
    /// Errors with the position of their file in `files`, the first sort key.
    errors: Vec<(usize, ConfigError)>,
    more: usize,
}

/// A file of the run, as [`Problems::add_file`] numbered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(usize);

impl Problems {
    /// Makes `name` known; errors are ordered by file in the order of these calls.
    pub(super) fn add_file(&self, name: impl Into<String>) -> FileId {
        let mut found = self.found.borrow_mut();
        found.files.push(name.into());
        FileId(found.files.len().saturating_sub(1))
    }

    /// The name that [`Problems::add_file`] was given, with a line: `demo.toml:14`.
    pub(super) fn place(&self, file: FileId, line: u32) -> String {
        Place(self.found.borrow().files.get(file.0).map_or("", String::as_str), Some(line)).to_string()
    }

    /// Records an error.
    pub(super) fn push(
        &self,
        file: FileId,
        line: Option<u32>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let mut found = self.found.borrow_mut();
        if found.errors.len() >= KEPT_ERRORS {
            found.more = found.more.saturating_add(1);
            return;
        }
        let name = found.files.get(file.0).cloned().unwrap_or_default();
        let (message, remedy) = (message.into(), remedy.into());
        found.errors.push((file.0, ConfigError { file: name, line, message, remedy }));
    }

    /// How many errors were recorded.
    pub(super) fn count(&self) -> usize {
        let found = self.found.borrow();
        found.errors.len().saturating_add(found.more)
    }

    /// The errors in order of file and line, or `None` if there are none.
    pub(super) fn into_errors(self) -> Option<ConfigErrors> {
        let Found { mut errors, more, .. } = self.found.into_inner();
        if errors.is_empty() {
            return None;
        }
        errors.sort_by_key(|(file, error)| (*file, error.line));
        let cut = errors.len().saturating_sub(SHOWN_ERRORS);
        errors.truncate(SHOWN_ERRORS);
        let shown = errors.into_iter().map(|(_, error)| error).collect();
        Some(ConfigErrors { shown, more: more.saturating_add(cut) })
    }
}

/// `file` or `file:line`.
struct Place<'a>(&'a str, Option<u32>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(line) => write!(f, "{}:{line}", self.0),
            None => f.write_str(self.0),
        }
    }
}

/// The operator's own text as a message may repeat it: quoted, escaped to one line, cut to 60
/// characters, and withheld if it may hold key material.
pub(super) fn shown(text: &str) -> String {
    if may_be_secret(text) {
        return "(withheld: it looks like key material)".to_owned();
    }
    let mut characters = text.chars();
    let head: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    if characters.next().is_none() { format!("{head:?}") } else { format!("{head:?}...") }
}

/// A path as a message may repeat it. Paths are long runs of base64 characters by nature, so only the
/// word `inline:` withholds one.
pub(super) fn shown_path(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    if has_inline_prefix(&text) { shown(&text) } else { text.escape_debug().to_string() }
}

fn may_be_secret(text: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    has_inline_prefix(text)
        || text.split(|c| !is_base64(c)).any(|run| {
            // Words and hex numbers are short or of one case; a random key of this length has both cases.
            run.len() >= SECRET_RUN
                && run.contains(|c: char| c.is_ascii_lowercase())
                && run.contains(|c: char| c.is_ascii_uppercase())
        })
}

fn has_inline_prefix(text: &str) -> bool {
    text.to_ascii_lowercase().contains("inline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_in_order_of_file_and_line() {
        let problems = Problems::default();
        let (first, second) = (problems.add_file("a.toml"), problems.add_file("b.jsonl"));
        problems.push(second, Some(1), "m4", "r");
        problems.push(first, Some(10), "m3", "r");
        problems.push(first, Some(9), "m2", "r");
        problems.push(first, None, "m1", "r");
        let errors = problems.into_errors().expect("four errors were pushed");
        assert_eq!(
            errors.to_string(),
            "a.toml: m1; r\na.toml:9: m2; r\na.toml:10: m3; r\nb.jsonl:1: m4; r\n4 errors"
        );
        assert_eq!(errors.summary(), "4 errors");
    }

    #[test]
    fn a_hundred_errors_are_shown_and_the_rest_counted() {
        let problems = Problems::default();
        let file = problems.add_file("a.toml");
        (1..=2500).for_each(|line| problems.push(file, Some(line), "m", "r"));
        assert_eq!(problems.count(), 2500);
        let errors = problems.into_errors().expect("errors were pushed");
        assert_eq!((errors.shown().len(), errors.more(), errors.count()), (100, 2400, 2500));
        assert!(errors.to_string().ends_with("\na.toml:100: m; r\nand 2400 more\n2500 errors"));
    }

    #[test]
    fn serializes_as_an_array_of_errors() {
        let problems = Problems::default();
        problems.push(problems.add_file("a.toml"), Some(3), "m", "r");
        let errors = problems.into_errors().expect("an error was pushed");
        let json = serde_json::to_string(&errors).expect("strings and numbers serialize");
        assert_eq!(json, r#"[{"file":"a.toml","line":3,"message":"m","remedy":"r"}]"#);
    }

    #[test]
    fn values_are_quoted_escaped_and_cut() {
        assert_eq!(shown("a\n\"b\""), r#""a\n\"b\"""#);
        assert_eq!(shown(&"x ".repeat(40)), format!("{:?}...", "x ".repeat(30)));
        assert_eq!(shown("0000:01:00.0"), r#""0000:01:00.0""#);
        assert_eq!(shown("net_memif0,role=server,id=0"), r#""net_memif0,role=server,id=0""#);
        assert_eq!(shown("AEAD_AES_128_GCM_8"), r#""AEAD_AES_128_GCM_8""#);
    }

    #[test]
    fn what_looks_like_a_key_is_withheld() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
        for text in [key, &key[..18], &format!("inline:{key}"), &format!(" {key} "), "INLINE:x", "inline: x"]
        {
            assert!(shown(text).starts_with("(withheld"), "{text}");
        }
    }
}
