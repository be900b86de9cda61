//! `bekk ingest`: files into the log, and no further.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::summary::{self, Report};
use super::{Outcome, matched, named_files, up};
use crate::args::{Global, Ingest};
use crate::context::Context;
use crate::http::Http;
use crate::log_place::Run;
use crate::observe::Observer;
use crate::pipeline::{Counts, Pipeline};
use crate::reload::{self, Scope};
use crate::screen::Screen;
use crate::service::Service;
use crate::signals::{self, TimeLimit};
use crate::standard_input::{self, Taken};

pub(crate) fn run(global: &Global, args: &Ingest, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let limit = TimeLimit::start(args.once.timeout, &stop);
    named_files::describe(global, &args.input, args.once.once, screen)?;
    let context = Arc::new(Context::load(global)?);
    let service = Arc::<Service>::default();
    let place = context.log_place(&args.log)?;
    if !args.once.once {
        let scope = Scope::of(&place);
        reload::watch(global, &context, &service, scope, &stop, screen)?;
    }
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
    screen.say_part(&format!("log        {}", context.shown_log(&place)));
    let input = match standard_input::take(&args.input, &context, &stop, screen)? {
        Some(Taken::Stopped) => return Ok(Outcome::Incomplete.within(&limit, screen)),
        Some(Taken::Stored(input)) => Some(input),
        None => None,
    };
    if input.is_none() {
        screen.say_part(&format!("inbox      {}", context.shown_patterns()));
    }
    let is_empty = input.is_none() && matched::announce(&context, screen)?;
    let started = Instant::now();
    let counts = Arc::<Counts>::default();
    let start = |pipeline: &mut Pipeline| {
        let mut config = context.ingest_config(args.once.once);
        config.batch_bytes = place.batch_bytes(config.batch_bytes);
        pipeline.start_ingest(config, context.streams(), input.as_ref())?;
        pipeline.tell_of(&service);
        Ok(())
    };
    if args.once.once {
        let done = place.work(run, |log| {
            let mut pipeline = Pipeline::new(log, &counts);
            start(&mut pipeline)?;
            pipeline.run_once(screen, &stop, None)
        })?;
        let done = done.unwrap_or_else(|| counts.summary());
        let report = Report::new(&done, started.elapsed(), signals::is_set(&stop));
        let outcome = summary::print(&report, args.once.json, false, screen)?;
        let outcome = match &input {
            Some(input) => input.end(&context, outcome, &args.once, screen)?,
            None => matched::outcome(outcome, is_empty, &report, &args.once, screen),
        };
        return Ok(outcome.within(&limit, screen));
    }
    let told = place.work(run, |log| {
        let pipeline = Pipeline::new(log, &counts);
        pipeline.run_until_stopped(screen, &stop, None, &context, &start)
    })?;
    up::say_stopped(screen, told);
    Ok(Outcome::Done)
}
