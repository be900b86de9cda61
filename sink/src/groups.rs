//! The groups, for tools: how far each has come, and setting where one goes on.

use bekk_log::Offset;

use crate::session::with_session;
use crate::{ConnectOptions, Error};

/// How far a group has come in one partition, as `bekk.offsets` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The next record to be applied.
    pub next: u64,
    /// The log that `next` counts in.
    pub log_id: String,
    /// The sink that holds the partition now, if one does.
    pub owner: Option<String>,
    /// Rows inserted so far.
    pub rows: u64,
    /// Records so far that added no row.
    pub superseded: u64,
    /// Dead letters so far.
    pub dead: u64,
}

/// Where a group is to go on in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The next record to be applied.
    pub next: u64,
}

/// A lease counts while it lasts and its holder has a backend.
const LIST: &str = "\
    SELECT o.group_name, o.topic, o.partition, o.next, o.log_id::text,
           CASE WHEN o.lease_until > clock_timestamp() AND EXISTS (
               SELECT FROM pg_stat_activity a WHERE a.application_name = o.owner) THEN o.owner END,
           o.rows, o.superseded, o.dead
      FROM bekk.offsets o
     ORDER BY o.group_name, o.topic, o.partition";

/// The epoch is raised, so that a sink that holds the partition after all loses it.
const RESET: &str = "\
    UPDATE bekk.offsets
       SET next = $4, log_id = $5::text::uuid, epoch = epoch + 1, owner = NULL, backend_pid = NULL,
           lease_until = NULL, updated_at = clock_timestamp()
     WHERE group_name = $1 AND topic = $2 AND partition = $3";

/// A partition of the group that a sink holds now; the rows are locked, so that none takes one meanwhile.
const HELD: &str = "\
    SELECT o.topic, o.partition
      FROM (SELECT * FROM bekk.offsets WHERE group_name = $1 FOR UPDATE) o
     WHERE o.lease_until > clock_timestamp()
       AND EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = o.owner)
     LIMIT 1";

/// Every group's offsets, by group, topic and partition; none where no sink has run yet.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn list_offsets(postgres: &ConnectOptions) -> Result<Vec<GroupOffset>, Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        let client = &mut session.client;
        let failed = |error| Error::postgres("read bekk.offsets", &error);
        let row = client
            .query_one("SELECT to_regclass('bekk.offsets') IS NOT NULL", &[])
            .await
            .map_err(failed)?;
        if !row.get::<_, bool>(0) {
            return Ok(Vec::new());
        }
        let rows = client.query(LIST, &[]).await.map_err(failed)?;
        Ok(rows.iter().map(group_offset).collect())
    })
}

/// Sets where a group goes on, in all the partitions or in none.
///
/// # Errors
/// [`Error::GroupInUse`] if a sink of the group is running, [`Error::NoOffset`] if the group has none in one of
/// the partitions; others if the server cannot be reached or refuses.
pub fn reset_offsets(
    postgres: &ConnectOptions,
    group: &str,
    log_id: &str,
    resets: &[Reset],
) -> Result<(), Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        let client = &mut session.client;
        let failed = |error| Error::postgres("reset bekk.offsets", &error);
        let transaction = client.transaction().await.map_err(failed)?;
        refuse_if_held(&transaction, group).await?;
        for reset in resets {
            let partition = i32::try_from(reset.partition).unwrap_or(i32::MAX);
            let next = i64::try_from(reset.next).unwrap_or(i64::MAX);
            let changed = transaction
                .execute(RESET, &[&group, &reset.topic, &partition, &next, &log_id])
                .await
                .map_err(failed)?;
            if changed == 0 {
                return Err(Error::NoOffset {
                    group: group.to_owned(),
                    topic: reset.topic.clone(),
                    partition: reset.partition,
                });
            }
        }
        transaction.commit().await.map_err(failed)
    })
}

/// Forgets a group: its offsets and its target. Its dead letters stay.
///
/// # Errors
/// [`Error::GroupInUse`] if a sink of the group is running; others if the server cannot be reached or refuses.
pub fn delete_group(postgres: &ConnectOptions, group: &str) -> Result<(), Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        let client = &mut session.client;
        let failed = |error| Error::postgres("delete from bekk.offsets", &error);
        let transaction = client.transaction().await.map_err(failed)?;
        refuse_if_held(&transaction, group).await?;
        for table in ["bekk.offsets", "bekk.groups"] {
            let delete = format!("DELETE FROM {table} WHERE group_name = $1");
            transaction
                .execute(&delete, &[&group])
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    })
}

/// Refuses while a sink of the group runs, and keeps one from taking a partition until the transaction ends.
async fn refuse_if_held(
    transaction: &tokio_postgres::Transaction<'_>,
    group: &str,
) -> Result<(), Error> {
    let failed = |error| {
        Error::postgres(
            format!("see whether a sink of group `{group}` runs"),
            &error,
        )
    };
    // One that a signal has stopped in the middle of a batch holds its row for as long.
    transaction
        .batch_execute("SET LOCAL lock_timeout = '10s'")
        .await
        .map_err(failed)?;
    match transaction
        .query_opt(HELD, &[&group])
        .await
        .map_err(failed)?
    {
        None => Ok(()),
        Some(row) => Err(Error::GroupInUse {
            group: group.to_owned(),
            topic: row.get(0),
            partition: u32::try_from(row.get::<_, i32>(1)).unwrap_or_default(),
        }),
    }
}

/// In how many partitions a log remembers a group to have come somewhere.
///
/// # Errors
/// [`Error::Log`] if it cannot be read.
pub fn partitions_in_log(log: &bekk_log::Client, group: &str) -> Result<usize, Error> {
    let failed = |error| Error::log(format!("read the offsets of group `{group}`"), error);
    let mut count = 0;
    for topic in log.topics().map_err(failed)? {
        let committed = log.committed_offsets(group, &topic.name).map_err(failed)?;
        count += committed
            .iter()
            .filter(|(_, next)| *next != Offset::ZERO)
            .count();
    }
    Ok(count)
}

/// Makes a log forget how far a group has come: a database that does not know the group is then none that
/// it has been taken away from.
///
/// # Errors
/// [`Error::Log`] if it cannot be read or written.
pub fn forget_in_log(log: &bekk_log::Client, group: &str) -> Result<(), Error> {
    log.forget_group(group)
        .map_err(|error| Error::log(format!("forget group `{group}`"), error))
}

fn group_offset(row: &tokio_postgres::Row) -> GroupOffset {
    let count = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or_default();
    GroupOffset {
        group: row.get(0),
        topic: row.get(1),
        partition: u32::try_from(row.get::<_, i32>(2)).unwrap_or_default(),
        next: count(3),
        log_id: row.get(4),
        owner: row.get(5),
        rows: count(6),
        superseded: count(7),
        dead: count(8),
    }
}
