//! The trace: every version of a row, where it came from, and what became of it.

use std::cmp::Ordering;
use std::sync::Arc;

use bekk_log::{Client as Log, Offset, Record};
use bekk_stream::{
    Body, JsonReader, OnConflict, Origin, Payload, Schema, SchemaId, Stream, Value, split_prefix,
};

use crate::ddl::quote;
use crate::meta_cache::{Lookup, MetaCache};
use crate::render;
use crate::session::with_session;
use crate::taken::{TakenBody, take};
use crate::target::{StreamTarget, find_target, json_reader};
use crate::{ConnectOptions, Error};

/// How much is read from the log at a time, in compressed bytes.
const READ_BYTES_MAX: usize = 512 * 1024;
/// How many versions are shown, the newest ones.
const VERSIONS_MAX: usize = 10_000;

/// Separator of the columns of a record's key.
const SEPARATOR: char = '\u{1f}';

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
    /// Its values as a CSV line, or its bytes where it is no row.
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
/// If the server or the log cannot be reached or refuses, or the table does not exist.
pub fn trace(
    postgres: &ConnectOptions,
    log: &Log,
    group: &str,
    stream: &Stream,
    what: &What,
) -> Result<Trace, Error> {
    let mut reader = Reader {
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
        let target = find_target(session, stream).await?;
        let mut trace = Trace {
            key: key.as_deref().map(key_shown),
            ..Trace::default()
        };
        let next = next_offsets(client, group, stream).await?;
        for found in &mut found {
            let at = next
                .iter()
                .find(|(partition, _)| *partition == found.version.partition);
            let is_waiting = at.is_none_or(|(_, next)| found.version.offset >= *next);
            let letter = letter_at(client, group, &log.log_id().to_string(), found).await?;
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

/// A record that was found.
struct Found {
    version: Version,
    key: Option<Vec<u8>>,
    /// Whether it is a row, or deletes one.
    is_row: bool,
    is_deletion: bool,
    /// The value of the column that `newer_by` names.
    newer_by: Option<Value<'static>>,
}

struct Reader<'a> {
    log: &'a Log,
    stream: &'a Stream,
    json: Option<JsonReader>,
    meta: MetaCache,
}

impl Reader<'_> {
    fn find(&mut self, what: &What) -> Result<Vec<Found>, Error> {
        match what {
            // The whole topic is read for the key afterwards.
            What::Key(text) => {
                let key = text.replace(',', "\u{1f}").into_bytes();
                self.of_key(&key)
            }
            What::Line(path, line) => {
                let path = path.clone();
                self.scan(move |meta, record, log| {
                    let Ok(payload) = Payload::decode(record.value) else {
                        return false;
                    };
                    payload.origin.line == *line
                        && meta
                            .file(log, payload.origin.file)
                            .ok()
                            .flatten()
                            .is_some_and(|found| is_path(&found, &path))
                })
            }
            What::Offset(partition, offset) => {
                let (partition, offset) = (*partition, *offset);
                let records = self.read(partition, offset)?;
                let record = records.iter().next();
                let record = record.filter(|record| record.offset.get() == offset);
                record
                    .map(|record| self.found(partition, &record))
                    .into_iter()
                    .collect()
            }
        }
    }

    fn of_key(&mut self, key: &[u8]) -> Result<Vec<Found>, Error> {
        let json = self.json.clone();
        self.scan(|_, record, _| {
            take(json.as_ref(), record).is_ok_and(|taken| taken.key.as_deref() == Some(key))
        })
    }

    /// The records of the topic for which something holds, the last ones if there are very many.
    fn scan(
        &mut self,
        mut holds: impl FnMut(&mut MetaCache, &Record<'_>, &Log) -> bool,
    ) -> Result<Vec<Found>, Error> {
        let topic = &self.stream.name;
        let failed = |error| Error::log(format!("read topic `{topic}`"), error);
        let mut all = Vec::new();
        for ends in self.log.partition_ends(topic).map_err(failed)? {
            let mut at = ends.start.get();
            while at < ends.end.get() {
                let records = self.read(ends.partition, at)?;
                for record in records.iter() {
                    if holds(&mut self.meta, &record, self.log) {
                        all.push(self.found(ends.partition, &record)?);
                    }
                }
                if records.next_offset().get() <= at {
                    break;
                }
                at = records.next_offset().get();
            }
            let surplus = all.len().saturating_sub(VERSIONS_MAX);
            all.drain(..surplus);
        }
        Ok(all)
    }

    fn read(&self, partition: u32, from: u64) -> Result<bekk_log::Records, Error> {
        let topic = &self.stream.name;
        self.log
            .read(topic, partition, Offset::new(from), READ_BYTES_MAX)
            .map_err(|error| Error::log(format!("read {topic}/{partition} from {from} on"), error))
    }

    fn found(&mut self, partition: u32, record: &Record<'_>) -> Result<Found, Error> {
        let mut found = Found {
            version: Version {
                partition,
                offset: record.offset.get(),
                appended_at: render::time_text(record.timestamp_ms),
                file: None,
                line: 0,
                text: String::new(),
                fate: Fate::Unknown,
            },
            key: record.key.map(<[u8]>::to_vec),
            is_row: false,
            is_deletion: false,
            newer_by: None,
        };
        found.version.text = text_of(record);
        let Ok(taken) = take(self.json.as_ref(), record) else {
            return Ok(found);
        };
        let payload = match &taken.body {
            TakenBody::Payload(payload) => payload,
            TakenBody::Deletion(_) => {
                found.key = taken.key.as_deref().map(<[u8]>::to_vec);
                (found.is_row, found.is_deletion) = (true, true);
                "a record without a value".clone_into(&mut found.version.text);
                return Ok(found);
            }
        };
        let Ok(payload) = Payload::decode(payload) else {
            return Ok(found);
        };
        found.key = taken.key.as_deref().map(<[u8]>::to_vec);
        let is_elsewhere = payload.origin == Origin::ELSEWHERE;
        if !is_elsewhere {
            found.version.file = self.meta.file(self.log, payload.origin.file)?;
        }
        found.version.line = payload.origin.line;
        match &payload.body {
            Body::Row(row) => {
                found.is_row = true;
                found.version.text = match is_elsewhere {
                    true => text_of(record),
                    false => render::csv_line(row.clone()).unwrap_or_default(),
                };
                if let Some(name) = &self.stream.newer_by
                    && let Some(schema) = self.schema(payload.schema)?
                {
                    let at = schema
                        .columns
                        .iter()
                        .position(|column| column.name == *name);
                    let value = at.and_then(|at| row.clone().nth(at)).and_then(Result::ok);
                    let column = self
                        .stream
                        .columns
                        .iter()
                        .find(|column| column.name == *name);
                    let value = value
                        .zip(column)
                        .map(|(value, column)| value.widened(&column.column_type));
                    found.newer_by = Some(value.map_or(Value::Null, Value::into_owned));
                }
            }
            Body::Reject(reject) => {
                found.version.text = String::from_utf8_lossy(&reject.raw).into_owned();
            }
        }
        Ok(found)
    }
}

impl Reader<'_> {
    /// A schema of the log, or the stream's own, which other producers' records are of.
    fn schema(&mut self, id: SchemaId) -> Result<Option<Arc<Schema>>, Error> {
        if let Lookup::Found(schema) = self.meta.schema(self.log, id)? {
            return Ok(Some(schema));
        }
        let own = self.stream.schema();
        Ok((own.id() == id).then(|| Arc::new(own)))
    }
}

/// The text of another producer's record, without the prefix of Confluent's serializers.
fn text_of(record: &Record<'_>) -> String {
    String::from_utf8_lossy(split_prefix(record.value).1).into_owned()
}

/// A record's key from what was typed: for one column all of it, for several a CSV line of their texts; `None` if those
/// are not as many.
fn key_typed(text: &str, columns: usize) -> Option<Vec<u8>> {
    if columns <= 1 {
        return Some(text.as_bytes().to_vec());
    }
    let (mut key, mut parts, mut is_quoted) = (String::new(), 1, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                key.push('"');
            }
            '"' if is_quoted || key.is_empty() || key.ends_with(SEPARATOR) => {
                is_quoted = !is_quoted
            }
            ',' if !is_quoted => {
                key.push(SEPARATOR);
                parts += 1;
            }
            other => key.push(other),
        }
    }
    (parts == columns && !is_quoted).then(|| key.into_bytes())
}

/// A record's key as it is typed.
fn key_shown(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    if !key.contains(SEPARATOR) {
        return key.into_owned();
    }
    let parts = key
        .split(SEPARATOR)
        .map(|part| match part.contains([',', '"']) {
            true => format!("\"{}\"", part.replace('"', "\"\"")),
            false => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join(",")
}

/// Whether a path is the one that was typed, or ends with it.
fn is_path(found: &str, typed: &str) -> bool {
    found == typed
        || found
            .strip_suffix(typed.trim_start_matches("./"))
            .is_some_and(|front| front.is_empty() || front.ends_with('/'))
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
fn settle(stream: &Stream, found: &mut [Found]) {
    let is_accepted = |fate: &Fate| matches!(fate, Fate::Row | Fate::Deletion);
    let is_row = |found: &&Found| is_accepted(&found.version.fate);
    let (winner, why) = match (&stream.newer_by, stream.on_conflict) {
        (Some(_), _) => {
            let mut winner: Option<&Found> = None;
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
    group: &str,
    log_id: &str,
    found: &Found,
) -> Result<Option<Fate>, Error> {
    let failed = |error| Error::postgres("read dead letters", &error);
    let (partition, offset) = (
        found.version.partition.cast_signed(),
        found.version.offset.cast_signed(),
    );
    let row = client
        .query_opt(
            "SELECT id, reason, coalesce(detail, ''), resolution FROM bekk.dead_letters
              WHERE group_name = $1 AND partition = $2 AND log_offset = $3 AND log_id = $4::text::uuid
                AND (resolution IS NULL OR resolution IN ('discarded', 'superseded') OR $5)",
            &[&group, &partition, &offset, &log_id, &!found.is_row],
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

#[cfg(test)]
mod tests {
    use super::{is_path, key_shown, key_typed};

    #[test]
    fn a_key_of_several_columns_is_typed_as_a_line() {
        let check = |typed: &str, columns, expected: Option<&str>| {
            let key = key_typed(typed, columns);
            let expected = expected.map(|key| key.replace('|', "\u{1f}").into_bytes());
            assert_eq!(key, expected, "{typed}");
            if let Some(key) = key {
                assert_eq!(key_shown(&key), typed);
            }
        };
        check("a,b", 1, Some("a,b"));
        check("\"a\"", 1, Some("\"a\""));
        check("a,b", 2, Some("a|b"));
        check("\"a,b\",2", 2, Some("a,b|2"));
        check("\"5\"\" disk\",", 2, Some("5\" disk|"));
        check("a,b", 3, None);
        check("\"a,b", 2, None);
    }

    #[test]
    fn a_file_is_named_by_the_end_of_its_path() {
        assert!(is_path("/srv/data/a.csv", "/srv/data/a.csv"));
        assert!(is_path("/srv/data/a.csv", "data/a.csv"));
        assert!(is_path("/srv/data/a.csv", "./a.csv"));
        assert!(!is_path("/srv/data/aa.csv", "a.csv"));
    }
}
