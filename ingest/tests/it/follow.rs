//! Runs that follow files as they grow.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bekk_ingest::{Config, Mode, Stats};
use bekk_stream::{Finished, Meta, Value};
use bekk_testing::{MINUTE, assert_matches, wait_until};

use crate::world::{World, await_count, count, ids, metas, rows};

#[test]
fn growth_and_new_files_are_seen() {
    let world = World::new();
    world.put("a.csv", format!("id,name,price\n{}", rows(0, 10)));
    let stream = world.stream();
    let (summary, ()) = world.follow(&stream, |log| {
        await_count(log, 10);
        let mut a = File::options()
            .append(true)
            .open(world.inbox("a.csv"))
            .unwrap();
        a.write_all(rows(10, 20).as_bytes()).unwrap();
        await_count(log, 20);
        let mut b = File::create(world.inbox("b.csv")).unwrap();
        b.write_all(b"price,id\n").unwrap();
        b.write_all(b"1,100\n").unwrap();
        await_count(log, 21);
    });
    assert_eq!((summary.files, summary.records), (2, 21));
    assert_eq!(world.once().records, 0);
}

/// The writer writes one byte at a time, and ingest is stopped and started again in between, also inside
/// quotes: each record is taken when it is whole.
#[test]
fn records_are_taken_whole_from_single_bytes() {
    let world = World::new();
    let path = world.inbox("a.csv");
    let content = "id,name\r\n1,\"a\r\nb\"\r\n2,\"say \"\"hi\"\",\n\"\n\n3,c\n";
    let mut file = File::create(&path).unwrap();
    let stream = world.stream();
    for (i, byte) in content.bytes().enumerate() {
        file.write_all(&[byte]).unwrap();
        if i % 5 == 0 {
            world.follow(&stream, |_| {});
        }
    }
    world.follow(&stream, |log| await_count(log, 3));
    let records = world.logged_of_one();
    let texts: Vec<&str> = records.iter().map(|record| record.text(content)).collect();
    assert_eq!(
        texts,
        ["1,\"a\r\nb\"\r\n", "2,\"say \"\"hi\"\",\n\"\n", "3,c\n"]
    );
    assert_eq!(ids(&records), [1, 2, 3]);
    assert_eq!(
        records.iter().map(|record| record.line).collect::<Vec<_>>(),
        [2, 4, 7]
    );
    assert_eq!(
        records[1].body.as_ref().unwrap()[1],
        Value::Text("say \"hi\",\n".into())
    );
}

#[test]
fn a_truncated_file_is_a_new_one() {
    let world = World::new();
    let path = world.put("a.csv", format!("id\n{}", "1\n".repeat(50)));
    let stream = world.stream();
    world.follow(&stream, |log| {
        await_count(log, 50);
        fs::write(&path, "id\n2\n").unwrap();
        await_count(log, 51);
    });
    let logged = world.logged();
    assert_eq!(logged.len(), 2);
    // While stopped, too; and when it has grown past the old position.
    fs::write(&path, "id\n3\n4\n").unwrap();
    world.follow(&stream, |log| await_count(log, 53));
    assert_eq!(world.logged().len(), 3);
}

/// The notification of an emptied file comes long before the inbox is listed, and its copy is in a directory that no
/// notification is about yet. Then ingest ends.
#[test]
fn a_copy_in_a_new_directory_is_known_when_its_original_is_emptied() {
    let world = World::new();
    let path = world.put("a.csv", rows_of(0..50));
    let mut stream = world.stream();
    stream.files = vec![world.inbox("**/*.csv*").display().to_string()];
    let config = Config {
        poll_idle: Duration::from_secs(300),
        ..world.config(Mode::Follow)
    };
    world.follow_with(&config, &stream, |log| {
        await_count(log, 50);
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"50\n51\n").unwrap();
        await_count(log, 52);
        fs::create_dir(world.inbox("old")).unwrap();
        fs::copy(&path, world.inbox("old/a.csv.1")).unwrap();
        fs::write(&path, rows_of(52..53)).unwrap();
        await_count(log, 53);
    });
    world.once_with(&stream).unwrap();
    let logged = world.logged();
    let mut logged: Vec<i64> = logged.values().flat_map(|records| ids(records)).collect();
    logged.sort_unstable();
    assert_eq!(logged, (0..53).collect::<Vec<_>>());
}

#[test]
fn names_do_not_matter() {
    let world = World::new();
    let path = world.put("a.csv", format!("id\n{}", "1\n".repeat(50)));
    let stream = world.stream();
    world.follow(&stream, |log| {
        await_count(log, 50);
        fs::rename(&path, world.inbox("b.csv")).unwrap();
        let mut b = File::options()
            .append(true)
            .open(world.inbox("b.csv"))
            .unwrap();
        b.write_all(b"2\n").unwrap();
        await_count(log, 51);
        // Another file under the old name is another file, though it begins alike.
        fs::write(&path, "id\n1\n").unwrap();
        await_count(log, 52);
    });
    fs::rename(world.inbox("b.csv"), world.inbox("c.csv")).unwrap();
    assert_eq!(world.once().records, 0);
    assert_eq!(world.logged().len(), 2);
}

/// The file is emptied and filled past the old position between two looks, while ingest has it open.
#[test]
fn a_file_that_is_rewritten_is_a_new_one() {
    let world = World::new();
    let path = world.put("a.csv", "id\n1\n2\n3\n");
    fs::write(&path, "id\n1\n2\n3\n").unwrap();
    let stream = world.stream();
    world.follow(&stream, |log| {
        await_count(log, 3);
        fs::write(&path, "id\n10\n20\n30\n40\n").unwrap();
        await_count(log, 7);
    });
    assert_eq!(world.logged().len(), 2);
}

/// A program writes another content over a file all of which has been read: none of the new content's bytes are lost.
#[test]
fn a_file_that_is_overwritten_has_lost_nothing_that_was_read() {
    let world = World::new();
    let path = world.put("a.csv", "id\n1\n2\n3\n");
    let stream = world.stream();
    world.follow(&stream, |log| {
        await_count(log, 3);
        // In place, and not emptied before.
        let mut file = File::options().write(true).open(&path).unwrap();
        file.write_all(b"id\n10\n20\n30\n40\n").unwrap();
        await_count(log, 7);
    });
    let state = world.config(Mode::Follow).state_dir;
    let found = bekk_ingest::files(&state, std::slice::from_ref(&stream)).unwrap();
    let decisions = found.files.iter().flat_map(|file| &file.decisions);
    let why: Vec<_> = decisions
        .filter(|decision| decision.why.contains("was here"))
        .map(|decision| &decision.why)
        .collect();
    let read_all = "9 of its 9 bytes had been read";
    assert_matches!(
        why[..],
        [why] if why.contains(read_all) && why.contains("anything written after the last check")
    );
    assert!(found.files.iter().all(|file| file.why.is_none()));
}

/// A program writes a file again with another number in the middle: its first and last bytes and its length stay. It is
/// read again, whether ingest runs meanwhile or not; a file whose time alone has changed is not.
#[test]
fn a_change_in_the_middle_is_found() {
    let world = World::new();
    let with = |middle: &str| {
        let ids = |from: u32, to: u32| (from..to).map(|id| format!("{id}\n")).collect::<String>();
        format!("id\n{}{middle}\n{}", ids(1000, 1400), ids(2000, 2400))
    };
    let path = world.put("a.csv", with("5001"));
    assert_eq!(world.once().records, 801);
    // In place: the inode stays, as it does where a deleted file's inode is used again.
    fs::write(&path, with("5002")).unwrap();
    assert_eq!(world.once().records, 801);
    fs::write(&path, with("5003") + "6000\n").unwrap();
    assert_eq!(world.once().records, 802);
    let stream = world.stream();
    world.follow(&stream, |log| {
        await_count(log, 801 + 801 + 802);
        let mut file = File::options().write(true).open(&path).unwrap();
        file.write_all((with("5004") + "6000\n").as_bytes())
            .unwrap();
        await_count(log, 801 + 801 + 802 + 802);
    });
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(std::time::SystemTime::now()))
        .unwrap();
    assert_eq!(world.once().records, 0);
}

/// The same while the last line is not complete: the file is read again although it has not grown.
#[test]
fn a_change_before_an_incomplete_line_is_found() {
    let world = World::new();
    let lines = |from: u32, to: u32| (from..to).map(|id| format!("{id}\n")).collect::<String>();
    let with = |middle: u32| format!("id\n{}{middle}\n{}7", lines(1000, 1400), lines(2000, 2400));
    let path = world.put("a.csv", with(5000));
    let stream = world.stream();
    world.follow(&stream, |log| {
        await_count(log, 801);
        let mut file = File::options().write(true).open(&path).unwrap();
        let until = Instant::now() + MINUTE;
        let mut middle = 5000;
        // Until ingest has seen the incomplete line, a rewriting is growth to it.
        while count(log) == 801 {
            assert!(Instant::now() < until, "it is not read again");
            middle += 1;
            file.rewind().unwrap();
            file.write_all(with(middle).as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    });
}

/// A file is deleted, and one that went away comes back: neither loses or doubles anything.
#[test]
fn files_come_and_go() {
    let world = World::new();
    let path = world.put("a.csv", "id\n1\n");
    let stream = world.stream();
    world.follow(&stream, |log| {
        await_count(log, 1);
        fs::rename(&path, world.path("away.csv")).unwrap();
        world.put("b.csv", "id\n2\n");
        await_count(log, 2);
        fs::remove_file(world.inbox("b.csv")).unwrap();
        fs::rename(world.path("away.csv"), world.inbox("c.csv")).unwrap();
        let mut file = File::options()
            .append(true)
            .open(world.inbox("c.csv"))
            .unwrap();
        file.write_all(b"3\n").unwrap();
        await_count(log, 3);
    });
    assert_eq!(world.once().records, 0);
}

/// The inbox does not exist yet; then it does, with a directory in it.
#[test]
fn a_directory_may_come_later() {
    let world = World::new();
    let mut stream = world.stream();
    stream.files = vec![format!("{}/*/in.csv", world.path("later").display())];
    world.follow(&stream, |log| {
        fs::create_dir_all(world.path("later/a")).unwrap();
        fs::write(world.path("later/a/in.csv"), "id\n1\n").unwrap();
        await_count(log, 1);
    });
}

/// The disk is full: ingest waits, and can be stopped; when there is space again, it continues.
#[test]
fn a_full_disk_is_waited_for() {
    let world = World::new();
    world.put("a.csv", "id\n1\n");
    let mut log_config = bekk_log::Config::new(world.path("log"));
    log_config.reserve_bytes = u64::MAX;
    let log = bekk_log::Client::open(log_config).unwrap();
    let stop = AtomicBool::new(false);
    let stats = Stats::default();
    let summary = thread::scope(|scope| {
        let (log, stop, stats) = (&log, &stop, &stats);
        let config = world.config(Mode::Follow);
        let streams = [world.stream()];
        let running = scope.spawn(move || bekk_ingest::run(&config, &streams, log, stats, stop));
        let deadline = Instant::now() + MINUTE;
        while stats.waits_for().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        let waits_for = stats.waits_for();
        stop.store(true, Ordering::Relaxed);
        let summary = running.join().unwrap().unwrap();
        assert!(waits_for.unwrap().contains("less than the reserve"));
        summary
    });
    assert_eq!(summary.records, 0);
    log.close().unwrap();
    assert_eq!(world.once().records, 1);
}

/// An unterminated last record waits for its rest, and is taken when the file has long been unchanged.
#[test]
fn an_unterminated_record_waits() {
    let world = World::new();
    let path = world.put("a.csv", "id\n1\n2");
    let stream = world.stream();
    world.follow(&stream, |log| await_count(log, 1));
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"3\n4").unwrap();
    drop(file);
    crate::world::rest(&path);
    let mut config = world.config(Mode::Follow);
    config.partial_after = Duration::from_secs(30);
    world.follow_with(&config, &stream, |log| await_count(log, 3));
    assert_eq!(ids(&world.logged_of_one()), [1, 23, 4]);
}

/// A file stands where the directory for finished files is to be: each listing tries again to move them there.
#[test]
fn a_file_that_cannot_be_moved_is_moved_later() {
    let world = World::new();
    let done = world.path("done");
    fs::write(&done, "in the way").unwrap();
    let mut stream = world.stream();
    stream.finished = Finished::Move(done.clone());
    let path = world.put("a.csv", "id\n1\n");
    let config = Config {
        poll_idle: Duration::from_millis(20),
        close_after: Duration::from_secs(1),
        ..world.config(Mode::Follow)
    };
    world.follow_with(&config, &stream, |log| {
        await_count(log, 1);
        let is_receipt = |meta: &Meta| matches!(meta, Meta::Receipt(_));
        wait_until("its receipt", MINUTE, || metas(log).iter().any(is_receipt));
        assert!(path.exists());
        fs::remove_file(&done).unwrap();
        wait_until("it is moved", MINUTE, || done.join("a.csv").exists());
        assert!(!path.exists());
    });
    assert_eq!(world.receipts().len(), 1);
}

fn rows_of(ids: Range<i64>) -> String {
    let lines: String = ids.map(|id| format!("{id}\n")).collect();
    format!("id\n{lines}")
}
