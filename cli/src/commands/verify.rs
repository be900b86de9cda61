//! `bekk log verify`: every batch's CRC, the density of offsets, against the durable mark.

use anyhow::Result;
use bekk_log::VerifyReport;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::LogVerify;
use crate::context::Context;
use crate::screen::{Screen, grouped};

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
    gaps: u64,
    problems: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &LogVerify, screen: &Screen) -> Result<Outcome> {
    let dir = context.log_dir(&args.log)?;
    let mut line = screen.live_line();
    let report = bekk_log::verify(&dir, &mut |report: &VerifyReport| {
        line.set(format!(
            "{} segments, {} records",
            grouped(report.segments),
            grouped(report.records)
        ));
    })?;
    drop(line);
    let problems: Vec<_> = report.problems.iter().map(describe).collect();
    let outcome = if problems.is_empty() {
        Outcome::Done
    } else {
        Outcome::Incomplete
    };
    if args.output.json {
        print_json(&Verified {
            ok: problems.is_empty(),
            topics: report.topics,
            partitions: report.partitions,
            segments: report.segments,
            batches: report.batches,
            records: report.records,
            bytes: report.bytes,
            gaps: report.gaps,
            problems,
        })?;
        return Ok(outcome);
    }
    let verdict = if problems.is_empty() {
        "ok".to_owned()
    } else {
        format!("{} problems", problems.len())
    };
    print_result(&format!(
        "{verdict}: {} records in {} batches, {} segments, {} bytes; {} gaps noted earlier",
        grouped(report.records),
        grouped(report.batches),
        grouped(report.segments),
        grouped(report.bytes),
        grouped(report.gaps),
    ))?;
    for problem in problems {
        print_result(&format!("  {problem}"))?;
    }
    Ok(outcome)
}

fn describe(problem: &bekk_log::Problem) -> String {
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
        problem.path.display()
    )
}
