//! Which sessions hold the locks for which a statement may have waited in vain.

use tokio_postgres::Client;

use crate::migrations::SETUP_LOCK_KEY;

/// Strong locks on tables that other sessions or prepared transactions hold, that on the table `$2` first; then the lock of
/// the set-up; then locks on rows of Bekk's own tables. The wait has ended, so the server does not say for which it was.
const HOLDERS: &str = "\
    SELECT l.rank, l.what, l.pid, coalesce(nullif(a.application_name, ''), a.usename, '')::text
      FROM (SELECT CASE WHEN k.relation = $2 THEN 0
                        WHEN k.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock') THEN 1
                        WHEN k.locktype = 'advisory' THEN 2 ELSE 3 END AS rank,
                   CASE WHEN k.locktype = 'advisory' THEN 'the set-up of schema `bekk`'
                        ELSE format('table %I.%I', n.nspname, c.relname) END AS what,
                   k.mode, k.pid
              FROM pg_locks k
              LEFT JOIN pg_class c ON k.locktype = 'relation' AND c.oid = k.relation
              LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE k.granted AND k.pid IS DISTINCT FROM pg_backend_pid()
               AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (k.locktype = 'relation' AND c.oid >= 16384 AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
                    AND (k.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
                         OR k.mode IN ('RowExclusiveLock', 'RowShareLock') AND n.nspname = 'bekk')
                    OR k.locktype = 'advisory' AND k.classid = 0 AND k.objid = $1)) l
      LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     ORDER BY l.rank, l.mode <> 'AccessExclusiveLock', l.what, l.pid LIMIT 3";

/// Says what is locked, by whom, and what can be done about it. A statement on the table `of` has waited, if that is known.
pub(crate) async fn find(
    client: &Client,
    of: Option<u32>,
) -> Result<Option<String>, tokio_postgres::Error> {
    let rows = client.query(HOLDERS, &[&SETUP_LOCK_KEY, &of]).await?;
    let first = rows.first().map(|row| row.get::<_, i32>(0));
    let likely = rows
        .iter()
        .filter(|row| Some(row.get::<_, i32>(0)) == first);
    let holders: Vec<_> = likely
        .map(|row| holder(row.get(1), row.get(2), row.get(3)))
        .collect();
    Ok((!holders.is_empty()).then(|| holders.join("; ")))
}

fn holder(what: &str, pid: Option<i32>, name: &str) -> String {
    match pid {
        Some(pid) => format!(
            "{what} is locked by session {pid} (`{name}`): wait until it ends, or end it: SELECT \
             pg_terminate_backend({pid})"
        ),
        None => format!(
            "{what} is locked by a prepared transaction: end it with COMMIT PREPARED or ROLLBACK PREPARED (SELECT * FROM \
             pg_prepared_xacts)"
        ),
    }
}
