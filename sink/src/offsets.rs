//! `bekk.offsets`: how far a group has come, and who may move it on.

use tokio_postgres::Client;

/// Moves an offset and counts what was applied, unless another has taken the lease or moved it. A batch
/// also renews the lease, for it holds the row that the renewal would need.
pub(crate) const MOVE_OFFSET: &str = "\
    UPDATE bekk.offsets
       SET next = $6, rows = rows + $7, superseded = superseded + $8, dead = dead + $9,
           lease_until = clock_timestamp() + interval '10 seconds', updated_at = clock_timestamp()
     WHERE group_name = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND next = $5";

/// Corrects the counts of a batch, in its transaction.
pub(crate) const CORRECT_COUNTS: &str = "\
    UPDATE bekk.offsets
       SET rows = rows + $4, superseded = superseded + $5, dead = dead + $6
     WHERE group_name = $1 AND topic = $2 AND partition = $3";

/// Makes the row of a partition, where there is none.
pub(crate) const INSERT_OFFSET: &str = "\
    INSERT INTO bekk.offsets (group_name, topic, partition, next, log_id)
    VALUES ($1, $2, $3, $4, $5::text::uuid) ON CONFLICT DO NOTHING";

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
}

const READ: &str = "\
    SELECT o.topic, o.partition, o.next, o.epoch, o.owner,
           o.owner IS NOT NULL AND NOT EXISTS (
               SELECT FROM pg_stat_activity a WHERE a.application_name = o.owner),
           coalesce(o.lease_until < clock_timestamp(), true) AND NOT EXISTS (
               SELECT FROM pg_stat_activity a
                WHERE a.application_name = o.owner AND a.query_start > clock_timestamp() - interval '10 seconds')
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
        })
        .collect())
}

/// Takes a partition's lease, if nobody has since `epoch`; returns the new epoch and the next offset.
pub(crate) async fn take_lease(
    client: &Client,
    group: &str,
    row: &OffsetRow,
    owner: &str,
) -> Result<Option<(i64, i64)>, tokio_postgres::Error> {
    let taken = client
        .query_opt(
            "UPDATE bekk.offsets
                SET owner = $5, backend_pid = pg_backend_pid(), epoch = epoch + 1,
                    lease_until = clock_timestamp() + interval '10 seconds', updated_at = clock_timestamp()
              WHERE group_name = $1 AND topic = $2 AND partition = $3 AND epoch = $4
             RETURNING epoch, next",
            &[&group, &row.topic, &row.partition, &row.epoch, &owner],
        )
        .await?;
    Ok(taken.map(|row| (row.get(0), row.get(1))))
}

/// Renews the leases of an owner. Rows that a batch of ours holds are passed over: it renews them itself.
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
              WHERE application_name = $1 AND pid <> pg_backend_pid()",
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
              WHERE datname = current_database() AND starts_with(application_name, $1)
              GROUP BY application_name
             HAVING bool_or(query_start IS NULL OR query_start > clock_timestamp() - interval '10 seconds')
              ORDER BY application_name COLLATE \"C\"",
            &[&name_prefix],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
