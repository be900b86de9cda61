//! `bekk up`: ingest, log and sink in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use bekk_log::Client;

use super::summary::{self, Report};
use super::{Outcome, generate, matched, named_files, serve};
use crate::args::{Global, Up};
use crate::context::Context;
use crate::database::{Choice, Database};
use crate::http::Http;
use crate::log_place::{LogPlace, Run};
use crate::observe::Observer;
use crate::pipeline::{Counts, Pipeline};
use crate::reload::{self, Scope};
use crate::screen::Screen;
use crate::service::Service;
use crate::signals::{self, TimeLimit};
use crate::standard_input::{self, Taken};

pub(crate) fn run(global: &Global, args: &Up, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let limit = TimeLimit::start(args.once.timeout, &stop);
    named_files::describe(global, &args.input, args.once.once, screen)?;
    let context = Arc::new(Context::load(global)?);
    let serve = args.listen.map(|listen| serve::config(listen, &args.serve));
    let serve = serve.transpose()?;
    let service = Arc::<Service>::default();
    let place = context.log_place(&args.log)?;
    if !args.once.once {
        let scope = Scope::of(&place);
        reload::watch(global, &context, &service, scope, &stop, screen)?;
    }
    service.awaits_postgres();
    let observe = || Ok(Observer::new(&service, &context, place.clone(), "up"));
    let _http = Http::start(
        args.http.unless(args.once.once),
        &args.http,
        "up",
        observe,
        screen,
    )?;
    let demo = args
        .demo
        .then(generate::Live::from_environment)
        .transpose()?;
    let mut database = Database::choose(&Choice {
        typed: args.postgres.postgres.as_deref(),
        demo: args.demo,
        config: &context.config,
        base: &context.base,
    })?;
    database.keep_running(screen)?;
    service.has_postgres(&database.options, &database.description);
    announce(&context, &place, &database, screen);
    if !args.input.has_dash() {
        say_inbox(&context, demo.as_ref(), screen);
    }
    let run = Run {
        screen,
        service: &service,
        stop: &stop,
    };
    let input = match standard_input::take(&args.input, &context, &stop, screen)? {
        Some(Taken::Stopped) => return Ok(Outcome::Incomplete.within(&limit, screen)),
        Some(Taken::Stored(input)) => Some(input),
        None => None,
    };
    // The files of a demo are written next.
    let is_empty = input.is_none() && !args.demo && matched::announce(&context, screen)?;

    let started = Instant::now();
    let counts = Arc::<Counts>::default();
    let mut sink = bekk_sink::Config::new(database.options.clone());
    sink.group.clone_from(&args.group.name);
    let listen = |log: &Client| {
        let config = serve.clone();
        let server = config.map(|config| serve::start(log, config, screen));
        server.transpose()
    };
    let start = |pipeline: &mut Pipeline| {
        pipeline.start_sink(sink.clone(), context.streams())?;
        let ingest = context.ingest_config(args.once.once);
        pipeline.start_ingest(ingest, context.streams(), input.as_ref())?;
        pipeline.tell_of(&service);
        Ok(())
    };
    if args.once.once {
        let done = with_log(&place, args, run, |log| {
            let server = listen(&log)?;
            let mut pipeline = Pipeline::new(log, &counts);
            start(&mut pipeline)?;
            pipeline.run_once(screen, &stop, server)
        })?;
        let done = done.unwrap_or_else(|| counts.summary());
        let report = Report::new(&done, started.elapsed(), signals::is_set(&stop));
        let outcome = summary::print(&report, args.once.json, args.strict.strict, screen)?;
        let outcome = match &input {
            Some(input) => input.end(&context, outcome, &args.once, screen)?,
            None => matched::outcome(outcome, is_empty, &report, &args.once, screen),
        };
        return Ok(outcome.within(&limit, screen));
    }
    let generator = demo.map(|live| start_generator(live, &context, &stop));
    let told = with_log(&place, args, run, |log| {
        let server = listen(&log)?;
        let pipeline = Pipeline::new(log, &counts);
        pipeline.run_until_stopped(screen, &stop, server, &context, &start)
    });
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

/// Says what the parts are.
fn announce(context: &Context, place: &LogPlace, database: &Database, screen: &Screen) {
    screen.say_part(&format!("postgres   {}", database.description));
    screen.say_part(&format!(
        "log        {}{}",
        context.shown_log(place),
        // Elsewhere it is the server's affair.
        place
            .dir()
            .map_or_else(String::new, |_| format!(", {}", context.shown_durability()))
    ));
}

/// Says which files are read, and which are written.
fn say_inbox(context: &Context, demo: Option<&generate::Live>, screen: &Screen) {
    let rhythm = demo
        .map(|live| format!("  {}", live.description()))
        .unwrap_or_default();
    screen.say_part(&format!("inbox      {}{rhythm}", context.shown_patterns()));
}

/// Starts to write sample events until the flag `stop` is set.
fn start_generator(
    live: generate::Live,
    context: &Context,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<Result<()>> {
    let (stop, base) = (Arc::clone(stop), context.base.clone());
    thread::spawn(move || live.run(&base, &stop))
}

/// Does `work` with the log, which whoever listens must own.
fn with_log<T>(
    place: &LogPlace,
    args: &Up,
    run: Run<'_>,
    work: impl FnMut(Client) -> Result<T>,
) -> Result<Option<T>> {
    if args.listen.is_none() {
        return place.work(run, work);
    }
    let owned = place.await_ownership(run)?;
    owned.map(work).transpose()
}

/// What is said after a clean stop, and how long it took since it was asked for; `None` if nothing had begun.
pub(super) fn say_stopped(screen: &Screen, told: Option<Instant>) {
    let seconds = told.map_or(0.0, |told| told.elapsed().as_secs_f64());
    screen.say(&format!(
        "stopped cleanly in {seconds:.1} s; the next run continues here"
    ));
}
