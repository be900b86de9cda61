//! Damage to the log, to what ingest keeps beside it, and moved files: each record stays in the log once.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bekk_ingest::Summary;
use bekk_log::Offset;
use bekk_stream::{Body, Finished, Payload, REJECT_RAW_MAX, Value};

use crate::world::{TOPIC, World, await_count, rows};

/// The journal of the only segment of a topic.
fn journal(world: &World, topic: &str) -> PathBuf {
    world
        .path("log")
        .join("topics")
        .join(topic)
        .join("0000000001/db/0.jnl")
}

/// Flips a bit in the first of the two batches that a journal holds. The middle of the journal may lie between them, where
/// a bit costs no record.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 3] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// The numbers of all records, in order. Offsets need not be dense.
fn all_ids(world: &World) -> Vec<i64> {
    let log = world.open_log();
    let mut all = Vec::new();
    for ends in log.partition_ends(TOPIC).unwrap() {
        let mut next = ends.start;
        while next < ends.end {
            let records = log.read(TOPIC, ends.partition, next, 1 << 20).unwrap();
            for record in records.iter() {
                let Body::Row(mut row) = Payload::decode(record.value).unwrap().body else {
                    panic!("a reject");
                };
                match row.next() {
                    Some(Ok(Value::Int(id))) => all.push(id),
                    other => panic!("{other:?} as an id"),
                }
            }
            assert!(records.next_offset() > next);
            next = records.next_offset();
        }
    }
    log.close().unwrap();
    all.sort_unstable();
    all
}

fn lost(world: &World) -> bekk_log::Losses {
    let log = world.open_log();
    let losses = log.losses(TOPIC).unwrap();
    log.close().unwrap();
    losses
}

fn world_of(records: u64) -> World {
    let world = World::new();
    world.put("a.csv", format!("id,name,price\n{}", rows(0, records)));
    assert_eq!(world.once().records, records);
    world
}

/// A bit flips in the records that nobody has read yet.
#[test]
fn lost_records_are_read_again_from_their_file() {
    let world = world_of(2000);
    flip(&journal(&world, TOPIC));
    let summary = world.once();
    assert!((1..2000).contains(&summary.records), "{summary:?}");
    assert_eq!(all_ids(&world), (0..2000).collect::<Vec<_>>());
    let losses = lost(&world);
    assert_eq!(losses.all, summary.records);
    assert_eq!(losses.open, 0, "nothing is missing any more");
    assert_eq!(world.once().records, 0);
}

/// Each row has a later version in another file. The records that come back are appended behind those, where they must
/// not be older ones of the same rows.
#[test]
fn lost_records_come_back_behind_no_later_version() {
    let world = World::new();
    let text = |name: &str, ids: std::ops::Range<u64>| {
        let rows: String = ids.map(|id| format!("{id},{name},1\n")).collect();
        format!("id,name,price\n{rows}")
    };
    world.put("a.csv", text("old", 0..2000));
    assert_eq!(world.once().records, 2000);
    world.put("b.csv", text("new", 0..1500));
    assert_eq!(world.once().records, 1500);
    let path = journal(&world, TOPIC);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 8] ^= 4;
    fs::write(&path, bytes).unwrap();
    let summary = world.once();
    let log = world.open_log();
    let mut last = std::collections::BTreeMap::new();
    for ends in log.partition_ends(TOPIC).unwrap() {
        let mut next = ends.start;
        while next < ends.end {
            let records = log.read(TOPIC, ends.partition, next, 1 << 20).unwrap();
            for record in records.iter() {
                let payload = Payload::decode(record.value).unwrap();
                let Body::Row(row) = payload.body else {
                    panic!("a reject");
                };
                let row: Vec<_> = row.map(Result::unwrap).collect();
                let (Value::Int(id), Value::Text(name)) = (&row[0], &row[1]) else {
                    panic!("{row:?}");
                };
                last.insert(*id, name.to_string());
            }
            next = records.next_offset();
        }
    }
    log.close().unwrap();
    let lost = lost(&world);
    assert!(lost.all > summary.records, "{lost:?} {summary:?}");
    for id in 0..2000 {
        let expected = if id < 1500 { "new" } else { "old" };
        assert_eq!(last.get(&id).map(String::as_str), Some(expected), "{id}");
    }
    assert_eq!(world.once().records, 0);
}

/// The same where every group had applied them: nobody lacks them, and an older version of a row is not appended
/// behind a newer one.
#[test]
fn lost_records_that_were_applied_are_not_appended_again() {
    let world = world_of(2000);
    let log = world.open_log();
    for ends in log.partition_ends(TOPIC).unwrap() {
        log.commit_offset("g", TOPIC, ends.partition, ends.end)
            .unwrap();
    }
    log.close().unwrap();
    flip(&journal(&world, TOPIC));
    assert_eq!(world.once().records, 0);
    let losses = lost(&world);
    assert!(losses.all > 0 && losses.unapplied == 0, "{losses:?}");
}

/// The same of a stream without a key where a group had applied some of them.
#[test]
fn a_stream_without_a_key_is_told_first() {
    let world = World::new();
    world.put("a.csv", format!("id,name,price\n{}", rows(0, 2000)));
    let mut stream = world.stream();
    stream.key.clear();
    let once = || -> Summary { world.once_with(&stream).unwrap() };
    assert_eq!(once().records, 2000);
    let log = world.open_log();
    for ends in log.partition_ends(TOPIC).unwrap() {
        let next = Offset::new(ends.end.get().min(1));
        log.commit_offset("g", TOPIC, ends.partition, next).unwrap();
    }
    log.close().unwrap();
    flip(&journal(&world, TOPIC));
    assert_eq!(once().records, 0);
    assert!(lost(&world).open > 0);
}

/// The file has changed since.
#[test]
fn a_file_that_is_another_by_now_gives_nothing_back() {
    let world = world_of(2000);
    let path = world.inbox("a.csv");
    let text = fs::read_to_string(&path).unwrap();
    world.put("a.csv", text.replacen("name 7,", "name 8,", 1));
    flip(&journal(&world, TOPIC));
    world.once();
    assert!(lost(&world).open > 0);
}

/// A bit flips in what `bekk.meta` tells of the files.
#[test]
fn files_that_the_log_has_forgotten_are_known_by_the_checkpoint() {
    for place in 1..4 {
        let world = world_of(300);
        let path = journal(&world, "bekk.meta");
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end * place / 4] ^= 4;
        fs::write(&path, bytes).unwrap();
        assert_eq!(world.once().records, 0, "at {place}/4");
        // Told of again, so that the checkpoint is a cache as before.
        fs::remove_file(world.path("state").join("checkpoint")).unwrap();
        assert_eq!(
            world.once().records,
            0,
            "at {place}/4, without the checkpoint"
        );
        assert_eq!(all_ids(&world), (0..300).collect::<Vec<_>>());
    }
}

/// A disk is replaced: everything is copied to another directory, and the old one is gone.
#[test]
fn a_directory_that_was_moved_is_not_read_again() {
    check_copied(true);
}

/// A project is restored beside the original, which stays.
#[test]
fn a_directory_that_was_copied_is_not_read_again() {
    check_copied(false);
}

fn check_copied(is_moved: bool) {
    let world = world_of(300);
    world.put("b.csv", format!("id,name,price\n{}", rows(300, 400)));
    assert_eq!(world.once().records, 100);
    let moved = world.path("moved");
    fs::create_dir(&moved).unwrap();
    for name in ["a.csv", "b.csv"] {
        // Copied, so that the inodes are others.
        fs::copy(world.inbox(name), moved.join(name)).unwrap();
    }
    if is_moved {
        fs::remove_dir_all(world.path("inbox")).unwrap();
    }
    let stream = crate::world::stream(&moved);
    assert_eq!(world.once_with(&stream).unwrap().records, 0);
    // What is added there is read on.
    let mut text = fs::read_to_string(moved.join("b.csv")).unwrap();
    text.push_str(&rows(400, 410));
    fs::write(moved.join("b.csv"), text).unwrap();
    crate::world::rest(&moved.join("b.csv"));
    assert_eq!(world.once_with(&stream).unwrap().records, 10);
    assert_eq!(all_ids(&world), (0..410).collect::<Vec<_>>());
}

/// A file is deleted and put back while it is followed.
#[test]
fn a_file_that_is_gone_and_back_is_not_read_again() {
    let world = World::new();
    let path = world.put("a.csv", format!("id,name,price\n{}", rows(0, 300)));
    let stream = world.stream();
    let (summary, ()) = world.follow(&stream, |log| {
        await_count(log, 300);
        let aside = world.path("a.csv");
        for _ in 0..2 {
            fs::copy(&path, &aside).unwrap();
            fs::remove_file(&path).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            fs::copy(&aside, &path).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        // Appended: to write it anew would empty it first, which is another accident.
        let mut file = fs::File::options().append(true).open(&path).unwrap();
        file.write_all(rows(300, 310).as_bytes()).unwrap();
        await_count(log, 310);
    });
    assert_eq!(summary.records, 310);
    assert_eq!(all_ids(&world), (0..310).collect::<Vec<_>>());
}

/// A kill between an append and the checkpoint, and a lost checkpoint: the log alone knows that a dead letter has not
/// all bytes of its record, so that the file, which has them, must not be deleted.
#[test]
fn a_file_with_bytes_that_no_letter_has_stays_after_a_lost_checkpoint() {
    let world = World::new();
    let checkpoint = world.path("state/checkpoint");
    let long = "x".repeat(REJECT_RAW_MAX + 1);
    let text = |id: u64| format!("id,name,price\n{}{id},{long},abc\n", rows(id, id + 1));
    world.put("a.csv", text(0));
    assert_eq!(world.once().records, 2);
    let early = fs::read(&checkpoint).unwrap();
    world.put("b.csv", text(1));
    assert_eq!(world.once().records, 2);
    let mut stream = world.stream();
    stream.finished = Finished::Delete;
    for known in [Some(early), None] {
        match known {
            Some(early) => fs::write(&checkpoint, early).unwrap(),
            None => fs::remove_file(&checkpoint).unwrap(),
        }
        let summary = world.once_with(&stream).unwrap();
        assert_eq!(summary.records, 0);
        for name in ["a.csv", "b.csv"] {
            assert!(world.inbox(name).exists(), "{name} was deleted");
        }
    }
}

/// The same where it is put back slowly: ingest sees its beginning, and must not take that for a new file.
#[test]
fn a_file_that_comes_back_in_pieces_is_not_read_again() {
    let world = World::new();
    let text = format!("id,name,price\n{}", rows(0, 300));
    let path = world.put("a.csv", &text);
    let stream = world.stream();
    let (summary, ()) = world.follow(&stream, |log| {
        await_count(log, 300);
        fs::remove_file(&path).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        for piece in text.as_bytes().chunks(2500) {
            file.write_all(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        file.write_all(rows(300, 310).as_bytes()).unwrap();
        await_count(log, 310);
        // Another file with that beginning is read once it does not change.
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("id,name,price\n{}", rows(0, 200))).unwrap();
        await_count(log, 510);
    });
    assert_eq!(summary.records, 510);
}

/// More files have been finished and are gone than the checkpoint keeps. They come back.
#[test]
fn files_that_were_finished_long_ago_are_known_when_they_come_back() {
    const FILES: u64 = 330;
    let world = World::new();
    let name = |i: u64| format!("{i:03}.csv");
    for i in 0..FILES {
        world.put(&name(i), format!("id,name,price\n{}", rows(i, i + 1)));
    }
    assert_eq!(world.once().records, FILES);
    let aside = world.path("aside");
    fs::create_dir(&aside).unwrap();
    for i in 0..FILES {
        fs::rename(world.inbox(&name(i)), aside.join(name(i))).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(world.once().records, 0);
    }
    for i in 0..FILES {
        fs::rename(aside.join(name(i)), world.inbox(&name(i))).unwrap();
    }
    // One has got a row meanwhile.
    let mut text = fs::read_to_string(world.inbox(&name(7))).unwrap();
    text.push_str(&rows(FILES, FILES + 1));
    world.put(&name(7), text);
    assert_eq!(world.once().records, 1);
    assert_eq!(world.once().records, 0);
    let expected: Vec<_> = (0..=i64::try_from(FILES).unwrap()).collect();
    assert_eq!(all_ids(&world), expected);
}
