//! `bekk offsets`: how far the groups have come, and setting where one continues.

use anyhow::{Result, bail, ensure};
use bekk_log::{Client, Offset};
use bekk_sink::{ConnectOptions, GroupOffset};
use bekk_stream::Stream;
use serde::Serialize;

use super::moves::{Move, is_keyless, plan, print_moves, set};
use super::{Outcome, check_name, print_json, print_result};
use crate::args::{Global, Offsets, OffsetsDelete, OffsetsList, OffsetsReset};
use crate::context::Context;
use crate::log_place::LogPlace;
use crate::positions::{Line, Refused, lines, shown_owner};
use crate::screen::{Screen, counted, grouped};
use crate::table::{Column, table};

pub(crate) fn run(global: &Global, args: &Offsets, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    match args {
        Offsets::List(args) => list(&context, args, screen),
        Offsets::Reset(args) => reset(&context, args, screen),
        Offsets::Delete(args) => delete(&context, args, screen),
        Offsets::Adopt(args) => super::adopt::in_context(&context, args, screen),
    }
}

fn list(context: &Context, args: &OffsetsList, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let offsets = bekk_sink::list_offsets(&database.options)?;
    let place = context.log_place(&args.log)?;
    let opened = place.exists().then(|| place.open()).transpose();
    let (log, away) = match opened.and_then(|log| answering(log, &offsets)) {
        Ok(log) => (log, None),
        Err(error) => (None, Some(error)),
    };
    let lines = lines(offsets, log.as_ref(), &context.config.streams);
    let misplaced = misplaced(&lines, log.as_ref(), &place);
    print_lines(lines, args.output.json)?;
    // What PostgreSQL knows is shown nevertheless.
    if let Some(error) = away {
        screen.say(&format!("the log is unreachable: {error:#}"));
        return Ok(Outcome::Incomplete);
    }
    if let Some(why) = misplaced {
        screen.say(&why);
        return Ok(Outcome::Incomplete);
    }
    Ok(Outcome::Done)
}

/// Why none of the offsets belongs to the log; `None` if one does.
fn misplaced(lines: &[Line], log: Option<&Client>, place: &LogPlace) -> Option<String> {
    if lines.is_empty() || lines.iter().any(|line| !line.is_of_other_log) && log.is_some() {
        return None;
    }
    let what = match log {
        Some(log) => format!(
            "none of these offsets belongs to log `{place}` ({})",
            log.log_id()
        ),
        None => format!("there is no log at `{place}`"),
    };
    Some(format!(
        "{what}; to name the log that filled this database: --log; to name another database: --postgres"
    ))
}

/// Returns the log, unless it is found to be unreachable: a cluster may name its brokers, and they may not answer, or
/// refuse.
fn answering(log: Option<Client>, offsets: &[GroupOffset]) -> Result<Option<Client>> {
    if let (Some(log), Some(offset)) = (&log, offsets.first())
        && let Err(error) = log.partition_ends(&offset.topic)
        // The offsets of a topic that is gone are shown nevertheless.
        && !matches!(error, bekk_log::Error::UnknownTopic(_))
    {
        return Err(error.into());
    }
    Ok(log)
}

fn print_lines(lines: Vec<Line>, json: bool) -> Result<()> {
    if json {
        return print_json(&lines);
    }
    if lines.is_empty() {
        return print_result("no group has applied anything to this database yet");
    }
    let columns = [
        Column::Text("GROUP"),
        Column::Text("PARTITION"),
        Column::Number("NEXT"),
        Column::Number("LAG"),
        Column::Number("AGE"),
        Column::Number("ROWS"),
        Column::Number("SUPERSEDED"),
        Column::Number("DEAD"),
        Column::Text("HELD BY"),
    ];
    let mut rows = Vec::new();
    let mut refused: Vec<Refused> = Vec::new();
    let is_other = |line: &Line| line.is_of_other_log && line.refused.is_none();
    let has_others = lines.iter().any(is_other);
    for line in lines {
        let mark = if line.refused.is_some() { "! " } else { "" };
        let age = line.lag_seconds.map(|seconds| format!("{seconds:.1} s"));
        rows.push([
            format!("{mark}{}", line.group),
            format!("{}/{}", line.topic, line.partition),
            grouped(line.next),
            line.lag.map_or_else(|| "?".to_owned(), grouped),
            age.unwrap_or_else(|| "?".to_owned()),
            grouped(line.rows),
            grouped(line.superseded),
            grouped(line.dead_letters),
            line.owner
                .as_deref()
                .map_or_else(|| "-".to_owned(), shown_owner),
        ]);
        refused.extend(line.refused);
    }
    for line in table(&columns, &rows) {
        print_result(&line)?;
    }
    if !refused.is_empty() {
        print_result("! nothing is applied there until someone decides:")?;
    }
    for Refused { why, advice } in refused {
        print_result(&format!("  {why}; {advice}"))?;
    }
    if has_others {
        print_result("? offsets that belong to a different log have no lag in this one")?;
    }
    Ok(())
}

fn reset(context: &Context, args: &OffsetsReset, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let all = bekk_sink::list_offsets(&database.options)?;
    check_names(context, args, &all)?;
    let offsets: Vec<_> = all
        .into_iter()
        .filter(|offset| {
            offset.group == args.group.name
                && is_chosen(context, args.stream.name.as_deref(), &offset.topic)
                && args.partition.is_none_or(|only| only == offset.partition)
        })
        .collect();
    ensure!(
        !offsets.is_empty(),
        "group `{}` has no such offsets in the streams of this configuration; see: bekk offsets list",
        args.group.name
    );
    let log = context.open_log(&args.log)?;
    let log_id = log.log_id().to_string();
    let moves = plan(&log, &offsets, args.to)?;
    log.close()?;
    if args.dry_run.execute {
        let instead_of = args.instead_of.as_deref();
        set(
            &database.options,
            &args.group.name,
            (&log_id, instead_of),
            &moves,
        )?;
    }
    print_moves(&moves, args.dry_run.execute, args.output.json)?;
    for stream in context.config.streams.iter().filter(|s| is_keyless(s)) {
        let again = moves.iter().filter(|line| line.topic == stream.name);
        let again: u64 = again.map(Move::again).sum();
        if again > 0 {
            screen.say(&format!(
                "table `{}` has no key: {} that {} applied before {} into it once more",
                stream.table,
                counted(again, "record"),
                if again == 1 { "was" } else { "were" },
                if again == 1 { "goes" } else { "go" }
            ));
        }
    }
    if args.dry_run.execute {
        screen.say("the group's next sink continues there; rows may show older versions until it has caught up");
    }
    Ok(Outcome::Done)
}

/// Checks that the group and the stream exist, so that a mistyped name is not taken for one without offsets.
fn check_names(context: &Context, args: &OffsetsReset, all: &[GroupOffset]) -> Result<()> {
    let groups = all.iter().map(|offset| offset.group.as_str());
    check_name("--group", &args.group.name, groups)?;
    check_stream(context, args.stream.name.as_deref(), all)
}

/// Checks that a stream is configured, or that some group has an offset in it.
fn check_stream(context: &Context, named: Option<&str>, all: &[GroupOffset]) -> Result<()> {
    let Some(name) = named else {
        return Ok(());
    };
    let met = all.iter().map(|offset| offset.topic.as_str());
    let configured = context.config.streams.iter().map(|stream| &*stream.name);
    check_name("--stream", name, met.chain(configured))
}

/// Whether a topic is among those that a command is about: the stream that is named, else all of the configuration.
fn is_chosen(context: &Context, named: Option<&str>, topic: &str) -> bool {
    match named {
        Some(name) => name == topic,
        None => context.config.streams.iter().any(|s| s.name == topic),
    }
}

fn delete(context: &Context, args: &OffsetsDelete, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let offsets = bekk_sink::list_offsets(&database.options)?;
    let topics: Vec<String> = match &args.stream {
        Some(name) => vec![name.clone()],
        None => context
            .config
            .streams
            .iter()
            .map(|stream| stream.name.clone())
            .collect(),
    };
    let count = offsets
        .iter()
        .filter(|offset| offset.group == args.group && topics.contains(&offset.topic))
        .count();
    // A database that is gone cannot be asked, but the log remembers that the group filled one.
    let place = context.log_place(&args.log)?;
    let log = place.exists().then(|| place.open()).transpose()?;
    let in_log = match &log {
        Some(log) => bekk_sink::partitions_in_log(log, &args.group, &topics)?,
        None => 0,
    };
    if count == 0 && in_log == 0 {
        check_stream(context, args.stream.as_deref(), &offsets)?;
        check_group(log.as_ref(), &args.group, &offsets)?;
    }
    ensure!(
        count > 0 || in_log > 0,
        "there is no group `{}` in these streams; see: bekk offsets list",
        args.group
    );
    let is_of_replay = args.group.starts_with("replay-");
    if count > 0 && !args.allow_duplicates && !is_of_replay {
        refuse_doubling(context, &database.options, (&args.group, &topics))?;
    }
    if args.dry_run.execute {
        if count > 0 {
            bekk_sink::delete_group(&database.options, &args.group, &topics)?;
        }
        if let Some(log) = &log {
            bekk_sink::forget_in_log(log, &args.group, &topics)?;
        }
    }
    if let Some(log) = log {
        log.close()?;
    }
    if args.output.json {
        print_json(&Forgotten {
            executed: args.dry_run.execute,
            group: &args.group,
            in_database: count,
            in_log,
        })?;
        return Ok(Outcome::Done);
    }
    let would = if args.dry_run.execute {
        "forgot"
    } else {
        "would forget"
    };
    print_result(&format!(
        "{would} {count} offsets of group `{}` in the database and {in_log} in the log",
        args.group
    ))?;
    if args.dry_run.execute {
        screen.say("a sink of that name starts from the beginning");
    } else {
        print_result("nothing was changed; add --execute to do it")?;
    }
    Ok(Outcome::Done)
}

/// Checks that a group is known to the database or to the log, so that a mistyped name is an error of usage.
fn check_group(log: Option<&Client>, group: &str, offsets: &[GroupOffset]) -> Result<()> {
    // A log that is served elsewhere does not list its groups.
    let commits = match log.map(Client::commits).transpose() {
        Ok(commits) => commits.unwrap_or_default(),
        Err(bekk_log::Error::NotHere { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let in_database = offsets.iter().map(|offset| offset.group.as_str());
    // At offset 0 a deleted group is remembered.
    let in_log = commits.iter().filter(|commit| commit.next != Offset::ZERO);
    let in_log = in_log.map(|commit| commit.group.as_str());
    check_name("--group", group, in_database.chain(in_log))
}

/// Refuses to have a group begin anew where a table without a key has what it applied.
fn refuse_doubling(
    context: &Context,
    postgres: &ConnectOptions,
    (group, topics): (&str, &[String]),
) -> Result<()> {
    let streams = context.config.streams.iter();
    let keyless = streams.filter(|stream| is_keyless(stream) && topics.contains(&stream.name));
    let keyless: Vec<Stream> = keyless.cloned().collect();
    if keyless.is_empty() {
        return Ok(());
    }
    let filled = bekk_sink::tables_with_rows(postgres, &keyless)?;
    if let Some(stream) = keyless.iter().find(|stream| filled.contains(&stream.name)) {
        bail!(
            "table `{}` has rows and no key, so a group without offsets would insert them again; if the table \
            was moved or renamed, keep the offsets: bekk offsets adopt --group {group}; to delete them \
            anyway, add --allow-duplicates",
            stream.table
        );
    }
    Ok(())
}

/// What is forgotten of a group.
#[derive(Serialize)]
struct Forgotten<'a> {
    executed: bool,
    group: &'a str,
    in_database: usize,
    in_log: usize,
}
