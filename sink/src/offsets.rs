//! `bekk.offsets`: how far a group has come, and who may move it on.

mod lease;

use bekk_log::{Offset, RecordMark};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, SimpleQueryMessage, SimpleQueryRow};

use crate::catalog::TableVersion;
use crate::ddl::quote_literal;
use crate::refusal::Refusal;

pub(crate) use self::lease::{
    OffsetRow, Taker, definition, members, read, release_lease, renew_leases, terminate_backends,
};

/// Begins a batch's transaction. Deferred constraints are made immediate because they would fail at COMMIT,
/// where no savepoint helps. The user's default for transactions may be another isolation level; READ
/// COMMITTED lets the move of the offset wait for the backend of a connection that was lost.
pub(crate) const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE";

/// The move of a group's offset over a batch, with the counts of what is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move<'a> {
    /// The oid of bekk.offsets at the start: a table made since is not moved in.
    pub(crate) offsets_table: i64,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// The epoch of the lease that the move needs.
    pub(crate) epoch: i64,
    pub(crate) from: u64,
    pub(crate) next: u64,
    pub(crate) counts: Counts,
    /// The SQL that locks the table that the batch has rows for, and asks for its version.
    pub(crate) lock: Option<&'a str>,
    /// What the last record was. A batch without records, which passes offsets that none has, leaves the mark.
    pub(crate) mark: Option<RecordMark>,
    /// How many of the offsets no record has.
    pub(crate) passed: u64,
}

/// A transaction that has moved the offset.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) transaction: TransactionId,
    /// The version of the table that the transaction has locked.
    pub(crate) table: Option<TableVersion>,
}

/// What became of a batch's records, as `bekk.offsets` counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    pub(crate) dead: u64,
}

impl Move<'_> {
    /// The SQL that begins the transaction and moves the offset, unless another sink holds the lease or has
    /// moved it. It also renews the lease, because it holds the row that a renewal would need.
    ///
    /// All of it is one message with its values written out: the server skips the rest of a message after
    /// an error, so no UPDATE runs without its BEGIN, whatever happens to either.
    fn sql(&self) -> String {
        let (group, topic) = (quote_literal(self.group), quote_literal(self.topic));
        let Self {
            offsets_table,
            partition,
            epoch,
            from,
            next,
            counts,
            passed,
            ..
        } = self;
        let mark = self.mark.map_or_else(String::new, |mark| {
            format!(
                "mark_offset = {}, mark_timestamp_ms = {}, mark_crc = {}, ",
                mark.offset, mark.timestamp_ms, mark.crc
            )
        });
        let Counts {
            rows,
            superseded,
            dead,
        } = counts;
        let lock = self.lock.unwrap_or_default();
        format!(
            "{BEGIN}; \
             UPDATE bekk.offsets \
                SET next = {next}, rows = rows + {rows}, superseded = superseded + {superseded}, \
                    dead = dead + {dead}, passed = passed + {passed}, {mark}\
                    lease_until = clock_timestamp() + interval '10 seconds', \
                    updated_at = clock_timestamp() \
              WHERE group_name = {group} AND topic = {topic} AND partition = {partition} \
                AND epoch = {epoch} AND next = {from} AND refusal IS NULL AND tableoid = {offsets_table} \
             RETURNING CASE WHEN next = {next} THEN txid_current() END; {lock}"
        )
    }

    /// Begins the transaction, moves the offset in it and locks the table; `None` if the offset or the lease is not
    /// as expected.
    pub(crate) async fn begin(
        &self,
        client: &Client,
    ) -> Result<Option<Begun>, tokio_postgres::Error> {
        let answer = client.simple_query(&self.sql()).await?;
        let (mut transaction, mut table) = (None, None);
        for row in rows(&answer) {
            match (row.len(), row.get(0)) {
                (1, id) => transaction = id.and_then(TransactionId::of),
                _ => table = TableVersion::of(row),
            }
        }
        Ok(transaction.map(|transaction| Begun { transaction, table }))
    }
}

/// A transaction, as the server numbers it: no number is given twice, except by a server that was set back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TransactionId(u64);

impl TransactionId {
    pub(crate) fn of(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// Whether it began after the transaction that wrote a row, of whose number PostgreSQL keeps 32 bits.
    pub(crate) fn is_after(self, xmin: u32) -> bool {
        let low = u32::try_from(self.0 & u64::from(u32::MAX)).expect("32 bits");
        low.wrapping_sub(xmin).cast_signed() > 0
    }

    /// Commits the transaction; false if the session is in another one or in none, which then commits
    /// nothing of the batch. In a failed transaction COMMIT alone would answer "ROLLBACK" without an error;
    /// the query before it fails there.
    pub(crate) async fn commit(self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let answer = client
            .simple_query("SELECT txid_current_if_assigned(); COMMIT")
            .await?;
        let number = rows(&answer).next().and_then(|row| row.get(0));
        Ok(number.and_then(Self::of) == Some(self))
    }

    /// Whether the server still has it among those that it has committed.
    pub(crate) async fn is_committed(self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let sql = format!("SELECT coalesce(txid_status({}), 'committed')", self.0);
        match client.query_one(&sql, &[]).await {
            Ok(row) => Ok(row.get::<_, &str>(0) == "committed"),
            // "transaction ID … is in the future"
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn rows(answer: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// Corrects the counts of a batch, in its transaction.
pub(crate) const CORRECT_COUNTS: &str = "\
    UPDATE bekk.offsets
       SET rows = rows + $4, superseded = superseded + $5, dead = dead + $6
     WHERE group_name = $1 AND topic = $2 AND partition = $3";

/// Creates the row of a partition if it is missing.
pub(crate) const INSERT_OFFSET: &str = "\
    INSERT INTO bekk.offsets (group_name, topic, partition, next, log_id, counted_from)
    VALUES ($1, $2, $3, $4, $5::text::uuid, $4) ON CONFLICT DO NOTHING";

/// What a partition's row says, as [`Taken`] has it.
const READ_ONE: &str = "\
    SELECT epoch, next, mark_offset, mark_timestamp_ms, mark_crc, rows, superseded, dead
      FROM bekk.offsets WHERE group_name = $1 AND topic = $2 AND partition = $3";

/// Reads a partition's row. With `settled`, it waits for the transaction that holds the row:
/// a COMMIT whose answer was lost may still be under way.
pub(crate) async fn read_one(
    client: &Client,
    group: &str,
    topic: &str,
    partition: i32,
    settled: bool,
) -> Result<Option<Taken>, tokio_postgres::Error> {
    let lock = if settled { " FOR UPDATE" } else { "" };
    let parameters: [&(dyn ToSql + Sync); 3] = [&group, &topic, &partition];
    let row = client
        .query_opt(&format!("{READ_ONE}{lock}"), &parameters)
        .await?;
    Ok(row.as_ref().map(Taken::of_row))
}

/// The statement that drops a trigger which can change or drop an update of bekk.offsets, if there is one.
pub(crate) async fn drop_trigger_sql(
    client: &Client,
) -> Result<Option<String>, tokio_postgres::Error> {
    // Bits of `tgtype`: 1 for each row, 2 before, 16 UPDATE.
    const TRIGGER: &str = "\
        SELECT format('DROP TRIGGER %I ON bekk.offsets', tgname) FROM pg_trigger
         WHERE tgrelid = to_regclass('bekk.offsets') AND tgtype & 19 = 19 AND NOT tgisinternal AND tgenabled <> 'D'
         ORDER BY tgname LIMIT 1";
    let row = client.query_opt(TRIGGER, &[]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// Position and counts in a partition's row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) epoch: i64,
    pub(crate) next: u64,
    pub(crate) mark: Option<RecordMark>,
    pub(crate) counts: Counts,
}

impl Taken {
    /// Of the columns `epoch`, `next`, the mark and the counts.
    pub(crate) fn of_row(row: &Row) -> Self {
        let number = |at| row.get::<_, i64>(at).cast_unsigned();
        Self {
            epoch: row.get(0),
            next: number(1),
            mark: mark_of(row, 2),
            counts: Counts {
                rows: number(5),
                superseded: number(6),
                dead: number(7),
            },
        }
    }
}

/// A mark as a row has it: the offset, the timestamp and the CRC of its record.
pub(crate) type MarkColumns = (Option<i64>, Option<i64>, Option<i64>);

/// A mark as a row has it.
pub(crate) fn mark_columns(mark: Option<&RecordMark>) -> MarkColumns {
    match mark {
        None => (None, None, None),
        Some(mark) => (
            Some(mark.offset.get().cast_signed()),
            Some(mark.timestamp_ms),
            Some(i64::from(mark.crc)),
        ),
    }
}

/// The mark in three columns of a row, from the given one on.
pub(crate) fn mark_of(row: &Row, first: usize) -> Option<RecordMark> {
    mark_of_numbers(row.get(first), row.get(first + 1), row.get(first + 2))
}

/// The mark with this offset, timestamp and CRC; `None` if the row lacks one of them.
fn mark_of_numbers(
    offset: Option<i64>,
    timestamp_ms: Option<i64>,
    crc: Option<i64>,
) -> Option<RecordMark> {
    Some(RecordMark {
        offset: Offset::new(offset?.cast_unsigned()),
        timestamp_ms: timestamp_ms?,
        crc: u32::try_from(crc?).ok()?,
    })
}

/// Writes down that a partition is refused until a person has decided, and gives its lease up.
pub(crate) async fn refuse(
    client: &Client,
    group: &str,
    topic: &str,
    partition: i32,
    (epoch, refusal): (i64, &Refusal),
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "UPDATE bekk.offsets
                SET refusal = $5, refusal_detail = $6, refused_at = clock_timestamp(), owner = NULL,
                    backend_pid = NULL, lease_until = NULL
              WHERE group_name = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND refusal IS NULL",
            &[
                &group,
                &topic,
                &partition,
                &epoch,
                &refusal.kind.as_str(),
                &refusal.detail,
            ],
        )
        .await?;
    Ok(())
}

/// Makes a partition's row anew that was deleted under the sink that holds it, as it was. The epoch is raised.
pub(crate) async fn restore(
    client: &Client,
    (group, topic, partition): (&str, &str, i32),
    (log_id, owner): (&str, &str),
    last: &Taken,
) -> Result<(), tokio_postgres::Error> {
    let (mark_offset, mark_timestamp_ms, mark_crc) = mark_columns(last.mark.as_ref());
    let number = |number: u64| number.cast_signed();
    let (next, epoch) = (number(last.next), last.epoch + 1);
    let rows = number(last.counts.rows);
    let (superseded, dead) = (number(last.counts.superseded), number(last.counts.dead));
    client
        .execute(
            "INSERT INTO bekk.offsets (group_name, topic, partition, next, log_id, epoch, mark_offset,
                    mark_timestamp_ms, mark_crc, rows, superseded, dead, owner, backend_pid, lease_until,
                    counted_from, counted_before)
             VALUES ($1, $2, $3, $4, $5::text::uuid, $6, $7, $8, $9, $10, $11, $12, $13, pg_backend_pid(),
                     clock_timestamp() + interval '10 seconds', $4, $10::bigint + $11::bigint + $12::bigint)
                 ON CONFLICT DO NOTHING",
            &[
                &group,
                &topic,
                &partition,
                &next,
                &log_id,
                &epoch,
                &mark_offset,
                &mark_timestamp_ms,
                &mark_crc,
                &rows,
                &superseded,
                &dead,
                &owner,
            ],
        )
        .await?;
    Ok(())
}

/// Whether the database knows which table a group fills from a topic.
pub(crate) async fn is_known(
    client: &Client,
    group: &str,
    topic: &str,
) -> Result<bool, tokio_postgres::Error> {
    const IS_KNOWN: &str =
        "SELECT EXISTS (SELECT FROM bekk.groups WHERE group_name = $1 AND topic = $2)";
    let row = client.query_one(IS_KNOWN, &[&group, &topic]).await?;
    Ok(row.get(0))
}

/// Gives a row that an earlier version made its mark.
pub(crate) async fn set_mark(
    client: &Client,
    group: &str,
    topic: &str,
    partition: i32,
    (taken, mark): (&Taken, &RecordMark),
) -> Result<(), tokio_postgres::Error> {
    let (offset, timestamp_ms, crc) = mark_columns(Some(mark));
    let next = taken.next.cast_signed();
    client
        .execute(
            "UPDATE bekk.offsets SET mark_offset = $6, mark_timestamp_ms = $7, mark_crc = $8
              WHERE group_name = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND next = $5",
            &[
                &group,
                &topic,
                &partition,
                &taken.epoch,
                &next,
                &offset,
                &timestamp_ms,
                &crc,
            ],
        )
        .await?;
    Ok(())
}
