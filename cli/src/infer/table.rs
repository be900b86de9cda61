//! Types of columns that an existing table decides.

use bekk_sink::ExistingColumn;
use bekk_stream::ColumnType;

use super::column::Profile;

/// An existing table that a stream is to fill.
pub(crate) struct ExistingTable {
    /// Its name as it was typed.
    pub(crate) name: String,
    pub(crate) columns: Vec<ExistingColumn>,
}

/// Gives the columns of a file the types of the table's columns of the same names; returns remarks on the others.
pub(super) fn take_types(columns: &mut [Profile], table: &ExistingTable) -> Vec<String> {
    let mut remarks = Vec::new();
    take_names(columns, table);
    for column in columns.iter_mut() {
        let Some(existing) = table.columns.iter().find(|it| it.name == column.name) else {
            remarks.push(format!(
                "the table has no column `{}`; give it another name, or remove the line",
                column.name
            ));
            continue;
        };
        match column_type(&existing.type_text) {
            Ok(column_type) => column.take_type(column_type, existing.nullable),
            Err(why) => remarks.push(format!("column `{}`: {why}", column.name)),
        }
    }
    let is_missing = |existing: &&ExistingColumn| {
        existing.is_required && !columns.iter().any(|column| column.name == existing.name)
    };
    for existing in table.columns.iter().filter(is_missing) {
        remarks.push(format!(
            "the table's column `{}` must have a value, and the file has no column of that name",
            existing.name
        ));
    }
    remarks
}

/// Gives the columns whose names the table lacks that of the table's column which is called like the field, in whatever
/// case: `"Unit Price"`.
fn take_names(columns: &mut [Profile], table: &ExistingTable) {
    let has = |columns: &[Profile], name: &str| columns.iter().any(|column| column.name == name);
    for at in 0..columns.len() {
        let column = &columns[at];
        if table.columns.iter().any(|it| it.name == column.name) {
            continue;
        }
        let header = column.header.to_lowercase();
        let is_like = |name: &str| name.to_lowercase() == header;
        let mut like = table.columns.iter().filter(|it| is_like(&it.name));
        if let (Some(existing), None) = (like.next(), like.next())
            && !has(columns, &existing.name)
        {
            columns[at].name.clone_from(&existing.name);
        }
    }
}

/// The table's primary key, if the file has all of its columns.
pub(super) fn primary_key(columns: &[Profile], table: &ExistingTable) -> Option<Vec<usize>> {
    let mut key: Vec<_> = table
        .columns
        .iter()
        .filter_map(|existing| Some((existing.key_at?, &existing.name)))
        .collect();
    key.sort_unstable();
    let at = |name: &String| columns.iter().position(|column| column.name == *name);
    let places: Option<Vec<usize>> = key.iter().map(|(_, name)| at(name)).collect();
    places.filter(|places| !places.is_empty())
}

/// The type of a stream's column for a type of the catalog: Bekk's own where it has one, else the database's.
fn column_type(type_text: &str) -> Result<ColumnType, String> {
    let (plain, modifier) = match type_text.split_once('(') {
        Some((before, rest)) => match rest.split_once(')') {
            Some((_, after)) => (format!("{before}{after}"), true),
            None => (type_text.to_owned(), false),
        },
        None => (type_text.to_owned(), false),
    };
    let own = match plain.as_str() {
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "time without time zone" => "time",
        "character varying" | "character" => "text",
        plain if !modifier => plain,
        _ => type_text,
    };
    own.parse().or_else(|_| {
        let postgres = format!("pg:{type_text}").parse();
        postgres.map_err(|error: bekk_stream::ParseColumnTypeError| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_catalog_become_types_of_columns() {
        for (text, expected) in [
            ("bigint", "int8"),
            ("integer", "int4"),
            ("numeric(12,2)", "decimal(12,2)"),
            ("numeric", "numeric"),
            ("character varying(20)", "text"),
            ("character(3)", "text"),
            ("timestamp(3) with time zone", "timestamptz"),
            ("timestamp without time zone", "timestamp"),
            ("double precision", "float8"),
            ("jsonb", "json"),
            ("inet", "pg:inet"),
            ("integer[]", "pg:int4[]"),
            ("shop.mood", "pg:shop.mood"),
            ("geometry(Point,4326)", "pg:geometry(Point,4326)"),
            ("\"Odd Type\"", "pg:\"Odd Type\""),
            ("\"char\"", "pg:\"char\""),
        ] {
            let found = column_type(text).map(|found| found.to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{text}");
        }
    }
}
