//! The whole pipeline as one snapshot, for its continuous viewers: the page and `bekk top`.
//!
//! Background queries ask log, files and database, only while there is a viewer; all viewers share the answers.
//! A source that does not answer leaves its last answer, whose age is shown.

mod health;
mod history;
mod meter;
mod parts;
mod snapshot;
mod source;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bekk_sink::ConnectOptions;
use jiff::Timestamp;
use parking_lot::Mutex;

pub(crate) use health::{Health, Level};
pub(crate) use history::{History, Point, Sample, Sampler, Span};
pub(crate) use parts::{Figure, Part, parts};
pub(crate) use snapshot::{Ages, Flow, GroupTotals, Snapshot};

use crate::args::PostgresArgs;
use crate::context::Context;
use crate::log_place::LogPlace;
use crate::service::{Database, Parts, Service};
use crate::status::{Asked, DEFAULT_GROUP, DatabaseStatus, Files, LogStatus, known_files};
use meter::Meter;
use source::{Reading, Source};

/// Age up to which all viewers get the same snapshot
const SHARED_FOR: Duration = Duration::from_millis(800);
/// Age in seconds beyond which a sample is not a current rate
pub(crate) const RATE_AGE_MAX: u64 = 15;
/// Age of ingest's records beyond which its files are not being read
const RATE_AGE: Duration = Duration::from_secs(5);

struct LogReading {
    status: LogStatus,
    /// Records appended to the streams' topics so far.
    appended: Option<u64>,
}

/// Files as ingest has recorded them
struct FilesReading {
    list: bekk_ingest::Files,
    counts: Files,
    /// Bytes a second of the files that are read, by device and inode.
    rates: HashMap<(u64, u64), f64>,
}

/// Answer of the database; while it is unreachable, the last one
struct DatabaseReading {
    status: DatabaseStatus,
    /// Time of the answer; `None` before the first one.
    known_at: Option<Instant>,
}

/// Looks at a pipeline for others.
pub(crate) struct Observer {
    service: Arc<Service>,
    context: Arc<Context>,
    place: LogPlace,
    log: Arc<Source<LogReading>>,
    files: Arc<Source<Result<FilesReading, String>>>,
    database: Arc<Source<DatabaseReading>>,
    read: Mutex<Meter>,
    applied: Mutex<Meter>,
    history: Arc<History>,
    /// The database that this process does not need and has found.
    found: Arc<FoundDatabase>,
    latest: Mutex<Option<Arc<Snapshot>>>,
    number: AtomicU64,
}

impl Observer {
    /// Looks at what a service of this role does with the log at `place`.
    pub(crate) fn new(
        service: &Arc<Service>,
        context: &Arc<Context>,
        place: LogPlace,
        role: &'static str,
    ) -> Self {
        let history = History::open(&context.base.join(".bekk/history"), role);
        Self::with_history(service, context, place, history)
    }

    fn with_history(
        service: &Arc<Service>,
        context: &Arc<Context>,
        place: LogPlace,
        history: History,
    ) -> Self {
        Self {
            service: Arc::clone(service),
            context: Arc::clone(context),
            place,
            log: Source::new("look-log"),
            files: Source::new("look-files"),
            database: Source::new("look-database"),
            read: Mutex::default(),
            applied: Mutex::default(),
            history: Arc::new(history),
            found: Arc::default(),
            latest: Mutex::default(),
            number: AtomicU64::new(0),
        }
    }

    /// Observes the same for a process that records no history of its own.
    pub(crate) fn onlooker(
        service: &Arc<Service>,
        context: &Arc<Context>,
        place: LogPlace,
    ) -> Self {
        let history = History::beside(&context.base.join(".bekk/history"));
        Self::with_history(service, context, place, history)
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Returns the log's place, for a person.
    pub(crate) fn place(&self) -> String {
        self.place.to_string()
    }

    pub(crate) fn client(&self) -> Option<bekk_log::Client> {
        self.service.parts().log
    }

    pub(crate) fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Returns the present state. Waits at most `patience` for sources that have not answered yet.
    pub(crate) fn look(&self, patience: Duration) -> Arc<Snapshot> {
        if let Some(snapshot) = self.latest(patience) {
            return snapshot;
        }
        let parts = self.service.parts();
        self.ask(&parts);
        let deadline = Instant::now() + patience;
        self.log.await_first(deadline);
        self.database.await_first(deadline);
        self.files.await_first(deadline);
        // Another viewer may have made one meanwhile.
        self.latest(Duration::ZERO).unwrap_or_else(|| {
            let snapshot = Arc::new(self.snapshot(&parts));
            let mut latest = self.latest.lock();
            *latest = Some(Arc::clone(&snapshot));
            snapshot
        })
    }

    /// The latest snapshot, if it is fresh; whoever has patience wants a complete one.
    fn latest(&self, patience: Duration) -> Option<Arc<Snapshot>> {
        let latest = self.latest.lock();
        let is_wanted = |snapshot: &&Arc<Snapshot>| {
            snapshot.taken.elapsed() < SHARED_FOR && (snapshot.is_complete() || patience.is_zero())
        };
        latest.as_ref().filter(is_wanted).cloned()
    }

    /// The latest list of files, however old.
    pub(crate) fn file_list(&self) -> Option<FileList> {
        let reading = self.files.latest()?;
        reading.value.is_ok().then_some(FileList(reading))
    }

    /// The database in use, or the one that can be found.
    pub(crate) fn postgres(&self) -> Option<ConnectOptions> {
        match self.service.parts().postgres {
            Database::InUse { options, .. } => Some(*options),
            Database::Starting => None,
            Database::NotNeeded => self.found.get(),
        }
    }

    fn ask(&self, parts: &Parts) {
        let (place, log, waits) = (
            self.place.clone(),
            parts.log.clone(),
            parts.log_waits_for.clone(),
        );
        self.log.refresh(move || {
            let log = match waits {
                Some(reason) => Err(reason),
                None => Ok(log),
            };
            let status = LogStatus::of(&place, log.as_ref().map(Option::as_ref));
            let appended = (log.is_ok_and(|log| log.is_some()) && status.error.is_none())
                .then(|| snapshot::appended(&status));
            LogReading { status, appended }
        });
        let context = Arc::clone(&self.context);
        let before = self.files.latest();
        self.files.refresh(move || {
            let list = known_files(&context).map_err(|error| format!("{error:#}"))?;
            let before = before.as_ref().map(|reading| &*reading.value);
            Ok(FilesReading {
                counts: Files::of(&list, &context),
                rates: match before {
                    Some(Ok(before)) => before.rates_until(&list),
                    _ => HashMap::new(),
                },
                list,
            })
        });
        let (context, parts) = (Arc::clone(&self.context), parts.clone());
        let (before, found) = (self.database.latest(), Arc::clone(&self.found));
        self.database.refresh(move || {
            let status = database_status(&context, &parts, &found);
            DatabaseReading::new(status, before.as_ref().map(|reading| &*reading.value))
        });
    }

    fn snapshot(&self, parts: &Parts) -> Snapshot {
        let log = self.log.latest();
        let files = self.files.latest();
        let database = self.database.latest();
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let ages = Ages {
            log: log.as_ref().map(|reading| reading.at.elapsed()),
            files: files.as_ref().map(|reading| reading.at.elapsed()),
            database: database.as_ref().map(|reading| {
                let known_at = reading.value.known_at.unwrap_or(reading.at);
                known_at.elapsed()
            }),
        };
        let flow = self.flow(parts, log.as_ref(), database.as_ref());
        let log = log.map_or_else(
            || LogStatus::of(&self.place, Ok(None)),
            |reading| reading.value.status.clone(),
        );
        let (counts, files_error) = match files.as_ref().map(|reading| &*reading.value) {
            Some(Ok(files)) => (files.counts.clone(), None),
            Some(Err(error)) => (Files::default(), Some(error.clone())),
            None => (Files::default(), None),
        };
        let database = database.map_or_else(DatabaseStatus::default, |reading| {
            reading.value.status.clone()
        });
        let list = self.file_list();
        Snapshot::new(number, Timestamp::now(), ages, flow, log, counts, database)
            .with_files(list.as_ref(), files_error)
            .with_parts(parts, self.service.readiness())
    }

    /// Computes rates from the sources' counts, or from the history until there are two counts.
    fn flow(
        &self,
        parts: &Parts,
        log: Option<&Reading<LogReading>>,
        database: Option<&Reading<DatabaseReading>>,
    ) -> Flow {
        let group = snapshot::main_group(parts, database.map(|reading| &reading.value.status));
        let read = log.and_then(|reading| Some((reading.at, reading.value.appended?)));
        let applied = database
            .filter(|reading| reading.value.status.postgres.error.is_none())
            .map(|reading| {
                (
                    reading.at,
                    snapshot::next_sum(&reading.value.status, &group),
                )
            });
        let rate = |meter: &Mutex<Meter>, count: Option<(Instant, u64)>| {
            let mut meter = meter.lock();
            let (at, count) = count?;
            meter.add(at, count);
            meter.rate()
        };
        let recent = self.history.latest(RATE_AGE_MAX).unwrap_or_default();
        let visible_us = parts.sink.as_ref().and_then(|sink| {
            let us = sink.stats.last_visible_latency_us.load(Ordering::Relaxed);
            (sink.stats.batches.load(Ordering::Relaxed) > 0).then_some(us)
        });
        let lag = parts.sink.as_ref().map(|sink| sink.stats.lag());
        Flow {
            lag_records: lag,
            lag_seconds: lag.and(recent.lag_seconds),
            read_rate: rate(&self.read, read).or(recent.read_rate),
            applied_rate: rate(&self.applied, applied).or(recent.applied_rate),
            visible_after: visible_us
                .map(|us| us as f64 / 1e6)
                .or(recent.visible_median),
            group,
        }
    }
}

impl FilesReading {
    /// Computes the rate of each file between this and a later list.
    fn rates_until(&self, list: &bekk_ingest::Files) -> HashMap<(u64, u64), f64> {
        let (Some(then), Some(now)) = (self.list.as_of, list.as_of) else {
            return HashMap::new();
        };
        // Nothing has been written down in between.
        let Ok(seconds) = now.duration_since(then).map(|took| took.as_secs_f64()) else {
            return HashMap::new();
        };
        if seconds <= 0.0 {
            let is_old = SystemTime::now()
                .duration_since(now)
                .is_ok_and(|age| age > RATE_AGE);
            return if is_old {
                HashMap::new()
            } else {
                self.rates.clone()
            };
        }
        let before: HashMap<_, _> = self
            .list
            .files
            .iter()
            .map(|file| (inode(file), file.position))
            .collect();
        let rate = |file: &bekk_ingest::FileStatus| {
            let read = file.position.checked_sub(*before.get(&inode(file))?)?;
            (read > 0).then(|| (inode(file), read as f64 / seconds))
        };
        list.files.iter().filter_map(rate).collect()
    }
}

const fn inode(file: &bekk_ingest::FileStatus) -> (u64, u64) {
    (file.device, file.inode)
}

impl DatabaseReading {
    fn new(mut status: DatabaseStatus, before: Option<&Self>) -> Self {
        if status.postgres.error.is_none() && !status.postgres.is_stopped {
            let known_at = Some(Instant::now());
            return Self { status, known_at };
        }
        if let Some(before) = before {
            status.groups.clone_from(&before.status.groups);
            status.streams.clone_from(&before.status.streams);
            status.tables.clone_from(&before.status.tables);
            status.dead_letters.clone_from(&before.status.dead_letters);
        }
        Self {
            status,
            known_at: before.and_then(|before| before.known_at),
        }
    }
}

/// A list of files, and its age.
pub(crate) struct FileList(Reading<Result<FilesReading, String>>);

impl FileList {
    /// Bytes of a file that are read a second.
    pub(crate) fn rate(&self, file: &bekk_ingest::FileStatus) -> Option<f64> {
        let reading = self.0.value.as_ref().as_ref().ok()?;
        reading.rates.get(&inode(file)).copied()
    }

    pub(crate) fn files(&self) -> &bekk_ingest::Files {
        match &*self.0.value {
            Ok(reading) => &reading.list,
            Err(_) => unreachable!("only lists that were read are handed out"),
        }
    }
}

/// The database that was found last. Only its address is kept: to hold a share in a private server would keep it
/// running for nobody but us.
#[derive(Default)]
struct FoundDatabase(Mutex<Option<ConnectOptions>>);

impl FoundDatabase {
    fn get(&self) -> Option<ConnectOptions> {
        self.0.lock().clone()
    }

    fn set(&self, options: Option<ConnectOptions>) {
        *self.0.lock() = options;
    }
}

/// Asks the database in use, or the one that the configuration names.
fn database_status(context: &Context, parts: &Parts, found: &FoundDatabase) -> DatabaseStatus {
    let log = parts.log.as_ref();
    let group = parts
        .sink
        .as_ref()
        .map_or(DEFAULT_GROUP, |sink| sink.group.as_str());
    let streams = context.streams();
    let asked = Asked {
        group,
        streams: &streams,
        configured: &streams,
    };
    match &parts.postgres {
        Database::InUse { options, .. } => {
            return DatabaseStatus::of(Ok(Some(options)), log, &asked);
        }
        Database::Starting => return DatabaseStatus::default(),
        Database::NotNeeded => {}
    }
    if found.get().is_none() {
        match context.database_if_running(&PostgresArgs { postgres: None }) {
            Ok(database) => found.set(database.map(|database| database.options)),
            Err(error) => return DatabaseStatus::of(Err(&format!("{error:#}")), log, &asked),
        }
    }
    let options = found.get();
    let status = DatabaseStatus::of(Ok(options.as_ref()), log, &asked);
    // A private server that has ended is another one, with another port, when it comes again.
    if status.postgres.error.is_some() {
        found.set(None);
    }
    let is_reached = options.is_some() && status.postgres.error.is_none();
    if !is_reached && context.has_stopped_database() {
        let mut status = DatabaseStatus::default();
        status.postgres.is_stopped = true;
        return status;
    }
    status
}
