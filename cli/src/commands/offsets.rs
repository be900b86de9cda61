//! `bekk offsets`: how far the groups have come, and setting where one goes on.

use anyhow::{Result, bail, ensure};
use bekk_log::{Client, Offset, PartitionEnds, RecordMark, Verdict, judge_mark};
use bekk_sink::{ConnectOptions, GroupOffset, Refusal, Reset};
use bekk_stream::{OnConflict, Stream};
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
        Offsets::Adopt(args) => super::adopt::in_context(&context, args, screen),
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
    /// Offsets that were passed and that the counts do not explain.
    pub(crate) unaccounted: i64,
    /// Why no record is applied until someone has decided, and what can be typed.
    pub(crate) refused: Option<Refused>,
}

/// Why a partition's records are not applied, or would not be.
#[derive(Clone, Serialize)]
pub(crate) struct Refused {
    pub(crate) why: String,
    pub(crate) advice: String,
}

fn list(context: &Context, args: &OffsetsList, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let offsets = bekk_sink::list_offsets(&database.options)?;
    let place = context.log_place(&args.log)?;
    let (log, away) = match place.exists().then(|| place.open()).transpose() {
        Ok(log) => (log, None),
        Err(error) => (None, Some(error)),
    };
    let lines = lines(offsets, log.as_ref(), &context.config.streams);
    print_lines(lines, args.output.json)?;
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
pub(crate) fn lines(
    offsets: Vec<GroupOffset>,
    log: Option<&Client>,
    streams: &[Stream],
) -> Vec<Line> {
    offsets
        .into_iter()
        .map(|offset| {
            let stream = streams.iter().find(|stream| stream.name == offset.topic);
            let refused = stream.and_then(|stream| refused(&offset, log, stream));
            line(offset, log, refused)
        })
        .collect()
}

/// Why a sink would not apply a partition's records, or does not: what it has written down, or what differs now.
fn refused(offset: &GroupOffset, log: Option<&Client>, stream: &Stream) -> Option<Refused> {
    let (group, partition) = (&offset.group, offset.partition);
    let of = |refusal: &Refusal| Refused {
        why: format!("group `{group}` is refused: {}", refusal.detail),
        advice: refusal.advice(group, stream, partition),
    };
    if let Some(refusal) = &offset.refusal {
        return Some(of(refusal));
    }
    let log = log?;
    if log.log_id().to_string() != offset.log_id {
        return Some(Refused {
            why: format!(
                "group `{group}` counts topic `{}` in another log ({}) than this",
                offset.topic, offset.log_id
            ),
            advice: bekk_sink::advice_for_lost_log(group, stream, &offset.log_id),
        });
    }
    let (topic, next) = (offset.topic.as_str(), Offset::new(offset.next));
    let mark = offset.mark.as_ref();
    let at = log.at_mark(topic, partition, mark).ok()?;
    match judge_mark(next, mark, &at) {
        Verdict::Differs(difference) => {
            let place = (topic, partition);
            Some(of(&Refusal::of_difference(
                place, next, mark, &at, difference,
            )))
        }
        Verdict::Same | Verdict::KeptBack => None,
    }
}

fn line(offset: GroupOffset, log: Option<&Client>, refused: Option<Refused>) -> Line {
    let ends = log
        .filter(|log| log.log_id().to_string() == offset.log_id)
        .and_then(|log| log.partition_ends(&offset.topic).ok())
        .and_then(|ends| {
            ends.into_iter()
                .find(|ends| ends.partition == offset.partition)
        });
    let end = ends.map(|ends| ends.end.get());
    let lag_seconds = match (log, end) {
        _ if refused.is_some() => None,
        (Some(_), Some(end)) if end <= offset.next => Some(0.0),
        (Some(log), Some(_)) => age_seconds(log, &offset.topic, offset.partition, offset.next),
        _ => None,
    };
    Line {
        is_of_other_log: log.is_some_and(|log| log.log_id().to_string() != offset.log_id),
        lag_seconds,
        // Of an offset that means nothing in this log, none is known.
        lag: end
            .filter(|_| refused.is_none())
            .map(|end| end.saturating_sub(offset.next)),
        refused,
        unaccounted: offset.unaccounted,
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
                "table `{}` has no key: {} {} that {} applied before {} into it once more",
                stream.table,
                grouped(again),
                plural(again, "record"),
                if again == 1 { "was" } else { "were" },
                if again == 1 { "goes" } else { "go" }
            ));
        }
    }
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
    /// How many records it passes that it has not applied.
    skipped: u64,
    /// What the log holds below that place.
    #[serde(skip)]
    mark: Option<RecordMark>,
}

impl Move {
    /// How many records are applied again.
    fn again(&self) -> u64 {
        match self.other_log {
            true => self.records,
            false => self.from.saturating_sub(self.to).min(self.records),
        }
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// Whether a topic is among those that a command is about: the stream that is named, else all of the configuration.
fn is_chosen(context: &Context, named: Option<&str>, topic: &str) -> bool {
    match named {
        Some(name) => name == topic,
        None => context.config.streams.iter().any(|s| s.name == topic),
    }
}

/// Whether every record of a stream becomes a row.
pub(super) fn is_keyless(stream: &Stream) -> bool {
    stream.on_conflict == OnConflict::Append || stream.key.is_empty()
}

/// Where the offsets would go, and how many records would be applied.
pub(super) fn plan(log: &Client, offsets: &[GroupOffset], to: Where) -> Result<Vec<Move>> {
    let log_id = log.log_id().to_string();
    let mut moves = Vec::new();
    for offset in offsets {
        let next = place(log, offset, to)?;
        let ends = log.partition_ends(&offset.topic).unwrap_or_default();
        let ends = ends.iter().find(|ends| ends.partition == offset.partition);
        let other_log = offset.log_id != log_id;
        let first_unapplied = match (other_log, ends) {
            (false, _) => offset.next,
            (true, Some(ends)) => ends.start.get(),
            (true, None) => next,
        };
        let mark = match ends {
            Some(_) => log.mark_before(&offset.topic, offset.partition, Offset::new(next))?,
            None => None,
        };
        moves.push(Move {
            skipped: next.saturating_sub(first_unapplied),
            mark,
            group: offset.group.clone(),
            topic: offset.topic.clone(),
            partition: offset.partition,
            from: offset.next,
            other_log,
            to: next,
            records: ends.map_or(0, |ends| ends.end.get().saturating_sub(next)),
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
        let skipped = match line.skipped {
            0 => String::new(),
            n => format!(
                "; skips {} {} that {} never applied",
                grouped(n),
                plural(n, "record"),
                if n == 1 { "was" } else { "were" }
            ),
        };
        print_result(&format!(
            "{} {}/{}: {}{other_log} -> {}   {} {} to apply{skipped}",
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
    (log_id, instead_of): (&str, Option<&str>),
    moves: &[Move],
) -> Result<()> {
    let resets: Vec<_> = moves
        .iter()
        .map(|line| Reset {
            topic: line.topic.clone(),
            partition: line.partition,
            next: line.to,
            mark: line.mark,
        })
        .collect();
    Ok(bekk_sink::reset_offsets(
        postgres, group, log_id, instead_of, &resets,
    )?)
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
    let log = context.open_log(&args.log)?;
    let in_log = bekk_sink::partitions_in_log(&log, &args.group, &topics)?;
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
        bekk_sink::forget_in_log(&log, &args.group, &topics)?;
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
            "table `{}` has rows and no key, and a group that begins anew would insert them once more; if the table was \
             moved or renamed, keep the offsets: bekk offsets adopt --group {group}; to delete them all the same, add \
             --allow-duplicates",
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
