//! A restore mixes up files: a table in the middle of a partition is another partition's or an older log's. Each of its
//! batches is whole and at an offset that the partition has; none may be served.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bekk_log::{Client, Config, Offset, verify};
use tempfile::TempDir;

use crate::support::{buffer, config, copy, find, noise, read_all, topic, wait_until};

/// Partitions of the topic: the more there are, the smaller are their tables.
const PARTITIONS: u32 = 24;
/// Those that have records.
const USED: u32 = 2;
/// Records of the sealed segment in each of these, each a batch of its own.
const RECORDS: u64 = 8;
/// Bytes of a record: two or three fill a table.
const RECORD_BYTES: usize = 1_200_000;

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
    }
    wait_until("sealing", || {
        client.segments("t").unwrap()[0].sealed_at_ms.is_some()
    });
    client.close().unwrap();
    dir
}

/// The second of a partition's tables in the sealed segment.
fn middle_table(log: &Path, partition: u32) -> PathBuf {
    let keyspace = partition + 2;
    let tables = format!("topics/t/0000000001/db/keyspaces/{keyspace}/tables");
    let mut tables = find(&log.join(tables), "");
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
