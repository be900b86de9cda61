//! `bekk offsets`: how far the groups have come, and setting where one goes on.

use anyhow::{Result, bail, ensure};
use bekk_log::{Client, PartitionEnds};
use bekk_sink::{ConnectOptions, GroupOffset, Reset};
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{Global, Offsets, OffsetsDelete, OffsetsList, OffsetsReset, Where};
use crate::context::Context;
use crate::lag::age_seconds;
use crate::screen::{Screen, grouped, plural};

pub(crate) fn run(global: &Global, args: &Offsets, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    match args {
        Offsets::List(args) => list(&context, args, screen),
        Offsets::Reset(args) => reset(&context, args, screen),
        Offsets::Delete(args) => delete(&context, args, screen),
    }
}

/// One line of the list.
#[derive(Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) next: u64,
    /// Whether it counts in another log than this.
    #[serde(rename = "other_log")]
    pub(crate) is_of_other_log: bool,
    /// The log's end and how far it is; absent where the log cannot be asked.
    pub(crate) end: Option<u64>,
    pub(crate) lag: Option<u64>,
    /// How old the first record is that has not been applied; 0 if there is none.
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) owner: Option<String>,
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    pub(crate) dead_letters: u64,
}

fn list(context: &Context, args: &OffsetsList, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let offsets = bekk_sink::list_offsets(&database.options)?;
    let place = context.log_place(&args.log)?;
    let (log, away) = match place.exists().then(|| place.open()).transpose() {
        Ok(log) => (log, None),
        Err(error) => (None, Some(error)),
    };
    print_lines(lines(offsets, log.as_ref()), args.output.json)?;
    // What PostgreSQL knows is told all the same.
    if let Some(error) = away {
        screen.say(&format!("the log cannot be asked: {error:#}"));
        return Ok(Outcome::Incomplete);
    }
    Ok(Outcome::Done)
}

fn print_lines(lines: Vec<Line>, json: bool) -> Result<()> {
    if json {
        return print_json(&lines);
    }
    if lines.is_empty() {
        return print_result("no group has applied anything to this database yet");
    }
    let header = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "NEXT",
        "END",
        "LAG",
        "SECONDS",
        "ROWS",
        "SUPERSEDED",
        "DEAD",
        "HELD BY",
    ];
    print_result(&row(&header.map(str::to_owned)))?;
    for line in lines {
        let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), grouped);
        print_result(&row(&[
            line.group,
            line.topic,
            line.partition.to_string(),
            grouped(line.next),
            number(line.end),
            number(line.lag),
            line.lag_seconds
                .map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.1}")),
            grouped(line.rows),
            grouped(line.superseded),
            grouped(line.dead_letters),
            line.owner
                .as_deref()
                .map_or_else(|| "-".to_owned(), shown_owner),
        ]))?;
    }
    Ok(())
}

/// The offsets beside the log's ends, as far as this process has the log.
pub(crate) fn lines(offsets: Vec<GroupOffset>, log: Option<&Client>) -> Vec<Line> {
    offsets
        .into_iter()
        .map(|offset| line(offset, log))
        .collect()
}

fn line(offset: GroupOffset, log: Option<&Client>) -> Line {
    let ends = log
        .filter(|log| log.log_id().to_string() == offset.log_id)
        .and_then(|log| log.partition_ends(&offset.topic).ok())
        .and_then(|ends| {
            ends.into_iter()
                .find(|ends| ends.partition == offset.partition)
        });
    let end = ends.map(|ends| ends.end.get());
    let lag_seconds = match (log, end) {
        (Some(_), Some(end)) if end <= offset.next => Some(0.0),
        (Some(log), Some(_)) => age_seconds(log, &offset.topic, offset.partition, offset.next),
        _ => None,
    };
    Line {
        is_of_other_log: log.is_some_and(|log| log.log_id().to_string() != offset.log_id),
        lag_seconds,
        lag: end.map(|end| end.saturating_sub(offset.next)),
        end,
        group: offset.group,
        topic: offset.topic,
        partition: offset.partition,
        next: offset.next,
        owner: offset.owner,
        rows: offset.rows,
        superseded: offset.superseded,
        dead_letters: offset.dead,
    }
}

/// What tells a sink from the others of its group.
pub(crate) fn shown_owner(owner: &str) -> String {
    let id = owner.rsplit(' ').next().unwrap_or(owner);
    id.chars().take(8).collect()
}

fn row(cells: &[String; 11]) -> String {
    let [
        group,
        topic,
        partition,
        next,
        end,
        lag,
        seconds,
        rows,
        superseded,
        dead,
        held,
    ] = cells;
    format!(
        "{group:<12} {topic:<16} {partition:>9} {next:>14} {end:>14} {lag:>12} {seconds:>9} {rows:>14} {superseded:>12} {dead:>8}  {held}"
    )
}

fn reset(context: &Context, args: &OffsetsReset, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let all = bekk_sink::list_offsets(&database.options)?;
    let offsets: Vec<_> = all
        .into_iter()
        .filter(|offset| {
            offset.group == args.group.name
                && args.partition.is_none_or(|only| only == offset.partition)
        })
        .collect();
    ensure!(
        !offsets.is_empty(),
        "group `{}` has no such offsets; see: bekk offsets list",
        args.group.name
    );
    let log = context.open_log(&args.log)?;
    let log_id = log.log_id().to_string();
    let moves = plan(&log, &offsets, args.to)?;
    log.close()?;
    if args.dry_run.execute {
        set(&database.options, &args.group.name, &log_id, &moves)?;
    }
    print_moves(&moves, args.dry_run.execute, args.output.json)?;
    if args.dry_run.execute {
        screen.say("a sink of the group goes on there, and older versions of rows show until it has caught up");
    }
    Ok(Outcome::Done)
}

/// Where a group goes in one partition.
#[derive(Serialize)]
pub(super) struct Move {
    group: String,
    topic: String,
    partition: u32,
    from: u64,
    /// Whether `from` counts in another log than `to`.
    other_log: bool,
    to: u64,
    /// How many records it will apply from there.
    records: u64,
}

/// Where the offsets would go, and how many records would be applied.
pub(super) fn plan(log: &Client, offsets: &[GroupOffset], to: Where) -> Result<Vec<Move>> {
    let log_id = log.log_id().to_string();
    let mut moves = Vec::new();
    for offset in offsets {
        let next = place(log, offset, to)?;
        let ends = log.partition_ends(&offset.topic).unwrap_or_default();
        let end = ends.iter().find(|ends| ends.partition == offset.partition);
        moves.push(Move {
            group: offset.group.clone(),
            topic: offset.topic.clone(),
            partition: offset.partition,
            from: offset.next,
            other_log: offset.log_id != log_id,
            to: next,
            records: end.map_or(0, |ends| ends.end.get().saturating_sub(next)),
        });
    }
    Ok(moves)
}

/// Tells where a group goes, or would go.
pub(super) fn print_moves(moves: &[Move], executed: bool, json: bool) -> Result<()> {
    #[derive(Serialize)]
    struct Moves<'a> {
        executed: bool,
        partitions: &'a [Move],
    }
    if json {
        return print_json(&Moves {
            executed,
            partitions: moves,
        });
    }
    for line in moves {
        let other_log = if line.other_log {
            "   (of another log)"
        } else {
            ""
        };
        print_result(&format!(
            "{} {}/{}: {}{other_log} -> {}   {} {} to apply",
            line.group,
            line.topic,
            line.partition,
            grouped(line.from),
            grouped(line.to),
            grouped(line.records),
            plural(line.records, "record")
        ))?;
    }
    print_result(if executed {
        "done"
    } else {
        "nothing was changed; add --execute to do it"
    })
}

/// Sets a group's offsets.
pub(super) fn set(
    postgres: &ConnectOptions,
    group: &str,
    log_id: &str,
    moves: &[Move],
) -> Result<()> {
    let resets: Vec<_> = moves
        .iter()
        .map(|line| Reset {
            topic: line.topic.clone(),
            partition: line.partition,
            next: line.to,
        })
        .collect();
    Ok(bekk_sink::reset_offsets(postgres, group, log_id, &resets)?)
}

/// The offset that a place means in a partition of this log.
fn place(log: &Client, offset: &GroupOffset, to: Where) -> Result<u64> {
    let all = log.partition_ends(&offset.topic).unwrap_or_default();
    let Some(PartitionEnds { start, end, .. }) = all
        .into_iter()
        .find(|ends| ends.partition == offset.partition)
    else {
        // A log that is as new as this has nothing of the topic yet: it begins at 0.
        return match to {
            Where::Earliest | Where::Latest => Ok(0),
            _ => bail!("this log has no {}/{}", offset.topic, offset.partition),
        };
    };
    let next = match to {
        Where::Earliest => start.get(),
        Where::Latest => end.get(),
        Where::Offset(next) => next,
        Where::Time(milliseconds) => log
            .offset_for_time(&offset.topic, offset.partition, milliseconds)?
            .unwrap_or(end)
            .get(),
        Where::Shift(by) => offset
            .next
            .saturating_add_signed(by)
            .clamp(start.get(), end.get()),
    };
    ensure!(
        (start.get()..=end.get()).contains(&next),
        "{}/{} holds offsets {start} to {end}, and {next} is not among them; the oldest record is at: --to \
         offset:{start}",
        offset.topic,
        offset.partition
    );
    Ok(next)
}

fn delete(context: &Context, args: &OffsetsDelete, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let offsets = bekk_sink::list_offsets(&database.options)?;
    let count = offsets
        .iter()
        .filter(|offset| offset.group == args.group)
        .count();
    // A database that is gone cannot be asked, but the log remembers that the group filled one.
    let log = context.open_log(&args.log)?;
    let in_log = bekk_sink::partitions_in_log(&log, &args.group)?;
    ensure!(
        count > 0 || in_log > 0,
        "there is no group `{}`; see: bekk offsets list",
        args.group
    );
    if args.dry_run.execute {
        if count > 0 {
            bekk_sink::delete_group(&database.options, &args.group)?;
        }
        bekk_sink::forget_in_log(&log, &args.group)?;
    }
    log.close()?;
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
        screen.say("a sink of that name starts anew");
    } else {
        print_result("nothing was changed; add --execute to do it")?;
    }
    Ok(Outcome::Done)
}

/// What is forgotten of a group.
#[derive(Serialize)]
struct Forgotten<'a> {
    executed: bool,
    group: &'a str,
    in_database: usize,
    in_log: usize,
}
