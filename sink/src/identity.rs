//! Which table a group fills: the table of a name may be another one by now, or have lost its rows.
//!
//! A group's offsets say that n records are in a table. [`judge`] decides whether the table that is found can be that
//! one; [`TableProblem::advice`] says what can be typed where it is not.

mod adopt;
mod problem;
pub(crate) mod twice;

use bekk_stream::{Stream, TableName};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

pub use self::adopt::{Adopted, TableFault, adopt, table_faults, tables_with_rows};
pub(crate) use self::problem::TableProblem;

use crate::Error;
use crate::ddl::quote_table;
use crate::migrations::MigrateError;
use crate::own_schema;
use crate::session::Session;
use crate::target::locate;

/// The database and the table that a group fills, as `bekk.groups` remembers them. Earlier versions remembered no
/// numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    system: String,
    database: String,
    table: String,
    database_oid: Option<i64>,
    table_oid: Option<i64>,
    table_file: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundTable {
    name: String,
    oid: i64,
    /// Its file; changed by TRUNCATE, and by what rewrites the table. 0 where it has none of its own.
    file: i64,
    /// Whether it has no rows; `None` where we may not look, or another session has locked it.
    is_empty: Option<bool>,
}

/// What is found when a group's table is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FoundIdentity {
    system: String,
    database: String,
    database_oid: i64,
    /// The configured name.
    wanted: String,
    /// The table of the configured name.
    table: Option<FoundTable>,
    remembered: Option<Remembered>,
    /// What the remembered table is called now.
    remembered_now: Option<String>,
    /// How many records the group has put into its table, since a person last decided about it.
    placed: u64,
    /// How many it had put there before a person decided that they are in the remembered table; 0 if the person had all that
    /// the log has applied again.
    adopted: u64,
    /// Whether the group's own records may have deleted all rows.
    may_be_empty: bool,
}

/// What a look at a group's table gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableVerdict {
    /// The table is the group's. `note` says what has changed about it.
    Same { note: Option<String> },
    /// The group's offsets say something else.
    Problem(TableProblem),
}

/// Decides whether the table that is found is the one that the group has filled.
pub(crate) fn judge(found: &FoundIdentity) -> TableVerdict {
    let same = |note| TableVerdict::Same { note };
    let problem = TableVerdict::Problem;
    let placed = found.placed.max(found.adopted);
    if placed == 0 {
        return same(other_table(found));
    }
    let mut tables = found.table.iter();
    let has_rows = tables.any(|table| table.is_empty != Some(true));
    let Some(remembered) = &found.remembered else {
        return match &found.table {
            None => problem(TableProblem::Missing { placed }),
            Some(_) => same(None),
        };
    };
    let is_renamed_database = remembered.database_oid == Some(found.database_oid);
    if remembered.system != found.system
        || remembered.database != found.database && !is_renamed_database
    {
        return problem(TableProblem::Moved {
            from: format!(
                "database `{}` on server {}",
                remembered.database, remembered.system
            ),
            has_rows,
        });
    }
    let Some(table) = &found.table else {
        return problem(match &found.remembered_now {
            Some(now) => TableProblem::Renamed { now: now.clone() },
            None if remembered.table == found.wanted => TableProblem::Missing { placed },
            None => TableProblem::OtherTable {
                from: remembered.table.clone(),
                now: found.wanted.clone(),
                has_rows: false,
                placed,
            },
        });
    };
    match table_problem(found, remembered, table) {
        Some(fault) => problem(fault),
        None => same((remembered.table != table.name).then(|| {
            format!(
                "table `{}` is called `{}` now; the group follows it",
                remembered.table, table.name
            )
        })),
    }
}

/// Says that a group which begins again fills another table than before.
fn other_table(found: &FoundIdentity) -> Option<String> {
    let (before, now) = (found.remembered.as_ref()?, found.table.as_ref()?);
    let is_other = before.table != now.name && before.table_oid.is_some_and(|oid| oid != now.oid);
    is_other.then(|| {
        format!(
            "the group fills table `{}` from now on; before, it filled `{}`",
            now.name, before.table
        )
    })
}

/// Finds what is wrong with a table in the database that the group has filled.
fn table_problem(
    found: &FoundIdentity,
    remembered: &Remembered,
    table: &FoundTable,
) -> Option<TableProblem> {
    let placed = found.placed.max(found.adopted);
    let is_empty = table.is_empty == Some(true);
    if remembered.table_oid.is_some_and(|oid| oid != table.oid)
        || remembered.table_oid.is_none() && remembered.table != table.name
    {
        return Some(if remembered.table == table.name {
            TableProblem::Recreated { placed, is_empty }
        } else {
            TableProblem::OtherTable {
                from: remembered.table.clone(),
                now: table.name.clone(),
                has_rows: !is_empty,
                placed,
            }
        });
    }
    // The person who adopted the table has seen whether it has rows.
    if !is_empty || found.placed == 0 {
        return None;
    }
    let was_rewritten = remembered
        .table_file
        .is_some_and(|file| file != 0 && table.file != 0 && file != table.file);
    match was_rewritten {
        true => Some(TableProblem::Truncated { placed }),
        false if found.may_be_empty => None,
        false => Some(TableProblem::Deleted { placed }),
    }
}

/// Versions before these columns had none of them.
const REMEMBERED: &str = "\
    SELECT g.system_identifier, g.database_name, g.table_name, (to_jsonb(g) ->> 'database_oid')::bigint,
           (to_jsonb(g) ->> 'table_oid')::bigint, (to_jsonb(g) ->> 'table_file')::bigint,
           n.nspname::text, c.relname::text
      FROM bekk.groups g
      LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace)
             ON c.oid::bigint = (to_jsonb(g) ->> 'table_oid')::bigint AND c.relkind IN ('r', 'p')
     WHERE g.group_name = $1 AND g.topic = $2";

/// Records placed since a person last decided, and, if the group has come on since it last began or began after the log's
/// start, all of them.
const PLACED: &str = "\
    SELECT greatest(0, coalesce(sum(o.rows + o.superseded - coalesce((to_jsonb(o) ->> 'placed_before')::bigint, 0)), 0))::bigint,
           coalesce(sum(o.rows + o.superseded) FILTER (
               WHERE o.next <> coalesce((to_jsonb(o) ->> 'counted_from')::bigint, 0)
                  OR to_jsonb(o) ->> 'mark_offset' IS NOT NULL), 0)::bigint
      FROM bekk.offsets o WHERE o.group_name = $1 AND o.topic = $2";

const FOUND: &str = "\
    SELECT s.system_identifier::text, current_database()::text,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
           t.oid::bigint, coalesce(pg_relation_filenode(t.oid), 0)::bigint, t.schema, t.name,
           t.oid IS NOT NULL AND t.kind IN ('r', 'p') AND coalesce(has_table_privilege(t.oid, 'SELECT'), false)
               AND NOT row_security_active(t.oid)
      FROM pg_control_system() s
      LEFT JOIN (SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind AS kind
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.oid = to_regclass($1)) t ON true";

/// The name that the table has now that a group fills, or the one that it had, if no table has its number.
pub(crate) async fn filled_table(
    session: &Session,
    group: &str,
    topic: &str,
) -> Result<Option<TableName>, tokio_postgres::Error> {
    let row = session
        .client
        .query_opt(REMEMBERED, &[&group, &topic])
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(
        named_now(&row).unwrap_or_else(|| TableName::of_stored(row.get(2))),
    ))
}

/// What the table is called now that a row of [`REMEMBERED`] is about.
fn named_now(row: &Row) -> Option<TableName> {
    let schema: Option<&str> = row.get(6);
    Some(TableName::within(schema?, row.get(7)))
}

/// Looks at a group's table, in a database that has schema `bekk`.
pub(crate) async fn look(
    session: &Session,
    group: &str,
    stream: &Stream,
) -> Result<FoundIdentity, MigrateError> {
    look_at(session, (group, stream), false).await
}

/// As [`look`], with a choice: whether a table counts as one that may not be looked at if another session keeps it locked
/// beyond the session's `lock_timeout`. Not within a transaction, which the error would end.
async fn look_at(
    session: &Session,
    (group, stream): (&str, &Stream),
    skips_locked: bool,
) -> Result<FoundIdentity, MigrateError> {
    let is_locked =
        |error: &tokio_postgres::Error| error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
    let (client, topic) = (&session.client, &stream.name);
    let (name, _) = locate(session, stream).await?;
    let row = client.query_one(FOUND, &[&quote_table(&name)]).await?;
    let mut found = FoundIdentity {
        system: row.get(0),
        database: row.get(1),
        database_oid: row.get(2),
        wanted: stream.table.to_string(),
        may_be_empty: stream.accept.deletes(),
        ..FoundIdentity::default()
    };
    if let Some(oid) = row.get::<_, Option<i64>>(3) {
        let name = TableName::within(row.get(5), row.get(6));
        let is_empty = if row.get(7) {
            let any = format!("SELECT NOT EXISTS (SELECT FROM {})", quote_table(&name));
            match client.query_one(&any, &[]).await {
                Ok(row) => Some(row.get(0)),
                Err(error) if skips_locked && is_locked(&error) => None,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        found.table = Some(FoundTable {
            name: name.to_string(),
            oid,
            file: row.get(4),
            is_empty,
        });
    }
    if let Some(row) = client.query_opt(REMEMBERED, &[&group, topic]).await? {
        found.remembered = Some(Remembered {
            system: row.get(0),
            database: row.get(1),
            table: row.get(2),
            database_oid: row.get(3),
            table_oid: row.get(4),
            table_file: row.get(5),
        });
        found.remembered_now = named_now(&row).map(|name| name.to_string());
        // A name without a schema means one of the search path.
        let is_wanted = |known: &Remembered| {
            stream.table.schema.is_none()
                && TableName::of_stored(&known.table).name == stream.table.name
        };
        if found.table.is_none() && found.remembered.as_ref().is_some_and(is_wanted) {
            found
                .wanted
                .clone_from(&found.remembered.as_ref().expect("it was just set").table);
        }
    }
    let row = client.query_one(PLACED, &[&group, topic]).await?;
    let (placed, all): (i64, i64) = (row.get(0), row.get(1));
    found.placed = placed.cast_unsigned();
    found.adopted = if placed == 0 { all.cast_unsigned() } else { 0 };
    Ok(found)
}

/// Fails if the configured name means another table than the one that the group fills, as after a change of the role's
/// search path. A table that was dropped and made again, or is in another database, is compared as it is.
pub(crate) async fn refuse_other_table(
    session: &Session,
    group: &str,
    stream: &Stream,
) -> Result<(), Error> {
    const ACT: &str = "find the group's table";
    for table in ["groups", "offsets"] {
        if !own_schema::has(session, table, ACT).await? {
            return Ok(());
        }
    }
    let found = look(session, group, stream).await;
    match judge(&found.map_err(|error| error.into_error(ACT))?) {
        TableVerdict::Problem(
            problem @ (TableProblem::OtherTable { .. } | TableProblem::Renamed { .. }),
        ) => Err(problem.into_error(group, stream)),
        _ => Ok(()),
    }
}

/// Remembers the table as the group's.
pub(crate) async fn remember(
    session: &Session,
    group: &str,
    stream: &Stream,
) -> Result<(), MigrateError> {
    let client = &session.client;
    let found = look(session, group, stream).await?;
    let Some(table) = &found.table else {
        return Ok(());
    };
    let now = Remembered {
        system: found.system,
        database: found.database,
        table: table.name.clone(),
        database_oid: Some(found.database_oid),
        table_oid: Some(table.oid),
        table_file: Some(table.file),
    };
    if found.remembered.as_ref() == Some(&now) {
        return Ok(());
    }
    client
        .execute(
            "INSERT INTO bekk.groups (group_name, topic, system_identifier, database_name, table_name,
                                      database_oid, table_oid, table_file)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (group_name, topic) DO UPDATE
                SET system_identifier = EXCLUDED.system_identifier, database_name = EXCLUDED.database_name,
                    table_name = EXCLUDED.table_name, database_oid = EXCLUDED.database_oid,
                    table_oid = EXCLUDED.table_oid, table_file = EXCLUDED.table_file",
            &[
                &group,
                &stream.name,
                &now.system,
                &now.database,
                &now.table,
                &now.database_oid,
                &now.table_oid,
                &now.table_file,
            ],
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
