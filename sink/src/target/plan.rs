//! From a record's schema to the table's columns: by name, worked out once per schema.

mod staging;

use std::sync::Arc;

use bekk_stream::{OnConflict, Schema, Stream};

use super::{StreamTarget, renamed};
use crate::catalog::{Table, TableColumn};
use crate::ddl::{quote, quote_list};
use crate::encode::Target;

pub(crate) use self::staging::Staging;

/// Reason of a record with another type than the stream has now
const OTHER_TYPE: &str = "schema_mismatch";
/// Beginning of what is said of a record that lacks a column of the stream
const OLDER: &str = "the record is older than the stream's";

/// What to do with the records of one schema.
#[derive(Debug)]
pub(crate) enum Plan {
    /// They are rows.
    Rows(RowPlan),
    /// They do not fit the stream as it is now: each becomes a dead letter.
    Unfit(Unfit),
}

/// Why the records of a schema do not fit the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) reason: &'static str,
    pub(crate) column: Option<String>,
    pub(crate) detail: String,
}

/// Whether a record with this reason may have been a row before the stream's columns changed.
pub(crate) fn is_of_former_columns(reason: &str, detail: &str) -> bool {
    reason == OTHER_TYPE || detail.starts_with(OLDER)
}

impl Unfit {
    /// The values do not follow their schema.
    pub(crate) fn malformed(detail: String) -> Self {
        Self {
            reason: "no_payload",
            column: None,
            detail,
        }
    }
}

/// How the values of a schema become a row.
#[derive(Debug)]
pub(crate) struct RowPlan {
    pub(crate) columns: Arc<ColumnSet>,
    /// What to do with each value, in the schema's order.
    pub(crate) fields: Vec<Field>,
    /// How many parts a key has; 0 if rows have none.
    pub(crate) key_parts: usize,
    /// Whether the schema's key has other columns than the stream's, or columns of other types.
    pub(crate) has_other_key: bool,
}

/// What to do with one value of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// `None` for a column that the stream has no more: passed over.
    pub(crate) target: Option<Target>,
    /// Which part of the key it is.
    pub(crate) key_part: Option<usize>,
    /// Whether it is the version that `newer_by` names.
    pub(crate) is_version: bool,
}

/// A list of columns that rows are written with, and the SQL that writes them. Columns of the stream
/// that are not among them get their default or null.
#[derive(Debug)]
pub(crate) struct ColumnSet {
    pub(crate) names: Vec<String>,
    /// Whether COPY can write straight into the table: no text has to be read by a type's input function, and no trigger
    /// can change a key.
    pub(crate) is_direct: bool,
    /// Whether rows can go through the staging table: they have a key, or have to.
    pub(crate) is_staged: bool,
    /// Whether each record becomes a row of its own, because the stream has no key.
    pub(crate) is_appended: bool,
    /// COPY straight into the table.
    pub(crate) copy_sql: String,
    /// The temporary table for rows whose key may exist.
    pub(crate) staging_table: String,
    pub(crate) create_staging_sql: String,
    pub(crate) copy_staging_sql: String,
    /// Counts the staged rows whose key is not in the table, before the merge: for tables whose RETURNING cannot say it,
    /// and for merges that are watched.
    pub(crate) count_new_sql: Option<String>,
    /// Whether the merge is watched, because triggers may leave an update out: `merge_sql` returns its plan.
    pub(crate) is_watched: bool,
    /// Counts the staged rows that the table does not have, after a watched merge in which a trigger left rows out:
    /// it may have written them itself. `None` if that cannot be compared.
    pub(crate) count_differing_sql: Option<String>,
    /// Counts the staged rows whose key is not in the table, after the merge: for tables whose triggers may leave a row
    /// out.
    pub(crate) count_missing_sql: Option<String>,
    /// From the staging table into the table.
    pub(crate) merge_sql: String,
}

impl Plan {
    /// Works out what to do with records of `schema`.
    pub(crate) fn new(target: &StreamTarget, schema: &Schema) -> Self {
        match RowPlan::new(target, schema) {
            Ok(plan) => {
                if let Some(warning) = renamed::suspected(&target.stream, schema) {
                    tracing::warn!(stream = target.stream.name, "{warning}");
                }
                Self::Rows(plan)
            }
            Err(unfit) => Self::Unfit(unfit),
        }
    }
}

impl RowPlan {
    fn new(target: &StreamTarget, schema: &Schema) -> Result<Self, Unfit> {
        let stream = &target.stream;
        let mut fields = Vec::with_capacity(schema.columns.len());
        for found in &schema.columns {
            let position = stream
                .columns
                .iter()
                .position(|column| column.name == found.name);
            let Some(position) = position else {
                fields.push(Field {
                    name: found.name.clone(),
                    target: None,
                    key_part: None,
                    is_version: false,
                });
                continue;
            };
            let wanted = &stream.columns[position].column_type;
            if !found.column_type.widens(wanted) {
                return Err(Unfit {
                    reason: OTHER_TYPE,
                    column: Some(found.name.clone()),
                    detail: format!(
                        "the record's `{}` is {}, the stream's is {wanted}; to read its file again with the new type: bekk \
                         ingest reread FILE",
                        found.name, found.column_type
                    ),
                });
            }
            let keyed = target.is_keyed();
            fields.push(Field {
                name: found.name.clone(),
                target: Some(target.encodings[position]),
                key_part: stream
                    .key
                    .iter()
                    .position(|key| keyed && *key == found.name),
                is_version: stream.newer_by.as_ref() == Some(&found.name),
            });
        }
        missing_columns(target, schema)?;
        let names: Vec<String> = fields
            .iter()
            .filter(|field| field.target.is_some())
            .map(|field| field.name.clone())
            .collect();
        Ok(Self {
            columns: target.column_set(&names),
            fields,
            key_parts: if target.is_keyed() {
                stream.key.len()
            } else {
                0
            },
            has_other_key: has_other_key(stream, schema),
        })
    }
}

fn has_other_key(stream: &Stream, schema: &Schema) -> bool {
    let has_other_type = |name: &String| {
        let own = stream.columns.iter().find(|column| column.name == *name);
        let found = schema.columns.iter().find(|column| column.name == *name);
        own.map(|column| &column.column_type) != found.map(|column| &column.column_type)
    };
    schema.key != stream.key || stream.key.iter().any(has_other_type)
}

/// Checks the stream's columns that the record does not have: they get their default or null, if that
/// is allowed.
fn missing_columns(target: &StreamTarget, schema: &Schema) -> Result<(), Unfit> {
    let stream = &target.stream;
    for column in &stream.columns {
        if schema.columns.iter().any(|found| found.name == column.name) {
            continue;
        }
        let decides =
            stream.key.contains(&column.name) || stream.newer_by.as_ref() == Some(&column.name);
        let has_value = target
            .table
            .column(&column.name)
            .is_some_and(|found: &TableColumn| found.has_default || !found.not_null);
        if decides || !has_value {
            return Err(Unfit {
                reason: "missing_value",
                column: Some(column.name.clone()),
                detail: format!("{OLDER} column `{}`, which has no default", column.name),
            });
        }
    }
    Ok(())
}

impl ColumnSet {
    /// Writes the SQL for rows with these columns. `number` tells the stream's column sets apart.
    pub(crate) fn new(target: &StreamTarget, names: &[String], staging: Staging) -> Self {
        let table = &target.table.sql_name;
        let columns = quote_list(names.iter().map(String::as_str));
        // Two streams may fill one table, each with columns of its own, and a session may still have the staging
        // table of an older version.
        let of = format!("{} {table} {:?}", target.stream.name, target.table.version);
        let hash = bekk_stream::murmur2(of.as_bytes());
        let version = target.table.version.hash;
        let staging_table = format!("pg_temp.bekk_staging_{hash:08x}{version:016x}_{staging}");
        // What a trigger leaves out of COPY is counted; a key that it changes is not.
        let may_move = target.is_keyed() && target.table.hooks.before_insert;
        let is_watched = is_watched(target);
        let is_direct = !may_move && !names.iter().any(|name| target.inputs.contains_key(name));
        let staged_columns: Vec<String> = names
            .iter()
            .map(|name| match target.inputs.contains_key(name) {
                true => format!("NULL::text AS {}", quote(name)),
                false => quote(name),
            })
            .collect();
        Self {
            names: names.to_vec(),
            is_direct,
            is_staged: target.is_keyed() || !is_direct,
            is_appended: !target.is_keyed(),
            copy_sql: format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)"),
            create_staging_sql: format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {table} \
                 WITH NO DATA",
                staging_table.trim_start_matches("pg_temp."),
                staged_columns.join(", ")
            ),
            copy_staging_sql: format!(
                "COPY {staging_table} ({columns}) FROM STDIN (FORMAT binary)"
            ),
            // A partitioned table cannot return xmax.
            count_new_sql: (target.table.kind == "p" && target.is_keyed() || is_watched)
                .then(|| count_new_sql(target, &staging_table)),
            is_watched,
            count_differing_sql: is_watched
                .then(|| count_differing_sql(target, names, &staging_table))
                .flatten(),
            count_missing_sql: (target.table.hooks.before_insert && target.is_keyed())
                .then(|| count_new_sql(target, &staging_table)),
            merge_sql: merge_sql(target, names, &staging_table),
            staging_table,
        }
    }
}

fn count_new_sql(target: &StreamTarget, staging_table: &str) -> String {
    let table = &target.table.sql_name;
    let same_key = staged_key(target);
    format!(
        "SELECT pg_catalog.count(*) FROM {staging_table} s WHERE NOT EXISTS (SELECT FROM {table} t WHERE {same_key})"
    )
}

/// A staged value as the table's column takes it.
pub(crate) fn staged(target: &StreamTarget, row: &str, name: &str) -> String {
    let column = quote(name);
    match target.inputs.get(name) {
        Some(base_type) => format!("CAST({row}.{column} AS {base_type})"),
        None => format!("{row}.{column}"),
    }
}

/// The condition that a staged row `s` has the key of the table's row `t`.
pub(crate) fn staged_key(target: &StreamTarget) -> String {
    let same: Vec<String> = target
        .stream
        .key
        .iter()
        .map(|name| {
            let (column, equal) = (quote(name), operator(&target.table, name, "="));
            format!("(t.{column} {equal} {})", staged(target, "s", name))
        })
        .collect();
    same.join(" AND ")
}

/// Whether a trigger may leave out an update. One before INSERT may, too: it runs before the conflict is found.
fn is_watched(target: &StreamTarget) -> bool {
    let hooks = target.table.hooks;
    (hooks.before_insert || hooks.before_update)
        && target.is_keyed()
        && target.stream.on_conflict == OnConflict::Update
        && values(target).next().is_some()
}

/// `None` for records without a value for each column, which have its default.
fn count_differing_sql(
    target: &StreamTarget,
    names: &[String],
    staging_table: &str,
) -> Option<String> {
    let (stream, table) = (&target.stream, &target.table);
    let mut columns = stream.columns.iter();
    if !columns.all(|column| names.contains(&column.name)) {
        return None;
    }
    let changes = changes(target, &|name| staged(target, "s", name))?;
    let same_key = staged_key(target);
    Some(format!(
        "SELECT pg_catalog.count(*) FROM {staging_table} s LEFT JOIN {table} t ON {same_key} \
          WHERE ({missing}) OR {changes}",
        table = table.sql_name,
        missing = stream
            .key
            .iter()
            .map(|name| format!("t.{} IS NULL", quote(name)))
            .collect::<Vec<_>>()
            .join(" AND "),
    ))
}

/// The statement returns one row: how many rows were inserted, not updated, and how many were either. Where the merge
/// is watched, it returns its plan with what became of the rows.
fn merge_sql(target: &StreamTarget, names: &[String], staging_table: &str) -> String {
    let stream = &target.stream;
    let table = &target.table.sql_name;
    let columns = quote_list(names.iter().map(String::as_str));
    let sent: Vec<String> = names.iter().map(|name| staged(target, "s", name)).collect();
    let sent = sent.join(", ");
    let is_identity = |name: &String| {
        let column = target.table.column(name);
        column.is_some_and(|column| column.identity_always)
    };
    // As COPY does.
    let overriding = match names.iter().any(is_identity) {
        true => "OVERRIDING SYSTEM VALUE ",
        false => "",
    };
    let insert = format!(
        "INSERT INTO {table} AS t ({columns}) {overriding}SELECT {sent} FROM {staging_table} s"
    );
    if !target.is_keyed() {
        return format!(
            "WITH merged AS ({insert} RETURNING true) SELECT pg_catalog.count(*), pg_catalog.count(*) FROM merged"
        );
    }
    let key = quote_list(stream.key.iter().map(String::as_str));
    let excluded = |name: &str| format!("EXCLUDED.{}", quote(name));
    let changes = match stream.on_conflict {
        OnConflict::Ignore => None,
        _ => changes(target, &excluded),
    };
    let action = match changes {
        None => "DO NOTHING".to_owned(),
        // Also columns that the record does not have: they get their default, as on insert, so that the
        // outcome does not depend on whether an earlier record of the key was in the same batch.
        Some(changes) => {
            let set: Vec<String> = values(target)
                .map(|column| format!("{} = {}", quote(&column.name), excluded(&column.name)))
                .collect();
            format!("DO UPDATE SET {} WHERE {changes}", set.join(", "))
        }
    };
    if is_watched(target) {
        return format!(
            "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, FORMAT JSON) \
             {insert} ON CONFLICT ({key}) {action} RETURNING true"
        );
    }
    // Of a row that was updated, xmax is the transaction that locked it for that.
    let inserted = if target.table.kind == "p" {
        "true"
    } else {
        "xmax OPERATOR(pg_catalog.=) 0"
    };
    format!(
        "WITH merged AS ({insert} ON CONFLICT ({key}) {action} RETURNING {inserted} AS inserted) \
         SELECT pg_catalog.count(*) FILTER (WHERE inserted), pg_catalog.count(*) FROM merged"
    )
}

/// The table's columns that the stream has and that are not its key.
fn values(target: &StreamTarget) -> impl Iterator<Item = &TableColumn> {
    let stream = &target.stream;
    let columns = stream.columns.iter();
    columns
        .filter(|column| !stream.key.contains(&column.name))
        .filter_map(|column| target.table.column(&column.name))
}

/// The condition that a new row, whose values `new` names, changes the row `t` of its key; `None` if it never does.
fn changes(target: &StreamTarget, new: &dyn Fn(&str) -> String) -> Option<String> {
    let differs: Vec<String> = values(target)
        .map(|column| {
            // Not every type that is read from text has an equality.
            let is_text = target.inputs.contains_key(&column.name) || !has_equality(column);
            let side = |value: String| if is_text { as_text(&value) } else { value };
            let equal = match is_text {
                true => "OPERATOR(pg_catalog.=)".to_owned(),
                false => column.operator("="),
            };
            let old = side(format!("t.{}", quote(&column.name)));
            let new = side(new(&column.name));
            // IS DISTINCT FROM takes no operator of a schema that is named.
            let differs = format!("({old} {equal} {new}) IS NOT TRUE");
            match column.not_null {
                true => differs,
                false => format!("({differs} AND ({old} IS NOT NULL OR {new} IS NOT NULL))"),
            }
        })
        .collect();
    if differs.is_empty() {
        return None;
    }
    let newer = target
        .stream
        .newer_by
        .as_ref()
        .map_or_else(String::new, |name| {
            let not_older = operator(&target.table, name, ">=");
            let (old, new) = (quote(name), new(name));
            format!(" AND (t.{old} IS NULL OR ({new} {not_older} t.{old}))")
        });
    Some(format!("({}){newer}", differs.join(" OR ")))
}

/// The condition that two rows of tables with the same columns have the same key.
pub(crate) fn same_key(table: &Table, key: &[String], left: &str, right: &str) -> String {
    let same: Vec<String> = key
        .iter()
        .map(|name| {
            let (column, equal) = (quote(name), operator(table, name, "="));
            format!("({left}.{column} {equal} {right}.{column})")
        })
        .collect();
    same.join(" AND ")
}

pub(crate) fn operator(table: &Table, column: &str, name: &str) -> String {
    table.column(column).map_or_else(
        || format!("OPERATOR(pg_catalog.{name})"),
        |column| column.operator(name),
    )
}

/// A column as it is compared: `json` has no equality, and some texts are equal though they differ.
pub(crate) fn compared(row: &str, column: &TableColumn) -> String {
    let name = format!("{row}.{}", quote(&column.name));
    match has_equality(column) {
        true => name,
        false => as_text(&name),
    }
}

/// Whether a column's type has an equality that tells all values apart. Of types that Bekk has no values of its own
/// for, some have none, and some call values equal that differ.
fn has_equality(column: &TableColumn) -> bool {
    let is_known = matches!(
        column.base_type.as_str(),
        "bool"
            | "int2"
            | "int4"
            | "int8"
            | "float4"
            | "float8"
            | "numeric"
            | "uuid"
            | "date"
            | "time"
            | "timestamp"
            | "timestamptz"
            | "text"
            | "varchar"
            | "bytea"
    );
    (is_known || column.is_enum) && !column.equal_though_different
}

fn as_text(value: &str) -> String {
    format!("{value}::pg_catalog.text COLLATE pg_catalog.\"C\"")
}
