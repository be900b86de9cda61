//! The state of a command that runs until it is stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bekk_log::Client;
use bekk_sink::{ConnectOptions, State};
use parking_lot::Mutex;
use serde::Serialize;

use crate::database::Description;
use crate::stage::Stage;

/// How long the log must have been in use again before a refusal counts as over
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// Records that wait while none is applied for so long are no progress.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Parts of a running command, for other threads. Parts come and go while it runs.
#[derive(Default)]
pub(crate) struct Service(Mutex<Parts>);

/// The parts of a running command.
#[derive(Default, Clone)]
pub(crate) struct Parts {
    pub(crate) log: Option<Client>,
    /// Why there is no log at this moment.
    pub(crate) log_waits_for: Option<String>,
    /// The right or login that the log refused last, and since when the log is in use again.
    log_refuses: Option<(String, Option<Instant>)>,
    /// Whether the log is served to other programs, whose appends need space.
    pub(crate) serves_log: bool,
    pub(crate) ingest: Option<Arc<bekk_ingest::Stats>>,
    pub(crate) sink: Option<Sink>,
    pub(crate) postgres: Database,
}

/// The database as the command knows it.
#[derive(Default, Clone)]
pub(crate) enum Database {
    /// The command needs none; whoever wants to look has to find it.
    #[default]
    NotNeeded,
    /// It is being chosen, or a private server starts.
    Starting,
    InUse {
        options: Box<ConnectOptions>,
        description: Description,
    },
}

#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) group: String,
    pub(crate) stats: Arc<bekk_sink::Stats>,
}

/// Whether progress is being made.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    /// Reasons why parts wait
    pub(crate) waits: Vec<Wait>,
}

/// A part that cannot go on.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Wait {
    pub(crate) part: Stage,
    pub(crate) reason: String,
}

impl Service {
    /// The parts as they are now.
    pub(crate) fn parts(&self) -> Parts {
        self.0.lock().clone()
    }

    /// Notes the log that is in use from now on. With it a service is up, which systemd learns if it asked to
    /// (`Type=notify`): a PostgreSQL that is away is waited for, and is no reason to fail a start.
    pub(crate) fn has_log(&self, log: &Client) {
        let mut parts = self.0.lock();
        parts.log = Some(log.clone());
        parts.log_waits_for = None;
        if let Some((_, since)) = &mut parts.log_refuses {
            *since = Some(Instant::now());
        }
        // If systemd waits for the message, it reports its absence.
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    }

    /// Notes that the log is served to other programs.
    pub(crate) fn serves_log(&self) {
        self.0.lock().serves_log = true;
    }

    /// Notes that the log cannot be opened.
    pub(crate) fn has_no_log(&self) {
        self.0.lock().log = None;
    }

    /// Notes why there is no log at this moment.
    pub(crate) fn log_waits_for(&self, reason: &str) {
        self.0.lock().log_waits_for = Some(reason.to_owned());
    }

    /// Notes that the log refuses a right or the login. The note holds until the log has been in use for a while, because
    /// the next client can be refused again.
    pub(crate) fn log_refuses(&self, reason: &str) {
        self.0.lock().log_refuses = Some((reason.to_owned(), None));
    }

    /// Notes a running ingest.
    pub(crate) fn has_ingest(&self, stats: &Arc<bekk_ingest::Stats>) {
        self.0.lock().ingest = Some(Arc::clone(stats));
    }

    /// Notes a running sink.
    pub(crate) fn has_sink(&self, group: &str, stats: &Arc<bekk_sink::Stats>) {
        self.0.lock().sink = Some(Sink {
            group: group.to_owned(),
            stats: Arc::clone(stats),
        });
    }

    /// Notes that a database will be in use.
    pub(crate) fn awaits_postgres(&self) {
        self.0.lock().postgres = Database::Starting;
    }

    /// Notes the database in use.
    pub(crate) fn has_postgres(&self, options: &ConnectOptions, description: &Description) {
        self.0.lock().postgres = Database::InUse {
            options: Box::new(options.clone()),
            description: description.clone(),
        };
    }

    /// Whether progress is being made, and what is in its way.
    pub(crate) fn readiness(&self) -> Readiness {
        let parts = self.parts();
        let mut waits = Vec::new();
        let mut wait = |part, reason| waits.push(Wait { part, reason });
        let refused = parts.log_refuses.filter(|(_, since)| {
            let worked = since.map_or(Duration::ZERO, |since| since.elapsed());
            worked < REFUSED_FOR
        });
        let waits_for = refused.map(|(reason, _)| reason).or(parts.log_waits_for);
        match (&parts.log, waits_for) {
            (_, Some(reason)) => wait(Stage::Log, reason),
            (None, None) => wait(Stage::Log, "it is being opened".to_owned()),
            (Some(log), None) => {
                if let Some(reason) = log.waits_for() {
                    wait(Stage::Log, reason);
                }
                if parts.serves_log
                    && let Err(error) = log.check_space()
                {
                    wait(Stage::Log, format!("appends are refused: {error}"));
                }
            }
        }
        if let Some(reason) = parts.ingest.and_then(|ingest| ingest.waits_for()) {
            wait(Stage::Ingest, reason);
        }
        if let Some(reason) = parts.sink.and_then(|sink| sink_waits_for(&sink.stats)) {
            wait(Stage::Sink, reason);
        }
        Readiness {
            ready: waits.is_empty(),
            waits,
        }
    }
}

fn sink_waits_for(stats: &bekk_sink::Stats) -> Option<String> {
    match stats.state() {
        State::Connecting => Some("it connects to PostgreSQL".to_owned()),
        State::Waiting(reason) => Some(match stats.waiting() {
            Some(wait) => format!(
                "waiting for PostgreSQL since {}: {}",
                wait.since_text(),
                wait.reason
            ),
            None => format!("waiting for PostgreSQL: {reason}"),
        }),
        State::Stopped => Some("it has stopped".to_owned()),
        State::Running if !stats.halted().is_empty() => stats.stopped().map(|stop| stop.reason),
        State::Running if stats.is_paused() => {
            Some("paused on the page; resume it there, under Groups".to_owned())
        }
        State::Running => {
            let stalled = stats.stalled_for();
            (stalled >= STALLED_AFTER).then(|| {
                format!(
                    "records wait, and PostgreSQL has taken none of them for {} s; a lock may be in the way \
                     (bekk psql -c 'TABLE pg_stat_activity')",
                    stalled.as_secs()
                )
            })
        }
    }
}
