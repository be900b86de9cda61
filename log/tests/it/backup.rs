//! A backup that is made while the log is in use: it holds all topics at one moment, is whole, and opens as a log.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bekk_log::{Error, Offset, verify};
use bekk_testing::assert_matches;

use crate::support::{buffer, find, noise, open, open_small, read_all, topic};

/// Checks a backup. Each record was appended to `a` first and then to `b`, so `b` has no record that `a` lacks.
fn check(dir: &Path, group: u64) -> u64 {
    let report = verify(dir, &mut |_| ()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    let client = open(dir);
    let ends = ["a", "b"].map(|name| {
        let read = read_all(&client, name, 0, Offset::ZERO);
        for (at, (offset, value)) in (0..).zip(&read) {
            assert_eq!(*offset, at);
            assert!(*value == noise(at, 2_000));
        }
        let end = client.partition_ends(name).unwrap()[0].end.get();
        assert_eq!(end, read.len() as u64);
        end
    });
    assert!(ends[1] <= ends[0] && ends[0] <= ends[1] + 1, "{ends:?}");
    assert!(
        ends[1] >= group,
        "the records that a group has applied are there: {ends:?}"
    );
    let new = client.append(None, "a", &[(0, &buffer(["new"]))]).unwrap();
    assert_eq!(new, [Offset::new(ends[0])]);
    client.close().unwrap();
    ends[0]
}

#[test]
fn a_backup_under_load_is_the_log_at_one_moment() {
    let log = tempfile::tempdir().unwrap();
    let backups = tempfile::tempdir().unwrap();
    let client = open_small(log.path(), 100_000);
    topic(&client, "a", 2);
    topic(&client, "b", 1);
    topic(&client, "empty", 1);
    let done = AtomicBool::new(false);
    let back_up = |number| {
        let group = client.committed_offsets("g", "b")?;
        let applied = group.first().map_or(0, |(_, next)| next.get());
        let to = backups.path().join(format!("deep/{number}"));
        let backup = client.backup(log.path(), &to)?;
        Ok((to, applied, backup))
    };
    let made: Result<Vec<_>, Error> = thread::scope(|scope| {
        scope.spawn(|| {
            for i in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                let records = buffer([noise(i, 2_000)]);
                client.append(None, "a", &[(0, &records)]).unwrap();
                client.append(None, "b", &[(0, &records)]).unwrap();
                client
                    .commit_offset("g", "b", 0, Offset::new(i + 1))
                    .unwrap();
            }
        });
        // A reader has the segments open that the backup closes.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                read_all(&client, "a", 0, Offset::ZERO);
            }
        });
        // Without a panic: the other threads end only when they are told.
        let made = (0..4).map(back_up).collect();
        done.store(true, Ordering::Relaxed);
        made
    });
    let made = made.unwrap();
    let refused = client.backup(log.path(), &made[0].0);
    assert_matches!(refused, Err(Error::Invalid { .. }));
    client.close().unwrap();
    assert!(verify(log.path(), &mut |_| ()).unwrap().is_whole());
    assert_eq!(find(log.path(), "snapshot-").len(), 0);

    let mut before = 0;
    for (dir, applied, backup) in made {
        assert_eq!(backup.topics, 3);
        let of_a = check(&dir, applied);
        assert!(of_a >= before && of_a <= backup.records);
        before = of_a;
    }
    assert!(before > 0, "nothing was appended");

    // A start removes the leftovers of a backup that was killed.
    fs::create_dir(log.path().join("snapshot-1")).unwrap();
    open(log.path()).close().unwrap();
    assert_eq!(find(log.path(), "snapshot-").len(), 0);
}
