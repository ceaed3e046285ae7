//! A configuration file as a tree of values that know their lines.
//!
//! TOML documents and single lines of JSON both become [`Node`]s, so that one set of validators serves
//! both. Strings are borrowed from the file's text wherever its syntax allows: key material is not copied
//! about, and what must be copied is zeroized.

use std::borrow::Cow;
use std::ops::Deref;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::error::{FileId, Problems};

/// A value and the line it starts on (from 1).
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) line: u32,
    pub(super) value: Value<'t>,
}

/// What a value is.
pub(super) enum Value<'t> {
    Array(Vec<Node<'t>>),
    Boolean(bool),
    Integer(i64),
    String(Text<'t>),
    Table(Table<'t>),
    /// A kind that no key takes: a float, a date-time, null, an integer beyond 64 bits.
    Other(&'static str),
}

/// Keys with their values, in file order for JSON, in key order for TOML.
#[derive(Debug)]
pub(super) struct Table<'t> {
    entries: Vec<Entry<'t>>,
}

/// One key of a table.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    /// The key's line; the value of a multi-line array may start further down.
    pub(super) line: u32,
    pub(super) node: Node<'t>,
}

/// A string of the file: borrowed, or (where it held escapes) owned and zeroized when dropped.
pub(super) enum Text<'t> {
    Borrowed(&'t str),
    Owned(Zeroizing<String>),
}

impl<'t> Node<'t> {
    /// Parses a TOML document. Syntax errors are recorded, all that the parser can make out; the tree is
    /// then not worth validating and `None` is returned.
    pub(super) fn from_toml(text: &'t str, file: FileId, problems: &Problems) -> Option<Self> {
        let lines = Lines::of(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mut last_line = None;
            for error in errors {
                let line = lines.number(error.span().map_or(text.len(), |span| span.start));
                // One slip makes the parser stumble several times on the same line: the first time tells.
                if last_line.replace(line) != Some(line) {
                    let what = error.message().trim_end_matches(", expected nothing");
                    problems.push(file, Some(line), format!("not valid TOML: {what}"), syntax_remedy(what));
                }
            }
            return None;
        }
        Some(Self { line: 1, value: Value::Table(table_from_toml(document.into_inner(), &lines)) })
    }

    /// The string, if it is one.
    pub(super) fn string(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }
}

impl Value<'_> {
    /// The kind with its article, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Array(_) => "an array",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::String(_) => "a string",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Names the kind only: a string may be key material.
impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

impl<'t> Table<'t> {
    /// No entries.
    pub(super) const EMPTY: Self = Self { entries: Vec::new() };

    /// The entries, in the order they were added.
    pub(super) fn entries(&self) -> &[Entry<'t>] {
        &self.entries
    }

    /// Adds an entry, unless the table has the key already: `false` then.
    pub(super) fn insert(&mut self, entry: Entry<'t>) -> bool {
        let is_new = self.entries.iter().all(|other| other.key != entry.key);
        if is_new {
            self.entries.push(entry);
        }
        is_new
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl<'t> From<Cow<'t, str>> for Text<'t> {
    fn from(text: Cow<'t, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => Self::Owned(Zeroizing::new(text)),
        }
    }
}

fn table_from_toml<'t>(table: DeTable<'t>, lines: &Lines) -> Table<'t> {
    let entries = table
        .into_iter()
        .map(|(key, value)| {
            let line = lines.number(key.span().start);
            Entry { key: key.into_inner(), line, node: node_from_toml(value, lines) }
        })
        .collect();
    Table { entries }
}

fn node_from_toml<'t>(value: toml::Spanned<DeValue<'t>>, lines: &Lines) -> Node<'t> {
    let line = lines.number(value.span().start);
    let value = match value.into_inner() {
        DeValue::Array(mut items) => Value::Array(
            items
                .iter_mut()
                .map(|item| {
                    let span = item.span();
                    let value = std::mem::replace(item.get_mut(), DeValue::Boolean(false));
                    node_from_toml(toml::Spanned::new(span, value), lines)
                })
                .collect(),
        ),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Float(_) => Value::Other("a decimal number"),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("an integer of more than 64 bits"),
        },
        DeValue::String(text) => Value::String(text.into()),
        DeValue::Table(table) => Value::Table(table_from_toml(table, lines)),
    };
    Node { line, value }
}

fn syntax_remedy(message: &str) -> &'static str {
    match message {
        "duplicate key" => "give every key and every [table] once; repeat only [[port]] and [[session]]",
        _ if message.starts_with("unclosed") => "close the bracket or quote on this line",
        _ => "put text in quotes, and check commas and brackets (docs/configuration.md shows each key)",
    }
}

/// Where the lines of a text start.
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let after_newlines =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line, from 1, of a byte offset.
    pub(super) fn number(&self, offset: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|&start| start <= offset)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::of("ab\nc\n");
        assert_eq!([0, 2, 3, 4, 5, 99].map(|offset| lines.number(offset)), [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn keys_values_and_elements_know_their_lines() {
        let problems = Problems::default();
        let file = problems.add_file("a.toml");
        let text = "\n[[port]]\nname = \"a\"\nlist = [\n  1,\n  2,\n]\n[[port]]\n";
        let root = Node::from_toml(text, file, &problems).expect("the text is valid TOML");
        let Value::Table(root) = root.value else { panic!("a document is a table") };
        let Value::Array(ports) = &root.entries()[0].node.value else { panic!("port is an array") };
        assert_eq!(ports.iter().map(|port| port.line).collect::<Vec<_>>(), [2, 8]);
        let Value::Table(port) = &ports[0].value else { panic!("a port is a table") };
        let lines: Vec<_> = port.entries().iter().map(|entry| (&*entry.key, entry.line)).collect();
        assert_eq!(lines, [("list", 4), ("name", 3)]);
        let Value::Array(list) = &port.entries()[0].node.value else { panic!("list is an array") };
        assert_eq!(list.iter().map(|item| item.line).collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn several_syntax_errors_are_found_at_once() {
        let problems = Problems::default();
        let file = problems.add_file("a.toml");
        assert!(Node::from_toml("a = \nb = 1\nb = 2\nc = [1,\n", file, &problems).is_none());
        let errors = problems.into_errors().expect("the text is broken");
        let lines: Vec<_> = errors.shown().iter().filter_map(|error| error.line).collect();
        assert_eq!(lines, [1, 3, 4], "{errors}");
    }
}
