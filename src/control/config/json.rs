//! One line of JSON to a [`Node`], straight from the parser: no intermediate tree, duplicate keys refused.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::shown;
use super::node::{Entry, Node, Table, Text, Value};

/// Parses the JSON value in `text`, which is line `line` of its file.
///
/// # Errors
/// What is not JSON, with the column; the text never repeats a value of the line.
pub(super) fn node_from_json(text: &str, line: u32) -> Result<Node<'_>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Seed { line }
        .deserialize(&mut deserializer)
        .and_then(|node| deserializer.end().map(|()| node))
        .map_err(|error| describe(&error))
}

/// `expected value at line 1 column 7` to `expected value (column 7)`: the line is the file's, not 1.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line 1 column").next().unwrap_or(&text);
    format!("{what} (column {})", error.column())
}

#[derive(Clone, Copy)]
struct Seed {
    line: u32,
}

impl Seed {
    fn node<'t>(self, value: Value<'t>) -> Node<'t> {
        Node { line: self.line, value }
    }
}

impl<'t> DeserializeSeed<'t> for Seed {
    type Value = Node<'t>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Node<'t>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Seed {
    type Value = Node<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'t>, E> {
        Ok(self.node(Value::Other("null")))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node<'t>, E> {
        Ok(self.node(Value::Boolean(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node<'t>, E> {
        Ok(self.node(Value::Integer(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node<'t>, E> {
        Ok(self.node(match i64::try_from(value) {
            Ok(value) => Value::Integer(value),
            Err(_) => Value::Other("an integer of more than 64 bits"),
        }))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node<'t>, E> {
        Ok(self.node(Value::Other("a decimal number")))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'t str) -> Result<Node<'t>, E> {
        Ok(self.node(Value::String(Text::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node<'t>, E> {
        Ok(self.node(Value::String(Cow::<str>::Owned(text.to_owned()).into())))
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut sequence: A) -> Result<Node<'t>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(self)? {
            items.push(item);
        }
        Ok(self.node(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Node<'t>, A::Error> {
        let mut table = Table::EMPTY;
        while let Some(key) = map.next_key::<Cow<'t, str>>()? {
            let name = shown(&key);
            let node = map.next_value_seed(self)?;
            if !table.insert(Entry { key, line: self.line, node }) {
                return Err(A::Error::custom(format_args!("the key {name} is given twice")));
            }
        }
        Ok(self.node(Value::Table(table)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_tree_with_that_line() {
        let node = node_from_json(r#"{"a": [1, true, "x", null, 1.5], "b": {"c": 99999999999999999999}}"#, 7)
            .expect("the text is JSON");
        let Value::Table(table) = node.value else { panic!("an object is a table") };
        let Value::Array(items) = &table.entries()[0].node.value else { panic!("a is an array") };
        let kinds: Vec<_> = items.iter().map(|item| item.value.kind()).collect();
        assert_eq!(kinds, ["an integer", "a boolean", "a string", "null", "a decimal number"]);
        assert!(items.iter().all(|item| item.line == 7));
    }

    #[test]
    fn broken_json_is_refused_with_its_column_and_without_its_text() {
        let cases = [
            ("", "EOF while parsing a value (column 0)"),
            (r#"{"a": "inline:secret" x"#, "expected `,` or `}` (column 23)"),
            (r#"{"a": 1} {"b": 2}"#, "trailing characters (column 10)"),
            (r#"{"a": 1, "a": 2}"#, "the key \"a\" is given twice (column 16)"),
        ];
        for (text, expected) in cases {
            let error = node_from_json(text, 1).expect_err("the text is broken");
            assert_eq!(error, expected);
        }
    }
}
