//! Records that wait for a stream which the configuration does not have any more: no sink applies them.

use std::collections::BTreeMap;

use bekk_log::{Client, Offset};

use crate::Config;

const OTHERS: &str = "\
    SELECT topic, partition, next FROM bekk.offsets
     WHERE group_name = $1 AND log_id::text = $2 AND topic <> ALL ($3) AND owner IS NULL";

/// Warns of the group's records in topics without a stream, unless another sink holds them.
pub(super) async fn warn(
    client: &tokio_postgres::Client,
    log: &Client,
    config: &Config,
) -> Result<(), tokio_postgres::Error> {
    let (group, configured) = (&config.group, &config.configured);
    if configured.is_empty() {
        return Ok(());
    }
    let log_id = log.log_id().to_string();
    let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
    for row in client.query(OTHERS, &[group, &log_id, configured]).await? {
        let (topic, partition, next) = (row.get::<_, String>(0), row.get::<_, i32>(1), row.get(2));
        let next = Offset::new(i64::cast_unsigned(next));
        // A topic that was deleted, or another project's that this process may not read, has nothing to apply.
        let ends = log.partition_ends(&topic).unwrap_or_default();
        let ends = ends
            .iter()
            .find(|ends| ends.partition.cast_signed() == partition);
        let lag = ends.map_or(0, |ends| ends.end.get().saturating_sub(next.get()));
        *waiting.entry(topic).or_default() += lag;
    }
    for (topic, records) in waiting.iter().filter(|(_, records)| **records > 0) {
        tracing::warn!(
            group,
            topic,
            records,
            "records wait in a topic that has no stream in the configuration: no sink applies them; if the stream was \
             renamed, call it `{topic}` until they are applied; if it was removed: bekk offsets delete --group \
             {group} --stream {topic} --execute"
        );
    }
    Ok(())
}
