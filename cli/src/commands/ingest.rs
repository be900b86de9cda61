//! `bekk ingest`: files into the log, and no further.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::summary::{self, Report};
use super::{Outcome, matched, up};
use crate::args::{Global, Ingest};
use crate::context::Context;
use crate::http::Http;
use crate::log_place::Run;
use crate::observe::Observer;
use crate::pipeline::{Counts, Pipeline};
use crate::reload;
use crate::screen::Screen;
use crate::service::Service;
use crate::signals::{self, TimeLimit};

pub(crate) fn run(global: &Global, args: &Ingest, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let limit = TimeLimit::start(args.once.timeout, &stop);
    let context = Arc::new(Context::load(global)?);
    let service = Arc::<Service>::default();
    if !args.once.once {
        reload::watch(global, (&context, &service), &stop, screen)?;
    }
    let place = context.log_place(&args.log)?;
    let observe = || Ok(Observer::new(&service, &context, place.clone(), "ingest"));
    let _http = Http::start(
        args.http.unless(args.once.once),
        &args.http,
        "ingest",
        observe,
        screen,
    )?;
    let run = Run {
        screen,
        service: &service,
        stop: &stop,
    };
    screen.say(&format!("log        {place}   {}", context.shown_topics()));
    screen.say(&format!("inbox      {}", context.shown_patterns()));
    let is_empty = matched::announce(&context, screen)?;
    let started = Instant::now();
    let counts = Arc::<Counts>::default();
    let start = |log| {
        let mut pipeline = Pipeline::new(log, &counts);
        let mut config = context.ingest_config(args.once.once);
        config.batch_bytes = place.batch_bytes(config.batch_bytes);
        pipeline.start_ingest(config, context.streams())?;
        pipeline.tell_of(&service);
        Ok::<_, anyhow::Error>(pipeline)
    };
    if args.once.once {
        let done = place.work(run, |log| start(log)?.run_once(screen, &stop, None))?;
        let done = done.unwrap_or_else(|| counts.summary());
        let report = Report::new(&done, started.elapsed(), signals::is_set(&stop));
        let outcome = summary::print(&report, args.once.json, false, screen)?;
        let is_empty = is_empty && report.files() == 0;
        let outcome = matched::outcome(outcome, is_empty, &args.once, screen);
        return Ok(outcome.within(&limit, screen));
    }
    let told = place.work(run, |log| {
        start(log)?.run_until_stopped(screen, &stop, None)
    })?;
    up::say_stopped(screen, told);
    Ok(Outcome::Done)
}
