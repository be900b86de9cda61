//! Whether schema `bekk` is whole.
//!
//! A person, or a tool that tidies up, may drop or rename one of its tables. Then the sink applies nothing, and each command
//! names what is missing and the command that restores it, instead of reporting an unused schema.

use tokio_postgres::Client;

use crate::Error;
use crate::ddl::{quote, quote_literal};
use crate::migrations::{MIGRATIONS, MigrateError, schema_exists};
use crate::session::Session;

/// A table of the schema as the last migration leaves it.
pub(crate) struct OwnTable {
    pub(crate) name: &'static str,
    columns: &'static [&'static str],
    /// The columns by which ON CONFLICT finds a row
    key: &'static [&'static str],
    /// The consequence of an empty table
    if_empty: &'static str,
}

pub(crate) const TABLES: [OwnTable; 4] = [
    OwnTable {
        name: "migrations",
        columns: &["version", "name", "applied_at"],
        key: &["version"],
        if_empty: "nothing is lost with it",
    },
    OwnTable {
        name: "groups",
        columns: &[
            "group_name",
            "topic",
            "system_identifier",
            "database_name",
            "table_name",
            "created_at",
            "database_oid",
            "table_oid",
            "table_file",
        ],
        key: &["group_name", "topic"],
        if_empty: "each group then takes the present table as the one that it has filled",
    },
    OwnTable {
        name: "offsets",
        columns: &[
            "group_name",
            "topic",
            "partition",
            "next",
            "log_id",
            "epoch",
            "owner",
            "backend_pid",
            "lease_until",
            "rows",
            "superseded",
            "dead",
            "updated_at",
            "mark_offset",
            "mark_timestamp_ms",
            "mark_crc",
            "refusal",
            "refusal_detail",
            "refused_at",
            "counted_from",
            "counted_before",
            "passed",
            "placed_before",
            "definition",
            "definition_epoch",
        ],
        key: &["group_name", "topic", "partition"],
        if_empty: "the sink then asks how to fill the tables",
    },
    OwnTable {
        name: "dead_letters",
        columns: &[
            "id",
            "group_name",
            "stream",
            "topic",
            "partition",
            "log_offset",
            "log_id",
            "file",
            "line",
            "byte_offset",
            "reason",
            "column_name",
            "sqlstate",
            "detail",
            "raw",
            "created_at",
            "resolved_at",
            "resolution",
            "record_key",
            "met_again_at",
        ],
        key: &["group_name", "topic", "partition", "log_offset", "log_id"],
        if_empty: "its dead letters are lost; bekk replay restores those of records that the log still has",
    },
];

/// What schema `bekk` lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFault {
    /// What is missing.
    pub what: String,
    /// What can be typed.
    pub advice: String,
    /// Tables that can be made anew, empty.
    pub(crate) creatable: Vec<&'static str>,
}

impl SchemaFault {
    pub(crate) fn into_error(self) -> Error {
        Error::SchemaIncomplete {
            what: self.what,
            advice: self.advice,
        }
    }
}

/// What is found of a table.
struct Found {
    /// Its kind, if something has its name.
    kind: Option<String>,
    /// Its columns that do not exist, in their order.
    missing: Vec<String>,
    /// Columns with other names, in their order.
    others: Vec<String>,
    has_key: bool,
    /// Whether a crash of the server empties it.
    is_unlogged: bool,
    /// Whether row-level security may hide its rows from this role.
    hides_rows: bool,
    /// Schema and name of a table with another name that has all its columns.
    other: Option<(String, String)>,
}

impl Found {
    fn is_table(&self) -> bool {
        self.kind.as_deref() == Some("table")
    }
}

fn look_sql(table: &OwnTable) -> String {
    let list = |names: &[&str]| {
        let quoted: Vec<_> = names.iter().map(|name| quote_literal(name)).collect();
        format!("ARRAY[{}]::text[]", quoted.join(", "))
    };
    let (name, columns, key) = (
        quote_literal(table.name),
        list(table.columns),
        list(table.key),
    );
    format!(
        "SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                               WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence'
                               WHEN 'c' THEN 'type' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' END,
                array(SELECT x FROM unnest({columns}) WITH ORDINALITY wanted (x, place) WHERE NOT EXISTS (
                          SELECT FROM pg_catalog.pg_attribute a
                           WHERE a.attrelid = c.oid AND a.attname = x AND NOT a.attisdropped) ORDER BY place),
                array(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                         AND a.attname <> ALL ({columns}) ORDER BY a.attnum),
                EXISTS (SELECT FROM pg_catalog.pg_index i
                         WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                           AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = cardinality({key})
                           AND NOT EXISTS (SELECT FROM unnest({key}) k WHERE NOT EXISTS (
                               SELECT FROM pg_catalog.pg_attribute a
                                WHERE a.attrelid = c.oid AND a.attname = k AND a.attnum = ANY (i.indkey)))),
                o.nspname, o.relname, coalesce(c.relpersistence = 'u', false),
                coalesce(row_security_active(c.oid), false)
           FROM (SELECT 1) one
           LEFT JOIN pg_catalog.pg_class c
                  ON c.relnamespace = to_regnamespace('bekk') AND c.relname = {name}
           LEFT JOIN LATERAL (
                SELECT n.nspname::text, t.relname::text
                  FROM pg_catalog.pg_class t JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
                 WHERE c.relkind IS DISTINCT FROM 'r' AND t.relkind = 'r' AND n.nspname !~ '^pg_temp'
                   AND (SELECT count(*) FROM pg_catalog.pg_attribute a
                         WHERE a.attrelid = t.oid AND a.attname = ANY ({columns}) AND NOT a.attisdropped)
                       = cardinality({columns})
                 ORDER BY n.nspname <> 'bekk', t.relname LIMIT 1) o ON true"
    )
}

/// Looks at each table in the catalog; reads none.
async fn look(client: &Client) -> Result<Vec<Found>, tokio_postgres::Error> {
    let mut all = Vec::new();
    for table in &TABLES {
        let row = client.query_one(&look_sql(table), &[]).await?;
        all.push(Found {
            kind: row.get(0),
            missing: row.get(1),
            others: row.get(2),
            has_key: row.get(3),
            other: row.get::<_, Option<String>>(4).zip(row.get(5)),
            is_unlogged: row.get(6),
            hides_rows: row.get(7),
        });
    }
    Ok(all)
}

/// What is found of the schema.
enum State {
    Unused,
    /// Whole, or of another version.
    Usable,
    Faulty(SchemaFault),
}

async fn state(session: &Session) -> Result<State, MigrateError> {
    if !schema_exists(session).await? {
        return Ok(State::Unused);
    }
    let client = &session.client;
    let all = look(client).await?;
    if all.iter().all(|found| found.kind.is_none()) {
        return Ok(State::Unused);
    }
    let mut losses = Vec::new();
    if all[0].is_table() && all[0].missing.is_empty() && !all[0].hides_rows {
        const VERSION: &str = "SELECT coalesce(max(version), 0) FROM bekk.migrations";
        let version: i32 = client.query_one(VERSION, &[]).await?.get(0);
        match version {
            0 if all.iter().skip(1).any(Found::is_table) => losses.push(Loss {
                what: "table bekk.migrations has lost its rows".to_owned(),
                advice: MIGRATIONS_ANEW.to_owned(),
                creatable: None,
            }),
            _ if version != MIGRATIONS[MIGRATIONS.len() - 1].0 => return Ok(State::Usable),
            _ => {}
        }
    }
    // Tables of an earlier version must not be taken for those of the last one.
    let is_old = all
        .iter()
        .any(|found| found.is_table() && !found.missing.is_empty());
    let lost = TABLES
        .iter()
        .zip(&all)
        .filter_map(|(table, found)| loss(table, found, is_old));
    losses.extend(lost);
    if losses.is_empty() {
        return Ok(State::Usable);
    }
    let list = |part: fn(&Loss) -> &str| losses.iter().map(part).collect::<Vec<_>>();
    Ok(State::Faulty(SchemaFault {
        what: format!(
            "{}: dropped, renamed, emptied or altered; no sink applies anything until it is as before",
            list(|loss| &loss.what).join(", ")
        ),
        advice: list(|loss| &loss.advice).join("; "),
        creatable: losses.iter().filter_map(|loss| loss.creatable).collect(),
    }))
}

/// What is wrong with one table.
struct Loss {
    what: String,
    advice: String,
    /// The table, if an empty one can take its place.
    creatable: Option<&'static str>,
}

const MIGRATIONS_ANEW: &str =
    "DROP TABLE bekk.migrations, then: bekk check --repair (nothing is lost with it)";

/// Says what a table lacks. `is_old` tells whether another one lacks columns.
fn loss(table: &OwnTable, found: &Found, is_old: bool) -> Option<Loss> {
    let name = table.name;
    let Some(kind) = &found.kind else {
        let is_creatable = name != "migrations" || !is_old;
        return Some(Loss {
            what: format!("table bekk.{name} does not exist"),
            advice: match &found.other {
                Some((schema, other)) => rename_advice(name, schema, other),
                None if is_creatable => format!(
                    "restore bekk.{name} from a backup, or make an empty one: bekk check --repair ({})",
                    table.if_empty
                ),
                None => format!("restore bekk.{name} from a backup"),
            },
            creatable: (found.other.is_none() && is_creatable).then_some(name),
        });
    };
    let (what, advice) = if !found.is_table() {
        let back = match &found.other {
            Some((schema, other)) => rename_advice(name, schema, other),
            None => "bekk check".to_owned(),
        };
        (
            format!("bekk.{name} is a {kind}"),
            format!("drop or rename the {kind} bekk.{name}, then: {back}"),
        )
    } else if !found.missing.is_empty() {
        let columns = found.missing.join(", ");
        (
            format!("table bekk.{name} lacks {columns}"),
            columns_advice(name, &found.missing, &found.others),
        )
    } else if !found.has_key {
        let key = table.key.join(", ");
        (
            format!("table bekk.{name} has no unique index on ({key})"),
            format!("CREATE UNIQUE INDEX ON bekk.{name} ({key})"),
        )
    } else if found.is_unlogged {
        (
            format!("table bekk.{name} is UNLOGGED, so that a crash of the server empties it"),
            format!("ALTER TABLE bekk.{name} SET LOGGED"),
        )
    } else if found.hides_rows {
        (
            format!("row-level security may hide rows of bekk.{name} from this role"),
            format!("ALTER TABLE bekk.{name} DISABLE ROW LEVEL SECURITY"),
        )
    } else {
        return None;
    };
    Some(Loss {
        what,
        advice,
        creatable: None,
    })
}

/// What schema `bekk` lacks; `None` if it is whole, was never used, or is to be brought up to date first.
///
/// # Errors
/// Those of [`schema_exists`].
pub(crate) async fn fault(session: &Session) -> Result<Option<SchemaFault>, MigrateError> {
    Ok(match state(session).await? {
        State::Unused | State::Usable => None,
        State::Faulty(fault) => Some(fault),
    })
}

/// Fails if a part of schema `bekk` has been lost; returns whether the schema was ever used.
pub(crate) async fn require_whole(session: &Session, act: &str) -> Result<bool, Error> {
    let found = state(session).await;
    match found.map_err(|error| error.into_error(act))? {
        State::Unused => Ok(false),
        State::Usable => Ok(true),
        State::Faulty(fault) => Err(fault.into_error()),
    }
}

/// Whether a table of schema `bekk` exists; false where the schema has never been used.
///
/// # Errors
/// Those of [`schema_exists`], and [`Error::SchemaIncomplete`] if the table has been lost.
pub(crate) async fn has(session: &Session, table: &str, act: &str) -> Result<bool, Error> {
    let look = async {
        let look = "SELECT to_regclass($1::text) IS NOT NULL";
        let name = format!("bekk.{table}");
        let is_there =
            schema_exists(session).await? && session.client.query_one(look, &[&name]).await?.get(0);
        Ok::<bool, MigrateError>(is_there)
    };
    match look.await.map_err(|error| error.into_error(act))? {
        true => Ok(true),
        false => require_whole(session, act).await.map(|_| false),
    }
}

/// What to do about missing columns. Nothing is lost with those of `bekk.migrations`, which is created again.
fn columns_advice(name: &str, missing: &[String], others: &[String]) -> String {
    let anew = match name {
        "migrations" => MIGRATIONS_ANEW,
        _ => "restore schema bekk from a backup",
    };
    if missing.len() != others.len() {
        return anew.to_owned();
    }
    let renames: Vec<_> = (missing.iter().zip(others))
        .map(|(column, other)| {
            let (column, other) = (quote(column), quote(other));
            format!("ALTER TABLE bekk.{name} RENAME COLUMN {other} TO {column}")
        })
        .collect();
    format!("if it was renamed: {}; if not: {anew}", renames.join("; "))
}

fn rename_advice(name: &str, schema: &str, other: &str) -> String {
    let from = format!("{}.{}", quote(schema), quote(other));
    let mut commands = Vec::new();
    if schema != "bekk" {
        commands.push(format!("ALTER TABLE {from} SET SCHEMA bekk"));
    }
    if other != name {
        commands.push(format!(
            "ALTER TABLE bekk.{} RENAME TO {name}",
            quote(other)
        ));
    }
    format!(
        "{from} has its columns; if that is the table: {}",
        commands.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_renamed_gets_its_name_back() {
        let check = |schema: &str, other: &str, expected: &str| {
            let advice = rename_advice("offsets", schema, other);
            assert!(
                advice.ends_with(&format!("the table: {expected}")),
                "{advice}"
            );
        };
        check(
            "bekk",
            "o\"1",
            "ALTER TABLE bekk.\"o\"\"1\" RENAME TO offsets",
        );
        check(
            "old",
            "offsets",
            "ALTER TABLE \"old\".\"offsets\" SET SCHEMA bekk",
        );
        check(
            "old",
            "x",
            "ALTER TABLE \"old\".\"x\" SET SCHEMA bekk; ALTER TABLE bekk.\"x\" RENAME TO offsets",
        );
    }
}
