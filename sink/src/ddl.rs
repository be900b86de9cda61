//! The SQL that makes a stream's table, and names in SQL.

use std::fmt::Write as _;

use bekk_stream::{
    Column, ColumnType, Family, Field, OnConflict, Stream, TableName, ValueParser, key_text,
};

/// The column that created tables have beside the stream's: when the row arrived.
const INGESTED_AT: &str = "ingested_at";

/// The most bytes of a name in PostgreSQL; a longer one would be cut in silence.
const NAME_BYTES_MAX: usize = 63;

/// A name as SQL writes it: in quotes, whatever it holds.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it, whether or not the server takes a backslash in a plain literal as one.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Names in quotes, with commas between them.
pub(crate) fn quote_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(quote).collect();
    quoted.join(", ")
}

/// A table's name as SQL writes it.
#[must_use]
pub fn quote_table(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&table.name)),
        None => quote(&table.name),
    }
}

/// The SQL that makes a stream's table and its indexes where they do not exist.
#[must_use]
pub fn create_table_sql(stream: &Stream) -> String {
    let mut sql = String::new();
    if let Some(schema) = &stream.table.schema {
        let _ = writeln!(sql, "CREATE SCHEMA IF NOT EXISTS {};", quote(schema));
    }
    sql + &create_table_only_sql(stream)
}

/// The same for a table whose schema exists.
pub(crate) fn create_table_only_sql(stream: &Stream) -> String {
    let table = quote_table(&stream.table);
    let mut sql = String::new();
    let _ = write!(sql, "CREATE TABLE IF NOT EXISTS {table} (");
    for column in &stream.columns {
        let not_null = if column.nullable { "" } else { " NOT NULL" };
        let name = quote(&column.name);
        let _ = write!(sql, "\n    {name} {}{not_null},", column.column_type.sql());
    }
    let conditions: Vec<Condition> = conditions(stream).collect();
    if !stream
        .columns
        .iter()
        .any(|column| column.name == INGESTED_AT)
    {
        let _ = write!(sql, "\n    {INGESTED_AT} timestamptz DEFAULT now(),");
    }
    if !stream.key.is_empty() && stream.on_conflict != OnConflict::Append {
        let key = quote_list(stream.key.iter().map(String::as_str));
        let _ = write!(sql, "\n    PRIMARY KEY ({key}),");
    }
    for Condition { name, sql: check } in conditions {
        let _ = write!(sql, "\n    CONSTRAINT {} CHECK ({check}),", quote(&name));
    }
    sql.pop();
    sql.push_str("\n);\n");
    for index in &stream.indexes {
        let name = quote(&index_name(&stream.table.name, index));
        let columns = quote_list(index.iter().map(String::as_str));
        let _ = writeln!(
            sql,
            "CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns});"
        );
    }
    sql
}

/// A condition of a stream's column, as a table enforces it on all who write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The constraint's name: table, column and `allowed`, `min` or `max`.
    pub(crate) name: String,
    pub(crate) sql: String,
}

/// The names that conditions of a stream's columns would have.
pub(crate) fn condition_names(stream: &Stream) -> impl Iterator<Item = String> {
    stream.columns.iter().flat_map(|column| {
        ["allowed", "min", "max"].map(|kind| condition_name(stream, column, kind))
    })
}

fn condition_name(stream: &Stream, column: &Column, kind: &str) -> String {
    object_name(&format!("{}_{}", stream.table.name, column.name), kind)
}

/// The conditions that a stream's columns set beside their types.
pub(crate) fn conditions(stream: &Stream) -> impl Iterator<Item = Condition> {
    stream.columns.iter().flat_map(|column| {
        let name = |kind: &str| condition_name(stream, column, kind);
        let literal = |text: &String| literal(stream, column, text);
        let quoted = quote(&column.name);
        let allowed = column.allowed.as_ref().map(|texts| {
            let values: Vec<String> = texts.iter().filter_map(literal).collect();
            (values, "allowed")
        });
        // `json` has no equality, and what is equal to PostgreSQL in `jsonb` is more than what is accepted.
        let allowed = allowed
            .filter(|(values, _)| !values.is_empty() && column.column_type != ColumnType::Json)
            .map(|(values, kind)| (format!("{quoted} IN ({})", values.join(", ")), kind));
        let bound = |text: &Option<String>, sign: &str| {
            let value = text.as_ref().and_then(literal)?;
            Some(format!("{quoted} {sign} {value}"))
        };
        let min = bound(&column.min, ">=").map(|sql| (sql, "min"));
        let max = bound(&column.max, "<=").map(|sql| (sql, "max"));
        let found = [allowed, min, max].into_iter().flatten();
        let conditions = found.map(|(sql, kind)| Condition {
            name: name(kind),
            sql,
        });
        conditions.collect::<Vec<_>>()
    })
}

/// A value of a column, written as the configuration has it, as SQL writes it whatever the session's settings.
fn literal(stream: &Stream, column: &Column, text: &str) -> Option<String> {
    let free = Column {
        allowed: None,
        min: None,
        max: None,
        ..column.clone()
    };
    let parser = ValueParser::new(&free, &stream.csv).ok()?;
    let field = Field {
        bytes: text.as_bytes(),
        quoted: true,
    };
    let mut canonical = Vec::new();
    key_text(&mut canonical, &[parser.parse(field).ok()?], &[0]);
    let canonical = String::from_utf8(canonical).ok()?;
    Some(if column.column_type.family() == Family::Exact {
        canonical
    } else {
        quote_literal(&canonical)
    })
}

fn index_name(table: &str, columns: &[String]) -> String {
    object_name(&format!("{table}_{}", columns.join("_")), "idx")
}

/// The name of something that belongs to a table: `of`, then what it is.
fn object_name(of: &str, kind: &str) -> String {
    let full = format!("{of}_{kind}");
    if full.len() <= NAME_BYTES_MAX {
        return full;
    }
    // Two long names that begin alike must not become the same one.
    let hash = bekk_stream::murmur2(full.as_bytes());
    let mut end = NAME_BYTES_MAX - 10 - kind.len();
    while !full.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash:08x}_{kind}", &full[..end])
}
