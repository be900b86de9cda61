//! Records that are no rows, and how they are written down.

use std::ops::Range;

use bekk_log::Record;
use bekk_stream::{Body, JsonFault, Payload};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::session::Encoding;
use crate::target::Unfit;
use crate::{PostgresError, render};

/// The most raw bytes that a dead letter keeps of a record that is no payload, or that the table refused.
const RAW_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of a key that a dead letter's detail shows.
const KEY_SHOWN_MAX: usize = 200;
/// The most dead letters, and raw bytes, that one statement writes.
const STATEMENT_ROWS_MAX: usize = 1_000;
const STATEMENT_BYTES_MAX: usize = 4 << 20;

/// A record that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) offset: u64,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u64>,
    pub(crate) byte_offset: Option<u64>,
    pub(crate) reason: String,
    pub(crate) column: Option<String>,
    pub(crate) sqlstate: Option<String>,
    pub(crate) detail: String,
    pub(crate) raw: Vec<u8>,
}

impl DeadLetter {
    /// A record that is no payload of bekk.
    pub(crate) fn no_payload(offset: u64, value: &[u8], detail: String) -> Self {
        Self {
            offset,
            file: None,
            line: None,
            byte_offset: None,
            reason: "no_payload".to_owned(),
            column: None,
            sqlstate: None,
            detail,
            raw: value[..value.len().min(RAW_BYTES_MAX)].to_vec(),
        }
    }

    /// Another producer's record that is no row.
    pub(crate) fn no_row(record: &Record<'_>, fault: JsonFault) -> Self {
        let mut why = Unfit {
            reason: fault.reason,
            column: fault.column,
            detail: fault.detail,
        };
        if let Some(key) = record.key.filter(|_| record.is_null) {
            why.detail.push_str("; its key is ");
            why.detail.push_str(&key_quoted(key));
        }
        Self::of_other_producer(record.offset.get(), record.value, why)
    }

    /// A record that deletes the row of a key. `why` says why it cannot, and is empty if the server says so.
    pub(crate) fn of_deletion(offset: u64, key: &[u8], why: Unfit) -> Self {
        let key = key_quoted(bekk_stream::key_shown(key).as_bytes());
        let deletes = format!("the record deletes the row of key {key}");
        let detail = match why.detail.is_empty() {
            true => deletes,
            false => format!("{}; {deletes}", why.detail),
        };
        Self::of_other_producer(offset, &[], Unfit { detail, ..why })
    }

    /// Another producer's record, with its own text.
    pub(crate) fn of_other_producer(offset: u64, value: &[u8], why: Unfit) -> Self {
        Self {
            reason: why.reason.to_owned(),
            column: why.column,
            ..Self::no_payload(offset, value, why.detail)
        }
    }

    /// A record that is a payload: a reject with its own reason, or a row, with the reason `why` the table cannot take it.
    pub(crate) fn of_payload(
        offset: u64,
        file: Option<String>,
        payload: &Payload<'_>,
        why: Unfit,
    ) -> Self {
        let mut letter = Self {
            offset,
            // Without its path the file's id still tells which records came from the same one.
            file: file.or_else(|| Some(payload.origin.file.to_string())),
            line: Some(payload.origin.line),
            byte_offset: Some(payload.origin.start),
            reason: why.reason.to_owned(),
            column: why.column,
            sqlstate: None,
            detail: why.detail,
            raw: Vec::new(),
        };
        match &payload.body {
            Body::Reject(reject) => {
                letter.reason = reject.reason.to_string();
                letter.column = reject.column.as_deref().map(str::to_owned);
                letter.detail = reject.detail.clone().into_owned();
                if let Some(hash) = reject.hash {
                    let length = reject.length;
                    letter.detail.push_str(&format!(
                        "; the first {} bytes of {length}, xxh3 {hash:032x}",
                        reject.raw.len()
                    ));
                }
                letter.raw = reject.raw.clone().into_owned();
            }
            Body::Row(row) => {
                let line = render::csv_line(row.clone()).unwrap_or_default();
                letter.raw = line.into_bytes();
                letter.raw.truncate(RAW_BYTES_MAX);
            }
        }
        letter
    }

    /// The same record, refused by the server.
    pub(crate) fn refused(mut self, cause: &PostgresError) -> Self {
        self.reason = "refused".to_owned();
        self.column.clone_from(&cause.column);
        self.sqlstate.clone_from(&cause.sqlstate);
        let details = [cause.detail.clone(), Some(std::mem::take(&mut self.detail))];
        self.detail.clone_from(&cause.message);
        for detail in details.iter().flatten().filter(|text| !text.is_empty()) {
            self.detail.push_str("; ");
            self.detail.push_str(detail);
        }
        self
    }

    /// The same record, taken by the server and left out by a trigger.
    pub(crate) fn not_stored(self, cause: &PostgresError) -> Self {
        Self {
            reason: "not_stored".to_owned(),
            ..self.refused(cause)
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        256 + self.detail.len() + self.raw.len()
    }
}

/// A key for people: characters that cannot be printed are escaped, and a long key is cut.
fn key_quoted(key: &[u8]) -> String {
    let shown = &key[..key.len().min(KEY_SHOWN_MAX)];
    let rest = if shown.len() < key.len() { "…" } else { "" };
    format!("`{}{rest}`", String::from_utf8_lossy(shown).escape_debug())
}

/// Which group met the dead letters, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) group: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) log_id: &'a str,
}

/// A replay finds the dead letter of a record that it meets again, and only brings it up to date. One that
/// had become a row, by retrying or by an earlier replay, is open again: the row may be gone, because an older
/// record of its key may have been written over it. Its text stays: a person may have corrected it.
const INSERT: &str = "\
    INSERT INTO bekk.dead_letters (group_name, stream, topic, partition, log_id, log_offset, file, line,
           byte_offset, reason, column_name, sqlstate, detail, raw)
    SELECT $1, $2, $3, $4, $5::text::uuid, letter.*
      FROM unnest($6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::text[], $11::text[],
                  $12::text[], $13::text[], $14::bytea[]) AS letter
        ON CONFLICT (group_name, topic, partition, log_offset, log_id) DO UPDATE
       SET reason = EXCLUDED.reason, column_name = EXCLUDED.column_name, sqlstate = EXCLUDED.sqlstate,
           detail = EXCLUDED.detail,
           resolved_at = CASE WHEN dead_letters.resolution IN ('retried', 'replayed') THEN NULL
                              ELSE dead_letters.resolved_at END,
           resolution = nullif(nullif(dead_letters.resolution, 'retried'), 'replayed'), record_key = NULL,
           met_again_at = clock_timestamp()";

/// Resolves the open letters of records that a batch has passed and that are no dead letters now.
const RESOLVE_PASSED: &str = "\
    UPDATE bekk.dead_letters SET resolved_at = clock_timestamp(), resolution = 'replayed'
     WHERE group_name = $1 AND topic = $2 AND partition = $3 AND log_id = $4::text::uuid
       AND log_offset >= $5 AND log_offset < $6 AND log_offset <> ALL ($7) AND resolved_at IS NULL";

/// One behind the last open letter of a partition from an offset on; 0 if absent. Only a group that
/// was set back has any.
const OPEN_END: &str = "\
    SELECT coalesce(max(log_offset) + 1, 0) FROM bekk.dead_letters
     WHERE group_name = $1 AND topic = $2 AND partition = $3 AND log_id = $4::text::uuid
       AND log_offset >= $5 AND resolved_at IS NULL";

/// Where the open letters end that a group will pass again.
pub(crate) async fn open_end(
    client: &Client,
    place: Place<'_>,
    next: i64,
) -> Result<u64, tokio_postgres::Error> {
    let parameters: [&(dyn ToSql + Sync); 5] = [
        &place.group,
        &place.topic,
        &place.partition,
        &place.log_id,
        &next,
    ];
    let row = client.query_one(OPEN_END, &parameters).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// Resolves the letters of records that have become rows, in the transaction that the caller has begun.
pub(crate) async fn resolve_passed(
    client: &Client,
    place: Place<'_>,
    passed: Range<u64>,
    again: &[&DeadLetter],
) -> Result<(), tokio_postgres::Error> {
    let (from, next) = (passed.start.cast_signed(), passed.end.cast_signed());
    let again: Vec<i64> = again
        .iter()
        .map(|letter| letter.offset.cast_signed())
        .collect();
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &place.group,
        &place.topic,
        &place.partition,
        &place.log_id,
        &from,
        &next,
        &again,
    ];
    client.execute(RESOLVE_PASSED, &parameters).await?;
    Ok(())
}

/// Writes dead letters down, in the transaction that the caller has begun. Returns how many the table has taken: a trigger
/// may leave some out.
pub(crate) async fn insert(
    client: &Client,
    encoding: Encoding,
    place: Place<'_>,
    letters: &[&DeadLetter],
) -> Result<u64, tokio_postgres::Error> {
    let (mut rest, mut taken) = (letters, 0);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest
            .iter()
            .take(STATEMENT_ROWS_MAX)
            .take_while(|letter| {
                bytes += letter.size();
                bytes <= STATEMENT_BYTES_MAX
            })
            .count();
        let (now, later) = rest.split_at(fitting.max(1));
        taken += insert_some(client, encoding, place, now).await?;
        rest = later;
    }
    Ok(taken)
}

async fn insert_some<'a>(
    client: &Client,
    encoding: Encoding,
    place: Place<'_>,
    letters: &[&'a DeadLetter],
) -> Result<u64, tokio_postgres::Error> {
    fn column<'a, T>(letters: &[&'a DeadLetter], get: impl Fn(&'a DeadLetter) -> T) -> Vec<T> {
        letters.iter().map(|letter| get(letter)).collect()
    }
    // PostgreSQL's text holds no NUL, the database's encoding may lack characters, and names of files and server
    // messages are not ours.
    let text = |text: &'a str| encoding.storable(text);
    let number = |number: u64| number.cast_signed();
    let offsets = column(letters, |letter| number(letter.offset));
    let files = column(letters, |letter| letter.file.as_deref().map(text));
    let lines = column(letters, |letter| letter.line.map(number));
    let starts = column(letters, |letter| letter.byte_offset.map(number));
    let reasons = column(letters, |letter| text(&letter.reason));
    let columns = column(letters, |letter| letter.column.as_deref().map(text));
    let sqlstates = column(letters, |letter| letter.sqlstate.as_deref());
    let details = column(letters, |letter| text(&letter.detail));
    let raws = column(letters, |letter| letter.raw.as_slice());
    let parameters: [&(dyn ToSql + Sync); 14] = [
        &place.group,
        &place.stream,
        &place.topic,
        &place.partition,
        &place.log_id,
        &offsets,
        &files,
        &lines,
        &starts,
        &reasons,
        &columns,
        &sqlstates,
        &details,
        &raws,
    ];
    client.execute(INSERT, &parameters).await
}
