//! Statements that PostgreSQL refuses for any row of a table, found by beginning them.
//!
//! EXPLAIN makes the server begin an UPDATE or DELETE of the table and all of its partitions, and run nothing: no row is
//! read, no trigger fires. The server checks there what it checks of a real one. Publications refuse statements by rules
//! that each version of PostgreSQL extends (row filters, column lists, generated columns); the server knows them.

use bekk_stream::{OnConflict, Stream};
use tokio_postgres::Client;
use tokio_postgres::error::DbError;

use super::is_keyed;
use crate::catalog::Table;
use crate::ddl::quote;
use crate::sqlstate::{NO_IDENTITY, NO_LOCK, NO_SUCH_KEY};

/// Whether the caller has begun a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transaction {
    Begun,
    None,
}

/// The statements that the stream needs and that PostgreSQL refuses for any row, each with what to do about it.
pub(super) async fn refusals(
    client: &Client,
    stream: &Stream,
    table: &Table,
    transaction: Transaction,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut refusals = Vec::new();
    let access = &table.access;
    let updates = is_keyed(stream) && stream.on_conflict == OnConflict::Update;
    let column = stream.columns.iter().find(|column| {
        let found = table.column(&column.name);
        found.is_some_and(|found| found.may_update)
    });
    if updates
        && !access.refuses_updates
        && let Some(column) = column
    {
        let update = format!(
            "EXPLAIN UPDATE {} SET {} = DEFAULT",
            table.sql_name,
            quote(&column.name)
        );
        if let Some(error) = try_one(client, &update, transaction).await? {
            refusals.extend(refusal(client, table, "UPDATE", &error).await?);
        }
    }
    if stream.accept.deletes() && !access.refuses_deletes && access.may_delete {
        let delete = format!("EXPLAIN DELETE FROM {}", table.sql_name);
        if let Some(error) = try_one(client, &delete, transaction).await? {
            refusals.extend(refusal(client, table, "DELETE", &error).await?);
        }
    }
    Ok(refusals)
}

/// Begins a statement; returns the server's refusal.
async fn try_one(
    client: &Client,
    sql: &str,
    transaction: Transaction,
) -> Result<Option<Box<DbError>>, tokio_postgres::Error> {
    if transaction == Transaction::Begun {
        client.batch_execute("SAVEPOINT trial").await?;
    }
    let tried = client.batch_execute(sql).await;
    if transaction == Transaction::Begun {
        client
            .batch_execute("ROLLBACK TO SAVEPOINT trial; RELEASE SAVEPOINT trial")
            .await?;
    }
    match tried {
        Ok(()) => Ok(None),
        Err(error) => match error.as_db_error() {
            Some(db) if matches!(db.code().code(), NO_SUCH_KEY | NO_IDENTITY) => {
                Ok(Some(Box::new(db.clone())))
            }
            Some(db) if db.code().code() == NO_LOCK => Err(error),
            // `access.rs` reports missing rights.
            Some(_) => Ok(None),
            None => Err(error),
        },
    }
}

/// Publications of a table, or of a table that it is a partition of, that have a list of its columns. Versions before 15
/// have none.
const LISTS: &str = "\
    SELECT string_agg(DISTINCT quote_ident(p.pubname), ', ')
      FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
     WHERE to_jsonb(r) ->> 'prattrs' IS NOT NULL
       AND (r.prrelid = $1 OR r.prrelid IN (SELECT relid FROM pg_partition_tree($1::oid)
                                             UNION SELECT relid FROM pg_partition_ancestors($1::oid)))";

async fn refusal(
    client: &Client,
    table: &Table,
    statement: &str,
    error: &DbError,
) -> Result<Option<String>, tokio_postgres::Error> {
    let lists: Option<String> = client.query_one(LISTS, &[&table.version.oid]).await?.get(0);
    let (on, each) = match table.kind.as_str() {
        "p" => ("…", " of each partition"),
        _ => (table.sql_name.as_str(), ""),
    };
    let remedy = match (error.code().code(), lists) {
        (NO_SUCH_KEY, Some(publications)) => format!(
            "in publication {publications}, list the columns of the table's replica identity (its primary key), or all \
             columns"
        ),
        (NO_SUCH_KEY, None) => format!(
            "filter the publication by columns of the primary key only, or run ALTER TABLE {on} REPLICA IDENTITY FULL{each}"
        ),
        _ => format!("run ALTER TABLE {on} REPLICA IDENTITY FULL{each}, or add a primary key"),
    };
    let detail = error.detail().map(|detail| format!("; {detail}"));
    Ok(Some(format!(
        "PostgreSQL refuses every {statement} of it because of a publication: {}{}; {remedy}",
        error.message(),
        detail.unwrap_or_default(),
    )))
}
