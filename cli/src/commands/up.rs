//! `bekk up`: ingest, log and sink in one process.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};

use super::summary::{self, Report};
use super::{Outcome, generate, serve};
use crate::args::{Global, Up};
use crate::context::Context;
use crate::database::{Choice, Database, shown_from};
use crate::http::Http;
use crate::pipeline::Pipeline;
use crate::screen::Screen;
use crate::service::Service;
use crate::signals;

pub(crate) fn run(global: &Global, args: &Up, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let context = Context::load(global)?;
    let service = Arc::<Service>::default();
    let _http = Http::start(args.http.unless(args.once.once), &service, screen)?;
    let demo = args
        .demo
        .then(generate::Live::from_environment)
        .transpose()?;
    let database = Database::choose(&Choice {
        typed: args.postgres.postgres.as_deref(),
        demo: args.demo,
        config: &context.config,
        base: &context.base,
    })?;
    screen.say(&format!("postgres   {}", database.description));
    let (log, log_dir) = context.open_log(&args.log)?;
    let log_shown = shown_from(&context.base, &log_dir).display();
    screen.say(&format!(
        "log        {log_shown}   {}, {}",
        context.shown_topics(),
        context.shown_durability()
    ));
    let rhythm = demo
        .as_ref()
        .map(|live| format!("  {}", live.description()))
        .unwrap_or_default();
    screen.say(&format!("inbox      {}{rhythm}", context.shown_patterns()));

    let server = args
        .listen
        .map(|listen| serve::start(&log, listen, &args.advertise, screen))
        .transpose()?;
    let started = Instant::now();
    let mut pipeline = Pipeline::new(log);
    let mut sink = bekk_sink::Config::new(database.options.clone());
    sink.group.clone_from(&args.group);
    pipeline.start_sink(sink, context.config.streams.clone())?;
    pipeline.start_ingest(
        context.ingest_config(args.once.once),
        context.config.streams.clone(),
    )?;
    pipeline.tell_of(&service);
    if args.once.once {
        let done = pipeline.run_once(screen, &stop, server)?;
        let report = Report::new(&done, started.elapsed(), signals::is_set(&stop));
        return summary::print(&report, args.once.json, args.strict, screen);
    }
    let generator = demo.map(|live| {
        thread::spawn({
            let (stop, base) = (Arc::clone(&stop), context.base.clone());
            move || live.run(&base, &stop)
        })
    });
    let told = pipeline.run_until_stopped(screen, &stop, server);
    stop.store(true, Ordering::Relaxed);
    if let Some(thread) = generator {
        thread
            .join()
            .map_err(|_| anyhow!("the generator panicked, which is a fault in bekk"))??;
    }
    drop(database);
    say_stopped(screen, told?);
    Ok(Outcome::Done)
}

/// What is said after a clean stop, and how long it took since it was asked for.
pub(super) fn say_stopped(screen: &Screen, told: Instant) {
    let seconds = told.elapsed().as_secs_f64();
    screen.say(&format!(
        "stopped cleanly in {seconds:.1} s; run it again, it goes on here"
    ));
}
