//! Whether a table fits its stream, and what differs.

use std::collections::BTreeMap;

use bekk_stream::{Column, ColumnType, Stream};

use super::{Order, access, is_keyed, types};
use crate::catalog::{Table, TableColumn};
use crate::ddl::{quote, quote_list};
use crate::encode::Target;

pub(super) fn order(stream: &Stream, table: &Table) -> Order {
    if !is_keyed(stream) {
        return Order::Log;
    }
    let key_index = table.key_index(&stream.key).map(|index| &index.name);
    let other_unique = table
        .unique_indexes
        .iter()
        .any(|index| Some(&index.name) != key_index)
        || table.hooks.unique_partition;
    let loose_key = !loose_keys(stream, table).is_empty();
    // Which of two versions is the greater is the collation's to say.
    let text_version = stream.newer_by.as_ref().is_some_and(|name| {
        stream
            .columns
            .iter()
            .any(|column| column.name == *name && column.column_type.is_text())
    });
    let deletes_more = stream.accept.deletes() && table.hooks.deletes_more;
    if other_unique || loose_key || text_version || table.has_triggers || deletes_more {
        Order::Log
    } else {
        Order::Key
    }
}

/// The key columns in which PostgreSQL may find keys equal that are different records' keys in the log.
pub(crate) fn loose_keys<'s>(stream: &'s Stream, table: &Table) -> Vec<&'s str> {
    let index_is_loose = table
        .key_index(&stream.key)
        .is_some_and(|index| index.is_loose);
    let is_loose = |name: &&String| {
        let column = stream.columns.iter().find(|column| column.name == **name);
        let (Some(column), Some(found)) = (column, table.column(name)) else {
            return false;
        };
        found.equal_though_different
            || index_is_loose && column.column_type.is_text()
            || matches!(
                Target::of(&column.column_type, found),
                None | Some(Target::Input(_))
            )
    };
    let loose = stream.key.iter().filter(is_loose);
    loose.map(String::as_str).collect()
}

/// How a stream's columns go into a table, and what does not fit.
pub(super) struct Comparison {
    /// By the stream's columns, as far as they fit.
    pub(super) encodings: Vec<Target>,
    pub(super) inputs: BTreeMap<String, String>,
    pub(super) problems: Vec<String>,
}

/// Compares a table with its stream, column by column.
pub(super) fn compare(stream: &Stream, table: &Table) -> Comparison {
    let mut encodings = Vec::new();
    let mut inputs = BTreeMap::new();
    let mut problems = Vec::new();
    let is_table = table.kind == "r" || table.kind == "p";
    if !is_table {
        problems.push("it is not a table, but a view, a foreign table or similar".to_owned());
    }
    for column in &stream.columns {
        let name = &column.name;
        let wanted = column.column_type.sql();
        let Some(found) = table.column(name) else {
            problems.push(format!(
                "column `{name}` is missing; ALTER TABLE {} ADD COLUMN {} {wanted}",
                table.sql_name,
                quote(name)
            ));
            continue;
        };
        match Target::of(&column.column_type, found) {
            _ if found.generated => {
                problems.push(format!("column `{name}` is generated and takes no values"));
            }
            Some(target) => {
                if matches!(target, Target::Input(_)) {
                    inputs.insert(name.clone(), found.base_sql.clone());
                }
                encodings.push(target);
            }
            None => problems.push(other_type(column, found, table)),
        }
    }
    for column in surplus(stream, table).filter(|column| column.not_null && !column.has_default) {
        problems.push(format!(
            "column `{}` is NOT NULL without a default, and the stream does not have it",
            column.name
        ));
    }
    if is_keyed(stream) {
        if is_table {
            problems.extend(key_problem(stream, table));
        }
        let version = stream.newer_by.as_ref().and_then(|name| table.column(name));
        let unordered = version.filter(|column| !column.has_order);
        problems.extend(unordered.map(|column| types::no_order(&column.name, &column.type_text)));
    }
    problems.extend(access::problems(stream, table, !inputs.is_empty()));
    Comparison {
        encodings,
        inputs,
        problems,
    }
}

/// Says that a stream's column does not go into the table's, and what helps.
fn other_type(column: &Column, found: &TableColumn, table: &Table) -> String {
    let (name, text, own) = (&column.name, &found.type_text, &column.column_type);
    let wanted = own.sql();
    if found.base_type == "money" && own.is_text() {
        return format!(
            "column `{name}` has type {text}, which does not read 1.23 as that number here (lc_monetary); make it numeric"
        );
    }
    if is_read_with_loss(own, found) {
        return format!(
            "column `{name}` has type {text}, of which PostgreSQL's input silently cuts or rounds a part of some texts; \
             write a `type` that Bekk reads itself, such as decimal(5,2) or timestamp; or make the table's column text, or \
             a type without declared digits or length"
        );
    }
    let advice = match widens(found, own) {
        true => format!(
            "ALTER TABLE {} ALTER COLUMN {} TYPE {wanted}",
            table.sql_name,
            quote(name)
        ),
        false => "correct `type` in the configuration, or the table".to_owned(),
    };
    format!("column `{name}` has type {text}; the stream's type is {own} ({wanted}); {advice}")
}

/// Whether the texts of a stream's column are for the table's, whose input function may lose a part of them.
fn is_read_with_loss(column_type: &ColumnType, found: &TableColumn) -> bool {
    let is_for_it = match column_type {
        ColumnType::Text => true,
        ColumnType::Postgres(postgres) => found.is_of(postgres),
        _ => false,
    };
    is_for_it && found.guard.is_none()
}

/// Whether the server gives a table's column the stream's type without changing a value: a whole number is an exact one.
fn widens(found: &TableColumn, wanted: &ColumnType) -> bool {
    let is_whole = ["int2", "int4", "int8"].contains(&&*found.base_type);
    let is_exact = matches!(wanted, ColumnType::Numeric | ColumnType::Decimal { .. });
    is_whole && is_exact
}

pub(super) fn surplus<'t>(
    stream: &'t Stream,
    table: &'t Table,
) -> impl Iterator<Item = &'t TableColumn> {
    table.columns.iter().filter(|column| {
        !column.generated && !stream.columns.iter().any(|own| own.name == column.name)
    })
}

pub(super) fn key_problem(stream: &Stream, table: &Table) -> Option<String> {
    if table.key_index(&stream.key).is_some() {
        return None;
    }
    let key = quote_list(stream.key.iter().map(String::as_str));
    let near = table
        .unique_indexes
        .iter()
        .find(|index| index.covers(&stream.key));
    Some(match near {
        Some(index) => {
            let what = if index.partial {
                "partial"
            } else if index.deferrable {
                "deferrable"
            } else if index.exclusion {
                "an exclusion constraint"
            } else {
                "not valid"
            };
            format!(
                "key ({key}): index `{}` is {what}, and ON CONFLICT cannot use it; CREATE UNIQUE INDEX ON {} ({key})",
                index.name, table.sql_name
            )
        }
        None => format!(
            "key ({key}) has no unique index; CREATE UNIQUE INDEX ON {} ({key}){}",
            table.sql_name,
            match table.kind == "p" {
                true => ", and add the columns by which the table is partitioned to the key",
                false => "",
            }
        ),
    })
}

/// What is allowed and may still surprise.
pub(super) fn warnings(stream: &Stream, table: &Table) -> Vec<String> {
    let mut warnings = access::warnings(stream, table);
    for column in stream.columns.iter().filter(|column| column.nullable) {
        if table
            .column(&column.name)
            .is_some_and(|found| found.not_null)
        {
            warnings.push(format!(
                "column `{}` is NOT NULL and the stream's is nullable: records without a value become dead \
                 letters",
                column.name
            ));
        }
    }
    if is_keyed(stream) {
        for column in surplus(stream, table).filter(|column| column.is_serial) {
            warnings.push(format!(
                "column `{1}` takes a number of its sequence for every record, also for those that update a \
                 row: the {0} sequence may run out",
                column.type_text, column.name
            ));
        }
        if order(stream, table) == Order::Log {
            warnings.push(
                "a second unique index, a trigger, a text key or version that compares by collation, or, with \
                 `deletes`, a foreign key to the table itself makes records go in log order, which is slower"
                    .to_owned(),
            );
        }
    }
    warnings
}
