//! `bekk sink`: the log into PostgreSQL.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::summary::{self, Report};
use super::{Outcome, up};
use crate::args::{Global, Sink};
use crate::context::Context;
use crate::database::{Choice, Database, shown_from};
use crate::pipeline::Pipeline;
use crate::screen::Screen;
use crate::signals;

pub(crate) fn run(global: &Global, args: &Sink, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let context = Context::load(global)?;
    let database = Database::choose(&Choice {
        typed: args.postgres.postgres.as_deref(),
        demo: false,
        config: &context.config,
        base: &context.base,
    })?;
    screen.say(&format!("postgres   {}", database.description));
    let (log, log_dir) = context.open_log(&args.log)?;
    screen.say(&format!(
        "log        {}   {}",
        shown_from(&context.base, &log_dir).display(),
        context.shown_topics()
    ));
    let started = Instant::now();
    let mut pipeline = Pipeline::new(log);
    let mut config = bekk_sink::Config::new(database.options.clone());
    config.group.clone_from(&args.group);
    pipeline.start_sink(config, context.config.streams.clone())?;
    if args.once {
        let done = pipeline.run_once(screen, &stop)?;
        let report = Report::new(&done, started.elapsed(), signals::is_set(&stop));
        return summary::print(&report, args.json, args.strict, screen);
    }
    let told = pipeline.run_until_stopped(screen, &stop)?;
    up::say_stopped(screen, told);
    Ok(Outcome::Done)
}
