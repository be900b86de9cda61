//! `bekk.offsets`: how far a group has come, and who may move it on.

use bekk_log::{Offset, RecordMark};
use bekk_stream::{OnConflict, Stream};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, SimpleQueryMessage, SimpleQueryRow};

use crate::catalog::TableVersion;
use crate::ddl::quote_literal;
use crate::refusal::Refusal;

/// Begins a batch's transaction. Deferred constraints are made immediate because they would fail at COMMIT,
/// where no savepoint helps. The user's default for transactions may be another isolation level; READ
/// COMMITTED lets the move of the offset wait for the backend of a connection that was lost.
pub(crate) const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE";

/// The move of a group's offset over a batch, with the counts of what is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move<'a> {
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
                AND epoch = {epoch} AND next = {from} AND refusal IS NULL \
             RETURNING txid_current(); {lock}"
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
                (1, Some(id)) => transaction = Some(TransactionId(id.to_owned())),
                _ => table = TableVersion::of(row),
            }
        }
        Ok(transaction.map(|transaction| Begun { transaction, table }))
    }
}

/// The transaction that moved an offset, as the server numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionId(String);

impl TransactionId {
    /// Commits the transaction; false if the session is in another one or in none, which then commits
    /// nothing of the batch. In a failed transaction COMMIT alone would answer "ROLLBACK" without an error;
    /// the query before it fails there.
    pub(crate) async fn commit(self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let answer = client
            .simple_query("SELECT txid_current_if_assigned(); COMMIT")
            .await?;
        let number = rows(&answer).next().and_then(|row| row.get(0));
        Ok(number == Some(self.0.as_str()))
    }
}

/// The rows of an answer.
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

// **Invariant:** only sessions of the sink's own role are its fellows. The name of a session is anybody's to choose, and
// when it was asked something last is hidden from other roles.

/// A row of `bekk.offsets` with what the server knows of its owner.
#[derive(Debug, Clone)]
pub(crate) struct OffsetRow {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) next: i64,
    pub(crate) epoch: i64,
    pub(crate) owner: Option<String>,
    /// Whether no backend of the owner is left.
    pub(crate) owner_gone: bool,
    /// Whether the lease has run out and no backend of the owner has been asked anything since: a sink that
    /// waits for a long statement of its own cannot renew the row that the statement holds, but asks.
    pub(crate) expired: bool,
    /// Why no sink may take it.
    pub(crate) refusal: Option<Refusal>,
    /// Offsets that the counts do not explain.
    pub(crate) unaccounted: i64,
    /// The [`definition`] of the sink that took it last; `None` if only earlier versions did.
    pub(crate) definition: Option<String>,
}

impl OffsetRow {
    /// The sink other than `own` that holds the partition now.
    pub(crate) fn other_holder(&self, own: &str) -> Option<&String> {
        let owner = self.owner.as_ref().filter(|owner| *owner != own)?;
        (!self.owner_gone && !self.expired).then_some(owner)
    }
}

/// What decides how a stream's records become rows, beside its table: sinks of a group must agree on it.
pub(crate) fn definition(stream: &Stream) -> String {
    let on_conflict = match stream.on_conflict {
        OnConflict::Update => "update",
        OnConflict::Ignore => "ignore",
        OnConflict::Append => "append",
    };
    let mut definition = format!("{} {on_conflict}", stream.schema().id());
    if let Some(newer_by) = &stream.newer_by {
        definition.push_str(" newer_by ");
        definition.push_str(newer_by);
    }
    if stream.accept.deletes() {
        definition.push_str(" deletes");
    }
    definition
}

/// What a partition's row says when its lease is taken.
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
    let crc: i64 = row.get::<_, Option<i64>>(first + 2)?;
    Some(RecordMark {
        offset: Offset::new(row.get::<_, Option<i64>>(first)?.cast_unsigned()),
        timestamp_ms: row.get::<_, Option<i64>>(first + 1)?,
        crc: u32::try_from(crc).ok()?,
    })
}

const READ: &str = "\
    SELECT o.topic, o.partition, o.next, o.epoch, o.owner,
           o.owner IS NOT NULL AND NOT EXISTS (
               SELECT FROM pg_stat_activity a WHERE a.application_name = o.owner AND a.usename = session_user),
           coalesce(o.lease_until < clock_timestamp(), true) AND NOT EXISTS (
               SELECT FROM pg_stat_activity a
                WHERE a.application_name = o.owner AND a.usename = session_user
                  AND a.query_start > clock_timestamp() - interval '10 seconds'),
           o.refusal, o.refusal_detail,
           coalesce(o.next - o.counted_from - o.passed - (o.rows + o.superseded + o.dead - o.counted_before), 0),
           o.definition
      FROM bekk.offsets o
     WHERE o.group_name = $1
     ORDER BY o.topic, o.partition";

/// Reads a group's rows.
pub(crate) async fn read(
    client: &Client,
    group: &str,
) -> Result<Vec<OffsetRow>, tokio_postgres::Error> {
    let rows = client.query(READ, &[&group]).await?;
    Ok(rows
        .iter()
        .map(|row| OffsetRow {
            topic: row.get(0),
            partition: row.get(1),
            next: row.get(2),
            epoch: row.get(3),
            owner: row.get(4),
            owner_gone: row.get(5),
            expired: row.get(6),
            refusal: Refusal::of_columns(row.get(7), row.get(8)),
            unaccounted: row.get(9),
            definition: row.get(10),
        })
        .collect())
}

/// Takes a partition's lease, if nobody has since `epoch`.
pub(crate) async fn take_lease(
    client: &Client,
    group: &str,
    row: &OffsetRow,
    owner: &str,
    definition: &str,
) -> Result<Option<Taken>, tokio_postgres::Error> {
    let taken = client
        .query_opt(
            "UPDATE bekk.offsets
                SET owner = $5, definition = $6, backend_pid = pg_backend_pid(), epoch = epoch + 1,
                    lease_until = clock_timestamp() + interval '10 seconds', updated_at = clock_timestamp()
              WHERE group_name = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND refusal IS NULL
             RETURNING epoch, next, mark_offset, mark_timestamp_ms, mark_crc, rows, superseded, dead",
            &[&group, &row.topic, &row.partition, &row.epoch, &owner, &definition],
        )
        .await?;
    Ok(taken.as_ref().map(Taken::of_row))
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

/// Renews the leases of an owner. Rows that a batch of ours holds are skipped: it renews them itself.
pub(crate) async fn renew_leases(
    client: &Client,
    group: &str,
    owner: &str,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "UPDATE bekk.offsets o
                SET lease_until = clock_timestamp() + interval '10 seconds', backend_pid = pg_backend_pid()
               FROM (SELECT topic, partition FROM bekk.offsets
                      WHERE group_name = $1 AND owner = $2 FOR UPDATE SKIP LOCKED) held
              WHERE o.group_name = $1 AND o.topic = held.topic AND o.partition = held.partition",
            &[&group, &owner],
        )
        .await?;
    Ok(())
}

/// Gives a lease up, if it is still held.
pub(crate) async fn release_lease(
    client: &Client,
    group: &str,
    topic: &str,
    partition: i32,
    epoch: i64,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "UPDATE bekk.offsets SET owner = NULL, backend_pid = NULL, lease_until = NULL
              WHERE group_name = $1 AND topic = $2 AND partition = $3 AND epoch = $4",
            &[&group, &topic, &partition, &epoch],
        )
        .await?;
    Ok(())
}

/// Ends the backends of an owner whose lease has run out, so that nothing they hold is in the way and
/// nothing they began is committed.
pub(crate) async fn terminate_backends(
    client: &Client,
    owner: &str,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE application_name = $1 AND usename = session_user AND pid <> pg_backend_pid()",
            &[&owner],
        )
        .await?;
    Ok(())
}

/// The sinks of a group that are connected and have been heard of within a lease's time, by name, in
/// order. One that has been stopped by a signal is none: its partitions are the others' to take.
pub(crate) async fn members(
    client: &Client,
    name_prefix: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT application_name FROM pg_stat_activity
              WHERE datname = current_database() AND usename = session_user
                AND starts_with(application_name, $1)
              GROUP BY application_name
             HAVING bool_or(query_start IS NULL OR query_start > clock_timestamp() - interval '10 seconds')
              ORDER BY application_name COLLATE \"C\"",
            &[&name_prefix],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
