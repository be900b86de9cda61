//! Damaged logs: each test does one thing to the files of a log that was killed or closed, and opens it. The
//! log is never refused for it, serves what is whole, says what is lost, and gives no offset twice.

use std::fs;
use std::path::{Path, PathBuf};

use bekk_log::{Client, Error, Gap, Offset, verify};
use bekk_testing::{MINUTE, assert_matches, wait_until};
use tempfile::TempDir;

use crate::support::{
    append, await_sealing, copy, find, noise, open, open_small, read_all, small, topic, try_append,
    with_topic,
};

/// A log of 20 records of 10 kB in partition 0 of `t`, in one segment, killed; with the durable mark as it was
/// before the first of them, or behind the last.
fn killed(mark_is_behind: bool) -> TempDir {
    let (dir, client) = with_topic(2);
    let mark = dir.path().join("ends");
    let before = fs::read(&mark).unwrap();
    fill(&client, 0..20);
    if mark_is_behind {
        // The mark is written within a second or so, and then nothing changes it.
        let settled = client.partition_ends("t").unwrap()[0].end;
        assert_eq!(settled, Offset::new(20));
        let mut last = Vec::new();
        wait_until("the durable mark", MINUTE, || {
            std::thread::sleep(std::time::Duration::from_millis(1100));
            let now = fs::read(&mark).unwrap();
            let same = now == last && now != before;
            last = now;
            same
        });
    }
    let copied = copy(dir.path());
    if !mark_is_behind {
        fs::write(copied.path().join("ends"), before).unwrap();
    }
    copied
}

fn fill(client: &Client, values: std::ops::Range<u64>) {
    for i in values {
        append(client, 0, [noise(i, 10_000)]);
    }
}

/// The one journal of segment 1.
fn journal(dir: &Path) -> PathBuf {
    let journals = find(&dir.join("topics/t/0000000001"), ".jnl");
    assert_eq!(journals.len(), 1);
    journals[0].clone()
}

/// Where the data of a journal ends, and its bytes.
fn journal_bytes(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end);
    bytes
}

fn ranges(gaps: &[Gap]) -> Vec<(u32, u64, u64)> {
    let ranges = gaps
        .iter()
        .map(|gap| (gap.partition, gap.start.get(), gap.end.get()));
    ranges.collect()
}

/// Checks that partition 0 holds the records that `whole` names, and appends one more, whose offset it
/// returns; all of it again after a reopening, which finds no further gaps.
fn check(dir: &Path, whole: &[u64], gaps: usize) -> u64 {
    let client = open_small(dir, 50_000);
    let expected: Vec<_> = whole.iter().map(|i| (*i, noise(*i, 10_000))).collect();
    assert!(read_all(&client, "t", 0, Offset::ZERO) == expected);
    let offset = append(&client, 0, ["new"]).get();
    client.close().unwrap();

    let client = open_small(dir, 50_000);
    let read = read_all(&client, "t", 0, Offset::ZERO);
    assert_eq!(read.len(), whole.len() + 1);
    assert_eq!(read.last(), Some(&(offset, b"new".to_vec())));
    assert_eq!(client.gaps("t").unwrap().len(), gaps);
    client.close().unwrap();
    assert_eq!(verify(dir, &mut |_| ()).unwrap().problems, []);
    offset
}

#[test]
fn a_write_that_was_cut_short_is_as_if_it_had_not_been() {
    let dir = killed(false);
    let path = journal(dir.path());
    let bytes = journal_bytes(&path);
    fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let whole: Vec<_> = (0..19).collect();
    assert_eq!(check(dir.path(), &whole, 0), 19);
    assert_eq!(
        find(dir.path(), ".cut").len(),
        1,
        "what was cut off is kept"
    );
}

#[test]
fn an_end_below_the_durable_mark_is_a_gap() {
    let dir = killed(true);
    let path = journal(dir.path());
    let bytes = journal_bytes(&path);
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let client = open(dir.path());
    let gaps = ranges(&client.gaps("t").unwrap());
    let [(0, lost_from, 20)] = gaps[..] else {
        panic!("{gaps:?}");
    };
    assert!((8..12).contains(&lost_from), "{lost_from}");
    // A reader continues behind the gap, also one that stands inside it.
    for from in [lost_from, lost_from + 3] {
        let records = client.read("t", 0, Offset::new(from), 1).unwrap();
        assert!(records.is_empty());
        assert_eq!(records.next_offset(), Offset::new(20));
    }
    drop(client);
    let whole: Vec<_> = (0..lost_from).collect();
    assert_eq!(check(dir.path(), &whole, 1), 20);
}

#[test]
fn damage_inside_a_journal_never_gives_an_offset_again() {
    let dir = killed(false);
    let path = journal(dir.path());
    let mut bytes = journal_bytes(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let whole: Vec<_> = {
        let client = open(dir.path());
        let read = read_all(&client, "t", 0, Offset::ZERO);
        read.into_iter().map(|(offset, _)| offset).collect()
    };
    assert_eq!(whole.len(), 19, "only one write is lost: {whole:?}");
    // Further writes follow it, so that it is known where the log ends.
    assert_eq!(check(dir.path(), &whole, 1), 20);
    assert_eq!(
        find(dir.path(), ".damaged-").len(),
        1,
        "what is damaged is kept"
    );
}

#[test]
fn damage_in_the_last_write_is_no_unfinished_write() {
    let dir = killed(false);
    let path = journal(dir.path());
    let mut bytes = journal_bytes(&path);
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let whole: Vec<_> = (0..19).collect();
    // Any partition may have had more records than the mark knows.
    let offset = check(dir.path(), &whole, 2);
    assert!(
        offset >= 20,
        "{offset}: the mark did not know of 20 records"
    );
}

/// How many records the log of [`closed`] has: five to a segment, and three in the last one.
const RECORDS: u64 = 43;

/// A log of some segments, all but the last sealed, closed.
fn closed() -> (TempDir, Vec<bekk_log::SegmentInfo>) {
    let dir = tempfile::tempdir().unwrap();
    let client = open_small(dir.path(), 50_000);
    topic(&client, "t", 2);
    fill(&client, 0..RECORDS);
    await_sealing(&client, "t");
    let segments = client.segments("t").unwrap();
    assert!(segments.len() > 4);
    client.close().unwrap();
    (dir, segments)
}

fn without(range: (Offset, Offset)) -> Vec<u64> {
    let gap = range.0.get()..range.1.get();
    (0..RECORDS)
        .filter(|offset| !gap.contains(offset))
        .collect()
}

#[test]
fn a_flipped_byte_in_a_sealed_segment_costs_one_batch() {
    let (dir, segments) = closed();
    let damaged = &segments[2];
    // The largest file of the segment is a table with records.
    let mut files = find(&damaged.path.join("db/keyspaces"), "");
    files.retain(|path| path.is_file());
    files.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let table = files.last().unwrap();
    let mut bytes = fs::read(table).unwrap();
    bytes[5_000] ^= 4;
    fs::write(table, bytes).unwrap();

    let report = verify(dir.path(), &mut |_| ()).unwrap();
    assert!(!report.problems.is_empty());
    assert!(
        report
            .problems
            .iter()
            .all(|problem| problem.path == damaged.path),
        "{report:?}"
    );
    assert!(damaged.path.exists(), "verification changes nothing");

    // The record whose batch is damaged is lost, and no other.
    let start = damaged.ranges[0].0;
    assert_eq!(
        check(dir.path(), &without((start, start.next())), 1),
        RECORDS
    );
    assert_eq!(
        find(dir.path(), ".damaged-").len(),
        1,
        "what is damaged is kept"
    );
}

#[test]
fn a_segment_that_does_not_open_is_made_anew_from_its_batches() {
    type Damage = fn(&Path);
    let cases: [(&str, bool, Damage); 8] = [
        ("no version", true, |path| {
            fs::remove_file(path.join("db/version")).unwrap()
        }),
        ("no database", false, |path| {
            fs::remove_dir_all(path.join("db")).unwrap()
        }),
        ("no keyspace", false, |path| {
            fs::remove_dir_all(path.join("db/keyspaces/2")).unwrap()
        }),
        ("a stray name", true, |path| {
            fs::create_dir(path.join("db/keyspaces/lost+found")).unwrap()
        }),
        ("another's database", false, |path| {
            fs::remove_dir_all(path.join("db")).unwrap();
            let other = copy(&path.parent().unwrap().join("0000000003/db"));
            fs::rename(other.keep(), path.join("db")).unwrap();
        }),
        ("another's header", true, |path| {
            let other = path.parent().unwrap().join("0000000003/segment");
            fs::copy(other, path.join("segment")).map(|_| ()).unwrap()
        }),
        ("a link to a table", true, |path| {
            let table = find(&path.join("db/keyspaces/2/tables"), "").remove(0);
            let moved = path.join("moved");
            fs::rename(&table, &moved).unwrap();
            std::os::unix::fs::symlink(moved, table).unwrap()
        }),
        ("no header", true, |path| {
            fs::write(path.join("segment"), b"bekk").unwrap()
        }),
    ];
    for (name, is_whole, damage) in cases {
        let (dir, segments) = closed();
        damage(&segments[1].path);
        eprintln!("{name}");
        let (whole, lost) = match is_whole {
            true => ((0..RECORDS).collect(), 0),
            false => (without(segments[1].ranges[0]), 1),
        };
        assert_eq!(check(dir.path(), &whole, lost), RECORDS);
        assert_eq!(find(dir.path(), ".damaged-").len(), lost);
    }
}

#[test]
fn a_missing_segment_is_a_gap() {
    for missing in [0, 2] {
        let (dir, segments) = closed();
        fs::remove_dir_all(&segments[missing].path).unwrap();
        assert_eq!(
            check(dir.path(), &without(segments[missing].ranges[0]), 1),
            RECORDS
        );
    }
}

/// If the previous segment is missing, the log asks a segment's database where the segment starts. It did not open if the
/// answer was malformed.
#[test]
fn a_malformed_start_in_the_database_after_a_missing_segment_stops_nothing() {
    let (dir, segments) = closed();
    fs::remove_dir_all(&segments[0].path).unwrap();
    let db = fjall::Database::builder(segments[1].path.join("db")).open();
    let db = db.unwrap();
    let meta = db
        .keyspace("meta", fjall::KeyspaceCreateOptions::default)
        .unwrap();
    meta.insert(b"b\0\0\0\0", b"x").unwrap();
    db.persist(fjall::PersistMode::SyncAll).unwrap();
    drop((meta, db));
    assert_eq!(
        check(dir.path(), &without(segments[0].ranges[0]), 1),
        RECORDS
    );
}

#[test]
fn a_missing_last_segment_is_a_gap_up_to_the_durable_mark() {
    let (dir, segments) = closed();
    let last = segments.last().unwrap();
    fs::remove_dir_all(&last.path).unwrap();
    assert_eq!(check(dir.path(), &without(last.ranges[0]), 1), RECORDS);
}

#[test]
fn a_damaged_last_segment_is_made_anew_from_its_journal() {
    let (dir, segments) = closed();
    let last = segments.last().unwrap();
    fs::remove_dir_all(last.path.join("db/keyspaces/2")).unwrap();
    let whole: Vec<_> = (0..RECORDS).collect();
    assert_eq!(check(dir.path(), &whole, 0), RECORDS);
}

#[test]
fn a_last_segment_that_has_lost_everything_is_a_gap_up_to_where_the_log_was_closed() {
    let (dir, segments) = closed();
    let last = segments.last().unwrap();
    fs::remove_dir_all(last.path.join("db")).unwrap();
    assert_eq!(check(dir.path(), &without(last.ranges[0]), 1), RECORDS);
}

#[test]
fn a_damaged_summary_is_made_again() {
    let (dir, segments) = closed();
    fs::write(segments[1].path.join("sealed"), b"torn").unwrap();
    let client = open_small(dir.path(), 50_000);
    wait_until("sealing", MINUTE, || {
        client.segments("t").unwrap()[1].sealed_at_ms.is_some()
    });
    assert_eq!(client.segments("t").unwrap()[1].ranges, segments[1].ranges);
    drop(client);
    let whole: Vec<_> = (0..RECORDS).collect();
    assert_eq!(check(dir.path(), &whole, 0), RECORDS);
}

#[test]
fn leftovers_of_interrupted_work_are_removed() {
    let (dir, segments) = closed();
    let topic = dir.path().join("topics/t");
    for leftover in ["0000000099.tmp", "0000000098.deleted"] {
        fs::create_dir(topic.join(leftover)).unwrap();
        fs::write(topic.join(leftover).join("file"), b"x").unwrap();
    }
    let next = format!("{:010}", segments.last().unwrap().number + 1);
    fs::create_dir(topic.join(format!("{next}.tmp"))).unwrap();
    let whole: Vec<_> = (0..RECORDS).collect();
    assert_eq!(check(dir.path(), &whole, 0), RECORDS);
    assert_eq!(find(&topic, ".tmp"), [] as [PathBuf; 0]);
    assert_eq!(find(&topic, ".deleted"), [] as [PathBuf; 0]);
}

#[test]
fn a_damaged_mark_is_set_aside() {
    let dir = killed(true);
    fs::write(dir.path().join("ends"), b"torn").unwrap();
    let whole: Vec<_> = (0..20).collect();
    assert_eq!(check(dir.path(), &whole, 0), 20);
    assert_eq!(find(dir.path(), "ends.damaged-").len(), 1);
}

#[test]
fn a_damaged_state_is_restored_from_its_copy_or_from_the_segments() {
    for has_copy in [true, false] {
        check_damaged_state(has_copy);
    }
}

fn check_damaged_state(has_copy: bool) {
    let (dir, _) = closed();
    let client = open_small(dir.path(), 50_000);
    let before = client.begin_session("inbox").unwrap();
    client.commit_offset("g", "t", 0, Offset::new(7)).unwrap();
    client.close().unwrap();
    fs::remove_dir_all(dir.path().join("state/keyspaces/0")).unwrap();
    if !has_copy {
        fs::remove_file(dir.path().join("state.copy")).unwrap();
    }
    let whole: Vec<_> = (0..RECORDS).collect();
    assert_eq!(check(dir.path(), &whole, 0), RECORDS);
    let client = open_small(dir.path(), 50_000);
    assert_eq!(client.topics().unwrap()[0].config.partitions, 2);
    let committed = [(0, Offset::new(7))];
    let expected = if has_copy { &committed[..] } else { &[] };
    assert_eq!(client.committed_offsets("g", "t").unwrap(), expected);
    let after = client.begin_session("inbox").unwrap();
    assert!(after.number > before.number, "{after:?}");
    let error = try_append(&client, Some(&before), 0, ["late"]).unwrap_err();
    assert_matches!(error, Error::Fenced { .. });
}

/// An older copy of the state is put in its place, as by a restore of single files.
#[test]
fn a_state_that_lacks_a_topic_is_restored() {
    let (dir, _) = closed();
    let older = tempfile::tempdir().unwrap();
    let client = open(older.path());
    topic(&client, "other", 1);
    client.close().unwrap();
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    fs::rename(older.path().join("state"), dir.path().join("state")).unwrap();
    let whole: Vec<_> = (0..RECORDS).collect();
    assert_eq!(check(dir.path(), &whole, 0), RECORDS);
    assert_eq!(find(dir.path(), "state.damaged-").len(), 1);
}

#[test]
fn a_damaged_identity_is_found_again_in_the_segments() {
    let (dir, _) = closed();
    let path = dir.path().join("format");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[14] ^= 1;
    for damaged in [Some(flipped), Some(Vec::new()), None] {
        match damaged {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        open(dir.path());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    // Segments of two logs: which of them is it?
    let (other, segments) = closed();
    let topic = dir.path().join("topics/t");
    fs::rename(&segments[0].path, topic.join("0000000099")).unwrap();
    drop(other);
    fs::remove_file(&path).unwrap();
    let error = Client::open(small(dir.path(), 50_000)).unwrap_err();
    assert_matches!(&error, Error::Corrupt { path: found, .. } if *found == path);
    assert!(topic.join("0000000099").exists(), "nothing is set aside");
}

#[test]
fn a_directory_without_a_log_is_not_verified() {
    let dir = tempfile::tempdir().unwrap();
    assert_matches!(verify(dir.path(), &mut |_| ()), Err(Error::Io { .. }));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
