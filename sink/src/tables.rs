//! Tables beside a stream's own: shadows to replay into, and what tells two tables apart.

use bekk_stream::{Stream, TableName};
use tokio_postgres::Client;

use crate::catalog::Table;
use crate::command::with_session;
use crate::ddl::{quote, quote_table};
use crate::session::Session;
use crate::target::{compared, same_key};
use crate::trust::{self, Place};
use crate::{ConnectOptions, Error};

/// How many keys of each kind a [`Difference`] names.
const SAMPLES: i64 = 10;

/// In what two tables differ, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows that only the second table has.
    pub added: Differing,
    /// Rows that only the first table has.
    pub missing: Differing,
    /// Rows whose values differ in a column of the stream.
    pub changed: Differing,
}

/// Rows of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differing {
    /// How many.
    pub rows: u64,
    /// The first ten keys, their columns separated by commas.
    pub keys: Vec<String>,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.added.rows == 0 && self.missing.rows == 0 && self.changed.rows == 0
    }
}

/// A column of a table for which a stream is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingColumn {
    /// Its name.
    pub name: String,
    /// Its type as SQL writes it, such as `numeric(12,2)`.
    pub type_text: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether a row must give a value for it: it is not null, and has neither a default nor an identity.
    pub is_required: bool,
    /// Its place in the table's primary key, from 0
    pub key_at: Option<usize>,
}

/// Names of the columns of a table's primary key, in the key's order
const PRIMARY_KEY: &str = "SELECT a.attname::text
  FROM pg_catalog.pg_index i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, at)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indisprimary AND i.indrelid = $1::text::regclass AND k.at <= i.indnkeyatts
 ORDER BY k.at";

/// The columns of a table, without those that are computed; `None` if there is no such table.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn existing_columns(
    postgres: &ConnectOptions,
    table: &TableName,
) -> Result<Option<Vec<ExistingColumn>>, Error> {
    with_session(postgres, "bekk-tables", async |session| {
        let failed = |error| Error::postgres(format!("read the columns of {table}"), &error);
        let resolved = resolve_for_reading(session, table)
            .await
            .map_err(failed)??;
        let found = Table::find(&session.client, &quote_table(&resolved))
            .await
            .map_err(failed)?;
        let Some(found) = found else {
            return Ok(None);
        };
        let name = quote_table(&resolved);
        let rows = session.client.query(PRIMARY_KEY, &[&name]).await;
        let rows = rows.map_err(failed)?;
        let key: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let written = found.columns.into_iter().filter(|column| !column.generated);
        let columns = written.map(|column| ExistingColumn {
            key_at: key.iter().position(|name| *name == column.name),
            name: column.name,
            type_text: column.type_text,
            nullable: !column.not_null,
            is_required: column.not_null && !column.has_default,
        });
        Ok(Some(columns.collect()))
    })
}

/// Makes a table like another, with its defaults, constraints and indexes, if it does not exist and the
/// other does; says whether it did.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn create_like(
    postgres: &ConnectOptions,
    like: &TableName,
    table: &TableName,
) -> Result<bool, Error> {
    with_session(postgres, "bekk-tables", async |session| {
        let failed = |error: tokio_postgres::Error| {
            Error::postgres(format!("make table {table} like {like}"), &error)
        };
        let (path, client) = (&session.path, &session.client);
        let like = path.resolve(client, like).await.map_err(failed)?;
        let table = path.resolve(client, table).await.map_err(failed)?;
        let (like, table) = (quote_table(&like), quote_table(&table));
        let row = client
            .query_one(
                "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NULL",
                &[&like, &table],
            )
            .await
            .map_err(failed)?;
        let is_wanted = row.get(0);
        if is_wanted {
            let create = format!("CREATE TABLE {table} (LIKE {like} INCLUDING ALL)");
            client.batch_execute(&create).await.map_err(failed)?;
        }
        Ok(is_wanted)
    })
}

/// Compares two tables in the columns of a stream that has a key.
///
/// # Errors
/// If one of them does not exist or lacks a column, or the server cannot be reached or refuses.
pub fn diff_tables(
    postgres: &ConnectOptions,
    stream: &Stream,
    first: &TableName,
    second: &TableName,
) -> Result<Difference, Error> {
    with_session(postgres, "bekk-diff", async |session| {
        let client = &session.client;
        let failed = |error| Error::postgres(format!("compare {first} with {second}"), &error);
        let first = resolve_for_reading(session, first)
            .await
            .map_err(failed)??;
        let second = resolve_for_reading(session, second)
            .await
            .map_err(failed)??;
        // Both are seen as of one moment.
        client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(failed)?;
        let first_table = Table::find(client, &quote_table(&first))
            .await
            .map_err(failed)?;
        let Some(table) = first_table else {
            // The server's own words for it.
            let look = format!("SELECT FROM {}", quote_table(&first));
            client.batch_execute(&look).await.map_err(failed)?;
            return Ok(Difference::default());
        };
        let join = Join::new(stream, &table, &quote_table(&second));
        let mut difference = Difference::default();
        for (found, condition) in [
            (&mut difference.added, "a.bekk_there IS NULL"),
            (&mut difference.missing, "b.bekk_there IS NULL"),
            (&mut difference.changed, join.changed.as_str()),
        ] {
            *found = join.find(client, condition).await.map_err(failed)?;
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(difference)
    })
}

/// A table's name with its schema; an error if anybody may have prepared a view there, whose functions would run with
/// the rights of Bekk's role.
async fn resolve_for_reading(
    session: &Session,
    table: &TableName,
) -> Result<Result<TableName, Error>, tokio_postgres::Error> {
    let (client, path) = (&session.client, &session.path);
    let resolved = path.resolve(client, table).await?;
    let place = trust::place(client, path, &resolved, table.schema.is_some()).await?;
    Ok(match place {
        Place::Prepared(why) => Err(Error::PreparedTable(why)),
        _ => Ok(resolved),
    })
}

/// Two tables joined by a stream's key.
struct Join {
    from: String,
    key: String,
    changed: String,
}

impl Join {
    fn new(stream: &Stream, first: &Table, second: &str) -> Self {
        let side = |table: &str| format!("(SELECT *, true AS bekk_there FROM {table})");
        let on = same_key(first, &stream.key, "a", "b");
        let key: Vec<String> = stream
            .key
            .iter()
            .map(|key| format!("coalesce(a.{0}, b.{0})::text", quote(key)))
            .collect();
        let differs: Vec<String> = stream
            .columns
            .iter()
            .filter_map(|column| first.column(&column.name))
            .map(|column| {
                let (left, right) = (compared("a", column), compared("b", column));
                format!("{left} IS DISTINCT FROM {right}")
            })
            .collect();
        Self {
            from: format!(
                "{} a FULL JOIN {} b ON {}",
                side(&first.sql_name),
                side(second),
                on
            ),
            key: format!("concat_ws(',', {})", key.join(", ")),
            changed: format!(
                "a.bekk_there AND b.bekk_there AND ({})",
                differs.join(" OR ")
            ),
        }
    }

    async fn find(
        &self,
        client: &Client,
        condition: &str,
    ) -> Result<Differing, tokio_postgres::Error> {
        let Self { from, key, .. } = self;
        let count = format!("SELECT count(*) FROM {from} WHERE {condition}");
        let rows: i64 = client.query_one(&count, &[]).await?.get(0);
        let mut keys = Vec::new();
        if rows > 0 {
            let sample = format!("SELECT {key} FROM {from} WHERE {condition} LIMIT {SAMPLES}");
            let found = client.query(&sample, &[]).await?;
            keys = found.iter().map(|row| row.get(0)).collect();
            keys.sort_unstable();
        }
        Ok(Differing {
            rows: rows.cast_unsigned(),
            keys,
        })
    }
}
