//! `bekk up`: ingest, log and sink in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};

use super::live::Live;
use super::matched::{self, Matched};
use super::running::{Inbox, Running, say_stopped};
use super::{Outcome, served};
use crate::args::{Global, Up};
use crate::context::Context;
use crate::database::{Choice, Database};
use crate::log_place::LogPlace;
use crate::pipeline::Pipeline;
use crate::reload::Scope;
use crate::screen::Screen;
use crate::standard_input::{self, Taken};

pub(crate) fn run(global: &Global, args: &Up, screen: &Screen) -> Result<Outcome> {
    let mut running = Running::load(
        "up",
        global,
        &args.once,
        Some(&args.input),
        &args.log,
        screen,
    )?;
    let serve = args
        .listen
        .map(|listen| served::config(listen, &args.serve));
    running.server = serve.transpose()?;
    running.watch(global, Scope::of(&running.place))?;
    running.service.awaits_postgres();
    let _http = running.serve_http(&args.http)?;
    let context = &running.context;
    let demo = args.demo.then(Live::from_environment).transpose()?;
    let mut database = Database::choose(&Choice {
        typed: args.postgres.postgres.as_deref(),
        demo: args.demo,
        config: &context.config,
        base: &context.base,
    })?;
    database.keep_running(screen)?;
    running
        .service
        .has_postgres(&database.options, &database.description);
    announce(context, &running.place, &database, screen);
    if !args.input.has_dash() {
        say_inbox(context, demo.as_ref(), screen);
    }
    let input = match standard_input::take(&args.input, context, &running.stop, screen)? {
        Some(Taken::Stopped) => return Ok(running.within(Outcome::Incomplete)),
        Some(Taken::Stored(input)) => Some(input),
        None => None,
    };
    // The files of a demo are written next.
    let matched = match input.is_none() && !args.demo {
        true => matched::announce(context, screen)?,
        false => Matched::NothingNow,
    };
    let inbox = Inbox {
        input,
        matched,
        may_be_empty: args.input.allow_empty,
    };

    let mut sink = bekk_sink::Config::new(database.options.clone());
    sink.group.clone_from(&args.group.name);
    let start = |pipeline: &mut Pipeline| {
        let mut sink = sink.clone();
        sink.configured = context.stream_names();
        pipeline.start_sink(sink, context.streams())?;
        let ingest = context.ingest_config(args.once.once);
        pipeline.start_ingest(ingest, context.streams(), inbox.input.as_ref())?;
        pipeline.tell_of(&running.service);
        Ok(())
    };
    if args.once.once {
        return running.run_once(&start, args.strict.strict, Some(&inbox));
    }
    let generator = demo.map(|live| start_generator(live, context, &running.stop));
    let told = running.run_until_stopped(&start);
    running.stop.store(true, Ordering::Relaxed);
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
fn say_inbox(context: &Context, demo: Option<&Live>, screen: &Screen) {
    let rhythm = demo
        .map(|live| format!("   {}", live.description()))
        .unwrap_or_default();
    screen.say_part(&format!("inbox      {}{rhythm}", context.shown_patterns()));
}

/// Starts to write sample events until the flag `stop` is set.
fn start_generator(
    live: Live,
    context: &Context,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<Result<()>> {
    let (stop, base) = (Arc::clone(stop), context.base.clone());
    thread::spawn(move || live.run(&base, &stop))
}
