//! A dead letter tried again: what it is now becomes a row, unless a newer record of its key exists.
//!
//! **Invariant:** the row and the letter's resolution are one transaction. It holds the offsets row of the
//! partition that the key belongs to, so that no sink applies a record of that key meanwhile: those before
//! are in the log and are looked for, those after come later and win.

use std::sync::{Arc, Mutex, PoisonError};

use bekk_log::{Client, Offset, Record};
use bekk_stream::{Body, FileId, OnConflict, Origin, Payload, Stream, TableName};
use tokio_postgres::types::ToSql;

use crate::apply::{BEGIN, copy_in, copy_span};
use crate::batch::Batch;
use crate::ddl::quote;
use crate::later::{LaterRecords, Written};
use crate::letters::bring_up_to_date;
use crate::meta_cache::MetaCache;
use crate::plan::{ColumnSet, Plan};
use crate::prepare::{Source, prepare_record};
use crate::session::{Session, with_session};
use crate::sqlstate::{Verdict, verdict};
use crate::target::{StreamTarget, prepare_table};
use crate::{ConnectOptions, Error, Letter, PostgresError, render};

/// What a dead letter's text is to be read as.
#[derive(Debug, Clone, Copy)]
pub struct LetterText<'a> {
    /// The letter.
    pub letter: &'a Letter,
    /// Whether it is a row that the table refused, written as a CSV line in the stream's order; else it is
    /// as it stood in its file.
    pub is_plain: bool,
    /// The record's bytes as they were read from its file, as far as that is known.
    pub original: &'a [u8],
    /// Where the record came from; without a file where the log does not have it any more.
    pub origin: Origin,
    /// The topic's partition count.
    pub partitions: u32,
}

/// A dead letter that is a row now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The partition that its key belongs to.
    pub partition: u32,
    /// Its key, if rows of the stream have one.
    pub key: Option<Vec<u8>>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What became of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// It is in the table and resolved.
    Landed,
    /// The table has what a newer record made of its key; it is resolved.
    Superseded,
    /// It stays open, for this reason.
    Open(String),
}

/// Tries dead letters again that are all of one group and stream, in their order. `parse` reads a letter's
/// text as the stream is configured now, and says why where it is no row; `on_each` is told what became of
/// each.
///
/// # Errors
/// If the server cannot be reached or refuses more than a row, or the log cannot be read.
pub fn retry_letters(
    postgres: &ConnectOptions,
    log: &Client,
    stream: &Stream,
    letters: &[Letter],
    parse: &mut dyn FnMut(LetterText<'_>) -> Result<Mended, String>,
    on_each: &mut dyn FnMut(&Letter, &Retried),
) -> Result<(), Error> {
    let Some(first) = letters.first() else {
        return Ok(());
    };
    with_session(postgres, "bekk-retry", async |session| {
        bring_up_to_date(&session.client, postgres).await?;
        let Some(target) = target_of(session, stream, &first.group).await? else {
            let why = format!(
                "group `{}` has been forgotten, and with it which table it filled",
                first.group
            );
            for letter in letters {
                on_each(letter, &Retried::Open(why.clone()));
            }
            return Ok(());
        };
        let retry = Retry {
            log,
            group: &first.group,
            target: &target,
            meta: Mutex::default(),
        };
        let mut found: Vec<Result<Candidate, String>> = Vec::new();
        for letter in letters {
            found.push(retry.candidate(letter, parse)?);
        }
        let mut later = LaterRecords::new(log, &stream.name, found.iter().flatten());
        later.look()?;
        for (letter, candidate) in letters.iter().zip(&found) {
            let retried = match candidate {
                Ok(candidate) => retry.land(session, letter, candidate, &mut later).await?,
                Err(why) => Retried::Open(why.clone()),
            };
            on_each(letter, &retried);
        }
        Ok(())
    })
}

/// The table that the group fills, which may be another than the stream's; `None` if the group is forgotten.
async fn target_of(
    session: &Session,
    stream: &Stream,
    group: &str,
) -> Result<Option<StreamTarget>, Error> {
    const ACT: &str = "find the group's table";
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| Error::postgres(ACT, &error);
    let row = client
        .query_opt(
            "SELECT table_name FROM bekk.groups WHERE group_name = $1 AND topic = $2",
            &[&group, &stream.name],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut stream = stream.clone();
    let name: String = row.get(0);
    if let Some((schema, name)) = name.split_once('.') {
        stream.table = TableName {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        };
    }
    let target = prepare_table(client, &stream)
        .await
        .map_err(|error| error.into_error(ACT))?;
    // What is parsed now has the schema of now, which the log may not have seen yet.
    let schema = stream.schema();
    let plan = Arc::new(Plan::new(&target, &schema));
    let mut plans = target.plans.lock().unwrap_or_else(PoisonError::into_inner);
    plans.insert(schema.id(), plan);
    drop(plans);
    Ok(Some(target))
}

/// A letter that is a row now, and when it was written where the log still knows.
pub(crate) struct Candidate {
    pub(crate) row: Mended,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) written: Option<Written>,
}

struct Retry<'a> {
    log: &'a Client,
    group: &'a str,
    target: &'a StreamTarget,
    meta: Mutex<MetaCache>,
}

impl Retry<'_> {
    fn source(&self, partition: u32) -> Source<'_> {
        Source {
            group: self.group,
            log: self.log,
            meta: &self.meta,
            target: self.target,
            partition,
        }
    }

    /// Reads a letter again: from the log where that has the row as it is, else from its text.
    fn candidate(
        &self,
        letter: &Letter,
        parse: &mut dyn FnMut(LetterText<'_>) -> Result<Mended, String>,
    ) -> Result<Result<Candidate, String>, Error> {
        let candidate = |row, written| Candidate {
            row,
            partition: letter.partition,
            offset: letter.offset,
            written,
        };
        let topic = &self.target.stream.name;
        let ends = self
            .log
            .partition_ends(topic)
            .map_err(|error| Error::log(format!("read the ends of topic `{topic}`"), error))?;
        let is_there = self.log.log_id().to_string() == letter.log_id
            && ends.iter().any(|ends| {
                ends.partition == letter.partition
                    && (ends.start.get()..ends.end.get()).contains(&letter.offset)
            });
        let mut written = None;
        let mut origin = origin_of(letter);
        let mut original = letter.raw.clone();
        // Only a reject is in its file's form.
        let mut is_plain = !bekk_stream::Reason::ALL
            .iter()
            .any(|reason| reason.as_str() == letter.reason);
        let records = match is_there {
            true => Some(crate::prepare::read(
                self.source(letter.partition),
                letter.offset,
            )?),
            false => None,
        };
        let record = records
            .as_ref()
            .and_then(|records| records.iter().next())
            .filter(|record| record.offset.get() == letter.offset);
        if let Some(record) = record {
            let Ok(payload) = Payload::decode(record.value) else {
                return Ok(Err("it is no record of bekk".to_owned()));
            };
            origin = payload.origin;
            written = Some(Written {
                timestamp_ms: record.timestamp_ms,
                origin,
            });
            is_plain = matches!(payload.body, Body::Row(_));
            if let Body::Reject(reject) = &payload.body {
                original = reject.raw.to_vec();
            }
            if let Body::Row(row) = &payload.body {
                let text = render::csv_line(row.clone()).unwrap_or_default();
                if text.as_bytes().starts_with(&letter.raw) {
                    let row = Mended {
                        partition: letter.partition,
                        key: record.key.map(<[u8]>::to_vec),
                        payload: record.value.to_vec(),
                    };
                    return Ok(Ok(candidate(row, written)));
                }
            }
        }
        if letter.raw.len() >= bekk_stream::REJECT_RAW_MAX {
            return Ok(Err(
                "only its beginning was kept; mend it in a file".to_owned()
            ));
        }
        let text = LetterText {
            letter,
            is_plain,
            original: &original,
            origin,
            partitions: u32::try_from(ends.len()).unwrap_or(u32::MAX),
        };
        Ok(parse(text).map(|row| candidate(row, written)))
    }

    /// Puts the row into the table and resolves the letter, in one transaction.
    async fn land(
        &self,
        session: &mut Session,
        letter: &Letter,
        candidate: &Candidate,
        later: &mut LaterRecords<'_>,
    ) -> Result<Retried, Error> {
        let record = Record {
            offset: Offset::new(letter.offset),
            timestamp_ms: 0,
            key: candidate.row.key.as_deref(),
            value: &candidate.row.payload,
        };
        let batch = prepare_record(self.source(candidate.row.partition), &record)?;
        if let Some(unfit) = batch.dead.first() {
            let column = unfit.column.as_deref().unwrap_or("the record");
            return Ok(Retried::Open(format!(
                "{} in `{column}`: {}",
                unfit.reason, unfit.detail
            )));
        }
        let landed = self
            .transaction(session, letter, candidate, &batch, later)
            .await;
        if landed.is_err() && !session.client.is_closed() {
            // If this fails the connection is lost, and with it the transaction.
            let _ = session.client.batch_execute("ROLLBACK").await;
        }
        match landed {
            Ok(retried) => Ok(retried),
            Err(LandError::Postgres(error)) if verdict(&error) == Verdict::Isolate => {
                Ok(Retried::Open(PostgresError::from(&error).to_string()))
            }
            Err(LandError::Postgres(error)) => Err(Error::postgres(
                format!("retry dead letter {}", letter.id),
                &error,
            )),
            Err(LandError::Log(error)) => Err(error),
        }
    }

    async fn transaction(
        &self,
        session: &mut Session,
        letter: &Letter,
        candidate: &Candidate,
        batch: &Batch,
        later: &mut LaterRecords<'_>,
    ) -> Result<Retried, LandError> {
        let client = &session.client;
        client.batch_execute(BEGIN).await?;
        let partition = candidate.row.partition.cast_signed();
        // A sink takes the same locks in the same order.
        client
            .execute(
                "SELECT FROM bekk.offsets WHERE group_name = $1 AND topic = $2 AND partition = $3 FOR UPDATE",
                &[&letter.group, &letter.topic, &partition],
            )
            .await?;
        let open = client
            .query_opt(
                "SELECT FROM bekk.dead_letters WHERE id = $1 AND resolved_at IS NULL FOR UPDATE",
                &[&letter.id],
            )
            .await?;
        if open.is_none() {
            client.batch_execute("ROLLBACK").await?;
            return Ok(Retried::Open("it was resolved meanwhile".to_owned()));
        }
        later.look().map_err(LandError::Log)?;
        let is_later =
            later.has(candidate) || was_retried_later(session, letter, candidate).await?;
        let is_in = match batch.columns.as_deref() {
            Some(columns) => {
                self.write(session, columns, batch, candidate, is_later)
                    .await?
            }
            None => false,
        };
        let resolution = if is_in { "retried" } else { "superseded" };
        let parameters: [&(dyn ToSql + Sync); 3] = [&letter.id, &resolution, &candidate.row.key];
        session
            .client
            .execute(
                "UPDATE bekk.dead_letters SET resolved_at = clock_timestamp(), resolution = $2, record_key = $3
                  WHERE id = $1",
                &parameters,
            )
            .await?;
        session.client.batch_execute("COMMIT").await?;
        Ok(if is_in {
            Retried::Landed
        } else {
            Retried::Superseded
        })
    }

    /// Writes the row unless the table has a newer one; says whether it did.
    async fn write(
        &self,
        session: &mut Session,
        columns: &ColumnSet,
        batch: &Batch,
        candidate: &Candidate,
        is_later: bool,
    ) -> Result<bool, tokio_postgres::Error> {
        let stream = &self.target.stream;
        if !self.target.is_keyed() {
            copy_span(session, columns, batch, &batch.winners).await?;
            return Ok(true);
        }
        let newer = match &stream.newer_by {
            Some(version) => {
                let version = quote(version);
                let equal = if candidate.written.is_some() && !is_later {
                    ">"
                } else {
                    ">="
                };
                format!(
                    "(t.{version} {equal} s.{version} OR s.{version} IS NULL AND t.{version} IS NOT NULL)"
                )
            }
            // The first record of a key stays, so that any row is in the way.
            None if stream.on_conflict == OnConflict::Ignore => "true".to_owned(),
            None if is_later => return Ok(false),
            None if candidate.written.is_none() => "true".to_owned(),
            None => "false".to_owned(),
        };
        let same_key: Vec<String> = stream
            .key
            .iter()
            .map(|key| format!("t.{0} = s.{0}", quote(key)))
            .collect();
        let delete = format!(
            "DELETE FROM {} s USING {} t WHERE {} AND {newer}",
            columns.staging_table,
            self.target.table.sql_name,
            same_key.join(" AND "),
        );
        session
            .client
            .batch_execute(&columns.create_staging_sql)
            .await?;
        copy_in(session, &columns.copy_staging_sql, batch, &batch.winners).await?;
        let in_the_way = session.client.execute(&delete, &[]).await?;
        if in_the_way == 0 {
            session.client.query(&columns.merge_sql, &[]).await?;
        }
        Ok(in_the_way == 0)
    }
}

/// Whether a later letter of the same key has become a row: the log has no key of a reject.
async fn was_retried_later(
    session: &Session,
    letter: &Letter,
    candidate: &Candidate,
) -> Result<bool, tokio_postgres::Error> {
    let Some(key) = &candidate.row.key else {
        return Ok(false);
    };
    let row = session
        .client
        .query_one(
            "SELECT EXISTS (SELECT FROM bekk.dead_letters
              WHERE record_key = $1 AND group_name = $2 AND topic = $3 AND resolution = 'retried' AND id > $4)",
            &[key, &letter.group, &letter.topic, &letter.id],
        )
        .await?;
    Ok(row.get(0))
}

/// Where a letter came from, as far as it knows itself.
fn origin_of(letter: &Letter) -> Origin {
    let start = letter.byte_offset.unwrap_or_default();
    Origin {
        file: FileId::from_bytes([0; 16]),
        start,
        end: start + letter.raw.len() as u64,
        line: letter.line.unwrap_or_default(),
    }
}

enum LandError {
    Postgres(tokio_postgres::Error),
    Log(Error),
}

impl From<tokio_postgres::Error> for LandError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}
