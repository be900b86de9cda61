//! That the table and the log hold what the files hold, each record once.

use xxhash_rust::xxh3::xxh3_64;

use crate::events::{EventsFile, TABLE_ROWS, last_of_each_key};
use crate::log_content::LogContent;
use crate::support::{Postgres, Sandbox};

/// Compares files, log, table, dead letters and counts; nothing must have the log.
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
    assert_eq!(
        postgres.number("SELECT count(*) FROM bekk.dead_letters"),
        rejects.len() as u64
    );
    check_counts(&postgres, files, &expected_table, &rejects);
}

/// rows + superseded + dead = records, over all kills.
fn check_counts(postgres: &Postgres, files: &[EventsFile], table: &[String], rejects: &[String]) {
    let records: usize = files.iter().map(EventsFile::records).sum();
    let counts = postgres.rows("SELECT sum(next), sum(rows), sum(superseded), sum(dead) FROM bekk.offsets WHERE topic = 'events'");
    let counts: Vec<u64> = counts[0].iter().map(|text| text.parse().unwrap()).collect();
    let [next, rows, superseded, dead] = counts[..] else {
        panic!("four columns were asked for")
    };
    assert_eq!(
        (next, rows, dead),
        (records as u64, table.len() as u64, rejects.len() as u64)
    );
    assert_eq!(rows + superseded + dead, next);
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
