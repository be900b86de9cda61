//! `bekk ingest`: files into the log, and no further.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::summary::{self, Report};
use super::{Outcome, up};
use crate::args::{Global, Ingest};
use crate::context::Context;
use crate::database::shown_from;
use crate::http::Http;
use crate::pipeline::Pipeline;
use crate::screen::Screen;
use crate::service::Service;
use crate::signals;

pub(crate) fn run(global: &Global, args: &Ingest, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let context = Context::load(global)?;
    let service = Arc::<Service>::default();
    let _http = Http::start(args.http.unless(args.once.once), &service, screen)?;
    let (log, log_dir) = context.open_log(&args.log)?;
    screen.say(&format!(
        "log        {}   {}",
        shown_from(&context.base, &log_dir).display(),
        context.shown_topics()
    ));
    screen.say(&format!("inbox      {}", context.shown_patterns()));
    let started = Instant::now();
    let mut pipeline = Pipeline::new(log);
    pipeline.start_ingest(
        context.ingest_config(args.once.once),
        context.config.streams.clone(),
    )?;
    pipeline.tell_of(&service);
    if args.once.once {
        let done = pipeline.run_once(screen, &stop, None)?;
        let report = Report::new(&done, started.elapsed(), signals::is_set(&stop));
        return summary::print(&report, args.once.json, false, screen);
    }
    let told = pipeline.run_until_stopped(screen, &stop, None)?;
    up::say_stopped(screen, told);
    Ok(Outcome::Done)
}
