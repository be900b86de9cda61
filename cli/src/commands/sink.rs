//! `bekk sink`: the log into PostgreSQL.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bekk_sink::{ConnectOptions, Start};
use bekk_stream::Stream;

use super::summary::{self, Report};
use super::{Outcome, WrongUsage, up};
use crate::args::{Global, Sink, Where};
use crate::context::Context;
use crate::http::Http;
use crate::log_place::Run;
use crate::observe::Observer;
use crate::pipeline::{Counts, Pipeline};
use crate::reload::{self, Scope};
use crate::screen::Screen;
use crate::service::Service;
use crate::signals::{self, TimeLimit};

pub(crate) fn run(global: &Global, args: &Sink, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let limit = TimeLimit::start(args.once.timeout, &stop);
    let context = Arc::new(Context::load(global)?);
    let service = Arc::<Service>::default();
    let place = context.log_place(&args.log)?;
    if !args.once.once {
        let scope = match (&args.target.table, &args.target.stream.name) {
            // The table takes one stream, and a second one has no table.
            (Some(_), None) => Scope::Fixed,
            _ => Scope::of(&place),
        };
        reload::watch(global, &context, &service, scope, &stop, screen)?;
    }
    service.awaits_postgres();
    let observe = || Ok(Observer::new(&service, &context, place.clone(), "sink"));
    let _http = Http::start(
        args.http.unless(args.once.once),
        &args.http,
        "sink",
        observe,
        screen,
    )?;
    let streams = context.targets(&args.target)?;
    let from = start(args.from)?;
    let mut database = context.database(&args.postgres)?;
    database.keep_running(screen)?;
    service.has_postgres(&database.options, &database.description);
    screen.say_part(&format!("postgres   {}", database.description));
    let run = Run {
        screen,
        service: &service,
        stop: &stop,
    };
    screen.say_part(&format!("log        {}", context.shown_log(&place)));
    make_shadows(&context, &database.options, &streams)?;
    // Not asked without need: the sink itself waits for a PostgreSQL that is away.
    if args.from != Where::Earliest && exists(&args.group.name, &database.options)? {
        screen.say(&format!(
            "group `{}` exists and continues at its offsets; bekk offsets reset moves it",
            args.group.name
        ));
    }
    let started = Instant::now();
    let counts = Arc::<Counts>::default();
    let mut config = bekk_sink::Config::new(database.options.clone());
    config.group.clone_from(&args.group.name);
    config.from = from;
    let start = |pipeline: &mut Pipeline| {
        pipeline.start_sink(config.clone(), context.targets(&args.target)?)?;
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
        let outcome = summary::print(&report, args.once.json, args.strict.strict, screen)?;
        return Ok(outcome.within(&limit, screen));
    }
    let told = place.work(run, |log| {
        let pipeline = Pipeline::new(log, &counts);
        pipeline.run_until_stopped(screen, &stop, None, &context, &start)
    })?;
    up::say_stopped(screen, told);
    Ok(Outcome::Done)
}

/// Whether a group has offsets.
fn exists(group: &str, postgres: &ConnectOptions) -> Result<bool> {
    let offsets = bekk_sink::list_offsets(postgres)?;
    Ok(offsets.iter().any(|offset| offset.group == group))
}

/// Where a group starts that is new.
pub(super) fn start(from: Where) -> Result<Start> {
    Ok(match from {
        Where::Earliest => Start::Earliest,
        Where::Latest => Start::Latest,
        Where::Offset(offset) => Start::Offset(offset),
        Where::Time(milliseconds) => Start::Time(milliseconds),
        Where::Shift(_) => {
            let text = "--from: a new group has no offset yet that shift could move";
            return Err(WrongUsage(text.to_owned()).into());
        }
    })
}

/// Makes the tables that `--table` names like those of the configuration.
pub(super) fn make_shadows(
    context: &Context,
    postgres: &ConnectOptions,
    streams: &[Stream],
) -> Result<()> {
    for stream in streams {
        let own = context
            .streams()
            .into_iter()
            .find(|own| own.name == stream.name);
        if let Some(own) = own.filter(|own| own.table != stream.table) {
            bekk_sink::create_like(postgres, &own.table, &stream.table)?;
        }
    }
    Ok(())
}
