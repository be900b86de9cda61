//! The sink's own work without the server's: what a bench measures.

use bekk_log::Client;
use bekk_stream::Stream;
use parking_lot::Mutex;

use crate::command::with_session;
use crate::meta_cache::MetaCache;
use crate::prepare::{Bounds, Source, prepare};
use crate::target::{Transaction, prepare_table};
use crate::{Config, Error};

/// What was encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Records read: rows and dead letters.
    pub records: u64,
    /// Bytes of COPY data.
    pub bytes: u64,
    /// Batches made.
    pub batches: u64,
}

/// Reads and encodes all records that a log has of a stream, as [`run`](crate::run) does, and sends none
/// of them. The table is made if it does not exist: the encoders follow its column types.
///
/// # Errors
/// As [`run`](crate::run), and also if the server is away.
pub fn encode_only(config: &Config, stream: &Stream, log: &Client) -> Result<Encoded, Error> {
    let target = with_session(&config.postgres, "bekk-bench", async |session| {
        prepare_table(session, stream, Transaction::None)
            .await
            .map_err(|error| error.into_error("make the table"))
    })?;
    let meta = Mutex::new(MetaCache::default());
    let topic = &stream.name;
    let ends = log
        .partition_ends(topic)
        .map_err(|error| Error::log(format!("read the ends of topic `{topic}`"), error))?;
    let mut encoded = Encoded::default();
    for ends in ends {
        let source = Source {
            group: &config.group,
            log,
            meta: &meta,
            target: &target,
            partition: ends.partition,
        };
        let bounds = Bounds {
            until: u64::MAX,
            records_max: config.batch_records_max,
            bytes_max: config.batch_bytes_max,
        };
        let mut from = ends.start.get();
        while let Some(batch) = prepare(source, from, bounds)? {
            let sent = batch
                .copy_chunks(&batch.winners)
                .map(|chunk| chunk.len() as u64);
            encoded.bytes += sent.sum::<u64>();
            encoded.records += (batch.rows.len() + batch.dead.len()) as u64;
            encoded.batches += 1;
            from = batch.next;
        }
    }
    Ok(encoded)
}
