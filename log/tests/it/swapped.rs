//! A restore mixes up files: a table in the middle of a partition is another partition's or an older log's, or a whole
//! database is another segment's. Each of their batches is whole and at an offset that the partition has; none may be
//! served.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bekk_log::{Client, Config, Offset, salvage, verify};
use bekk_testing::{MINUTE, wait_until};
use tempfile::TempDir;

use crate::support::{await_sealing, buffer, config, copy, find, noise, read_all, topic};

/// Partitions of the topic: the more there are, the smaller are their tables.
const PARTITIONS: u32 = 24;
/// Those that have records.
const USED: u32 = 2;
/// Records of the sealed segment in each of these, each a batch of its own.
const RECORDS: u64 = 8;
const RECORD_BYTES: usize = 1_200_000;
/// Records of a partition that are written to a table of their own as soon as they are appended
const TABLE_RECORDS: usize = 3;

fn large(dir: &Path) -> Config {
    Config {
        segment_bytes: u64::from(USED) * RECORDS * RECORD_BYTES as u64,
        ..config(dir)
    }
}

/// The values of the records of each partition. Another salt makes others.
fn values(salt: u64) -> Vec<Vec<Vec<u8>>> {
    let of_partition = |partition: u64| {
        let seeds = (0..=RECORDS).map(|i| salt << 40 | partition << 32 | (i + 1));
        seeds.map(|seed| noise(seed, RECORD_BYTES)).collect()
    };
    (0..u64::from(USED)).map(of_partition).collect()
}

/// A log of a sealed segment and one that is written to, closed in order.
fn whole(values: &[Vec<Vec<u8>>]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::open(large(dir.path())).unwrap();
    topic(&client, "t", PARTITIONS);
    for i in 0..values[0].len() {
        for (partition, values) in (0..).zip(values) {
            let records = buffer([&values[i]]);
            client.append(None, "t", &[(partition, &records)]).unwrap();
        }
        // On a machine under load, records that come meanwhile would get into the same table.
        wait_until("a table has its records", MINUTE, || {
            (0..USED)
                .all(|partition| tables(dir.path(), partition).len() >= (i + 1) / TABLE_RECORDS)
        });
    }
    wait_until("sealing", MINUTE, || {
        client.segments("t").unwrap()[0].sealed_at_ms.is_some()
    });
    client.close().unwrap();
    dir
}

/// A partition's tables in the first segment.
fn tables(log: &Path, partition: u32) -> Vec<PathBuf> {
    let keyspace = partition + 2;
    let tables = format!("topics/t/0000000001/db/keyspaces/{keyspace}/tables");
    find(&log.join(tables), "")
}

/// The second of a partition's tables in the sealed segment.
fn middle_table(log: &Path, partition: u32) -> PathBuf {
    let mut tables = tables(log, partition);
    tables.sort_by_key(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse::<u64>()
            .ok()
    });
    assert!(tables.len() > 2, "{tables:?}");
    tables[1].clone()
}

/// Opens and reads the log: nothing that is read is another record than was appended, and what is not read is a gap.
/// Returns how many records are lost.
fn lost(log: &Path, values: &[Vec<Vec<u8>>]) -> usize {
    let client = Client::open(large(log)).unwrap();
    let mut lost = BTreeSet::new();
    for (partition, values) in (0..).zip(values) {
        let mut left: BTreeSet<u64> = (0..=RECORDS).collect();
        for (offset, read) in read_all(&client, "t", partition, Offset::ZERO) {
            let is_own = read == values[usize::try_from(offset).unwrap()];
            assert!(is_own, "{partition}/{offset} is another record");
            assert!(left.remove(&offset));
        }
        lost.extend(left.into_iter().map(|offset| (partition, offset)));
    }
    let gaps = client.gaps("t").unwrap();
    for (partition, offset) in &lost {
        let is_named = gaps.iter().any(|gap| {
            gap.partition == *partition && (gap.start.get()..gap.end.get()).contains(offset)
        });
        assert!(
            is_named,
            "{partition}/{offset} is lost and not named: {gaps:?}"
        );
    }
    client.close().unwrap();
    let report = verify(log, &mut |_| ()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.is_whole(), lost.is_empty(), "{report:?}");
    lost.len()
}

#[test]
fn a_table_in_the_middle_that_is_not_its_own_is_not_served() {
    let values = [0, 1].map(values);
    let [template, older] = values.each_ref().map(|values| whole(values));

    // Two partitions' tables change places; each batch is found where it is.
    let dir = copy(template.path());
    let [one, other] = [0, 1].map(|partition| middle_table(dir.path(), partition));
    let kept = fs::read(&one).unwrap();
    fs::copy(&other, &one).unwrap();
    fs::write(&other, kept).unwrap();
    let problems = verify(dir.path(), &mut |_| ()).unwrap().problems;
    assert!(!problems.is_empty());
    assert_eq!(lost(dir.path(), &values[0]), 0);

    // One table is there twice, or is that of an older log.
    let own = |dir: &TempDir| middle_table(dir.path(), 0);
    for other in [middle_table(template.path(), 1), own(&older)] {
        let dir = copy(template.path());
        fs::copy(&other, own(&dir)).unwrap();
        let lost = lost(dir.path(), &values[0]);
        assert!((1..=3).contains(&lost), "{lost} by {}", other.display());
    }
}

/// Topics of [`small_log`]
const TOPICS: [&str; 2] = ["a", "b"];
/// Records in each of their partitions
const SMALL_RECORDS: u64 = 18;

fn small(dir: &Path) -> Config {
    Config {
        segment_bytes: 40_000,
        ..config(dir)
    }
}

fn small_value(salt: u64, topic: &str, partition: u32, i: u64) -> Vec<u8> {
    let topic = u64::from(topic.as_bytes()[0]);
    noise(
        salt << 40 | topic << 32 | u64::from(partition) << 16 | i,
        4_000,
    )
}

/// A log of two topics, each with some sealed segments and one that is written to, closed in order.
fn small_log(salt: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::open(small(dir.path())).unwrap();
    for name in TOPICS {
        topic(&client, name, 2);
        for i in 0..SMALL_RECORDS {
            for partition in 0..2 {
                let records = buffer([small_value(salt, name, partition, i)]);
                client.append(None, name, &[(partition, &records)]).unwrap();
            }
        }
        await_sealing(&client, name);
    }
    client.close().unwrap();
    dir
}

/// Returns how many records cannot be read. A gap must name each of them, and no other record may be read in its place.
fn small_lost(log: &Path) -> usize {
    let client = Client::open(small(log)).unwrap();
    let mut lost = 0;
    for name in TOPICS {
        let mut offsets = BTreeSet::new();
        for partition in 0..2 {
            for (offset, read) in read_all(&client, name, partition, Offset::ZERO) {
                let is_new = read == b"new";
                let is_own = read == small_value(0, name, partition, offset);
                assert!(
                    is_new || is_own,
                    "{name}/{partition}/{offset} is another record"
                );
                assert!(is_new || offset < SMALL_RECORDS);
                offsets.insert((partition, offset));
            }
        }
        let all = (0..2).flat_map(|partition| (0..SMALL_RECORDS).map(move |at| (partition, at)));
        let gaps = client.gaps(name).unwrap();
        for (partition, offset) in all.filter(|one| !offsets.contains(one)) {
            let is_named = gaps.iter().any(|gap| {
                gap.partition == partition && (gap.start.get()..gap.end.get()).contains(&offset)
            });
            assert!(is_named, "{name}/{partition}/{offset}: {gaps:?}");
            lost += 1;
        }
        let new = client.append(None, name, &[(1, &buffer(["new"]))]).unwrap()[0];
        assert!(new.get() >= SMALL_RECORDS, "offset {new} is given twice");
    }
    client.close().unwrap();
    lost
}

fn swap(one: &Path, other: &Path) {
    let kept = one.with_extension("kept");
    fs::rename(one, &kept).unwrap();
    fs::rename(other, one).unwrap();
    fs::rename(kept, other).unwrap();
}

/// A restore puts the database of one segment into the directory of another.
#[test]
fn a_database_of_another_segment_is_not_taken_for_its_own() {
    let template = small_log(0);
    let foreign = small_log(1);
    let last = fs::read_dir(template.path().join("topics/a"))
        .unwrap()
        .count()
        - 1;
    let part = |topic: &str, number: usize, name: &str| {
        PathBuf::from(format!("topics/{topic}/{number:010}/{name}"))
    };
    let db = |topic, number| part(topic, number, "db");
    type More = fn(&Path);
    let nothing: More = |_| ();
    let cases: [(&str, PathBuf, PathBuf, More); 6] = [
        ("topics", db("a", 1), db("b", 1), nothing),
        ("segments", db("a", 1), db("a", 2), nothing),
        ("written to", db("a", last), db("b", last), nothing),
        ("sealed or not", db("a", 2), db("a", last), nothing),
        ("without summary", db("a", 2), db("b", 2), |dir| {
            fs::remove_file(dir.join("topics/a/0000000002/sealed")).unwrap();
        }),
        ("damaged", db("a", 2), db("b", 2), |dir| {
            fs::remove_file(dir.join("topics/a/0000000002/db/version")).unwrap();
        }),
    ];
    for (name, one, other, more) in cases {
        eprintln!("{name}");
        let dir = copy(template.path());
        swap(&dir.path().join(one), &dir.path().join(other));
        more(dir.path());
        let report = verify(dir.path(), &mut |_| ()).unwrap();
        assert!(!report.is_whole(), "{report:?}");
        let lost = small_lost(dir.path());
        assert!(lost > 0);
        let report = verify(dir.path(), &mut |_| ()).unwrap();
        assert_eq!(report.problems, []);
        assert!(!report.is_whole(), "{report:?}");
        // Each database is found in the directory of the other one.
        salvage(dir.path()).unwrap();
        assert_eq!(small_lost(dir.path()), 0);
        assert!(verify(dir.path(), &mut |_| ()).unwrap().is_whole());
    }

    for number in [1, last] {
        let own = db("a", number);
        for source in [
            template.path().join(db("b", number)),
            foreign.path().join(&own),
        ] {
            let dir = copy(template.path());
            fs::remove_dir_all(dir.path().join(&own)).unwrap();
            fs::rename(copy(&source).keep(), dir.path().join(&own)).unwrap();
            let lost = small_lost(dir.path());
            assert!(lost > 0);
            salvage(dir.path()).unwrap();
            assert_eq!(small_lost(dir.path()), lost);
        }
    }

    // If only `meta` is another segment's, the batches are the segment's own.
    let dir = copy(template.path());
    let meta = |topic| dir.path().join(part(topic, 1, "db/keyspaces/1"));
    swap(&meta("a"), &meta("b"));
    assert_eq!(small_lost(dir.path()), 0);
}
