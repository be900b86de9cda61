//! The log's place, and access to it: as its owner, as a guest of its owner, or over a network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bekk_log::{Client, Full, RemoteConfig};

use crate::database::shown_from;
use crate::screen::Screen;
use crate::service::Service;
use crate::signals;

/// Longest wait of a short command for a log that is served elsewhere
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of one connection attempt of a service
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between "still waiting" messages
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Within what time a log that goes twice is reported
const OFTEN: Duration = Duration::from_secs(20);
/// Bytes of one append of ingest to a log over a network; less than its read-ahead
const KAFKA_BATCH_BYTES: usize = 3 << 20;
/// How long a fetch of ingest waits at the end of the log; ingest reads there for a moment when it starts
const END_WAIT: Duration = Duration::from_millis(5);
/// Pause of a service between two attempts
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a service must have worked before it waits for a refused login or right, which it had until then
const WORKED: Duration = Duration::from_secs(5);
/// Pause of a service after a refused login or right
const REFUSED_PAUSE: Duration = Duration::from_secs(2);
/// Pause before a log is opened again whose disk was full
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// How a log in a directory is joined.
type Join = fn(
    bekk_log::Config,
    &mut dyn FnMut(&bekk_log::Error, Duration) -> bool,
) -> Result<Client, bekk_log::Error>;

#[derive(Clone)]
pub(crate) enum LogPlace {
    Directory {
        config: bekk_log::Config,
        /// Directory from which paths are shown
        base: PathBuf,
    },
    /// Served by another process.
    Kafka(RemoteConfig),
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { config, base } => shown_from(base, &config.dir).display().fmt(f),
            Self::Kafka(config) => write!(f, "kafka://{}", config.hosts),
        }
    }
}

/// Whether a directory holds a log. A backup has no lock until it is opened.
fn is_log(dir: &Path) -> bool {
    ["LOCK", "format"]
        .iter()
        .any(|name| dir.join(name).exists())
}

impl LogPlace {
    /// Its directory, if it has one here.
    pub(crate) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Directory { config, .. } => Some(&config.dir),
            Self::Kafka(_) => None,
        }
    }

    /// How many bytes ingest appends at once. On a cluster each append is a transaction, which costs some round trips,
    /// however much there is in it.
    pub(crate) fn batch_bytes(&self, own: usize) -> usize {
        match self {
            Self::Directory { .. } => own,
            Self::Kafka(_) => own.max(KAFKA_BATCH_BYTES),
        }
    }

    /// Shortens the waits at the end of the log, for a process that reads only what is there when it starts.
    pub(crate) fn read_once(&mut self) {
        if let Self::Kafka(config) = self {
            config.end_wait = END_WAIT;
        }
    }

    /// Whether there is a log; of one that is served elsewhere it is not asked.
    pub(crate) fn exists(&self) -> bool {
        self.dir().is_none_or(is_log)
    }

    /// Whether its directory has files, a log's or others.
    pub(crate) fn has_files(&self) -> bool {
        let mut entries = self.dir().and_then(|dir| dir.read_dir().ok());
        entries
            .as_mut()
            .is_some_and(|entries| entries.next().is_some())
    }

    /// Checks that the log exists. Commands that only read it call this first: in a wrong directory they would otherwise
    /// begin an empty log and find nothing wrong.
    ///
    /// # Errors
    /// If the log does not exist.
    pub(crate) fn check_exists(&self) -> Result<()> {
        ensure!(
            self.exists(),
            "there is no log in `{self}`; name its directory with --log, or start Bekk to begin one"
        );
        Ok(())
    }

    /// The log for a command that is soon done: it waits ten seconds for whoever is opening it.
    ///
    /// # Errors
    /// If it cannot be had.
    pub(crate) fn open(&self) -> Result<Client> {
        self.open_as(Client::join)
    }

    /// The same for a command that only looks at the log for a moment.
    ///
    /// # Errors
    /// If it cannot be had.
    pub(crate) fn glance(&self) -> Result<Client> {
        self.open_as(Client::glance)
    }

    fn open_as(&self, join: Join) -> Result<Client> {
        match self {
            Self::Directory { config, .. } => {
                let mut is_soon = |_: &bekk_log::Error, waited| waited < CONNECT_TIMEOUT;
                let joined = join(config.clone(), &mut is_soon);
                joined.map_err(|error| match error {
                    bekk_log::Error::Locked { .. } => {
                        anyhow::Error::from(error).context(held(&config.dir))
                    }
                    error => error.into(),
                })
            }
            Self::Kafka(config) => {
                let mut config = config.clone();
                config.is_brief = true;
                Ok(Client::connect(config, CONNECT_TIMEOUT)?)
            }
        }
    }

    /// Opens the log for a service. Waits until it succeeds, also while a login is refused if the service `has_worked`;
    /// `None` if a signal to stop comes first.
    ///
    /// # Errors
    /// What waiting does not help with.
    fn await_client(&self, run: Run<'_>, has_worked: bool) -> Result<Option<Client>> {
        let mut say = Sayer::new(run);
        while !signals::is_set(run.stop) {
            let client = match self {
                Self::Directory { config, .. } => {
                    Client::join(config.clone(), &mut |error, waited| {
                        if waited >= SAY_EVERY {
                            say.say(&format!("{error}; {}", held(&config.dir)));
                        }
                        !signals::is_set(run.stop)
                    })
                }
                Self::Kafka(config) => Client::connect(config.clone(), ATTEMPT_TIMEOUT),
            };
            match client {
                Ok(client) => return Ok(Some(client)),
                Err(error @ bekk_log::Error::Away { .. }) => {
                    say.say(&format!("{error}; trying again"));
                }
                Err(bekk_log::Error::Locked { .. }) if signals::is_set(run.stop) => {}
                Err(error) if has_worked && is_refusal(&error) => {
                    say.refused(&error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            thread::sleep(RETRY_PAUSE);
        }
        Ok(None)
    }

    /// The log for a process that must own it; waits while another does. `None` if it was told to stop.
    ///
    /// # Errors
    /// If it cannot be read, or is not in a directory.
    fn await_ownership(&self, run: Run<'_>) -> Result<Option<Client>> {
        let Self::Directory { config, .. } = self else {
            bail!("{self} is served elsewhere; only a log in a directory can be served here");
        };
        let mut say = Sayer::new(run);
        let owned = Client::own(config.clone(), &mut |error, _| {
            let who =
                holder(&config.dir).map_or_else(String::new, |pid| format!(" (process {pid})"));
            say.say(&format!(
                "{error}{who}; it is served here once that has ended"
            ));
            !signals::is_set(run.stop)
        });
        match owned {
            Ok(client) => Ok(Some(client)),
            Err(bekk_log::Error::Locked { .. }) if signals::is_set(run.stop) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Does `work` with the log, again with a new client whenever the log's server has gone: nothing is
    /// carried over, the log says where things are. A login or a right that is missing ends a service that starts; if it
    /// is taken away from one that has worked, the service waits until it is given back. `None` if it was told to stop.
    ///
    /// # Errors
    /// Those of `work`, and what waiting for the log does not help with.
    pub(crate) fn work<T>(
        &self,
        run: Run<'_>,
        work: impl FnMut(Client) -> Result<T>,
    ) -> Result<Option<T>> {
        let open = |run: Run<'_>, has_worked: bool| self.await_client(run, has_worked);
        self.work_as(open, run, work)
    }

    /// As [`Self::work`], for a process that must own the log.
    ///
    /// # Errors
    /// As [`Self::work`], and if the log is not in a directory.
    pub(crate) fn work_as_owner<T>(
        &self,
        run: Run<'_>,
        work: impl FnMut(Client) -> Result<T>,
    ) -> Result<Option<T>> {
        self.work_as(|run: Run<'_>, _| self.await_ownership(run), run, work)
    }

    /// The second argument of `open` says whether the service has worked.
    fn work_as<T>(
        &self,
        open: impl Fn(Run<'_>, bool) -> Result<Option<Client>>,
        run: Run<'_>,
        mut work: impl FnMut(Client) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut say = Sayer::new(run);
        let mut gone: Option<Instant> = None;
        let mut filled: Option<Instant> = None;
        let mut has_worked = false;
        loop {
            let done = match open(run, has_worked) {
                Ok(Some(client)) => {
                    let begun = Instant::now();
                    let worked = work(client);
                    has_worked |= begun.elapsed() >= WORKED;
                    worked
                }
                Ok(None) => return Ok(None),
                Err(error) => Err(error),
            };
            match done {
                Err(error) if has_worked && is_refused(&error) => {
                    say.refused(&format!("{error:#}"));
                }
                Err(error) if has_gone(&error) => {
                    // A log that goes again and again is no change of its owner.
                    if gone.is_some_and(|gone| gone.elapsed() < OFTEN) {
                        say.say(&format!("{error:#}; connecting again"));
                    } else {
                        run.service
                            .log_waits_for("its owner has exited; connecting again");
                    }
                    gone = Some(Instant::now());
                    tracing::info!(error = format!("{error:#}"), "connecting to the log again");
                }
                Err(error) if needs_reopening(&error) && !signals::is_set(run.stop) => {
                    let full = full_of(&error);
                    run.service
                        .log_waits_for(&format!("{full}; it is opened again once there is space"));
                    let error = format!("{error:#}");
                    // Once: while the disk stays full, every attempt fails.
                    let last = filled.replace(Instant::now());
                    if last.is_some_and(|last| last.elapsed() < OFTEN) {
                        tracing::debug!(error, "the log still waits: {full}");
                    } else {
                        tracing::warn!(
                            error,
                            "the log waits: {full}; the log is opened again, and nothing is lost"
                        );
                    }
                    thread::sleep(REOPEN_PAUSE);
                }
                done => return done.map(Some),
            }
        }
    }
}

/// A command that runs until it is stopped.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) screen: &'a Screen,
    pub(crate) service: &'a Service,
    pub(crate) stop: &'a AtomicBool,
}

/// Says what is waited for, now and then.
struct Sayer<'a> {
    run: Run<'a>,
    said: Option<Instant>,
    /// The last refusal that was said.
    refusal: Option<String>,
}

impl<'a> Sayer<'a> {
    const fn new(run: Run<'a>) -> Self {
        Self {
            run,
            said: None,
            refusal: None,
        }
    }

    fn say(&mut self, what: &str) {
        self.run.service.log_waits_for(what);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            self.run.screen.say(&format!("waiting: {what}"));
        }
    }

    /// Says that the log refuses the login or a right, and waits before it is tried again.
    fn refused(&mut self, why: &str) {
        let what = format!("{why}; trying again");
        if self.refusal.as_ref() != Some(&what) {
            // A new reason is printed at once.
            self.said = None;
        }
        self.run.service.log_refuses(&what);
        self.say(&what);
        self.refusal = Some(what);
        let begun = Instant::now();
        while begun.elapsed() < REFUSED_PAUSE && !signals::is_set(self.run.stop) {
            thread::sleep(RETRY_PAUSE);
        }
    }
}

/// Who has the log, and what to do if that cannot be reached from here.
fn held(dir: &Path) -> String {
    let who = match holder(dir) {
        Some(pid) => format!("in use by process {pid}"),
        None => "in use by a process of another machine or container".to_owned(),
    };
    format!(
        "{who} and does not answer; across containers and hosts, run `bekk log serve` and name it with \
         --log kafka://host:port"
    )
}

/// The process that has the log in a directory; `None` if it is another container's.
pub(crate) fn holder(dir: &Path) -> Option<u32> {
    match bekk_ingest::holder(&dir.join("LOCK")) {
        Some(bekk_ingest::Holder::Process(process)) => Some(process),
        _ => None,
    }
}

/// Whether an error says that the log's disk was full, and that the log must be closed and opened again.
pub(crate) fn needs_reopening(error: &anyhow::Error) -> bool {
    causes(error).any(|error| error.needs_reopening() || error.is_no_space())
}

/// What the log's disk has run out of.
fn full_of(error: &anyhow::Error) -> Full {
    causes(error)
        .find_map(bekk_log::Error::full)
        .unwrap_or(Full::Space)
}

/// Whether an error says that the log's server has gone: the client is to be made anew.
pub(crate) fn has_gone(error: &anyhow::Error) -> bool {
    causes(error).any(|cause| matches!(cause, bekk_log::Error::Away { .. }))
}

/// Whether an error says that the log's server refuses the login or a right.
pub(crate) fn is_refused(error: &anyhow::Error) -> bool {
    causes(error).any(is_refusal)
}

fn is_refusal(error: &bekk_log::Error) -> bool {
    use bekk_log::Error::{NotAuthenticated, NotAuthorized};
    matches!(error, NotAuthenticated { .. } | NotAuthorized { .. })
}

/// The log's errors among the causes of an error.
fn causes(error: &anyhow::Error) -> impl Iterator<Item = &bekk_log::Error> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}
