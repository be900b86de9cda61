//! Every file of a log, damaged in each way: the log opens, serves no wrong record, loses no more than what was in the
//! damaged bytes, names what is lost, and continues.
//!
//! A sample of all cases is run; `BEKK_TEST_ALL_FAULTS=1` runs each, `BEKK_FAULTS_SEED` chooses another sample, and
//! `BEKK_FAULTS_ONLY` those whose name holds a text, such as `sealed Flip(Head)`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bekk_log::{Client, Offset, verify};
use bekk_testing::setting;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::support::{
    await_sealing, buffer, copy, find, noise, open, open_small, read_all, small, topic,
};

/// Cases that are run when not all are.
const SAMPLE: u64 = 12;
const PARTITIONS: u32 = 2;
/// Records in each partition, each a batch of its own.
const RECORDS: u64 = 18;
const RECORD_BYTES: usize = 4_000;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Flip(Place),
    Truncate,
    Empty,
    Remove,
    Append,
    /// Another file's content.
    Other,
    /// A directory has its name.
    Directory,
    /// It was moved, and a link to it has its name.
    Link,
    /// A named pipe that nobody writes to.
    Pipe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Middle,
    Tail,
}

const DAMAGES: [Damage; 11] = [
    Damage::Flip(Place::Head),
    Damage::Flip(Place::Middle),
    Damage::Flip(Place::Tail),
    Damage::Truncate,
    Damage::Empty,
    Damage::Remove,
    Damage::Append,
    Damage::Other,
    Damage::Directory,
    Damage::Link,
    Damage::Pipe,
];

fn value(partition: u32, i: u64) -> Vec<u8> {
    noise(u64::from(partition) << 32 | i, RECORD_BYTES)
}

/// A log of some sealed segments and one that is written to, closed in order.
fn whole() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let client = open_small(dir.path(), 40_000);
    topic(&client, "t", PARTITIONS);
    for i in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let records = buffer([value(partition, i)]);
            client.append(None, "t", &[(partition, &records)]).unwrap();
        }
    }
    await_sealing(&client, "t");
    client.commit_offset("g", "t", 0, Offset::new(3)).unwrap();
    client.close().unwrap();
    // Copies are smaller for it, and fjall does not mind.
    for journal in find(dir.path(), ".jnl") {
        let bytes = fs::read(&journal).unwrap();
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        fs::File::options()
            .write(true)
            .open(&journal)
            .unwrap()
            .set_len(end as u64)
            .unwrap();
    }
    dir
}

/// Damages a file; `moved` is the directory into which it may be moved.
fn damage(path: &Path, how: Damage, other: &Path, moved: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let len = bytes.len();
    match how {
        Damage::Flip(_) if len == 0 => return,
        Damage::Flip(Place::Head) => bytes[0] ^= 4,
        Damage::Flip(Place::Middle) => bytes[len / 2] ^= 4,
        Damage::Flip(Place::Tail) => bytes[len - 1] ^= 4,
        Damage::Truncate => bytes.truncate(len / 2),
        Damage::Empty => bytes.clear(),
        Damage::Append => bytes.extend(noise(7, 100)),
        Damage::Other => bytes = fs::read(other).unwrap(),
        Damage::Remove => return fs::remove_file(path).unwrap(),
        Damage::Directory => {
            fs::remove_file(path).unwrap();
            return fs::create_dir(path).unwrap();
        }
        Damage::Pipe => {
            fs::remove_file(path).unwrap();
            let (kind, mode) = (FileType::Fifo, Mode::RUSR | Mode::WUSR);
            return mknodat(CWD, path, kind, mode, 0).unwrap();
        }
        Damage::Link => {
            let moved = moved.join("moved");
            fs::rename(path, &moved).unwrap();
            return std::os::unix::fs::symlink(moved, path).unwrap();
        }
    }
    fs::write(path, bytes).unwrap();
}

/// Reads the whole log; no record may be another than it was. Returns those that are missing, by partition.
fn missing(client: &Client) -> BTreeSet<(u32, u64)> {
    let mut missing = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let read = read_all(client, "t", partition, Offset::ZERO);
        let mut offsets = BTreeSet::new();
        for (offset, found) in read.iter().filter(|(offset, _)| *offset < RECORDS) {
            assert_eq!(
                *found,
                value(partition, *offset),
                "a wrong record at {partition}/{offset}"
            );
            assert!(
                offsets.insert(*offset),
                "{partition}/{offset} is read twice"
            );
        }
        let lost = (0..RECORDS).filter(|offset| !offsets.contains(offset));
        missing.extend(lost.map(|offset| (partition, offset)));
    }
    missing
}

fn check(template: &Path, file: &Path, how: Damage, other: &Path) {
    let dir = copy(template);
    let damaged = dir.path().join(file);
    damage(&damaged, how, &dir.path().join(other), dir.path());
    let client = match Client::open(small(dir.path(), 40_000)) {
        Ok(client) => client,
        Err(error) => panic!("the log does not open: {error}"),
    };
    let lost = missing(&client);
    // Only what holds records may cost some: a journal, or a table of a partition.
    let name = file.to_string_lossy();
    let holds_records = name.contains("topics/t/")
        && (name.ends_with(".jnl")
            || name.contains("keyspaces/2/tables")
            || name.contains("keyspaces/3/tables"));
    assert!(holds_records || lost.is_empty(), "lost {lost:?}");
    if matches!(how, Damage::Flip(_) | Damage::Append) {
        assert!(lost.len() <= 1, "one place costs {lost:?}");
    }
    let gaps = client.gaps("t").unwrap();
    for (partition, offset) in &lost {
        let is_named = gaps.iter().any(|gap| {
            gap.partition == *partition && gap.start.get() <= *offset && *offset < gap.end.get()
        });
        assert!(
            is_named,
            "{partition}/{offset} is lost and not named: {gaps:?}"
        );
    }
    let new = client.append(None, "t", &[(0, &buffer(["new"]))]).unwrap()[0];
    assert!(new.get() >= RECORDS, "offset {new} is given twice");
    client.close().unwrap();

    // Again, with nothing left to repair.
    let client = open(dir.path());
    assert_eq!(missing(&client), lost);
    client.close().unwrap();
    let report = verify(dir.path(), &mut |_| ()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.is_whole(), lost.is_empty(), "{report:?}");
}

#[test]
fn no_damaged_file_stops_the_log_or_makes_it_wrong() {
    let template = whole();
    let mut files = find(template.path(), "");
    files.retain(|path| path.is_file());
    let files: Vec<PathBuf> = files
        .iter()
        .map(|path| path.strip_prefix(template.path()).unwrap().to_owned())
        .collect();
    // Only a plain file can be locked, so a person must move away anything else of this name.
    let is_for_person = |file: &Path, how| {
        file.ends_with("LOCK") && matches!(how, Damage::Directory | Damage::Link | Damage::Pipe)
    };
    let cases: Vec<_> = files
        .iter()
        .flat_map(|file| DAMAGES.map(|how| (file, how)))
        .filter(|(file, how)| !is_for_person(file, *how))
        .collect();
    let is_all = std::env::var_os("BEKK_TEST_ALL_FAULTS").is_some();
    let only = std::env::var("BEKK_FAULTS_ONLY").unwrap_or_default();
    let seed = setting("BEKK_FAULTS_SEED", 1);
    let step = (cases.len() as u64 / SAMPLE).max(1);
    let mut failed = Vec::new();
    for (number, (file, how)) in (0u64..).zip(&cases) {
        let case = format!("{} {how:?}", file.display());
        let is_chosen = match only.is_empty() {
            true => is_all || number % step == seed % step,
            false => case.contains(&only),
        };
        if !is_chosen {
            continue;
        }
        // One of the same kind, of the next segment or keyspace.
        let kind = file.file_name();
        let at = files.iter().position(|other| other == *file).unwrap();
        let mut others = files[at + 1..].iter().chain(&files[..at]);
        let other = others
            .find(|other| other.file_name() == kind)
            .unwrap_or(&files[0]);
        let checked = std::panic::catch_unwind(|| check(template.path(), file, *how, other));
        if checked.is_err() {
            eprintln!("failed: {case}");
            failed.push(case);
        }
    }
    assert!(
        failed.is_empty(),
        "{} cases of {}: {failed:#?}",
        failed.len(),
        cases.len()
    );
}

/// One partition's tables under the names of another's, by a slip of a restore: each batch is whole, at an offset that
/// its partition has.
#[test]
fn a_table_of_another_partition_is_not_taken_for_its_own() {
    let template = whole();
    let tables = find(template.path(), "");
    let mut tried = 0;
    for table in tables.iter().filter(|path| path.is_file()) {
        let name = table.strip_prefix(template.path()).unwrap();
        let text = name.to_string_lossy();
        let other = PathBuf::from(text.replace("keyspaces/2/tables", "keyspaces/3/tables"));
        let is_one = text.contains("topics/t/") && other != name;
        if is_one && template.path().join(&other).is_file() {
            check(template.path(), name, Damage::Other, &other);
            check(template.path(), &other, Damage::Other, name);
            tried += 1;
        }
    }
    assert!(tried > 1, "no tables");
}
