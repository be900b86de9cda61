//! Staged rows merged into the table, and whether all of them are there afterwards.

use super::SpanError;
use crate::offsets::rows;
use crate::session::Session;
use crate::target::ColumnSet;

/// Merges the staged rows, and returns how many were inserted.
pub(crate) async fn merge_staged(
    session: &mut Session,
    columns: &ColumnSet,
    staged: u64,
) -> Result<u64, SpanError> {
    let count_new = count(session, columns.count_new_sql.as_deref()).await?;
    let merged = match columns.is_watched {
        true => Merged::watch(session, columns, staged).await?,
        false => Merged::of(session, columns).await?,
    };
    let is_appended = columns.is_appended && merged.written != staged;
    let is_left_out = merged.left_out
        && match &columns.count_differing_sql {
            Some(sql) => count(session, Some(sql)).await? > Some(0),
            None => true,
        };
    let missing = count(session, columns.count_missing_sql.as_deref()).await?;
    if is_appended || is_left_out || missing > Some(0) {
        return Err(SpanError::NotStored);
    }
    Ok(count_new.unwrap_or(merged.inserted).cast_unsigned())
}

/// What a merge did with the staged rows.
struct Merged {
    inserted: i64,
    /// Inserted or updated.
    written: u64,
    /// Whether a trigger left out an insert or an update.
    left_out: bool,
}

impl Merged {
    async fn of(session: &mut Session, columns: &ColumnSet) -> Result<Self, SpanError> {
        let merge = session.statement(&columns.merge_sql).await?;
        let merged = session.client.query_one(&merge, &[]).await?;
        let (inserted, written): (i64, i64) = (merged.get(0), merged.get(1));
        Ok(Self {
            inserted,
            written: written.cast_unsigned(),
            left_out: false,
        })
    }

    /// Merges under EXPLAIN ANALYZE, which alone counts the rows whose update the statement's own condition left out:
    /// a row that is neither among those nor written was left out by a trigger.
    async fn watch(session: &Session, columns: &ColumnSet, staged: u64) -> Result<Self, SpanError> {
        let answer = session.client.simple_query(&columns.merge_sql).await?;
        let plan: String = rows(&answer).filter_map(|row| row.get(0)).collect();
        let written = plan_number(&plan, "Actual Rows");
        let equal = plan_number(&plan, "Rows Removed by Conflict Filter");
        let accounted = written.zip(equal).map(|(written, equal)| written + equal);
        Ok(Self {
            inserted: 0,
            written: written.unwrap_or(0),
            left_out: accounted != Some(staged),
        })
    }
}

/// A number of a plan's first node, in EXPLAIN's JSON.
fn plan_number(plan: &str, name: &str) -> Option<u64> {
    let name = format!("\"{name}\": ");
    let line = plan
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(&name))?;
    // PostgreSQL 18 writes rows with decimals.
    let digits = line
        .trim_end()
        .trim_end_matches(',')
        .trim_end_matches(".00");
    digits.parse().ok()
}

async fn count(session: &Session, sql: Option<&str>) -> Result<Option<i64>, tokio_postgres::Error> {
    match sql {
        Some(sql) => Ok(Some(session.client.query_one(sql, &[]).await?.get(0))),
        None => Ok(None),
    }
}
