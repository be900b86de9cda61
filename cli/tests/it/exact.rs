//! That the table and the log hold what the files hold, each record once.

use xxhash_rust::xxh3::xxh3_64;

use crate::events::{EventsFile, TABLE_ROWS, last_of_each_key};
use crate::log_content::LogContent;
use crate::sample::json;
use crate::support::{Ran, Sandbox};

/// Compares files, log, table and dead letters, and audits them; no process must have the log.
#[track_caller]
pub(crate) fn check_everything(sandbox: &Sandbox, files: &[EventsFile]) {
    let rows: Vec<String> = files
        .iter()
        .flat_map(|file| file.rows.iter().cloned())
        .collect();
    let rejects: Vec<String> = files
        .iter()
        .flat_map(|file| file.rejects.iter().cloned())
        .collect();
    let expected_table = last_of_each_key(&rows);

    let content = LogContent::read(&sandbox.log_dir(), "events");
    same("the rows of files and log", &rows, &content.rows);
    same("the rejects of files and log", &rejects, &content.rejects);

    let postgres = sandbox.postgres();
    let column = |sql: &str| {
        postgres
            .rows(sql)
            .into_iter()
            .map(|mut row| row.remove(0))
            .collect::<Vec<_>>()
    };
    same("files and table", &expected_table, &column(TABLE_ROWS));
    let letters = column(
        "SELECT convert_from(raw, 'UTF8') FROM bekk.dead_letters WHERE position('\\000'::bytea IN raw) = 0",
    );
    let without_nul: Vec<_> = rejects
        .iter()
        .filter(|reject| !reject.contains('\0'))
        .cloned()
        .collect();
    same(
        "the rejects of files and dead letters",
        &without_nul,
        &letters,
    );
    let audit = check_audit(sandbox);
    let found = [&audit["deep"]["table_rows"], &audit["deep"]["dead_letters"]];
    assert_eq!(found, [expected_table.len(), rejects.len()], "{audit:#}");
    let records: usize = files.iter().map(EventsFile::records).sum();
    assert_eq!(audit["deep"]["records"], records, "{audit:#}");
}

/// Audits the stream `events` in depth, whose log is here and has been applied as a whole: nothing may differ. Returns
/// the report.
#[track_caller]
pub(crate) fn check_audit(sandbox: &Sandbox) -> serde_json::Value {
    check_audit_of(sandbox.run("audit --deep --json"))
}

/// The same for an audit that has run.
#[track_caller]
pub(crate) fn check_audit_of(audit: Ran) -> serde_json::Value {
    let mut reports = json(audit.ok());
    let report = reports[0].take();
    let partitions = report["partitions"].as_array().unwrap();
    let sum = |of: &str| {
        partitions
            .iter()
            .map(|p| p[of].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("waiting"), 0, "{report:#}");
    let counted = [sum("next"), sum("rows"), sum("dead_letters")];
    let deep = &report["deep"];
    let found = [&deep["records"], &deep["table_rows"], &deep["dead_letters"]];
    assert_eq!(found, counted, "{report:#}");
    report
}

/// That two lists hold the same, in whatever order; says how they differ.
fn same(what: &str, left: &[String], right: &[String]) {
    let checksum = |lines: &[String]| {
        lines
            .iter()
            .fold(0u64, |sum, line| sum.wrapping_add(xxh3_64(line.as_bytes())))
    };
    println!(
        "{what}: {} and {} lines, checksums {:016x} and {:016x}",
        left.len(),
        right.len(),
        checksum(left),
        checksum(right)
    );
    if left.len() == right.len() && checksum(left) == checksum(right) {
        return;
    }
    let only = |these: &[String], those: &[String]| {
        let mut counts = std::collections::HashMap::new();
        those
            .iter()
            .for_each(|line| *counts.entry(line.clone()).or_insert(0i64) += 1);
        let missing = these.iter().filter(|line| {
            let count = counts.entry((*line).clone()).or_insert(0);
            *count -= 1;
            *count < 0
        });
        missing.take(5).cloned().collect::<Vec<_>>()
    };
    panic!(
        "{what} differ; only left: {:#?}; only right: {:#?}",
        only(left, right),
        only(right, left)
    );
}
