//! `bekk log verify`: every batch's CRC, the density of offsets, against the durable mark.

use std::path::{Path, PathBuf};

use anyhow::Result;
use bekk_log::{Applied, VerifyReport};
use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, WrongUsage, print_json, print_result};
use crate::args::LogVerify;
use crate::context::Context;
use crate::database::shown_from;
use crate::screen::{Screen, counted, grouped};

/// The report, for programs.
#[derive(Serialize)]
struct Verified {
    ok: bool,
    topics: u64,
    partitions: u64,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    gaps: Vec<String>,
    set_aside: Vec<String>,
    problems: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &LogVerify, screen: &Screen) -> Result<Outcome> {
    let dir = context.log_dir(&args.log)?;
    context.log_place(&args.log)?.check_exists()?;
    let mut line = screen.live_line();
    let report = bekk_log::verify(&dir, &mut |report: &VerifyReport| {
        line.set(format!(
            "{} segments, {} records",
            grouped(report.segments),
            grouped(report.records)
        ));
    });
    let report = match report {
        // Exit code 1 would report damage.
        Err(error @ bekk_log::Error::Locked { .. }) => {
            let text = format!("{error}; stop that process, then try again");
            return Err(WrongUsage(text).into());
        }
        report => report?,
    };
    drop(line);
    let outcome = Outcome::of(report.is_whole());
    let gaps = report.gaps.iter();
    let set_aside = report.set_aside.iter();
    let problems = report.problems.iter();
    let shown = |path: &PathBuf| shown_from(&context.base, path).display().to_string();
    let verified = Verified {
        ok: report.is_whole(),
        topics: report.topics,
        partitions: report.partitions,
        segments: report.segments,
        batches: report.batches,
        records: report.records,
        bytes: report.bytes,
        gaps: gaps.map(|(topic, gap)| describe_gap(topic, gap)).collect(),
        set_aside: set_aside.map(shown).collect(),
        problems: problems
            .map(|problem| describe(problem, &context.base))
            .collect(),
    };
    match args.output.json {
        true => print_json(&verified)?,
        false => print(&verified, &verdict(&report))?,
    }
    Ok(outcome)
}

/// Prints the report for a person.
fn print(verified: &Verified, verdict: &str) -> Result<()> {
    print_result(&format!(
        "{verdict}: {} records in {} batches, {} segments, {} bytes",
        grouped(verified.records),
        grouped(verified.batches),
        grouped(verified.segments),
        grouped(verified.bytes),
    ))?;
    for line in verified.problems.iter().chain(&verified.gaps) {
        print_result(&format!("  {line}"))?;
    }
    if !verified.set_aside.is_empty() {
        print_result("set aside, and not served:")?;
        for path in &verified.set_aside {
            print_result(&format!("  {path}"))?;
        }
        print_result(match verified.ok {
            true => "no offset is missing, so that these directories may be deleted",
            false => "to restore what can be read of it: bekk log salvage",
        })?;
    }
    Ok(())
}

fn verdict(report: &VerifyReport) -> String {
    if report.is_whole() {
        return "ok".to_owned();
    }
    let count = |count: usize, noun: &str| (count > 0).then(|| counted(count as u64, noun));
    let lost: u64 = report
        .gaps
        .iter()
        .map(|(_, gap)| gap.end.get() - gap.start.get())
        .sum();
    let missing = (lost > 0).then(|| format!("{} missing", counted(lost, "offset")));
    let parts = count(report.problems.len(), "problem")
        .into_iter()
        .chain(missing);
    format!("damaged, {}", parts.collect::<Vec<_>>().join(", "))
}

fn describe_gap(topic: &str, gap: &bekk_log::Gap) -> String {
    let again = match gap.applied {
        Applied::Again => "; their records were appended again at later offsets",
        _ => "",
    };
    format!(
        "{topic}/{}: offsets {} to {} are missing since {}: {}{again}",
        gap.partition,
        gap.start,
        gap.end,
        Timestamp::from_millisecond(gap.found_at_ms).unwrap_or_default(),
        gap.reason
    )
}

fn describe(problem: &bekk_log::Problem, base: &Path) -> String {
    let partition = problem
        .partition
        .map(|partition| format!("/{partition}"))
        .unwrap_or_default();
    let offset = problem
        .offset
        .map(|offset| format!(" at offset {offset}"))
        .unwrap_or_default();
    format!(
        "{}{partition}{offset}: {} (`{}`)",
        problem.topic,
        problem.detail,
        shown_from(base, &problem.path).display()
    )
}
