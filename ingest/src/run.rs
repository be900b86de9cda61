//! A run of ingest: its lock, its id, and its sessions.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

use bekk_log::{Client, Error as LogError, Offset, RecordBuffer, Session};
use bekk_stream::Stream;

use crate::Error;
use crate::config::{Config, Mode};
use crate::file::owner::Identity;
use crate::follow::engine::{Engine, Stopped, Surroundings};
use crate::inbox::Inbox;
use crate::inbox::lock::{InboxLock, lock_state};
use crate::inbox::watch::Watch;
use crate::ledger::appender::{Event, append_batches};
use crate::ledger::marks::TopicLoss;
use crate::ledger::recover::{Ground, recover};
use crate::stats::{Stats, Summary};

/// How many sessions in a row may end with an unknown outcome before anything new is in the log.
const ATTEMPTS_MAX: u32 = 3;

/// Reads the streams' files into the log, each record exactly once, until all is read or `stop` is set.
///
/// # Errors
/// [`Error::Locked`] if another ingest has the state directory, [`Error::InboxLocked`] if one has a directory
/// of the inbox, [`Error::Fenced`] if a later one has taken
/// over, [`Error::OtherLog`] if the checkpoint tells of another log; others if the log or the state
/// directory fails.
pub fn run(
    config: &Config,
    streams: &[Stream],
    log: &Client,
    stats: &Stats,
    stop: &AtomicBool,
) -> Result<Summary, Error> {
    let append = |session: &Session, topic: &str, batches: &[(u32, &RecordBuffer)]| {
        log.append(Some(session), topic, batches)
    };
    run_with(config, streams, log, stats, stop, &append)
}

type SessionAppend<'a> =
    dyn Fn(&Session, &str, &[(u32, &RecordBuffer)]) -> Result<Vec<Offset>, LogError> + Sync + 'a;

/// The same with another way to append records.
pub(crate) fn run_with(
    config: &Config,
    streams: &[Stream],
    log: &Client,
    stats: &Stats,
    stop: &AtomicBool,
    append: &SessionAppend<'_>,
) -> Result<Summary, Error> {
    let inbox = Inbox::new(streams)?;
    fs::create_dir_all(&config.state_dir)
        .map_err(Error::io("make directory", &config.state_dir))?;
    bekk_log::make_private(&config.state_dir).map_err(Error::log("close the state directory"))?;
    let _lock = lock_state(&config.state_dir)?;
    let run = Run {
        config,
        streams,
        log,
        stats,
        stop,
        append,
        inbox: &inbox,
        identity: Identity::of(&config.state_dir)?,
    };
    let mut inbox_lock = InboxLock::new(&inbox)?;
    let mut total = Summary::default();
    let ended = run.sessions(&mut inbox_lock, &mut total);
    if ended.is_err() && config.mode == Mode::Once {
        total.warn();
    }
    ended.map(|()| total)
}

/// What all sessions of a run share.
struct Run<'a> {
    config: &'a Config,
    streams: &'a [Stream],
    log: &'a Client,
    stats: &'a Stats,
    stop: &'a AtomicBool,
    append: &'a SessionAppend<'a>,
    inbox: &'a Inbox,
    identity: Identity,
}

impl Run<'_> {
    /// Runs sessions until all is read or the run is told to stop, and adds what each did to `total`.
    fn sessions(&self, inbox_lock: &mut InboxLock, total: &mut Summary) -> Result<(), Error> {
        let mut attempts = 0;
        let mut lost = Vec::new();
        loop {
            let (result, summary) = match self.session(inbox_lock, std::mem::take(&mut lost)) {
                Err(Error::Stopped) => return Ok(()),
                ended => ended?,
            };
            let is_progress = summary.records > 0;
            total.add(summary);
            match result {
                Ok(()) => return Ok(()),
                Err(Stopped::Error(error)) => return Err(error),
                // The next session finds out what is missing.
                Err(Stopped::Lost(topics)) => lost = topics,
                Err(Stopped::Unknown(error)) => {
                    attempts = if is_progress { 1 } else { attempts + 1 };
                    if attempts >= ATTEMPTS_MAX {
                        return Err(Error::log("append to the log")(error));
                    }
                    tracing::warn!(%error, "an append's outcome is unknown; reading it from the log");
                }
            }
        }
    }

    /// Runs one session, and returns how it ended and what it did.
    ///
    /// # Errors
    /// If the session did not begin; [`Error::Stopped`] if told to stop before that.
    fn session(
        &self,
        inbox_lock: &mut InboxLock,
        lost: Vec<TopicLoss>,
    ) -> Result<(Result<(), Stopped>, Summary), Error> {
        let Self {
            config,
            streams,
            log,
            stats,
            stop,
            inbox,
            ..
        } = *self;
        begin_counts(stats);
        let (events, received) = mpsc::channel();
        let is_watching = config.mode == Mode::Follow && config.notify;
        let mut watch = is_watching.then(|| {
            let events = events.clone();
            Watch::new(inbox, move || {
                // The session that listened may have ended.
                let _ = events.send(Event::Wake);
            })
        });
        let checkpoint_path = config.state_dir.join("checkpoint");
        let ground = Ground {
            log,
            streams,
            inbox,
            identity: &self.identity,
            checkpoint_path: &checkpoint_path,
            stats,
            lost,
        };
        let recovered = recover(&ground, stop)?;
        let session = recovered.session.clone();
        let topics: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
        let around = Surroundings {
            config,
            streams,
            log,
            identity: &self.identity,
            stats,
            stop,
            inbox,
            inbox_lock,
            watch: watch.as_mut(),
            checkpoint_path,
        };
        thread::scope(|scope| {
            let (batches, to_append) = mpsc::channel();
            let append = |topic: &str, buffers: &[(u32, &RecordBuffer)]| {
                (self.append)(&session, topic, buffers)
            };
            let topics = &topics;
            let appending = thread::Builder::new().name("ingest-append".to_owned());
            appending
                .spawn_scoped(scope, move || {
                    append_batches(&to_append, &events, &append, topics, stats, stop);
                })
                .map_err(Error::io("start a thread for", &config.state_dir))?;
            let mut engine = Engine::new(around, recovered, batches, &received);
            let result = engine.run();
            Ok((result, engine.into_summary()))
        })
    }
}

/// Sets back the counts that a session begins anew, of which there may be several in a run, and runs in a process.
fn begin_counts(stats: &Stats) {
    use std::sync::atomic::Ordering::Relaxed;
    // What was read and not logged is read again.
    let logged = stats.records_logged.load(Relaxed);
    stats.records_read.store(logged, Relaxed);
    for counter in [
        &stats.files_found,
        &stats.files_finished,
        &stats.files_blocked,
        &stats.bytes_read,
        &stats.bytes_known,
    ] {
        counter.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests;
