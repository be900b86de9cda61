//! A group whose offsets in the database are before those that the log remembers, and a table without a key.
//!
//! If the whole server was restored, the rows after the offsets are gone, and the records are applied again. If only
//! schema `bekk` was, the rows are there, and would come twice. Each record is one row here, so that their number tells
//! the two apart.

use tokio_postgres::Client;

use super::SetupError;
use crate::Error;
use crate::refusal::{advice_without_a_key, replay_command};
use crate::target::StreamTarget;

/// Rows that all groups which fill the table have inserted by their offsets, those of retried dead letters among them, and
/// rows of the table, in one snapshot: other sinks of the group may run.
const COUNT: &str = "\
    SELECT (SELECT count(*) FROM TABLE_NAME), coalesce(sum(o.rows + (SELECT count(*) FROM bekk.dead_letters d
                                   WHERE d.group_name = o.group_name AND d.topic = o.topic
                                     AND d.partition = o.partition AND d.resolution = 'retried')), 0)::bigint
      FROM bekk.offsets o
     WHERE (o.group_name, o.topic) IN (
               SELECT g.group_name, g.topic FROM bekk.groups g
                WHERE g.table_oid = (SELECT table_oid FROM bekk.groups WHERE group_name = $1 AND topic = $2))";

/// Refuses a table that has more rows than were inserted up to the offsets.
pub(super) async fn refuse_rows_of_later(
    client: &Client,
    group: &str,
    target: &StreamTarget,
) -> Result<(), SetupError> {
    let (stream, topic) = (&target.stream, &target.stream.name);
    // A sink that only appends needs no right to read the table.
    if !target.table.access.may_select {
        return Ok(());
    }
    let count = COUNT.replace("TABLE_NAME", &target.table.sql_name);
    let counted = client.query_one(&count, &[&group, topic]).await?;
    let (rows, inserted): (i64, i64) = (counted.get(0), counted.get(1));
    if rows <= inserted {
        return Ok(());
    }
    let table = &stream.table;
    let replay = replay_command(group, stream);
    Err(SetupError::Stop(Error::OtherTarget {
        group: group.to_owned(),
        topic: topic.clone(),
        what: format!(
            "the log remembers that the group was further than its offsets in the database are, and table `{table}` \
             has {rows} rows, while up to these offsets {inserted} were inserted: schema bekk alone was restored from \
             a backup, or other programs write to the table"
        ),
        advice: format!(
            "if the table was restored from the same backup, continue at the offsets: bekk offsets reset --group \
             {group} --stream {topic} --to shift:0 --execute; if not, {}",
            advice_without_a_key(stream, &replay)
        ),
    }))
}
