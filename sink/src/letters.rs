//! The dead letters, for tools: reading them and setting them aside.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::command::{be_impatient, with_session};
use crate::migrations::{SETUP_LOCK, migrate, schema_version};
use crate::own_schema::{self, require_whole};
use crate::session::Session;
use crate::{ConnectOptions, Error};

/// A dead letter as `bekk.dead_letters` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// The group that met it.
    pub group: String,
    /// The stream.
    pub stream: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The record's offset.
    pub offset: u64,
    /// The log that the offset counts in.
    pub log_id: String,
    /// The file that the record came from.
    pub file: Option<String>,
    /// Its first line there, from 1.
    pub line: Option<u64>,
    /// Where it begins there, in bytes.
    pub byte_offset: Option<u64>,
    /// Why it is no row.
    pub reason: String,
    /// The column at fault.
    pub column: Option<String>,
    /// The server's code, where the server refused it.
    pub sqlstate: Option<String>,
    /// What was found, for a person.
    pub detail: Option<String>,
    /// The record: a reject as it stands in its file, else the row as a CSV line.
    pub raw: Vec<u8>,
    /// When it was met, in ISO 8601.
    pub created_at: String,
    /// When it was resolved, in ISO 8601; `None` while it is open.
    pub resolved_at: Option<String>,
    /// What became of it: `retried`, `superseded`, `replayed` or `discarded`.
    pub resolution: Option<String>,
}

/// Which dead letters; what is `None` is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Only these numbers.
    pub ids: Option<Vec<i64>>,
    /// Only of this group.
    pub group: Option<String>,
    /// Only of this reason.
    pub reason: Option<String>,
    /// Only of this stream.
    pub stream: Option<String>,
    /// Only those met since then: milliseconds since 1970-01-01 UTC.
    pub since_ms: Option<i64>,
    /// Resolved ones, too.
    pub resolved: bool,
}

/// How many dead letters a group has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterCount {
    /// The group.
    pub group: String,
    /// The stream.
    pub stream: String,
    /// Why they are no rows.
    pub reason: String,
    /// How many are open.
    pub open: u64,
}

const COLUMNS: &str = "\
    id, group_name, stream, topic, partition, log_offset, log_id::text, file, line, byte_offset, reason,
    column_name, sqlstate, detail, coalesce(raw, ''),
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), ";

/// The act of reading, in messages
const READ: &str = "read dead letters";
/// Version of the schema from which on the table has the column `resolution`
const RESOLUTIONS: i32 = 2;

/// The filter's condition, with its parameters from the first on.
const CONDITION: &str = "\
    ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR reason = $2)
    AND ($3::text IS NULL OR stream = $3)
    AND ($4::bigint IS NULL OR created_at >= to_timestamp($4::float8 / 1000))
    AND ($5::boolean OR resolved_at IS NULL) AND ($6::text IS NULL OR group_name = $6)";

impl LetterFilter {
    fn parameters(&self) -> [&(dyn ToSql + Sync); 6] {
        [
            &self.ids,
            &self.reason,
            &self.stream,
            &self.since_ms,
            &self.resolved,
            &self.group,
        ]
    }
}

/// The dead letters with a number above `after`, by number, at most `limit` of them.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn read_letters(
    postgres: &ConnectOptions,
    filter: &LetterFilter,
    after: i64,
    limit: u32,
) -> Result<Vec<Letter>, Error> {
    with_letters(postgres, async |client, columns| {
        let limit = i64::from(limit);
        let mut parameters = filter.parameters().to_vec();
        parameters.extend([&after as &(dyn ToSql + Sync), &limit]);
        let query = format!(
            "SELECT {columns} FROM bekk.dead_letters WHERE {CONDITION} AND id > $7 ORDER BY id LIMIT $8"
        );
        let rows = client.query(&query, &parameters).await?;
        Ok(rows.iter().map(letter).collect())
    })
}

/// The dead letters with a number below `before`, the newest first, at most `limit` of them.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn latest_letters(
    postgres: &ConnectOptions,
    filter: &LetterFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Letter>, Error> {
    with_letters(postgres, async |client, columns| {
        let (limit, before) = (i64::from(limit), before.unwrap_or(i64::MAX));
        let mut parameters = filter.parameters().to_vec();
        parameters.extend([&before as &(dyn ToSql + Sync), &limit]);
        let query = format!(
            "SELECT {columns} FROM bekk.dead_letters WHERE {CONDITION} AND id < $7 ORDER BY id DESC LIMIT $8"
        );
        let rows = client.query(&query, &parameters).await?;
        Ok(rows.iter().map(letter).collect())
    })
}

/// What the filters of dead letters may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterNames {
    /// Groups that met dead letters.
    pub groups: Vec<String>,
    /// Streams that dead letters belong to.
    pub streams: Vec<String>,
    /// Reasons of dead letters.
    pub reasons: Vec<String>,
}

/// Returns the names that dead letters have, resolved ones included.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn letter_names(postgres: &ConnectOptions) -> Result<LetterNames, Error> {
    with_letters(postgres, async |client, _| {
        let query = "SELECT array(SELECT DISTINCT group_name FROM bekk.dead_letters),
                            array(SELECT DISTINCT stream FROM bekk.dead_letters),
                            array(SELECT DISTINCT reason FROM bekk.dead_letters)";
        let row = client.query_one(query, &[]).await?;
        Ok(LetterNames {
            groups: row.get(0),
            streams: row.get(1),
            reasons: row.get(2),
        })
    })
}

/// How many open dead letters there are of each group, stream and reason.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn count_letters(postgres: &ConnectOptions) -> Result<Vec<LetterCount>, Error> {
    with_letters(postgres, async |client, _| {
        let query = "SELECT group_name, stream, reason, count(*) FROM bekk.dead_letters
                      WHERE resolved_at IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
        let rows = client.query(query, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| LetterCount {
                group: row.get(0),
                stream: row.get(1),
                reason: row.get(2),
                open: unsigned(row.get(3)),
            })
            .collect())
    })
}

/// Sets open dead letters aside: they stay, marked as discarded. Returns how many.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn discard_letters(postgres: &ConnectOptions, filter: &LetterFilter) -> Result<u64, Error> {
    with_session(postgres, "bekk-letters", async |session| {
        if !own_schema::has(session, "dead_letters", READ).await? {
            return Ok(0);
        }
        bring_up_to_date(session).await?;
        let client = &session.client;
        let update = format!(
            "UPDATE bekk.dead_letters SET resolved_at = clock_timestamp(), resolution = 'discarded'
              WHERE resolved_at IS NULL AND {CONDITION}"
        );
        let count = client.execute(&update, &filter.parameters()).await;
        count.map_err(|error| Error::postgres("discard dead letters", &error))
    })
}

/// Reads the letters' table with `work`, which also gets the columns of a letter; the default if no sink has run yet. A
/// schema of an earlier version stays as it is.
fn with_letters<T: Default>(
    postgres: &ConnectOptions,
    work: impl AsyncFnOnce(&Client, &str) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Error> {
    with_session(postgres, "bekk-letters", async |session| {
        let client = &session.client;
        let impatient = be_impatient(client).await;
        impatient.map_err(|error| Error::postgres(READ, &error))?;
        if !own_schema::has(session, "dead_letters", READ).await? {
            return Ok(T::default());
        }
        let version = match schema_version(session).await {
            Ok(version) => version,
            Err(error) => {
                require_whole(session, READ).await?;
                return Err(error.into_error(READ));
            }
        };
        let resolution = match version >= RESOLUTIONS {
            true => "resolution",
            false => "NULL::text",
        };
        let columns = format!("{COLUMNS}{resolution}");
        let found = work(client, &columns).await;
        found.map_err(|error| Error::postgres(READ, &error))
    })
}

/// Applies what migrations are missing, in a transaction of their own.
pub(crate) async fn bring_up_to_date(session: &Session) -> Result<(), Error> {
    let client = &session.client;
    const ACT: &str = "bring schema `bekk` up to date";
    let failed = |error: tokio_postgres::Error| Error::postgres(ACT, &error);
    client.batch_execute("BEGIN").await.map_err(failed)?;
    client.batch_execute(SETUP_LOCK).await.map_err(failed)?;
    require_whole(session, ACT).await?;
    migrate(session)
        .await
        .map_err(|error| error.into_error(ACT))?;
    client.batch_execute("COMMIT").await.map_err(failed)
}

fn letter(row: &Row) -> Letter {
    let number = |at: usize| row.get::<_, Option<i64>>(at).map(unsigned);
    Letter {
        id: row.get(0),
        group: row.get(1),
        stream: row.get(2),
        topic: row.get(3),
        partition: row.get::<_, i32>(4).cast_unsigned(),
        offset: unsigned(row.get(5)),
        log_id: row.get(6),
        file: row.get(7),
        line: number(8),
        byte_offset: number(9),
        reason: row.get(10),
        column: row.get(11),
        sqlstate: row.get(12),
        detail: row.get(13),
        raw: row.get(14),
        created_at: row.get(15),
        resolved_at: row.get(16),
        resolution: row.get(17),
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
