//! A type of the database that Bekk has no values of its own for: its name, taken apart so that it can be written as
//! SQL without anything else in it.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// What precedes such a type in the configuration.
const PREFIX: &str = "pg:";
/// PostgreSQL's own limit of a name, in bytes.
const NAME_MAX: usize = 63;
/// Most modifiers of a type, such as those of `geometry(Point,4326)`.
const MODIFIERS_MAX: usize = 8;

/// SQL's own names for types that the catalog has under another. The longer ones of those that begin alike come first.
const ALIASES: [(&str, &str); 14] = [
    ("bigint", "int8"),
    ("bit varying", "varbit"),
    ("boolean", "bool"),
    ("character varying", "varchar"),
    ("character", "bpchar"),
    ("char", "bpchar"),
    ("decimal", "numeric"),
    ("double precision", "float8"),
    ("float", "float8"),
    ("integer", "int4"),
    ("int", "int4"),
    ("real", "float4"),
    ("smallint", "int2"),
    ("time with time zone", "timetz"),
];

/// Types whose input function drops, cuts or rounds a part of the text in silence, with what to write instead.
const INEXACT: [(&str, &str); 8] = [
    ("date", "write type = \"date\""),
    ("time", "write type = \"time\""),
    ("timestamp", "write type = \"timestamp\""),
    ("timestamptz", "write type = \"timestamptz\""),
    (
        "numeric",
        "write type = \"numeric\", or \"decimal(p,s)\" for a fixed number of digits",
    ),
    (
        "money",
        "write type = \"decimal(18,2)\", with `strip` for the currency sign",
    ),
    ("name", "write type = \"text\""),
    (
        "interval(…)",
        "write type = \"pg:interval\", without digits",
    ),
];

/// Types of PostgreSQL whose texts are never empty, so that an empty field can only mean null.
const WITHOUT_EMPTY_VALUE: [&str; 27] = [
    "bool",
    "box",
    "cidr",
    "circle",
    "float4",
    "float8",
    "geography",
    "geometry",
    "inet",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "timetz",
    "uuid",
];

/// The name of a type of the database: `inet`, `shop.mood`, `geometry(Point,4326)`, `int4[]`.
///
/// Names are folded to lower case unless they are in double quotes, as PostgreSQL does.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PostgresType(Arc<Parts>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Parts {
    schema: Option<String>,
    name: String,
    modifiers: Vec<String>,
    is_array: bool,
}

impl PostgresType {
    /// Parses `pg:NAME`; `None` if the text does not begin so, an error that says what is wrong with the name.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, String>> {
        let (prefix, name) = text.split_at_checked(PREFIX.len())?;
        prefix
            .eq_ignore_ascii_case(PREFIX)
            .then(|| Parts::parse(name).map(|parts| Self(Arc::new(parts))))
    }

    /// The schema that was named.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.0.schema.as_deref()
    }

    /// The type's name, without its schema; that of the elements of an array.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is the array of the named type.
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.0.is_array
    }

    /// The same type, in a schema.
    #[must_use]
    pub fn in_schema(&self, schema: &str) -> Self {
        let Parts {
            name,
            modifiers,
            is_array,
            ..
        } = &*self.0;
        Self(Arc::new(Parts {
            schema: Some(schema.to_owned()),
            name: name.clone(),
            modifiers: modifiers.clone(),
            is_array: *is_array,
        }))
    }

    /// The type as SQL writes it: every name in quotes, and nothing of the configuration outside of them but whole
    /// numbers.
    #[must_use]
    pub fn sql(&self) -> String {
        let parts = &*self.0;
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut sql = String::new();
        if let Some(schema) = &parts.schema {
            sql = quoted(schema) + ".";
        }
        sql += &quoted(&parts.name);
        if !parts.modifiers.is_empty() {
            let modifiers = parts
                .modifiers
                .iter()
                .map(|modifier| match modifier.parse::<i32>() {
                    Ok(number) => number.to_string(),
                    Err(_) => quoted(modifier),
                });
            let _ = write!(sql, "({})", modifiers.collect::<Vec<_>>().join(","));
        }
        if parts.is_array {
            sql.push_str("[]");
        }
        sql
    }

    /// Whether an empty text may be a value of it. It may unless the type is known to have none.
    pub(crate) fn may_be_empty(&self) -> bool {
        let parts = &*self.0;
        let is_own = parts
            .schema
            .as_deref()
            .is_none_or(|schema| schema == "pg_catalog");
        !(parts.is_array
            || is_own
                && (WITHOUT_EMPTY_VALUE.contains(&parts.name.as_str())
                    || parts.name.ends_with("range")))
    }
}

/// As the configuration writes it.
impl fmt::Display for PostgresType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &*self.0;
        f.write_str(PREFIX)?;
        if let Some(schema) = &parts.schema {
            write!(f, "{}.", Identifier(schema))?;
        }
        // Without quotes these names mean another type: `char` is "bpchar".
        let is_alias = ALIASES.iter().any(|(alias, _)| *alias == parts.name);
        match &parts.schema {
            None if is_alias => write!(f, "\"{}\"", parts.name)?,
            _ => write!(f, "{}", Identifier(&parts.name))?,
        }
        if !parts.modifiers.is_empty() {
            write!(f, "({})", parts.modifiers.join(","))?;
        }
        f.write_str(if parts.is_array { "[]" } else { "" })
    }
}

impl fmt::Debug for PostgresType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name, in quotes where it would be folded or cut without them.
struct Identifier<'a>(&'a str);

impl fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = self
            .0
            .starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && self.0.chars().all(is_plain);
        match is_plain {
            true => f.write_str(self.0),
            false => write!(f, "\"{}\"", self.0.replace('"', "\"\"")),
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '$')
}

impl Parts {
    fn parse(text: &str) -> Result<Self, String> {
        let mut text = text.trim();
        let mut is_array = false;
        while let Some(element) = text.strip_suffix("[]") {
            (text, is_array) = (element.trim_end(), true);
        }
        let wrong = || {
            format!(
                "`{PREFIX}{}` does not name a type; write `{PREFIX}inet`, `{PREFIX}schema.name`, `{PREFIX}name(modifiers)` \
                 or `{PREFIX}name[]`, with double quotes around a name that has upper case or other characters",
                text.escape_debug()
            )
        };
        let (schema, name, rest) = names(text).ok_or_else(wrong)?;
        let modifiers = match rest.trim() {
            "" => Vec::new(),
            rest => modifiers(rest).ok_or_else(wrong)?,
        };
        let is_own = schema
            .as_deref()
            .is_none_or(|schema| schema == "pg_catalog");
        let known = match modifiers.is_empty() {
            false if name == "interval" => "interval(…)",
            _ => name.as_str(),
        };
        let inexact = INEXACT
            .iter()
            .find(|(inexact, _)| is_own && !is_array && *inexact == known);
        if let Some((inexact, remedy)) = inexact {
            return Err(format!(
                "PostgreSQL's input of {inexact} silently drops or rounds a part of some texts; {remedy}"
            ));
        }
        Ok(Self {
            schema,
            name,
            modifiers,
            is_array,
        })
    }
}

/// The schema, if one is named, the name, and what follows it.
fn names(text: &str) -> Option<(Option<String>, String, &str)> {
    for (alias, name) in ALIASES {
        if let Some((start, rest)) = text.split_at_checked(alias.len())
            && start.eq_ignore_ascii_case(alias)
            && (rest.is_empty() || rest.trim_start().starts_with('('))
        {
            return Some((None, name.to_owned(), rest));
        }
    }
    let (first, rest) = identifier(text)?;
    match rest.strip_prefix('.') {
        None => Some((None, first, rest)),
        Some(rest) => identifier(rest).map(|(name, rest)| (Some(first), name, rest)),
    }
}

/// A name at the beginning of a text, folded if it is not in quotes, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let mut name = String::new();
            let mut rest = quoted;
            loop {
                let (part, after) = rest.split_once('"')?;
                name.push_str(part);
                match after.strip_prefix('"') {
                    Some(after) => rest = after,
                    None => break (name, after),
                }
                name.push('"');
            }
        }
        None => {
            let is_part = |c: char| c == '_' || c == '$' || c.is_alphanumeric();
            let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let starts_well = !name.starts_with(|c: char| c.is_numeric() || c == '$');
            (starts_well.then(|| name.to_ascii_lowercase())?, rest)
        }
    };
    let is_name = (1..=NAME_MAX).contains(&name.len()) && !name.contains(char::is_control);
    is_name.then_some((name, rest))
}

/// The arguments in a type's parentheses: whole numbers and plain words.
fn modifiers(text: &str) -> Option<Vec<String>> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    let modifiers: Vec<String> = inside
        .split(',')
        .map(|text| text.trim().to_owned())
        .collect();
    let is_modifier = |text: &String| {
        let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
            && text.len() <= NAME_MAX;
        is_word
            || text
                .parse::<i32>()
                .is_ok_and(|number| number.to_string() == *text)
    };
    (modifiers.len() <= MODIFIERS_MAX && modifiers.iter().all(is_modifier)).then_some(modifiers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresType, String> {
        PostgresType::parse(text).expect("it begins with pg:")
    }

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        let check = |text: &str, canonical: &str, sql: &str| {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.to_string(), canonical, "{text}");
            assert_eq!(parse(canonical).unwrap(), parsed);
            let schema = parsed.schema().unwrap_or("s");
            assert_eq!(parsed.in_schema(schema).sql(), sql, "{text}");
        };
        check("pg:INET", "pg:inet", "\"s\".\"inet\"");
        check("PG: shop.mood ", "pg:shop.mood", "\"shop\".\"mood\"");
        check("pg:int[][]", "pg:int4[]", "\"s\".\"int4\"[]");
        check(
            "pg:Character Varying(20)[]",
            "pg:varchar(20)[]",
            "\"s\".\"varchar\"(20)[]",
        );
        check(
            "pg:\"My \"\"T\"\"\"",
            "pg:\"My \"\"T\"\"\"",
            "\"s\".\"My \"\"T\"\"\"",
        );
        check(
            "pg:geometry(Point, 4326)",
            "pg:geometry(Point,4326)",
            "\"s\".\"geometry\"(\"Point\",4326)",
        );
        check("pg:\"char\"", "pg:\"char\"", "\"s\".\"char\"");
        check("pg:s.integer", "pg:s.integer", "\"s\".\"integer\"");
        check("pg:char(3)", "pg:bpchar(3)", "\"s\".\"bpchar\"(3)");
        check("pg:charlie", "pg:charlie", "\"s\".\"charlie\"");
        check("pg:date[]", "pg:date[]", "\"s\".\"date\"[]");
        assert!(PostgresType::parse("inet").is_none());
    }

    #[test]
    fn nothing_but_a_name_is_one() {
        for text in [
            "",
            "1a",
            "a b",
            "a;DROP TABLE x",
            "a.b.c",
            "a(",
            "a()",
            "a(1",
            "a('x')",
            "a(1);b",
            "\"a",
            "\"\"",
            "a--",
            "a[1]",
            "a(1+1)",
            "a(007)",
            "a\"b\"",
            "a(1)(2)",
        ] {
            assert!(parse(&format!("pg:{text}")).is_err(), "{text}");
        }
        let long = format!("pg:{}", "x".repeat(64));
        assert!(parse(&long).is_err());
        // A quote ends nothing: it is doubled.
        let sql = parse("pg:\"a\"\"; DROP\"").unwrap().in_schema("x\"y").sql();
        assert_eq!(sql, "\"x\"\"y\".\"a\"\"; DROP\"");
    }

    #[test]
    fn what_would_lose_a_part_of_a_text_is_refused_with_the_remedy() {
        for (text, remedy) in [
            ("pg:date", "type = \"date\""),
            ("pg:time(3)", "type = \"time\""),
            ("pg:pg_catalog.numeric(5,1)", "decimal(p,s)"),
            ("pg:decimal", "\"numeric\""),
            ("pg:money", "strip"),
            ("pg:interval(3)", "\"pg:interval\""),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(remedy), "{why}");
        }
        assert!(parse("pg:interval").is_ok() && parse("pg:own.money").is_ok());
    }

    #[test]
    fn types_without_an_empty_value_are_known() {
        for (text, expected) in [
            ("pg:inet", false),
            ("pg:text[]", false),
            ("pg:tstzrange", false),
            ("pg:varchar(3)", true),
            ("pg:ltree", true),
            ("pg:own.inet", true),
        ] {
            assert_eq!(parse(text).unwrap().may_be_empty(), expected, "{text}");
        }
    }
}
