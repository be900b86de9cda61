//! The groups, for tools: how far each has come, and setting where one continues.

use bekk_log::{Offset, RecordMark};

use crate::command::{be_impatient, with_session};
use crate::offsets::{mark_columns, mark_of};
use crate::own_schema;
use crate::{ConnectOptions, Error, Refusal};

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
    /// What the last record applied was; `None` in rows of earlier versions, and before the first record.
    pub mark: Option<RecordMark>,
    /// Why no sink applies the partition until a person has decided.
    pub refusal: Option<Refusal>,
    /// Offsets that were passed since counting began, and that are neither rows, superseded records nor dead letters,
    /// nor known to have no record. Anything but 0 is a fault.
    pub unaccounted: i64,
    /// How many of the rows, superseded records and dead letters were counted before the last reset or replay.
    pub counted_before: u64,
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
    /// What the log holds below it; `None` where the log starts.
    pub mark: Option<RecordMark>,
}

/// A lease counts while it lasts and its holder has a backend. Anyone can name a session like a sink; only a role that
/// may move offsets is one.
const LIST: &str = "\
    SELECT o.group_name, o.topic, o.partition, o.next, o.log_id::text,
           CASE WHEN o.lease_until > clock_timestamp() AND EXISTS (
               SELECT FROM pg_stat_activity a
                WHERE a.application_name = o.owner
                  AND has_table_privilege(a.usesysid, 'bekk.offsets', 'UPDATE')) THEN o.owner END,
           o.rows, o.superseded, o.dead,
           o.mark_offset, o.mark_timestamp_ms, o.mark_crc, o.refusal, o.refusal_detail, \
           coalesce(o.next - o.counted_from - o.passed - (o.rows + o.superseded + o.dead - o.counted_before), 0),
           coalesce(o.counted_before, 0)
      FROM bekk.offsets o
     ORDER BY o.group_name, o.topic, o.partition";

/// The list's columns of later schema versions, and their substitutes in a database of an earlier one.
const MARKS: &str = "\
    o.mark_offset, o.mark_timestamp_ms, o.mark_crc, o.refusal, o.refusal_detail, \
           coalesce(o.next - o.counted_from - o.passed - (o.rows + o.superseded + o.dead - o.counted_before), 0),
           coalesce(o.counted_before, 0)";
const NO_MARKS: &str =
    "NULL::bigint, NULL::bigint, NULL::bigint, NULL::text, NULL::text, 0::bigint, 0::bigint";

/// Whether the database has what MARKS names.
const HAS_MARKS: &str = "\
    SELECT EXISTS (SELECT FROM pg_attribute
                    WHERE attrelid = to_regclass('bekk.offsets') AND attname = 'counted_from' AND NOT attisdropped)";

/// The epoch is raised, so that a sink that holds the partition after all loses it. Without a mark the group begins at the
/// log's start, and may fill any table; with one, its table must be the one that has what lies below.
const RESET: &str = "\
    UPDATE bekk.offsets
       SET next = $4, log_id = $5::text::uuid, epoch = epoch + 1, owner = NULL, backend_pid = NULL,
           lease_until = NULL, updated_at = clock_timestamp(),
           mark_offset = $6, mark_timestamp_ms = $7, mark_crc = $8,
           refusal = NULL, refusal_detail = NULL, refused_at = NULL,
           counted_from = $4, counted_before = rows + superseded + dead, passed = 0,
           placed_before = CASE WHEN $6::bigint IS NULL THEN rows + superseded ELSE placed_before END
     WHERE group_name = $1 AND topic = $2 AND partition = $3";

/// A partition of the group that a sink holds now; the rows are locked, so that none takes one meanwhile.
const HELD: &str = "\
    SELECT o.topic, o.partition
      FROM (SELECT * FROM bekk.offsets WHERE group_name = $1 FOR UPDATE) o
     WHERE o.lease_until > clock_timestamp()
       AND EXISTS (SELECT FROM pg_stat_activity a
                    WHERE a.application_name = o.owner
                      AND has_table_privilege(a.usesysid, 'bekk.offsets', 'UPDATE'))
     LIMIT 1";

/// Every group's offsets, by group, topic and partition; none where no sink has run yet.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn list_offsets(postgres: &ConnectOptions) -> Result<Vec<GroupOffset>, Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        const ACT: &str = "read bekk.offsets";
        let client = &session.client;
        let failed = |error| Error::postgres(ACT, &error);
        be_impatient(client).await.map_err(failed)?;
        if !own_schema::require_whole(session, ACT).await? {
            return Ok(Vec::new());
        }
        let has_marks = client
            .query_one(HAS_MARKS, &[])
            .await
            .map_err(failed)?
            .get(0);
        let list = match has_marks {
            true => LIST.to_owned(),
            // Of an earlier version; who only looks may not be allowed to change it.
            false => LIST.replace(MARKS, NO_MARKS),
        };
        let rows = client.query(&list, &[]).await.map_err(failed)?;
        Ok(rows.iter().map(group_offset).collect())
    })
}

/// Sets where a group continues, in all the partitions or in none. Offsets that count in another log are set only if
/// `instead_of` names it: that log may be in use elsewhere.
///
/// # Errors
/// [`Error::CountsInOtherLog`] if offsets count in a log that is not named, [`Error::GroupInUse`] if a sink of the
/// group is running, [`Error::NoOffset`] if the group has none in one of the partitions; others if the server cannot
/// be reached or refuses.
pub fn reset_offsets(
    postgres: &ConnectOptions,
    group: &str,
    log_id: &str,
    instead_of: Option<&str>,
    resets: &[Reset],
) -> Result<(), Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        crate::letters::bring_up_to_date(session).await?;
        let client = &mut session.client;
        let failed = |error| Error::postgres("reset bekk.offsets", &error);
        let transaction = client.transaction().await.map_err(failed)?;
        refuse_if_held(&transaction, group).await?;
        for reset in resets {
            let other = transaction
                .query_opt(
                    "SELECT log_id::text FROM bekk.offsets
                      WHERE group_name = $1 AND topic = $2 AND partition = $3 AND log_id::text <> $4",
                    &[&group, &reset.topic, &reset.partition.cast_signed(), &log_id],
                )
                .await
                .map_err(failed)?;
            if let Some(row) = other
                && instead_of != Some(row.get(0))
            {
                return Err(Error::CountsInOtherLog {
                    group: group.to_owned(),
                    topic: reset.topic.clone(),
                    remembered: row.get(0),
                });
            }
            let partition = i32::try_from(reset.partition).unwrap_or(i32::MAX);
            let next = i64::try_from(reset.next).unwrap_or(i64::MAX);
            let (mark_offset, mark_timestamp_ms, mark_crc) = mark_columns(reset.mark.as_ref());
            let changed = transaction
                .execute(
                    RESET,
                    &[
                        &group,
                        &reset.topic,
                        &partition,
                        &next,
                        &log_id,
                        &mark_offset,
                        &mark_timestamp_ms,
                        &mark_crc,
                    ],
                )
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

/// Forgets a group in some topics: its offsets and its tables. Its dead letters stay.
///
/// # Errors
/// [`Error::GroupInUse`] if a sink of the group is running; others if the server cannot be reached or refuses.
pub fn delete_group(
    postgres: &ConnectOptions,
    group: &str,
    topics: &[String],
) -> Result<(), Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        const ACT: &str = "delete from bekk.offsets";
        if !own_schema::has(session, "offsets", ACT).await? {
            return Ok(());
        }
        let client = &mut session.client;
        let failed = |error| Error::postgres(ACT, &error);
        let transaction = client.transaction().await.map_err(failed)?;
        refuse_if_held(&transaction, group).await?;
        for table in ["bekk.offsets", "bekk.groups"] {
            let delete = format!("DELETE FROM {table} WHERE group_name = $1 AND topic = ANY ($2)");
            transaction
                .execute(&delete, &[&group, &topics])
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    })
}

async fn refuse_if_held(
    transaction: &tokio_postgres::Transaction<'_>,
    group: &str,
) -> Result<(), Error> {
    refuse_if_held_by(transaction.client(), group).await
}

/// Refuses while a sink of the group runs, and keeps one from taking a partition until the transaction ends that the
/// caller has begun.
pub(crate) async fn refuse_if_held_by(
    transaction: &tokio_postgres::Client,
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

/// In how many partitions of some topics a log remembers a group to have come somewhere.
///
/// # Errors
/// [`Error::Log`] if it cannot be read.
pub fn partitions_in_log(
    log: &bekk_log::Client,
    group: &str,
    topics: &[String],
) -> Result<usize, Error> {
    let failed = |error| Error::log(format!("read the offsets of group `{group}`"), error);
    let mut count = 0;
    for topic in log.topics().map_err(failed)? {
        if !topics.contains(&topic.name) {
            continue;
        }
        let committed = log.committed_offsets(group, &topic.name).map_err(failed)?;
        count += committed
            .iter()
            .filter(|(_, next)| *next != Offset::ZERO)
            .count();
    }
    Ok(count)
}

/// Makes a log forget how far a group has come in some topics: a database that does not know the group is then none
/// that it has been taken away from.
///
/// # Errors
/// [`Error::Log`] if it cannot be read or written.
pub fn forget_in_log(log: &bekk_log::Client, group: &str, topics: &[String]) -> Result<(), Error> {
    let failed = |error| Error::log(format!("forget group `{group}`"), error);
    let mut is_all = true;
    for topic in log.topics().map_err(failed)? {
        let committed = log.committed_offsets(group, &topic.name).map_err(failed)?;
        if committed.is_empty() {
            continue;
        }
        if !topics.contains(&topic.name) {
            is_all = false;
            continue;
        }
        for (partition, _) in committed {
            log.commit_offset(group, &topic.name, partition, Offset::ZERO)
                .map_err(failed)?;
        }
    }
    match is_all {
        true => log.forget_group(group).map_err(failed),
        false => Ok(()),
    }
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
        mark: mark_of(row, 9),
        refusal: Refusal::of_columns(row.get(12), row.get(13)),
        unaccounted: row.get(14),
        counted_before: count(15),
    }
}
