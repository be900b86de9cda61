//! A new group, and a table without a key that another group has filled from the same log, or the same group before the
//! stream got its name: each row would come twice.

use tokio_postgres::Client;

use super::SetupError;
use crate::Error;
use crate::target::StreamTarget;

/// A group that has filled the table: from the log, by the same topic or by one that the configuration no longer has, or
/// by the same topic of another log. A table that was made again may have another number, and a table that was renamed
/// another name.
const OTHER: &str = "\
    SELECT g.group_name, g.topic, o.is_of_log
      FROM bekk.groups g
     CROSS JOIN LATERAL (SELECT bool_or(o.log_id::text = $6) AS is_of_log FROM bekk.offsets o
                          WHERE o.group_name = g.group_name AND o.topic = g.topic AND o.rows > 0) o
     WHERE (g.table_oid = $3 OR g.table_name = $4) AND (g.group_name, g.topic) <> ($1, $2)
       AND (g.topic = $2 AND o.is_of_log IS NOT NULL OR g.topic <> ALL ($5) AND o.is_of_log)
     ORDER BY o.is_of_log DESC, g.topic = $2 DESC, g.group_name = $1 DESC, g.group_name, g.topic
     LIMIT 1";

/// Refuses a table that has rows, and that another group or stream has filled from the log. Reports one that another
/// group has filled from another log, since several projects may fill one table.
pub(super) async fn refuse_rows_of_others(
    client: &Client,
    (group, log_id): (&str, &str),
    target: &StreamTarget,
    configured: &[&str],
) -> Result<(), SetupError> {
    let (stream, table) = (&target.stream, &target.table);
    let topic = &stream.name;
    let oid = i64::from(table.version.oid);
    let name = &table.full_name;
    let other = client
        .query_opt(OTHER, &[&group, topic, &oid, name, &configured, &log_id])
        .await?;
    let Some(other) = other else {
        return Ok(());
    };
    // A sink that only appends needs no right to read the table.
    if table.access.may_select {
        let any = format!("SELECT EXISTS (SELECT FROM {})", table.sql_name);
        if !client.query_one(&any, &[]).await?.get::<_, bool>(0) {
            return Ok(());
        }
    }
    let (before, from): (&str, &str) = (other.get(0), other.get(1));
    if !other.get::<_, bool>(2) {
        tracing::warn!(
            group,
            stream = topic,
            "group `{before}` has filled table `{name}`, which has no key, from another log: a record that both logs \
             have becomes two rows"
        );
        return Ok(());
    }
    let forget = format!("bekk offsets delete --group {before} --stream {from}");
    let (what, advice) = match from == topic {
        true => (
            format!(
                "group `{before}` has applied topic `{topic}` of this log to table `{name}`, which has no key: this \
                 group would insert the same rows again"
            ),
            format!(
                "use group `{before}` (--group {before}), or another table; to insert them again all the same: \
                 {forget} --allow-duplicates --execute"
            ),
        ),
        false => (
            format!(
                "group `{before}` has filled table `{name}`, which has no key, from topic `{from}` of this log, and \
                 the configuration has no stream `{from}` any more: if stream `{topic}` is the same under a new name, \
                 each row would come twice"
            ),
            format!(
                "call the stream `{from}` again; if it is another one, and its files hold other rows: {forget} \
                 --allow-duplicates --execute"
            ),
        ),
    };
    Err(SetupError::Stop(Error::OtherTarget {
        group: group.to_owned(),
        topic: topic.clone(),
        what,
        advice,
    }))
}
