//! The reading thread: reads, sends batches, and takes note of what the log has acknowledged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bekk_log::{Client, Session};
use bekk_stream::{FileId, Stream};

use crate::Error;
use crate::config::{Config, Mode};
use crate::file::owner::Identity;
use crate::follow::account::{Account, Place, begun_with};
use crate::follow::catalog::Catalog;
use crate::follow::complaints::Complaints;
use crate::follow::formats::Formats;
use crate::follow::known::Known;
use crate::follow::outflow::Outflow;
use crate::follow::queue::Queue;
use crate::follow::tracked::Tracked;
use crate::inbox::Inbox;
use crate::inbox::lock::InboxLock;
use crate::inbox::watch::Watch;
use crate::ledger::appender::Event;
use crate::ledger::archive::Archive;
use crate::ledger::marks::TopicLoss;
use crate::ledger::recover::Recovered;
use crate::stats::{Stats, Summary};
use crate::text::notice::NoticeKind;
use crate::text::parsed_batch::ParsedBatch;
use crate::text::reader::BlockReader;

/// How long the thread sleeps at most, so that it sees when it is told to stop.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Interval between comparisons of a log elsewhere with what was appended to it
const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// What the engine works with.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) streams: &'a [Stream],
    pub(crate) log: &'a Client,
    pub(crate) identity: &'a Identity,
    pub(crate) stats: &'a Stats,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) inbox: &'a Inbox,
    pub(crate) inbox_lock: &'a mut InboxLock,
    pub(crate) watch: Option<&'a mut Watch>,
    pub(crate) checkpoint_path: PathBuf,
}

/// One session of ingest.
pub(crate) struct Engine<'a> {
    pub(crate) around: Surroundings<'a>,
    pub(crate) session: Session,
    pub(crate) reader: BlockReader,
    pub(crate) formats: Formats<'a>,
    pub(crate) outflow: Outflow<'a>,
    pub(crate) catalog: Catalog,
    /// Finished files that are in no catalog until a file is met that begins as one of them.
    pub(crate) archive: Archive,
    pub(crate) queue: Queue,
    pub(crate) complaints: Complaints,
    pub(crate) account: Account,
    /// How often the log may have been replaced when it was last compared with what was appended.
    doubts: u64,
    compared_at: Instant,
    pub(crate) scan: u64,
    pub(crate) scan_at: Instant,
    pub(crate) summary: Summary,
    /// The place of each file's notice among those of the summary.
    pub(crate) noticed: HashMap<(FileId, NoticeKind), usize>,
}

/// Why a session ended before it should.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// An append may or may not have happened.
    Unknown(bekk_log::Error),
    /// The log has lost records of these topics, or was replaced.
    Lost(Vec<TopicLoss>),
    /// For good.
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stopped {
    fn from_append(error: bekk_log::Error) -> Self {
        match error {
            error @ (bekk_log::Error::Store { .. }
            | bekk_log::Error::Io { .. }
            | bekk_log::Error::Remote { .. }) => Self::Unknown(error),
            error => Self::Error(Error::log("append to the log")(error)),
        }
    }
}

impl<'a> Engine<'a> {
    pub(crate) fn new(
        around: Surroundings<'a>,
        recovered: Recovered,
        batches: Sender<ParsedBatch>,
        events: &'a Receiver<Event>,
    ) -> Self {
        let partitions: Vec<u32> = recovered
            .ends
            .iter()
            .map(|ends| u32::try_from(ends.len()).expect("a topic has at most 1,024 partitions"))
            .collect();
        let index = |name: &str| around.streams.iter().position(|stream| stream.name == name);
        let files = recovered.files.into_iter();
        let configured = files.filter_map(|file| Some((index(&file.stream)?, file)));
        let known = Known::new(configured, recovered.recent);
        let now = Instant::now();
        Self {
            session: recovered.session,
            reader: BlockReader::new(),
            outflow: Outflow::new(&partitions, batches, events),
            formats: Formats::new(around.streams, partitions),
            catalog: Catalog::new(known),
            archive: recovered.archive,
            queue: Queue::new(),
            complaints: Complaints::default(),
            account: Account::new(
                recovered.ends,
                recovered.others,
                recovered.told,
                recovered.healed,
                recovered.marks,
            ),
            doubts: around.log.doubts(),
            compared_at: now,
            scan: 0,
            scan_at: now,
            summary: Summary::default(),
            noticed: HashMap::new(),
            around,
        }
    }

    /// Reads until everything is read (once) or it is told to stop.
    ///
    /// # Errors
    /// If the log or the checkpoint fails.
    pub(crate) fn run(&mut self) -> Result<(), Stopped> {
        self.scan()?;
        let is_once = self.around.config.mode == Mode::Once;
        loop {
            while let Some(event) = self.outflow.try_recv() {
                self.take_event(event)?;
            }
            // There may be nothing to append for long, and somebody must take over.
            self.around
                .log
                .check()
                .map_err(Error::log("reach the log"))?;
            self.compare_log()?;
            if self.around.stop.load(Ordering::Relaxed) {
                break;
            }
            if !is_once {
                self.meet_changed()?;
                if Instant::now() >= self.scan_at {
                    self.scan()?;
                }
            }
            let is_busy = self.read_some()?;
            self.send(!is_busy)?;
            if self.account.is_due() {
                self.store_checkpoint()?;
            }
            if is_busy {
                continue;
            }
            if is_once
                && self.settle()?
                && self.queue.is_backlog_empty()
                && self.outflow.pending().iter().all(ParsedBatch::is_empty)
            {
                break;
            }
            self.wait()?;
        }
        self.wind_up()
    }

    /// What this session has done.
    pub(crate) fn into_summary(self) -> Summary {
        self.summary
    }

    /// Appends what is pending, waits until all is acknowledged, and writes down where that leaves us.
    fn wind_up(&mut self) -> Result<(), Stopped> {
        for stream in 0..self.around.streams.len() {
            if !self.outflow.pending()[stream].is_empty() && self.await_room()? {
                self.send_one(stream);
            }
        }
        while self.outflow.is_in_flight() {
            match self.outflow.recv() {
                Some(event) => self.take_event(event)?,
                // The appender has given up because of `stop`; the rest is read again next time.
                None => break,
            }
        }
        self.finish_files(true)?;
        self.store_checkpoint()
    }

    /// Waits until all that was read of a file is in the log, or will not be: then its entry tells all of it.
    pub(crate) fn await_appends(&mut self, id: FileId) -> Result<(), Stopped> {
        let is_pending = |tracked: &Tracked| tracked.entry.position < tracked.cursor.position;
        let Some(stream) = self
            .catalog
            .get(id)
            .filter(|tracked| is_pending(tracked))
            .map(|tracked| tracked.stream)
        else {
            return Ok(());
        };
        if !self.outflow.pending()[stream].is_empty() && self.await_room()? {
            self.send_one(stream);
        }
        while self.outflow.is_in_flight() && self.catalog.get(id).is_some_and(is_pending) {
            match self.outflow.recv() {
                Some(event) => self.take_event(event)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Sends batches that are full, and with `is_idle` whatever is there, as long as few are on their way.
    fn send(&mut self, is_idle: bool) -> Result<(), Stopped> {
        for stream in 0..self.around.streams.len() {
            let pending = &self.outflow.pending()[stream];
            if pending.bytes() >= self.around.config.batch_bytes {
                if self.await_room()? {
                    self.send_one(stream);
                }
            } else if is_idle && !pending.is_empty() && self.outflow.has_room() {
                self.send_one(stream);
            }
        }
        Ok(())
    }

    /// Waits until another batch may be sent; `false` if none may any more.
    fn await_room(&mut self) -> Result<bool, Stopped> {
        while !self.outflow.has_room() {
            match self.outflow.recv() {
                Some(event) => self.take_event(event)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn send_one(&mut self, stream: usize) {
        let begun = begun_with(&self.outflow.pending()[stream], &mut self.catalog);
        self.outflow.send(stream, begun);
    }

    fn take_event(&mut self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Wake | Event::GaveUp => Ok(()),
            Event::Appended(batch, offsets) => {
                let streams = self.around.streams;
                let topic = &streams[batch.stream].name;
                if let Some(loss) = self.account.set_back(topic, &offsets) {
                    return Err(Stopped::Lost(vec![loss]));
                }
                // Before the marks become those of this batch.
                self.compare_log()?;
                let counts = (&mut self.summary, self.around.stats);
                self.account
                    .acknowledge(&batch, &offsets, topic, &mut self.catalog, counts);
                self.outflow.recycle(batch);
                Ok(())
            }
            Event::Refused(error, origin) => {
                let file = self.catalog.get(origin.file);
                let path = file.map_or_else(PathBuf::new, |file| file.entry.path().to_owned());
                Err(Stopped::Error(Error::RecordRefused {
                    path,
                    line: origin.line,
                    source: Box::new(error),
                }))
            }
            Event::Failed(error) => Err(Stopped::from_append(error)),
        }
    }

    /// Compares the log with what was appended, where it may have been replaced since. On a log elsewhere also from
    /// time to time: a producer is not told that a topic was made again.
    fn compare_log(&mut self) -> Result<(), Stopped> {
        let log = self.around.log;
        let doubts = log.doubts();
        let is_due = !log.is_owner() && self.compared_at.elapsed() >= COMPARE_EVERY;
        if doubts == self.doubts && !is_due {
            return Ok(());
        }
        match self.account.lost(log, self.around.streams) {
            Ok(lost) if lost.is_empty() => {
                self.doubts = doubts;
                self.compared_at = Instant::now();
                Ok(())
            }
            Ok(lost) => Err(Stopped::Lost(lost)),
            // One that cannot be reached is joined anew by whoever runs this.
            Err(error) => Err(Stopped::Error(error)),
        }
    }

    fn store_checkpoint(&mut self) -> Result<(), Stopped> {
        let around = &self.around;
        let place = Place {
            path: &around.checkpoint_path,
            interval: around.config.checkpoint_interval,
            streams: around.streams,
            log: around.log,
            session: &self.session,
            stats: around.stats,
            stop: around.stop,
        };
        Ok(self.account.store(&self.catalog, &place)?)
    }

    /// Waits for news: an append's end, a change of files, or the time to look again.
    fn wait(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        let mut until = now + SLEEP_MAX;
        if self.around.config.mode == Mode::Follow {
            until = until.min(self.scan_at);
            if let Some(poll_at) = self.queue.next_poll(self.around.config.poll_active) {
                until = until.min(poll_at);
            }
        }
        match self
            .outflow
            .recv_timeout(until.saturating_duration_since(now))
        {
            Ok(event) => self.take_event(event),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                // Only after `stop`: nobody is left who could tell us anything.
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            }
        }
    }
}
