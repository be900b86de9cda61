//! `bekk replay`: the log applied again, from some place on.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bekk_sink::GroupOffset;
use bekk_stream::{Stream, TableName};

use super::Outcome;
use super::moves::{Move, is_keyless, make_shadows, plan, print_moves, set, start_at};
use super::summary::{self, Report};
use crate::args::{Global, Replay, TargetArgs};
use crate::context::Context;
use crate::database::Database;
use crate::log_place::Run;
use crate::pipeline::{Counts, Pipeline};
use crate::remedy::quoted_text;
use crate::screen::{Screen, counted};
use crate::service::Service;
use crate::signals;

pub(crate) fn run(global: &Global, args: &Replay, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    let mut database = context.database(&args.postgres)?;
    database.keep_running(screen)?;
    screen.say_part(&format!("postgres   {}", database.description));
    match &args.into {
        Some(table) => into_shadow(&context, args, table, &database, screen),
        None => in_place(&context, args, &database, screen),
    }
}

/// Resets the group and runs it to the end of the log.
fn in_place(
    context: &Context,
    args: &Replay,
    database: &Database,
    screen: &Screen,
) -> Result<Outcome> {
    let streams = context.targets(&target(args, None))?;
    let mut offsets = bekk_sink::list_offsets(&database.options)?;
    offsets.retain(|offset| {
        offset.group == args.group.name && streams.iter().any(|stream| stream.name == offset.topic)
    });
    ensure!(
        !offsets.is_empty(),
        "group `{}` has applied nothing that could be replayed; see: bekk offsets list",
        args.group.name
    );
    let log = context.open_log(&args.log)?;
    let moves = plan(&log, &offsets, args.from)?;
    let skipped: u64 = moves.iter().map(Move::skipped).sum();
    if !args.dry_run.execute {
        print_moves(&moves, false, args.output.json)?;
    }
    ensure!(
        skipped == 0,
        "a replay goes back, and this one would skip {} that {} never applied; name an earlier place (--from \
         earliest), or skip them with: bekk offsets reset",
        counted(skipped, "record"),
        if skipped == 1 { "was" } else { "were" }
    );
    refuse_duplicates(args, database, &streams)?;
    if !args.dry_run.execute {
        return Ok(Outcome::Done);
    }
    let log_id = log.log_id().to_string();
    log.close()?;
    let instead_of = args.instead_of.as_deref();
    set(
        &database.options,
        &args.group.name,
        (&log_id, instead_of),
        &moves,
    )?;
    let mut config = bekk_sink::Config::new(database.options.clone());
    config.group.clone_from(&args.group.name);
    run_to_end(context, args, config, streams, screen)
}

/// Refuses to insert again what a table without a key may have.
fn refuse_duplicates(args: &Replay, database: &Database, streams: &[Stream]) -> Result<()> {
    let keyless = streams.iter().filter(|stream| is_keyless(stream));
    let keyless: Vec<Stream> = keyless.cloned().collect();
    if keyless.is_empty() || args.allow_duplicates {
        return Ok(());
    }
    let filled = bekk_sink::tables_with_rows(&database.options, &keyless)?;
    let Some(stream) = keyless.iter().find(|stream| filled.contains(&stream.name)) else {
        return Ok(());
    };
    bail!(
        "table `{}` has rows and no key, so that a replay would insert them once more; add --allow-duplicates if the rows \
         were removed, or fill another table (--into); {}",
        stream.table,
        bekk_sink::fill_anew(stream, &bekk_sink::replay_command(&args.group.name, stream))
    )
}

/// Fills another table, as a group of its own.
fn into_shadow(
    context: &Context,
    args: &Replay,
    table: &str,
    database: &Database,
    screen: &Screen,
) -> Result<Outcome> {
    let streams = context.targets(&target(args, Some(table)))?;
    let group = format!("replay-{table}");
    let from = start_at(args.from)?;
    let log = context.open_log(&args.log)?;
    let offsets = bekk_sink::list_offsets(&database.options)?;
    let mut moves = Vec::new();
    if offsets.iter().any(|offset| offset.group == group) {
        screen.say(&format!(
            "group `{group}` exists and continues at its offsets; bekk offsets delete --group {} forgets it",
            quoted_text(group.clone())
        ));
    } else {
        let log_id = log.log_id().to_string();
        let mut fresh = Vec::new();
        for stream in &streams {
            for ends in log.partition_ends(&stream.name).unwrap_or_default() {
                fresh.push(GroupOffset {
                    group: group.clone(),
                    topic: stream.name.clone(),
                    partition: ends.partition,
                    next: 0,
                    log_id: log_id.clone(),
                    owner: None,
                    rows: 0,
                    superseded: 0,
                    dead: 0,
                    mark: None,
                    refusal: None,
                    unaccounted: 0,
                    counted_before: 0,
                });
            }
        }
        moves = plan(&log, &fresh, args.from)?;
    }
    log.close()?;
    if !args.dry_run.execute {
        print_moves(&moves, false, args.output.json)?;
        return Ok(Outcome::Done);
    }
    let made = make_shadows(context, &database.options, &streams)?;
    let mut config = bekk_sink::Config::new(database.options.clone());
    config.group.clone_from(&group);
    config.from = from;
    let ended = run_to_end(context, args, config, streams.clone(), screen);
    if let (Err(_), Some(made)) = (&ended, made.first()) {
        say_left(made, &group, database, screen);
    }
    let outcome = ended?;
    if let Some(stream) = streams.first() {
        let own = context
            .config
            .streams
            .iter()
            .find(|own| own.name == stream.name);
        let own = own.map_or_else(String::new, |own| quoted_text(own.table.to_string()));
        let table = quoted_text(table.to_string());
        screen.say(&format!("compare: bekk diff {own} {table}"));
    }
    Ok(outcome)
}

/// Names a table that a replay created and did not fill, and the commands that remove it.
fn say_left(table: &TableName, group: &str, database: &Database, screen: &Screen) {
    let drop = quoted_text(format!("DROP TABLE {}", bekk_sink::quote_table(table)));
    let offsets = bekk_sink::list_offsets(&database.options).unwrap_or_default();
    let delete = match offsets.iter().any(|offset| offset.group == group) {
        true => {
            let group = quoted_text(group.to_owned());
            format!("; bekk offsets delete --group {group} --execute")
        }
        false => String::new(),
    };
    screen.say(&format!(
        "the replay created table `{table}` and did not fill it; the same command continues it; to remove the table: \
         bekk psql -- -c {drop}{delete}"
    ));
}

fn target(args: &Replay, table: Option<&str>) -> TargetArgs {
    TargetArgs {
        table: table.map(str::to_owned),
        stream: args.stream.clone(),
    }
}

/// Runs a sink until it has come to the end that the log has now; as the log's guest where another has it.
fn run_to_end(
    context: &Context,
    args: &Replay,
    config: bekk_sink::Config,
    streams: Vec<bekk_stream::Stream>,
    screen: &Screen,
) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let service = Service::default();
    let run = Run {
        screen,
        service: &service,
        stop: &stop,
    };
    let started = Instant::now();
    let counts = Arc::<Counts>::default();
    let done = context.log_place(&args.log)?.work(run, |log| {
        let mut pipeline = Pipeline::new(log, &counts);
        pipeline.start_sink(config.clone(), streams.clone())?;
        pipeline.run_once(screen, &stop, None)
    })?;
    let done = done.unwrap_or_else(|| counts.summary());
    let report = Report::new(&done, started.elapsed(), signals::is_set(&stop));
    summary::print(&report, args.output.json, false, screen)
}
