//! The SQL that makes a stream's table, and names in SQL.

use std::fmt::Write as _;

use bekk_stream::{ColumnType, OnConflict, Stream, TableName};

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
pub(crate) fn quote_table(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&table.name)),
        None => quote(&table.name),
    }
}

/// The SQL that makes a stream's table and its indexes where they do not exist.
#[must_use]
pub fn create_table_sql(stream: &Stream) -> String {
    let table = quote_table(&stream.table);
    let mut sql = String::new();
    if let Some(schema) = &stream.table.schema {
        let _ = writeln!(sql, "CREATE SCHEMA IF NOT EXISTS {};", quote(schema));
    }
    let _ = write!(sql, "CREATE TABLE IF NOT EXISTS {table} (");
    for column in &stream.columns {
        let not_null = if column.nullable { "" } else { " NOT NULL" };
        let name = quote(&column.name);
        let _ = write!(
            sql,
            "\n    {name} {}{not_null},",
            type_sql(column.column_type)
        );
    }
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

/// A column type in PostgreSQL's words.
pub(crate) fn type_sql(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::Text => "text",
        ColumnType::Bool => "boolean",
        ColumnType::Int2 => "smallint",
        ColumnType::Int4 => "integer",
        ColumnType::Int8 => "bigint",
        ColumnType::Float4 => "real",
        ColumnType::Float8 => "double precision",
        ColumnType::Decimal { precision, scale } => return format!("numeric({precision},{scale})"),
        ColumnType::Uuid => "uuid",
        ColumnType::Date => "date",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Timestamptz => "timestamptz",
        ColumnType::Json => "jsonb",
        ColumnType::Bytea => "bytea",
    }
    .to_owned()
}

fn index_name(table: &str, columns: &[String]) -> String {
    let full = format!("{table}_{}_idx", columns.join("_"));
    if full.len() <= NAME_BYTES_MAX {
        return full;
    }
    // Two long names that begin alike must not become the same one.
    let hash = bekk_stream::murmur2(full.as_bytes());
    let mut end = NAME_BYTES_MAX - 13;
    while !full.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash:08x}_idx", &full[..end])
}
