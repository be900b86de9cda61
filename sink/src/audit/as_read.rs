//! Texts as the server reads them: each is sent through its type's input function, and comes back as it is stored.
//!
//! Only PostgreSQL knows that `{"b":1, "a":2}` and `{"a": 2, "b": 1}` are one jsonb, and that two texts of a citext are
//! one key. Both sides of the comparison are asked for in the same words, in the same session.

use std::fmt::Write as _;

use super::canonical::{Columns, ReadColumn};
use crate::Error;
use crate::ddl::quote;
use crate::session::Session;
use crate::target::StreamTarget;

/// Rows in one question.
const ROWS_MAX: usize = 2_000;
/// What a text is compared as that the type does not read: no text of the table is it.
const UNREADABLE: &str = "\u{1}unreadable";

/// A row's texts: for each column that the server reads, its text, and what equal keys have in common.
#[derive(Debug, Clone, Default)]
pub(super) struct AsRead {
    pub(super) texts: Vec<Option<String>>,
    pub(super) alike: Vec<Option<String>>,
}

/// Sends texts through the types' input functions.
pub(super) struct InputFunctions {
    sql: String,
    columns: usize,
}

impl InputFunctions {
    /// `None` where the server need not be asked.
    pub(super) async fn new(
        session: &Session,
        target: &StreamTarget,
        columns: &Columns,
    ) -> Result<Option<Self>, Error> {
        if columns.read.is_empty() {
            return Ok(None);
        }
        let (mut own, mut sent, mut names, mut arrays) =
            (String::new(), String::new(), String::new(), String::new());
        let mut asked = Vec::new();
        for (at, column) in columns.read.iter().enumerate() {
            let name = format!("c{at}");
            // The table's own columns, of which there are no rows here, give the texts their collation.
            let _ = write!(own, ", t.{} AS {name}", quote(&column.name));
            let _ = write!(sent, ", CAST(u.{name} AS {})", column.type_sql);
            let _ = write!(names, "{name}, ");
            let comma = if at == 0 { "" } else { ", " };
            let _ = write!(arrays, "{comma}${}::pg_catalog.text[]", at + 1);
            asked.extend(question(session, column, &format!("x.{name}")).await?);
        }
        let sql = format!(
            "SELECT {} FROM (SELECT 0::pg_catalog.int8 AS n{own} FROM {} t WHERE false \
             UNION ALL SELECT u.n{sent} FROM ROWS FROM (unnest({arrays})) WITH ORDINALITY AS u({names}n)) x ORDER BY x.n",
            asked.join(", "),
            target.table.sql_name
        );
        Ok(Some(Self {
            sql,
            columns: columns.read.len(),
        }))
    }

    /// Reads the texts of some rows; a row that is not read gives texts that nothing equals.
    pub(super) async fn read(
        &self,
        session: &Session,
        rows: &[Vec<Option<String>>],
    ) -> Result<Vec<AsRead>, Error> {
        let failed = |error: tokio_postgres::Error| {
            Error::postgres("read texts as the table's types", &error)
        };
        let statement = session.client.prepare(&self.sql).await.map_err(failed)?;
        let mut spans: Vec<_> = (0..rows.len())
            .step_by(ROWS_MAX)
            .map(|from| from..rows.len().min(from + ROWS_MAX))
            .rev()
            .collect();
        let mut all = Vec::with_capacity(rows.len());
        while let Some(span) = spans.pop() {
            let texts: Vec<Vec<Option<&str>>> = (0..self.columns)
                .map(|at| {
                    rows[span.clone()]
                        .iter()
                        .map(|row| row[at].as_deref())
                        .collect()
                })
                .collect();
            let parameters = texts
                .iter()
                .map(|texts| texts as &(dyn tokio_postgres::types::ToSql + Sync));
            let parameters: Vec<_> = parameters.collect();
            session
                .client
                .batch_execute("SAVEPOINT bekk_read")
                .await
                .map_err(failed)?;
            match session.client.query(&statement, &parameters).await {
                Ok(found) => {
                    all.extend(found.iter().map(|row| AsRead {
                        texts: (0..self.columns).map(|at| row.get(2 * at)).collect(),
                        alike: (0..self.columns).map(|at| row.get(2 * at + 1)).collect(),
                    }));
                    let release = "RELEASE SAVEPOINT bekk_read";
                    session
                        .client
                        .batch_execute(release)
                        .await
                        .map_err(failed)?;
                }
                Err(error) if error.as_db_error().is_none() => return Err(failed(error)),
                Err(_) => {
                    let undo = "ROLLBACK TO SAVEPOINT bekk_read; RELEASE SAVEPOINT bekk_read";
                    session.client.batch_execute(undo).await.map_err(failed)?;
                    if span.len() == 1 {
                        all.push(AsRead {
                            texts: vec![Some(UNREADABLE.to_owned()); self.columns],
                            alike: vec![Some(UNREADABLE.to_owned()); self.columns],
                        });
                    } else {
                        let middle = span.start + span.len() / 2;
                        spans.push(middle..span.end);
                        spans.push(span.start..middle);
                    }
                }
            }
        }
        Ok(all)
    }
}

/// What is asked for of a column: its text, and what equal values have in common, or null.
pub(super) async fn question(
    session: &Session,
    column: &ReadColumn,
    value: &str,
) -> Result<[String; 2], Error> {
    let text = format!("{value}::pg_catalog.text");
    if !column.is_loose {
        return Ok([text, "NULL::pg_catalog.text".to_owned()]);
    }
    let hash = |value: &str, seed: u8| {
        format!("pg_catalog.hash_array_extended(ARRAY[{value}], {seed})::pg_catalog.text")
    };
    // Not every type has a hash; of such a one, the texts are compared.
    let failed = |error: tokio_postgres::Error| Error::postgres("audit the table", &error);
    let client = &session.client;
    client
        .batch_execute("SAVEPOINT bekk_hash")
        .await
        .map_err(failed)?;
    let sample = format!("CAST(NULL AS {})", column.type_sql);
    let has_hash = client
        .batch_execute(&format!("SELECT {}", hash(&sample, 0)))
        .await
        .is_ok();
    client
        .batch_execute("ROLLBACK TO SAVEPOINT bekk_hash; RELEASE SAVEPOINT bekk_hash")
        .await
        .map_err(failed)?;
    let alike = match has_hash {
        true => format!("{} || {}", hash(value, 0), hash(value, 1)),
        false => text.clone(),
    };
    Ok([text, alike])
}

/// The texts that a row sends for the columns that the server reads.
pub(super) fn texts_of(columns: &Columns, fields: &[Option<&[u8]>]) -> Vec<Option<String>> {
    let texts = columns.read.iter().map(|read| {
        let bytes = fields.get(read.at).copied().flatten()?;
        let text = bytes.get(read.skip..).unwrap_or_default();
        Some(String::from_utf8_lossy(text).into_owned())
    });
    texts.collect()
}
