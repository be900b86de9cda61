//! The name of a table, as a person types it and as it is shown.

use std::fmt;

/// The most bytes of a name in PostgreSQL
const NAME_BYTES_MAX: usize = 63;

/// A table's name, with its schema where one was named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The PostgreSQL schema; the search path's first if absent.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

impl TableName {
    /// Reads `name` or `schema.name`, each of them plain or, as in SQL, in double quotes; `None` if it is neither. A name
    /// with a dot needs the quotes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = part(text)?;
        match rest {
            None => Some(Self {
                schema: None,
                name: first,
            }),
            Some(rest) => match part(rest)? {
                (name, None) => Some(Self {
                    schema: Some(first),
                    name,
                }),
                (_, Some(_)) => None,
            },
        }
    }

    /// Reads a name with its schema that Bekk has stored. Earlier versions stored no quotes, and no table's name with a
    /// dot.
    #[must_use]
    pub fn of_stored(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|| match text.rsplit_once('.') {
            Some((schema, name)) => Self::within(schema, name),
            None => Self {
                schema: None,
                name: text.to_owned(),
            },
        })
    }

    /// The line of a stream's configuration that names this table.
    #[must_use]
    pub fn as_setting(&self) -> String {
        let escaped = self.to_string().replace('\\', "\\\\").replace('"', "\\\"");
        format!("table = \"{escaped}\"")
    }

    /// The name of a table in a schema.
    #[must_use]
    pub fn within(schema: &str, name: &str) -> Self {
        Self {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        }
    }
}

/// The first part of a name, and the text after the dot that follows it.
fn part(text: &str) -> Option<(String, Option<&str>)> {
    let (name, rest) = match quoted(text) {
        Some(found) => found,
        None => match text.split_once('.') {
            Some((name, rest)) => (name.to_owned(), Some(rest)),
            None => (text.to_owned(), None),
        },
    };
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains('\0');
    is_name.then_some((name, rest))
}

/// The same of a part in quotes.
fn quoted(text: &str) -> Option<(String, Option<&str>)> {
    let mut rest = text.strip_prefix('"')?;
    let mut name = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None if after.is_empty() => return Some((name, None)),
            None => return Some((name, Some(after.strip_prefix('.')?))),
        }
    }
}

impl fmt::Display for TableName {
    /// Writes the name as [`TableName::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str| match name.contains('.') || name.starts_with('"') {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.to_owned(),
        };
        match &self.schema {
            Some(schema) => write!(f, "{}.{}", shown(schema), shown(&self.name)),
            None => f.write_str(&shown(&self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_shown() {
        let long = "ä".repeat(31);
        for (text, schema, name) in [
            ("events", None, "events"),
            ("Odd Name", None, "Odd Name"),
            ("sales.events", Some("sales"), "events"),
            (r#""a.b".events"#, Some("a.b"), "events"),
            (r#""a.b"."c.d""#, Some("a.b"), "c.d"),
            (r#"ev"ents"#, None, r#"ev"ents"#),
            (r#""""x".y"#, Some(r#""x"#), "y"),
            // Quotes that do not end are part of the name.
            (r#""x"#, None, r#""x"#),
            (&long, None, &long),
        ] {
            let expected = TableName {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            };
            assert_eq!(TableName::parse(text), Some(expected.clone()), "{text}");
            let shown = expected.to_string();
            assert_eq!(TableName::parse(&shown), Some(expected), "{shown}");
        }
    }

    #[test]
    fn the_configuration_takes_each_name() {
        for (schema, name) in [("a", "b"), ("a.b", r#"c\d"e"#)] {
            let line = TableName::within(schema, name).as_setting();
            let parsed: toml::Table = line.parse().unwrap();
            let text = parsed["table"].as_str().unwrap();
            assert_eq!(
                TableName::parse(text),
                Some(TableName::within(schema, name)),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".b",
            "a.b.c",
            r#""""#,
            "a\0",
            &"x".repeat(64),
        ] {
            assert_eq!(TableName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_stored_name_may_be_of_an_earlier_version() {
        for (text, schema, name) in [
            ("public.events", "public", "events"),
            ("a.b.events", "a.b", "events"),
            (r#""a.b".events"#, "a.b", "events"),
        ] {
            assert_eq!(TableName::of_stored(text), TableName::within(schema, name));
        }
    }
}
