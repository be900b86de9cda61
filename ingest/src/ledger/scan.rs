//! A topic read through, all partitions together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bekk_log::{Client, Error as LogError, Offset};
use bekk_stream::META_TOPIC;

use crate::Error;
use crate::stats::Stats;

/// How many bytes are read from the log at once.
const READ_BYTES: usize = 1 << 20;
/// The same for `bekk.meta`, whose records may become ten times as long when they are decompressed.
const META_READ_BYTES: usize = 16 << 10;
/// Poll interval for the end of a transaction.
const KEPT_BACK_PAUSE: Duration = Duration::from_millis(20);
/// How long a transaction may be open before it is told that we wait for it.
const KEPT_BACK_SILENT: Duration = Duration::from_secs(2);

/// Where a scan reads, and whom it tells that it waits.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) log: &'a Client,
    pub(crate) stats: &'a Stats,
    pub(crate) stop: &'a AtomicBool,
}

/// Reads all partitions of a topic up to where they end now, always on from the one that is behind in
/// time: so the ranges of a file, whose records lie in all of them, come nearly in order and take little
/// memory.
///
/// On a Kafka cluster this includes records that cannot be read at the moment: another producer's open transaction hides
/// what was committed after its beginning. If ingest took these for missing, it would append them again, so it waits for
/// the end of the transaction.
pub(crate) struct Scan<'a> {
    reading: Reading<'a>,
    topic: &'a str,
    pub(crate) partitions: Vec<Partition>,
    /// Since when a transaction keeps records back.
    kept_back_since: Option<Instant>,
    /// Whether that has been told.
    has_told: bool,
    /// The ends have been asked for since the last read that gave nothing.
    has_asked: bool,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(
        reading: Reading<'a>,
        topic: &'a str,
        known_ends: &[u64],
    ) -> Result<Self, Error> {
        let ends = reading
            .log
            .high_watermarks(topic)
            .map_err(Error::log("find the log's ends"))?;
        let partitions = ends.iter().map(|ends| {
            let known = known_ends.get(ends.partition as usize);
            let known = Offset::new(known.copied().unwrap_or(0));
            Partition {
                number: ends.partition,
                next: known.max(ends.start),
                end: ends.end,
                timestamp_ms: i64::MIN,
            }
        });
        let partitions: Vec<Partition> = partitions.collect();
        let unread = partitions.iter().filter(|place| place.next < place.end);
        let places: Vec<_> = unread.map(|place| (place.number, place.next)).collect();
        reading
            .log
            .read_ahead(topic, &places)
            .map_err(Error::log("read the log"))?;
        Ok(Self {
            reading,
            topic,
            partitions,
            kept_back_since: None,
            has_told: false,
            has_asked: false,
        })
    }

    /// Reads on in one partition; says whether there may be more.
    ///
    /// # Errors
    /// [`Error::Stopped`] if it is told to stop while it waits for a transaction; others if the log fails.
    pub(crate) fn step(
        &mut self,
        mut take: impl FnMut(u32, bekk_log::Record<'_>),
    ) -> Result<bool, Error> {
        let log = self.reading.log;
        let unread = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.next < partition.end);
        let Some(partition) = unread.min_by_key(|partition| partition.timestamp_ms) else {
            return Ok(false);
        };
        let bytes = match self.topic {
            META_TOPIC => META_READ_BYTES,
            _ => READ_BYTES,
        };
        let records = match log.read(self.topic, partition.number, partition.next, bytes) {
            Ok(records) => records,
            // Retention went past us while we read.
            Err(LogError::OffsetOutOfRange { start, .. }) if start > partition.next => {
                partition.next = start;
                return Ok(true);
            }
            Err(error) => return Err(Error::log("read the log")(error)),
        };
        for record in records.iter() {
            partition.timestamp_ms = record.timestamp_ms;
            take(partition.number, record);
        }
        if records.next_offset() > partition.next {
            partition.next = records.next_offset();
            self.has_asked = false;
            self.has_told = false;
            if self.kept_back_since.take().is_some() {
                self.reading.stats.set_waits_for(None);
            }
            return Ok(true);
        }
        if self.has_asked {
            // There is nothing, though the end lies behind.
            partition.end = partition.next;
            self.has_asked = false;
            return Ok(true);
        }
        // A read ends where the log's end was when it was last asked for.
        let ends = log
            .ends(self.topic)
            .map_err(Error::log("find the log's ends"))?;
        let readable = ends.get(partition.number as usize);
        if readable.is_some_and(|end| *end <= partition.next) {
            self.wait_for_transaction()?;
        } else {
            self.has_asked = true;
        }
        Ok(true)
    }

    fn wait_for_transaction(&mut self) -> Result<(), Error> {
        let since = *self.kept_back_since.get_or_insert_with(Instant::now);
        std::thread::sleep(KEPT_BACK_PAUSE);
        if !self.has_told && since.elapsed() >= KEPT_BACK_SILENT {
            self.has_told = true;
            let why = format!(
                "another producer's open transaction hides records of topic `{}`",
                self.topic
            );
            tracing::warn!("{why}; ingest continues when it ends");
            self.reading.stats.set_waits_for(Some(why));
        }
        match self.reading.stop.load(Ordering::Relaxed) {
            true => Err(Error::Stopped),
            false => Ok(()),
        }
    }
}

pub(crate) struct Partition {
    number: u32,
    next: Offset,
    pub(crate) end: Offset,
    timestamp_ms: i64,
}
