//! `bekk ingest`: files into the log, and no further.

use anyhow::Result;

use super::Outcome;
use super::matched::{self, Matched};
use super::running::{Inbox, Running, say_stopped};
use crate::args::{Global, Ingest};
use crate::pipeline::Pipeline;
use crate::reload::Scope;
use crate::screen::Screen;
use crate::standard_input::{self, Taken};

pub(crate) fn run(global: &Global, args: &Ingest, screen: &Screen) -> Result<Outcome> {
    let mut running = Running::load(
        "ingest",
        global,
        &args.once,
        Some(&args.input),
        &args.log,
        screen,
    )?;
    running.place.read_once();
    let (context, place) = (&running.context, &running.place);
    running.watch(global, Scope::of(place))?;
    let _http = running.serve_http(&args.http)?;
    screen.say_part(&format!("log        {}", context.shown_log(place)));
    let input = match standard_input::take(&args.input, context, &running.stop, screen)? {
        Some(Taken::Stopped) => return Ok(running.within(Outcome::Incomplete)),
        Some(Taken::Stored(input)) => Some(input),
        None => None,
    };
    if input.is_none() {
        screen.say_part(&format!("inbox      {}", context.shown_patterns()));
    }
    let matched = match input {
        None => matched::announce(context, screen)?,
        Some(_) => Matched::NothingNow,
    };
    let inbox = Inbox {
        input,
        matched,
        may_be_empty: args.input.allow_empty,
    };
    let start = |pipeline: &mut Pipeline| {
        let mut config = context.ingest_config(args.once.once);
        config.batch_bytes = place.batch_bytes(config.batch_bytes);
        pipeline.start_ingest(config, context.streams(), inbox.input.as_ref())?;
        pipeline.tell_of(&running.service);
        Ok(())
    };
    if args.once.once {
        return running.run_once(&start, false, Some(&inbox));
    }
    say_stopped(screen, running.run_until_stopped(&start)?);
    Ok(Outcome::Done)
}
