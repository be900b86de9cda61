//! The frame of `up`, `ingest` and `sink`: parts that run once, or until they are stopped.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bekk_log::{Client, ServeConfig, Server};

use super::matched::{self, Matched};
use super::summary::{self, Report};
use super::{Outcome, named_files, served};
use crate::args::{Global, HttpArgs, InputArgs, LogArgs, OnceArgs};
use crate::context::Context;
use crate::http::Http;
use crate::log_place::{LogPlace, Run};
use crate::observe::Observer;
use crate::pipeline::{Counts, Pipeline};
use crate::reload::{self, Scope};
use crate::screen::Screen;
use crate::service::Service;
use crate::signals::{self, TimeLimit};
use crate::standard_input::StandardInput;

/// A command whose parts run
pub(super) struct Running<'a> {
    name: &'static str,
    once: &'a OnceArgs,
    pub(super) screen: &'a Screen,
    pub(super) stop: Arc<AtomicBool>,
    limit: TimeLimit,
    pub(super) context: Arc<Context>,
    pub(super) place: LogPlace,
    pub(super) service: Arc<Service>,
    /// The server for Kafka clients; with it this process must own the log.
    pub(super) server: Option<ServeConfig>,
    listens_at: Cell<Option<SocketAddr>>,
    counts: Arc<Counts>,
}

/// The files of a run with `--once`, or standard input in their place
pub(super) struct Inbox {
    pub(super) input: Option<StandardInput>,
    /// What the patterns match when the run begins
    pub(super) matched: Matched,
    /// Whether there may be nothing to read
    pub(super) may_be_empty: bool,
}

impl<'a> Running<'a> {
    /// Loads the configuration, adds streams for the files of `input`, and finds the log.
    pub(super) fn load(
        name: &'static str,
        global: &Global,
        once: &'a OnceArgs,
        input: Option<&InputArgs>,
        log: &LogArgs,
        screen: &'a Screen,
    ) -> Result<Self> {
        let stop = signals::stop_flag().context("listen for signals")?;
        let limit = TimeLimit::start(once.timeout, &stop);
        if let Some(input) = input {
            named_files::describe(global, input, once.once, screen)?;
        }
        let context = Arc::new(Context::load(global)?);
        Ok(Self {
            name,
            once,
            screen,
            stop,
            limit,
            place: context.log_place(log)?,
            context,
            service: Arc::default(),
            server: None,
            listens_at: Cell::default(),
            counts: Arc::default(),
        })
    }

    /// Loads the configuration again at SIGHUP.
    pub(super) fn watch(&self, global: &Global, scope: Scope) -> Result<()> {
        if self.once.once {
            return Ok(());
        }
        let (context, service) = (&self.context, &self.service);
        reload::watch(global, context, service, scope, &self.stop, self.screen)
    }

    /// Serves the page and the metrics.
    pub(super) fn serve_http(&self, args: &HttpArgs) -> Result<Http> {
        let at = args.unless(self.once.once);
        let (service, place) = (&self.service, self.place.clone());
        let observe = || Ok(Observer::new(service, &self.context, place, self.name));
        Http::start(at, args, self.name, observe, self.screen)
    }

    /// Runs the parts until they have processed everything that exists, and prints their report.
    pub(super) fn run_once(
        &self,
        start: &dyn Fn(&mut Pipeline) -> Result<()>,
        strict: bool,
        inbox: Option<&Inbox>,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let done = self.with_log(|log| {
            let server = self.listen(&log)?;
            let mut pipeline = Pipeline::new(log, &self.counts);
            start(&mut pipeline)?;
            pipeline.run_once(self.screen, &self.stop, server)
        })?;
        let done = done.unwrap_or_else(|| self.counts.summary());
        let report = Report::new(&done, started.elapsed(), signals::is_set(&self.stop));
        let outcome = summary::print(&report, self.once.json, strict, self.screen)?;
        let outcome = match inbox {
            None => outcome,
            Some(inbox) => match &inbox.input {
                Some(input) => {
                    let may_be_empty = inbox.may_be_empty;
                    input.end(&self.context, outcome, may_be_empty, self.screen)?
                }
                None if inbox.may_be_empty => outcome,
                None => {
                    let matched = inbox.matched;
                    matched::outcome(outcome, matched, &report, &self.context, self.screen)?
                }
            },
        };
        Ok(self.within(outcome))
    }

    /// Runs the parts until they are stopped; returns the time of the request, or `None` if they had not begun.
    pub(super) fn run_until_stopped(
        &self,
        start: &dyn Fn(&mut Pipeline) -> Result<()>,
    ) -> Result<Option<Instant>> {
        self.with_log(|log| {
            let server = self.listen(&log)?;
            let pipeline = Pipeline::new(log, &self.counts);
            pipeline.run_until_stopped(self.screen, &self.stop, server, &self.context, start)
        })
    }

    /// This outcome, unless the time ran out first.
    pub(super) fn within(&self, outcome: Outcome) -> Outcome {
        outcome.within(&self.limit, self.screen)
    }

    /// Does `work` with the log.
    fn with_log<T>(&self, work: impl FnMut(Client) -> Result<T>) -> Result<Option<T>> {
        let run = Run {
            screen: self.screen,
            service: &self.service,
            stop: &self.stop,
        };
        match self.server {
            None => self.place.work(run, work),
            Some(_) => self.place.work_as_owner(run, work),
        }
    }

    fn listen(&self, log: &Client) -> Result<Option<Server>> {
        let Some(mut config) = self.server.clone() else {
            return Ok(None);
        };
        // A free port that was found stays when the log is opened again.
        config.listen = self.listens_at.get().unwrap_or(config.listen);
        let server = served::start(log, config, self.screen)?;
        self.listens_at.set(Some(server.local_addr()));
        self.service.serves_log();
        Ok(Some(server))
    }
}

/// Reports a clean stop and how long it took since the request; `None` if nothing had begun.
pub(super) fn say_stopped(screen: &Screen, told: Option<Instant>) {
    let seconds = told.map_or(0.0, |told| told.elapsed().as_secs_f64());
    screen.say(&format!(
        "stopped cleanly in {seconds:.1} s; the next run continues here"
    ));
}
