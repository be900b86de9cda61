//! Resets and replays: where a group continues, and which records that skips or applies again.

use anyhow::{Result, bail, ensure};
use bekk_log::{Client, Offset, PartitionEnds, RecordMark};
use bekk_sink::{ConnectOptions, GroupOffset, Reset, Start};
use bekk_stream::{OnConflict, Stream, TableName};
use serde::Serialize;

use super::{WrongUsage, print_json, print_result};
use crate::args::Where;
use crate::context::Context;
use crate::screen::{counted, grouped};

/// Where a group goes in one partition.
#[derive(Serialize)]
pub(super) struct Move {
    group: String,
    pub(super) topic: String,
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
    pub(super) fn again(&self) -> u64 {
        match self.other_log {
            true => self.records,
            false => self.from.saturating_sub(self.to).min(self.records),
        }
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped
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
                "; skips {} that {} never applied",
                counted(n, "record"),
                if n == 1 { "was" } else { "were" }
            ),
        };
        print_result(&format!(
            "{} {}/{}: {}{other_log} -> {}   {} to apply{skipped}",
            line.group,
            line.topic,
            line.partition,
            grouped(line.from),
            grouped(line.to),
            counted(line.records, "record")
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

/// The start of a new group.
pub(super) fn start_at(from: Where) -> Result<Start> {
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

/// Creates the tables that `--table` or `--into` names, with the columns of the configuration's.
pub(super) fn make_shadows(
    context: &Context,
    postgres: &ConnectOptions,
    streams: &[Stream],
) -> Result<Vec<TableName>> {
    let mut made = Vec::new();
    for stream in streams {
        let own = context
            .streams()
            .into_iter()
            .find(|own| own.name == stream.name);
        if let Some(own) = own.filter(|own| own.table != stream.table)
            && bekk_sink::create_like(postgres, &own.table, &stream.table)?
        {
            made.push(stream.table.clone());
        }
    }
    Ok(made)
}
