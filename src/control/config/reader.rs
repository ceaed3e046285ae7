//! Reads the keys of one table: notes which are known, records what is wrong, and lets validation go on.
//!
//! A validator asks for each key it knows and calls [`Reader::finish`], which reports every key nobody
//! asked for together with the known key it was probably meant to be. A value that is missing or wrong
//! yields `None` (or the default) after the error was recorded, so that one run finds all errors.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

use super::error::{FileId, Problems, shown};
use super::node::{Node, Table, Value};

/// Where errors go, and what they are about: the file and `port "a"`, `session "x" leg a`.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) problems: &'s Problems,
    pub(super) file: FileId,
    pub(super) subject: Subject<'s>,
}

/// What an error is about; empty at the top of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Subject<'s> {
    /// `port`, `session`, or the name of a table.
    pub(super) kind: &'s str,
    /// The name of this one, or its number where it has no valid name.
    pub(super) name: Name<'s>,
    /// `a` or `b`.
    pub(super) leg: Option<&'static str>,
}

/// How one of several tables is told from the others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Name<'s> {
    /// There is only one.
    #[default]
    None,
    /// By position, from 1.
    Number(usize),
    /// By the name the operator gave.
    Given(&'s str),
}

/// One table being read.
pub(super) struct Reader<'n, 't> {
    scope: Scope<'n>,
    table: &'n Table<'t>,
    /// `None` for a section that the file does not have.
    line: Option<u32>,
    known: RefCell<Vec<&'static str>>,
}

/// What a section that is not there is read from, so that its defaults and required keys are in one place.
static EMPTY: Table<'static> = Table::EMPTY;

/// A key that is there, with its value.
#[derive(Clone, Copy)]
pub(super) struct Given<'n, 't> {
    pub(super) scope: Scope<'n>,
    pub(super) key: &'static str,
    /// The key's line.
    pub(super) line: u32,
    pub(super) node: &'n Node<'t>,
}

/// A key that may or may not be there.
pub(super) struct Spot<'n> {
    scope: Scope<'n>,
    key: &'static str,
    line: Option<u32>,
    is_given: bool,
}

impl<'s> Scope<'s> {
    /// Records an error about `line`, or about the file as a whole.
    pub(super) fn error(
        &self,
        line: impl Into<Option<u32>>,
        message: impl fmt::Display,
        remedy: impl Into<String>,
    ) {
        self.problems.push(self.file, line.into(), format!("{}{message}", self.subject), remedy);
    }

    /// The same file, another subject.
    pub(super) fn about(&self, subject: Subject<'s>) -> Self {
        Self { subject, ..*self }
    }
}

impl fmt::Display for Subject<'_> {
    /// With `: ` at the end, or nothing at all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_empty() {
            return Ok(());
        }
        f.write_str(self.kind)?;
        match self.name {
            Name::None => {}
            Name::Number(number) => write!(f, " {number}")?,
            Name::Given(name) => write!(f, " {}", shown(name))?,
        }
        if let Some(leg) = self.leg {
            write!(f, " leg {leg}")?;
        }
        f.write_str(": ")
    }
}

impl<'n, 't> Reader<'n, 't> {
    /// Reads `table`, whose header is on `line`.
    pub(super) fn new(scope: Scope<'n>, table: &'n Table<'t>, line: impl Into<Option<u32>>) -> Self {
        Self { scope, table, line: line.into(), known: RefCell::new(Vec::with_capacity(16)) }
    }

    /// Where errors about this table go.
    pub(super) fn scope(&self) -> Scope<'n> {
        self.scope
    }

    /// Records an error about the table as a whole, on its own line.
    pub(super) fn error(&self, message: impl fmt::Display, remedy: impl Into<String>) {
        self.scope.error(self.line, message, remedy);
    }

    /// The table of `[key]`: an empty one if the file has none, `None` if it is no table (an error then).
    pub(super) fn section(&self, key: &'static str) -> Option<Reader<'n, 't>> {
        let scope = self.scope.about(Subject { kind: key, ..Subject::default() });
        match self.optional(key) {
            None => Some(Reader::new(scope, &EMPTY, None)),
            Some(given) => {
                let table = given.table(&format!("start the section with [{key}]"))?;
                Some(Reader::new(scope, table, given.line))
            }
        }
    }

    /// The value of `key`, which becomes known, if it is there.
    pub(super) fn optional(&self, key: &'static str) -> Option<Given<'n, 't>> {
        self.known.borrow_mut().push(key);
        let entry = self.table.entries().iter().find(|entry| entry.key == key)?;
        Some(Given { scope: self.scope, key, line: entry.line, node: &entry.node })
    }

    /// The value of `key`; an error with `remedy` if it is not there.
    pub(super) fn required(&self, key: &'static str, remedy: &str) -> Option<Given<'n, 't>> {
        let given = self.optional(key);
        if given.is_none() {
            self.error(format_args!("{key} is missing"), remedy);
        }
        given
    }

    /// An integer within `range`, or `default` if `key` is not there.
    pub(super) fn integer<T>(&self, key: &'static str, range: RangeInclusive<T>, default: T) -> T
    where
        T: Copy + fmt::Display + TryFrom<i64> + Into<i64>,
    {
        self.optional(key).and_then(|given| given.integer(range)).unwrap_or(default)
    }

    /// A boolean, or `default` if `key` is not there.
    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.optional(key).and_then(|given| given.boolean()).unwrap_or(default)
    }

    /// The tables of `[[key]]`, none if the key is not there.
    pub(super) fn tables(&self, key: &'static str) -> Vec<(&'n Table<'t>, u32)> {
        let Some(given) = self.optional(key) else {
            return Vec::new();
        };
        let wrong = |kind: &str| {
            let message = format!("{key} is {kind}, but must be an array of tables");
            given.scope.error(given.line, message, format!("start each one with [[{key}]]"));
        };
        let Value::Array(items) = &given.node.value else {
            wrong(given.node.value.kind());
            return Vec::new();
        };
        let table_of = |item: &'n Node<'t>| match &item.value {
            Value::Table(table) => Some((table, item.line)),
            other => {
                wrong(&format!("an array with {} in it", other.kind()));
                None
            }
        };
        items.iter().filter_map(table_of).collect()
    }

    /// Where an error about `key` goes, whether the file gives the key or leaves its default.
    pub(super) fn at(&self, key: &'static str) -> Spot<'n> {
        let entry = self.table.entries().iter().find(|entry| entry.key == key);
        let line = entry.map(|entry| entry.line).or(self.line);
        Spot { scope: self.scope, key, line, is_given: entry.is_some() }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for entry in self.table.entries() {
            if known.contains(&&*entry.key) {
                continue;
            }
            let remedy = match closest(&entry.key, &known) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("use one of {}, or remove it", known.join(", ")),
            };
            self.scope.error(entry.line, format_args!("unknown key {}", shown(&entry.key)), remedy);
        }
    }
}

impl Spot<'_> {
    /// Whether the file leaves the key out.
    pub(super) fn is_absent(&self) -> bool {
        !self.is_given
    }

    /// Records an error about the key: `buffers = 1024 is too few`.
    pub(super) fn error(&self, what: impl fmt::Display, remedy: impl Into<String>) {
        self.scope.error(self.line, format_args!("{} {what}", self.key), remedy);
    }
}

impl<'n, 't> Given<'n, 't> {
    /// Records an error about this value: `mtu = 80 is out of range`.
    pub(super) fn error(&self, what: impl fmt::Display, remedy: impl Into<String>) {
        self.scope.error(self.line, format_args!("{} {what}", self.key), remedy);
    }

    /// Records an error about this value that repeats `text` of it: `device = "x" is not ...`.
    pub(super) fn error_showing(&self, text: &str, what: impl fmt::Display, remedy: impl Into<String>) {
        self.error_showing_at(self.line, text, what, remedy);
    }

    /// [`Given::error_showing`] about one element of an array, on its line.
    pub(super) fn error_showing_at(
        &self,
        line: u32,
        text: &str,
        what: impl fmt::Display,
        remedy: impl Into<String>,
    ) {
        self.scope.error(line, format_args!("{} = {} {what}", self.key, shown(text)), remedy);
    }

    /// The string, or an error naming what it is instead.
    pub(super) fn string(&self, example: &str) -> Option<&'n str> {
        match &self.node.value {
            Value::String(text) => Some(text),
            other => {
                self.wrong_kind(other, "a string", format!("write it in quotes, like {example:?}"));
                None
            }
        }
    }

    /// The boolean, or an error naming what it is instead.
    pub(super) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Boolean(value) => Some(*value),
            other => {
                self.wrong_kind(other, "a boolean", "use true or false, without quotes");
                None
            }
        }
    }

    /// The integer if it is one within `range`, or an error.
    pub(super) fn integer<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + fmt::Display + TryFrom<i64> + Into<i64>,
    {
        self.integer_of(self.node, range)
    }

    /// The elements of an array of integers within `range`; wrong ones are reported and left out.
    pub(super) fn integers<T>(&self, range: RangeInclusive<T>) -> Vec<(T, u32)>
    where
        T: Copy + fmt::Display + TryFrom<i64> + Into<i64>,
    {
        let example = format!("[{}]", range.start());
        let number = |item| self.integer_of(item, range.clone()).map(|number| (number, item.line));
        self.items("integers", &example).iter().filter_map(number).collect()
    }

    /// The elements of an array of strings; wrong ones are reported and left out.
    pub(super) fn strings(&self, example: &str) -> Vec<(&'n str, u32)> {
        let text = |item: &'n Node<'t>| match &item.value {
            Value::String(text) => Some((&**text, item.line)),
            other => {
                let remedy = format!("write each in quotes, like {example}");
                self.scope.error(
                    item.line,
                    format_args!("{} holds {}, but must hold strings", self.key, other.kind()),
                    remedy,
                );
                None
            }
        };
        self.items("strings", example).iter().filter_map(text).collect()
    }

    /// The table, or an error with `remedy` naming what it is instead.
    pub(super) fn table(&self, remedy: &str) -> Option<&'n Table<'t>> {
        match &self.node.value {
            Value::Table(table) => Some(table),
            other => {
                self.wrong_kind(other, "a table", remedy);
                None
            }
        }
    }

    /// Records that the value is of the wrong kind.
    pub(super) fn wrong_kind(&self, found: &Value<'_>, wanted: &str, remedy: impl Into<String>) {
        self.error(format_args!("is {}, but must be {wanted}", found.kind()), remedy);
    }

    /// The elements of an array, or an error naming what it is instead.
    pub(super) fn items(&self, of_what: &str, example: &str) -> &'n [Node<'t>] {
        match &self.node.value {
            Value::Array(items) => items,
            other => {
                self.wrong_kind(other, &format!("an array of {of_what}"), format!("write {example}"));
                &[]
            }
        }
    }

    /// [`Given::integer`] of one element of an array.
    pub(super) fn integer_of<T>(&self, node: &Node<'_>, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + fmt::Display + TryFrom<i64> + Into<i64>,
    {
        let remedy = format!("use {} to {}", range.start(), range.end());
        let Value::Integer(number) = node.value else {
            let what =
                format_args!("{} is {}, but must be an integer", self.key, node.value.kind()).to_string();
            self.scope.error(node.line, what, remedy);
            return None;
        };
        let in_range = ((*range.start()).into()..=(*range.end()).into()).contains(&number);
        let value = T::try_from(number).ok().filter(|_| in_range);
        if value.is_none() {
            self.scope.error(node.line, format_args!("{} = {number} is out of range", self.key), remedy);
        }
        value
    }
}

/// The known key that `key` is most likely a slip of the finger away from.
pub(super) fn closest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    // The distance costs the product of the lengths: what is far too long is not worth measuring.
    let wanted = Some(key).filter(|key| key.len() <= 64)?.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|&candidate| (strsim::osa_distance(&wanted, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (candidate.len() / 3).max(1) && *distance < candidate.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_key_is_suggested_if_it_is_close() {
        let known = ["name", "mtu", "rx_descriptors", "tx_descriptors"];
        assert_eq!(closest("nmae", &known), Some("name"));
        assert_eq!(closest("nam", &known), Some("name"));
        assert_eq!(closest("rx-descriptors", &known), Some("rx_descriptors"));
        assert_eq!(closest("rx_desc", &known), None);
        assert_eq!(closest("MTU", &known), Some("mtu"));
        assert_eq!(closest("zzz", &known), None);
        assert_eq!(closest("c", &["id", "a", "b"]), None);
        assert_eq!(closest(&"name".repeat(1000), &known), None);
    }
}
