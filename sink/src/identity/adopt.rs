//! What commands ask about the tables that groups remember, and the adoption of a table.

use bekk_stream::{Stream, TableName};
use tokio_postgres::Client;

use super::twice::{self, Others};
use super::{FOUND, TableProblem, TableVerdict, judge, look, look_at, remember};
use crate::catalog::Table;
use crate::command::{be_impatient, with_session};
use crate::ddl::quote_table;
use crate::own_schema;
use crate::refusal::{fill_anew, is_keyless, replay_command};
use crate::session::Session;
use crate::target::locate;
use crate::trust::Place;
use crate::{ConnectOptions, Error};

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
    /// Whether the group fills another table than the stream names.
    pub is_another_table: bool,
}

/// Compares each stream's table with the one that the group has filled. Reports as well that a table without a key holds
/// the rows of another group or stream of the log; only a warning where no log is named, as it may be another one. Changes
/// nothing.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn table_faults(
    postgres: &ConnectOptions,
    (group, log_id): (&str, Option<&str>),
    streams: &[Stream],
) -> Result<Vec<TableFault>, Error> {
    with_session(postgres, "bekk-check", async |session| {
        const ACT: &str = "compare the tables with those that were filled";
        be_impatient(&session.client)
            .await
            .map_err(|error| Error::postgres(ACT, &error))?;
        let mut faults = Vec::new();
        for table in ["groups", "offsets"] {
            if !own_schema::has(session, table, ACT).await? {
                return Ok(faults);
            }
        }
        for stream in streams {
            let found = look_at(session, (group, stream), true)
                .await
                .map_err(|error| error.into_error(ACT))?;
            if let TableVerdict::Problem(problem) = judge(&found) {
                faults.push(TableFault {
                    stream: stream.name.clone(),
                    what: problem.text(stream),
                    advice: problem.advice(group, stream),
                    is_a_warning: problem.is_a_warning(),
                    is_another_table: matches!(problem, TableProblem::OtherTable { .. }),
                });
            } else if is_keyless(stream) {
                let filled = filled_twice(session, (group, log_id), stream, streams).await;
                faults.extend(filled.map_err(|error| Error::postgres(ACT, &error))?);
            }
        }
        Ok(faults)
    })
}

/// Says that a group without offsets would write rows a second time that another group or stream has written.
async fn filled_twice(
    session: &Session,
    (group, log_id): (&str, Option<&str>),
    stream: &Stream,
    streams: &[Stream],
) -> Result<Option<TableFault>, tokio_postgres::Error> {
    const HAS_BEGUN: &str =
        "SELECT EXISTS (SELECT FROM bekk.offsets WHERE group_name = $1 AND topic = $2)";
    let client = &session.client;
    let has_begun = client.query_one(HAS_BEGUN, &[&group, &stream.name]).await?;
    if has_begun.get(0) {
        return Ok(None);
    }
    let (name, place) = locate(session, stream).await?;
    if matches!(place, Place::Prepared(_)) {
        return Ok(None);
    }
    let Some(table) = Table::find(client, &quote_table(&name)).await? else {
        return Ok(None);
    };
    let configured: Vec<&str> = streams.iter().map(|stream| &*stream.name).collect();
    let others = twice::find(client, (group, log_id), (stream, &table), &configured).await?;
    Ok(match others {
        Some(Others::OfLog(Error::OtherTarget { what, advice, .. })) => Some(TableFault {
            stream: stream.name.clone(),
            what,
            advice: match log_id {
                Some(_) => advice,
                None => {
                    "a sink refuses it if both are of one log, and names the command".to_owned()
                }
            },
            is_a_warning: log_id.is_none(),
            is_another_table: false,
        }),
        _ => None,
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
            let is_empty = if exists && row.get(7) {
                let name = TableName::within(row.get(5), row.get(6));
                let any = format!("SELECT NOT EXISTS (SELECT FROM {})", quote_table(&name));
                let row = session.client.query_one(&any, &[]).await.map_err(failed)?;
                row.get(0)
            } else {
                !exists
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
    /// How many rows it has, about; `None` if PostgreSQL has not counted them yet.
    pub rows: Option<u64>,
    /// How many records the group has put into its table.
    pub placed: u64,
    /// How many rows the table lacks for certain, and what can be typed about it: known where each record is a row.
    pub lacking: Option<(u64, String)>,
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
        crate::letters::bring_up_to_date(session).await?;
        let client = &session.client;
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
            let lacking = match table.is_empty {
                Some(_) => lacking(session, group, stream, found.placed).await,
                None => Ok(None),
            };
            let lacking = lacking.map_err(failed)?;
            remember(session, group, stream)
                .await
                .map_err(|error| error.into_error("adopt the tables"))?;
            forget_placed(client, group, &stream.name)
                .await
                .map_err(failed)?;
            let rows = client
                .query_one(
                    "SELECT CASE WHEN reltuples >= 0 THEN reltuples::bigint END FROM pg_class WHERE oid::bigint = $1",
                    &[&table.oid],
                )
                .await
                .map_err(failed)?;
            adopted.push(Adopted {
                stream: stream.name.clone(),
                table: table.name,
                what,
                rows: rows.get::<_, Option<i64>>(0).map(i64::cast_unsigned),
                placed: found.placed,
                lacking,
            });
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(adopted)
    })
}

/// Counts the rows of a table without a key, in which each record that the group has put there must be one.
async fn lacking(
    session: &Session,
    group: &str,
    stream: &Stream,
    placed: u64,
) -> Result<Option<(u64, String)>, tokio_postgres::Error> {
    if !is_keyless(stream) {
        return Ok(None);
    }
    let (name, _) = locate(session, stream).await?;
    let count = format!("SELECT count(*) FROM {}", quote_table(&name));
    let rows: i64 = session.client.query_one(&count, &[]).await?.get(0);
    let lacking = placed.saturating_sub(rows.cast_unsigned());
    let advice = || fill_anew(stream, &replay_command(group, stream));
    Ok((lacking > 0).then(|| (lacking, advice())))
}

/// From now on the group has put nothing into the table that could be missed there: a person has decided.
async fn forget_placed(
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
