//! The leases in `bekk.offsets`: who holds a partition, and taking, renewing and giving it up.
//!
//! **Invariant:** only sessions of the sink's own role are its fellows. The name of a session is anybody's to choose, and
//! the time of its last request is hidden from other roles.

use bekk_stream::{OnConflict, Stream};
use tokio_postgres::{Client, SimpleQueryRow};

use super::{Counts, Taken, TransactionId, mark_of_numbers, rows};
use crate::ddl::quote_literal;
use crate::refusal::Refusal;

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
    /// The [`definition`] of the sink that took it last; `None` if an earlier version did, which writes no
    /// definition.
    pub(crate) definition: Option<String>,
    /// The transaction that wrote this version of the row, by the 32 bits that PostgreSQL keeps (`xmin`).
    pub(crate) written_by: u32,
}

impl OffsetRow {
    /// The sink other than `own` that holds the partition now.
    pub(crate) fn other_holder(&self, own: &str) -> Option<&String> {
        let owner = self.owner.as_ref().filter(|owner| *owner != own)?;
        (!self.owner_gone && !self.expired).then_some(owner)
    }
}

/// Everything beside the table that decides how a stream's records become rows: sinks of a group must agree on it.
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

/// Whether no backend of a row's owner is left. Sinks of a group may use several roles. Anyone can name a session like a
/// sink; only a role that may move offsets is one.
const IS_GONE: &str = "\
    NOT EXISTS (SELECT FROM pg_stat_activity a
                 WHERE a.application_name = o.owner AND has_table_privilege(a.usesysid, 'bekk.offsets', 'UPDATE'))";

/// Whether a row's lease has run out and its owner has been silent since. The server shows no statement of another role's
/// session; there the lease alone counts.
const IS_EXPIRED: &str = "\
    (coalesce(o.lease_until < clock_timestamp(), true) AND NOT EXISTS (
        SELECT FROM pg_stat_activity a
         WHERE a.application_name = o.owner AND a.usename = session_user
           AND a.query_start > clock_timestamp() - interval '10 seconds'))";

/// The definition by which a row's owner applies records. Earlier versions leave
/// another sink's definition there.
const DEFINITION: &str = "CASE WHEN o.definition_epoch = o.epoch THEN o.definition END";

fn read_sql() -> String {
    format!(
        "SELECT o.topic, o.partition, o.next, o.epoch, o.owner, o.owner IS NOT NULL AND {IS_GONE}, {IS_EXPIRED},
                o.refusal, o.refusal_detail,
                coalesce(o.next - o.counted_from - o.passed - (o.rows + o.superseded + o.dead - o.counted_before), 0),
                {DEFINITION}, o.xmin::text::bigint
           FROM bekk.offsets o
          WHERE o.group_name = $1
          ORDER BY o.topic, o.partition"
    )
}

/// Reads a group's rows.
pub(crate) async fn read(
    client: &Client,
    group: &str,
) -> Result<Vec<OffsetRow>, tokio_postgres::Error> {
    let rows = client.query(&read_sql(), &[&group]).await?;
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
            written_by: u32::try_from(row.get::<_, i64>(11)).unwrap_or_default(),
        })
        .collect())
}

/// The sink that takes a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taker<'a> {
    /// The oid of bekk.offsets at the start: nothing is taken in a table made since.
    pub(crate) offsets_table: i64,
    pub(crate) group: &'a str,
    pub(crate) owner: &'a str,
    /// Its [`definition`] of the stream.
    pub(crate) definition: &'a str,
}

impl Taker<'_> {
    /// Takes a partition's lease, if nobody has since `row` was read, and no other sink that is alive holds a partition
    /// of the stream by another definition. Also returns the transaction that took it.
    pub(crate) async fn take(
        &self,
        client: &Client,
        row: &OffsetRow,
    ) -> Result<Option<(Taken, TransactionId)>, tokio_postgres::Error> {
        let answer = client.simple_query(&self.sql(row)).await?;
        Ok(rows(&answer).find_map(taken_of_texts))
    }

    /// One message, and so one transaction. The lock on the stream's row of `bekk.groups` makes sinks of the group take
    /// leases of a stream one after the other, so that each sees what the one before has written. A sink with another
    /// definition that is silent loses its other partitions, too: it may yet wake up.
    fn sql(&self, row: &OffsetRow) -> String {
        let (group, topic) = (quote_literal(self.group), quote_literal(&row.topic));
        let (owner, definition) = (quote_literal(self.owner), quote_literal(self.definition));
        let OffsetRow {
            partition, epoch, ..
        } = row;
        let table = self.offsets_table;
        let others = format!(
            "o.group_name = {group} AND o.topic = {topic} AND o.partition <> {partition} AND o.owner <> {owner} \
             AND {DEFINITION} <> {definition}"
        );
        format!(
            "SELECT 1 FROM bekk.groups WHERE group_name = {group} AND topic = {topic} FOR UPDATE; \
             UPDATE bekk.offsets o \
                SET owner = NULL, backend_pid = NULL, lease_until = NULL, epoch = o.epoch + 1 \
              WHERE {others} AND ({IS_GONE} OR {IS_EXPIRED}) AND tableoid = {table}; \
             UPDATE bekk.offsets taken \
                SET owner = {owner}, definition = {definition}, definition_epoch = taken.epoch + 1, \
                    backend_pid = pg_backend_pid(), epoch = taken.epoch + 1, \
                    lease_until = clock_timestamp() + interval '10 seconds', updated_at = clock_timestamp() \
              WHERE group_name = {group} AND topic = {topic} AND partition = {partition} AND epoch = {epoch} \
                AND refusal IS NULL AND tableoid = {table} AND NOT EXISTS (SELECT FROM bekk.offsets o WHERE {others}) \
             RETURNING txid_current(), epoch, next, rows, superseded, dead, \
                       mark_offset, mark_timestamp_ms, mark_crc"
        )
    }
}

/// Reads what [`Taker::sql`] returns of the row.
fn taken_of_texts(row: &SimpleQueryRow) -> Option<(Taken, TransactionId)> {
    let number = |at| row.get(at)?.parse::<i64>().ok();
    let count = |at| number(at).map(i64::cast_unsigned);
    if row.len() < 9 {
        return None;
    }
    let taken = Taken {
        epoch: number(1)?,
        next: count(2)?,
        counts: Counts {
            rows: count(3)?,
            superseded: count(4)?,
            dead: count(5)?,
        },
        mark: mark_of_numbers(number(6), number(7), number(8)),
    };
    Some((taken, TransactionId::of(row.get(0)?)?))
}

/// Renews the leases of an owner in the table that bekk.offsets was at the start. Rows that a batch of ours holds are
/// skipped: it renews them itself.
pub(crate) async fn renew_leases(
    client: &Client,
    offsets_table: i64,
    group: &str,
    owner: &str,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "UPDATE bekk.offsets o
                SET lease_until = clock_timestamp() + interval '10 seconds', backend_pid = pg_backend_pid()
               FROM (SELECT topic, partition FROM bekk.offsets
                      WHERE group_name = $1 AND owner = $2 FOR UPDATE SKIP LOCKED) held
              WHERE o.group_name = $1 AND o.topic = held.topic AND o.partition = held.partition
                AND o.tableoid::bigint = $3",
            &[&group, &owner, &offsets_table],
        )
        .await?;
    Ok(())
}

/// Gives a lease up, if it is still held in the table that bekk.offsets was at the start.
pub(crate) async fn release_lease(
    client: &Client,
    offsets_table: i64,
    group: &str,
    topic: &str,
    partition: i32,
    epoch: i64,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "UPDATE bekk.offsets SET owner = NULL, backend_pid = NULL, lease_until = NULL
              WHERE group_name = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND tableoid::bigint = $5",
            &[&group, &topic, &partition, &epoch, &offsets_table],
        )
        .await?;
    Ok(())
}

/// Ends the backends of an owner whose lease has run out, so that nothing they hold is in the way and
/// nothing they began is committed. Those of another role stay, unless this role has its rights.
pub(crate) async fn terminate_backends(
    client: &Client,
    owner: &str,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE application_name = $1 AND pid <> pg_backend_pid()
                AND (usename = session_user OR has_table_privilege(usesysid, 'bekk.offsets', 'UPDATE')
                                               AND pg_has_role(usesysid, 'USAGE'))",
            &[&owner],
        )
        .await?;
    Ok(())
}

/// The sinks of a group that are connected and have been heard of within a lease's time, by name, in
/// order. A sink that a signal has stopped is left out, so that the others take its partitions. A sink of another
/// role, whose statements are not shown, counts by its leases.
pub(crate) async fn members(
    client: &Client,
    name_prefix: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT application_name FROM pg_stat_activity
              WHERE datname = current_database() AND has_table_privilege(usesysid, 'bekk.offsets', 'UPDATE')
                AND starts_with(application_name, $1)
              GROUP BY application_name
             HAVING bool_or(coalesce(query_start > clock_timestamp() - interval '10 seconds', NOT EXISTS (
                        SELECT FROM bekk.offsets o
                         WHERE o.owner = application_name AND o.lease_until < clock_timestamp())))
              ORDER BY application_name COLLATE \"C\"",
            &[&name_prefix],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
