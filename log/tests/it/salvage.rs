//! `salvage` restores what it can, and what it says is missing is what `verify` says.

use std::fs;
use std::path::{Path, PathBuf};

use bekk_log::{Gap, Offset, Salvaged, salvage, verify};
use tempfile::TempDir;

use crate::support::{await_sealing, buffer, copy, find, noise, open_small, read_all, topic};

/// Records of the log, each a batch of its own, five to a segment.
const RECORDS: u64 = 13;

/// Two sealed segments and one that is written to, closed in order.
fn closed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let client = open_small(dir.path(), 50_000);
    topic(&client, "t", 1);
    for i in 0..RECORDS {
        let records = buffer([noise(i, 10_000)]);
        client.append(None, "t", &[(0, &records)]).unwrap();
    }
    await_sealing(&client, "t");
    client.close().unwrap();
    dir
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("topics/t/{number:010}"))
}

/// Empties the tables and journals of a segment, all that records are in, and removes what makes it a database.
fn empty(segment: &Path) {
    let mut files = find(segment, ".jnl");
    files.extend(find(&segment.join("db/keyspaces/2/tables"), ""));
    assert!(!files.is_empty());
    fs::remove_file(segment.join("db/version")).unwrap();
    for file in files {
        fs::write(file, b"").unwrap();
    }
}

/// Offsets from the first up to the second.
fn ranges(gaps: &[Gap]) -> Vec<(u64, u64)> {
    gaps.iter()
        .map(|gap| (gap.start.get(), gap.end.get()))
        .collect()
}

/// Reads the log, so that damage is met; returns what it has of the records.
fn read(dir: &Path) -> Vec<u64> {
    let client = open_small(dir, 50_000);
    let read = read_all(&client, "t", 0, Offset::ZERO);
    client.close().unwrap();
    for (offset, value) in &read {
        assert!(*value == noise(*offset, 10_000), "wrong at {offset}");
    }
    read.into_iter().map(|(offset, _)| offset).collect()
}

/// What is missing, as all who can be asked say.
fn missing(dir: &Path) -> (Vec<(u64, u64)>, Vec<Salvaged>) {
    let verified = verify(dir, &mut |_| ()).unwrap();
    assert_eq!(verified.problems, []);
    let gaps: Vec<Gap> = verified.gaps.into_iter().map(|(_, gap)| gap).collect();
    let salvaged = salvage(dir).unwrap();
    let mut named: Vec<Gap> = Vec::new();
    for gap in salvaged.iter().flat_map(|one| &one.missing) {
        if !named.contains(gap) {
            named.push(gap.clone());
        }
    }
    named.sort_by_key(|gap| gap.start);
    assert_eq!(named, gaps);
    let client = open_small(dir, 50_000);
    let lost = gaps
        .iter()
        .map(|gap| gap.end.get() - gap.start.get())
        .sum::<u64>();
    assert_eq!(client.losses("t").unwrap().all, lost);
    assert_eq!(client.gap_count("t").unwrap(), gaps.len() as u64);
    client.close().unwrap();
    (ranges(&gaps), salvaged)
}

/// Each segment in turn loses its tables and its journal, so that the rebuilt segment holds nothing; of the
/// last one it then begins after the gap.
#[test]
fn a_segment_that_lost_everything_is_named_by_all() {
    for (number, lost) in [(1, (0, 5)), (2, (5, 10)), (3, (10, 13))] {
        let dir = closed();
        let whole = copy(&segment(dir.path(), number));
        empty(&segment(dir.path(), number));
        let left: Vec<u64> = (0..RECORDS)
            .filter(|at| !(lost.0..lost.1).contains(at))
            .collect();
        assert_eq!(read(dir.path()), left);
        // Retention does not take an emptied segment for one whose records are deleted.
        let client = open_small(dir.path(), 50_000);
        client.apply_retention().unwrap();
        client.close().unwrap();
        let (gaps, salvaged) = missing(dir.path());
        assert_eq!(gaps, [lost], "segment {number}");
        assert_eq!(salvaged.len(), 1);
        assert_eq!((salvaged[0].records, salvaged[0].paths.len()), (0, 1));

        // The files come back, in the place where the damaged ones are kept.
        let aside = &salvaged[0].paths[0];
        fs::remove_dir_all(aside).unwrap();
        fs::rename(whole.keep(), aside).unwrap();
        let restored = salvage(dir.path()).unwrap();
        assert_eq!(
            (restored[0].records, &restored[0].missing[..]),
            (lost.1 - lost.0, &[][..])
        );
        assert_eq!(missing(dir.path()).0, []);
        assert_eq!(read(dir.path()), (0..RECORDS).collect::<Vec<_>>());
    }
}

#[test]
fn what_was_in_no_segment_that_is_set_aside_is_named_too() {
    let dir = closed();
    fs::remove_dir_all(segment(dir.path(), 1)).unwrap();
    empty(&segment(dir.path(), 2));
    read(dir.path());
    let (gaps, salvaged) = missing(dir.path());
    assert_eq!(gaps, [(0, 5), (5, 10)]);
    let aside: Vec<_> = salvaged.iter().map(|one| one.paths.len()).collect();
    assert!(
        salvaged.iter().any(|one| !one.paths.is_empty()),
        "{aside:?}"
    );

    let dir = closed();
    fs::remove_dir_all(segment(dir.path(), 2)).unwrap();
    let (gaps, salvaged) = missing(dir.path());
    assert_eq!(gaps, [(5, 10)]);
    assert_eq!((salvaged.len(), salvaged[0].paths.len()), (1, 0));
}
