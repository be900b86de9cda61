//! The trace: every version of a row, where it came from, and what became of it.

mod search;

use std::cmp::Ordering;

use bekk_log::Client as Log;
use bekk_stream::{OnConflict, Stream, Value, key_shown};

use self::search::{FoundRecord, RecordSearch, SEPARATOR, key_typed};
use crate::command::with_session;
use crate::ddl::quote;
use crate::identity;
use crate::meta_cache::MetaCache;
use crate::own_schema;
use crate::target::{StreamTarget, find_target, json_reader};
use crate::{ConnectOptions, Error};

/// What is traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A key: the text of its column, or a CSV line of several columns' texts.
    Key(String),
    /// A place in a file: a path, or the end of one, and a line.
    Line(String, u64),
    /// A record.
    Offset(u32, u64),
}

/// A record of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The partition.
    pub partition: u32,
    /// The record's offset.
    pub offset: u64,
    /// When it was appended, in ISO 8601.
    pub appended_at: String,
    /// The file that it came from.
    pub file: Option<String>,
    /// Its line there.
    pub line: u64,
    /// Its values as a CSV line, or its text in UTF-8 where it is no row.
    pub text: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is what the table's row must be.
    Row,
    /// It deletes the row.
    Deletion,
    /// Another record of its key took its place, at that offset of its partition, for that reason.
    Superseded {
        /// The offset of the record that won.
        by: u64,
        /// Why that one won.
        why: &'static str,
    },
    /// It is a dead letter.
    DeadLetter {
        /// The letter's number.
        id: i64,
        /// Why it is no row.
        reason: String,
        /// What was found.
        detail: String,
        /// What became of the letter, if it is not open.
        resolution: Option<String>,
    },
    /// It waits to be applied.
    Waiting,
    /// It is no row, and no letter of the group says so: the group has not met it.
    Unknown,
}

/// What is known of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The key; `None` if rows have none, or the record is no row.
    pub key: Option<String>,
    /// The records, in log order.
    pub versions: Vec<Version>,
    /// The table's row as JSON; `None` if there is none, or rows have no key.
    pub row: Option<String>,
}

/// Finds every record of a row.
///
/// # Errors
/// If the server or the log cannot be reached or refuses, the table does not exist, or the group fills another one.
pub fn trace(
    postgres: &ConnectOptions,
    log: &Log,
    group: &str,
    stream: &Stream,
    what: &What,
) -> Result<Trace, Error> {
    let mut reader = RecordSearch {
        log,
        stream,
        json: json_reader(stream)?,
        meta: MetaCache::default(),
    };
    let mut found = reader.find(what)?;
    let key = match what {
        What::Key(text) => {
            let Some(key) = key_typed(text, stream.key.len()) else {
                return Ok(Trace::default());
            };
            Some(key)
        }
        _ => found.iter().find_map(|found| found.key.clone()),
    };
    let has_key = stream.on_conflict != OnConflict::Append && !stream.key.is_empty();
    if has_key && let Some(key) = &key {
        found = reader.of_key(key)?;
    }
    with_session(postgres, "bekk-trace", async |session| {
        let client = &session.client;
        identity::refuse_other_table(session, group, stream).await?;
        let target = find_target(session, stream).await?;
        let mut trace = Trace {
            key: key.as_deref().map(key_shown),
            ..Trace::default()
        };
        let is_used = own_schema::has(session, "offsets", "read bekk.offsets").await?;
        let next = match is_used {
            true => next_offsets(client, group, stream).await?,
            false => Vec::new(),
        };
        let log_id = log.log_id().to_string();
        for found in &mut found {
            let at = next
                .iter()
                .find(|(partition, _)| *partition == found.version.partition);
            let is_waiting = at.is_none_or(|(_, next)| found.version.offset >= *next);
            let letter = match is_used {
                true => letter_at(client, (group, &stream.name), &log_id, found).await?,
                false => None,
            };
            found.version.fate = match (letter, found.is_row) {
                (Some(letter), _) => letter,
                (None, _) if is_waiting => Fate::Waiting,
                (None, true) if found.is_deletion => Fate::Deletion,
                (None, true) => Fate::Row,
                (None, false) => Fate::Unknown,
            };
        }
        if has_key {
            settle(stream, &mut found);
            trace.row = row_of(client, &target, key.as_deref()).await?;
        }
        trace.versions = found.into_iter().map(|found| found.version).collect();
        Ok(trace)
    })
}

/// The order of two records' versions: those without one first, then null.
fn version_order(left: Option<&Value<'_>>, right: Option<&Value<'_>>) -> Option<Ordering> {
    let has_value = |version: &Option<&Value<'_>>| version.is_some_and(|value| !value.is_null());
    match (left, right) {
        (Some(left), Some(right)) if !left.is_null() && !right.is_null() => left.compare(right),
        _ => (has_value(&left), left.is_some()).partial_cmp(&(has_value(&right), right.is_some())),
    }
}

/// Says of all but the winner that it was superseded.
fn settle(stream: &Stream, found: &mut [FoundRecord]) {
    let is_accepted = |fate: &Fate| matches!(fate, Fate::Row | Fate::Deletion);
    let is_row = |found: &&FoundRecord| is_accepted(&found.version.fate);
    let (winner, why) = match (&stream.newer_by, stream.on_conflict) {
        (Some(_), _) => {
            let mut winner: Option<&FoundRecord> = None;
            for one in found.iter().filter(is_row) {
                let is_newer = winner.is_none_or(|old| {
                    version_order(one.newer_by.as_ref(), old.newer_by.as_ref())
                        .is_none_or(Ordering::is_ge)
                });
                if is_newer {
                    winner = Some(one);
                }
            }
            (winner, "its version is greater, or equal and it came later")
        }
        (None, OnConflict::Ignore) => (
            found.iter().find(is_row),
            "it came first, and the first stays",
        ),
        (None, _) => (found.iter().rfind(is_row), "it came later"),
    };
    let Some(winner) = winner.map(|one| (one.version.partition, one.version.offset)) else {
        return;
    };
    for one in found {
        let is_winner = (one.version.partition, one.version.offset) == winner;
        if is_accepted(&one.version.fate) && !is_winner {
            one.version.fate = Fate::Superseded { by: winner.1, why };
        }
    }
}

async fn next_offsets(
    client: &tokio_postgres::Client,
    group: &str,
    stream: &Stream,
) -> Result<Vec<(u32, u64)>, Error> {
    let failed = |error| Error::postgres("read bekk.offsets", &error);
    let rows = client
        .query(
            "SELECT partition, next FROM bekk.offsets WHERE group_name = $1 AND topic = $2",
            &[&group, &stream.name],
        )
        .await
        .map_err(failed)?;
    let next = rows.iter().map(|row| {
        let next: i64 = row.get(1);
        (row.get::<_, i32>(0).cast_unsigned(), next.cast_unsigned())
    });
    Ok(next.collect())
}

async fn letter_at(
    client: &tokio_postgres::Client,
    (group, topic): (&str, &str),
    log_id: &str,
    found: &FoundRecord,
) -> Result<Option<Fate>, Error> {
    let failed = |error| Error::postgres("read dead letters", &error);
    let (partition, offset) = (
        found.version.partition.cast_signed(),
        found.version.offset.cast_signed(),
    );
    let row = client
        .query_opt(
            "SELECT id, reason, coalesce(detail, ''), resolution FROM bekk.dead_letters
              WHERE group_name = $1 AND topic = $6 AND partition = $2 AND log_offset = $3
                AND log_id = $4::text::uuid
                AND (resolution IS NULL OR resolution IN ('discarded', 'superseded') OR $5)",
            &[&group, &partition, &offset, &log_id, &!found.is_row, &topic],
        )
        .await
        .map_err(failed)?;
    Ok(row.map(|row| Fate::DeadLetter {
        id: row.get(0),
        reason: row.get(1),
        detail: row.get(2),
        resolution: row.get(3),
    }))
}

/// The table's row of a key, as JSON.
async fn row_of(
    client: &tokio_postgres::Client,
    target: &StreamTarget,
    key: Option<&[u8]>,
) -> Result<Option<String>, Error> {
    let Some(key) = key else {
        return Ok(None);
    };
    let key = String::from_utf8_lossy(key);
    let parts: Vec<&str> = key.split(SEPARATOR).collect();
    if parts.len() != target.stream.key.len() {
        return Ok(None);
    }
    let same: Vec<String> = target
        .stream
        .key
        .iter()
        .enumerate()
        .filter_map(|(at, name)| {
            let column = target.table.column(name)?;
            Some(format!(
                "t.{} = ($1::text[])[{}]::{}",
                quote(name),
                at + 1,
                column.type_text
            ))
        })
        .collect();
    let sql = format!(
        "SELECT to_jsonb(t)::text FROM {} t WHERE {}",
        target.table.sql_name,
        same.join(" AND ")
    );
    let row = client.query_opt(&sql, &[&parts]).await.map_err(|error| {
        Error::postgres(format!("read table `{}`", target.table.full_name), &error)
    })?;
    Ok(row.map(|row| row.get(0)))
}
