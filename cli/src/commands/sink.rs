//! `bekk sink`: the log into PostgreSQL.

use anyhow::Result;
use bekk_sink::ConnectOptions;

use super::Outcome;
use super::moves::{make_shadows, start_at};
use super::running::{Running, say_stopped};
use crate::args::{Global, Sink, Where};
use crate::pipeline::Pipeline;
use crate::reload::Scope;
use crate::screen::Screen;

pub(crate) fn run(global: &Global, args: &Sink, screen: &Screen) -> Result<Outcome> {
    let running = Running::load("sink", global, &args.once, None, &args.log, screen)?;
    let context = &running.context;
    let scope = match (&args.target.table, &args.target.stream.name) {
        // The table takes the only stream; a second one would have no table.
        (Some(_), None) => Scope::Fixed,
        _ => Scope::of(&running.place),
    };
    running.watch(global, scope)?;
    running.service.awaits_postgres();
    let _http = running.serve_http(&args.http)?;
    let streams = context.targets(&args.target)?;
    let from = start_at(args.from)?;
    let mut database = context.database(&args.postgres)?;
    database.keep_running(screen)?;
    running
        .service
        .has_postgres(&database.options, &database.description);
    screen.say_part(&format!("postgres   {}", database.description));
    screen.say_part(&format!("log        {}", context.shown_log(&running.place)));
    make_shadows(context, &database.options, &streams)?;
    // Not asked without need: the sink itself waits for a PostgreSQL that is away.
    if args.from != Where::Earliest && exists(&args.group.name, &database.options)? {
        screen.say(&format!(
            "group `{}` exists and continues at its offsets; bekk offsets reset moves it",
            args.group.name
        ));
    }
    let mut config = bekk_sink::Config::new(database.options.clone());
    config.group.clone_from(&args.group.name);
    config.from = from;
    let start = |pipeline: &mut Pipeline| {
        let mut config = config.clone();
        config.configured = context.stream_names();
        pipeline.start_sink(config, context.targets(&args.target)?)?;
        pipeline.tell_of(&running.service);
        Ok(())
    };
    if args.once.once {
        return running.run_once(&start, args.strict.strict, None);
    }
    say_stopped(screen, running.run_until_stopped(&start)?);
    Ok(Outcome::Done)
}

/// Whether a group has offsets.
fn exists(group: &str, postgres: &ConnectOptions) -> Result<bool> {
    let offsets = bekk_sink::list_offsets(postgres)?;
    Ok(offsets.iter().any(|offset| offset.group == group))
}
