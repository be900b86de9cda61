//! Whether the conditions that a table enforces are those that the stream has now.

use std::collections::BTreeMap;

use bekk_stream::Stream;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalog::Table;
use crate::ddl::{Condition, condition_names, conditions, quote, quote_literal};
use crate::offsets::rows;

const FOUND: &str = "\
    SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid = $1 AND contype = 'c' AND conname = ANY ($2::text[])";

/// Warnings about constraints with the names that Bekk gives, whose conditions are not the stream's any more. The
/// caller has begun a transaction, which is left as it was.
pub(crate) async fn drifted(
    client: &Client,
    stream: &Stream,
    table: &Table,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let names: Vec<String> = condition_names(stream).collect();
    let found = client.query(FOUND, &[&table.version.oid, &names]).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let declared: Vec<Condition> = conditions(stream).collect();
    let expected = as_the_server_writes_them(client, table, &declared).await?;
    let mut warnings = Vec::new();
    for row in &found {
        // A constraint that was dropped meanwhile has no definition.
        let (name, Some(definition)) = (row.get::<_, String>(0), row.get::<_, Option<String>>(1))
        else {
            continue;
        };
        let condition = declared.iter().find(|condition| condition.name == name);
        if condition.is_some()
            && expected
                .get(&name)
                .is_none_or(|expected| *expected == definition)
        {
            continue;
        }
        let alter = format!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            table.sql_name,
            quote(&name)
        );
        warnings.push(match condition {
            Some(Condition { sql, .. }) => format!(
                "constraint `{name}` is {definition}, and the stream has another condition: what only the stream \
                 accepts becomes dead letters; {alter}, ADD CONSTRAINT {} CHECK ({sql})",
                quote(&name)
            ),
            None => format!(
                "constraint `{name}` is {definition}, and the stream has no such condition: what only the stream \
                 accepts becomes dead letters; {alter}"
            ),
        });
    }
    Ok(warnings)
}

/// The definitions of conditions as the server would show them, by name; empty where it makes no temporary table.
async fn as_the_server_writes_them(
    client: &Client,
    table: &Table,
    declared: &[Condition],
) -> Result<BTreeMap<String, String>, tokio_postgres::Error> {
    let constraints: Vec<String> = declared
        .iter()
        .map(|Condition { name, sql }| format!("ADD CONSTRAINT {} CHECK ({sql})", quote(name)))
        .collect();
    let alter = match constraints.is_empty() {
        true => String::new(),
        false => format!(
            "ALTER TABLE pg_temp.bekk_expected {};",
            constraints.join(", ")
        ),
    };
    client.batch_execute("SAVEPOINT expected").await?;
    let ask = format!(
        "CREATE TEMPORARY TABLE bekk_expected AS SELECT * FROM {} WITH NO DATA; {alter}
         SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
          WHERE conrelid = to_regclass({}) AND contype = 'c'",
        table.sql_name,
        quote_literal("pg_temp.bekk_expected")
    );
    let answer = client.simple_query(&ask).await;
    client
        .batch_execute("ROLLBACK TO SAVEPOINT expected; RELEASE SAVEPOINT expected")
        .await?;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => return Err(error),
        Err(error) if error.as_db_error().is_some() => Vec::new(),
        Err(error) => return Err(error),
    };
    let definition =
        |at: usize, row: &tokio_postgres::SimpleQueryRow| row.get(at).map(str::to_owned);
    Ok(rows(&answer)
        .filter_map(|row| Some((definition(0, row)?, definition(1, row)?)))
        .collect())
}
