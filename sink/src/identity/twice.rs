//! A new group, and a table without a key that another group fills from the same log, or the same group before the stream
//! got its name: each row would come twice.

use bekk_stream::Stream;
use tokio_postgres::{Client, Row};

use crate::Error;
use crate::catalog::Table;

/// The other groups that have set up the table: from the log, by the same topic or by one that the configuration no longer
/// has, or by the same topic of another log. A table that was made again may have another number, and a table that was
/// renamed another name. The set-up lock makes two groups that start at once come here one after the other. Without a log,
/// each is taken for that of the groups.
const OTHERS: &str = "\
    SELECT g.group_name, g.topic, o.is_of_log, o.has_filled
      FROM bekk.groups g
     CROSS JOIN LATERAL (SELECT bool_or(o.log_id::text = coalesce($6, o.log_id::text)) AS is_of_log,
                                bool_or(o.rows > 0) AS has_filled
                           FROM bekk.offsets o WHERE o.group_name = g.group_name AND o.topic = g.topic) o
     WHERE ((to_jsonb(g) ->> 'table_oid')::bigint = $3 OR g.table_name = $4) AND (g.group_name, g.topic) <> ($1, $2)
       AND (g.topic = $2 AND o.is_of_log IS NOT NULL OR g.topic <> ALL ($5) AND o.is_of_log)
     ORDER BY o.is_of_log DESC, o.has_filled DESC, g.topic = $2 DESC, g.group_name = $1 DESC, g.group_name, g.topic";

/// Rows of other groups or streams in a table without a key, which this one may write a second time.
pub(crate) enum Others {
    /// They come from the same log: the start is refused.
    OfLog(Error),
    /// They come from another log: a warning, since several projects may fill one table.
    OfOtherLog(String),
}

/// Finds out who has filled a table without a key, or is about to, unless it is empty although that one has filled it.
pub(crate) async fn find(
    client: &Client,
    (group, log_id): (&str, Option<&str>),
    (stream, table): (&Stream, &Table),
    configured: &[&str],
) -> Result<Option<Others>, tokio_postgres::Error> {
    let topic = &stream.name;
    let oid = i64::from(table.version.oid);
    let name = &table.full_name;
    let others = client
        .query(OTHERS, &[&group, topic, &oid, name, &configured, &log_id])
        .await?;
    let has_filled = |other: &Row| other.get::<_, bool>(3);
    let mut was_emptied = false;
    // A sink that only appends needs no right to read the table.
    if others.iter().any(has_filled) && table.access.may_select {
        let any = format!("SELECT NOT EXISTS (SELECT FROM {})", table.sql_name);
        was_emptied = client.query_one(&any, &[]).await?.get(0);
    }
    let is_of_log = |other: &Row| other.get::<_, bool>(2);
    let mut others = others.iter().filter(|other| match has_filled(other) {
        true => !was_emptied,
        // Another group's sink may be about to begin.
        false => is_of_log(other) && other.get::<_, &str>(0) != group,
    });
    let Some(other) = others.next() else {
        return Ok(None);
    };
    let before: &str = other.get(0);
    if is_of_log(other) {
        let of = (other.get(0), other.get(1));
        let of_log = log_id.map_or("", |_| " of this log");
        let refusal = refusal(group, (topic, name, of_log), of, has_filled(other));
        return Ok(Some(Others::OfLog(refusal)));
    }
    Ok(Some(Others::OfOtherLog(format!(
        "group `{before}` has filled table `{name}`, which has no key, from another log: a record that both logs have \
         becomes two rows"
    ))))
}

/// Says that a group has applied topic `from` to the table of a stream, or is about to.
fn refusal(
    group: &str,
    (topic, name, of_log): (&str, &str, &str),
    (before, from): (&str, &str),
    has_filled: bool,
) -> Error {
    let forget = format!("bekk offsets delete --group {before} --stream {from}");
    let fills = match has_filled {
        true => "has filled",
        false => "is about to fill",
    };
    let (what, advice) = match from == topic {
        true if !has_filled => (
            format!(
                "group `{before}` {fills} table `{name}`, which has no key, from topic `{topic}`{of_log}: each record \
                 would become two rows"
            ),
            format!(
                "use group `{before}` (--group {before}), or another table; if no sink of group `{before}` runs any more: \
                 {forget} --execute"
            ),
        ),
        true => (
            format!(
                "group `{before}` has applied topic `{topic}`{of_log} to table `{name}`, which has no key: this \
                 group would insert the same rows again"
            ),
            format!(
                "use group `{before}` (--group {before}), or another table; to insert them again all the same: \
                 {forget} --allow-duplicates --execute"
            ),
        ),
        false => (
            format!(
                "group `{before}` {fills} table `{name}`, which has no key, from topic `{from}`{of_log}, and the \
                 configuration has no stream `{from}` any more: if stream `{topic}` is the same under a new name, \
                 each row would come twice"
            ),
            format!(
                "call the stream `{from}` again; if it is another one, and its files hold other rows: {forget} \
                 --allow-duplicates --execute"
            ),
        ),
    };
    Error::OtherTarget {
        group: group.to_owned(),
        topic: topic.to_owned(),
        what,
        advice,
    }
}
