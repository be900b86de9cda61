//! `bekk audit`: whether every record is accounted for.

use std::path::Path;

use anyhow::Result;
use bekk_ingest::{Comparison, ContentKind, Contents};
use bekk_log::Client;
use bekk_sink::{
    ConnectOptions, DeepAudit, FINDINGS_MAX, FileCounts, FindingKind, PartitionCounts,
};
use bekk_stream::Stream;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{Audit, Global};
use crate::context::Context;
use crate::screen::{Screen, counted, grouped};

/// What was found of a stream.
#[derive(Serialize)]
struct Report {
    stream: String,
    group: String,
    right: bool,
    partitions: Vec<PartitionLine>,
    files: Vec<FileLine>,
    /// The first records that differ between a file and the log.
    file_findings: Vec<FileFinding>,
    deep: Option<Deep>,
}

/// What the counts say of a partition.
#[derive(Serialize)]
struct PartitionLine {
    partition: u32,
    right: bool,
    next: Option<u64>,
    end: u64,
    rows: u64,
    superseded: u64,
    dead_letters: u64,
    waiting: u64,
    unaccounted: i64,
    /// The sum of rows, superseded records and dead letters counted before the last reset or replay.
    counted_before_reset: u64,
    /// Why no record is applied until someone has decided.
    refused: Option<String>,
}

/// What ingest counted of a file, and what the log has of it.
#[derive(Serialize)]
struct FileLine {
    file: String,
    right: bool,
    /// Records that ingest read into the log.
    read: Option<u64>,
    rejects: Option<u64>,
    /// Records of it in the log; known with --deep.
    in_log: Option<u64>,
    /// Records that are in the log more than once.
    repeated: u64,
    /// Whether the log has the file's content; known with --deep, if the file was compared.
    same_content: Option<bool>,
    /// Why the file was not compared, with --deep.
    not_compared: Option<String>,
}

/// A difference between a file and the log.
#[derive(Serialize)]
struct FileFinding {
    kind: &'static str,
    file: String,
    line: u64,
    /// The file position of its first byte.
    start: u64,
    partition: Option<u32>,
    offset: Option<u64>,
}

/// What the comparison of content gave.
#[derive(Serialize)]
struct Deep {
    records: u64,
    dead_letters: u64,
    table_rows: u64,
    missing: u64,
    changed: u64,
    extra: u64,
    unexplained: u64,
    of_former_columns: u64,
    without_letter: u64,
    log_differs: Vec<String>,
    findings: Vec<FindingLine>,
}

#[derive(Serialize)]
struct FindingLine {
    kind: &'static str,
    key: String,
    partition: Option<u32>,
    offset: Option<u64>,
    file: Option<String>,
    line: Option<u64>,
}

pub(crate) fn run(global: &Global, args: &Audit, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    let streams = context.targets(&args.target)?;
    let log = context.open_log(&args.log)?;
    let database = context.database(&args.postgres)?;
    screen.say_part(&format!("postgres   {}", database.description));
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| context.base.join(".bekk/tmp"));
    let mut reports = Vec::new();
    for stream in &streams {
        let at = Place {
            context: &context,
            postgres: &database.options,
            log: &log,
            dir: &dir,
        };
        reports.push(audit(&at, &args.group.name, stream, args.deep)?);
    }
    log.close()?;
    let is_right = reports.iter().all(|report| report.right);
    if args.output.json {
        print_json(&reports)?;
    } else {
        for report in &reports {
            print_report(report)?;
        }
        print_result(match is_right {
            true => "nothing differs",
            false => "something differs; look at a row with: bekk trace --key …",
        })?;
    }
    Ok(Outcome::of(is_right))
}

struct Place<'a> {
    context: &'a Context,
    postgres: &'a ConnectOptions,
    log: &'a Client,
    dir: &'a Path,
}

fn audit(at: &Place<'_>, group: &str, stream: &Stream, is_deep: bool) -> Result<Report> {
    let counts = bekk_sink::audit_counts(at.postgres, at.log, group, stream)?;
    let partitions: Vec<_> = counts.iter().map(PartitionLine::of).collect();
    let deep = match is_deep {
        true => Some(bekk_sink::audit_content(
            at.postgres,
            at.log,
            group,
            stream,
            at.dir,
        )?),
        false => None,
    };
    let (files, file_findings) = match &deep {
        None => (counted_files(at.context, stream)?, Vec::new()),
        Some(deep) => {
            let state_dir = at.context.ingest_config(true).state_dir;
            let contents = bekk_ingest::contents(&state_dir, at.log, stream)?;
            compared_files(at.context, deep, contents)
        }
    };
    let right = partitions.iter().all(|line| line.right)
        && files.iter().all(|line| line.right)
        && deep.as_ref().is_none_or(DeepAudit::is_right);
    Ok(Report {
        stream: stream.name.clone(),
        group: group.to_owned(),
        right,
        partitions,
        files,
        file_findings,
        deep: deep.map(Deep::of),
    })
}

/// Lists each file with the counts of this directory's ingest.
fn counted_files(context: &Context, stream: &Stream) -> Result<Vec<FileLine>> {
    let state_dir = context.ingest_config(true).state_dir;
    let known = bekk_ingest::files(&state_dir, std::slice::from_ref(stream))?;
    let met = known.files.into_iter().filter(|file| file.id.is_some());
    let lines = met.map(|file| FileLine {
        file: shown(context, &file.path),
        right: true,
        read: Some(file.records),
        rejects: Some(file.rejects),
        in_log: None,
        repeated: 0,
        same_content: None,
        not_compared: None,
    });
    Ok(lines.collect())
}

/// The same beside what the log has of each file, and what reading it again has shown.
fn compared_files(
    context: &Context,
    deep: &DeepAudit,
    contents: Contents,
) -> (Vec<FileLine>, Vec<FileFinding>) {
    let mut in_log = deep.files.clone();
    let mut lines = Vec::new();
    for file in contents.files {
        let repeated = in_log.remove(&file.id).map_or(0, |found| found.repeated);
        lines.push(FileLine {
            file: shown(context, &file.path),
            right: !file.count_differs && repeated == 0 && file.comparison != Comparison::Differs,
            read: Some(file.records),
            rejects: Some(file.rejects),
            in_log: Some(file.in_log),
            repeated,
            same_content: match file.comparison {
                Comparison::Same => Some(true),
                Comparison::Differs => Some(false),
                Comparison::NotCompared(_) => None,
            },
            not_compared: match file.comparison {
                Comparison::NotCompared(why) => Some(why),
                Comparison::Same | Comparison::Differs => None,
            },
        });
    }
    let others = in_log
        .into_iter()
        .map(|(id, found): (_, FileCounts)| FileLine {
            file: found.path.unwrap_or_else(|| id.to_string()),
            right: found.repeated == 0,
            read: None,
            rejects: None,
            in_log: Some(found.records),
            repeated: found.repeated,
            same_content: None,
            not_compared: Some("this project's ingest has not read it".to_owned()),
        });
    lines.extend(others);
    let findings = contents.findings.into_iter().map(|finding| FileFinding {
        kind: match finding.kind {
            ContentKind::NotInLog => "not in the log",
            ContentKind::Changed => "other in the log",
            ContentKind::NotInFile => "not in the file",
        },
        file: shown(context, &finding.path),
        line: finding.line,
        start: finding.start,
        partition: finding.at.map(|(partition, _)| partition),
        offset: finding.at.map(|(_, offset)| offset),
    });
    (lines, findings.collect())
}

fn shown(context: &Context, path: &Path) -> String {
    crate::database::shown_from(&context.base, path)
        .display()
        .to_string()
}

impl PartitionLine {
    fn of(counts: &PartitionCounts) -> Self {
        let offset = counts.offset.as_ref();
        let refusal = offset.and_then(|offset| offset.refusal.as_ref());
        Self {
            partition: counts.partition,
            right: counts.is_right(),
            next: offset.map(|offset| offset.next),
            end: counts.end,
            rows: offset.map_or(0, |offset| offset.rows),
            superseded: offset.map_or(0, |offset| offset.superseded),
            dead_letters: offset.map_or(0, |offset| offset.dead),
            waiting: counts.waiting(),
            unaccounted: offset.map_or(0, |offset| offset.unaccounted),
            counted_before_reset: offset.map_or(0, |offset| offset.counted_before),
            refused: refusal.map(|refusal| refusal.detail.clone()),
        }
    }
}

impl Deep {
    fn of(deep: DeepAudit) -> Self {
        Self {
            records: deep.records,
            dead_letters: deep.dead,
            table_rows: deep.rows,
            missing: deep.missing,
            changed: deep.changed,
            extra: deep.extra,
            unexplained: deep.unexplained,
            of_former_columns: deep.of_former_columns,
            without_letter: deep.without_letter,
            log_differs: deep.log_differs.into_iter().map(|(_, how)| how).collect(),
            findings: deep
                .findings
                .into_iter()
                .map(|finding| FindingLine {
                    kind: match finding.kind {
                        FindingKind::Missing => "missing",
                        FindingKind::Changed => "changed",
                        FindingKind::Extra => "extra",
                        FindingKind::NoLetter => "no dead letter",
                    },
                    key: finding.key,
                    partition: finding.at.map(|(partition, _)| partition),
                    offset: finding.at.map(|(_, offset)| offset),
                    file: finding.file,
                    line: finding.line,
                })
                .collect(),
        }
    }
}

fn print_report(report: &Report) -> Result<()> {
    print_result(&format!(
        "stream     {} (group {})",
        report.stream, report.group
    ))?;
    for line in &report.partitions {
        let passed = line.next.map_or_else(
            || "no row of bekk.offsets".to_owned(),
            |next| format!("passed {}", grouped(next)),
        );
        let before = match line.counted_before_reset {
            0 => String::new(),
            count => format!(" ({} of these before the last reset)", grouped(count)),
        };
        print_result(&format!(
            "  {}/{}: {passed}; {}, {} superseded, {}{before}, {} waiting, unaccounted {}",
            report.stream,
            line.partition,
            counted(line.rows, "row"),
            grouped(line.superseded),
            counted(line.dead_letters, "dead letter"),
            grouped(line.waiting),
            line.unaccounted
        ))?;
        if let Some(why) = &line.refused {
            print_result(&format!("    refused: {why}"))?;
        }
        if line.next.is_some_and(|next| next > line.end) {
            print_result(&format!(
                "    the log ends at {}: it does not have what was applied after that",
                grouped(line.end)
            ))?;
        }
    }
    for line in &report.files {
        print_file(line)?;
    }
    for finding in &report.file_findings {
        let at = match (finding.partition, finding.offset) {
            (Some(partition), Some(offset)) => format!("   offset {partition}/{offset}"),
            _ => String::new(),
        };
        print_result(&format!(
            "    {} {}:{}   byte {}{at}",
            finding.kind,
            finding.file,
            finding.line,
            grouped(finding.start)
        ))?;
    }
    match &report.deep {
        Some(deep) => print_deep(deep),
        None => Ok(()),
    }
}

fn print_file(line: &FileLine) -> Result<()> {
    let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), grouped);
    let in_log = match line.in_log {
        Some(records) => format!(", {} in the log", grouped(records)),
        None => String::new(),
    };
    let repeated = match line.repeated {
        0 => String::new(),
        n => format!(", {} more than once", grouped(n)),
    };
    let content = match (line.same_content, &line.not_compared) {
        (Some(true), _) => ", same content".to_owned(),
        (Some(false), _) => ", other content".to_owned(),
        (None, Some(why)) => format!(", not compared: {why}"),
        (None, None) => String::new(),
    };
    let mark = if line.right { "" } else { "   differs" };
    print_result(&format!(
        "  file {}: {} read, {} of them rejects{in_log}{repeated}{content}{mark}",
        line.file,
        number(line.read),
        number(line.rejects)
    ))
}

fn print_deep(deep: &Deep) -> Result<()> {
    print_result(&format!(
        "  content: {} of the log, {} of the table: {} missing, {} changed, {} extra",
        counted(deep.records, "record"),
        counted(deep.table_rows, "row"),
        grouped(deep.missing),
        grouped(deep.changed),
        grouped(deep.extra)
    ))?;
    if deep.of_former_columns > 0 {
        print_result(&format!(
            "  {} not compared: the configuration has other columns now; to read a file again with these: bekk \
             ingest reread FILE",
            counted(deep.of_former_columns, "record")
        ))?;
    }
    if deep.unexplained > 0 {
        print_result(&format!(
            "  {} without a record: the log's beginning was removed, its record is not compared, or a dead letter was \
             fixed by hand",
            counted(deep.unexplained, "row")
        ))?;
    }
    if deep.without_letter > 0 {
        let rejected = counted(deep.without_letter, "rejected record");
        print_result(&format!("  {rejected} without a dead letter"))?;
    }
    for how in &deep.log_differs {
        print_result(&format!("  the log is not the one that was applied: {how}"))?;
    }
    for finding in &deep.findings {
        let at = match (finding.partition, finding.offset) {
            (Some(partition), Some(offset)) => format!("   offset {partition}/{offset}"),
            _ => String::new(),
        };
        let file = match (&finding.file, finding.line) {
            (Some(file), Some(line)) => format!("   {file}:{line}"),
            _ => String::new(),
        };
        print_result(&format!("    {} {}{at}{file}", finding.kind, finding.key))?;
    }
    let all = deep.missing + deep.changed + deep.extra + deep.without_letter;
    if all > FINDINGS_MAX as u64 {
        print_result(&format!(
            "    and {} more",
            grouped(all - FINDINGS_MAX as u64)
        ))?;
    }
    Ok(())
}
