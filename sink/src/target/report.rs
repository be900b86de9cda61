//! What is wrong with the streams' tables, and with the database, before a sink starts.

use bekk_stream::{Stream, TableName};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::compare::{compare, warnings};
use super::{Transaction, access, also_filled_by, conditions, find_placed, trial, types};
use crate::catalog::Table;
use crate::command::{be_impatient, with_session};
use crate::ddl::quote_table;
use crate::lock_holder;
use crate::session::Session;
use crate::trust::Place;
use crate::{ConnectOptions, Error};

/// What [`check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The server's version, as it says it: `15.6`.
    pub server_version: String,
    /// What the database does not allow that the sink needs, whatever its tables are.
    pub problems: Vec<String>,
    /// Each stream's table.
    pub tables: Vec<TableReport>,
}

/// What [`check`] found of one stream's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// The stream.
    pub stream: String,
    /// The table, with its schema if it exists.
    pub table: String,
    /// Whether it exists; if not, the sink makes it.
    pub exists: bool,
    /// What the sink refuses, each naming its column.
    pub problems: Vec<String>,
    /// What is allowed and may surprise.
    pub warnings: Vec<String>,
}

impl Report {
    /// Whether the sink would run.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.tables.iter().all(|table| table.problems.is_empty())
    }
}

/// Connects and compares each stream's table, where it exists, with the stream. Changes nothing, and waits for no table that
/// another session has locked.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn check(postgres: &ConnectOptions, streams: &[Stream]) -> Result<Report, Error> {
    with_session(postgres, "bekk-check", async |session| {
        let failed = |error| Error::postgres("read the catalog", &error);
        be_impatient(&session.client).await.map_err(failed)?;
        let row = session
            .client
            .query_one("SELECT current_setting('server_version')", &[])
            .await
            .map_err(failed)?;
        let mut tables: Vec<TableReport> = Vec::new();
        let mut names: Vec<(String, &str)> = Vec::new();
        for stream in streams {
            let (name, found, place) = find_placed(session, stream).await.map_err(failed)?;
            let full_name = quote_table(&name);
            let other = names.iter().find(|(other, _)| *other == full_name);
            let other = other.map(|(_, other)| also_filled_by(other));
            names.push((full_name, &stream.name));
            let mut report = match found {
                Some(table) => report(session, stream, table, place).await,
                None => report_missing(session, stream, &name, place).await,
            }
            .map_err(failed)?;
            report.problems.extend(other);
            tables.push(report);
        }
        Ok(Report {
            server_version: row.get(0),
            problems: access::problems_of_database(session).await?,
            tables,
        })
    })
}

/// A table that does not fit its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// What the sink says of it.
    pub what: String,
    /// The first thing that does not fit, and what to type where a statement helps.
    pub first: String,
}

/// Finds the streams' tables that exist and do not fit, by their columns, indexes and rights alone: cheaper than [`check`],
/// which also tries statements. Leaves out tables that another session has locked.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn misfits<'s>(
    postgres: &ConnectOptions,
    streams: impl Iterator<Item = &'s Stream>,
) -> Result<Vec<Misfit>, Error> {
    with_session(postgres, "bekk-check", async |session| {
        let failed = |error| Error::postgres("read the catalog", &error);
        be_impatient(&session.client).await.map_err(failed)?;
        let mut misfits = Vec::new();
        for stream in streams {
            let table = match find_placed(session, stream).await {
                Ok((_, Some(table), place)) if !matches!(place, Place::Prepared(_)) => table,
                Ok(_) => continue,
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => continue,
                Err(error) => return Err(failed(error)),
            };
            let problems = compare(stream, &table).problems;
            let Some(first) = problems.first().cloned() else {
                continue;
            };
            let mismatch = Error::TableMismatch {
                table: table.full_name,
                stream: stream.name.clone(),
                problems,
            };
            let what = mismatch.to_string();
            misfits.push(Misfit { what, first });
        }
        Ok(misfits)
    })
}

/// Reports on a table that does not exist yet.
async fn report_missing(
    session: &Session,
    stream: &Stream,
    name: &TableName,
    place: Place,
) -> Result<TableReport, tokio_postgres::Error> {
    let mut problems = types::resolve(session, &mut stream.clone()).await?;
    if let Place::Prepared(why) = place {
        problems.push(why);
    }
    Ok(TableReport {
        stream: stream.name.clone(),
        table: stream.table.to_string(),
        exists: false,
        problems,
        // Whoever may make it can still do so before the sink starts.
        warnings: access::problems_without_table(&session.client, name).await?,
    })
}

async fn report(
    session: &Session,
    stream: &Stream,
    table: Table,
    place: Place,
) -> Result<TableReport, tokio_postgres::Error> {
    let client = &session.client;
    let mut report = TableReport {
        stream: stream.name.clone(),
        table: table.full_name.clone(),
        exists: true,
        problems: compare(stream, &table).problems,
        warnings: warnings(stream, &table),
    };
    if let Place::Prepared(why) = place {
        // The server may run the defaults and policies of a table as soon as it plans a statement on it.
        report.problems.push(why);
        return Ok(report);
    }
    match tried(client, stream, &table).await {
        Ok((refusals, drifted)) => {
            report.problems.extend(refusals);
            report.warnings.extend(drifted);
        }
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            let holder = lock_holder::find(client, Some(table.version.oid)).await?;
            let holder = holder.unwrap_or_else(|| "another session has locked it".to_owned());
            let unfinished = format!("it was not checked to the end: {holder}");
            report.problems.push(unfinished);
        }
        Err(error) => return Err(error),
    }
    report.warnings.extend(place.warning(&table));
    Ok(report)
}

/// What only statements on the table show: those that PostgreSQL refuses for any row, and the conditions that differ.
async fn tried(
    client: &Client,
    stream: &Stream,
    table: &Table,
) -> Result<(Vec<String>, Vec<String>), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let tried = async {
        let drifted = conditions::drifted(client, stream, table).await?;
        let refusals = trial::refusals(client, stream, table, Transaction::Begun).await?;
        Ok((refusals, drifted))
    };
    let tried = tried.await;
    client.batch_execute("ROLLBACK").await?;
    tried
}
