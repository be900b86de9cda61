//! Which table a group fills: the table of a name may be another one by now, or have lost its rows.
//!
//! A group's offsets say that n records are in a table. [`judge`] decides whether the table that is found can be that
//! one; [`TableProblem::advice`] says what can be typed where it is not.

use bekk_stream::{OnConflict, Stream};
use tokio_postgres::Client;

use crate::ddl::quote_table;
use crate::migrations::MigrateError;
use crate::session::{Session, with_session};
use crate::target::locate;
use crate::{ConnectOptions, Error};

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

/// A table as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundTable {
    name: String,
    oid: i64,
    /// Its file; changed by TRUNCATE, and by what rewrites the table. 0 where it has none of its own.
    file: i64,
    /// Whether it has no rows; `None` where we may not look.
    is_empty: Option<bool>,
}

/// What is found when a group's table is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
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
    /// Whether the group's own records may have deleted all rows.
    may_be_empty: bool,
}

/// Why a table is not the one that a group has filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableProblem {
    /// The table does not exist.
    Missing { placed: u64 },
    /// The table has another name than the configuration says.
    Renamed { now: String },
    /// The table was dropped and made again.
    Recreated { placed: u64, is_empty: bool },
    /// The table was truncated.
    Truncated { placed: u64 },
    /// All rows were deleted. That may be meant, so that it is only reported.
    Deleted { placed: u64 },
    /// The database is on another server, or another database.
    Moved { from: String, has_rows: bool },
    /// The configuration names another table.
    OtherTable {
        from: String,
        has_rows: bool,
        placed: u64,
    },
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
pub(crate) fn judge(found: &Found) -> TableVerdict {
    let same = |note| TableVerdict::Same { note };
    let problem = TableVerdict::Problem;
    let placed = found.placed;
    if placed == 0 {
        return same(None);
    }
    let has_rows = |table: &Option<FoundTable>| {
        table
            .as_ref()
            .is_some_and(|table| table.is_empty != Some(true))
    };
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
            has_rows: has_rows(&found.table),
        });
    }
    let Some(table) = &found.table else {
        return problem(match &found.remembered_now {
            Some(now) => TableProblem::Renamed { now: now.clone() },
            None if remembered.table == found.wanted => TableProblem::Missing { placed },
            None => TableProblem::OtherTable {
                from: remembered.table.clone(),
                has_rows: false,
                placed,
            },
        });
    };
    if remembered.table_oid.is_some_and(|oid| oid != table.oid)
        || remembered.table_oid.is_none() && remembered.table != table.name
    {
        let has_rows = has_rows(&found.table);
        return problem(if remembered.table == table.name {
            TableProblem::Recreated {
                placed,
                is_empty: !has_rows,
            }
        } else {
            TableProblem::OtherTable {
                from: remembered.table.clone(),
                has_rows,
                placed,
            }
        });
    }
    if table.is_empty == Some(true) {
        let was_rewritten = remembered
            .table_file
            .is_some_and(|file| file != 0 && table.file != 0 && file != table.file);
        return problem(match was_rewritten {
            true => TableProblem::Truncated { placed },
            false if found.may_be_empty => return same(None),
            false => TableProblem::Deleted { placed },
        });
    }
    let is_renamed = remembered.table != table.name;
    same(is_renamed.then(|| {
        format!(
            "table `{}` is called `{}` now; the group follows it",
            remembered.table, table.name
        )
    }))
}

impl TableProblem {
    /// Whether it is only reported, and records are applied all the same.
    pub(crate) fn is_a_warning(&self) -> bool {
        matches!(self, Self::Deleted { .. })
    }

    /// What differs, for a person.
    pub(crate) fn text(&self, stream: &Stream) -> String {
        let table = &stream.table;
        let records = |n: &u64| format!("{n} {}", if *n == 1 { "record" } else { "records" });
        match self {
            Self::Missing { placed } => format!(
                "table `{table}` does not exist, and the group has applied {} to it",
                records(placed)
            ),
            Self::Renamed { now } => {
                format!("table `{table}` does not exist: the group's table is called `{now}` now")
            }
            Self::Recreated { placed, is_empty } => format!(
                "table `{table}` was dropped and made again{}, and the group has applied {} to the one before",
                if *is_empty { " and is empty" } else { "" },
                records(placed)
            ),
            Self::Truncated { placed } => format!(
                "table `{table}` was truncated, and the group has applied {} to it",
                records(placed)
            ),
            Self::Deleted { placed } => format!(
                "table `{table}` is empty: its rows were deleted, and the group has applied {} to it",
                records(placed)
            ),
            Self::Moved { from, has_rows } => format!(
                "the group fills {from}, and this is another server or database, where table `{table}` {}",
                if *has_rows {
                    "has rows"
                } else {
                    "has no rows, or does not exist"
                }
            ),
            Self::OtherTable { from, placed, .. } => format!(
                "the group fills table `{from}` and has applied {} to it; the configuration names `{table}`",
                records(placed)
            ),
        }
    }

    /// What can be typed about it.
    pub(crate) fn advice(&self, group: &str, stream: &Stream) -> String {
        let (name, table) = (&stream.name, &stream.table);
        let has_key = stream.on_conflict != OnConflict::Append && !stream.key.is_empty();
        let adopt = format!("bekk offsets adopt --group {group} --stream {name}");
        let replay =
            format!("bekk replay --group {group} --stream {name} --from earliest --execute");
        match self {
            Self::Missing { .. } => format!("to fill it again from the log: {replay}"),
            Self::Renamed { now } => {
                format!("write table = \"{now}\" in the configuration, or rename the table back")
            }
            Self::Recreated { is_empty: true, .. }
            | Self::Truncated { .. }
            | Self::Deleted { .. } => format!(
                "if it is meant to be empty: {adopt}; to fill it again from the log: {replay}"
            ),
            Self::Moved { has_rows: true, .. } => format!(
                "another group (--group) starts from the beginning; if the rows came along with schema `bekk`, by dump \
                 and restore or the like, continue where the offsets are: {adopt}"
            ),
            Self::Moved { .. } => format!("to fill it from the log: {replay}"),
            Self::OtherTable {
                has_rows: false, ..
            } => format!(
                "to keep both tables, use another group (--group NAME); to fill `{table}` from the log with this one: \
                 {replay}"
            ),
            Self::Recreated { .. } | Self::OtherTable { .. } if has_key => format!(
                "if all its rows are in `{table}`: {adopt}; if not, or to be sure, apply the log again: {replay}"
            ),
            Self::Recreated { .. } | Self::OtherTable { .. } => {
                format!("if all its rows are in `{table}`, continue where the offsets are: {adopt}")
            }
        }
    }

    pub(crate) fn into_error(self, group: &str, stream: &Stream) -> Error {
        Error::OtherTarget {
            group: group.to_owned(),
            topic: stream.name.clone(),
            what: self.text(stream),
            advice: self.advice(group, stream),
        }
    }
}

/// Versions before these columns had none of them.
const REMEMBERED: &str = "\
    SELECT g.system_identifier, g.database_name, g.table_name, (to_jsonb(g) ->> 'database_oid')::bigint,
           (to_jsonb(g) ->> 'table_oid')::bigint, (to_jsonb(g) ->> 'table_file')::bigint,
           (SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid::bigint = (to_jsonb(g) ->> 'table_oid')::bigint AND c.relkind IN ('r', 'p'))
      FROM bekk.groups g WHERE g.group_name = $1 AND g.topic = $2";

const PLACED: &str = "\
    SELECT greatest(0, coalesce(sum(o.rows + o.superseded - coalesce((to_jsonb(o) ->> 'placed_before')::bigint, 0)), 0))::bigint
      FROM bekk.offsets o WHERE o.group_name = $1 AND o.topic = $2";

const FOUND: &str = "\
    SELECT s.system_identifier::text, current_database()::text,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
           t.oid::bigint, coalesce(pg_relation_filenode(t.oid), 0)::bigint, t.name, t.sql_name,
           t.oid IS NOT NULL AND has_table_privilege(t.oid, 'SELECT') AND NOT row_security_active(t.oid)
      FROM pg_control_system() s
      LEFT JOIN (SELECT c.oid, n.nspname || '.' || c.relname AS name,
                        quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS sql_name
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.oid = to_regclass($1)) t ON true";

/// Looks at a group's table, in a database that has schema `bekk`.
pub(crate) async fn look(
    session: &Session,
    group: &str,
    stream: &Stream,
) -> Result<Found, MigrateError> {
    let (client, topic) = (&session.client, &stream.name);
    let (name, _) = locate(session, stream).await?;
    let row = client.query_one(FOUND, &[&quote_table(&name)]).await?;
    let mut found = Found {
        system: row.get(0),
        database: row.get(1),
        database_oid: row.get(2),
        wanted: stream.table.to_string(),
        may_be_empty: stream.accept.deletes(),
        ..Found::default()
    };
    if let Some(oid) = row.get::<_, Option<i64>>(3) {
        let is_empty = match row.get(7) {
            true => {
                let sql: String = row.get(6);
                let any = format!("SELECT NOT EXISTS (SELECT FROM {sql})");
                Some(client.query_one(&any, &[]).await?.get(0))
            }
            false => None,
        };
        found.table = Some(FoundTable {
            name: row.get(5),
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
        found.remembered_now = row.get(6);
        // A name without a schema means one of the search path.
        let is_wanted = |known: &Remembered| {
            stream.table.schema.is_none()
                && known.table.rsplit('.').next() == Some(stream.table.name.as_str())
        };
        if found.table.is_none() && found.remembered.as_ref().is_some_and(is_wanted) {
            found
                .wanted
                .clone_from(&found.remembered.as_ref().expect("it was just set").table);
        }
    }
    let placed: i64 = client.query_one(PLACED, &[&group, topic]).await?.get(0);
    found.placed = placed.cast_unsigned();
    Ok(found)
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

/// What is wrong with the table of one of a group's streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFault {
    /// The stream.
    pub stream: String,
    /// What differs.
    pub what: String,
    /// What can be typed about it.
    pub advice: String,
    /// Whether records are applied all the same.
    pub is_a_warning: bool,
}

/// Compares each stream's table with the one that the group has filled. Changes nothing.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn table_faults(
    postgres: &ConnectOptions,
    group: &str,
    streams: &[Stream],
) -> Result<Vec<TableFault>, Error> {
    with_session(postgres, "bekk-check", async |session| {
        let client = &session.client;
        let failed =
            |error| Error::postgres("compare the tables with those that were filled", &error);
        let row = client
            .query_one(
                "SELECT to_regclass('bekk.groups') IS NOT NULL AND to_regclass('bekk.offsets') IS NOT NULL",
                &[],
            )
            .await
            .map_err(failed)?;
        let mut faults = Vec::new();
        if !row.get::<_, bool>(0) {
            return Ok(faults);
        }
        for stream in streams {
            let found = look(session, group, stream)
                .await
                .map_err(|error| error.into_error("look at the tables"))?;
            if let TableVerdict::Problem(problem) = judge(&found) {
                faults.push(TableFault {
                    stream: stream.name.clone(),
                    what: problem.text(stream),
                    advice: problem.advice(group, stream),
                    is_a_warning: problem.is_a_warning(),
                });
            }
        }
        Ok(faults)
    })
}

/// The streams whose tables have rows, or may have some that we may not see.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn tables_with_rows(
    postgres: &ConnectOptions,
    streams: &[Stream],
) -> Result<Vec<String>, Error> {
    with_session(postgres, "bekk-check", async |session| {
        let mut names = Vec::new();
        for stream in streams {
            let failed =
                |error| Error::postgres(format!("look at table `{}`", stream.table), &error);
            let (name, _) = locate(session, stream).await.map_err(failed)?;
            let row = session
                .client
                .query_one(FOUND, &[&quote_table(&name)])
                .await
                .map_err(failed)?;
            let exists = row.get::<_, Option<i64>>(3).is_some();
            let is_empty = match exists && row.get(7) {
                true => {
                    let sql: String = row.get(6);
                    let any = format!("SELECT NOT EXISTS (SELECT FROM {sql})");
                    let row = session.client.query_one(&any, &[]).await.map_err(failed)?;
                    row.get(0)
                }
                false => !exists,
            };
            if !is_empty {
                names.push(stream.name.clone());
            }
        }
        Ok(names)
    })
}

/// A stream whose table was adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The stream.
    pub stream: String,
    /// The table that the group fills from now on.
    pub table: String,
    /// What differed from the one before.
    pub what: Option<String>,
    /// How many rows it has, about.
    pub rows: u64,
    /// How many records the group has put into its table.
    pub placed: u64,
}

/// Takes the tables as they are for those that the group has filled; its offsets stay.
///
/// # Errors
/// [`Error::GroupInUse`] if a sink of the group runs, [`Error::NoTable`] if a table does not exist; others if the
/// server cannot be reached or refuses.
pub fn adopt(
    postgres: &ConnectOptions,
    group: &str,
    streams: &[Stream],
) -> Result<Vec<Adopted>, Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        let client = &session.client;
        crate::letters::bring_up_to_date(client, postgres).await?;
        let failed = |error| Error::postgres("adopt the tables", &error);
        client.batch_execute("BEGIN").await.map_err(failed)?;
        crate::groups::refuse_if_held_by(client, group).await?;
        let mut adopted = Vec::new();
        for stream in streams {
            let found = look(session, group, stream)
                .await
                .map_err(|error| error.into_error("look at the tables"))?;
            let what = match judge(&found) {
                TableVerdict::Same { note } => note,
                TableVerdict::Problem(problem) => Some(problem.text(stream)),
            };
            let Some(table) = found.table else {
                return Err(Error::NoTable {
                    table: stream.table.to_string(),
                    stream: stream.name.clone(),
                });
            };
            remember(session, group, stream)
                .await
                .map_err(|error| error.into_error("adopt the tables"))?;
            forget_placed(client, group, &stream.name)
                .await
                .map_err(failed)?;
            let rows = client
                .query_one(
                    "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid::bigint = $1",
                    &[&table.oid],
                )
                .await
                .map_err(failed)?;
            adopted.push(Adopted {
                stream: stream.name.clone(),
                table: table.name,
                what,
                rows: rows.get::<_, i64>(0).cast_unsigned(),
                placed: found.placed,
            });
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(adopted)
    })
}

/// From now on the group has put nothing into the table that could be missed there: a person has decided.
pub(crate) async fn forget_placed(
    client: &Client,
    group: &str,
    topic: &str,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "UPDATE bekk.offsets SET placed_before = rows + superseded WHERE group_name = $1 AND topic = $2",
            &[&group, &topic],
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
