//! A dead letter that is a row now, put into its table.

use bekk_log::{Headers, Offset, Record};
use bekk_stream::OnConflict;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::later::LaterRecords;
use super::{Candidate, Retried, Retry};
use crate::batch::Batch;
use crate::catalog::TableVersion;
use crate::ddl::quote;
use crate::offsets::{BEGIN, rows};
use crate::prepare::prepare_record;
use crate::session::Session;
use crate::sqlstate::{Verdict, verdict_on_rows};
use crate::target::{ColumnSet, operator, staged, staged_key};
use crate::write::{
    SpanError, begin_writing, copy_in, copy_span, end_writing, merge_span, merge_staged,
};
use crate::{Error, Letter, PostgresError};

impl Retry<'_> {
    /// Puts the row into the table and resolves the letter, in one transaction.
    pub(super) async fn land(
        &self,
        session: &mut Session,
        letter: &Letter,
        candidate: &Candidate,
        later: &mut LaterRecords<'_>,
    ) -> Result<Retried, Error> {
        let record = Record {
            offset: Offset::new(letter.offset),
            timestamp_ms: 0,
            key: candidate
                .deletion
                .as_deref()
                .or(candidate.row.key.as_deref()),
            value: &candidate.row.payload,
            is_null: candidate.deletion.is_some(),
            headers: Headers::default(),
        };
        let source = self.source(candidate.row.partition);
        let Some(batch) = prepare_record(source, &record)? else {
            return Ok(Retried::Open(
                "its schema cannot be read while a transaction is open in the cluster".to_owned(),
            ));
        };
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
        if landed.is_err() {
            session.roll_back().await;
        }
        match landed {
            Ok(retried) => Ok(retried),
            Err(LandError::Postgres(error))
                if verdict_on_rows(&error, !self.target.inputs.is_empty()) == Verdict::Isolate
                    && !session.is_lost() =>
            {
                Ok(Retried::Open(PostgresError::from(&error).to_string()))
            }
            Err(LandError::Postgres(error)) => Err(Error::postgres(
                format!("retry dead letter {}", letter.id),
                &error,
            )),
            Err(LandError::NotStored) => Ok(Retried::Open(PostgresError::not_stored().to_string())),
            Err(LandError::Stop(error)) => Err(error),
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
        session.client.batch_execute(BEGIN).await?;
        if !self.lock(&session.client, letter, candidate).await? {
            session.client.batch_execute("ROLLBACK").await?;
            return Ok(Retried::Open("it was resolved meanwhile".to_owned()));
        }
        later.look().map_err(LandError::Stop)?;
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
        // With the text that was retried, which the caller may have corrected: a replay opens the letter again.
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&letter.id, &resolution, &candidate.row.key, &letter.raw];
        let resolved = session
            .client
            .execute(
                "UPDATE bekk.dead_letters SET resolved_at = clock_timestamp(), resolution = $2, record_key = $3,
                        raw = $4
                  WHERE id = $1",
                &parameters,
            )
            .await?;
        if resolved != 1 {
            return Err(LandError::Stop(Error::LettersLeftOut));
        }
        session.client.batch_execute("COMMIT").await?;
        Ok(if is_in {
            Retried::Landed
        } else {
            Retried::Superseded
        })
    }

    /// Locks the group's offsets, the table and the letter; says whether the letter is still open.
    async fn lock(
        &self,
        client: &Client,
        letter: &Letter,
        candidate: &Candidate,
    ) -> Result<bool, LandError> {
        let partition = candidate.row.partition.cast_signed();
        // A sink takes the same locks in the same order.
        client
            .execute(
                "SELECT FROM bekk.offsets WHERE group_name = $1 AND topic = $2 AND (partition = $3 OR $4)
                  ORDER BY partition FOR UPDATE",
                // Other producers may have put records of the key into any partition.
                &[&letter.group, &letter.topic, &partition, &self.target.json.is_some()],
            )
            .await?;
        let table = &self.target.table;
        let answer = client
            .simple_query(&table.lock_sql(&table.version_sql()))
            .await?;
        let version = rows(&answer).next().and_then(TableVersion::of);
        if version != Some(table.version) {
            return Err(LandError::Stop(Error::TableAltered {
                table: table.full_name.clone(),
            }));
        }
        let open = client
            .query_opt(
                "SELECT FROM bekk.dead_letters WHERE id = $1 AND resolved_at IS NULL FOR UPDATE",
                &[&letter.id],
            )
            .await?;
        Ok(open.is_some())
    }

    /// Writes the row, or deletes it, unless there is a newer one; says whether it did.
    async fn write(
        &self,
        session: &mut Session,
        columns: &ColumnSet,
        batch: &Batch,
        candidate: &Candidate,
        is_later: bool,
    ) -> Result<bool, LandError> {
        let stream = &self.target.stream;
        if batch.deletion.is_some() {
            if !is_later {
                merge_span(session, columns, batch, batch.sent()).await?;
            }
            return Ok(!is_later);
        }
        if !self.target.is_keyed() {
            if columns.is_direct {
                copy_span(session, columns, batch, batch.sent()).await?;
            } else {
                merge_span(session, columns, batch, batch.sent()).await?;
            }
            return Ok(true);
        }
        let newer = match &stream.newer_by {
            Some(version) => {
                let (quoted, new) = (quote(version), staged(self.target, "s", version));
                let name = if candidate.written.is_some() && !is_later {
                    ">"
                } else {
                    ">="
                };
                let newer = operator(&self.target.table, version, name);
                format!("((t.{quoted} {newer} {new}) OR {new} IS NULL AND t.{quoted} IS NOT NULL)")
            }
            // The first record of a key stays, so that any row is in the way.
            None if stream.on_conflict == OnConflict::Ignore => "true".to_owned(),
            None if is_later => return Ok(false),
            None if candidate.written.is_none() => "true".to_owned(),
            None => "false".to_owned(),
        };
        let delete = format!(
            "DELETE FROM {} s USING {} t WHERE {} AND {newer}",
            columns.staging_table,
            self.target.table.sql_name,
            staged_key(self.target),
        );
        session
            .client
            .batch_execute(&columns.create_staging_sql)
            .await?;
        begin_writing(session).await?;
        copy_in(session, &columns.copy_staging_sql, batch, &batch.winners).await?;
        let in_the_way = session.client.execute(&delete, &[]).await?;
        if in_the_way == 0 {
            merge_staged(session, columns, batch.winners.len() as u64).await?;
        }
        end_writing(session).await?;
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

enum LandError {
    Postgres(tokio_postgres::Error),
    NotStored,
    Stop(Error),
}

impl From<tokio_postgres::Error> for LandError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<SpanError> for LandError {
    fn from(error: SpanError) -> Self {
        match error {
            SpanError::Postgres(error) | SpanError::NoStaging(error) => Self::Postgres(error),
            SpanError::NotStored => Self::NotStored,
        }
    }
}
