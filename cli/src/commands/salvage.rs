//! `bekk log salvage`: what was set aside of a damaged log, restored as far as it can be read by now.

use std::path::Path;

use anyhow::Result;
use bekk_log::{Applied, Gap, Salvaged};
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::LogSalvage;
use crate::context::Context;
use crate::database::shown_from;
use crate::screen::counted;

/// What became of a segment that had been set aside, for programs.
#[derive(Serialize)]
struct Line {
    topic: String,
    set_aside: Vec<String>,
    restored: u64,
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Missing {
    partition: u32,
    start: u64,
    end: u64,
}

pub(crate) fn run(context: &Context, args: &LogSalvage) -> Result<Outcome> {
    let dir = context.log_dir(&args.log)?;
    let salvaged = bekk_log::salvage(&dir)?;
    let is_whole = salvaged.iter().all(|one| one.missing.is_empty());
    let outcome = Outcome::of(is_whole);
    if args.output.json {
        print_json(&salvaged.iter().map(Line::of).collect::<Vec<_>>())?;
        return Ok(outcome);
    }
    if salvaged.iter().all(|one| one.paths.is_empty()) {
        print_result("nothing is set aside in this log")?;
    }
    for one in &salvaged {
        print_segment(one, &context.base)?;
    }
    if salvaged.iter().any(|one| one.records > 0) {
        print_result(
            "a group that has passed these offsets does not read them by itself: bekk replay --from earliest",
        )?;
    }
    Ok(outcome)
}

fn print_segment(one: &Salvaged, base: &Path) -> Result<()> {
    for path in &one.paths {
        print_result(&format!("{}", shown_from(base, path).display()))?;
    }
    let lines = match one.paths.is_empty() {
        true => vec!["missing, and in nothing that is set aside:".to_owned()],
        false => segment_lines(one),
    };
    let missing = one
        .missing
        .iter()
        .map(|gap| format!("  {}", missing(&one.topic, gap)));
    for line in lines.into_iter().chain(missing) {
        print_result(&line)?;
    }
    Ok(())
}

fn segment_lines(one: &Salvaged) -> Vec<String> {
    let records = counted(one.records, "record");
    let mut lines = vec![format!("  {records} of topic {} restored", one.topic)];
    if one.missing.is_empty() {
        let done = "  no offset of it is missing; delete it once `bekk log verify` says ok";
        lines.push(done.to_owned());
    }
    lines
}

fn missing(topic: &str, gap: &Gap) -> String {
    let (partition, start, end) = (gap.partition, gap.start, gap.end);
    match gap.applied {
        Applied::Again => format!(
            "{topic}/{partition}: offsets {start} to {end} are missing; their records were appended again at later offsets"
        ),
        _ => format!("{topic}/{partition}: offsets {start} to {end} are still missing"),
    }
}

impl Line {
    fn of(one: &Salvaged) -> Self {
        let missing = one.missing.iter().map(|gap| Missing {
            partition: gap.partition,
            start: gap.start.get(),
            end: gap.end.get(),
        });
        Self {
            topic: one.topic.clone(),
            set_aside: one
                .paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            restored: one.records,
            missing: missing.collect(),
        }
    }
}
